/* SPDX-License-Identifier: MIT */
/*
 * stream.h - a client's connection of raw MQTT 3.1.1, with large buffers
 *
 * Raw sockets, because a client library would be the limit that is measured. An error ends the
 * program.
 */
#ifndef BENCH_STREAM_H
#define BENCH_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_BUFFER_SIZE ((size_t)1024 * 1024)

struct stream {
    int fd;
    uint8_t in[STREAM_BUFFER_SIZE];
    size_t in_used;
    uint8_t out[STREAM_BUFFER_SIZE];
    size_t out_used;
    size_t out_sent;
};

/* @address is a TCP port on loopback or the path of a Unix socket. Returns once the connection
 * is accepted; the client id is @role and the process id. The caller frees it; its descriptor
 * stays open. */
struct stream *stream_open(const char *address, const char *role);

/* Appends to what is sent next. */
void stream_put(struct stream *stream, const void *data, size_t size);

/* Sends as much as the socket takes now. */
void stream_flush(struct stream *stream);

/* Waits until something can be read, writing meanwhile; timeout_ms < 0: forever. False: nothing
 * came for that long. */
bool stream_fill(struct stream *stream, int timeout_ms);

/* The size of the packet at the head of @bytes, header included; 0: not all of it is there. */
size_t stream_packet_size(const uint8_t *bytes, size_t size, size_t *ret_header);

/* The next whole packet at *at, or NULL; moves *at behind it. */
const uint8_t *stream_next_packet(const struct stream *stream,
                                  size_t *at,
                                  size_t *ret_header,
                                  size_t *ret_size);

/* Drops the first @size bytes of what was read. */
void stream_drop(struct stream *stream, size_t size);

#endif
