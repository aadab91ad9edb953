/* SPDX-License-Identifier: MIT */
/*
 * seal_topic.h - publishes the seals of the audit file to the broker
 *
 * With audit.seal_topic set, the newest seal that is on the disk becomes a message of the
 * lane CONFIG_REPORT_LANE, once in each audit.seal: as it stands in the file, so that who
 * keeps these messages can prove later what the file held. A seal depends on all before
 * it, so those in between need not be published.
 *
 * The record of such a message's delivery is a line of the file, too. It is no reason for
 * another seal (own_lane of audit_settings), so this ends by itself.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_SEAL_TOPIC_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_SEAL_TOPIC_H

#include <stdint.h>

#include "base/attr.h"
#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/gateway/edge.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/stop.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

/* The end of a seal, which no two have in common. */
#define SEAL_TOPIC_END 64

struct seal_topic {
    struct turn *turn; /* borrowed, all seven */
    const struct config *config;
    struct spool *spool;
    const struct audit *audit;
    struct edge_timer *edge_timer;
    struct edge *edge;
    const struct stop *stop;
    int64_t next_ms; /* boot time */
    char published[SEAL_TOPIC_END];
};

/* After an export: appends the newest seal to the next batch. Return: 0; negative errno. */
MUST_CHECK int seal_topic_run(struct seal_topic *topic);

#endif
