/* SPDX-License-Identifier: MIT */
/*
 * test_condition.c - a state is reported once when it begins and once when it is over
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/condition.h"

#define START 5000 /* any time */

static void what_holds_on_is_reported_once(void **state)
{
    struct condition condition = {0};

    (void)state;
    assert_false(condition_is_active(&condition, START));
    assert_true(condition_set(&condition, START));
    for (int64_t at = 0; at < 100000; at += 700)
        assert_false(condition_set(&condition, START + at));
    assert_true(condition_is_active(&condition, START + 1000000));
}

static void it_is_over_when_it_has_not_held_for_a_second(void **state)
{
    struct condition condition = {0};

    (void)state;
    assert_true(condition_set(&condition, START));
    assert_false(condition_clear(&condition, START + 3000));
    assert_false(condition_clear(&condition, START + 3000 + CONDITION_OVER_MS - 1));
    assert_true(condition_is_active(&condition, START + 3000 + CONDITION_OVER_MS - 1));
    assert_false(condition_is_active(&condition, START + 3000 + CONDITION_OVER_MS));
    assert_true(condition_clear(&condition, START + 3000 + CONDITION_OVER_MS));
    assert_int_equal(condition_held_ms(&condition), 3000);
    assert_false(condition_clear(&condition, START + 9000));
    assert_true(condition_set(&condition, START + 9001));
}

static void what_returns_within_the_second_is_the_same_condition(void **state)
{
    struct condition condition = {0};

    (void)state;
    assert_true(condition_set(&condition, START));
    for (int64_t at = 1; at < 100000; at += CONDITION_OVER_MS) {
        assert_false(condition_clear(&condition, START + at));
        assert_false(condition_clear(&condition, START + at + CONDITION_OVER_MS - 2));
        assert_false(condition_set(&condition, START + at + CONDITION_OVER_MS - 1));
    }
}

static void what_never_held_is_not_over(void **state)
{
    struct condition condition = {0};

    (void)state;
    assert_false(condition_clear(&condition, START));
    assert_false(condition_clear(&condition, START + 5000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_holds_on_is_reported_once),
        cmocka_unit_test(it_is_over_when_it_has_not_held_for_a_second),
        cmocka_unit_test(what_returns_within_the_second_is_the_same_condition),
        cmocka_unit_test(what_never_held_is_not_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
