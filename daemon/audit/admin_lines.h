/* SPDX-License-Identifier: MIT */
/*
 * admin_lines.h - lines about operators' changes that are not safely in the file yet
 *
 * In memory, unlike outcome rows: the caller waits for their sync before it reports
 * the change as done. While the file cannot be written they wait here, and those
 * that do not fit are dropped and counted.
 *
 * Invariant: the first written_bytes are in the file and not synced; all of it is
 * whole lines. Logs nothing. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_AUDIT_ADMIN_LINES_H
#define MQTT_SPOOLD_DAEMON_AUDIT_ADMIN_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/view.h"
#include "daemon/record/admin.h"

/* Some 200 lines. */
#define ADMIN_LINES_MAX ((size_t)64 * 1024)

struct admin_lines {
    size_t used;
    size_t written_bytes;
    char text[ADMIN_LINES_MAX];
};

/* Return: false: there is no room for it. */
bool admin_lines_add(struct admin_lines *lines, const struct record_admin *admin);
/* What is to be written; empty: nothing. */
struct view admin_lines_unwritten(const struct admin_lines *lines);
/* All of that was written. */
void admin_lines_note_written(struct admin_lines *lines);
/* What was written is not certain to be in the file: it is written again. */
void admin_lines_rewind(struct admin_lines *lines);
/* What was written is synced. */
void admin_lines_note_synced(struct admin_lines *lines);

#endif
