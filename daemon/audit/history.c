/* SPDX-License-Identifier: MIT */
/*
 * history.c - reads from the audit file which messages have ended
 *
 * Only the head of a line is parsed, up to the lane: record_write() puts nothing
 * there that a producer can choose, so no text of a topic can be mistaken for one
 * of these members. Lines that are longer than the buffer are read in pieces; a
 * line that does not begin like one of the audit file is skipped. Blocks that are
 * unreadable, after some seconds of retries, are skipped up to the next line.
 *
 * Diagnostics: audit_unread.
 */
#include "daemon/audit/history.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/regular.h"
#include "daemon/audit/tail.h"

#define HISTORY_LINE_MAX 4096
#define HISTORY_WORD_MAX 256
#define HISTORY_BLOCK    4096 /* as the kernel reads */
#define HISTORY_PAUSES   6
#define HISTORY_NAME_MAX 512

/* The text of a member up to the next quote: neither outcomes nor names of lanes have
 * escapes. */
static bool
history_parse_word(const char *line, const char *name, char word[static HISTORY_WORD_MAX])
{
    const char *at = strstr(line, name);

    if (!at)
        return false;
    at += strlen(name);
    size_t size = strcspn(at, "\"");
    if (size >= HISTORY_WORD_MAX || at[size] != '"')
        return false;
    memcpy(word, at, size);
    word[size] = '\0';
    return true;
}

/* A number with a comma behind it. */
static bool history_parse_number(const char *text, uint64_t *ret)
{
    size_t digits = audit_number_parse(text, strlen(text), ret);

    return digits > 0 && text[digits] == ',';
}

static bool history_parse_line(const char *line, char *lane, struct spool_ended *ret)
{
    char outcome[HISTORY_WORD_MAX];
    const char *id = strstr(line, "\"id\":");

    if (!id || !history_parse_word(line, "\"outcome\":\"", outcome) ||
        !history_parse_word(line, "\"lane\":\"", lane) ||
        !spool_outcome_parse(outcome, &ret->outcome))
        return false;
    ret->lane = lane;
    return history_parse_number(id + strlen("\"id\":"), &ret->id);
}

/* The seq of a line whose end may be beyond the buffer. */
static bool history_parse_seq(const char *line, uint64_t *ret)
{
    static const char start[] = "{\"seq\":";

    return strncmp(line, start, sizeof(start) - 1) == 0 &&
           history_parse_number(line + sizeof(start) - 1, ret);
}

/* A file, block by block; unreadable blocks are skipped. */
struct history {
    int fd;
    off_t at;
    unsigned pauses; /* that remain for the whole file, because a dead disk would take hours */
    uint64_t unread; /* blocks that were skipped */
    char block[HISTORY_BLOCK];
    size_t size;
    size_t used;
};

/* Retries after a pause while any remain. Return: bytes, or negative errno. */
static ssize_t history_read_block(struct history *history)
{
    const struct timespec pause = {.tv_sec = 1};

    for (;;) {
        ssize_t n = pread(history->fd, history->block, sizeof(history->block), history->at);

        if (n >= 0)
            return n;
        if (errno == EINTR)
            continue;
        if (history->pauses == 0)
            return -errno;
        history->pauses--;
        (void)nanosleep(&pause, NULL); /* a signal may shorten it */
    }
}

/* False: end of file. *ret_hole: blocks before this one were skipped. */
static bool history_next_block(struct history *history, off_t end, bool *ret_hole)
{
    ssize_t n = -1;

    while (n < 0 && history->at < end) {
        n = history_read_block(history);
        if (n < 0) {
            history->unread++;
            history->at += HISTORY_BLOCK;
            *ret_hole = true;
        }
    }
    history->size = n > 0 ? (size_t)n : 0;
    history->used = 0;
    history->at += (off_t)history->size;
    return n > 0;
}

/* The next line, or as much of it as fits; false: there is none. *ret_whole: it ends with its
 * line break. *ret_hole: bytes between this piece and the next are missing. */
static bool history_next_piece(struct history *history,
                               off_t end,
                               char line[static HISTORY_LINE_MAX],
                               bool *ret_whole,
                               bool *ret_hole)
{
    size_t length = 0;

    *ret_whole = *ret_hole = false;
    while (length < HISTORY_LINE_MAX - 1 && !*ret_whole) {
        if (history->used == history->size &&
            (!history_next_block(history, end, ret_hole) || *ret_hole))
            break;
        char byte = history->block[history->used++];
        *ret_whole = byte == '\n';
        line[length++] = byte;
    }
    line[length] = '\0';
    return length > 0 || *ret_hole;
}

static int history_read_lines(struct history *history, spool_ended_fn *fn, void *userdata)
{
    char line[HISTORY_LINE_MAX];
    char lane[HISTORY_WORD_MAX];
    bool begins = true, is_whole, has_hole;
    struct stat st;
    int r = 0;

    if (fstat(history->fd, &st) < 0)
        return 0;
    while (r == 0 && history_next_piece(history, st.st_size, line, &is_whole, &has_hole)) {
        struct spool_ended ended;

        if (begins && (is_whole || strlen(line) == sizeof(line) - 1) &&
            history_parse_seq(line, &ended.seq) && history_parse_line(line, lane, &ended))
            r = fn(userdata, &ended);
        begins = is_whole; /* after a hole a line begins only after the next line break */
    }
    return r;
}

static int history_read_file(const char *name, spool_ended_fn *fn, void *userdata)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, name, O_RDONLY, 0);
    struct history history = {.fd = fd, .pauses = HISTORY_PAUSES};
    char text[HISTORY_NAME_MAX];

    if (fd < 0)
        return 0; /* it reports nothing */
    int r = history_read_lines(&history, fn, userdata);
    if (history.unread > 0)
        log_warning("audit_unread file=%s blocks=%" PRIu64 " remedy=\"look at the disk "
                    "(journalctl -k); the messages that ended there are not known to have\"",
                    log_quote(text, sizeof(text), name, strlen(name)), history.unread);
    return r;
}

int audit_history_each(const char *file, spool_ended_fn *fn, void *userdata)
{
    AUTO_FREE char *rotated = NULL;

    if (*file == '\0')
        return 0;
    if (asprintf(&rotated, "%s.1", file) < 0) {
        rotated = NULL;
        return -ENOMEM;
    }
    int r = history_read_file(rotated, fn, userdata);
    return r == 0 ? history_read_file(file, fn, userdata) : r;
}
