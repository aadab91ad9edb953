/* SPDX-License-Identifier: MIT */
/*
 * ticks.h - what happens by time alone
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_TICKS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_TICKS_H

#include "base/log.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

struct ticks {
    const struct turn *turn; /* borrowed, both */
    struct spool *spool;
    sd_event_source *timer;
    uint64_t undelivered_logged; /* of the ledger: ended by a limit or by their own expiry */
    int64_t undelivered_logged_ms;
    uint64_t reads_logged; /* of spool_reads_repeated() */
    struct log_limit read_warnings;
    uint64_t rejected_logged; /* of struct counters */
    int64_t rejected_logged_ms;
    uint64_t accepted; /* of the counters, at the last tick */
    uint64_t last_seq; /* of the spool, then */
};

void ticks_init(struct ticks *ticks, const struct turn *turn);
/* @spool: open; what has ended in it already is not logged. */
void ticks_start(struct ticks *ticks, struct spool *spool);
/* At each tick, and at the end. */
void ticks_log_repeated_reads(struct ticks *ticks);

#endif
