/* SPDX-License-Identifier: MIT */
/*
 * watch_failures.h - the newest failures, for the watch
 *
 * From the files; a user that may not read them has none. Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_WATCH_FAILURES_H
#define MQTT_SPOOLD_CLI_VERBS_WATCH_FAILURES_H

#include <stdint.h>

enum { WATCH_FAILURES_MAX = 8, WATCH_FAILURE_MAX = 320 };

struct watch_failures {
    char lines[WATCH_FAILURES_MAX][WATCH_FAILURE_MAX]; /* visible forms; a ring */
    unsigned count;
    unsigned next;
    uint64_t seen_seq; /* nothing up to here is read again */
};

/* Reads what came since the last call, of the spool in @directory; NULL: none. */
void watch_failures_read(struct watch_failures *failures, const char *directory);
/* The newest is 0; NULL: there are fewer. */
const char *watch_failures_get(const struct watch_failures *failures, unsigned index);

#endif
