/* SPDX-License-Identifier: MIT */
/*
 * audit.h - the audit file: outcome rows as JSON Lines, each exactly once
 *
 * The outcome table is the truth, the file an export of it. After each commit
 * the gateway calls audit_export(): new rows are appended with one write and no
 * sync. Every AUDIT_SYNC_MS or AUDIT_SYNC_ROWS the file is synced and the spool's
 * cursor is advanced, which becomes durable with the next commit. So after a
 * crash the file may be ahead of the cursor, never behind it: its tail is read
 * at open and those rows are not written again; half a line at the end, from a
 * torn write, is cut off.
 *
 * A file that cannot be written (disk full, folder read-only) stops nothing:
 * rows wait in the database, one line is logged when that begins and one when it
 * ends.
 *
 * Invariant: a row is pruned from the database only after its line was synced.
 * Diagnostics: see audit.c.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_AUDIT_AUDIT_H
#define MQTT_SPOOLD_DAEMON_AUDIT_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "store/spool.h"

#define AUDIT_SYNC_MS   1000
#define AUDIT_SYNC_ROWS 10000

struct audit_settings {
    const char *file;    /* "": write no file, every row counts as exported */
    bool has_deliveries; /* false: delivered rows are not written; seq then has gaps that
                             `mqtt-spool audit` accepts only with --deliveries-off */
};

/* exported() is called with each row that is exported, in order, once; for the journal. */
struct audit_ops {
    void (*exported)(void *userdata, const struct spool_record *record);
};

struct audit;

/*
 * audit_new() - open the file and determine the progress of the export
 * @settings, @ops: copied; @spool, @userdata: borrowed until audit_free()
 *
 * Return: 0, also when the file cannot be opened (logged; tried again by
 * audit_export(), at most once a second); -ENOMEM.
 */
MUST_CHECK int audit_new(const struct audit_settings *settings,
                         struct spool *spool,
                         const struct audit_ops *ops,
                         void *userdata,
                         struct audit **ret);
/* Syncs, advances the spool's cursor (the caller commits it), closes. NULL is accepted. */
void audit_free(struct audit *audit);

/*
 * audit_export() - append the rows that are committed and not yet written
 * @now_boot_ms: decides when to sync
 *
 * At most AUDIT_SYNC_ROWS rows or 4 MiB of lines a call; @ret_more: there are more.
 * Not durable before audit_sync() and the next commit.
 * Return: 0, also when the file cannot be written now; negative errno of the
 * spool.
 */
MUST_CHECK int audit_export(struct audit *audit, int64_t now_boot_ms, bool *ret_more);

/* When the next sync is due on the boot clock; INT64_MAX: nothing waits. */
int64_t audit_due_ms(const struct audit *audit);
/* Syncs what was written and advances the spool's cursor; durable with the next commit. */
void audit_sync(struct audit *audit, int64_t now_boot_ms);
/* HUP: syncs the old file, advances the spool's cursor (the caller commits BEFORE the next
 * export), opens the file of @settings. */
void audit_reopen(struct audit *audit, const struct audit_settings *settings);
/* Did the last write or sync succeed? */
bool audit_is_healthy(const struct audit *audit);
/* The error as text, valid until the next strerror(); "": none. */
const char *audit_error(const struct audit *audit);

#endif
