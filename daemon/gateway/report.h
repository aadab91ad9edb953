/* SPDX-License-Identifier: MIT */
/*
 * report.h - reports the failures to the broker, in messages of a lane of their own
 *
 * With uplink.report.topic set, each failure record becomes part of a message in the lane
 * CONFIG_REPORT_LANE, which is spooled and forwarded as any other:
 *
 *   {"after":12,"records":[{"seq":15,...},...],"to":20}
 *
 * It has all failures whose seq is above "after" and up to "to"; the next one begins where it
 * ends, so that a reader notices one that is missing.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_REPORT_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_REPORT_H

#include <stdint.h>

#include "base/attr.h"
#include "daemon/config/config.h"
#include "daemon/gateway/edge.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/stop.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

struct report {
    struct turn *turn; /* borrowed, all six */
    const struct config *config;
    struct spool *spool;
    struct edge_timer *edge_timer;
    struct edge *edge;
    const struct stop *stop;
    uint64_t scanned_seq; /* up to here no failure is left to report */
    int64_t began_seq;    /* where reports begin, once they are switched on; or NOT_REPORTED */
};

/* At the start, before the first commit: what is not reported yet is kept. */
void report_init(struct report *report);
/* After a commit: appends reports of what it made true to the next batch. Return: 0; negative
 * errno. */
MUST_CHECK int report_run(struct report *report);

#endif
