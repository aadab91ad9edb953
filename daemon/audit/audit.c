/* SPDX-License-Identifier: MIT */
/*
 * audit.c - the audit file: outcome rows as JSON Lines, each exactly once
 *
 * Where the export stands, never one ahead of the next:
 *
 *   told_seq     the spool's cursor: synced, its rows may be pruned
 *   written_seq  in the file (or left out, as a delivery may be)
 *   reported_seq told to the owner, who copies it to the journal
 *
 * Only whole lines count as written. What a write leaves behind them, when the
 * disk is full, is cut off before anything else is written; kept_bytes says
 * where. A sync that fails proves nothing about what was written since the last
 * one (the kernel may have dropped those pages), so the export steps back to
 * the cursor and writes these rows again; the spool has them until then. The
 * owner is told of a row while it is in memory, which is before its line is
 * written, and once only, however often the line must be written.
 *
 * A file of another name is opened by audit_export() or audit_reopen() only.
 * The first comes after a commit, so the old file's cursor is durable before
 * the new one has a line: a start after a crash looks at one file only, or,
 * where that one is still empty, at the one it was rotated to.
 */
#include "daemon/audit/audit.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/condition.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/regular.h"
#include "daemon/audit/tail.h"
#include "daemon/record/outcome.h"

#define AUDIT_FLUSH_BYTES  ((size_t)256 * 1024)
#define AUDIT_BUFFER_BYTES (AUDIT_FLUSH_BYTES + RECORD_PRUNED_MAX + RECORD_LINE_MAX + 2)
#define AUDIT_CALL_BYTES   ((size_t)4 * 1024 * 1024) /* of lines, in one call */
#define AUDIT_RETRY_MS     1000
#define AUDIT_DISK_TRIES   10 /* with EIO in a row: then the file gets another name */
#define AUDIT_ASIDE_MAX    1000
#define AUDIT_NAME_MAX     512 /* of a path in the log */
#define AUDIT_OF_OTHER     EUSERS

struct audit {
    char *file;
    bool has_deliveries;
    bool left_out; /* the settings before these wrote no file, or not the deliveries */
    struct spool *spool;
    struct audit_ops ops;
    void *owner;

    int fd;
    bool tail_is_known; /* a file was opened since the start, so written_seq is right */
    bool tail_is_dirty; /* bytes behind kept_bytes, to be cut */
    off_t kept_bytes;
    off_t synced_bytes;

    uint64_t told_seq;
    uint64_t written_seq;
    uint64_t reported_seq;
    uint64_t unsynced_rows;
    int64_t unsynced_since_ms;
    int64_t now_ms;

    bool waiting;
    int error; /* why, as of the last try */
    struct condition unwritten;
    uint64_t resumed_rows; /* that waited while that stood */
    struct log_limit replacements;
    unsigned disk_errors; /* of reads and writes, in a row */
    bool is_set_aside;    /* the file before this one, which was never written since */
    int64_t retry_ms;

    size_t used;
    uint64_t used_seq; /* of the last row that is in the buffer or was left out */
    uint64_t used_rows;
    size_t call_bytes; /* of lines, in this call */
    int write_error;
    char buffer[AUDIT_BUFFER_BYTES]; /* pages that no line needed stay untouched */
};

static bool audit_writes_file(const struct audit *audit)
{
    return *audit->file != '\0';
}

/* ---- waiting ---- */

static const char *audit_quote_file(const struct audit *audit, char text[static AUDIT_NAME_MAX])
{
    return log_quote(text, AUDIT_NAME_MAX, audit->file, strlen(audit->file));
}

static const char *audit_error_text(int error)
{
    if (error == -EBADMSG)
        return "this is no audit file";
    if (error == -AUDIT_OF_OTHER)
        return "another process writes it";
    return regular_error(error);
}

static const char *
audit_quote_remedy(const struct audit *audit, int error, char text[static AUDIT_NAME_MAX])
{
    char remedy[PATH_MAX], name[PATH_MAX];
    int n;

    (void)snprintf(name, sizeof(name), "%s", audit->file);
    if (error == -ENOENT || error == -ENOTDIR)
        n = snprintf(remedy, sizeof(remedy), "make the folder %s, writable for the daemon",
                     dirname(name));
    else if (error == -AUDIT_OF_OTHER)
        n = snprintf(remedy, sizeof(remedy), "name another audit.file for one of the two");
    else if (error == -REGULAR_OTHER || error == -EISDIR || error == -EBADMSG)
        n = snprintf(remedy, sizeof(remedy), "something else has its name: move it away");
    else
        n = snprintf(remedy, sizeof(remedy),
                     "look at its permissions, its folder's owner and the free space");
    return log_quote(text, AUDIT_NAME_MAX, remedy,
                     n < (int)sizeof(remedy) ? (size_t)n : sizeof(remedy) - 1);
}

static void audit_wait(struct audit *audit, int error)
{
    const char *why = audit_error_text(error);
    char file[AUDIT_NAME_MAX], text[AUDIT_NAME_MAX], remedy[AUDIT_NAME_MAX];

    audit->error = error;
    audit->retry_ms = audit->now_ms + AUDIT_RETRY_MS;
    audit->waiting = true;
    if (!condition_set(&audit->unwritten, audit->now_ms))
        return;
    log_warning("audit_waiting file=%s error=%s records=spooled retry_ms=%d remedy=%s",
                audit_quote_file(audit, file), log_quote(text, sizeof(text), why, strlen(why)),
                AUDIT_RETRY_MS, audit_quote_remedy(audit, error, remedy));
}

static void audit_resume(struct audit *audit, uint64_t rows)
{
    char file[AUDIT_NAME_MAX];

    if (audit->waiting) {
        audit->resumed_rows += rows;
        audit->is_set_aside = false;
    }
    audit->waiting = false;
    if (!condition_clear(&audit->unwritten, audit->now_ms))
        return;
    log_notice("audit_resumed file=%s rows=%" PRIu64, audit_quote_file(audit, file),
               audit->resumed_rows);
    audit->resumed_rows = 0;
}

/* Another program can truncate, delete or rename the file as often as it likes. */
static bool audit_may_log_replacement(struct audit *audit, uint64_t *ret_suppressed)
{
    return log_limit_pass(&audit->replacements, audit->now_ms, ret_suppressed);
}

/* ---- opening ---- */

/*
 * Two daemons with one file would cut off each other's lines as torn writes. The
 * lock belongs to the open file: it follows a rename, and goes with the process.
 * A file system that knows no locks has none.
 */
static int audit_lock(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK ? -AUDIT_OF_OTHER : 0;
}

/* The seq of a file that was rotated just before; 0 when there is none, or it is not readable.
 */
static uint64_t audit_rotated_seq(const struct audit *audit)
{
    AUTO_FREE char *name = NULL;
    AUTO_CLOSE int fd = -1;
    uint64_t seq = 0;
    off_t cut;

    if (asprintf(&name, "%s.1", audit->file) < 0) {
        name = NULL;
        return 0;
    }
    fd = regular_openat(AT_FDCWD, name, O_RDWR, 0);
    if (fd < 0 || audit_lock(fd) < 0 || audit_tail_mend(fd, audit->told_seq, &seq, &cut) != 0 ||
        fdatasync(fd) < 0)
        return 0; /* its unsynced rows are written again: twice is better than not at all */
    return seq;
}

/* Lines that the spool cannot know: its database is older than the file, or another one. */
static void audit_report_ahead(const struct audit *audit, uint64_t seq)
{
    char file[AUDIT_NAME_MAX];

    log_error("audit_ahead file=%s file_seq=%" PRIu64 " spool_seq=%" PRIu64
              " cause=\"the database was restored from an older copy, or the file is of "
              "another spool\" remedy=\"stop the daemon, move the file away under another name "
              "(not FILE.1), start it, and keep that file\" going_on_after_seq=%" PRIu64,
              audit_quote_file(audit, file), seq, spool_last_seq(audit->spool),
              audit->written_seq);
}

/* Removed or emptied while no daemon ran; or rotated twice, which is all right. */
static void audit_report_begun(const struct audit *audit)
{
    char file[AUDIT_NAME_MAX];

    log_notice(
        "audit_begun file=%s after_seq=%" PRIu64 " cause=\"it was not there, or empty, and "
        "FILE.1 does not lead up to it\" remedy=\"mqtt-spool audit, given all files that "
        "were rotated, tells what is missing\"",
        audit_quote_file(audit, file), audit->told_seq);
}

struct audit_gap {
    uint64_t from;
    uint64_t to;
    uint64_t cursor;
};

static int audit_note_failure(void *context, const struct spool_record *record)
{
    struct audit_gap *gap = context;

    if (record->seq > gap->cursor)
        return 1;
    gap->from = gap->to == 0 ? record->seq : gap->from;
    gap->to = record->seq;
    return 0;
}

/* Where deliveries are left out, or were, a line is known to be missing if it is of a failure that
 * the spool keeps. What the spool cannot read the next export meets, too. */
static bool audit_find_failures(const struct audit *audit, uint64_t seq, struct audit_gap *gap)
{
    *gap = (struct audit_gap){.cursor = audit->told_seq};
    int r = spool_each_record(audit->spool, seq, true, 0, audit_note_failure, gap);
    return r >= 0 && gap->to > 0;
}

/*
 * The file ends at @seq, before the cursor, so it was not this one, or not like
 * this, when the rows up to the cursor were synced. They may be pruned, and are
 * not written again.
 */
static void audit_report_behind(const struct audit *audit, uint64_t seq)
{
    struct audit_gap gap = {.from = seq + 1, .to = audit->told_seq};
    char file[AUDIT_NAME_MAX];

    if ((!audit->has_deliveries || audit->left_out) && !audit_find_failures(audit, seq, &gap))
        return;
    log_error("audit_behind file=%s file_seq=%" PRIu64 " spool_seq=%" PRIu64
              " missing_from=%" PRIu64 " missing_to=%" PRIu64
              " cause=\"these lines were on disk (unless audit.deliveries or audit.file left "
              "them out then) and are not in this file: it is an older copy, or another one\" "
              "remedy=\"look for the newer file; mqtt-spool failures has the failures that are "
              "kept\"",
              audit_quote_file(audit, file), seq, audit->told_seq, gap.from, gap.to);
}

/* The lines are synced, and the process that wrote them reported them. */
static void audit_adopt_tail(struct audit *audit, uint64_t seq)
{
    audit->tail_is_known = true;
    if (seq == 0 && audit->told_seq > 0) {
        audit_report_begun(audit);
    } else if (seq > spool_last_seq(audit->spool)) {
        audit_report_ahead(audit, seq);
    } else if (seq > audit->told_seq) {
        audit->told_seq = seq;
        audit->written_seq = seq;
        audit->reported_seq = seq;
        spool_set_exported(audit->spool, seq);
    }
}

/* A name that a power cut takes back would take the lines along. */
static int audit_sync_folder(const struct audit *audit)
{
    AUTO_FREE char *name = strdup(audit->file);
    AUTO_CLOSE int fd = -1;

    if (!name)
        return -ENOMEM;
    fd = open(dirname(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Behind a line that reaches the cursor only rows are cut that the spool still has. */
static void audit_report_mended(const struct audit *audit, uint64_t seq, off_t cut)
{
    char file[AUDIT_NAME_MAX], records[64] = "written_again";

    if (seq < audit->told_seq)
        (void)snprintf(records, sizeof(records), "\"written again from seq %" PRIu64 " on\"",
                       audit->told_seq + 1);
    log_warning("audit_mended file=%s cut_bytes=%jd records=%s", audit_quote_file(audit, file),
                (intmax_t)cut, records);
}

static int audit_mend(const struct audit *audit, int fd, uint64_t *ret_seq)
{
    off_t cut = 0;
    int r = audit_tail_mend(fd, audit->told_seq, ret_seq, &cut);
    FAILPOINT("export.after_mend");
    if (r < 0)
        return r;
    if (cut > 0)
        audit_report_mended(audit, *ret_seq, cut);
    return fdatasync(fd) < 0 ? -errno : 0;
}

static int audit_examine(struct audit *audit, int fd)
{
    uint64_t seq = 0;
    struct stat st;
    int r = audit_mend(audit, fd, &seq);

    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0) {
        r = audit_sync_folder(audit);
        if (r < 0)
            return r;
    }
    audit->kept_bytes = st.st_size;
    audit->synced_bytes = st.st_size;
    audit->tail_is_dirty = false;
    if (!audit->tail_is_known && st.st_size == 0)
        seq = audit_rotated_seq(audit);
    if (seq > 0 && seq < audit->told_seq)
        audit_report_behind(audit, seq);
    if (!audit->tail_is_known)
        audit_adopt_tail(audit, seq);
    return 0;
}

static int audit_open(struct audit *audit)
{
    AUTO_CLOSE int fd = -1;
    int r;

    if (audit->fd >= 0)
        return 0;
    fd = regular_openat(AT_FDCWD, audit->file, O_RDWR | O_APPEND | O_CREAT, 0640);
    if (fd < 0)
        return fd;
    r = audit_lock(fd);
    if (r == 0)
        r = audit_examine(audit, fd);
    if (r < 0)
        return r;
    audit->fd = fd;
    fd = -1;
    return 0;
}

/* ---- writing ---- */

/* What a write left behind the last whole line goes. The size is asked for each time, for where
 * the file ends is where the next line will begin. */
static int audit_cut(struct audit *audit)
{
    struct stat st;

    if (fstat(audit->fd, &st) < 0)
        return -errno;
    if (audit->tail_is_dirty && st.st_size > audit->kept_bytes) {
        if (ftruncate(audit->fd, audit->kept_bytes) < 0)
            return -errno;
        st.st_size = audit->kept_bytes;
    }
    audit->tail_is_dirty = false;
    audit->kept_bytes = st.st_size;
    return 0;
}

static void audit_close(struct audit *audit)
{
    if (audit->fd < 0)
        return;
    if (audit->tail_is_dirty)
        (void)audit_cut(audit); /* where that fails, the next start mends it */
    (void)close(audit->fd);     /* synced, or given up */
    audit->fd = -1;
}

/* What was written since the last sync is to be written again. */
static void audit_step_back(struct audit *audit)
{
    audit->written_seq = audit->told_seq;
    audit->unsynced_rows = 0;
    audit->kept_bytes = audit->synced_bytes;
    audit->tail_is_dirty = true;
}

/*
 * Somebody has cut the file. What was synced is gone, for that was the file; what
 * was not is still in the spool and is written again. Half a line that is left
 * goes, or it would spoil the line that follows it.
 */
static int audit_take_truncation(struct audit *audit, off_t size)
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
            audit_quote_file(audit, file), (intmax_t)(audit->kept_bytes - size),
            audit->told_seq, suppressed);
    r = audit_mend(audit, audit->fd, &seq);
    if (r == 0 && fstat(audit->fd, &st) < 0)
        r = -errno;
    if (r < 0)
        return r;
    if (seq > 0 && seq < audit->told_seq)
        audit_report_behind(audit, seq);
    audit->kept_bytes = st.st_size;
    audit->synced_bytes = st.st_size;
    audit->tail_is_dirty = false;
    audit->written_seq = seq > audit->told_seq ? seq : audit->told_seq;
    audit->unsynced_rows = audit->written_seq - audit->told_seq;
    return 0;
}

/* ---- a file that the disk does not give ---- */

static bool audit_rename_aside(const struct audit *audit, char name[static PATH_MAX])
{
    for (int i = 1; i < AUDIT_ASIDE_MAX; i++) {
        int length = snprintf(name, PATH_MAX, "%s.unread-%d", audit->file, i);

        if (length < 0 || length >= PATH_MAX)
            return false;
        if (renameat2(AT_FDCWD, audit->file, AT_FDCWD, name, RENAME_NOREPLACE) == 0)
            return true;
        if (errno == EINVAL && access(name, F_OK) < 0) /* a file system without that flag */
            return rename(audit->file, name) == 0;
        if (errno != EEXIST && errno != EINVAL)
            return false;
    }
    return false;
}

/*
 * Its end does not read, or its next block cannot be written, for a bad place on the disk: that
 * would not end. The file keeps its lines, and the place, under another name. What was not synced
 * is written again, so some lines may be in both: twice is better than not at all. Once only: where
 * the new file is no better the disk itself is at fault, and the rows wait on. A sync that fails is
 * of no place and moves nothing.
 */
static void audit_set_aside(struct audit *audit)
{
    char file[AUDIT_NAME_MAX], moved[AUDIT_NAME_MAX], name[PATH_MAX];

    audit->disk_errors = 0;
    if (audit->is_set_aside || !audit_rename_aside(audit, name))
        return;
    audit->is_set_aside = true;
    audit_step_back(audit);
    audit->tail_is_dirty = false; /* not to be cut: it may not be possible */
    audit_close(audit);
    log_error(
        "audit_set_aside file=%s moved_to=%s cause=\"the disk does not read or write it\" "
        "next=new_file remedy=\"look at the disk (journalctl -k); keep that file: its lines "
        "come before those of the new one\"",
        audit_quote_file(audit, file), log_quote(moved, sizeof(moved), name, strlen(name)));
}

/* Asked before each run of writes and before each sync. Where the end of the file cannot be
 * made out it is closed: to open it is to look at it anew. */
static int audit_look_for_truncation(struct audit *audit)
{
    struct stat st;
    int r;

    if (audit->fd < 0 || fstat(audit->fd, &st) < 0 || st.st_size >= audit->kept_bytes)
        return 0;
    r = audit_take_truncation(audit, st.st_size);
    if (r < 0) {
        audit_step_back(audit);
        audit->tail_is_dirty = false;
        audit_close(audit);
    }
    return r;
}

static void audit_mark_written(struct audit *audit, uint64_t seq, uint64_t rows)
{
    if (rows > 0 && audit->unsynced_rows == 0)
        audit->unsynced_since_ms = audit->now_ms;
    audit->unsynced_rows += rows;
    if (seq > audit->written_seq)
        audit->written_seq = seq;
}

/* After @done bytes of the buffer the file took no more: its whole lines stay. */
static void audit_keep_whole_lines(struct audit *audit, size_t done)
{
    const char *newline = memrchr(audit->buffer, '\n', done);
    const char *line;
    size_t whole;
    uint64_t seq;

    audit->tail_is_dirty = true;
    if (newline) {
        whole = (size_t)(newline - audit->buffer);
        line = memrchr(audit->buffer, '\n', whole);
        line = line ? line + 1 : audit->buffer;
        if (audit_line_seq(line, (size_t)(newline - line), &seq)) {
            audit->kept_bytes += (off_t)whole + 1;
            audit_mark_written(audit, seq, seq - audit->written_seq);
        }
    }
    (void)audit_cut(audit); /* tried again before the next write */
}

static int audit_write(struct audit *audit)
{
    size_t done = 0;

    FAILPOINT("export.before_write");
    FAILPOINT_TORN("export.torn_write", audit->fd, audit->buffer, audit->used);
    while (done < audit->used) {
        ssize_t n = write(audit->fd, audit->buffer + done, audit->used - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int error = n < 0 ? -errno : -EIO;

            audit_keep_whole_lines(audit, done);
            return error;
        }
        done += (size_t)n;
    }
    audit->kept_bytes += (off_t)audit->used;
    FAILPOINT("export.after_write");
    return 0;
}

/* Return: 0: all rows taken so far are written; negative errno of the file: some are not. */
static int audit_flush(struct audit *audit)
{
    int r = audit->used > 0 ? audit_cut(audit) : 0;

    if (r == 0)
        r = audit_write(audit);
    if (r == 0)
        audit_mark_written(audit, audit->used_seq, audit->used_rows);
    audit->used = 0;
    audit->used_rows = 0;
    return r;
}

static void audit_end_line(struct audit *audit, struct json *json)
{
    json_raw(json, "\n");
    assert(!json->failed); /* AUDIT_BUFFER_BYTES has room for both lines */
    audit->used += json_used(json);
    audit->call_bytes += json_used(json);
}

/* Numbers that are missing before @record: deliveries that gave way while too many waited. A
 * gap that the spool does not own up to is left open, so that whoever verifies the file sees
 * it. */
static void audit_explain_gap(struct audit *audit, const struct spool_record *record)
{
    uint64_t from = audit->used_seq + 1;
    struct json json;

    if (record->seq <= from || record->seq - 1 > spool_pruned_seq(audit->spool) ||
        !audit_writes_file(audit) || !audit->has_deliveries)
        return;
    json_init(&json, audit->buffer + audit->used, AUDIT_BUFFER_BYTES - audit->used);
    record_write_pruned(&json, from, record->seq - 1, record->time_ms);
    audit_end_line(audit, &json);
}

static int audit_on_record(void *context, const struct spool_record *record)
{
    struct audit *audit = context;
    struct json json;

    audit_explain_gap(audit, record);
    if (record->seq > audit->reported_seq) {
        audit->ops.exported(audit->owner, record);
        audit->reported_seq = record->seq;
    }
    audit->used_seq = record->seq;
    audit->used_rows++;
    if (!audit_writes_file(audit) ||
        (!audit->has_deliveries && record->outcome == SPOOL_DELIVERED))
        return 0;
    json_init(&json, audit->buffer + audit->used, AUDIT_BUFFER_BYTES - audit->used);
    record_write(&json, record);
    audit_end_line(audit, &json);
    if (audit->used >= AUDIT_FLUSH_BYTES)
        audit->write_error = audit_flush(audit);
    return audit->write_error < 0 || audit->call_bytes >= AUDIT_CALL_BYTES ? 1 : 0;
}

/* Return: 0, whatever the file says (see write_error); negative errno of the spool. */
static int audit_append(struct audit *audit)
{
    int r;

    audit->used_seq = audit->written_seq;
    audit->call_bytes = 0;
    audit->write_error = 0;
    r = spool_each_record(audit->spool, audit->written_seq, false, AUDIT_SYNC_ROWS,
                          audit_on_record, audit);
    if (audit->write_error == 0)
        audit->write_error = audit_flush(audit);
    return r < 0 ? r : 0;
}

/* ---- syncing ---- */

/* Another file may have its name by now: an older copy, or one with all of its lines. What that
 * one lacks is reported when it is opened (audit_behind). */
static bool audit_was_deleted(struct audit *audit)
{
    char file[AUDIT_NAME_MAX];
    uint64_t suppressed = 0;
    struct stat st, named;

    if (fstat(audit->fd, &st) < 0 || st.st_nlink > 0)
        return false;
    bool is_replaced =
        stat(audit->file, &named) == 0 && S_ISREG(named.st_mode) && named.st_size > 0;
    if (audit_may_log_replacement(audit, &suppressed))
        log_warning("audit_deleted file=%s lost=\"its lines up to seq %" PRIu64
                    "%s\" next=%s suppressed=%" PRIu64,
                    audit_quote_file(audit, file), audit->told_seq,
                    is_replaced ? ", except those that the file has that took its name" : "",
                    is_replaced ? "that_file" : "new_file", suppressed);
    audit_step_back(audit);
    audit_close(audit);
    return true;
}

/* A file that was renamed is whole: nothing steps back. */
static void audit_follow_name(struct audit *audit)
{
    char file[AUDIT_NAME_MAX];
    struct stat open_st;
    struct stat name_st;
    uint64_t suppressed = 0;
    int r = stat(audit->file, &name_st);

    if (fstat(audit->fd, &open_st) < 0 || (r < 0 && errno != ENOENT && errno != ENOTDIR))
        return;
    if (r == 0 && open_st.st_dev == name_st.st_dev && open_st.st_ino == name_st.st_ino)
        return;
    if (audit_may_log_replacement(audit, &suppressed))
        log_notice("audit_moved file=%s next=new_file suppressed=%" PRIu64,
                   audit_quote_file(audit, file), suppressed);
    audit_close(audit);
}

static void audit_tell(struct audit *audit)
{
    audit->told_seq = audit->written_seq;
    audit->unsynced_rows = 0;
    audit->synced_bytes = audit->kept_bytes;
    spool_set_exported(audit->spool, audit->told_seq);
}

/* False: the export stepped back to the cursor. */
static bool audit_sync_file(struct audit *audit)
{
    if (audit->fd >= 0 && audit_was_deleted(audit))
        return false;
    if (audit_look_for_truncation(audit) < 0)
        return false; /* the next export opens the file and says what is wrong with it */
    if (audit->unsynced_rows == 0)
        return true;
    FAILPOINT("export.before_sync");
    if (audit->fd >= 0 && fdatasync(audit->fd) < 0) {
        int error = -errno;

        audit_step_back(audit);
        audit_wait(audit, error);
        return false;
    }
    FAILPOINT("export.after_sync");
    audit_tell(audit);
    FAILPOINT("export.before_cursor_commit");
    return true;
}

void audit_sync(struct audit *audit, int64_t now_boot_ms)
{
    audit->now_ms = now_boot_ms;
    if (audit_sync_file(audit) && audit->fd >= 0)
        audit_follow_name(audit);
}

int64_t audit_due_ms(const struct audit *audit)
{
    return audit->unsynced_rows > 0 ? audit->unsynced_since_ms + AUDIT_SYNC_MS : INT64_MAX;
}

/* ---- the public rest ---- */

static int audit_set(struct audit *audit, const struct audit_settings *settings)
{
    char *file = strdup(settings->file);

    if (!file)
        return -ENOMEM;
    audit->left_out = audit->file && !(audit->has_deliveries && audit_writes_file(audit));
    free(audit->file);
    audit->file = file;
    audit->has_deliveries = settings->has_deliveries;
    return 0;
}

static void audit_try_open(struct audit *audit)
{
    int r = audit_writes_file(audit) ? audit_open(audit) : 0;

    if (r < 0)
        audit_wait(audit, r);
}

int audit_new(const struct audit_settings *settings,
              struct spool *spool,
              const struct audit_ops *ops,
              void *owner,
              struct audit **ret)
{
    struct audit *audit = calloc(1, sizeof(*audit));
    int r = audit ? audit_set(audit, settings) : -ENOMEM;

    if (r < 0) {
        free(audit);
        return r;
    }
    audit->spool = spool;
    audit->ops = *ops;
    audit->owner = owner;
    audit->fd = -1;
    audit->replacements = (struct log_limit){.interval_ms = 60000, .burst = 10};
    audit->told_seq = spool_exported(spool);
    audit->written_seq = audit->told_seq;
    audit->reported_seq = audit->told_seq;
    audit_try_open(audit);
    *ret = audit;
    return 0;
}

void audit_free(struct audit *audit)
{
    if (!audit)
        return;
    (void)audit_sync_file(audit); /* what is not synced is exported at the next start */
    audit_close(audit);
    free(audit->file);
    free(audit);
}

int audit_export(struct audit *audit, int64_t now_boot_ms, bool *ret_more)
{
    uint64_t waited = spool_waiting(audit->spool);
    int r = 0;

    audit->now_ms = now_boot_ms;
    *ret_more = false;
    if (audit->waiting && now_boot_ms < audit->retry_ms)
        return 0;
    if (audit->disk_errors >= AUDIT_DISK_TRIES)
        audit_set_aside(audit);
    if (audit->waiting)
        audit_sync(audit, now_boot_ms); /* has somebody made room by moving the file away? */
    audit->write_error = audit_look_for_truncation(audit);
    if (audit->write_error == 0 && audit_writes_file(audit))
        audit->write_error = audit_open(audit);
    if (audit->write_error == 0 && spool_last_seq(audit->spool) > audit->written_seq)
        r = audit_append(audit);
    if (r < 0)
        return r;
    audit->disk_errors = audit->write_error == -EIO ? audit->disk_errors + 1 : 0;
    if (audit->write_error < 0)
        audit_wait(audit, audit->write_error);
    else if (!audit->waiting || audit_sync_file(audit)) /* a write alone proves no recovery */
        audit_resume(audit, waited);
    if (audit->unsynced_rows >= AUDIT_SYNC_ROWS || now_boot_ms >= audit_due_ms(audit))
        audit_sync(audit, now_boot_ms);
    *ret_more = !audit->waiting && audit->written_seq < spool_last_seq(audit->spool);
    return 0;
}

void audit_reopen(struct audit *audit, const struct audit_settings *settings)
{
    if (audit->fd >= 0)
        (void)audit_sync_file(audit); /* a failure was logged; the rows go to the new file */
    audit_close(audit);
    if (audit_set(audit, settings) < 0)
        log_error("audit_settings_kept error=\"%s\"", strerror(ENOMEM));
    audit->retry_ms = audit->now_ms;
    audit_try_open(audit);
}

bool audit_is_healthy(const struct audit *audit)
{
    return !audit->waiting;
}

const char *audit_error(const struct audit *audit)
{
    return audit->waiting ? audit_error_text(audit->error) : "";
}
