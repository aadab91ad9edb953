/* SPDX-License-Identifier: MIT */
/*
 * out_buffer.h - bytes that wait to be written to one connection
 *
 * Thread: the caller has a lock.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_OUT_BUFFER_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_OUT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/attr.h"

#define OUT_BUFFER_BYTES ((size_t)256 << 10)

struct out_buffer {
    size_t at; /* of the first byte that waits */
    size_t end;
    size_t piece; /* bytes of the write that has to be repeated; 0: none */
    size_t added; /* since the last flush */
    uint8_t bytes[OUT_BUFFER_BYTES];
};

/* Where the bytes go. @write returns how many were taken, -EAGAIN: none now; another negative
 * errno: none any more. A write that took none is repeated with the same bytes. */
struct out_sink {
    ssize_t (*write)(void *userdata, const uint8_t *data, size_t size);
    size_t piece_max; /* bytes of one write */
    void *userdata;
};

void out_buffer_clear(struct out_buffer *buffer);
/* Bytes that wait. */
size_t out_buffer_size(const struct out_buffer *buffer);
/* Return: false: there is no room for all of it, and nothing was added. */
MUST_CHECK bool out_buffer_add(struct out_buffer *buffer, const struct iovec *parts, int count);
/* Return: 0: nothing waits any more; -EAGAIN: the rest waits; another negative errno: as @sink
 * returned it, and the rest is dropped. */
MUST_CHECK int out_buffer_flush(struct out_buffer *buffer, const struct out_sink *sink);

/* The bytes of @parts. */
size_t out_buffer_sum(const struct iovec *parts, int count);

#endif
