/* SPDX-License-Identifier: MIT */
/*
 * test_checkpoint.c - when the log is moved to the database
 *
 * Small checkpoints while messages stay or a backlog is drained, a large one while
 * they are delivered at once. What each commit writes to the database is counted
 * (tests/support/fault_io.h): that is what a PUBACK waits for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include "store/spool-private.h"
#include "store/spool.h"
#include "tests/support/fault_io.h"
#include "tests/support/spool_fixture.h"

enum { BATCH = 50, WINDOW = 512, STAYING_PAGES = 64, LOG_PAGES = 3000, LOG_CUT = 4000 };

/* What was seen of the commits of a case. */
struct seen {
    int log_pages;   /* the most that were in the log */
    uint64_t writes; /* the most calls that one commit made: those of a checkpoint are many */
    unsigned checkpoints; /* commits that made more calls than any commit alone does */
};

/* The frames, and the mark; more only with a checkpoint. */
enum { WRITES_OF_A_COMMIT = 8 };

static void watched_commit(struct fixture *f, struct seen *seen)
{
    uint64_t before = fault_io_report()->calls;
    commit(f);
    uint64_t writes = fault_io_report()->calls - before;
    seen->writes = writes > seen->writes ? writes : seen->writes;
    seen->checkpoints += writes > WRITES_OF_A_COMMIT;
    if (f->spool->conn.wal_pages > seen->log_pages)
        seen->log_pages = f->spool->conn.wal_pages;
}

static void append_kilobytes(struct fixture *f, unsigned lane, unsigned count)
{
    static char kilobyte[1001];
    memset(kilobyte, 'x', sizeof(kilobyte) - 1);
    for (unsigned i = 0; i < count; i++) {
        struct spool_message message = make_message(kilobyte);
        uint64_t id;
        message.lane = lane;
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    }
}

static void fill(struct fixture *f, unsigned lane, unsigned batches)
{
    for (unsigned i = 0; i < batches; i++) {
        append_kilobytes(f, lane, BATCH);
        commit(f);
    }
    assert_int_equal(spool_checkpoint(f->spool), 0);
}

static void open_watched(struct fixture *f)
{
    fault_io_arm(f->directory, FAULT_WRITE, 0, 0, EIO);
    open_spool(f);
}

static void messages_that_stay_are_moved_in_small_steps(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    open_watched(f);
    for (int i = 0; i < 100; i++) {
        append_kilobytes(f, 0, BATCH);
        watched_commit(f, &seen);
    }
    fault_io_disarm();
    print_message("# log %d pages, %u checkpoints, %llu writes\n", seen.log_pages,
                  seen.checkpoints, (unsigned long long)seen.writes);
    assert_in_range(seen.writes, STAYING_PAGES, 2 * STAYING_PAGES);
    assert_in_range(seen.checkpoints, 16, 32);
}

/* Hands out up to the window, and settles the oldest beyond @window. */
static void
deliver_beyond(struct fixture *f, uint64_t *oldest, uint64_t *newest, unsigned window)
{
    for (uint64_t id; *newest + 1 - *oldest < WINDOW && (id = next_id(f)) != 0;)
        *newest = id;
    while (*newest + 1 - *oldest > window)
        deliver(f, (*oldest)++);
}

static void check_delivered_at_once(struct fixture *f, unsigned in_flight)
{
    struct seen seen = {0};
    uint64_t oldest = 1, newest = 0;
    open_watched(f);
    for (int i = 0; i < 1000; i++) {
        append_kilobytes(f, 0, BATCH);
        watched_commit(f, &seen);
        deliver_beyond(f, &oldest, &newest, in_flight);
        spool_set_exported(f->spool, spool_last_seq(f->spool));
    }
    fault_io_disarm();
    print_message("# log %d pages, %u checkpoints, %llu writes\n", seen.log_pages,
                  seen.checkpoints, (unsigned long long)seen.writes);
    assert_in_range(seen.log_pages, LOG_PAGES - 200, LOG_CUT - 1);
    assert_in_range(seen.checkpoints, 3, 20);
}

static void messages_delivered_at_once_fill_the_log_first(void **state)
{
    check_delivered_at_once(*state, 0);
}

static void what_is_in_flight_does_not_stay(void **state)
{
    check_delivered_at_once(*state, WINDOW - BATCH);
}

static void a_backlog_is_drained_in_small_steps(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    use_no_segments(f); /* there a delivery changes no page of the messages */
    open_watched(f);
    fill(f, 0, 100);
    for (uint64_t id = 1; id != 0;) {
        for (int i = 0; i < BATCH && (id = next_id(f)) != 0; i++)
            deliver(f, id);
        watched_commit(f, &seen);
        spool_set_exported(f->spool, spool_last_seq(f->spool));
    }
    fault_io_disarm();
    print_message("# log %d pages, %u checkpoints, %llu writes\n", seen.log_pages,
                  seen.checkpoints, (unsigned long long)seen.writes);
    assert_in_range(seen.writes, STAYING_PAGES / 2, 3 * STAYING_PAGES);
    assert_in_range(seen.checkpoints, 12, 40);
}

/* As much comes as goes, but each message waits for many commits: its pages are moved. */
static void a_backlog_that_keeps_its_size_is_moved_in_small_steps(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    open_watched(f);
    fill(f, 0, 100);
    for (int round = 0; round < 60; round++) {
        append_kilobytes(f, 0, BATCH);
        for (int i = 0; i < BATCH; i++)
            deliver(f, next_id(f));
        watched_commit(f, &seen);
        spool_set_exported(f->spool, spool_last_seq(f->spool));
    }
    fault_io_disarm();
    print_message("# log %d pages, %u checkpoints, %llu writes\n", seen.log_pages,
                  seen.checkpoints, (unsigned long long)seen.writes);
    assert_in_range(seen.log_pages, STAYING_PAGES, 6 * STAYING_PAGES);
    assert_in_range(seen.checkpoints, 8, 24);
}

static void the_backlog_of_another_lane_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    struct spool_lane lanes[2] = {f->lane, f->lane};
    lanes[1].name = "low";
    lanes[1].priority = -10;
    f->options.lanes = lanes;
    f->options.lane_count = 2;
    open_watched(f);
    fill(f, 1, 20);
    for (int i = 0; i < 20 * BATCH; i++) /* they wait to be sent again */
        assert_int_equal(spool_return(f->spool, next_id(f), INT64_MAX), 0);
    for (int i = 0; i < 200; i++) {
        append_kilobytes(f, 0, BATCH);
        watched_commit(f, &seen);
        for (uint64_t id; (id = next_id(f)) != 0;)
            deliver(f, id);
        spool_set_exported(f->spool, spool_last_seq(f->spool));
    }
    fault_io_disarm();
    print_message("# log %d pages, %u checkpoints\n", seen.log_pages, seen.checkpoints);
    assert_true(seen.log_pages >= LOG_PAGES - 200);
}

/* ---- while nothing is to do ---- */

static uint64_t writes_of_an_idle_moment(struct fixture *f)
{
    uint64_t before = fault_io_report()->calls;
    assert_int_equal(spool_checkpoint_idle(f->spool), 0);
    return fault_io_report()->calls - before;
}

static void what_is_due_soon_is_moved_while_nothing_is_to_do(void **state)
{
    struct fixture *f = *state;
    open_watched(f);
    append_kilobytes(f, 0, BATCH); /* a dozen pages */
    commit(f);
    commit(f);
    assert_int_equal(writes_of_an_idle_moment(f), 0);
    append_kilobytes(f, 0, 2 * BATCH);
    commit(f);
    append(f, "one more");
    assert_int_equal(writes_of_an_idle_moment(f), 0); /* a batch is open */
    commit(f);
    assert_in_range(writes_of_an_idle_moment(f), STAYING_PAGES / 4, STAYING_PAGES);
    assert_int_equal(writes_of_an_idle_moment(f), 0);
    fault_io_disarm();
}

static void an_error_of_an_idle_moment_is_final(void **state)
{
    struct fixture *f = *state;
    fault_io_arm(f->directory, FAULT_SYNC, 0, 0, EIO);
    open_spool(f);
    append_kilobytes(f, 0, 3 * BATCH);
    commit(f);
    append(f, "one more");
    commit(f);
    fault_io_arm(f->directory, FAULT_SYNC, 1, 1, EIO);
    assert_int_equal(spool_checkpoint_idle(f->spool), -EIO);
    assert_int_equal(spool_checkpoint_idle(f->spool), -EIO);
    fault_io_disarm();
}

/* ---- a reader ---- */

/* What it kept from being moved is moved by the next commit. */
static void a_reader_in_the_way_leaves_the_rest_to_the_next_commit(void **state)
{
    struct fixture *f = *state;
    sqlite3_stmt *stmt;
    struct seen seen = {0};
    open_watched(f);
    append_kilobytes(f, 0, BATCH);
    commit(f);
    sqlite3 *db = hold_snapshot(f, &stmt);
    for (int i = 0; i < 20; i++) {
        append_kilobytes(f, 0, BATCH);
        commit(f);
    }
    assert_true(f->spool->conn.wal_pages > 2 * STAYING_PAGES);
    release_snapshot(db, stmt);
    append(f, "one more");
    watched_commit(f, &seen);
    assert_int_equal(f->spool->conn.wal_pages, 0);
    assert_int_equal(seen.checkpoints, 1);
    fault_io_disarm();
}

#define ON_FOLDER(name) cmocka_unit_test_setup_teardown(name, setup_fast, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FOLDER(messages_that_stay_are_moved_in_small_steps),
        ON_FOLDER(messages_delivered_at_once_fill_the_log_first),
        ON_FOLDER(what_is_in_flight_does_not_stay),
        ON_FOLDER(a_backlog_is_drained_in_small_steps),
        ON_FOLDER(a_backlog_that_keeps_its_size_is_moved_in_small_steps),
        ON_FOLDER(the_backlog_of_another_lane_changes_nothing),
        ON_FOLDER(what_is_due_soon_is_moved_while_nothing_is_to_do),
        ON_FOLDER(an_error_of_an_idle_moment_is_final),
        ON_FOLDER(a_reader_in_the_way_leaves_the_rest_to_the_next_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
