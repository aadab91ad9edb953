/* SPDX-License-Identifier: MIT */
/*
 * watch_page.h - one screen of the watch
 *
 * Made of the status object alone, in the size of the terminal: what does not fit is left out,
 * from the end. Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_WATCH_PAGE_H
#define MQTT_SPOOLD_CLI_VERBS_WATCH_PAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/terminal.h"
#include "cli/verbs/watch_failures.h"

/* Messages of the backlog, one value a second; a ring. */
enum { WATCH_HISTORY_MAX = 512 };
struct watch_history {
    uint64_t values[WATCH_HISTORY_MAX];
    unsigned count;
    unsigned next;
};
void watch_history_add(struct watch_history *history, uint64_t value);

/* All of it is borrowed. */
struct watch_page {
    const json_t *root; /* NULL: there is no status now */
    int64_t now_ms;     /* wall clock: how old the object is */
    bool running;
    bool is_own; /* the object is the daemon's */
    struct terminal_size size;
    bool has_colours;
    bool has_blocks;
    const struct watch_history *history;
    const struct watch_failures *failures;
};

/* From the first place of the screen on; the rest of it is cleared. */
void watch_page_print(const struct watch_page *page, FILE *stream);

#endif
