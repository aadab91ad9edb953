/* SPDX-License-Identifier: MIT */
/*
 * audit_open.c - the audit file: opening it, its tail, and why it cannot be written
 *
 * Invariant: a file that is not an audit file is never changed; what is behind
 * kept_bytes is cut before anything is written.
 *
 * Diagnostics: audit_waiting, audit_resumed, audit_ahead, audit_begun, audit_behind,
 * audit_mended.
 */
#include "daemon/audit/audit-private.h"

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

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/regular.h"
#include "base/text.h"
#include "daemon/audit/sealing.h"
#include "daemon/audit/tail.h"

/* ---- waiting ---- */

const char *audit_quote_file(const struct audit *audit, char text[static AUDIT_NAME_MAX])
{
    return log_quote(text, AUDIT_NAME_MAX, audit->name, strlen(audit->name));
}

const char *audit_error_text(int error)
{
    if (error == -EBADMSG)
        return "this is no audit file";
    if (error == -AUDIT_LOCKED)
        return "another process writes it";
    return regular_error(error);
}

/* What the operator can do; a literal without quotes. mqtt-spool status agrees with it. */
static const char *audit_remedy(int error)
{
    switch (error) {
    case -ENOSPC:
        return "make room on the disk of that file";
    case -EDQUOT:
        return "make room on the disk of that file, or raise the quota";
    case -EFBIG:
        return "raise the limit of the file size (LimitFSIZE= of the unit, ulimit -f), or rotate "
               "the file";
    case -EIO:
        return "check the disk (journalctl -k)";
    case -EROFS:
        return "mount that file system writable; where systemd keeps the daemon from writing "
               "there, name the folder in ReadWritePaths= (systemctl edit mqtt-spoold)";
    case -AUDIT_LOCKED:
        return "name another audit.file for one of the two";
    case -REGULAR_OTHER:
    case -EISDIR:
    case -EBADMSG:
        return "something else has its name: move it away";
    default:
        return "look at its permissions and its folder's owner";
    }
}

static const char *
audit_quote_remedy(const struct audit *audit, int error, char text[static AUDIT_NAME_MAX])
{
    char remedy[PATH_MAX], name[PATH_MAX];

    (void)snprintf(name, sizeof(name), "%s", audit->name);
    if (error == -ENOENT || error == -ENOTDIR)
        text_format(remedy, sizeof(remedy), "make the folder %s, writable for the daemon",
                    dirname(name));
    else
        text_format(remedy, sizeof(remedy), "%s", audit_remedy(error));
    return log_quote(text, AUDIT_NAME_MAX, remedy, strlen(remedy));
}

void audit_begin_waiting(struct audit *audit, int error)
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

void audit_end_waiting(struct audit *audit, uint64_t rows)
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
bool audit_may_log_replacement(struct audit *audit, uint64_t *ret_suppressed)
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

/* Removed or truncated while no daemon ran, and FILE.1 is missing, empty or unreadable. */
static void audit_log_begun(const struct audit *audit)
{
    char file[AUDIT_NAME_MAX];

    log_notice("audit_begun file=%s after_seq=%" PRIu64
               " cause=\"neither that file nor FILE.1 has a line that can be read\""
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
void audit_log_behind(const struct audit *audit, uint64_t seq)
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

int audit_mend_tail(const struct audit *audit, int fd, uint64_t *ret_seq)
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

/* The chain of seals, which continues at the end of the file. */
static void audit_open_chain(struct audit *audit, int fd, bool is_missing)
{
    char rotated[PATH_MAX];

    (void)snprintf(rotated, sizeof(rotated), "%s.1", audit->name);
    sealing_open(&audit->sealing, fd, audit->file.kept_bytes, rotated, is_missing);
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
    bool is_behind = seq > 0 && seq < audit->progress.cursor_seq;
    if (is_behind)
        audit_log_behind(audit, seq);
    audit_open_chain(audit, fd, is_behind && audit->has_deliveries && !audit->had_gaps);
    if (!audit->file.is_tail_known)
        audit_adopt_tail(audit, seq);
    return 0;
}

int audit_open(struct audit *audit)
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

/* Cuts what a write left behind the last whole line. The size is read each time, because the
 * next line begins where the file ends. */
int audit_cut_tail(struct audit *audit)
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

void audit_close(struct audit *audit)
{
    if (audit->file.fd < 0)
        return;
    if (audit->file.is_tail_dirty)
        (void)audit_cut_tail(audit); /* if that fails, the next start repairs it */
    (void)close(audit->file.fd);     /* synced, or abandoned */
    audit->file.fd = -1;
}

/* So what was written since the last sync is written again. */
void audit_rewind_to_cursor(struct audit *audit)
{
    audit->progress.written_seq = audit->progress.cursor_seq;
    audit->progress.unsynced_rows = 0;
    audit->file.kept_bytes = audit->file.synced_bytes;
    audit->file.is_tail_dirty = true;
    admin_lines_rewind(&audit->admin);
    sealing_rewind(&audit->sealing);
}
