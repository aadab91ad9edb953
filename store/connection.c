/* SPDX-License-Identifier: MIT */
/*
 * connection.c - SQLite's handle, and what its errors mean
 *
 * An error of I/O sticks, and the connection then neither commits nor
 * checkpoints again: after a failed fsync the kernel may have dropped the
 * pages, and a second try that succeeds proves nothing. What the next opening
 * has to know of it is written to the mark at once.
 *
 * Files that were removed or renamed take commits as before, and no later open finds
 * them; so the files at the configured path are compared with those that are open
 * (identity.c), and where they differ nothing is checkpointed any more.
 */
#include "base/full.h"
#include "store/salvage/mark.h"
#include "store/salvage/reads.h"
#include "store/salvage/survey.h"
#include "store/spool-private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *spool_error(const struct spool *spool)
{
    return spool->conn.errmsg;
}

/* ---- the mark ---- */

struct mark spool_get_mark(const struct spool *spool)
{
    return (struct mark){.is_suspect = spool->conn.failed == -EBADMSG,
                         .is_unread = spool->conn.has_media_error,
                         .last_id = lane_set_committed_id(&spool->lanes),
                         .last_seq = spool->committed.last_seq};
}

int spool_note_mark(const struct spool *spool)
{
    if (spool->files.mark_fd < 0 || spool->files.is_moved)
        return 0;
    const struct mark mark = spool_get_mark(spool);
    return mark_write(spool->files.mark_fd, &mark);
}

/* Damage, which the next open salvages, or a media error, which it surveys the files for.
 * Without this it might notice neither. */
static void write_suspect_mark(const struct spool *spool)
{
    if (spool_note_mark(spool) == 0 && spool->files.mark_fd >= 0)
        (void)fdatasync(spool->files.mark_fd); /* if it fails, the error occurs again */
}

/* ---- errors ---- */

int spool_fail(struct spool *spool, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(spool->conn.errmsg, sizeof(spool->conn.errmsg), format, arguments);
    va_end(arguments);
    if (error < 0 && !spool->conn.is_reader)
        spool->conn.failed = error;
    if (error == -EBADMSG || spool->conn.has_media_error)
        write_suspect_mark(spool);
    return error;
}

/* Of one block, which a sync is not. Here SQLite has forgotten the errno of a write. */
static bool is_media_error(struct spool *spool)
{
    int rc = sqlite3_extended_errcode(spool->conn.db);
    return rc == SQLITE_IOERR_READ ||
           (rc == SQLITE_IOERR_WRITE && reads_bad_writes() != spool->conn.bad_writes);
}

int spool_survey_for_reader(struct spool *spool)
{
    struct survey survey;
    int r = survey_take(spool->files.directory_fd, &survey, spool->conn.errmsg);
    spool->conn.is_surveyed = true;
    if (r == 0 && (survey_found_damage(&survey) || survey.files[SURVEY_MARK].bad_count > 0))
        r = -EBADMSG;
    else if (r == 0)
        r = spool_fail(spool, -EIO, "a read failed that succeeds now");
    survey_done(&survey);
    return r;
}

int spool_note_full(struct spool *spool, int error)
{
    spool->room.full_error = error;
    spool->room.refused_error = error;
    spool->room.is_low = true;
    spool->room.is_measured = false;
    return spool_fail(spool, SPOOL_E_DISK, "%s (%s): no space to write %s", strerror(error),
                      full_error_name(error), spool->files.path);
}

int spool_result(struct spool *spool, int sqlite_rc)
{
    int error;
    switch (sqlite_rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        return spool_note_full(spool, reads_full_error());
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        error = SPOOL_E_BUSY;
        break;
    case SQLITE_NOMEM:
        error = -ENOMEM;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT: /* nothing is written here that would contradict a sound table */
        error = -EBADMSG;
        break;
    case SQLITE_READONLY:
        error = -EROFS;
        break;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        error = -EACCES;
        break;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (spool->conn.is_reader && is_media_error(spool))
            return spool_survey_for_reader(spool);
        error = -EIO;
        spool->conn.has_media_error |= is_media_error(spool);
        break;
    default:
        error = -EPROTO;
        break;
    }
    return spool_fail(spool, error, "%s (SQLite code %d, errno %d)",
                      sqlite3_errmsg(spool->conn.db), sqlite_rc,
                      sqlite3_system_errno(spool->conn.db));
}

int spool_read_number(struct spool *spool, enum stmt_id id, uint64_t *ret)
{
    struct stmt *stmt = spool_stmt(spool, id);
    int rc = stmt_step(stmt);
    uint64_t number = rc == SQLITE_ROW ? (uint64_t)stmt_int(stmt, 0) : 0;
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r == 0)
        *ret = number;
    return r;
}

void spool_end_fetch(struct spool *spool)
{
    if (spool->conn.fetch)
        stmt_reset(spool->conn.fetch);
    spool->conn.fetch = NULL;
}

static void end_source(struct spool *spool, const struct scan_source *source)
{
    if (source->table < TABLES)
        stmt_reset(spool_table_stmt(spool, source->table, TABLE_SCAN));
}

void spool_end_scan(struct spool *spool)
{
    struct scan *scan = &spool->conn.scan;
    spool_end_fetch(spool);
    if (!scan->lane)
        return;
    end_source(spool, &scan->segments);
    end_source(spool, &scan->message);
    *scan = (struct scan){0};
}

void spool_set_busy_wait(struct spool *spool, unsigned ms)
{
    spool->conn.busy_wait_ms = (int)ms;
    (void)sqlite3_busy_timeout(spool->conn.db, spool->conn.busy_wait_ms); /* never fails */
}

/* ---- the files at the configured path ---- */

int spool_verify_files(struct spool *spool)
{
    if (!spool->files.is_moved && !identity_holds(&spool->files.identity)) {
        spool->files.is_moved = true;
        (void)spool_fail(spool, SPOOL_E_MOVED, "files of the spool are not where they were");
    }
    return spool->files.is_moved ? SPOOL_E_MOVED : 0;
}

void spool_get_moved(const struct spool *spool, struct spool_moved *ret)
{
    identity_describe(&spool->files.identity, ret);
}
