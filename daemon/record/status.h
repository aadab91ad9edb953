/* SPDX-License-Identifier: MIT */
/*
 * status.h - the status object
 *
 * The daemon's status file and `mqtt-spool status` of a stopped daemon share this
 * form, with the names of docs/status.md. The members that the spool knows are
 * read from it; the caller adds what it knows of the rest. What it does not know
 * is zero in struct record_status, and null, 0 or "" in the object.
 *
 * Invariant: the same members in both cases. Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_STATUS_H
#define MQTT_SPOOLD_DAEMON_RECORD_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/json.h"
#include "store/spool.h"

/* A text that is NULL is not known. */
struct record_link {
    const char *state;
    const char *broker;
    const char *since; /* as clock_format() has it */
    uint64_t connects;
    const char *last_error;          /* "" or NULL: none, or the link is good again */
    const char *remedy;              /* what helps against it; "" or NULL: none */
    const char *last_error_time;     /* as clock_format() has it; "": never */
    const char *next_attempt;        /* likewise, while it waits for one */
    const char *acknowledged;        /* likewise */
    const char *certificate_expires; /* the first of the gateway's; "": there is none */
    const char *protocol;
    unsigned window;
    uint64_t late_answers;
    uint64_t refused_waiting;   /* messages that it refused at their last try */
    int refused_code;           /* why the broker refuses everything; 0: it does not */
    uint64_t unsubscribed;      /* deliveries for which the broker had no subscriber */
    bool is_held;               /* nothing is sent until a commit has room */
    const char *presence_error; /* why the broker refuses it; "" or NULL: it does not */
    uint64_t rate_messages;     /* uplink.rate, per second; 0: no limit */
    uint64_t rate_bytes;
};

/* What is accepted from producers. */
struct record_intake {
    const struct spool_lane *lanes; /* as configured, "default" first; NULL: not known */
    size_t lane_count;
    const bool *lane_full; /* by lane: it refuses or blocks; NULL: not known */
    const char *refusing;  /* why no message is accepted; "": they are; NULL: not known */
    uint64_t disk_reserve; /* 0: not known */
    const char
        *disk_short; /* why messages are refused or evicted for the disk; NULL: not known */
};

/* What the last HUP left as it was. */
struct record_configuration {
    const char *restart_keys; /* dotted, separated by commas; "" or NULL: none */
    const char *refused;      /* for an error: "file": all of it, "lanes"; NULL: nothing */
};

struct record_producers {
    unsigned connected;
    uint64_t messages_refused;
    const char *refused_reason; /* of the newest one; "" or NULL: none was */
    const char *refused_time;   /* as clock_format() has it; likewise */
    uint64_t clients_refused;
    uint64_t bridge_notifications;
};

struct record_audit {
    const bool *healthy; /* NULL: not known */
    const char *error;   /* NULL or "": none, or not known */
    uint64_t waiting;
    uint64_t max_waiting;
    const char *when_full; /* NULL: not known */
    uint64_t pruned;
    uint64_t record_bytes;     /* of all records in the database */
    uint64_t max_record_bytes; /* their limit; 0: neither is known */
};

/* All of it is borrowed for the call. */
struct record_status {
    int64_t pid; /* 0: no daemon runs */
    int64_t uptime_ms;
    const struct spool_stats *stats;
    struct record_configuration configuration;
    struct record_link link;
    struct record_intake intake;
    double in_per_s;
    double out_per_s;
    uint64_t rss_bytes;
    struct spool_salvage salvage;
    int64_t salvaged_ms; /* by the wall clock; 0: nothing was salvaged */
    struct record_producers producers;
    struct record_audit audit;
    double full_after_s; /* negative: never, or not known */
};

/* Writes one object, without a newline. @now: of the object, and for the ages of lanes. Return:
 * 0, or the error of the store; then the output is to be discarded. */
MUST_CHECK int record_write_status(struct json *json,
                                   struct spool *spool,
                                   const struct record_status *status,
                                   const struct spool_time *now);

#endif
