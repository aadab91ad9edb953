/* SPDX-License-Identifier: MIT */
/*
 * reading.c - the lines of audit files, one file after the other
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
        check->torn = true;
        check->zeros_at = at;
        check->zeros = count;
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
        check->torn = true;
        return 0;
    }
    return audit_check_line(check, line) == 0 ? 1 : -ENOMEM;
}

/* Nothing more can be read. Return: EX_OK: that is a problem of the file; another exit code,
 * reported. */
static int stop_reading(struct audit_check *check, int error)
{
    audit_lose_seals(&check->seals);
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

/* To the end, or to a line whose seq is at least @up_to. @last: no other file comes after this
 * one. */
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
        if (result != 1 || check->last_seq >= up_to)
            break;
    }
    return result < 0 ? stop_reading(check, result) : EX_OK;
}

static void begin_file(struct audit_check *check, int fd)
{
    struct audit_last *last = &check->open;

    check->line = 0;
    check->files++;
    last->fd = fd;
    lines_init(&last->lines, fd, RECORD_LINE_MAX + 1);
    last->is_open = true;
}

void audit_close_last(struct audit_check *check)
{
    struct audit_last *last = &check->open;

    if (!last->is_open)
        return;
    lines_done(&last->lines);
    if (last->fd != STDIN_FILENO)
        (void)close(last->fd);
    last->is_open = false;
}

int audit_read_file(struct audit_check *check, const char *file, bool last)
{
    bool is_input = strcmp(file, "-") == 0;
    int fd = is_input ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    int code;

    audit_close_last(check);
    check->file = is_input ? "standard input" : file;
    if (fd < 0) {
        code = errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE;
        cli_error("cannot open the audit file %s: %m; %s", file,
                  code == EX_NOPERM ? "run this as root or as the user of the service"
                                    : "is audit.file, or the name given, right?");
        return code;
    }
    begin_file(check, fd);
    return read_lines(check, &check->open.lines, last, UINT64_MAX);
}
