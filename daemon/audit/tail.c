/* SPDX-License-Identifier: MIT */
/*
 * tail.c - the last line of an audit file, and the end of its sound part
 *
 * A process that dies within a write leaves half a line at the end. A machine
 * that loses power may leave more: blocks that were never written read as zeros,
 * with later lines behind them. Both are behind what was synced, so the spool
 * still has those rows, and it is right to cut from the first unsound byte on and
 * to write the rows again. Damage before a line that was synced has another cause
 * (a bad disk, an editor): those lines cannot be restored, so nothing is cut and
 * `mqtt-spool audit` reports it.
 *
 * A file of another program, named by mistake in the configuration, must be
 * neither cut nor written to. An audit file is an empty file, one with a sound
 * line at its end, or one that consists of a torn write: holes, and between them
 * text that can only be lines of an audit file. The prefix that all outcome records
 * share, or all lines about operators, or all seals, must be whole in such a line; a
 * lone brace may begin anything.
 *
 * Only the end of the file is read: a window that grows until it holds a line
 * that was synced, up to a cap above AUDIT_SYNC_BYTES and one call of audit_export(),
 * more than which is never written between syncs. Zeros behind all lines, of which there
 * may be more, are passed over first.
 */
#include "daemon/audit/tail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read_full.h"
#include "base/zero_tail.h"
#include "daemon/seal/seal.h"

#define TAIL_WINDOW_FIRST ((size_t)1 << 18)
#define TAIL_WINDOW_MAX   ((size_t)1 << 24)
#define TAIL_NO_DAMAGE    SIZE_MAX
#define TAIL_ZEROS        4096

static const char tail_start[] = "{\"seq\":";
#define TAIL_START_SIZE (sizeof(tail_start) - 1)
static const char tail_admin_start[] = "{\"admin\":\"";
#define TAIL_ADMIN_SIZE (sizeof(tail_admin_start) - 1)
static const char tail_seal_start[] = "{\"seal\":";
#define TAIL_SEAL_SIZE (sizeof(tail_seal_start) - 1)
/* At the beginning of a file, where audit_first_seq() looks. */
#define TAIL_HEAD_SIZE ((size_t)32 * 1024)

struct tail_scan {
    uint64_t cursor;
    uint64_t seq;    /* of the last sound line before the damage; 0: none */
    bool has_other;  /* a sound line without a seq is there before the damage */
    bool has_synced; /* a line that was synced is in the window */
    size_t damage;   /* where the unsound end begins, or TAIL_NO_DAMAGE */
};

size_t audit_number_parse(const char *text, size_t size, uint64_t *ret)
{
    uint64_t number = 0;
    size_t digits = 0;

    if (size == 0 || text[0] == '0')
        return 0;
    for (; digits < size && text[digits] >= '0' && text[digits] <= '9'; digits++) {
        if (number > (INT64_MAX - 9) / 10)
            return 0;
        number = number * 10 + (uint64_t)(text[digits] - '0');
    }
    *ret = number;
    return digits;
}

bool audit_line_seq(const char *line, size_t size, uint64_t *ret_seq)
{
    uint64_t seq = 0;
    size_t digits, at;

    if (size < TAIL_START_SIZE || memcmp(line, tail_start, TAIL_START_SIZE) != 0)
        return false;
    digits = audit_number_parse(line + TAIL_START_SIZE, size - TAIL_START_SIZE, &seq);
    at = TAIL_START_SIZE + digits;
    if (digits == 0 || at == size || line[at] != ',' || line[size - 1] != '}')
        return false;
    *ret_seq = seq;
    return true;
}

bool audit_line_is_admin(const char *line, size_t size)
{
    static const char behind[] = "\",\"time\":\"";
    size_t at = TAIL_ADMIN_SIZE;

    if (size < TAIL_ADMIN_SIZE || memcmp(line, tail_admin_start, TAIL_ADMIN_SIZE) != 0)
        return false;
    while (at < size && ((line[at] >= 'a' && line[at] <= 'z') || line[at] == '_'))
        at++;
    return at > TAIL_ADMIN_SIZE && size - at > sizeof(behind) - 1 &&
           memcmp(line + at, behind, sizeof(behind) - 1) == 0 && line[size - 1] == '}';
}

bool audit_line_is_seal(const char *line, size_t size)
{
    struct seal seal;

    return seal_parse(line, size, &seal);
}

static bool tail_has_no_seq(const char *line, size_t size)
{
    return audit_line_is_admin(line, size) || audit_line_is_seal(line, size);
}

uint64_t audit_first_seq(int fd)
{
    AUTO_FREE char *head = malloc(TAIL_HEAD_SIZE);
    ssize_t got = head ? pread(fd, head, TAIL_HEAD_SIZE, 0) : 0;
    const char *line = head, *end = got > 0 ? head + got : head;
    uint64_t seq = 0;

    while (line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));

        if (!newline || !tail_has_no_seq(line, (size_t)(newline - line)))
            break;
        line = newline + 1;
    }
    if (end - line <= (ptrdiff_t)TAIL_START_SIZE ||
        memcmp(line, tail_start, TAIL_START_SIZE) != 0)
        return 0;
    (void)audit_number_parse(line + TAIL_START_SIZE, (size_t)(end - line) - TAIL_START_SIZE,
                             &seq);
    return seq;
}

/* JSON escapes NUL: a NUL byte is of a block that was never written. What was appended to it is
 * on the same line. */
static void tail_scan_line(struct tail_scan *scan, const char *line, size_t size, size_t at)
{
    const char *nul = memrchr(line, '\0', size);
    uint64_t seq;

    if (nul && scan->damage == TAIL_NO_DAMAGE)
        scan->damage = at;
    if (nul) {
        size -= (size_t)(nul - line) + 1;
        line = nul + 1;
    }
    if (!audit_line_seq(line, size, &seq)) {
        scan->has_other |= scan->damage == TAIL_NO_DAMAGE && tail_has_no_seq(line, size);
        return;
    }
    if (seq <= scan->cursor) {
        scan->has_synced = true;
        scan->damage = TAIL_NO_DAMAGE;
    }
    if (scan->damage == TAIL_NO_DAMAGE)
        scan->seq = seq;
}

/* @at: the beginning of the first line. */
static void tail_scan_window(struct tail_scan *scan, const char *window, size_t size, size_t at)
{
    while (at < size) {
        const char *line = window + at;
        const char *newline = memchr(line, '\n', size - at);

        if (!newline) {
            if (scan->damage == TAIL_NO_DAMAGE)
                scan->damage = at;
            return;
        }
        tail_scan_line(scan, line, (size_t)(newline - line), at);
        at += (size_t)(newline - line) + 1;
    }
}

static int tail_read(int fd, char *window, size_t size, off_t from)
{
    ssize_t n = read_full_at(fd, window, size, from);

    if (n < 0)
        return (int)n;
    return (size_t)n == size ? 0 : -EIO; /* another process has truncated it */
}

static bool tail_begins_with(const char *line, size_t size, const char *start)
{
    size_t length = strlen(start);

    return memcmp(line, start, size < length ? size : length) == 0;
}

/* The beginning of a line, as far as it is there. */
static bool tail_begins_line(const char *line, size_t size)
{
    return tail_begins_with(line, size, tail_start) ||
           tail_begins_with(line, size, tail_admin_start) ||
           tail_begins_with(line, size, tail_seal_start);
}

/* How long the prefix is that this beginning of a line must have whole. */
static size_t tail_prefix_size(const char *line, size_t size)
{
    if (size > 2 && line[2] == tail_admin_start[2])
        return TAIL_ADMIN_SIZE;
    return size > 4 && line[4] == tail_seal_start[4] ? TAIL_SEAL_SIZE : TAIL_START_SIZE;
}

/* It is too short to show which program wrote it. */
static bool tail_is_brace(const char *window, size_t size)
{
    return size < tail_prefix_size(window, size) && window[0] != '\0';
}

/* The rest of a line if there was a hole before it, then lines of an audit file, the last
 * perhaps not whole; no character that JSON escapes. */
static bool tail_run_is_audit(const char *run, size_t size, bool has_rest)
{
    size_t at = 0;

    while (at < size) {
        const char *newline = memchr(run + at, '\n', size - at);
        size_t length = newline ? (size_t)(newline - (run + at)) : size - at;

        if (!has_rest && !tail_begins_line(run + at, length))
            return false;
        for (size_t i = at; i < at + length; i++) {
            if ((unsigned char)run[i] < ' ')
                return false;
        }
        has_rest = false;
        at += length + 1;
    }
    return true;
}

/* Holes and runs of text in turn. */
static bool tail_looks_torn(const char *window, size_t size)
{
    size_t at = 0;

    while (at < size) {
        size_t run = at;
        const char *hole;

        while (at < size && window[at] == '\0')
            at++;
        if (at == size)
            return true;
        hole = memchr(window + at, '\0', size - at);
        size_t end = hole ? (size_t)(hole - window) : size;
        if (!tail_run_is_audit(window + at, end - at, at > run))
            return false;
        at = end;
    }
    return true;
}

/* Is it an audit file, which may be cut and appended to? See the head of this file. */
static bool
tail_is_audit(const struct tail_scan *scan, const char *window, size_t size, off_t from)
{
    if (scan->seq != 0 || scan->has_other || size == 0)
        return true;
    return from == 0 && scan->damage == 0 && !tail_is_brace(window, size) &&
           tail_looks_torn(window, size);
}

/* Of zeros at the end, however many, a few are examined: @ret is where they end. A file of
 * nothing else may be anything, if it is large. */
static int tail_skip_zeros(int fd, off_t file_size, off_t *ret)
{
    off_t begin;
    int r = zero_tail_begin(fd, file_size, &begin);

    if (r < 0)
        return r;
    if (file_size - begin >= ZERO_TAIL_MAX ||
        (begin == 0 && file_size > (off_t)TAIL_WINDOW_MAX))
        return -EBADMSG;
    *ret = file_size - begin > TAIL_ZEROS ? begin + TAIL_ZEROS : file_size;
    return 0;
}

/* The last @size bytes of the first @file_size of the file. */
static int
tail_examine(int fd, char *window, size_t size, off_t file_size, struct tail_scan *scan)
{
    off_t from = file_size - (off_t)size;
    const char *newline = NULL;
    size_t first = 0;
    int r = tail_read(fd, window, size, from);

    if (r < 0)
        return r;
    if (from > 0) {
        newline = memchr(window, '\n', size);
        first = newline ? (size_t)(newline - window) + 1 : size;
    }
    *scan = (struct tail_scan){.cursor = scan->cursor, .damage = TAIL_NO_DAMAGE};
    tail_scan_window(scan, window, size, first);
    if (from == 0 || scan->has_synced)
        return tail_is_audit(scan, window, size, from) ? 0 : -EBADMSG;
    if (size < TAIL_WINDOW_MAX)
        return -EAGAIN;
    /* A window without any line break does not end with a line of an audit file. */
    return newline && tail_is_audit(scan, window, size, from) ? 0 : -EBADMSG;
}

int audit_tail_mend(int fd, uint64_t cursor, uint64_t *ret_seq, off_t *ret_cut)
{
    struct tail_scan scan = {.cursor = cursor};
    size_t limit = TAIL_WINDOW_FIRST;
    struct stat st;
    off_t examined, end;
    int r;

    if (fstat(fd, &st) < 0)
        return -errno;
    r = tail_skip_zeros(fd, st.st_size, &examined);
    if (r < 0)
        return r;
    do {
        size_t size = (uint64_t)examined < limit ? (size_t)examined : limit;
        AUTO_FREE char *window = malloc(size + 1); /* never of size 0 */

        if (!window)
            return -ENOMEM;
        window[size] = '\0';
        r = tail_examine(fd, window, size, examined, &scan);
        end =
            scan.damage == TAIL_NO_DAMAGE ? st.st_size : examined - (off_t)(size - scan.damage);
        limit *= 4;
    } while (r == -EAGAIN);
    if (r < 0)
        return r;
    if (end < st.st_size && ftruncate(fd, end) < 0)
        return -errno;
    *ret_seq = scan.seq;
    *ret_cut = st.st_size - end;
    return 0;
}
