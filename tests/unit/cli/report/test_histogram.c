/* SPDX-License-Identifier: MIT */
/*
 * test_histogram.c - tests of percentiles in fixed memory: how exact they are
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/report/histogram.h"

static struct histogram histogram;

static int setup(void **state)
{
    (void)state;
    histogram = (struct histogram){0};
    return 0;
}

static void nothing_has_no_percentile(void **state)
{
    (void)state;
    assert_int_equal(histogram_percentile(&histogram, 500), 0);
    assert_int_equal(histogram_between(&histogram, 0, INT64_MAX), 0);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    for (int i = 0; i < 64; i++)
        histogram_add(&histogram, i);
    assert_int_equal(histogram_percentile(&histogram, 500), 31);
    assert_int_equal(histogram_percentile(&histogram, 1000), 63);
    assert_int_equal(histogram_between(&histogram, 10, 20), 10);
}

static void one_value_is_all_percentiles(void **state)
{
    (void)state;
    histogram_add(&histogram, 123456789);
    for (unsigned per_mille = 1; per_mille <= 1000; per_mille += 111)
        assert_in_range(histogram_percentile(&histogram, per_mille), 123456789 / 64 * 63,
                        123456789);
    assert_int_equal(histogram_percentile(&histogram, 1000), 123456789);
}

static void each_value_is_found_within_one_part_in_64(void **state)
{
    (void)state;
    for (int64_t value = 1; value > 0 && value < INT64_MAX / 3; value = value * 3 / 2 + 1) {
        histogram = (struct histogram){0};
        histogram_add(&histogram, value);
        histogram_add(&histogram, INT64_MAX);
        assert_in_range(histogram_percentile(&histogram, 500), value - value / 64,
                        value + value / 64);
        assert_int_equal(histogram_percentile(&histogram, 1000), INT64_MAX);
    }
}

static void percentiles_are_those_of_the_sorted_values(void **state)
{
    (void)state;
    for (int64_t i = 1; i <= 100000; i++)
        histogram_add(&histogram, i * 7919 % 100003);
    assert_in_range(histogram_percentile(&histogram, 500), 49000, 51000);
    assert_in_range(histogram_percentile(&histogram, 990), 97400, 100003);
}

static void adjoining_ranges_have_each_value_once(void **state)
{
    static const int64_t limits[] = {0, 10, 100, 320, 1000, 3200, INT64_MAX};
    uint64_t sum = 0;

    (void)state;
    for (int64_t i = 0; i < 5000; i++)
        histogram_add(&histogram, i);
    histogram_add(&histogram, -5);
    for (size_t i = 0; i + 1 < sizeof(limits) / sizeof(limits[0]); i++)
        sum += histogram_between(&histogram, limits[i], limits[i + 1]);
    assert_int_equal(sum, 5001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_has_no_percentile, setup),
        cmocka_unit_test_setup(small_values_are_exact, setup),
        cmocka_unit_test_setup(one_value_is_all_percentiles, setup),
        cmocka_unit_test_setup(each_value_is_found_within_one_part_in_64, setup),
        cmocka_unit_test_setup(percentiles_are_those_of_the_sorted_values, setup),
        cmocka_unit_test_setup(adjoining_ranges_have_each_value_once, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
