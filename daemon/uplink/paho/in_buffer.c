/* SPDX-License-Identifier: MIT */
/*
 * in_buffer.c - bytes that were read from one connection and not taken yet
 *
 * Invariant: what is taken is what was read, in that order and once.
 */
#include "daemon/uplink/paho/in_buffer.h"

#include <errno.h>
#include <string.h>

void in_buffer_clear(struct in_buffer *buffer)
{
    buffer->at = buffer->end = 0;
    buffer->has_more = buffer->has_ended = false;
}

bool in_buffer_is_empty(const struct in_buffer *buffer)
{
    return buffer->at == buffer->end;
}

bool in_buffer_has_input(const struct in_buffer *buffer)
{
    return !in_buffer_is_empty(buffer) || buffer->has_more || buffer->has_ended;
}

/* Return: as in_source.read, of all that was read. */
static ssize_t fill(struct in_buffer *buffer, const struct in_source *source)
{
    ssize_t n;

    in_buffer_clear(buffer);
    do {
        n = source->read(source->userdata, buffer->bytes + buffer->end,
                         IN_BUFFER_BYTES - buffer->end);
        buffer->end += n > 0 ? (size_t)n : 0;
        buffer->has_more = n > 0 && source->has_more && source->has_more(source->userdata);
    } while (buffer->has_more && buffer->end < IN_BUFFER_BYTES);
    if (buffer->end == 0)
        return n;
    buffer->has_ended = n <= 0 && n != -EAGAIN;
    buffer->failure = n;
    return (ssize_t)buffer->end;
}

ssize_t in_buffer_read(struct in_buffer *buffer,
                       const struct in_source *source,
                       uint8_t *data,
                       size_t size)
{
    if (in_buffer_is_empty(buffer) && buffer->has_ended) {
        buffer->has_ended = false;
        return buffer->failure;
    }
    if (in_buffer_is_empty(buffer)) {
        ssize_t n = fill(buffer, source);

        if (n <= 0)
            return n;
    }
    if (size > buffer->end - buffer->at)
        size = buffer->end - buffer->at;
    memcpy(data, buffer->bytes + buffer->at, size);
    buffer->at += size;
    return (ssize_t)size;
}
