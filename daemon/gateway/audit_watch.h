/* SPDX-License-Identifier: MIT */
/*
 * audit_watch.h - when records wait for the audit file
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_AUDIT_WATCH_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_AUDIT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/condition.h"
#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/gateway/intake.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

struct audit_watch {
    const struct turn *turn; /* borrowed, all five */
    const struct config *config;
    struct spool *spool;
    struct audit *audit;
    const struct intake *intake;
    struct condition unwritten;
    bool is_half_logged; /* each once, until it is written again */
    bool is_pruning_logged;
    uint64_t pruned_before; /* until the last time when it was written */
};

/* Before a commit: may it remove records? */
void audit_watch_bound(struct audit_watch *watch);
/* After an export. */
void audit_watch_check(struct audit_watch *watch);

#endif
