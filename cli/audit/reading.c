/* SPDX-License-Identifier: MIT */
/*
 * reading.c - the lines of audit files, one file after the other
 *
 * The file that was read last stays open: a daemon may write more lines into it, and the
 * comparison with the database needs those that the database no longer has.
 *
 * Invariant: memory for one line, whatever is in a file.
 */
#include "cli/audit/check.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "daemon/record/outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* While a rotation renames files one after the other, one has no name, or two. */
#define OPEN_TRIES 100

static bool is_compressed(const struct line *line)
{
    return line->size >= 2 && memcmp(line->text, AUDIT_GZIP_MAGIC, 2) == 0;
}

static int report_compressed(const struct audit_check *check)
{
    cli_error("%s is compressed and not read as it is: zcat %s | mqtt-spool audit - ... (- is "
              "standard input, the files that follow it come after)",
              check->file, check->file);
    return EX_DATAERR;
}

/* Zeros in place of lines, the first of them at @at. At the end of the last file they are what
 * a power cut leaves, and the daemon cuts them. */
static void note_zeros(struct audit_check *check, bool is_end, uint64_t at, uint64_t count)
{
    if (is_end) {
        check->open.torn = true;
        check->open.zeros_at = at;
        check->open.zeros = count;
        return;
    }
    audit_lose_seals(&check->seals);
    audit_add_problem_at(check, check->file, check->line + 1,
                         "%" PRIu64 " zero byte%s from byte %" PRIu64
                         " on in place of lines, as a power cut or a bad disk leaves them",
                         count, cli_plural(count), at);
}

/* Return: 1: they were passed over; negative errno. */
static int pass_zeros(struct audit_check *check, struct lines *lines, bool last)
{
    uint64_t at = 0, count = 0;
    int result = lines_skip_zeros(lines, &at, &count);

    if (result == 0)
        return -ENOBUFS;
    if (result == 1)
        note_zeros(check, last && lines->ended && bytes_used(&lines->bytes) == 0, at, count);
    return result;
}

/* Return: 1; 0: it is the half line with which the last file ends; negative errno. */
static int take_line(struct audit_check *check, const struct line *line, bool last)
{
    if (line->torn && last) {
        check->open.torn = true;
        return 0;
    }
    return audit_check_line(check, line) == 0 ? 1 : -ENOMEM;
}

/* Nothing more can be read. Return: EX_OK: that is a problem of the file; another exit code,
 * reported. */
static int stop_reading(struct audit_check *check, int error)
{
    audit_lose_seals(&check->seals);
    check->open.is_stopped = true;
    if (error == -ENOMEM)
        cli_error("out of memory while reading %s", check->file);
    else if (error != -ENOBUFS && error != -EIO)
        cli_error("cannot read %s: %s", check->file, strerror(-error));
    if (error != -ENOBUFS && error != -EIO)
        return EX_UNAVAILABLE;
    check->line++;
    if (error == -ENOBUFS)
        audit_add_problem(check,
                          "this line is longer than any record; what follows was not read");
    else
        audit_add_problem(check,
                          "the disk does not give this line (journalctl -k says more); what "
                          "follows was not read");
    return EX_OK;
}

/* So a file that grows as fast as it is read comes to an end. */
static bool is_far_enough(const struct audit_check *check, const struct lines *lines)
{
    return lines->offset + lines->taken >= check->open.limit;
}

/* To the end, or to a line whose seq is at least @up_to. @last: as far as is known no other
 * file comes after this one. */
static int read_lines(struct audit_check *check, struct lines *lines, bool last, uint64_t up_to)
{
    struct line line;
    int result;

    while ((result = lines_next(lines, &line)) == 1 || result == -ENOBUFS) {
        if (result == 1 && check->line == 0 && is_compressed(&line))
            return report_compressed(check);
        if (result == -ENOBUFS || (line.torn && memchr(line.text, '\0', line.size)))
            result = pass_zeros(check, lines, last);
        else
            result = take_line(check, &line, last);
        if (result != 1 || check->last_seq >= up_to || is_far_enough(check, lines))
            break;
    }
    return result < 0 ? stop_reading(check, result) : EX_OK;
}

void audit_close_last(struct audit_check *check)
{
    struct audit_last *last = &check->open;

    if (!last->is_open)
        return;
    lines_done(&last->lines);
    if (last->fd != STDIN_FILENO)
        (void)close(last->fd);
    if (last->next >= 0)
        (void)close(last->next);
    last->is_open = false;
}

static void begin_file(struct audit_check *check, const char *name, int fd)
{
    struct audit_last *last = &check->open;

    audit_close_last(check);
    check->file = strcmp(name, "-") == 0 ? "standard input" : name;
    check->line = 0;
    check->files++;
    *last = (struct audit_last){
        .is_open = true, .fd = fd, .limit = UINT64_MAX, .next = -1, .name = name};
    lines_init(&last->lines, fd, RECORD_LINE_MAX + 1);
}

/* Another file comes after the open one: a half line at its end is a problem. What a daemon
 * wrote to it since it was read is read first. */
static int finish_file(struct audit_check *check)
{
    struct audit_last *last = &check->open;

    if (!last->is_open || last->is_stopped)
        return EX_OK;
    check->open.torn = false;
    if (check->open.zeros > 0) {
        note_zeros(check, false, check->open.zeros_at, check->open.zeros);
        check->open.zeros = 0;
        return EX_OK;
    }
    lines_resume(&last->lines);
    return read_lines(check, &last->lines, false, UINT64_MAX);
}

/* ---- names that a rotation moves ---- */

static bool is_same_file(int a, int b)
{
    struct stat left, right;

    return a >= 0 && b >= 0 && fstat(a, &left) == 0 && fstat(b, &right) == 0 &&
           left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

/* -1: it cannot be opened, or to open it may wait for another process. */
static int open_regular(const char *name)
{
    AUTO_CLOSE int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? cleanup_take_fd(&fd) : -1;
}

void audit_close_files(int *fds, int count)
{
    for (int i = 0; fds && i < count; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
        fds[i] = -1;
    }
}

void audit_open_files(char *const *names, int count, int *ret_fds)
{
    bool is_moved = true;

    for (int tries = 0; is_moved && tries < OPEN_TRIES; tries++) {
        is_moved = false;
        if (tries > 0)
            audit_close_files(ret_fds, count);
        /* The newest first: if they are renamed meanwhile, one has the next name as well. */
        for (int i = count - 1; i >= 0; i--) {
            errno = 0;
            ret_fds[i] = strcmp(names[i], "-") == 0 ? -1 : open_regular(names[i]);
            is_moved |= (ret_fds[i] < 0 && errno == ENOENT) ||
                        (i + 1 < count && is_same_file(ret_fds[i], ret_fds[i + 1]));
        }
    }
}

static int open_by_name(const char *file)
{
    int code, fd = strcmp(file, "-") == 0 ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        return fd;
    code = errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE;
    cli_error("cannot open the audit file %s: %m; %s", file,
              code == EX_NOPERM ? "run this as root or as the user of the service"
                                : "is audit.file, or the name given, right?");
    return -code;
}

/* As after a rotation and before the daemon knows of it: it still writes to the file before. */
static bool is_not_begun(const struct audit_check *check, int fd)
{
    struct stat st;

    return check->open.is_open && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
}

int audit_read_file(struct audit_check *check, const char *file, int *opened, bool last)
{
    int fd = cleanup_take_fd(opened);
    int code = EX_OK;
    struct stat st;

    if (fd < 0)
        fd = open_by_name(file);
    if (fd < 0)
        return -fd;
    if (last && is_not_begun(check, fd)) {
        check->files++;
        check->open.name = file;
        check->open.next = fd;
        return EX_OK;
    }
    code = finish_file(check);
    begin_file(check, file, fd);
    if (code != EX_OK)
        return code;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        check->open.limit = (uint64_t)st.st_size;
    code = read_lines(check, &check->open.lines, true, UINT64_MAX);
    check->open.limit = UINT64_MAX;
    return code;
}

/* ---- what was written since ---- */

/* The file behind the open one: that which was empty, or has the last name now. It has lines,
 * so the daemon has left the open one. Return: a descriptor; -1: there is none. */
static int take_successor(struct audit_last *last)
{
    AUTO_CLOSE int next = cleanup_take_fd(&last->next);
    struct stat st;

    if (next < 0 && strcmp(last->name, "-") != 0)
        next = open_regular(last->name);
    if (next < 0 || fstat(next, &st) < 0 || is_same_file(last->fd, next))
        return -1;
    if (st.st_size > 0)
        return cleanup_take_fd(&next);
    last->next = cleanup_take_fd(&next);
    return -1;
}

/* Return: as audit_read_on(). @ret_more: another file may follow. */
static int read_more(struct audit_check *check, uint64_t up_to, bool *ret_more)
{
    struct audit_last *last = &check->open;
    int code = EX_OK, next = take_successor(last);
    struct stat st;

    *ret_more = next >= 0;
    if (next >= 0) {
        code = finish_file(check);
        begin_file(check, last->name, next);
    } else if (check->open.zeros > 0 || fstat(last->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return EX_OK;
    } else {
        check->open.torn = false;
        lines_resume(&last->lines);
    }
    return code == EX_OK ? read_lines(check, &last->lines, true, up_to) : code;
}

int audit_read_on(struct audit_check *check, uint64_t up_to)
{
    bool has_more = check->open.is_open && !check->open.is_stopped;
    int code = EX_OK;

    while (code == EX_OK && has_more && check->last_seq < up_to)
        code = read_more(check, up_to, &has_more);
    return code;
}
