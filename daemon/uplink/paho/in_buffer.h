/* SPDX-License-Identifier: MIT */
/*
 * in_buffer.h - bytes that were read from one connection and not taken yet
 *
 * Thread: the caller has a lock.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_IN_BUFFER_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_IN_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IN_BUFFER_BYTES ((size_t)64 << 10)

struct in_buffer {
    size_t at; /* of the first byte that was not taken */
    size_t end;
    bool has_more;   /* the source does, without a wait */
    bool has_ended;  /* the source has, behind the bytes */
    ssize_t failure; /* if it has ended: what it returned */
    uint8_t bytes[IN_BUFFER_BYTES];
};

/* Where the bytes come from. @read returns how many, 0: it has ended; negative errno, -EAGAIN:
 * none now. @has_more: may another read give some that the kernel no longer has? NULL: no. */
struct in_source {
    ssize_t (*read)(void *userdata, uint8_t *data, size_t size);
    bool (*has_more)(void *userdata);
    void *userdata;
};

void in_buffer_clear(struct in_buffer *buffer);
bool in_buffer_is_empty(const struct in_buffer *buffer);
/* Can something be taken that the kernel no longer has: bytes, an end or an error? */
bool in_buffer_has_input(const struct in_buffer *buffer);
/*
 * in_buffer_read() - at most @size bytes, from the buffer
 *
 * If it is empty, @source is read first, as long as it has more. Return: as in_source.read; an
 * end or an error comes once, behind all bytes that were read before it.
 */
ssize_t in_buffer_read(struct in_buffer *buffer,
                       const struct in_source *source,
                       uint8_t *data,
                       size_t size);

#endif
