/* SPDX-License-Identifier: MIT */
/*
 * admin.h - what an operator changed, as a line of JSON
 *
 * A line of the audit file of its own kind, between the outcome records and outside
 * of their numbering: {"admin": NAME, "time", "uid", ...}. docs/audit.md has the
 * members. Members without a value are left out.
 *
 * Invariant: admin is the first member and time the second, so that a reader of the
 * beginning tells such a line from an outcome record. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_ADMIN_H
#define MQTT_SPOOLD_DAEMON_RECORD_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"

/* Of more ids the first ones and their count are written; longer texts are cut. */
#define RECORD_ADMIN_IDS_MAX  32
#define RECORD_ADMIN_TEXT_MAX 512
/* Enough for one line, whatever it holds. */
#define RECORD_ADMIN_LINE_MAX                                                                  \
    ((size_t)(6 * RECORD_ADMIN_TEXT_MAX * 6 + RECORD_ADMIN_IDS_MAX * 24 + 1024))

/* All of it is borrowed. A text that is NULL is left out. */
struct record_admin {
    const char *admin; /* the command */
    int64_t time_ms;   /* wall clock, UTC */
    uint32_t uid;      /* of the operator */
    const uint64_t *ids;
    size_t id_count;
    const char *lane;
    const char *topic;
    const char *client;
    const char *user;
    int64_t older_than_ms; /* negative: left out */
    bool takes_all;
    const char *level;
    const char *done_name; /* NULL: it has no counts */
    uint64_t matched;
    uint64_t done;
    uint64_t in_flight; /* passed over */
    bool was_cut_short; /* it ended before all messages were looked at */
    const char *error;  /* it ended there, for this reason */
};

/* Writes one object, without a newline. Never fails if RECORD_ADMIN_LINE_MAX bytes are left. */
void record_write_admin(struct json *json, const struct record_admin *admin);

#endif
