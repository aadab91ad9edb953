/* SPDX-License-Identifier: MIT */
/*
 * test_cursor.c - the cursor: every read and write stays within its bounds, and an error
 * stays
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/cursor.h"
#include "base/view.h"

static void fields_are_read_big_endian_in_their_order(void **state)
{
    (void)state;
    const uint8_t wire[] = {0x01, 0x02, 0x03, 0x89, 0xAB, 0xCD,
                            0xEF, 0x00, 0x02, 'h',  'i',  'x'};
    struct reader reader;
    reader_init(&reader, wire, sizeof(wire));
    assert_int_equal(reader_u8(&reader), 0x01);
    assert_int_equal(reader_u16(&reader), 0x0203);
    assert_int_equal(reader_u32(&reader), 0x89ABCDEF);
    struct view block = reader_block(&reader);
    assert_int_equal(block.size, 2);
    assert_ptr_equal(block.data, wire + 9);
    assert_int_equal(reader_left(&reader), 1);
    struct view rest = reader_bytes(&reader, 1);
    assert_ptr_equal(rest.data, wire + 11);
    assert_int_equal(reader_left(&reader), 0);
    assert_false(reader.failed);
}

static void read_beyond_the_end_gives_zero_and_stays_failed(void **state)
{
    (void)state;
    const uint8_t wire[] = {0xFF, 0xFF, 0xFF};
    struct reader reader;
    reader_init(&reader, wire, sizeof(wire));
    assert_int_equal(reader_u32(&reader), 0);
    assert_true(reader.failed);
    assert_int_equal(reader_left(&reader), 0);
    assert_int_equal(reader_u8(&reader), 0);
    assert_int_equal(reader_u16(&reader), 0);
    assert_int_equal(reader_varint(&reader), 0);
    assert_int_equal(reader_bytes(&reader, 1).size, 0);
    assert_int_equal(reader_bytes(&reader, 0).size, 0);
    assert_true(reader.failed);
}

static void block_longer_than_what_is_left_is_empty(void **state)
{
    (void)state;
    const uint8_t wire[] = {0x00, 0x03, 'a', 'b'};
    struct reader reader;
    reader_init(&reader, wire, sizeof(wire));
    assert_int_equal(reader_block(&reader).size, 0);
    assert_true(reader.failed);
}

static void size_near_the_address_limit_does_not_wrap(void **state)
{
    (void)state;
    const uint8_t wire[] = {1, 2, 3};
    struct reader reader;
    reader_init(&reader, wire, sizeof(wire));
    assert_int_equal(reader_bytes(&reader, SIZE_MAX).size, 0);
    assert_true(reader.failed);
}

static void empty_buffer_without_memory_is_just_empty(void **state)
{
    (void)state;
    struct reader reader;
    reader_init(&reader, NULL, 0);
    assert_int_equal(reader_left(&reader), 0);
    assert_int_equal(reader_bytes(&reader, 0).size, 0);
    assert_false(reader.failed);
    (void)reader_u8(&reader);
    assert_true(reader.failed);

    struct writer writer;
    writer_init(&writer, NULL, 0);
    writer_bytes(&writer, NULL, 0);
    assert_false(writer.failed);
    writer_u8(&writer, 1);
    assert_true(writer.failed);
    assert_int_equal(writer_used(&writer), 0);
}

struct varint_row {
    uint32_t value;
    uint8_t wire[4];
    size_t size;
};

/* The bounds of table 1-1 of the standard. */
static const struct varint_row varint_rows[] = {
    {0, {0x00}, 1},
    {127, {0x7F}, 1},
    {128, {0x80, 0x01}, 2},
    {16383, {0xFF, 0x7F}, 2},
    {16384, {0x80, 0x80, 0x01}, 3},
    {2097151, {0xFF, 0xFF, 0x7F}, 3},
    {2097152, {0x80, 0x80, 0x80, 0x01}, 4},
    {268435455, {0xFF, 0xFF, 0xFF, 0x7F}, 4},
};

static void varint_keeps_its_value_at_every_bound_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(varint_rows) / sizeof(varint_rows[0]); i++) {
        const struct varint_row *row = &varint_rows[i];
        struct reader reader;

        reader_init(&reader, row->wire, row->size);
        assert_int_equal(reader_varint(&reader), row->value);
        assert_false(reader.failed);
        assert_int_equal(reader_left(&reader), 0);

        uint8_t memory[4] = {0};
        struct writer writer;
        writer_init(&writer, memory, sizeof(memory));
        writer_varint(&writer, row->value);
        assert_false(writer.failed);
        assert_int_equal(writer_used(&writer), row->size);
        assert_memory_equal(memory, row->wire, row->size);
        assert_int_equal(varint_size(row->value), row->size);
    }
}

static void varint_too_long_cut_or_with_a_fifth_byte_fails(void **state)
{
    (void)state;
    static const struct varint_row bad[] = {
        {0, {0x80, 0x00}, 2},
        {0, {0xFF, 0x00}, 2},
        {0, {0x80, 0x80, 0x80, 0x00}, 4},
        {0, {0x80, 0x80, 0x80, 0x80}, 4},
        {0, {0x80}, 1},
        {0, {0xFF, 0xFF, 0xFF}, 3},
        {0, {0}, 0},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct reader reader;

        reader_init(&reader, bad[i].wire, bad[i].size);
        assert_int_equal(reader_varint(&reader), 0);
        assert_true(reader.failed);
    }
}

static void varint_above_its_range_has_no_encoding(void **state)
{
    (void)state;
    uint8_t memory[8];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    writer_varint(&writer, 268435456);
    assert_true(writer.failed);
    assert_int_equal(varint_size(268435456), 0);
    assert_int_equal(varint_size(UINT32_MAX), 0);
}

static void fields_are_written_as_they_are_read(void **state)
{
    (void)state;
    uint8_t memory[16];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    writer_u8(&writer, 0x01);
    writer_u16(&writer, 0x0203);
    writer_u32(&writer, 0x89ABCDEF);
    writer_block(&writer, "hi", 2);
    writer_bytes(&writer, "x", 1);
    const uint8_t wire[] = {0x01, 0x02, 0x03, 0x89, 0xAB, 0xCD,
                            0xEF, 0x00, 0x02, 'h',  'i',  'x'};
    assert_false(writer.failed);
    assert_int_equal(writer_used(&writer), sizeof(wire));
    assert_memory_equal(memory, wire, sizeof(wire));
}

static void write_beyond_the_end_is_dropped_and_stays_failed(void **state)
{
    (void)state;
    uint8_t memory[4] = {0, 0, 0, 0x55};
    struct writer writer;
    writer_init(&writer, memory, 3);
    writer_u16(&writer, 0x0102);
    writer_u16(&writer, 0x0304);
    assert_true(writer.failed);
    assert_int_equal(writer_used(&writer), 2);
    writer_u8(&writer, 0x05); /* it would fit, but the packet is broken already */
    assert_int_equal(writer_used(&writer), 2);
    assert_int_equal(memory[2], 0);
    assert_int_equal(memory[3], 0x55);
}

static void block_above_16_bits_is_refused(void **state)
{
    (void)state;
    static uint8_t memory[65536 + 2];
    static const uint8_t source[65536];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    writer_block(&writer, source, sizeof(source));
    assert_true(writer.failed);
    assert_int_equal(writer_used(&writer), 0);
    writer_init(&writer, memory, sizeof(memory));
    writer_block(&writer, source, 65535);
    assert_false(writer.failed);
    assert_int_equal(writer_used(&writer), 65537);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_read_big_endian_in_their_order),
        cmocka_unit_test(read_beyond_the_end_gives_zero_and_stays_failed),
        cmocka_unit_test(block_longer_than_what_is_left_is_empty),
        cmocka_unit_test(size_near_the_address_limit_does_not_wrap),
        cmocka_unit_test(empty_buffer_without_memory_is_just_empty),
        cmocka_unit_test(varint_keeps_its_value_at_every_bound_both_ways),
        cmocka_unit_test(varint_too_long_cut_or_with_a_fifth_byte_fails),
        cmocka_unit_test(varint_above_its_range_has_no_encoding),
        cmocka_unit_test(fields_are_written_as_they_are_read),
        cmocka_unit_test(write_beyond_the_end_is_dropped_and_stays_failed),
        cmocka_unit_test(block_above_16_bits_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
