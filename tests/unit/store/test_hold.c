/* SPDX-License-Identifier: MIT */
/*
 * test_hold.c - lanes that the operator holds: nothing of them is handed out
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>

#include "store/spool.h"
#include "tests/support/fault_io.h"
#include "tests/support/spool_fixture.h"

enum { DEFAULT, ALARMS, LANES };

/* Lane "alarms" has the lower priority, so that lane "default" comes first. */
static void open_two(struct fixture *f, struct spool_lane lanes[static LANES])
{
    lanes[DEFAULT] = f->lane;
    lanes[ALARMS] =
        (struct spool_lane){.name = "alarms", .priority = -1, .limits = f->lane.limits};
    f->options.lanes = lanes;
    f->options.lane_count = LANES;
    open_spool(f);
}

static void hold(struct fixture *f, const char *lane)
{
    assert_int_equal(spool_set_hold(f->spool, lane, true), 0);
}

static void release(struct fixture *f, const char *lane)
{
    assert_int_equal(spool_set_hold(f->spool, lane, false), 0);
}

static void expect_nothing(struct fixture *f)
{
    struct spool_message message;

    assert_int_equal(spool_next(f->spool, &f->now, &message), SPOOL_E_EMPTY);
}

static void a_lane_is_held_at_once_and_others_are_served(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];

    open_two(f, lanes);
    uint64_t first = append_to_lane(f, DEFAULT);
    uint64_t alarm = append_to_lane(f, ALARMS);
    commit(f);
    assert_false(spool_is_held(f->spool, "default"));
    hold(f, "default");
    assert_true(spool_is_held(f->spool, "default"));
    assert_false(spool_is_held(f->spool, "alarms"));
    assert_false(spool_is_held(f->spool, NULL));
    assert_int_equal(next_id(f), alarm);
    expect_nothing(f);
    (void)append_to_lane(f, DEFAULT); /* what is appended waits, too */
    commit(f);
    expect_nothing(f);
    release(f, "default");
    commit(f);
    assert_false(spool_is_held(f->spool, "default"));
    assert_int_equal(next_id(f), first);
    check_sound(f);
}

static void all_are_held_together_and_released_together(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];

    open_two(f, lanes);
    (void)append_to_lane(f, DEFAULT);
    (void)append_to_lane(f, ALARMS);
    commit(f);
    hold(f, NULL);
    hold(f, "alarms");
    commit(f);
    assert_true(spool_is_held(f->spool, NULL));
    expect_nothing(f);
    release(f, "alarms"); /* all are held */
    commit(f);
    expect_nothing(f);
    hold(f, "alarms");
    commit(f);
    release(f, NULL);
    commit(f);
    assert_false(spool_is_held(f->spool, "alarms"));
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 2);
    assert_int_equal(query_number(f, "SELECT count(*) FROM hold"), 0);
}

static void a_hold_survives_a_restart_and_a_reader_sees_it(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];
    struct spool *reader;

    open_two(f, lanes);
    uint64_t id = append_to_lane(f, ALARMS);
    hold(f, "alarms");
    assert_true(spool_has_work(f->spool));
    commit(f);
    assert_false(spool_has_work(f->spool));
    reopen_spool(f);
    expect_nothing(f);
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_true(spool_is_held(reader, "alarms"));
    assert_false(spool_is_held(reader, "default"));
    assert_false(spool_is_held(reader, NULL));
    spool_close(reader);
    check_sound(f);
    release(f, "alarms");
    commit(f);
    reopen_spool(f);
    assert_int_equal(next_id(f), id);
    hold(f, NULL);
    commit(f);
    reopen_spool(f);
    assert_true(spool_is_held(f->spool, NULL));
}

static void a_release_counts_when_it_is_durable(void **state)
{
    struct fixture *f = *state;

    open_spool(f);
    (void)append(f, "a");
    hold(f, "default");
    commit(f);
    release(f, "default");
    expect_nothing(f);
    assert_true(spool_is_held(f->spool, "default"));
    hold(f, "default"); /* it is as it was: nothing to write */
    assert_false(spool_has_work(f->spool));
    release(f, "default");
    commit(f);
    assert_int_equal(next_id(f), 1);
}

static void a_lost_batch_loses_no_hold(void **state)
{
    struct fixture *f = *state;

    open_spool(f);
    fault_io_arm(f->directory, FAULT_WRITE | FAULT_TRUNCATE, 0, 0, ENOSPC);
    reopen_spool(f); /* whose files are watched from here on */
    (void)append(f, "a");
    hold(f, "default");
    fault_io_arm(f->directory, FAULT_WRITE | FAULT_TRUNCATE, 1, 0, ENOSPC);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    fault_io_disarm();
    assert_true(spool_has_work(f->spool));
    commit(f);
    reopen_spool(f);
    assert_true(spool_is_held(f->spool, "default"));
}

static void what_was_returned_is_held_with_its_lane(void **state)
{
    struct fixture *f = *state;
    struct spool_message message;

    open_spool(f);
    (void)append(f, "a");
    commit(f);
    assert_int_equal(next_id(f), 1);
    hold(f, "default");
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    expect_nothing(f);
    assert_int_equal(spool_next_of(f->spool, &f->now, 1, &message), SPOOL_E_UNKNOWN);
    release(f, "default");
    commit(f);
    assert_int_equal(spool_next_of(f->spool, &f->now, 1, &message), 0);
}

static void what_is_in_flight_ends_as_always(void **state)
{
    struct fixture *f = *state;

    open_spool(f);
    (void)append(f, "a");
    commit(f);
    assert_int_equal(next_id(f), 1);
    hold(f, NULL);
    deliver(f, 1);
    commit(f);
    assert_int_equal(ledger_of(f).ended[SPOOL_DELIVERED], 1);
    check_sound(f);
}

static void a_lane_that_is_not_there_cannot_be_held(void **state)
{
    struct fixture *f = *state;

    open_spool(f);
    assert_int_equal(spool_set_hold(f->spool, "alarms", true), SPOOL_E_UNKNOWN);
    assert_int_equal(spool_set_hold(f->spool, "", true), SPOOL_E_UNKNOWN);
    assert_false(spool_is_held(f->spool, "alarms"));
    assert_false(spool_has_work(f->spool));
}

/* The hold follows the name while something is left of the lane, and goes with it. */
static void a_lane_that_is_forgotten_leaves_no_hold(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[LANES];

    open_two(f, lanes);
    (void)append_to_lane(f, ALARMS);
    hold(f, "alarms");
    commit(f);
    f->options.lane_count = 1;
    reopen_spool(f);
    assert_true(spool_is_held(f->spool, "alarms"));
    expect_nothing(f);
    release(f, NULL);
    commit(f);
    deliver(f, next_id(f));
    hold(f, "alarms");
    (void)append(f, "a"); /* whose end is a newer record */
    commit(f);
    deliver(f, next_id(f));
    commit(f);
    spool_set_exported(f->spool, spool_last_seq(f->spool));
    commit(f);
    commit(f);
    reopen_spool(f);
    assert_int_equal(query_number(f, "SELECT count(*) FROM hold"), 0);
    f->options.lane_count = LANES;
    reopen_spool(f);
    assert_false(spool_is_held(f->spool, "alarms"));
}

#define ON_FOLDER(name) cmocka_unit_test_setup_teardown(name, setup_closed, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FOLDER(a_lane_is_held_at_once_and_others_are_served),
        ON_FOLDER(all_are_held_together_and_released_together),
        ON_FOLDER(a_hold_survives_a_restart_and_a_reader_sees_it),
        ON_FOLDER(a_release_counts_when_it_is_durable),
        ON_FOLDER(a_lost_batch_loses_no_hold),
        ON_FOLDER(what_was_returned_is_held_with_its_lane),
        ON_FOLDER(what_is_in_flight_ends_as_always),
        ON_FOLDER(a_lane_that_is_not_there_cannot_be_held),
        ON_FOLDER(a_lane_that_is_forgotten_leaves_no_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
