/* SPDX-License-Identifier: MIT */
/*
 * moved.h - files of the spool were removed or renamed under the daemon
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_MOVED_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_MOVED_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/config/config.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/intake.h"
#include "daemon/gateway/status.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

struct moved {
    struct turn *turn; /* borrowed, all seven */
    const struct config *config;
    struct spool *spool;
    struct edge_timer *edge_timer;
    struct intake *intake;
    struct clients *clients;
    struct status *status;
    bool is_failure_logged; /* that the spool could not be put back */
    int64_t retry_after_ms;
};

/* After SPOOL_E_MOVED: disconnects those that are owed an acknowledgement, and ends the loop if
 * nothing is lost by that. */
void moved_note(struct moved *moved);
/* Once a second: checks whether files were moved, or tries again to put them back. */
void moved_check(struct moved *moved);
/* At the end: one more try, and a line of what is lost. */
void moved_give_up(struct moved *moved);

#endif
