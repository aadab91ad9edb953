/* SPDX-License-Identifier: MIT */
/*
 * audit.c - the audit file: outcome rows as JSON Lines, each exactly once
 *
 * The progress of the export, where no number is ahead of the next:
 *
 *   cursor_seq   the spool's cursor: synced, its rows may be pruned
 *   written_seq  in the file (or left out, as a delivery may be)
 *   reported_seq passed to exported(), which copies the row to the journal
 *
 * Invariant: a row is in the file, synced, before the spool's cursor passes it,
 * and each line is whole. What a failed write leaves behind the last whole line
 * is cut off before anything else is written; kept_bytes is where. A sync that
 * fails proves nothing about what was written since the last one (the kernel may
 * have dropped those pages), so the export goes back to the cursor and writes
 * these rows again; the spool keeps them until then. exported() is called while
 * the row is in memory, before its line is written, and once only, however often
 * the line must be written.
 *
 * Another file is opened by audit_export() or audit_reopen() only. The first is
 * called after a commit, so the old file's cursor is durable before the new one
 * has a line: a start after a crash reads one file only, or, if that one is still
 * empty, the one it was rotated to.
 *
 * Lines about what operators changed are of their own kind (record/admin.h): no
 * rows, outside of the numbering, and in memory until they are synced, which is
 * done at once (admin_lines.h).
 *
 * Diagnostics: audit_deleted, audit_moved, audit_settings_kept, audit_admin_lost; of the
 * other files: audit-private.h names them.
 */
#include "daemon/audit/audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/reload.h"
#include "base/same_file.h"
#include "base/view.h"
#include "daemon/audit/audit-private.h"
#include "daemon/audit/sealing.h"
#include "daemon/audit/tail.h"

/* ---- syncing ---- */

/* What was on disk in it; earlier lines are in files that were rotated. */
static void audit_describe_lost(const struct audit *audit,
                                bool is_replaced,
                                char text[static AUDIT_LOST_MAX])
{
    uint64_t first = audit_first_seq(audit->file.fd), last = audit->progress.cursor_seq;

    if (audit->file.synced_bytes == 0 || first > last)
        (void)snprintf(text, AUDIT_LOST_MAX, "nothing");
    else if (first > 0)
        (void)snprintf(text, AUDIT_LOST_MAX, "its lines from seq %" PRIu64 " to %" PRIu64 "%s",
                       first, last, is_replaced ? AUDIT_EXCEPT : "");
    else
        (void)snprintf(text, AUDIT_LOST_MAX, "its lines up to seq %" PRIu64 "%s", last,
                       is_replaced ? AUDIT_EXCEPT : "");
}

/* Another file may have its name now: an older copy, or one with all of its lines. What that
 * one lacks is logged when it is opened (audit_behind). */
static bool audit_detect_deletion(struct audit *audit)
{
    char file[AUDIT_NAME_MAX], lost[AUDIT_LOST_MAX], quoted[AUDIT_LOST_MAX];
    uint64_t suppressed = 0;
    struct stat st, named;

    if (fstat(audit->file.fd, &st) < 0 || st.st_nlink > 0)
        return false;
    bool is_replaced =
        stat(audit->name, &named) == 0 && S_ISREG(named.st_mode) && named.st_size > 0;
    audit_describe_lost(audit, is_replaced, lost);
    if (audit_may_log_replacement(audit, &suppressed))
        log_warning(
            "audit_deleted file=%s lost=%s next=%s suppressed=%" PRIu64
            " remedy=\"find out what deletes or replaces it; rotate by rename and " RELOAD_REMEDY
            "\"",
            audit_quote_file(audit, file),
            log_quote(quoted, sizeof(quoted), lost, strlen(lost)),
            is_replaced ? "that_file" : "new_file", suppressed);
    audit_rewind_to_cursor(audit);
    sealing_restart(&audit->sealing, SEALING_DELETED);
    audit_close(audit);
    return true;
}

static bool audit_has_its_name(const struct audit *audit)
{
    struct stat open_st, name_st;
    int r = stat(audit->name, &name_st);

    if (fstat(audit->file.fd, &open_st) < 0 || (r < 0 && errno != ENOENT && errno != ENOTDIR))
        return true;
    return r == 0 && same_file(&open_st, &name_st);
}

/* A file that was renamed is whole: nothing is written again. */
static void audit_detect_rename(struct audit *audit)
{
    char file[AUDIT_NAME_MAX];
    uint64_t suppressed = 0;

    if (audit_has_its_name(audit))
        return;
    /* It was deleted after audit_detect_deletion() looked, and before stat(). */
    if (audit_detect_deletion(audit))
        return;
    if (audit_may_log_replacement(audit, &suppressed))
        log_notice("audit_moved file=%s next=new_file suppressed=%" PRIu64,
                   audit_quote_file(audit, file), suppressed);
    if (audit_seal(audit) == 0 && fdatasync(audit->file.fd) == 0)
        sealing_note_sync(&audit->sealing); /* else the next file has lines of the same seal */
    audit_close(audit);
}

static void audit_advance_cursor(struct audit *audit)
{
    audit->progress.cursor_seq = audit->progress.written_seq;
    audit->progress.unsynced_rows = 0;
    audit->file.synced_bytes = audit->file.kept_bytes;
    admin_lines_note_synced(&audit->admin);
    sealing_note_sync(&audit->sealing);
    spool_set_exported(audit->spool, audit->progress.cursor_seq);
}

/* False: the export went back to the cursor. */
static bool audit_sync_file(struct audit *audit)
{
    if (audit->file.fd >= 0 && audit_detect_deletion(audit))
        return false;
    if (audit_detect_truncation(audit) < 0)
        return false; /* the next export opens the file and logs what is wrong with it */
    if (audit->progress.unsynced_rows == 0 && audit->admin.written_bytes == 0 &&
        !audit->sealing.is_unsynced)
        return true;
    FAILPOINT("export.before_sync");
    if (audit->file.fd >= 0 && fdatasync(audit->file.fd) < 0) {
        int error = -errno;

        audit_rewind_to_cursor(audit);
        audit_begin_waiting(audit, error);
        return false;
    }
    FAILPOINT("export.after_sync");
    audit_advance_cursor(audit);
    FAILPOINT("export.before_cursor_commit");
    return true;
}

void audit_sync(struct audit *audit, int64_t now_boot_ms)
{
    audit->now_ms = now_boot_ms;
    if (audit_sync_file(audit) && audit->file.fd >= 0)
        audit_detect_rename(audit);
}

int64_t audit_due_ms(const struct audit *audit)
{
    int64_t seal_ms = sealing_due_sync_ms(&audit->sealing, AUDIT_SYNC_MS);
    int64_t rows_ms = audit->progress.unsynced_rows > 0
                          ? audit->progress.unsynced_since_ms + AUDIT_SYNC_MS
                          : INT64_MAX;

    return seal_ms < rows_ms ? seal_ms : rows_ms;
}

bool audit_is_moved(const struct audit *audit)
{
    return audit->progress.unsynced_rows > 0 && audit->file.fd >= 0 &&
           !audit_has_its_name(audit);
}

/* ---- public functions ---- */

static int audit_apply_settings(struct audit *audit, const struct audit_settings *settings)
{
    char *file = strdup(settings->file);

    if (!file)
        return -ENOMEM;
    audit->had_gaps = audit->name && !(audit->has_deliveries && audit_writes_file(audit));
    free(audit->name);
    audit->name = file;
    audit->has_deliveries = settings->has_deliveries;
    audit->own_lane = settings->own_lane;
    sealing_set(&audit->sealing, settings->seal_ms, settings->publishes_seals);
    return 0;
}

static void audit_try_open(struct audit *audit)
{
    int r = audit_writes_file(audit) ? audit_open(audit) : 0;

    if (r < 0)
        audit_begin_waiting(audit, r);
}

int audit_new(const struct audit_settings *settings,
              struct spool *spool,
              const struct audit_ops *ops,
              void *userdata,
              struct audit **ret)
{
    struct audit *audit = calloc(1, sizeof(*audit));
    int r = audit ? audit_apply_settings(audit, settings) : -ENOMEM;

    if (r < 0) {
        free(audit);
        return r;
    }
    audit->spool = spool;
    audit->ops = *ops;
    audit->userdata = userdata;
    audit->file.fd = -1;
    audit->replacements = (struct log_limit){.interval_ms = 60000, .burst = 10};
    audit->progress.cursor_seq = spool_exported(spool);
    audit->progress.written_seq = audit->progress.cursor_seq;
    audit->progress.reported_seq = audit->progress.cursor_seq;
    audit_try_open(audit);
    *ret = audit;
    return 0;
}

void audit_free(struct audit *audit)
{
    if (!audit)
        return;
    (void)audit_seal(audit);
    (void)audit_sync_file(audit); /* what is not synced is exported after the next start */
    audit_close(audit);
    free(audit->name);
    free(audit);
}

int audit_export(struct audit *audit, int64_t now_boot_ms, bool *ret_more)
{
    uint64_t waited = spool_waiting(audit->spool);
    int r = 0;

    audit->now_ms = now_boot_ms;
    *ret_more = false;
    if (audit->outage.is_waiting && now_boot_ms < audit->outage.retry_ms)
        return 0;
    if (audit->outage.disk_errors >= AUDIT_DISK_TRIES)
        audit_set_aside(audit);
    if (audit->outage.is_waiting)
        audit_sync(audit,
                   now_boot_ms); /* the operator may have moved the file away to make room */
    audit->batch.error = audit_detect_truncation(audit);
    if (audit->batch.error == 0 && audit_writes_file(audit))
        audit->batch.error = audit_open(audit);
    if (audit->batch.error == 0 && spool_last_seq(audit->spool) > audit->progress.written_seq)
        r = audit_append(audit);
    if (r == 0 && audit->batch.error == 0)
        audit->batch.error = audit_write_admin(audit);
    if (r == 0 && audit->batch.error == 0 && sealing_is_due(&audit->sealing, now_boot_ms))
        audit->batch.error = audit_seal(audit);
    if (r < 0)
        return r;
    audit->outage.disk_errors = audit->batch.error == -EIO ? audit->outage.disk_errors + 1 : 0;
    if (audit->batch.error < 0)
        audit_begin_waiting(audit, audit->batch.error);
    else if (!audit->outage.is_waiting ||
             audit_sync_file(audit)) /* a write alone proves no recovery */
        audit_end_waiting(audit, waited);
    if (audit->progress.unsynced_rows >= AUDIT_SYNC_ROWS ||
        audit->file.kept_bytes - audit->file.synced_bytes >= AUDIT_SYNC_BYTES ||
        audit->admin.written_bytes > 0 || now_boot_ms >= audit_due_ms(audit) ||
        (audit->progress.unsynced_rows > 0 && spool_awaits_export(audit->spool)))
        audit_sync(audit, now_boot_ms);
    *ret_more =
        !audit->outage.is_waiting && audit->progress.written_seq < spool_last_seq(audit->spool);
    return 0;
}

void audit_add_admin(struct audit *audit, const struct record_admin *admin)
{
    char file[AUDIT_NAME_MAX];

    if (!admin_lines_add(&audit->admin, admin))
        log_error("audit_admin_lost file=%s admin=%s uid=%d remedy=\"the file cannot be "
                  "written, and too many such lines wait: audit_waiting has the cause\"",
                  audit_quote_file(audit, file), admin->admin, (int)admin->uid);
}

bool audit_admin_waits(const struct audit *audit)
{
    return audit->admin.used > 0;
}

void audit_reopen(struct audit *audit, const struct audit_settings *settings)
{
    if (audit->file.fd >= 0) {
        (void)audit_seal(audit);      /* else the chain continues in the new file */
        (void)audit_sync_file(audit); /* a failure was logged; the rows go to the new file */
    }
    audit_close(audit);
    if (audit_apply_settings(audit, settings) < 0)
        log_error("audit_settings_kept error=\"%s\" remedy=\"free memory, then " RELOAD_REMEDY
                  "\"",
                  strerror(ENOMEM));
    audit->outage.retry_ms = audit->now_ms;
    audit_try_open(audit);
}

bool audit_is_healthy(const struct audit *audit)
{
    return !audit->outage.is_waiting;
}

const char *audit_error(const struct audit *audit)
{
    return audit->outage.is_waiting ? audit_error_text(audit->outage.error) : "";
}

struct view audit_newest_seal(const struct audit *audit)
{
    return sealing_newest(&audit->sealing);
}
