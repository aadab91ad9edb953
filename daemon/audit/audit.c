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
 * Diagnostics: audit_waiting, audit_resumed, audit_ahead, audit_begun,
 * audit_behind, audit_mended, audit_truncated, audit_set_aside, audit_deleted,
 * audit_moved, audit_settings_kept, audit_admin_lost.
 */
#include "daemon/audit/audit.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/condition.h"
#include "base/failpoint.h"
#include "base/json.h"
#include "base/log.h"
#include "base/regular.h"
#include "base/view.h"
#include "daemon/audit/admin_lines.h"
#include "daemon/audit/tail.h"
#include "daemon/record/admin.h"
#include "daemon/record/outcome.h"

#define AUDIT_FLUSH_BYTES  ((size_t)256 * 1024)
#define AUDIT_BUFFER_BYTES (AUDIT_FLUSH_BYTES + RECORD_PRUNED_MAX + RECORD_LINE_MAX + 2)
#define AUDIT_CALL_BYTES   ((size_t)4 * 1024 * 1024) /* of lines, in one call */
#define AUDIT_RETRY_MS     1000
#define AUDIT_DISK_TRIES   10 /* with EIO in a row: then the file gets another name */
#define AUDIT_ASIDE_MAX    1000
#define AUDIT_NAME_MAX     512 /* of a path in the log */
#define AUDIT_LOCKED       EUSERS

#define AUDIT_LOST_MAX 192
#define AUDIT_EXCEPT   ", except those that the file has that took its name"

/* The open file. */
struct audit_file {
    int fd;             /* -1: none is open */
    bool is_tail_known; /* a file was opened since the start, so written_seq is right */
    bool is_tail_dirty; /* bytes behind kept_bytes, to be cut */
    off_t kept_bytes;   /* of whole lines */
    off_t synced_bytes; /* of lines up to cursor_seq */
};

/* cursor_seq <= written_seq <= reported_seq; see the head of this file. */
struct audit_progress {
    uint64_t cursor_seq;
    uint64_t written_seq;
    uint64_t reported_seq;
    uint64_t unsynced_rows; /* written after cursor_seq */
    int64_t unsynced_since_ms;
};

/* While the file cannot be written. */
struct audit_outage {
    bool is_waiting;
    bool is_set_aside;     /* the file before this one, and this one was never written since */
    int error;             /* the cause, as of the last try */
    unsigned disk_errors;  /* EIO of reads and writes, in a row */
    int64_t retry_ms;      /* boot time */
    uint64_t resumed_rows; /* that waited during this condition: */
    struct condition unwritten;
};

/* Lines that are not yet written. */
struct audit_batch {
    size_t used;
    uint64_t last_seq; /* of the last row in the buffer or left out */
    uint64_t rows;
    size_t call_bytes;               /* of lines, in this call of audit_export() */
    int error;                       /* of the file */
    char buffer[AUDIT_BUFFER_BYTES]; /* pages that no line needed are never touched */
};

struct audit {
    char *name; /* "": no file is written */
    bool has_deliveries;
    bool had_gaps; /* the previous settings wrote no file, or no deliveries */
    struct spool *spool;
    struct audit_ops ops;
    void *userdata;
    int64_t now_ms; /* boot time of the current call */
    struct log_limit replacements;
    struct audit_file file;
    struct audit_progress progress;
    struct audit_outage outage;
    struct admin_lines admin;
    struct audit_batch batch;
};

static bool audit_writes_file(const struct audit *audit)
{
    return *audit->name != '\0';
}

/* ---- waiting ---- */

static const char *audit_quote_file(const struct audit *audit, char text[static AUDIT_NAME_MAX])
{
    return log_quote(text, AUDIT_NAME_MAX, audit->name, strlen(audit->name));
}

static const char *audit_error_text(int error)
{
    if (error == -EBADMSG)
        return "this is no audit file";
    if (error == -AUDIT_LOCKED)
        return "another process writes it";
    return regular_error(error);
}

static const char *
audit_quote_remedy(const struct audit *audit, int error, char text[static AUDIT_NAME_MAX])
{
    char remedy[PATH_MAX], name[PATH_MAX];
    int n;

    (void)snprintf(name, sizeof(name), "%s", audit->name);
    if (error == -ENOENT || error == -ENOTDIR)
        n = snprintf(remedy, sizeof(remedy), "make the folder %s, writable for the daemon",
                     dirname(name));
    else if (error == -AUDIT_LOCKED)
        n = snprintf(remedy, sizeof(remedy), "name another audit.file for one of the two");
    else if (error == -REGULAR_OTHER || error == -EISDIR || error == -EBADMSG)
        n = snprintf(remedy, sizeof(remedy), "something else has its name: move it away");
    else
        n = snprintf(remedy, sizeof(remedy),
                     "look at its permissions, its folder's owner and the free space");
    return log_quote(text, AUDIT_NAME_MAX, remedy,
                     n < (int)sizeof(remedy) ? (size_t)n : sizeof(remedy) - 1);
}

static void audit_begin_waiting(struct audit *audit, int error)
{
    const char *why = audit_error_text(error);
    char file[AUDIT_NAME_MAX], text[AUDIT_NAME_MAX], remedy[AUDIT_NAME_MAX];

    audit->outage.error = error;
    audit->outage.retry_ms = audit->now_ms + AUDIT_RETRY_MS;
    audit->outage.is_waiting = true;
    if (!condition_set(&audit->outage.unwritten, audit->now_ms))
        return;
    log_warning("audit_waiting file=%s error=%s records=kept_in_spool retry_ms=%d remedy=%s",
                audit_quote_file(audit, file), log_quote(text, sizeof(text), why, strlen(why)),
                AUDIT_RETRY_MS, audit_quote_remedy(audit, error, remedy));
}

static void audit_end_waiting(struct audit *audit, uint64_t rows)
{
    char file[AUDIT_NAME_MAX];

    if (audit->outage.is_waiting) {
        audit->outage.resumed_rows += rows;
        audit->outage.is_set_aside = false;
    }
    audit->outage.is_waiting = false;
    if (!condition_clear(&audit->outage.unwritten, audit->now_ms))
        return;
    log_notice("audit_resumed file=%s rows=%" PRIu64, audit_quote_file(audit, file),
               audit->outage.resumed_rows);
    audit->outage.resumed_rows = 0;
}

/* Another program can truncate, delete or rename the file as often as it likes. */
static bool audit_may_log_replacement(struct audit *audit, uint64_t *ret_suppressed)
{
    return log_limit_pass(&audit->replacements, audit->now_ms, ret_suppressed);
}

/* ---- opening ---- */

/*
 * Two daemons with one file would cut off each other's lines as torn writes. The
 * lock belongs to the open file: it follows a rename and ends with the process.
 * A file system without locks is used without one.
 */
static int audit_lock(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK ? -AUDIT_LOCKED : 0;
}

/* The last seq of the file that was rotated before this one; 0: there is none, or it is
 * unreadable. */
static uint64_t audit_rotated_seq(const struct audit *audit)
{
    AUTO_FREE char *name = NULL;
    AUTO_CLOSE int fd = -1;
    uint64_t seq = 0;
    off_t cut;

    if (asprintf(&name, "%s.1", audit->name) < 0) {
        name = NULL;
        return 0;
    }
    fd = regular_openat(AT_FDCWD, name, O_RDWR, 0);
    if (fd < 0 || audit_lock(fd) < 0 ||
        audit_tail_mend(fd, audit->progress.cursor_seq, &seq, &cut) != 0 || fdatasync(fd) < 0)
        return 0; /* its unsynced rows are written again: a duplicate is better than a loss */
    return seq;
}

/* Lines that the spool cannot know: its database is older than the file, or another one. */
static void audit_log_ahead(const struct audit *audit, uint64_t seq)
{
    char file[AUDIT_NAME_MAX];

    log_error("audit_ahead file=%s file_seq=%" PRIu64 " spool_seq=%" PRIu64
              " cause=\"the database was restored from an older copy, or the file is of "
              "another spool\" remedy=\"stop the daemon, move the file away under another name "
              "(not FILE.1), start it, and keep that file\" going_on_after_seq=%" PRIu64,
              audit_quote_file(audit, file), seq, spool_last_seq(audit->spool),
              audit->progress.written_seq);
}

/* Removed or truncated while no daemon ran; or rotated twice, which is harmless. */
static void audit_log_begun(const struct audit *audit)
{
    char file[AUDIT_NAME_MAX];

    log_notice("audit_begun file=%s after_seq=%" PRIu64
               " cause=\"the file was missing or empty, and FILE.1 ends too early\""
               " remedy=\"mqtt-spool audit, given all files that were rotated, reports what "
               "is missing\"",
               audit_quote_file(audit, file), audit->progress.cursor_seq);
}

struct audit_gap {
    uint64_t from;
    uint64_t to;
    uint64_t cursor;
};

static int audit_gap_add(void *userdata, const struct spool_record *record)
{
    struct audit_gap *gap = userdata;

    if (record->seq > gap->cursor)
        return 1;
    gap->from = gap->to == 0 ? record->seq : gap->from;
    gap->to = record->seq;
    return 0;
}

/* If deliveries are or were left out, only the line of a failure that the spool keeps is known
 * to be missing. A read error of the spool is left to the next export. */
static bool audit_find_failures(const struct audit *audit, uint64_t seq, struct audit_gap *gap)
{
    *gap = (struct audit_gap){.cursor = audit->progress.cursor_seq};
    int r = spool_each_record(audit->spool, seq, true, 0, audit_gap_add, gap);
    return r >= 0 && gap->to > 0;
}

/*
 * The file ends at @seq, before the cursor, so it is not the file that was synced
 * up to the cursor. Those rows may be pruned, and are not written again.
 */
static void audit_log_behind(const struct audit *audit, uint64_t seq)
{
    struct audit_gap gap = {.from = seq + 1, .to = audit->progress.cursor_seq};
    char file[AUDIT_NAME_MAX];

    if ((!audit->has_deliveries || audit->had_gaps) && !audit_find_failures(audit, seq, &gap))
        return;
    log_error("audit_behind file=%s file_seq=%" PRIu64 " spool_seq=%" PRIu64
              " missing_from=%" PRIu64 " missing_to=%" PRIu64
              " cause=\"these lines were on disk (unless audit.deliveries or audit.file left "
              "them out then) and are not in this file: it is an older copy, or another one\" "
              "remedy=\"look for the newer file; mqtt-spool failures has the failures that are "
              "kept\"",
              audit_quote_file(audit, file), seq, audit->progress.cursor_seq, gap.from, gap.to);
}

/* The lines are synced, and the process that wrote them has reported them. */
static void audit_adopt_tail(struct audit *audit, uint64_t seq)
{
    audit->file.is_tail_known = true;
    if (seq == 0 && audit->progress.cursor_seq > 0) {
        audit_log_begun(audit);
    } else if (seq > spool_last_seq(audit->spool)) {
        audit_log_ahead(audit, seq);
    } else if (seq > audit->progress.cursor_seq) {
        audit->progress.cursor_seq = seq;
        audit->progress.written_seq = seq;
        audit->progress.reported_seq = seq;
        spool_set_exported(audit->spool, seq);
    }
}

/* A power cut that undoes the new name would lose the lines with it. */
static int audit_sync_folder(const struct audit *audit)
{
    char name[PATH_MAX];
    AUTO_CLOSE int fd = -1;

    (void)snprintf(name, sizeof(name), "%s", audit->name); /* fits: the file was opened */
    fd = open(dirname(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* If the last line reaches the cursor, the spool still has all rows that were cut. */
static void audit_log_mended(const struct audit *audit, uint64_t seq, off_t cut)
{
    char file[AUDIT_NAME_MAX], records[64] = "written_again";

    if (seq < audit->progress.cursor_seq)
        (void)snprintf(records, sizeof(records), "\"written again from seq %" PRIu64 " on\"",
                       audit->progress.cursor_seq + 1);
    log_warning("audit_mended file=%s cut_bytes=%jd records=%s", audit_quote_file(audit, file),
                (intmax_t)cut, records);
}

static int audit_mend_tail(const struct audit *audit, int fd, uint64_t *ret_seq)
{
    off_t cut = 0;
    int r = audit_tail_mend(fd, audit->progress.cursor_seq, ret_seq, &cut);

    FAILPOINT("export.after_mend");
    if (r < 0)
        return r;
    if (cut > 0)
        audit_log_mended(audit, *ret_seq, cut);
    return fdatasync(fd) < 0 ? -errno : 0;
}

static int audit_examine(struct audit *audit, int fd)
{
    uint64_t seq = 0;
    struct stat st;
    int r = audit_mend_tail(audit, fd, &seq);

    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0) {
        r = audit_sync_folder(audit);
        if (r < 0)
            return r;
    }
    audit->file.kept_bytes = st.st_size;
    audit->file.synced_bytes = st.st_size;
    audit->file.is_tail_dirty = false;
    if (!audit->file.is_tail_known && seq == 0) /* perhaps with lines about operators */
        seq = audit_rotated_seq(audit);
    if (seq > 0 && seq < audit->progress.cursor_seq)
        audit_log_behind(audit, seq);
    if (!audit->file.is_tail_known)
        audit_adopt_tail(audit, seq);
    return 0;
}

static int audit_open(struct audit *audit)
{
    AUTO_CLOSE int fd = -1;
    int r;

    if (audit->file.fd >= 0)
        return 0;
    fd = regular_openat(AT_FDCWD, audit->name, O_RDWR | O_APPEND | O_CREAT, 0640);
    if (fd < 0)
        return fd;
    r = audit_lock(fd);
    if (r == 0)
        r = audit_examine(audit, fd);
    if (r < 0)
        return r;
    audit->file.fd = cleanup_take_fd(&fd);
    return 0;
}

/* ---- writing ---- */

/* Cuts what a write left behind the last whole line. The size is read each time, because the
 * next line begins where the file ends. */
static int audit_cut_tail(struct audit *audit)
{
    struct stat st;

    if (fstat(audit->file.fd, &st) < 0)
        return -errno;
    if (audit->file.is_tail_dirty && st.st_size > audit->file.kept_bytes) {
        if (ftruncate(audit->file.fd, audit->file.kept_bytes) < 0)
            return -errno;
        st.st_size = audit->file.kept_bytes;
    }
    audit->file.is_tail_dirty = false;
    audit->file.kept_bytes = st.st_size;
    return 0;
}

static void audit_close(struct audit *audit)
{
    if (audit->file.fd < 0)
        return;
    if (audit->file.is_tail_dirty)
        (void)audit_cut_tail(audit); /* if that fails, the next start repairs it */
    (void)close(audit->file.fd);     /* synced, or abandoned */
    audit->file.fd = -1;
}

/* So what was written since the last sync is written again. */
static void audit_rewind_to_cursor(struct audit *audit)
{
    audit->progress.written_seq = audit->progress.cursor_seq;
    audit->progress.unsynced_rows = 0;
    audit->file.kept_bytes = audit->file.synced_bytes;
    audit->file.is_tail_dirty = true;
    admin_lines_rewind(&audit->admin);
}

/*
 * Another process has truncated the file. What was synced and cut is lost; what was
 * not synced is still in the spool and is written again. Half a line that remains is
 * cut, because it would spoil the line that follows it.
 */
static int audit_recover_truncated(struct audit *audit, off_t size)
{
    char file[AUDIT_NAME_MAX];
    uint64_t seq = 0, suppressed = 0;
    struct stat st;
    int r;

    if (audit_may_log_replacement(audit, &suppressed))
        log_error(
            "audit_truncated file=%s lost_bytes=%jd written_again_after_seq=%" PRIu64
            " suppressed=%" PRIu64
            " remedy=\"rotate by rename and HUP, never by copytruncate; and write no older "
            "copy over the file while the daemon runs\"",
            audit_quote_file(audit, file), (intmax_t)(audit->file.kept_bytes - size),
            audit->progress.cursor_seq, suppressed);
    r = audit_mend_tail(audit, audit->file.fd, &seq);
    if (r < 0)
        return r;
    if (fstat(audit->file.fd, &st) < 0)
        return -errno;
    if (seq > 0 && seq < audit->progress.cursor_seq)
        audit_log_behind(audit, seq);
    audit->file.kept_bytes = st.st_size;
    audit->file.synced_bytes = st.st_size;
    audit->file.is_tail_dirty = false;
    audit->progress.written_seq =
        seq > audit->progress.cursor_seq ? seq : audit->progress.cursor_seq;
    audit->progress.unsynced_rows = audit->progress.written_seq - audit->progress.cursor_seq;
    admin_lines_rewind(&audit->admin); /* they may be in the file: twice is better than not */
    return 0;
}

/* ---- a file with media errors ---- */

static bool audit_rename_aside(const struct audit *audit, char name[static PATH_MAX])
{
    for (int i = 1; i < AUDIT_ASIDE_MAX; i++) {
        int length = snprintf(name, PATH_MAX, "%s.unread-%d", audit->name, i);

        if (length < 0 || length >= PATH_MAX)
            return false;
        if (renameat2(AT_FDCWD, audit->name, AT_FDCWD, name, RENAME_NOREPLACE) == 0)
            return true;
        if (errno == EINVAL && access(name, F_OK) < 0) /* a file system without that flag */
            return rename(audit->name, name) == 0;
        if (errno != EEXIST && errno != EINVAL)
            return false;
    }
    return false;
}

/*
 * Its end is unreadable, or its next block cannot be written, because of a media
 * error: that would not end. The file keeps its lines, and the bad block, under
 * another name. What was not synced is written again, so some lines may be in both:
 * a duplicate is better than a loss. Once only: if the new file is no better, the
 * disk itself is at fault, and the rows still wait. A sync that fails is not due
 * to one block and moves nothing.
 */
static void audit_set_aside(struct audit *audit)
{
    char file[AUDIT_NAME_MAX], moved[AUDIT_NAME_MAX], name[PATH_MAX];

    audit->outage.disk_errors = 0;
    if (audit->outage.is_set_aside || !audit_rename_aside(audit, name))
        return;
    audit->outage.is_set_aside = true;
    audit_rewind_to_cursor(audit);
    audit->file.is_tail_dirty = false; /* not cut: that may be impossible */
    audit_close(audit);
    log_error(
        "audit_set_aside file=%s moved_to=%s cause=\"the disk does not read or write it\" "
        "next=new_file remedy=\"look at the disk (journalctl -k); keep that file: its lines "
        "come before those of the new one\"",
        audit_quote_file(audit, file), log_quote(moved, sizeof(moved), name, strlen(name)));
}

/* Called before each run of writes and before each sync. If the end of the file cannot be
 * determined, the file is closed: opening it examines it again. */
static int audit_detect_truncation(struct audit *audit)
{
    struct stat st;
    int r;

    if (audit->file.fd < 0 || fstat(audit->file.fd, &st) < 0 ||
        st.st_size >= audit->file.kept_bytes)
        return 0;
    r = audit_recover_truncated(audit, st.st_size);
    if (r < 0) {
        audit_rewind_to_cursor(audit);
        audit->file.is_tail_dirty = false;
        audit_close(audit);
    }
    return r;
}

static void audit_mark_written(struct audit *audit, uint64_t seq, uint64_t rows)
{
    if (rows > 0 && audit->progress.unsynced_rows == 0)
        audit->progress.unsynced_since_ms = audit->now_ms;
    audit->progress.unsynced_rows += rows;
    if (seq > audit->progress.written_seq)
        audit->progress.written_seq = seq;
}

/* A write ended after @done bytes of the buffer: the whole lines among them are kept. */
static void audit_keep_whole_lines(struct audit *audit, size_t done)
{
    const char *newline = memrchr(audit->batch.buffer, '\n', done);
    const char *line;
    size_t whole;
    uint64_t seq;

    audit->file.is_tail_dirty = true;
    if (newline) {
        whole = (size_t)(newline - audit->batch.buffer);
        line = memrchr(audit->batch.buffer, '\n', whole);
        line = line ? line + 1 : audit->batch.buffer;
        if (audit_line_seq(line, (size_t)(newline - line), &seq)) {
            audit->file.kept_bytes += (off_t)whole + 1;
            audit_mark_written(audit, seq, seq - audit->progress.written_seq);
        }
    }
    (void)audit_cut_tail(audit); /* tried again before the next write */
}

/* @ret_done: how many bytes were written, also on failure. */
static int audit_write_bytes(const struct audit *audit, struct view bytes, size_t *ret_done)
{
    size_t done = 0;
    int error = 0;

    while (error == 0 && done < bytes.size) {
        ssize_t n = write(audit->file.fd, bytes.data + done, bytes.size - done);

        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            error = n < 0 ? -errno : -EIO;
    }
    *ret_done = done;
    return error;
}

static int audit_write(struct audit *audit)
{
    size_t done;

    FAILPOINT("export.before_write");
    FAILPOINT_TORN("export.torn_write", audit->file.fd, audit->batch.buffer, audit->batch.used);
    int r = audit_write_bytes(audit, view_of(audit->batch.buffer, audit->batch.used), &done);
    if (r < 0) {
        audit_keep_whole_lines(audit, done);
        return r;
    }
    audit->file.kept_bytes += (off_t)done;
    FAILPOINT("export.after_write");
    return 0;
}

/* All of @lines or none: what a failed write leaves is cut. */
static int audit_write_whole(struct audit *audit, struct view lines)
{
    size_t done;
    int r = audit_cut_tail(audit);

    if (r < 0)
        return r;
    r = audit_write_bytes(audit, lines, &done);
    if (r < 0) {
        audit->file.is_tail_dirty = true;
        (void)audit_cut_tail(audit); /* tried again before the next write */
        return r;
    }
    audit->file.kept_bytes += (off_t)done;
    return 0;
}

/* Without a file they go nowhere. */
static int audit_write_admin(struct audit *audit)
{
    struct view lines = admin_lines_unwritten(&audit->admin);
    int r = lines.size > 0 && audit_writes_file(audit) ? audit_write_whole(audit, lines) : 0;

    if (r == 0)
        admin_lines_note_written(&audit->admin);
    return r;
}

/* Return: 0: all rows of the batch are written; negative errno of the file: some are not. */
static int audit_flush(struct audit *audit)
{
    int r = audit->batch.used > 0 ? audit_cut_tail(audit) : 0;

    if (r == 0)
        r = audit_write(audit);
    if (r == 0)
        audit_mark_written(audit, audit->batch.last_seq, audit->batch.rows);
    audit->batch.used = 0;
    audit->batch.rows = 0;
    return r;
}

static void audit_finish_line(struct audit *audit, struct json *json)
{
    json_raw(json, "\n");
    assert(!json->failed); /* AUDIT_BUFFER_BYTES has room for both lines */
    audit->batch.used += json_used(json);
    audit->batch.call_bytes += json_used(json);
}

/* Numbers that are missing before @record: deliveries that were pruned because too many waited.
 * A gap that the spool did not prune gets no line, so that `mqtt-spool audit` reports it. */
static void audit_add_gap_line(struct audit *audit, const struct spool_record *record)
{
    uint64_t from = audit->batch.last_seq + 1;
    struct json json;

    if (record->seq <= from || record->seq - 1 > spool_pruned_seq(audit->spool) ||
        !audit_writes_file(audit) || !audit->has_deliveries)
        return;
    json_init(&json, audit->batch.buffer + audit->batch.used,
              AUDIT_BUFFER_BYTES - audit->batch.used);
    record_write_pruned(&json, from, record->seq - 1, record->time_ms);
    audit_finish_line(audit, &json);
}

static int audit_on_record(void *userdata, const struct spool_record *record)
{
    struct audit *audit = userdata;
    struct json json;

    audit_add_gap_line(audit, record);
    if (record->seq > audit->progress.reported_seq) {
        audit->ops.exported(audit->userdata, record);
        audit->progress.reported_seq = record->seq;
    }
    audit->batch.last_seq = record->seq;
    audit->batch.rows++;
    if (!audit_writes_file(audit) ||
        (!audit->has_deliveries && record->outcome == SPOOL_DELIVERED))
        return 0;
    json_init(&json, audit->batch.buffer + audit->batch.used,
              AUDIT_BUFFER_BYTES - audit->batch.used);
    record_write(&json, record);
    audit_finish_line(audit, &json);
    if (audit->batch.used >= AUDIT_FLUSH_BYTES)
        audit->batch.error = audit_flush(audit);
    return audit->batch.error < 0 || audit->batch.call_bytes >= AUDIT_CALL_BYTES ? 1 : 0;
}

/* Return: 0, also after an error of the file (batch.error); negative errno of the spool. */
static int audit_append(struct audit *audit)
{
    int r;

    audit->batch.last_seq = audit->progress.written_seq;
    audit->batch.call_bytes = 0;
    audit->batch.error = 0;
    r = spool_each_record(audit->spool, audit->progress.written_seq, false, AUDIT_SYNC_ROWS,
                          audit_on_record, audit);
    if (audit->batch.error == 0)
        audit->batch.error = audit_flush(audit);
    return r < 0 ? r : 0;
}

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
            " remedy=\"find out what deletes or replaces it; rotate by rename and HUP\"",
            audit_quote_file(audit, file),
            log_quote(quoted, sizeof(quoted), lost, strlen(lost)),
            is_replaced ? "that_file" : "new_file", suppressed);
    audit_rewind_to_cursor(audit);
    audit_close(audit);
    return true;
}

static bool audit_has_its_name(const struct audit *audit)
{
    struct stat open_st, name_st;
    int r = stat(audit->name, &name_st);

    if (fstat(audit->file.fd, &open_st) < 0 || (r < 0 && errno != ENOENT && errno != ENOTDIR))
        return true;
    return r == 0 && open_st.st_dev == name_st.st_dev && open_st.st_ino == name_st.st_ino;
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
    audit_close(audit);
}

static void audit_advance_cursor(struct audit *audit)
{
    audit->progress.cursor_seq = audit->progress.written_seq;
    audit->progress.unsynced_rows = 0;
    audit->file.synced_bytes = audit->file.kept_bytes;
    admin_lines_note_synced(&audit->admin);
    spool_set_exported(audit->spool, audit->progress.cursor_seq);
}

/* False: the export went back to the cursor. */
static bool audit_sync_file(struct audit *audit)
{
    if (audit->file.fd >= 0 && audit_detect_deletion(audit))
        return false;
    if (audit_detect_truncation(audit) < 0)
        return false; /* the next export opens the file and logs what is wrong with it */
    if (audit->progress.unsynced_rows == 0 && audit->admin.written_bytes == 0)
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
    return audit->progress.unsynced_rows > 0 ? audit->progress.unsynced_since_ms + AUDIT_SYNC_MS
                                             : INT64_MAX;
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
    if (r < 0)
        return r;
    audit->outage.disk_errors = audit->batch.error == -EIO ? audit->outage.disk_errors + 1 : 0;
    if (audit->batch.error < 0)
        audit_begin_waiting(audit, audit->batch.error);
    else if (!audit->outage.is_waiting ||
             audit_sync_file(audit)) /* a write alone proves no recovery */
        audit_end_waiting(audit, waited);
    if (audit->progress.unsynced_rows >= AUDIT_SYNC_ROWS || audit->admin.written_bytes > 0 ||
        now_boot_ms >= audit_due_ms(audit) ||
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
    if (audit->file.fd >= 0)
        (void)audit_sync_file(audit); /* a failure was logged; the rows go to the new file */
    audit_close(audit);
    if (audit_apply_settings(audit, settings) < 0)
        log_error(
            "audit_settings_kept error=\"%s\" remedy=\"free memory, then send HUP again\"",
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
