/* SPDX-License-Identifier: MIT */
/*
 * wire.h - packets written as text, for tests
 *
 * "30 ( ['a/b'] ff )": hexadecimal bytes, text between quotes, a block with a
 * 16-bit length between [ ], a part with a variable byte length between ( ).
 * So a row of a table shows the packet and never a length that a person
 * counted; a wrong length is written in plain bytes.
 */
#ifndef MQTT_SPOOLD_TESTS_WIRE_H
#define MQTT_SPOOLD_TESTS_WIRE_H

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"

enum { WIRE_MAX = 4096, WIRE_DEPTH = 8 };

struct wire {
    uint8_t bytes[WIRE_MAX];
    size_t size;
    size_t open[WIRE_DEPTH]; /* where the parts begin that are not closed yet */
    size_t depth;
};

static inline void wire_close(struct wire *wire, bool is_block)
{
    assert_true(wire->depth > 0);
    size_t start = wire->open[--wire->depth];
    size_t size = wire->size - start;
    uint8_t length[4];
    struct writer writer;
    writer_init(&writer, length, sizeof(length));
    if (is_block)
        writer_u16(&writer, (uint16_t)size);
    else
        writer_varint(&writer, (uint32_t)size);
    assert_true(wire->size + sizeof(length) <= sizeof(wire->bytes));
    memmove(wire->bytes + start + writer_used(&writer), wire->bytes + start, size);
    memcpy(wire->bytes + start, length, writer_used(&writer));
    wire->size += writer_used(&writer);
}

/* Returns where to read on. */
static inline const char *wire_text(struct wire *wire, const char *at)
{
    const char *end = strchr(at, '\'');
    assert_non_null(end);
    assert_true(wire->size + (size_t)(end - at) <= sizeof(wire->bytes));
    memcpy(wire->bytes + wire->size, at, (size_t)(end - at));
    wire->size += (size_t)(end - at);
    return end + 1;
}

static inline const char *wire_byte(struct wire *wire, const char *at)
{
    assert_true(isxdigit((unsigned char)at[0]) && isxdigit((unsigned char)at[1]));
    assert_true(wire->size < sizeof(wire->bytes));
    const char digits[3] = {at[0], at[1], '\0'};
    wire->bytes[wire->size++] = (uint8_t)strtoul(digits, NULL, 16);
    return at + 2;
}

static inline void wire_parse(struct wire *wire, const char *text)
{
    wire->size = 0;
    wire->depth = 0;
    for (const char *at = text; *at != '\0';) {
        if (*at == '[' || *at == '(') {
            assert_true(wire->depth < WIRE_DEPTH);
            wire->open[wire->depth++] = wire->size;
            at++;
        } else if (*at == ']' || *at == ')') {
            wire_close(wire, *at++ == ']');
        } else if (*at == '\'') {
            at = wire_text(wire, at + 1);
        } else if (*at == ' ') {
            at++;
        } else {
            at = wire_byte(wire, at);
        }
    }
    assert_int_equal(wire->depth, 0);
}

#endif
