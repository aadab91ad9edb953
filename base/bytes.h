/* SPDX-License-Identifier: MIT */
/*
 * bytes.h - a byte queue with a cap
 *
 * Bytes are appended at the tail and consumed at the head. The queue grows on
 * demand up to its cap and never beyond; it frees its memory when it runs empty,
 * so that an idle client costs little.
 *
 * Invariant: head <= tail <= size <= cap. The queue owns its memory.
 */
#ifndef MQTT_SPOOLD_BASE_BYTES_H
#define MQTT_SPOOLD_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"

struct bytes {
    uint8_t *memory;
    size_t head;
    size_t tail;
    size_t size;
    size_t cap;
};

/* Empty, without memory. @cap: in bytes. */
void bytes_init(struct bytes *bytes, size_t cap);
/* Frees the memory; the queue is empty and usable again. */
void bytes_done(struct bytes *bytes);
/* @cap: not below bytes_used(). */
void bytes_set_cap(struct bytes *bytes, size_t cap);
/* How many bytes are queued. */
size_t bytes_used(const struct bytes *bytes);
/* The queued bytes; valid until the next call that changes the queue. */
struct view bytes_view(const struct bytes *bytes);

/*
 * bytes_reserve() - room for @size more bytes at the tail
 * @ret: where to write them; follow with bytes_commit()
 *
 * Return: 0; -ENOBUFS: above the cap; -ENOMEM.
 */
MUST_CHECK int bytes_reserve(struct bytes *bytes, size_t size, uint8_t **ret);
/* Appends the first @size bytes of the reserved room. */
void bytes_commit(struct bytes *bytes, size_t size);
/* For tests: reserve, copy, commit. Return as bytes_reserve(), nothing appended on failure. */
MUST_CHECK int bytes_append(struct bytes *bytes, const void *data, size_t size);
/* Removes @size bytes at the head; at most bytes_used(). */
void bytes_consume(struct bytes *bytes, size_t size);
/* Takes @size bytes out behind the first @offset, of those that are queued. */
void bytes_erase(struct bytes *bytes, size_t offset, size_t size);

#endif
