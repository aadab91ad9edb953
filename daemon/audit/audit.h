/* SPDX-License-Identifier: MIT */
/*
 * audit.h - the audit file: outcome rows as JSON Lines, each exactly once
 *
 * The outcome table is the truth, the file an export of it. After each commit
 * the gateway calls audit_export(): new rows are appended with one write and no
 * sync. Every AUDIT_SYNC_MS, AUDIT_SYNC_ROWS or AUDIT_SYNC_BYTES, or when the spool awaits
 * it, the file is synced and the spool's cursor is advanced, which becomes durable with
 * the next commit. So after a crash the file may be ahead of the cursor, never behind it:
 * its tail is read at open and those rows are not written again; half a line at the end,
 * from a torn write, is cut off.
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
#include <sys/types.h>

#include "base/attr.h"
#include "base/view.h"
#include "daemon/record/admin.h"
#include "store/spool.h"

/* Each sync of a file that grows also makes the file system write its journal. Rows that are
 * not synced stay in the database, so to wait costs no record. */
#define AUDIT_SYNC_MS    10000
#define AUDIT_SYNC_ROWS  10000
#define AUDIT_SYNC_BYTES ((off_t)8 * 1024 * 1024)

struct audit_settings {
    const char *file;     /* "": write no file, every row counts as exported */
    bool has_deliveries;  /* false: delivered rows are not written; seq then has gaps that
                             `mqtt-spool audit` accepts only with --deliveries-off */
    int64_t seal_ms;      /* between two seals, while there are new lines; 0: no seals */
    bool publishes_seals; /* audit_newest_seal() is awaited: a seal is synced soon */
    const char *own_lane; /* of messages of the daemon itself: their lines are sealed with
                              others, and are no reason for a seal. NULL: none; borrowed */
};

/* exported() is called with each row that is exported, in order, once; for the journal. */
struct audit_ops {
    void (*exported)(void *userdata, const struct spool_record *record);
};

/*
 * Seals (daemon/seal/seal.h) are lines of the file, too: one for each seal_ms in which lines
 * were written, one after many lines, and one before a file is closed. They are synced with
 * the next rows. A file whose last seal is not certain gets a new chain (logged).
 */
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

/*
 * audit_add_admin() - a line about what an operator changed, which is committed
 * @admin: copied
 *
 * The next audit_export() writes and syncs it, behind the rows that it writes; while the file
 * cannot be written it waits in memory, and is lost (logged) if too many do.
 */
void audit_add_admin(struct audit *audit, const struct record_admin *admin);
/* Is such a line not on the disk yet? */
bool audit_admin_waits(const struct audit *audit);

/* When the next sync is due on the boot clock; INT64_MAX: nothing waits. */
int64_t audit_due_ms(const struct audit *audit);
/* Has the file another name, or none, while something of it is not synced? To look costs two
 * calls of stat(); audit_sync() then finishes it. */
bool audit_is_moved(const struct audit *audit);
/* Syncs what was written and advances the spool's cursor; durable with the next commit. */
void audit_sync(struct audit *audit, int64_t now_boot_ms);
/* HUP: syncs the old file, advances the spool's cursor (the caller commits BEFORE the next
 * export), opens the file of @settings. */
void audit_reopen(struct audit *audit, const struct audit_settings *settings);
/* The newest seal of this chain that is synced, as it is in the file, without the line break;
 * empty: none. Valid until the next call of any function. */
struct view audit_newest_seal(const struct audit *audit);
/* Did the last write or sync succeed? */
bool audit_is_healthy(const struct audit *audit);
/* The error as text, valid until the next strerror(); "": none. */
const char *audit_error(const struct audit *audit);

#endif
