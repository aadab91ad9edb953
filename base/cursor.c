/* SPDX-License-Identifier: MIT */
/*
 * cursor.c - bounded reading and writing of big-endian wire fields
 *
 * Everything that arrives from a client is read through these functions, so that
 * a length from the wire can never lead outside of the buffer. The invariant is
 * at <= end; a size is compared with what is left and never added to a pointer
 * first, which could overflow.
 *
 * The error is sticky: a failed reader stays at its end and a failed writer
 * writes nothing more, so that later calls cannot misread the wrong bytes, and
 * the caller checks once, after the last field.
 */
#include "base/cursor.h"

#include <string.h>

enum { VARINT_MAX_BYTES = 4, VARINT_BITS = 7, VARINT_MASK = 0x7F, VARINT_MORE = 0x80 };

void reader_init(struct reader *reader, const void *data, size_t size)
{
    reader->at = data;
    reader->end = size > 0 ? reader->at + size : reader->at;
    reader->failed = false;
}

size_t reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static void reader_fail(struct reader *reader)
{
    reader->failed = true;
    reader->at = reader->end;
}

struct view reader_bytes(struct reader *reader, size_t size)
{
    if (size > reader_left(reader))
        reader_fail(reader);
    if (reader->failed || size == 0)
        return view_of(reader->at, 0);
    struct view view = {.data = reader->at, .size = size};
    reader->at += size;
    return view;
}

static uint32_t reader_number(struct reader *reader, size_t size)
{
    struct view view = reader_bytes(reader, size);
    uint32_t value = 0;

    for (size_t i = 0; i < view.size; i++)
        value = value << 8 | view.data[i];
    return value;
}

uint8_t reader_u8(struct reader *reader)
{
    return (uint8_t)reader_number(reader, 1);
}

uint16_t reader_u16(struct reader *reader)
{
    return (uint16_t)reader_number(reader, 2);
}

uint32_t reader_u32(struct reader *reader)
{
    return reader_number(reader, 4);
}

struct view reader_block(struct reader *reader)
{
    return reader_bytes(reader, reader_u16(reader));
}

uint32_t reader_varint(struct reader *reader)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < VARINT_MAX_BYTES; i++) {
        uint8_t byte = reader_u8(reader);

        value |= (uint32_t)(byte & VARINT_MASK) << (VARINT_BITS * i);
        if (byte & VARINT_MORE)
            continue;
        if (byte == 0 && i > 0)
            break; /* a last byte of zero adds nothing: longer than needed */
        return value;
    }
    reader_fail(reader);
    return 0;
}

void writer_init(struct writer *writer, void *memory, size_t size)
{
    writer->start = memory;
    writer->at = memory;
    writer->end = size > 0 ? writer->start + size : writer->start;
    writer->failed = false;
}

size_t writer_used(const struct writer *writer)
{
    return (size_t)(writer->at - writer->start);
}

void writer_bytes(struct writer *writer, const void *data, size_t size)
{
    if (size > (size_t)(writer->end - writer->at))
        writer->failed = true;
    if (writer->failed || size == 0)
        return;
    memcpy(writer->at, data, size);
    writer->at += size;
}

void writer_u8(struct writer *writer, uint8_t value)
{
    writer_bytes(writer, &value, 1);
}

void writer_u16(struct writer *writer, uint16_t value)
{
    const uint8_t wire[] = {(uint8_t)(value >> 8), (uint8_t)value};

    writer_bytes(writer, wire, sizeof(wire));
}

void writer_u32(struct writer *writer, uint32_t value)
{
    const uint8_t wire[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16),
                            (uint8_t)(value >> 8), (uint8_t)value};

    writer_bytes(writer, wire, sizeof(wire));
}

void writer_block(struct writer *writer, const void *data, size_t size)
{
    if (size > UINT16_MAX) {
        writer->failed = true;
        return;
    }
    writer_u16(writer, (uint16_t)size);
    writer_bytes(writer, data, size);
}

void writer_varint(struct writer *writer, uint32_t value)
{
    if (varint_size(value) == 0) {
        writer->failed = true;
        return;
    }
    while (value > VARINT_MASK) {
        writer_u8(writer, (uint8_t)((value & VARINT_MASK) | VARINT_MORE));
        value >>= VARINT_BITS;
    }
    writer_u8(writer, (uint8_t)value);
}

size_t varint_size(uint32_t value)
{
    for (size_t size = 1; size <= VARINT_MAX_BYTES; size++) {
        if (value >> (VARINT_BITS * size) == 0)
            return size;
    }
    return 0;
}
