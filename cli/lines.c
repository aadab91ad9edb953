/* SPDX-License-Identifier: MIT */
/*
 * lines.c - lines from a descriptor, within a cap
 *
 * A line stays in the queue until the next call, so that it is returned without
 * a copy. Each byte is scanned once, however slowly a long line arrives.
 */
#include "cli/lines.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/view.h"

#define LINES_READ_BYTES ((size_t)64 * 1024)

void lines_init(struct lines *lines, int fd, size_t cap)
{
    *lines = (struct lines){.fd = fd};
    bytes_init(&lines->bytes, cap);
}

void lines_done(struct lines *lines)
{
    bytes_done(&lines->bytes);
}

bool lines_take(struct lines *lines, struct line *ret)
{
    struct view view;
    const char *start;
    const char *newline;

    bytes_consume(&lines->bytes, lines->taken);
    lines->taken = 0;
    view = bytes_view(&lines->bytes);
    if (view.size == 0)
        return false;
    start = (const char *)view.data;
    newline = memchr(start + lines->scanned, '\n', view.size - lines->scanned);
    if (!newline && !lines->ended) {
        lines->scanned = view.size;
        return false;
    }
    ret->text = start;
    ret->size = newline ? (size_t)(newline - start) : view.size;
    ret->torn = !newline;
    lines->taken = ret->size + (newline ? 1 : 0);
    lines->scanned = 0;
    return true;
}

int lines_fill(struct lines *lines)
{
    size_t used;
    size_t size;
    uint8_t *memory;
    ssize_t got;
    int result;

    bytes_consume(&lines->bytes, lines->taken);
    lines->taken = 0;
    used = bytes_used(&lines->bytes);
    if (used >= lines->bytes.cap)
        return -ENOBUFS;
    size = lines->bytes.cap - used;
    if (size > LINES_READ_BYTES)
        size = LINES_READ_BYTES;
    result = bytes_reserve(&lines->bytes, size, &memory);
    if (result < 0)
        return result;
    got = read(lines->fd, memory, size);
    if (got < 0 && errno == EAGAIN) {
        /* Another process made the descriptor non-blocking: wait as a blocking one would. */
        (void)poll(&(struct pollfd){.fd = lines->fd, .events = POLLIN}, 1, -1);
        return 0;
    }
    if (got < 0)
        return errno == EINTR ? 0 : -errno;
    if (got == 0)
        lines->ended = true;
    bytes_commit(&lines->bytes, (size_t)got);
    return 0;
}

int lines_next(struct lines *lines, struct line *ret)
{
    while (!lines_take(lines, ret)) {
        int result;

        if (lines->ended)
            return 0;
        result = lines_fill(lines);
        if (result < 0)
            return result;
    }
    return 1;
}
