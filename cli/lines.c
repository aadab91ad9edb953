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

static void lines_consume(struct lines *lines, size_t size)
{
    bytes_consume(&lines->bytes, size);
    lines->offset += size;
}

static void lines_leave(struct lines *lines)
{
    lines_consume(lines, lines->taken);
    lines->taken = 0;
}

bool lines_take(struct lines *lines, struct line *ret)
{
    struct view view;
    const char *start;
    const char *newline;

    lines_leave(lines);
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

    lines_leave(lines);
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

static size_t count_zeros(struct view view)
{
    size_t count = 0;

    while (count < view.size && view.data[count] == 0)
        count++;
    return count;
}

int lines_skip_zeros(struct lines *lines, uint64_t *ret_at, uint64_t *ret_count)
{
    struct view view = bytes_view(&lines->bytes);
    const uint8_t *zero = view.size > 0 ? memchr(view.data, 0, view.size) : NULL;
    uint64_t at;

    if (!zero)
        return 0;
    lines->taken = (size_t)(zero - view.data);
    lines_leave(lines);
    lines->scanned = 0;
    at = lines->offset;
    while ((view = bytes_view(&lines->bytes)).size == 0 || view.data[0] == 0) {
        int result;

        lines_consume(lines, count_zeros(view));
        if (bytes_used(&lines->bytes) > 0 || lines->ended)
            break;
        result = lines_fill(lines);
        if (result < 0)
            return result;
    }
    *ret_at = at;
    *ret_count = lines->offset - at;
    return 1;
}

void lines_resume(struct lines *lines)
{
    if (lines->ended)
        lines->taken = 0; /* of a torn line: others were left before the end was read */
    lines->ended = false;
    lines->scanned = 0;
}
