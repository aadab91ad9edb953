/* SPDX-License-Identifier: MIT */
/*
 * test_id_set.c - tests of the set of ids: order, limits and memory
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>

#include "cli/audit/id_set.h"

static int allocations_left; /* negative: no limit */

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool may_allocate(void)
{
    if (allocations_left == 0)
        return false;
    if (allocations_left > 0)
        allocations_left--;
    return true;
}

void *__wrap_realloc(void *memory, size_t size)
{
    return may_allocate() ? __real_realloc(memory, size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return may_allocate() ? __real_calloc(count, size) : NULL;
}

static int setup(void **state)
{
    (void)state;
    allocations_left = -1;
    return 0;
}

static void an_id_is_new_once(void **state)
{
    struct id_set set = {0};

    (void)state;
    assert_int_equal(id_set_add(&set, 1), 0);
    assert_int_equal(id_set_add(&set, 2), 0);
    assert_int_equal(id_set_add(&set, 64), 0);
    assert_int_equal(id_set_add(&set, 1), -EEXIST);
    assert_int_equal(id_set_add(&set, 2), -EEXIST);
    assert_int_equal(id_set_add(&set, 64), -EEXIST);
    assert_int_equal(id_set_add(&set, 65), 0);
    id_set_done(&set);
}

static void the_edges_of_a_chunk_are_different_ids(void **state)
{
    struct id_set set = {0};

    (void)state;
    assert_int_equal(id_set_add(&set, ID_SET_CHUNK_BITS - 1), 0);
    assert_int_equal(id_set_add(&set, ID_SET_CHUNK_BITS), 0);
    assert_int_equal(set.count, 2);
    assert_int_equal(id_set_add(&set, ID_SET_CHUNK_BITS - 1), -EEXIST);
    assert_int_equal(id_set_add(&set, ID_SET_CHUNK_BITS), -EEXIST);
    id_set_done(&set);
}

/* 7 and 64 have no common divisor, so each chunk is visited once, in an order that jumps. */
static void ids_in_any_order_are_kept_by_rising_chunk(void **state)
{
    struct id_set set = {0};

    (void)state;
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(id_set_add(&set, i * 7 % 64 * ID_SET_CHUNK_BITS + i), 0);
    assert_int_equal(set.count, 64);
    for (uint64_t i = 0; i < 64; i++) {
        assert_int_equal(set.chunks[i]->number, i);
        assert_int_equal(id_set_add(&set, i * 7 % 64 * ID_SET_CHUNK_BITS + i), -EEXIST);
    }
    id_set_done(&set);
}

/* What the chunks of @set take, without the table of them. */
static size_t chunk_bytes(const struct id_set *set)
{
    size_t sum = 0;

    for (size_t i = 0; i < set->count; i++) {
        struct id_chunk *chunk = set->chunks[i];

        sum += malloc_usable_size(chunk) + malloc_usable_size(chunk->memory);
    }
    return sum;
}

static void ids_far_from_each_other_take_memory_for_themselves_alone(void **state)
{
    struct id_set set = {0};
    const size_t count = 4096;

    (void)state;
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(id_set_add(&set, i * 3 * ID_SET_CHUNK_BITS + i), 0);
    assert_int_equal(set.count, count);
    assert_true(chunk_bytes(&set) <= count * ID_SET_BYTES_PER_ID);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(id_set_add(&set, i * 3 * ID_SET_CHUNK_BITS + i), -EEXIST);
    id_set_done(&set);
}

/* Downward, each third first, so that they come in an order that a list must sort. */
static void a_chunk_that_fills_becomes_bits(void **state)
{
    struct id_set set = {0};

    (void)state;
    for (unsigned turn = 0; turn < 3; turn++) {
        for (uint64_t i = 0; i < ID_SET_CHUNK_BITS; i++) {
            uint64_t id = ID_SET_CHUNK_BITS - 1 - i;

            if (id % 3 == turn)
                assert_int_equal(id_set_add(&set, id), 0);
        }
        for (uint64_t id = 0; id < ID_SET_CHUNK_BITS; id += 7) {
            if (id % 3 <= turn)
                assert_int_equal(id_set_add(&set, id), -EEXIST);
        }
    }
    assert_int_equal(set.count, 1);
    assert_true(chunk_bytes(&set) <= ID_SET_CHUNK_BITS / 8 + ID_SET_BYTES_PER_ID);
    id_set_done(&set);
}

static void the_largest_id_costs_one_chunk(void **state)
{
    struct id_set set = {0};

    (void)state;
    assert_int_equal(id_set_add(&set, UINT64_MAX), 0);
    assert_int_equal(id_set_add(&set, UINT64_MAX), -EEXIST);
    assert_int_equal(set.count, 1);
    id_set_done(&set);
}

/* What a full set looks like; real chunks would take 512 MiB. */
static void more_chunks_than_a_real_spool_has_are_refused(void **state)
{
    static struct id_chunk *chunks[ID_SET_CHUNKS_MAX];
    static uint64_t bits[ID_SET_CHUNK_BITS / 64];
    struct id_chunk chunk = {.number = 0, .bits = bits};
    struct id_set set = {
        .chunks = chunks, .count = ID_SET_CHUNKS_MAX, .size = ID_SET_CHUNKS_MAX};

    (void)state;
    for (size_t i = 0; i < ID_SET_CHUNKS_MAX; i++)
        chunks[i] = &chunk;
    assert_int_equal(id_set_add(&set, 5), 0);
    assert_int_equal(id_set_add(&set, UINT64_C(9) * ID_SET_CHUNK_BITS), -ENOBUFS);
    assert_int_equal(set.count, ID_SET_CHUNKS_MAX);
}

static void without_memory_the_set_stays_as_it_was(void **state)
{
    struct id_set set = {0};

    (void)state;
    allocations_left = 0;
    assert_int_equal(id_set_add(&set, 1), -ENOMEM);
    allocations_left = 1; /* the table, and not the chunk */
    assert_int_equal(id_set_add(&set, 1), -ENOMEM);
    allocations_left = 1; /* the chunk, and not its list */
    assert_int_equal(id_set_add(&set, 1), -ENOMEM);
    assert_int_equal(set.count, 0);
    allocations_left = -1;
    assert_int_equal(id_set_add(&set, 1), 0);
    assert_int_equal(set.count, 1);
    for (uint64_t id = 2; id <= ID_SET_LIST_MAX; id++)
        assert_int_equal(id_set_add(&set, id), 0);
    allocations_left = 0; /* for the bits */
    assert_int_equal(id_set_add(&set, 60000), -ENOMEM);
    assert_int_equal(id_set_add(&set, ID_SET_LIST_MAX), -EEXIST);
    allocations_left = -1;
    assert_int_equal(id_set_add(&set, 60000), 0);
    assert_int_equal(id_set_add(&set, 60000), -EEXIST);
    id_set_done(&set);
}

static void a_set_can_be_used_again_after_it_was_emptied(void **state)
{
    struct id_set set = {0};

    (void)state;
    assert_int_equal(id_set_add(&set, 1), 0);
    id_set_done(&set);
    assert_null(set.chunks);
    assert_int_equal(id_set_add(&set, 1), 0);
    id_set_done(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_id_is_new_once, setup),
        cmocka_unit_test_setup(the_edges_of_a_chunk_are_different_ids, setup),
        cmocka_unit_test_setup(ids_in_any_order_are_kept_by_rising_chunk, setup),
        cmocka_unit_test_setup(ids_far_from_each_other_take_memory_for_themselves_alone, setup),
        cmocka_unit_test_setup(a_chunk_that_fills_becomes_bits, setup),
        cmocka_unit_test_setup(the_largest_id_costs_one_chunk, setup),
        cmocka_unit_test_setup(more_chunks_than_a_real_spool_has_are_refused, setup),
        cmocka_unit_test_setup(without_memory_the_set_stays_as_it_was, setup),
        cmocka_unit_test_setup(a_set_can_be_used_again_after_it_was_emptied, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
