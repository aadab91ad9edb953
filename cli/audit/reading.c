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
#include "base/regular.h"
#include "base/same_file.h"
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
        if (result == -ENOBUFS || memchr(line.text, '\0', line.size))
            result = pass_zeros(check, lines, last);
        else
            result = take_line(check, &line, last);
        if (result != 1 || audit_reached(check) >= up_to || is_far_enough(check, lines))
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

void audit_close_files(int *fds, int count)
{
    for (int i = 0; fds && i < count; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
        fds[i] = -1;
    }
}

/* Have the names the files that were opened by them? As all had them when the last was opened,
 * none was rotated in between. */
static bool have_their_names(char *const *names, int count, const int *fds)
{
    struct stat opened, named;

    for (int i = 0; i < count; i++) {
        if (fds[i] == -ENOENT)
            return false;
        if (fds[i] >= 0 && (fstat(fds[i], &opened) < 0 || stat(names[i], &named) < 0 ||
                            !same_file(&opened, &named)))
            return false;
    }
    return true;
}

void audit_open_files(char *const *names, int count, int *ret_fds)
{
    for (int tries = 0; tries < AUDIT_RENAME_TRIES; tries++) {
        if (tries > 0)
            audit_close_files(ret_fds, count);
        for (int i = 0; i < count; i++)
            ret_fds[i] = strcmp(names[i], "-") == 0
                             ? -EINVAL
                             : regular_openat(AT_FDCWD, names[i], O_RDONLY, 0);
        if (have_their_names(names, count, ret_fds))
            break;
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

static bool is_regular(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_empty(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_size == 0;
}

/* As after a rotation and before the daemon knows of it: it still writes to the file before. */
static bool is_not_begun(const struct audit_check *check, int fd)
{
    return check->open.is_open && is_regular(fd) && is_empty(fd);
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

/* Of @fd and the files behind it the first that has lines. @ret: -1: none has. */
static int find_lines(const char *name, int fd, int *ret)
{
    AUTO_CLOSE int at = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int result = 0;

    while (result == 0 && at >= 0 && is_empty(at)) {
        int behind = -1;

        result = audit_find_successor(at, name, &behind);
        (void)close(at);
        at = behind;
    }
    *ret = cleanup_take_fd(&at);
    return result;
}

/*
 * The file behind the open one. It has lines, so the daemon has left the open one.
 *
 * Return: 0: *ret is its descriptor, or -1: there is none yet; -ESTALE: no name shows which it
 * is, so *ret is the one that has the last name, or -1.
 */
static int take_successor(struct audit_last *last, int *ret)
{
    AUTO_CLOSE int found = -1;
    int result = 0;

    *ret = -1;
    if (strcmp(last->name, "-") == 0 || (last->next < 0 && !is_regular(last->fd)))
        return 0;
    if (last->next < 0)
        result = audit_find_successor(last->fd, last->name, &last->next);
    /* An empty one may get lines while it is passed over; but none once one behind it has. */
    for (int pass = 0; pass < 2 && result == 0 && last->next >= 0; pass++) {
        if (found >= 0)
            (void)close(found);
        found = -1;
        result = find_lines(last->name, last->next, &found);
    }
    if (result < 0)
        found = regular_openat(AT_FDCWD, last->name, O_RDONLY, 0);
    *ret = found >= 0 && !is_empty(found) ? cleanup_take_fd(&found) : -1;
    return result;
}

static int report_rotated(void)
{
    cli_error("the audit files were rotated while they were read: run this again");
    return EX_TEMPFAIL;
}

/* @is_proved: it is behind the open one; else it is if its first record is. */
static int begin_next(struct audit_check *check, int next, bool is_proved)
{
    int code = finish_file(check);
    uint64_t problems = check->problem_count;

    begin_file(check, check->open.name, next);
    if (code != EX_OK || is_proved)
        return code;
    code = read_lines(check, &check->open.lines, true, audit_reached(check) + 1);
    return code == EX_OK && check->problem_count > problems ? report_rotated() : code;
}

/* Return: as audit_read_on(). */
static int read_rest(struct audit_check *check, uint64_t up_to)
{
    struct audit_last *last = &check->open;

    if (last->zeros > 0 || !is_regular(last->fd))
        return EX_OK;
    last->torn = false;
    lines_resume(&last->lines);
    return read_lines(check, &last->lines, true, up_to);
}

/* Return: as audit_read_on(). @ret_more: another file may follow. */
static int read_more(struct audit_check *check, uint64_t up_to, bool *ret_more)
{
    int next, code = EX_OK;
    bool is_proved = take_successor(&check->open, &next) == 0;

    *ret_more = next >= 0;
    if (next >= 0)
        code = begin_next(check, next, is_proved);
    if (code == EX_OK && audit_reached(check) < up_to)
        code = read_rest(check, up_to);
    if (code == EX_OK && next < 0 && !is_proved && audit_reached(check) < up_to)
        code = report_rotated();
    return code;
}

int audit_read_on(struct audit_check *check, uint64_t up_to)
{
    bool has_more = check->open.is_open && !check->open.is_stopped;
    int code = EX_OK;

    while (code == EX_OK && has_more && audit_reached(check) < up_to)
        code = read_more(check, up_to, &has_more);
    return code;
}
