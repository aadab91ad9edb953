/* SPDX-License-Identifier: MIT */
/*
 * test_buckets.c - tests of counts over time: no amount is lost, and there are never too many
 * steps
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/report/buckets.h"

#define NOON INT64_C(1780000000000)

static uint64_t sum_of(const struct buckets *buckets)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < buckets->count; i++)
        sum += buckets->at[i].amounts[BUCKET_ACCEPTED];
    return sum;
}

static void an_amount_is_in_the_step_of_its_time(void **state)
{
    struct buckets buckets;

    (void)state;
    buckets_init(&buckets, 0, BUCKETS_SECOND);
    buckets_add(&buckets, NOON, BUCKET_ACCEPTED, 2);
    buckets_add(&buckets, NOON + 999, BUCKET_ACCEPTED, 1);
    buckets_add(&buckets, NOON + 2000, BUCKET_DELIVERED, 4);
    assert_int_equal(buckets.count, 3);
    assert_int_equal(buckets.at[0].amounts[BUCKET_ACCEPTED], 3);
    assert_int_equal(buckets.at[2].amounts[BUCKET_DELIVERED], 4);
    assert_int_equal(buckets_start_ms(&buckets, 0), NOON);
    assert_int_equal(buckets_start_ms(&buckets, 3), NOON + 3000);
}

static void the_width_grows_with_the_span_and_no_amount_is_lost(void **state)
{
    static const struct {
        int64_t span_ms;
        int64_t width_ms;
    } rows[] = {
        {300 * 1000, 1000},
        {INT64_C(3600) * 1000, 15000},
        {BUCKETS_DAY, 300000},
        {7 * BUCKETS_DAY, 3600000},
        {365 * BUCKETS_DAY, BUCKETS_DAY},
        {INT64_C(2000) * BUCKETS_DAY, 7 * BUCKETS_DAY},
        {INT64_C(2900000) * BUCKETS_DAY, 36400 * BUCKETS_DAY},
    };
    struct buckets buckets;

    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        buckets_init(&buckets, 0, BUCKETS_SECOND);
        for (int64_t i = 0; i <= 1000; i++)
            buckets_add(&buckets, 90061000 + rows[row].span_ms / 1000 * i, BUCKET_ACCEPTED, 1);
        assert_int_equal(sum_of(&buckets), 1001);
        assert_true(buckets.count <= BUCKETS_MAX);
        assert_int_equal(buckets_width_ms(&buckets), rows[row].width_ms);
    }
}

static void times_may_come_in_any_order(void **state)
{
    struct buckets forward, any;

    (void)state;
    buckets_init(&forward, 0, BUCKETS_SECOND);
    buckets_init(&any, 0, BUCKETS_SECOND);
    for (int64_t i = 0; i < 5003; i++) {
        buckets_add(&forward, NOON + i * 61000, BUCKET_ACCEPTED, (uint64_t)i);
        buckets_add(&any, NOON + i * 1009 % 5003 * 61000, BUCKET_ACCEPTED,
                    (uint64_t)(i * 1009 % 5003));
    }
    assert_int_equal(any.count, forward.count);
    assert_int_equal(any.first, forward.first);
    assert_int_equal(any.width, forward.width);
    for (size_t i = 0; i < any.count; i++)
        assert_int_equal(any.at[i].amounts[BUCKET_ACCEPTED],
                         forward.at[i].amounts[BUCKET_ACCEPTED]);
}

static void a_time_far_away_widens_and_keeps_the_others(void **state)
{
    struct buckets buckets;

    (void)state;
    buckets_init(&buckets, 0, BUCKETS_SECOND);
    for (int64_t i = 0; i < 400; i++)
        buckets_add(&buckets, NOON + i * 1000, BUCKET_ACCEPTED, 1);
    buckets_add(&buckets, 0, BUCKET_ACCEPTED, 7);
    assert_int_equal(sum_of(&buckets), 407);
    assert_int_equal(buckets.at[0].amounts[BUCKET_ACCEPTED], 7);
    buckets_add(&buckets, INT64_C(253402300799999), BUCKET_ACCEPTED, 9); /* the year 9999 */
    assert_int_equal(sum_of(&buckets), 416);
    assert_true(buckets.count <= BUCKETS_MAX);
}

static void days_are_those_of_the_zone(void **state)
{
    struct buckets buckets;
    const int64_t midnight = 20000 * BUCKETS_DAY;
    const int64_t zone = 5 * 3600000 + 30 * 60000;

    (void)state;
    buckets_init(&buckets, zone, BUCKETS_DAY);
    buckets_add(&buckets, midnight - zone - 1, BUCKET_ACCEPTED, 1);
    buckets_add(&buckets, midnight - zone, BUCKET_ACCEPTED, 2);
    assert_int_equal(buckets.count, 2);
    assert_int_equal(buckets_start_ms(&buckets, 1), midnight - zone);
    buckets_init(&buckets, -zone, BUCKETS_DAY); /* before 1970 by the local clock */
    buckets_add(&buckets, 0, BUCKET_ACCEPTED, 1);
    buckets_add(&buckets, zone, BUCKET_ACCEPTED, 2);
    assert_int_equal(buckets.at[0].amounts[BUCKET_ACCEPTED], 1);
    assert_int_equal(buckets.at[1].amounts[BUCKET_ACCEPTED], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_amount_is_in_the_step_of_its_time),
        cmocka_unit_test(the_width_grows_with_the_span_and_no_amount_is_lost),
        cmocka_unit_test(times_may_come_in_any_order),
        cmocka_unit_test(a_time_far_away_widens_and_keeps_the_others),
        cmocka_unit_test(days_are_those_of_the_zone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
