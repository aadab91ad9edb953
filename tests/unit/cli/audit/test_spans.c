/* SPDX-License-Identifier: MIT */
/*
 * test_spans.c - tests of the numbers that were seen: order, doubles and the limit
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/audit/spans.h"

static struct spans spans;

static int setup(void **state)
{
    (void)state;
    spans = (struct spans){0};
    return 0;
}

static void expect_span(size_t index, uint64_t first, uint64_t last)
{
    assert_true(index < spans.count);
    assert_int_equal(spans.spans[index].first, first);
    assert_int_equal(spans.spans[index].last, last);
}

static void numbers_that_follow_each_other_are_one_span(void **state)
{
    (void)state;
    for (uint64_t number = 1; number <= 1000; number++)
        spans_add(&spans, number, number);
    assert_int_equal(spans.count, 1);
    expect_span(0, 1, 1000);
    for (uint64_t number = 2000; number > 1000; number--)
        spans_add(&spans, number, number);
    assert_int_equal(spans.count, 1);
    expect_span(0, 1, 2000);
}

static void spans_that_touch_become_one(void **state)
{
    (void)state;
    spans_add(&spans, 20, 22);
    spans_add(&spans, 1, 3);
    spans_add(&spans, 10, 12);
    assert_int_equal(spans.count, 3);
    expect_span(1, 10, 12);
    spans_add(&spans, 4, 9);
    assert_int_equal(spans.count, 2);
    expect_span(0, 1, 12);
    spans_add(&spans, 11, 25);
    assert_int_equal(spans.count, 1);
    expect_span(0, 1, 25);
    spans_add(&spans, 5, 6);
    assert_int_equal(spans.count, 1);
    expect_span(0, 1, 25);
}

static void numbers_are_counted_once(void **state)
{
    (void)state;
    assert_int_equal(spans_count(&spans, 1, INT64_MAX), 0);
    spans_add(&spans, 5, 8);
    spans_add(&spans, 5, 8);
    spans_add(&spans, 12, INT64_MAX);
    assert_int_equal(spans_count(&spans, 1, 4), 0);
    assert_int_equal(spans_count(&spans, 1, 5), 1);
    assert_int_equal(spans_count(&spans, 6, 7), 2);
    assert_int_equal(spans_count(&spans, 8, 12), 2);
    assert_int_equal(spans_count(&spans, 9, 11), 0);
    assert_int_equal(spans_count(&spans, 1, 20), 13);
}

static void beyond_the_limit_numbers_are_not_kept_unless_they_touch(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < SPANS_MAX; i++)
        spans_add(&spans, 10 + 3 * i, 10 + 3 * i);
    assert_false(spans.is_partial);
    spans_add(&spans, 1, 1);
    assert_true(spans.is_partial);
    assert_int_equal(spans.count, SPANS_MAX);
    assert_int_equal(spans_count(&spans, 1, 1), 0);
    spans_add(&spans, 11, 12);
    assert_int_equal(spans.count, SPANS_MAX - 1);
    expect_span(0, 10, 13);
    spans_add(&spans, 1, 1);
    assert_int_equal(spans_count(&spans, 1, 9), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(numbers_that_follow_each_other_are_one_span, setup),
        cmocka_unit_test_setup(spans_that_touch_become_one, setup),
        cmocka_unit_test_setup(numbers_are_counted_once, setup),
        cmocka_unit_test_setup(beyond_the_limit_numbers_are_not_kept_unless_they_touch, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
