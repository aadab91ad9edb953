/* SPDX-License-Identifier: MIT */
/*
 * test_pauses.c - tests of derived outages: times without an answer in which a message waited
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "cli/report/pauses.h"

#define MINUTE INT64_C(60000)
#define START  INT64_C(1780000000000)

static struct pauses pauses;

static int setup(void **state)
{
    (void)state;
    memset(&pauses, 0, sizeof(pauses));
    pauses_add(&pauses, START, 10, true);
    return 0;
}

static size_t counted(void)
{
    size_t count = 0;

    for (size_t i = 0; i < pauses.count; i++)
        count += pauses_counts(&pauses.at[i]);
    return count;
}

static void no_message_that_waits_is_no_pause(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 600 * MINUTE, 20, true);
    assert_int_equal(counted(), 0);
}

static void a_pause_begins_when_the_first_message_waits(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 60 * MINUTE, 40 * MINUTE, true);
    assert_int_equal(counted(), 1);
    assert_int_equal(pauses_begin_ms(&pauses.at[0]), START + 20 * MINUTE);
    assert_int_equal(pauses.at[0].end_ms, START + 60 * MINUTE);
    assert_false(pauses.at[0].is_open);
}

/* Of two lanes that were settled by one commit, or of an eviction before it. */
static void a_record_that_comes_a_little_late_waited_in_the_pause_too(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 60 * MINUTE, 10 * MINUTE, true);
    pauses_add(&pauses, START + 60 * MINUTE - 2000, 40 * MINUTE, true);
    assert_int_equal(counted(), 1);
    assert_int_equal(pauses_begin_ms(&pauses.at[0]), START + 20 * MINUTE - 2000);
    assert_int_equal(pauses.answer_ms, START + 60 * MINUTE);
}

static void a_clock_that_was_set_back_begins_anew(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 60 * MINUTE, 10 * MINUTE, true);
    pauses_add(&pauses, START + 60 * MINUTE - 10000, 40 * MINUTE, true);
    assert_int_equal(pauses_begin_ms(&pauses.at[0]), START + 50 * MINUTE);
    assert_int_equal(pauses.answer_ms, START + 60 * MINUTE - 10000);
}

static void a_message_from_before_the_last_answer_waited_all_the_time(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 30 * MINUTE, 90 * MINUTE, true);
    assert_int_equal(pauses_begin_ms(&pauses.at[0]), START);
}

static void what_was_evicted_meanwhile_waited_too(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 30 * MINUTE, 29 * MINUTE, false);
    pauses_add(&pauses, START + 40 * MINUTE, 10, true);
    assert_int_equal(counted(), 1);
    assert_int_equal(pauses_begin_ms(&pauses.at[0]), START + MINUTE);
    assert_int_equal(pauses.at[0].end_ms, START + 30 * MINUTE); /* then nothing waited */
}

static void what_ended_at_once_did_not_wait_for_the_next_answer(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 10 * MINUTE, 10, false);
    pauses_add(&pauses, START + 20 * MINUTE, 10, true);
    assert_int_equal(counted(), 0);
}

/* A lane of higher priority is sent first, the old messages follow. */
static void older_messages_may_be_sent_after_newer_ones(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 60 * MINUTE, 100, true);
    assert_int_equal(counted(), 0);
    pauses_add(&pauses, START + 60 * MINUTE + 50, 45 * MINUTE, true);
    assert_int_equal(counted(), 1);
    assert_int_equal(pauses_begin_ms(&pauses.at[0]), START + 15 * MINUTE + 50);
}

static void a_clock_that_is_set_forward_makes_no_pause(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 3000 * MINUTE, 50, true);
    pauses_add(&pauses, START + 10 * MINUTE, 50, true); /* and back */
    pauses_add(&pauses, START + 11 * MINUTE, 50, true);
    assert_int_equal(counted(), 0);
}

static void what_waits_at_the_end_is_a_pause_that_lasts(void **state)
{
    (void)state;
    pauses_end(&pauses, START + 10 * MINUTE, START + 4 * MINUTE);
    assert_int_equal(counted(), 1);
    assert_true(pauses.at[0].is_open);
    assert_int_equal(pauses_begin_ms(&pauses.at[0]), START + 4 * MINUTE);
}

static void a_link_that_never_was_up_is_a_pause_from_the_first_message(void **state)
{
    (void)state;
    memset(&pauses, 0, sizeof(pauses));
    pauses_add(&pauses, START, 5 * MINUTE, false);
    pauses_end(&pauses, START + 10 * MINUTE, START - 4 * MINUTE);
    assert_int_equal(counted(), 1);
    assert_int_equal(pauses_begin_ms(&pauses.at[0]), START - 5 * MINUTE);
    assert_true(pauses.at[0].is_open);
}

static void answers_before_the_first_record_are_not_known(void **state)
{
    (void)state;
    memset(&pauses, 0, sizeof(pauses));
    pauses_start(&pauses, START);
    pauses_add(&pauses, START, 500 * MINUTE, true);
    assert_int_equal(counted(), 0);
}

static void holds_of_operators_are_marked(void **state)
{
    (void)state;
    pauses_add(&pauses, START + 10 * MINUTE, 10 * MINUTE, true);
    pauses_hold(&pauses, START + 11 * MINUTE);
    pauses_hold(&pauses, START + 12 * MINUTE);
    pauses_release(&pauses, START + 13 * MINUTE);
    pauses_add(&pauses, START + 30 * MINUTE, 20 * MINUTE, true);
    assert_int_equal(counted(), 2);
    assert_false(pauses_is_held(&pauses, &pauses.at[0]));
    assert_true(pauses_is_held(&pauses, &pauses.at[1]));
    for (int i = 0; i < 2 * PAUSES_HOLDS_MAX; i++) {
        pauses_hold(&pauses, START + (40 + i) * MINUTE);
        pauses_release(&pauses, START + (40 + i) * MINUTE + 1);
    }
    assert_int_equal(pauses.hold_count, PAUSES_HOLDS_MAX);
}

static void the_longest_are_kept_whatever_was_idle(void **state)
{
    int64_t at = START;
    size_t longest = 0;

    (void)state;
    for (int i = 0; i < 3 * PAUSES_MAX; i++) {
        at += 10 * MINUTE;
        pauses_add(&pauses, at, i % 4 == 0 ? 5 * MINUTE : i % 4 == 1 ? 2 * MINUTE : 10, true);
    }
    assert_int_equal(pauses.count, PAUSES_MAX);
    for (size_t i = 0; i < pauses.count; i++)
        longest += pauses.at[i].end_ms - pauses_begin_ms(&pauses.at[i]) == 5 * MINUTE;
    assert_int_equal(longest, 3 * PAUSES_MAX / 4);
    assert_true(pauses.left_out > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(no_message_that_waits_is_no_pause, setup),
        cmocka_unit_test_setup(a_pause_begins_when_the_first_message_waits, setup),
        cmocka_unit_test_setup(a_record_that_comes_a_little_late_waited_in_the_pause_too,
                               setup),
        cmocka_unit_test_setup(a_clock_that_was_set_back_begins_anew, setup),
        cmocka_unit_test_setup(a_message_from_before_the_last_answer_waited_all_the_time,
                               setup),
        cmocka_unit_test_setup(what_was_evicted_meanwhile_waited_too, setup),
        cmocka_unit_test_setup(what_ended_at_once_did_not_wait_for_the_next_answer, setup),
        cmocka_unit_test_setup(older_messages_may_be_sent_after_newer_ones, setup),
        cmocka_unit_test_setup(a_clock_that_is_set_forward_makes_no_pause, setup),
        cmocka_unit_test_setup(what_waits_at_the_end_is_a_pause_that_lasts, setup),
        cmocka_unit_test_setup(a_link_that_never_was_up_is_a_pause_from_the_first_message,
                               setup),
        cmocka_unit_test_setup(answers_before_the_first_record_are_not_known, setup),
        cmocka_unit_test_setup(holds_of_operators_are_marked, setup),
        cmocka_unit_test_setup(the_longest_are_kept_whatever_was_idle, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
