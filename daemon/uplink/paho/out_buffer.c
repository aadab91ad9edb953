/* SPDX-License-Identifier: MIT */
/*
 * out_buffer.c - bytes that wait to be written to one connection
 *
 * Invariant: what is written is what was added, in that order and once, up to the first error.
 */
#include "daemon/uplink/paho/out_buffer.h"

#include <errno.h>
#include <string.h>

void out_buffer_clear(struct out_buffer *buffer)
{
    buffer->at = buffer->end = buffer->piece = buffer->added = 0;
}

size_t out_buffer_size(const struct out_buffer *buffer)
{
    return buffer->end - buffer->at;
}

size_t out_buffer_sum(const struct iovec *parts, int count)
{
    size_t sum = 0;

    for (int i = 0; i < count; i++)
        sum += parts[i].iov_len;
    return sum;
}

/* To the front, if there is too little room behind. */
static void make_room(struct out_buffer *buffer, size_t size)
{
    if (OUT_BUFFER_BYTES - buffer->end >= size)
        return;
    memmove(buffer->bytes, buffer->bytes + buffer->at, out_buffer_size(buffer));
    buffer->end = out_buffer_size(buffer);
    buffer->at = 0;
}

bool out_buffer_add(struct out_buffer *buffer, const struct iovec *parts, int count)
{
    size_t size = out_buffer_sum(parts, count);

    if (size > OUT_BUFFER_BYTES - out_buffer_size(buffer))
        return false;
    make_room(buffer, size);
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len > 0)
            memcpy(buffer->bytes + buffer->end, parts[i].iov_base, parts[i].iov_len);
        buffer->end += parts[i].iov_len;
    }
    buffer->added += size;
    return true;
}

int out_buffer_flush(struct out_buffer *buffer, const struct out_sink *sink)
{
    buffer->added = 0;
    while (buffer->at < buffer->end) {
        size_t left = out_buffer_size(buffer);

        if (buffer->piece == 0)
            buffer->piece = left < sink->piece_max ? left : sink->piece_max;
        ssize_t n = sink->write(sink->userdata, buffer->bytes + buffer->at, buffer->piece);
        if (n == -EAGAIN)
            return -EAGAIN;
        if (n < 0) {
            out_buffer_clear(buffer);
            return (int)n;
        }
        buffer->at += (size_t)n;
        buffer->piece = 0;
    }
    out_buffer_clear(buffer);
    return 0;
}
