/* SPDX-License-Identifier: MIT */
/*
 * test_ended_times.c - records have the time at which messages ended, not that of the commit
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>

#include "store/spool.h"
#include "tests/support/spool_fixture.h"

static const struct spool_verdict refused = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 135};

static int setup_segments(void **state)
{
    if (setup_fast(state) != 0)
        return -1;
    open_spool(*state);
    return 0;
}

static int setup_rows(void **state)
{
    if (setup_fast(state) != 0)
        return -1;
    use_no_segments(*state);
    open_spool(*state);
    return 0;
}

static uint64_t sum_of_delays(struct fixture *f)
{
    struct spool_lane_stats stats;

    assert_int_equal(spool_get_lane_stats(f->spool, 0, &f->now, &stats), 0);
    return stats.delays.sum_ms;
}

static void expect_end(struct fixture *f, uint64_t id, int64_t time_ms, int64_t age_ms)
{
    struct found found = records_of(f, id);

    assert_int_equal(found.count, 1);
    assert_int_equal(found.record.time_ms, time_ms);
    assert_int_equal(found.record.age_ms, age_ms);
}

/* So many, of which none is answered. */
static void hand_out(struct fixture *f, unsigned count)
{
    append_many(f, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_not_equal(next_id(f), 0);
}

static void a_record_has_the_time_of_the_answer(void **state)
{
    struct fixture *f = *state;
    int64_t start_ms = f->now.wall_ms;

    hand_out(f, 1);
    pass_time(f, 30);
    deliver(f, 1);
    pass_time(f, 2000);
    commit(f);
    expect_end(f, 1, start_ms + 30, 30);
    assert_int_equal(sum_of_delays(f), 30);
    reopen_spool(f);
    expect_end(f, 1, start_ms + 30, 30);
    assert_int_equal(sum_of_delays(f), 30);
}

/* One statement a run: a run for each millisecond would cost what the commit saves. */
static void neighbours_within_a_tenth_of_a_second_have_the_time_of_the_newest(void **state)
{
    struct fixture *f = *state;
    int64_t start_ms = f->now.wall_ms;

    hand_out(f, 4);
    deliver(f, 1);
    pass_time(f, 60);
    deliver(f, 2);
    pass_time(f, 39);
    deliver(f, 3);
    pass_time(f, 1);
    deliver(f, 4);
    pass_time(f, 2000);
    commit(f);
    for (uint64_t id = 1; id <= 3; id++)
        expect_end(f, id, start_ms + 99, 99);
    expect_end(f, 4, start_ms + 100, 100);
    assert_int_equal(sum_of_delays(f), 3 * 99 + 100); /* those of the records */
}

static void answers_out_of_order_keep_their_times(void **state)
{
    struct fixture *f = *state;
    int64_t start_ms = f->now.wall_ms;

    hand_out(f, 3);
    deliver(f, 3);
    pass_time(f, 500);
    deliver(f, 1);
    pass_time(f, 500);
    deliver(f, 2);
    pass_time(f, 500);
    commit(f);
    expect_end(f, 1, start_ms + 500, 500);
    expect_end(f, 2, start_ms + 1000, 1000);
    expect_end(f, 3, start_ms, 0);
    reopen_spool(f);
    expect_end(f, 2, start_ms + 1000, 1000);
}

static void a_rejection_has_the_time_of_the_answer(void **state)
{
    struct fixture *f = *state;
    int64_t start_ms = f->now.wall_ms;

    hand_out(f, 1);
    pass_time(f, 40);
    assert_int_equal(spool_settle(f->spool, 1, &refused, f->now.boot_ms), 0);
    pass_time(f, 1500);
    commit(f);
    expect_end(f, 1, start_ms + 40, 40);
}

static void what_has_expired_ends_when_that_is_found(void **state)
{
    struct fixture *f = *state;
    struct spool_message message = make_message("payload");
    int64_t start_ms = f->now.wall_ms;
    uint64_t id;

    message.expiry_ms = 1000;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    commit(f);
    pass_time(f, 1200);
    assert_int_equal(next_id(f), 0);
    pass_time(f, 2000);
    commit(f);
    expect_end(f, id, start_ms + 1200, 1200);
}

static void an_eviction_ends_by_its_commit_and_may_stand_before_an_answer(void **state)
{
    struct fixture *f = *state;
    struct spool_limits limits = f->lane.limits;
    int64_t start_ms = f->now.wall_ms;
    unsigned evicted;
    bool has_more;

    append_many(f, 2);
    assert_int_equal(next_id(f), 1);
    pass_time(f, 20);
    deliver(f, 1);
    pass_time(f, 2000);
    limits.max_messages = 0;
    set_limits(f, limits);
    assert_int_equal(spool_retain(f->spool, &f->now, 10, &evicted, &has_more), 0);
    assert_int_equal(evicted, 1);
    commit(f);
    expect_end(f, 2, start_ms + 2020, 2020);
    expect_end(f, 1, start_ms + 20, 20);
    assert_int_equal(records_of(f, 2).record.seq, 1);
}

static void a_commit_that_had_to_wait_changes_no_time(void **state)
{
    struct fixture *f = *state;
    int64_t start_ms = f->now.wall_ms;
    char path[128];
    sqlite3 *db;

    hand_out(f, 1);
    pass_time(f, 25);
    deliver(f, 1);
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    spool_set_busy_wait(f->spool, 0);
    pass_time(f, HOUR);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_BUSY);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    commit(f);
    expect_end(f, 1, start_ms + 25, 25);
    assert_int_equal(sum_of_delays(f), 25);
}

/* The date is that of the clock as it is now; the age is right in any case. */
static void a_clock_that_is_set_before_the_commit_changes_no_age(void **state)
{
    struct fixture *f = *state;

    hand_out(f, 2);
    pass_time(f, 50);
    deliver(f, 1);
    pass_time(f, 1000);
    f->now.wall_ms -= HOUR;
    commit(f);
    expect_end(f, 1, f->now.wall_ms - 1000, 50);
    deliver(f, 2);
    f->now.wall_ms += 100 * HOUR;
    pass_time(f, 700);
    commit(f);
    expect_end(f, 2, f->now.wall_ms - 700, 1050);
}

static void a_reading_of_the_clock_from_before_the_answer_makes_no_negative_age(void **state)
{
    struct fixture *f = *state;
    int64_t start_ms = f->now.wall_ms;
    const struct spool_verdict verdict = {SPOOL_DELIVERED, SPOOL_REASON_NONE, SPOOL_NO_CODE};

    hand_out(f, 1);
    assert_int_equal(spool_settle(f->spool, 1, &verdict, f->now.boot_ms + 20), 0);
    commit(f);
    expect_end(f, 1, start_ms, 0);
}

static uint64_t count_outcome_rows(struct fixture *f)
{
    sqlite3_stmt *stmt;
    sqlite3 *db = hold_row(f, "SELECT count(*) FROM outcome", &stmt);
    uint64_t count = (uint64_t)sqlite3_column_int64(stmt, 0);

    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return count;
}

/* A lane has so many runs and no more; what is delivered beyond has rows. */
static void times_alone_use_up_no_runs(void **state)
{
    enum { MANY = 400 };
    struct fixture *f = *state;
    int64_t start_ms = f->now.wall_ms, took_ms = INT64_C(100) * MANY;

    hand_out(f, MANY);
    for (uint64_t id = 1; id <= MANY; id++) {
        pass_time(f, 100);
        deliver(f, id);
    }
    commit(f);
    assert_int_equal(count_outcome_rows(f), 0);
    expect_end(f, 1, start_ms + 100, 100);
    expect_end(f, 50, start_ms + 5000, 5000);
    expect_end(f, MANY, start_ms + took_ms, took_ms);
    expect_end(f, MANY - 1, start_ms + took_ms, took_ms); /* one run by now */
}

#define BOTH(name)                                                                             \
    cmocka_unit_test_setup_teardown(name, setup_segments, teardown),                           \
    {                                                                                          \
#name "_in_table_message", name, setup_rows, teardown, NULL                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_record_has_the_time_of_the_answer),
        BOTH(neighbours_within_a_tenth_of_a_second_have_the_time_of_the_newest),
        BOTH(answers_out_of_order_keep_their_times),
        BOTH(a_rejection_has_the_time_of_the_answer),
        BOTH(what_has_expired_ends_when_that_is_found),
        BOTH(an_eviction_ends_by_its_commit_and_may_stand_before_an_answer),
        BOTH(a_commit_that_had_to_wait_changes_no_time),
        BOTH(a_clock_that_is_set_before_the_commit_changes_no_age),
        BOTH(a_reading_of_the_clock_from_before_the_answer_makes_no_negative_age),
        cmocka_unit_test_setup_teardown(times_alone_use_up_no_runs, setup_segments, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
