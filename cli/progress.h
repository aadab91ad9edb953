/* SPDX-License-Identifier: MIT */
/*
 * progress.h - a line on a terminal that says how far a long command is
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_PROGRESS_H
#define MQTT_SPOOLD_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool is_shown; /* standard error is a terminal, and standard output is not */
    bool is_begun;
    int64_t due_ms;
};

void progress_init(struct progress *progress, bool has_output);
/* Now and then: "exported 1200". */
void progress_show(struct progress *progress, const char *what, uint64_t count);
/* Now and then: "reading [=====     ] 51 %, 1200", of @all; 0: without the bar. */
void progress_show_share(
    struct progress *progress, const char *what, uint64_t done, uint64_t all, uint64_t count);
/* Removes the line. */
void progress_end(struct progress *progress);

#endif
