/* SPDX-License-Identifier: MIT */
/*
 * status.h - the status object
 *
 * The one form that the daemon's status file and `mqtt-spool status` of a
 * stopped daemon share, with the names of docs/status.md. The members that
 * the spool knows are read from it; whoever calls adds what it knows of the
 * rest. What it does not know stays zero here and is null, 0 or "" there.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_STATUS_H
#define MQTT_SPOOLD_DAEMON_RECORD_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "store/spool.h"

/* All texts: NULL: not known. */
struct record_link {
    const char *state;
    const char *broker;
    const char *since; /* as clock_format() has it */
    uint64_t connects;
    const char *last_error;
    const char *last_error_time; /* both as clock_format() has it; "": never */
    const char *acknowledged;
    unsigned window;
    uint64_t late_answers;
    bool is_held; /* nothing is sent until a commit has room */
};

/* What may come in. */
struct record_intake {
    const struct spool_lane *lanes; /* as configured, "default" first; NULL: not known */
    size_t lane_count;
    const bool *lane_full; /* of each of them: it refuses or blocks; NULL: not known */
    const char *refusing;  /* why nothing at all is taken; "": it is; NULL: not known */
    uint64_t disk_reserve; /* 0: not known */
    const char
        *disk_short; /* why messages are refused or evicted for the disk; NULL: not known */
};

struct record_producers {
    unsigned connected;
    uint64_t messages_refused;
    uint64_t clients_refused;
};

struct record_audit {
    const bool *healthy; /* NULL: not known */
    const char *error;   /* why it is not; NULL or "": it is, or that is not known */
    uint64_t waiting;
    uint64_t max_waiting;
    const char *when_full; /* NULL: not known */
    uint64_t pruned;
    uint64_t record_bytes;     /* what all records in the database take */
    uint64_t max_record_bytes; /* and may take; 0: neither is known */
};

/* Borrowed, all of it. */
struct record_status {
    int64_t pid; /* 0: not that of a daemon */
    int64_t uptime_ms;
    const struct spool_stats *stats;
    struct record_link link;
    struct record_intake intake;
    double in_per_s;
    double out_per_s;
    uint64_t rss_bytes;
    struct spool_salvage salvage;
    int64_t salvaged_ms; /* by the wall clock; 0: nothing was salvaged */
    struct record_producers producers;
    struct record_audit audit;
    double full_after_s; /* negative: not coming, or not known */
};

/* One object, without a newline. @now: of the object, and for the ages of lanes. Return: 0, or what
 * the store answered; what was written then is to be thrown away. */
MUST_CHECK int record_write_status(struct json *json,
                                   struct spool *spool,
                                   const struct record_status *status,
                                   const struct spool_time *now);

#endif
