/* SPDX-License-Identifier: MIT */
/*
 * test_bytes.c - the capped byte queue
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

static int setup(void **state)
{
    static struct bytes bytes;

    bytes_init(&bytes, 10000);
    *state = &bytes;
    return 0;
}

static int teardown(void **state)
{
    bytes_done(*state);
    return 0;
}

static void a_new_queue_is_empty_and_owns_nothing(void **state)
{
    struct bytes *bytes = *state;

    assert_int_equal(bytes_used(bytes), 0);
    assert_int_equal(bytes_view(bytes).size, 0);
    assert_null(bytes->memory);
}

static void bytes_come_out_in_the_order_they_went_in(void **state)
{
    struct bytes *bytes = *state;

    assert_int_equal(bytes_append(bytes, "hello ", 6), 0);
    assert_int_equal(bytes_append(bytes, "world", 5), 0);
    assert_memory_equal(bytes_view(bytes).data, "hello world", 11);
    bytes_consume(bytes, 6);
    assert_int_equal(bytes_view(bytes).size, 5);
    assert_memory_equal(bytes_view(bytes).data, "world", 5);
}

static void bytes_can_be_taken_out_of_the_middle_and_the_end(void **state)
{
    struct bytes *bytes = *state;

    bytes_erase(bytes, 0, 0);
    assert_int_equal(bytes_append(bytes, "hello world", 11), 0);
    bytes_consume(bytes, 1);
    bytes_erase(bytes, 4, 1);
    assert_int_equal(bytes_view(bytes).size, 9);
    assert_memory_equal(bytes_view(bytes).data, "elloworld", 9);
    bytes_erase(bytes, 4, 5);
    assert_int_equal(bytes_append(bytes, "!", 1), 0);
    assert_int_equal(bytes_view(bytes).size, 5);
    assert_memory_equal(bytes_view(bytes).data, "ello!", 5);
}

static void the_cap_may_be_raised_while_bytes_are_queued(void **state)
{
    struct bytes *bytes = *state;
    uint8_t block[12000] = {1};

    assert_int_equal(bytes_append(bytes, block, 10000), 0);
    bytes_set_cap(bytes, 22000);
    assert_int_equal(bytes_append(bytes, block, 12001), -ENOBUFS);
    assert_int_equal(bytes_append(bytes, block, 12000), 0);
    assert_int_equal(bytes_view(bytes).data[10000], 1);
    assert_int_equal(bytes_used(bytes), 22000);
}

static void the_cap_is_never_passed_and_nothing_is_half_appended(void **state)
{
    struct bytes *bytes = *state;
    uint8_t block[6000] = {0};
    uint8_t *room = NULL;

    assert_int_equal(bytes_append(bytes, block, 6000), 0);
    assert_int_equal(bytes_append(bytes, block, 4001), -ENOBUFS);
    assert_int_equal(bytes_used(bytes), 6000);
    assert_int_equal(bytes_append(bytes, block, 4000), 0);
    assert_int_equal(bytes_reserve(bytes, 1, &room), -ENOBUFS);
    assert_null(room);
    assert_int_equal(bytes_reserve(bytes, SIZE_MAX, &room), -ENOBUFS);
    assert_true(bytes->size <= 10000);
}

static void the_room_before_the_head_is_used_again(void **state)
{
    struct bytes *bytes = *state;
    uint8_t block[9000];

    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (uint8_t)(i % 251);
    assert_int_equal(bytes_append(bytes, block, sizeof(block)), 0);
    bytes_consume(bytes, 8000);
    assert_int_equal(bytes_append(bytes, block, sizeof(block)), 0);
    assert_int_equal(bytes_used(bytes), 10000);
    assert_memory_equal(bytes_view(bytes).data, block + 8000, 1000);
    assert_memory_equal(bytes_view(bytes).data + 1000, block, 9000);
}

static void only_what_is_committed_of_a_reservation_counts(void **state)
{
    struct bytes *bytes = *state;
    uint8_t *room;

    assert_int_equal(bytes_reserve(bytes, 100, &room), 0);
    memset(room, 'x', 100);
    bytes_commit(bytes, 3);
    assert_int_equal(bytes_used(bytes), 3);
    assert_memory_equal(bytes_view(bytes).data, "xxx", 3);
}

static void a_large_block_is_given_back_when_it_runs_empty(void **state)
{
    struct bytes *bytes = *state;
    uint8_t block[9000] = {0};

    assert_int_equal(bytes_append(bytes, block, sizeof(block)), 0);
    bytes_consume(bytes, sizeof(block) - 1);
    assert_non_null(bytes->memory);
    bytes_consume(bytes, 1);
    assert_null(bytes->memory);
    assert_int_equal(bytes_append(bytes, "a", 1), 0);
    assert_memory_equal(bytes_view(bytes).data, "a", 1);
}

static void a_long_walk_of_odd_sizes_keeps_every_byte(void **state)
{
    struct bytes *bytes = *state;
    uint8_t written = 0;
    uint8_t expected = 0;

    for (unsigned i = 0; i < 20000; i++) {
        size_t in = i * 7 % 97;
        size_t out = i * 13 % 89;
        uint8_t *room;

        if (bytes_used(bytes) + in <= 10000) {
            assert_int_equal(bytes_reserve(bytes, in, &room), 0);
            for (size_t k = 0; k < in; k++)
                room[k] = written++;
            bytes_commit(bytes, in);
        }
        if (out > bytes_used(bytes))
            out = bytes_used(bytes);
        for (size_t k = 0; k < out; k++)
            assert_int_equal(bytes_view(bytes).data[k], expected++);
        bytes_consume(bytes, out);
    }
}

static void nothing_may_be_appended_as_nothing(void **state)
{
    struct bytes *bytes = *state;

    assert_int_equal(bytes_append(bytes, NULL, 0), 0);
    bytes_consume(bytes, 0);
    assert_int_equal(bytes_used(bytes), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_new_queue_is_empty_and_owns_nothing),
        CASE(bytes_come_out_in_the_order_they_went_in),
        CASE(bytes_can_be_taken_out_of_the_middle_and_the_end),
        CASE(the_cap_may_be_raised_while_bytes_are_queued),
        CASE(the_cap_is_never_passed_and_nothing_is_half_appended),
        CASE(the_room_before_the_head_is_used_again),
        CASE(only_what_is_committed_of_a_reservation_counts),
        CASE(a_large_block_is_given_back_when_it_runs_empty),
        CASE(a_long_walk_of_odd_sizes_keeps_every_byte),
        CASE(nothing_may_be_appended_as_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
