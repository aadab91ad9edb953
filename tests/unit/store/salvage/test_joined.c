/* SPDX-License-Identifier: MIT */
/*
 * test_joined.c - what is joined into one write, and what is not
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <string.h>

#include "store/salvage/joined.h"

struct written {
    unsigned calls;
    int result;
    int size;
    int64_t at;
    unsigned char bytes[JOINED_BYTES];
};

static struct written written;

static int note(void *userdata, const void *from, int size, int64_t at)
{
    struct written *seen = userdata;
    seen->calls++;
    seen->size = size;
    seen->at = at;
    memcpy(seen->bytes, from, (size_t)size);
    return seen->result;
}

static int setup(void **state)
{
    static struct joined joined;
    written = (struct written){0};
    *state = &joined;
    return joined_init(&joined);
}

static int teardown(void **state)
{
    joined_done(*state);
    return 0;
}

static void neighbours_become_one_write(void **state)
{
    struct joined *joined = *state;
    assert_true(joined_add(joined, "head", 4, 1000));
    assert_true(joined_add(joined, "page", 4, 1004));
    assert_int_equal(written.calls, 0);
    assert_int_equal(joined_flush(joined, note, &written), 0);
    assert_int_equal(written.calls, 1);
    assert_int_equal(written.size, 8);
    assert_int_equal(written.at, 1000);
    assert_memory_equal(written.bytes, "headpage", 8);
}

static void a_gap_and_a_step_back_are_not_joined(void **state)
{
    struct joined *joined = *state;
    assert_true(joined_add(joined, "head", 4, 1000));
    assert_false(joined_add(joined, "page", 4, 1005));
    assert_false(joined_add(joined, "page", 4, 1003));
    assert_false(joined_add(joined, "page", 4, 1000));
    assert_false(joined_add(joined, "page", 4, 996));
    assert_int_equal(joined_flush(joined, note, &written), 0);
    assert_int_equal(written.size, 4);
    assert_memory_equal(written.bytes, "head", 4);
}

static void no_more_is_joined_than_fits(void **state)
{
    struct joined *joined = *state;
    static unsigned char large[JOINED_BYTES + 1];
    assert_false(joined_add(joined, large, JOINED_BYTES + 1, 0));
    assert_true(joined_add(joined, large, JOINED_BYTES - 4, 0));
    assert_false(joined_add(joined, "12345", 5, JOINED_BYTES - 4));
    assert_true(joined_add(joined, "1234", 4, JOINED_BYTES - 4));
    assert_false(joined_add(joined, "1", 1, JOINED_BYTES));
    assert_int_equal(joined_flush(joined, note, &written), 0);
    assert_int_equal(written.size, JOINED_BYTES);
}

static void what_was_flushed_is_not_written_again_even_if_it_failed(void **state)
{
    struct joined *joined = *state;
    assert_int_equal(joined_flush(joined, note, &written), 0);
    assert_int_equal(written.calls, 0);
    assert_true(joined_add(joined, "head", 4, 1000));
    written.result = 10;
    assert_int_equal(joined_flush(joined, note, &written), 10);
    assert_int_equal(joined_flush(joined, note, &written), 0);
    assert_int_equal(written.calls, 1);
    assert_true(joined_add(joined, "page", 4, 0));
}

static void without_memory_nothing_is_joined(void **state)
{
    struct joined *joined = *state;
    joined_done(joined);
    assert_false(joined_add(joined, "head", 4, 1000));
    assert_int_equal(joined_flush(joined, note, &written), 0);
    assert_int_equal(written.calls, 0);
}

#define JOINED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JOINED(neighbours_become_one_write),
        JOINED(a_gap_and_a_step_back_are_not_joined),
        JOINED(no_more_is_joined_than_fits),
        JOINED(what_was_flushed_is_not_written_again_even_if_it_failed),
        JOINED(without_memory_nothing_is_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
