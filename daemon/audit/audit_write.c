/* SPDX-License-Identifier: MIT */
/*
 * audit_write.c - the audit file: lines into it, and what others did to it meanwhile
 *
 * Invariant: kept_bytes is behind a whole line, and the chain of seals has all lines
 * before it.
 *
 * Diagnostics: audit_truncated, audit_mended, audit_set_aside, audit_chain_started.
 */
#include "daemon/audit/audit-private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/json.h"
#include "base/reload.h"
#include "base/view.h"
#include "base/zero_tail.h"
#include "daemon/audit/sealing.h"
#include "daemon/audit/tail.h"
#include "daemon/seal/seal.h"

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
        log_error("audit_truncated file=%s lost_bytes=%jd written_again_after_seq=%" PRIu64
                  " suppressed=%" PRIu64 " remedy=\"rotate by rename and " RELOAD_REMEDY
                  ", never by copytruncate; and write no older "
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
    sealing_restart(&audit->sealing, SEALING_TRUNCATED);
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
void audit_set_aside(struct audit *audit)
{
    char file[AUDIT_NAME_MAX], moved[AUDIT_NAME_MAX], name[PATH_MAX];

    audit->outage.disk_errors = 0;
    if (audit->outage.is_set_aside || !audit_rename_aside(audit, name))
        return;
    audit->outage.is_set_aside = true;
    audit_rewind_to_cursor(audit);
    sealing_restart(&audit->sealing, SEALING_SET_ASIDE);
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
int audit_detect_truncation(struct audit *audit)
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
            sealing_add(&audit->sealing, view_of(audit->batch.buffer, whole + 1),
                        audit->batch.has_news, audit->now_ms);
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
    sealing_add(&audit->sealing, view_of(audit->batch.buffer, done), audit->batch.has_news,
                audit->now_ms);
    FAILPOINT("export.after_write");
    return 0;
}

/* ---- what another program appended ---- */

static void audit_log_zeros(struct audit *audit, off_t count)
{
    char file[AUDIT_NAME_MAX];
    uint64_t suppressed = 0;

    if (audit_may_log_replacement(audit, &suppressed))
        log_warning(
            "audit_mended file=%s cut_bytes=%jd records=none suppressed=%" PRIu64
            " cause=\"zeros behind its last line\" remedy=\"find out which program appends "
            "to the file\"",
            audit_quote_file(audit, file), (intmax_t)count, suppressed);
}

/* Zeros are no data, and are cut. Other bytes stay. */
static int audit_part_from_others(struct audit *audit, off_t size)
{
    off_t kept = audit->file.kept_bytes, zeros_at;
    char last;
    size_t done;
    int r = zero_tail_begin(audit->file.fd, size, &zeros_at);

    if (r < 0)
        return r;
    if (zeros_at <= kept) {
        if (ftruncate(audit->file.fd, kept) < 0)
            return -errno;
        audit_log_zeros(audit, size - kept);
        return 0;
    }
    if (pread(audit->file.fd, &last, sizeof(last), size - 1) != (ssize_t)sizeof(last))
        return -EIO;
    return last == '\n' ? 0 : audit_write_bytes(audit, view_of("\n", 1), &done);
}

/* So that the next line is one of its own. */
static int audit_begin_line(struct audit *audit)
{
    struct stat st;
    int r = 0;

    if (fstat(audit->file.fd, &st) < 0)
        return -errno;
    if (!audit->file.is_tail_dirty && st.st_size > audit->file.kept_bytes)
        r = audit_part_from_others(audit, st.st_size);
    return r == 0 ? audit_cut_tail(audit) : r;
}

/* All of @lines or none: what a failed write leaves is cut. */
static int audit_write_whole(struct audit *audit, struct view lines)
{
    size_t done;
    int r = audit_begin_line(audit);

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

/* ---- seals ---- */

static void audit_log_chain(const struct audit *audit, const char *why)
{
    bool is_expected = strcmp(why, SEALING_NEW_FILE) == 0 || strcmp(why, SEALING_NO_SEAL) == 0;
    char file[AUDIT_NAME_MAX];

    (void)audit_quote_file(audit, file);
    if (is_expected)
        log_notice("audit_chain_started file=%s why=%s after_seq=%" PRIu64, file, why,
                   audit->progress.written_seq);
    else
        log_warning(
            "audit_chain_started file=%s why=%s after_seq=%" PRIu64
            " remedy=\"mqtt-spool audit, given all files, says how far the seals before "
            "this hold\"",
            file, why, audit->progress.written_seq);
}

static int audit_write_seal(struct audit *audit)
{
    const char *why = audit->sealing.now.why;
    struct clock_reading now;
    struct seal_text text;

    clock_read(&now);
    sealing_write(&audit->sealing, now.wall_ms, audit->progress.written_seq, &text);
    FAILPOINT("seal.before_write");
    FAILPOINT_TORN("seal.torn_write", audit->file.fd, text.line, text.size);
    int r = audit_write_whole(audit, view_of(text.line, text.size));
    if (r < 0)
        return r;
    sealing_note_written(&audit->sealing, &text, audit->now_ms);
    FAILPOINT("seal.after_write");
    if (why)
        audit_log_chain(audit, why);
    return 0;
}

int audit_seal(struct audit *audit)
{
    return audit->file.fd >= 0 && sealing_waits(&audit->sealing) ? audit_write_seal(audit) : 0;
}

/* Before the first line of a chain. */
static int audit_start_chain(struct audit *audit)
{
    bool has_begun = audit->sealing.every_ms == 0 || !audit->sealing.now.why;

    return has_begun ? 0 : audit_write_seal(audit);
}

static int audit_write_admin_lines(struct audit *audit, struct view lines)
{
    int r = audit_start_chain(audit);

    if (r == 0)
        r = audit_write_whole(audit, lines);
    if (r == 0)
        sealing_add(&audit->sealing, lines, true, audit->now_ms);
    return r;
}

/* Without a file they go nowhere. */
int audit_write_admin(struct audit *audit)
{
    struct view lines = admin_lines_unwritten(&audit->admin);
    int r =
        lines.size > 0 && audit_writes_file(audit) ? audit_write_admin_lines(audit, lines) : 0;

    if (r == 0)
        admin_lines_note_written(&audit->admin);
    return r;
}

static int audit_flush_lines(struct audit *audit)
{
    int r = audit_begin_line(audit);

    if (r == 0)
        r = audit_start_chain(audit);
    return r == 0 ? audit_write(audit) : r;
}

/* Return: 0: all rows of the batch are written; negative errno of the file: some are not, or
 * the seal is not that is due because of their number. */
static int audit_flush(struct audit *audit)
{
    int r = audit->batch.used > 0 ? audit_flush_lines(audit) : 0;

    if (r == 0)
        audit_mark_written(audit, audit->batch.last_seq, audit->batch.rows);
    audit->batch.used = 0;
    audit->batch.rows = 0;
    audit->batch.has_news = false;
    return r == 0 && sealing_is_full(&audit->sealing) ? audit_seal(audit) : r;
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

/* Of a message that the daemon published itself, perhaps with a seal: it waits for the next
 * seal, and is no reason for one. */
static bool audit_is_own(const struct audit *audit, const struct spool_record *record)
{
    return audit->own_lane && strcmp(record->lane, audit->own_lane) == 0;
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
    audit->batch.has_news |= !audit_is_own(audit, record);
    json_init(&json, audit->batch.buffer + audit->batch.used,
              AUDIT_BUFFER_BYTES - audit->batch.used);
    record_write(&json, record);
    audit_finish_line(audit, &json);
    if (audit->batch.used >= AUDIT_FLUSH_BYTES)
        audit->batch.error = audit_flush(audit);
    return audit->batch.error < 0 || audit->batch.call_bytes >= AUDIT_CALL_BYTES ? 1 : 0;
}

/* Return: 0, also after an error of the file (batch.error); negative errno of the spool. */
int audit_append(struct audit *audit)
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
