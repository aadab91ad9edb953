/* SPDX-License-Identifier: MIT */
/*
 * wire_marks.h - how many bytes on the wire hold the bytes that were written
 *
 * TLS adds to what is written; how much is known when it was.
 *
 * Thread: the caller has a lock.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_WIRE_MARKS_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_WIRE_MARKS_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_MARKS_MAX 128u

struct wire_mark {
    uint64_t written;
    uint64_t wire;
};

/* All zero: none. The newest ones, from first on. */
struct wire_marks {
    size_t first;
    size_t count;
    struct wire_mark marks[WIRE_MARKS_MAX];
};

/* The first @written bytes have taken @wire on the wire; both rise. The oldest mark is dropped
 * if there are many. */
void wire_marks_add(struct wire_marks *marks, uint64_t written, uint64_t wire);
/* Return: how many bytes on the wire hold the first @written bytes, or a few bytes more than
 * those; UINT64_MAX: not known yet. */
uint64_t wire_marks_find(const struct wire_marks *marks, uint64_t written);

#endif
