/*
 * test_waiting.c - outcome rows that wait for an export that does not come
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/spool_fixture.h"

static void end_with(struct fixture *f, enum spool_outcome outcome, unsigned count)
{
    const struct spool_verdict verdict = {
        outcome, outcome == SPOOL_DELIVERED ? SPOOL_REASON_NONE : SPOOL_REASON_POISON,
        SPOOL_NO_CODE};

    append_many(f, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(spool_settle(f->spool, next_id(f), &verdict), 0);
    commit(f);
}

static void deliver_some(struct fixture *f, unsigned count)
{
    end_with(f, SPOOL_DELIVERED, count);
}

static void fail_some(struct fixture *f, unsigned count)
{
    end_with(f, SPOOL_REJECTED, count);
}

static void settle_down(struct fixture *f)
{
    for (unsigned i = 0; i < 100 && spool_has_work(f->spool); i++)
        commit(f);
    assert_false(spool_has_work(f->spool));
}

struct rows {
    unsigned count;
    unsigned failures;
    uint64_t first;
};

static int count_row(void *context, const struct spool_record *record)
{
    struct rows *rows = context;

    if (rows->count++ == 0)
        rows->first = record->seq;
    rows->failures += record->outcome != SPOOL_DELIVERED;
    return 0;
}

static struct rows rows_of(struct fixture *f)
{
    struct rows rows = {0};

    assert_int_equal(spool_each_record(f->spool, 0, false, 0, count_row, &rows), 0);
    return rows;
}

static void without_a_number_all_rows_wait(void **state)
{
    struct fixture *f = *state;

    deliver_some(f, 300);
    assert_int_equal(spool_waiting(f->spool), 300);
    assert_int_equal(rows_of(f).count, 300);
    assert_int_equal(spool_pruned_unexported(f->spool), 0);
}

static void the_oldest_deliveries_give_way_and_no_failure_does(void **state)
{
    struct fixture *f = *state;

    spool_set_waiting_max(f->spool, 100);
    for (int i = 0; i < 10; i++) {
        fail_some(f, 3);
        deliver_some(f, 30);
        assert_true(spool_waiting(f->spool) < 100);
    }
    struct rows rows = rows_of(f);
    assert_int_equal(rows.count, 99);
    assert_int_equal(rows.failures, 30);
    assert_int_equal(rows.first, 1);
    assert_int_equal(spool_waiting(f->spool), 99);
    assert_int_equal(spool_pruned_unexported(f->spool), 330 - 99);
    struct spool_ledger ledger = ledger_of(f);
    assert_int_equal(ledger.ended[SPOOL_DELIVERED], 300);
    assert_int_equal(ledger.ended[SPOOL_REJECTED], 30);
}

static void failures_alone_pile_up(void **state)
{
    struct fixture *f = *state;

    spool_set_waiting_max(f->spool, 100);
    fail_some(f, 150);
    deliver_some(f, 10);
    assert_int_equal(rows_of(f).failures, 150);
    assert_int_equal(spool_waiting(f->spool), 151); /* the newest row always stays */
    settle_down(f);
}

static void a_number_set_later_is_reached_by_and_by(void **state)
{
    struct fixture *f = *state;

    deliver_some(f, 10000);
    spool_set_waiting_max(f->spool, 1000);
    assert_true(spool_has_work(f->spool));
    commit(f);
    assert_true(spool_waiting(f->spool) > 5000); /* bounded work a commit */
    settle_down(f);
    assert_int_equal(spool_waiting(f->spool), 999);
}

static void what_waits_is_known_after_a_restart_and_while_the_cursor_moves(void **state)
{
    struct fixture *f = *state;

    spool_set_waiting_max(f->spool, 50);
    fail_some(f, 10);
    deliver_some(f, 100);
    fail_some(f, 10);
    deliver_some(f,
                 100); /* 1 to 10 and 111 to 120 failed, the deliveries before 192 are gone */
    assert_int_equal(spool_waiting(f->spool), 49);
    assert_int_equal(spool_pruned_seq(f->spool), 191);
    reopen_spool(f);
    assert_int_equal(spool_waiting(f->spool), 49);
    assert_int_equal(rows_of(f).count, 49);
    spool_set_exported(f->spool, 5);
    commit(f);
    assert_int_equal(spool_waiting(f->spool), 44);
    spool_set_exported(f->spool, 115);
    commit(f);
    assert_int_equal(spool_waiting(f->spool), 34);
    assert_int_equal(rows_of(f).failures, 20); /* kept for their time, exported or not */
    spool_set_exported(f->spool, 191);
    commit(f);
    assert_int_equal(spool_waiting(f->spool), 29);
    spool_set_exported(f->spool, 220);
    commit(f);
    assert_int_equal(spool_waiting(f->spool), 0);
    deliver_some(f, 5);
    assert_int_equal(spool_waiting(f->spool), 5);
    assert_int_equal(rows_of(f).failures, 20);
}

static void a_failure_that_waits_is_kept_whatever_its_age(void **state)
{
    struct fixture *f = *state;

    f->options.keep_failures_ms = HOUR;
    f->options.keep_failures_count = 5;
    reopen_spool(f);
    spool_set_waiting_max(f->spool, 20);
    fail_some(f, 10);
    deliver_some(f, 50);
    pass_time(f, 2 * HOUR);
    deliver_some(f, 50);
    assert_int_equal(rows_of(f).failures, 10);
    spool_set_exported(f->spool, spool_last_seq(f->spool));
    commit(f);
    deliver_some(f, 1);
    assert_int_equal(rows_of(f).failures, 0);
}

static void a_commit_that_does_not_happen_prunes_nothing(void **state)
{
    struct fixture *f = *state;

    deliver_some(f, 200);
    spool_set_waiting_max(f->spool, 100);
    sqlite3 *db;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/spool.db", f->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_BUSY);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(spool_waiting(f->spool), 200);
    assert_int_equal(spool_pruned_unexported(f->spool), 0);
    commit(f);
    assert_int_equal(spool_waiting(f->spool), 99);
}

#define ON_SPOOL(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SPOOL(without_a_number_all_rows_wait),
        ON_SPOOL(the_oldest_deliveries_give_way_and_no_failure_does),
        ON_SPOOL(failures_alone_pile_up),
        ON_SPOOL(a_number_set_later_is_reached_by_and_by),
        ON_SPOOL(what_waits_is_known_after_a_restart_and_while_the_cursor_moves),
        ON_SPOOL(a_failure_that_waits_is_kept_whatever_its_age),
        ON_SPOOL(a_commit_that_does_not_happen_prunes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
