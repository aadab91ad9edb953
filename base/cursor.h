/* SPDX-License-Identifier: MIT */
/*
 * cursor.h - bounded reading and writing of big-endian wire fields
 *
 * Both carry a sticky error: a read beyond the end returns zeros, a write beyond
 * the end is dropped, and each sets failed. So a caller reads or writes ten
 * fields and checks the error once. Nothing is allocated; the memory stays the
 * caller's.
 *
 * Invariant: at <= end; no access outside the caller's memory. Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_CURSOR_H
#define MQTT_SPOOLD_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/view.h"

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

void reader_init(struct reader *reader, const void *data, size_t size);
size_t reader_left(const struct reader *reader);
uint8_t reader_u8(struct reader *reader);
uint16_t reader_u16(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
/* Bytes of the caller's memory; empty after a failure. */
struct view reader_bytes(struct reader *reader, size_t size);
/* A 16-bit length and that many bytes. */
struct view reader_block(struct reader *reader);
/* MQTT's variable byte integer, 1 to 4 bytes; an encoding that is longer than needed or has a
 * fifth byte fails [MQTT-1.5.5-1]. */
uint32_t reader_varint(struct reader *reader);

struct writer {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;
    bool failed;
};

void writer_init(struct writer *writer, void *memory, size_t size);
size_t writer_used(const struct writer *writer);
void writer_u8(struct writer *writer, uint8_t value);
void writer_u16(struct writer *writer, uint16_t value);
void writer_u32(struct writer *writer, uint32_t value);
void writer_bytes(struct writer *writer, const void *data, size_t size);
/* A 16-bit length and the bytes; fails if @size is above 65,535. */
void writer_block(struct writer *writer, const void *data, size_t size);
void writer_varint(struct writer *writer, uint32_t value);
/* Bytes of a variable byte integer: 1 to 4; 0: @value is too large to encode. */
size_t varint_size(uint32_t value);

#endif
