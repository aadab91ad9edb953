/* SPDX-License-Identifier: MIT */
/*
 * history.c - see history.h
 *
 * Only the head of a line is looked at, up to the lane: record_write() puts
 * nothing there that a producer can choose, so no text of a topic can pass for
 * one of these members. Lines that are longer than the buffer go by in pieces;
 * what does not begin like a line of ours is passed over. What the disk does not
 * give, after some seconds of trying, is passed over, too, up to the next line.
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

#include "base/log.h"
#include "base/regular.h"

#define HISTORY_LINE_MAX 4096
#define HISTORY_WORD_MAX 256
#define HISTORY_BLOCK    4096 /* as the kernel reads */
#define HISTORY_PAUSES   6
#define HISTORY_NAME_MAX 512

/* The text of a member, without escapes: neither outcomes nor lanes have any that matter. */
static bool take_word(const char *line, const char *name, char word[static HISTORY_WORD_MAX])
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

static bool take_line(const char *line, char *lane, struct spool_ended *ret)
{
    char outcome[HISTORY_WORD_MAX];
    const char *id = strstr(line, "\"id\":");

    if (!id || !take_word(line, "\"outcome\":\"", outcome) ||
        !take_word(line, "\"lane\":\"", lane) || !spool_outcome_parse(outcome, &ret->outcome))
        return false;
    ret->id = strtoull(id + strlen("\"id\":"), NULL, 10);
    ret->lane = lane;
    return ret->id > 0;
}

/* The seq of a line whose end may be beyond the buffer. */
static bool take_seq(const char *line, uint64_t *ret)
{
    static const char start[] = "{\"seq\":";
    char *end;

    if (strncmp(line, start, sizeof(start) - 1) != 0)
        return false;
    *ret = strtoull(line + sizeof(start) - 1, &end, 10);
    return *ret > 0 && *ret < INT64_MAX && *end == ',';
}

/* A file, block by block: what the disk does not give is left out. */
struct history {
    int fd;
    off_t at;
    unsigned pauses; /* left: for all of the file, else one that is gone would take hours */
    uint64_t unread; /* blocks */
    char block[HISTORY_BLOCK];
    size_t size;
    size_t used;
};

/* Once more after a pause, while there are any left. */
static ssize_t read_patiently(struct history *history)
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
        (void)nanosleep(&pause, NULL); /* shorter where a signal comes */
    }
}

/* False: the file ends. After a hole *ret_hole is set. */
static bool next_block(struct history *history, off_t end, bool *ret_hole)
{
    ssize_t n = -1;

    while (n < 0 && history->at < end) {
        n = read_patiently(history);
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

/* The next line, or of a longer one what fits; false: there is none. *ret_whole: the line break was
 * met. *ret_hole: bytes before what comes next are missing. */
static bool next_piece(struct history *history,
                       off_t end,
                       char line[static HISTORY_LINE_MAX],
                       bool *ret_whole,
                       bool *ret_hole)
{
    size_t length = 0;

    *ret_whole = *ret_hole = false;
    while (length < HISTORY_LINE_MAX - 1 && !*ret_whole) {
        if (history->used == history->size &&
            (!next_block(history, end, ret_hole) || *ret_hole))
            break;
        char byte = history->block[history->used++];
        *ret_whole = byte == '\n';
        line[length++] = byte;
    }
    line[length] = '\0';
    return length > 0 || *ret_hole;
}

static int read_lines(struct history *history, spool_ended_fn *fn, void *context)
{
    char line[HISTORY_LINE_MAX];
    char lane[HISTORY_WORD_MAX];
    bool begins = true, is_whole, has_hole;
    struct stat st;
    int r = 0;

    if (fstat(history->fd, &st) < 0)
        return 0;
    while (r == 0 && next_piece(history, st.st_size, line, &is_whole, &has_hole)) {
        struct spool_ended ended;

        if (begins && (is_whole || strlen(line) == sizeof(line) - 1) &&
            take_seq(line, &ended.seq) && take_line(line, lane, &ended))
            r = fn(context, &ended);
        begins = is_whole; /* behind a hole a line begins after the next line break only */
    }
    return r;
}

static int read_file(const char *name, spool_ended_fn *fn, void *context)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, name, O_RDONLY, 0);
    struct history history = {.fd = fd, .pauses = HISTORY_PAUSES};
    char text[HISTORY_NAME_MAX];

    if (fd < 0)
        return 0; /* nothing is known from there */
    int r = read_lines(&history, fn, context);
    if (history.unread > 0)
        log_warning("audit_unread file=%s blocks=%" PRIu64 " remedy=\"look at the disk "
                    "(journalctl -k); the messages that ended there are not known to have\"",
                    log_quote(text, sizeof(text), name, strlen(name)), history.unread);
    return r;
}

int audit_history_each(const char *file, spool_ended_fn *fn, void *context)
{
    AUTO_FREE char *rotated = NULL;

    if (*file == '\0')
        return 0;
    if (asprintf(&rotated, "%s.1", file) < 0) {
        rotated = NULL;
        return -ENOMEM;
    }
    int r = read_file(rotated, fn, context);
    return r == 0 ? read_file(file, fn, context) : r;
}
