/* SPDX-License-Identifier: MIT */
/*
 * test_waiting.c - outcome rows that wait for an export that does not come
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <sys/stat.h>

#include "base/view.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"

static void end_with(struct fixture *f, enum spool_outcome outcome, unsigned count)
{
    const struct spool_verdict verdict = {
        outcome, outcome == SPOOL_DELIVERED ? SPOOL_REASON_NONE : SPOOL_REASON_POISON,
        SPOOL_NO_CODE};

    append_many(f, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(spool_settle(f->spool, next_id(f), &verdict, f->now.boot_ms), 0);
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
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_BUSY);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(spool_waiting(f->spool), 200);
    assert_int_equal(spool_pruned_unexported(f->spool), 0);
    commit(f);
    assert_int_equal(spool_waiting(f->spool), 99);
}

static void exported_deliveries_go_without_traffic(void **state)
{
    struct fixture *f = *state;

    deliver_some(f, 20000);
    spool_set_exported(f->spool, spool_last_seq(f->spool));
    settle_down(f);
    assert_int_equal(rows_of(f).count, 1); /* the newest row always stays */
    assert_int_equal(rows_of(f).first, 20000);
    reopen_spool(f);
    assert_false(spool_has_work(f->spool));
}

static void exported_failures_above_their_number_go_without_traffic(void **state)
{
    struct fixture *f = *state;

    fail_some(f, 10000);
    spool_set_exported(f->spool, spool_last_seq(f->spool));
    settle_down(f);
    assert_int_equal(rows_of(f).count, 10000);
    f->options.keep_failures_count = 100;
    reopen_spool(f);
    fail_some(f, 1);
    settle_down(f);
    assert_in_range(rows_of(f).count, 100, 102);
}

/* ---- bytes ---- */

enum { TEXT_MAX = 65535, RECORDS_MAX = 8 << 20 };

static char large_text[TEXT_MAX];

/* With the largest topic, client id and spool-ref; returns what one record counts. */
static uint64_t end_large(struct fixture *f, enum spool_outcome outcome, unsigned count)
{
    const struct spool_verdict verdict = {
        outcome, outcome == SPOOL_DELIVERED ? SPOOL_REASON_NONE : SPOOL_REASON_POISON,
        SPOOL_NO_CODE};
    struct spool_message message = make_message("");
    uint64_t id, before = spool_record_bytes(f->spool);

    memset(large_text, 'x', sizeof(large_text));
    message.topic = message.client = message.ref = view_of(large_text, sizeof(large_text));
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
        commit(f);
        assert_int_equal(spool_settle(f->spool, next_id(f), &verdict, f->now.boot_ms), 0);
        commit(f);
    }
    return (spool_record_bytes(f->spool) - before) / count;
}

static void print_finding(void *context, enum spool_part part, const char *text)
{
    (void)part;
    (*(unsigned *)context)++;
    print_error("%s\n", text);
}

/* What is counted is what is there. */
static void check_counted(struct fixture *f)
{
    struct spool *reader;
    unsigned findings = 0;

    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_check(reader, print_finding, &findings), 0);
    spool_close(reader);
    assert_int_equal(findings, 0);
}

static uint64_t file_size(const struct fixture *f)
{
    struct stat status;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

static void a_record_counts_about_what_it_takes_of_the_file(void **state)
{
    struct fixture *f = *state;
    static const struct {
        size_t topic, ref;
        unsigned count;
    } sizes[] = {{8, 0, 4000},
                 {300, 100, 1000},
                 {1500, 0, 300},
                 {5000, 5000, 100},
                 {TEXT_MAX, TEXT_MAX, 30}};

    memset(large_text, 'x', sizeof(large_text));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct spool_message message = make_message("");
        uint64_t id, size = file_size(f), counted = spool_record_bytes(f->spool);

        message.topic = view_of(large_text, sizes[i].topic);
        message.ref = view_of(large_text, sizes[i].ref);
        set_limits(f, (struct spool_limits){1, UINT64_C(1) << 30, HOUR, SPOOL_EVICT_OLDEST});
        for (unsigned j = 0; j < sizes[i].count; j++) {
            unsigned ended;
            bool more;
            assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
            assert_int_equal(spool_retain(f->spool, &f->now, 1000, &ended, &more), 0);
            if (j % 10 == 0)
                commit(f);
        }
        commit(f);
        assert_int_equal(spool_checkpoint(f->spool), 0);
        counted = spool_record_bytes(f->spool) - counted;
        size = file_size(f) - size;
        print_message("# %zu + %zu bytes of text: %llu counted, %llu taken\n", sizes[i].topic,
                      sizes[i].ref, (unsigned long long)counted, (unsigned long long)size);
        assert_in_range(counted, size / 4 * 3, size / 5 * 8 + 16384);
    }
    check_counted(f);
}

static void exported_failures_are_bounded_by_bytes(void **state)
{
    struct fixture *f = *state;

    spool_set_records_max(f->spool, RECORDS_MAX);
    for (int i = 0; i < 10; i++) {
        end_large(f, SPOOL_REJECTED, 10);
        spool_set_exported(f->spool, spool_last_seq(f->spool));
        settle_down(f);
        assert_true(spool_record_bytes(f->spool) < RECORDS_MAX);
    }
    assert_in_range(rows_of(f).failures, 30, RECORDS_MAX / (3 * TEXT_MAX));
    assert_true(file_size(f) < RECORDS_MAX + (2 << 20));
    check_counted(f);
}

/* Where too many may be removed. Those that are exported go first. */
static void deliveries_that_wait_are_bounded_by_bytes(void **state)
{
    struct fixture *f = *state;

    spool_set_records_max(f->spool, RECORDS_MAX);
    spool_set_waiting_max(f->spool, 1000000);
    end_large(f, SPOOL_REJECTED, 20);
    spool_set_exported(f->spool, spool_last_seq(f->spool));
    end_large(f, SPOOL_REJECTED, 5);
    assert_int_equal(rows_of(f).failures, 25);
    end_large(f, SPOOL_DELIVERED, 60);
    settle_down(f);
    assert_true(spool_record_bytes(f->spool) < RECORDS_MAX);
    assert_int_equal(rows_of(f).failures, 5); /* which wait */
    assert_int_equal(rows_of(f).first, 21);
    assert_in_range(spool_waiting(f->spool), 38, 42);
    assert_true(spool_pruned_unexported(f->spool) > 10);
    check_counted(f);
}

static void failures_that_wait_stay_and_are_counted(void **state)
{
    struct fixture *f = *state;

    spool_set_records_max(f->spool, RECORDS_MAX);
    spool_set_waiting_max(f->spool, 1000000);
    end_large(f, SPOOL_REJECTED, 60);
    settle_down(f);
    assert_int_equal(rows_of(f).failures, 60);
    assert_true(spool_record_bytes(f->spool) > RECORDS_MAX);
    reopen_spool(f);
    assert_true(spool_record_bytes(f->spool) > RECORDS_MAX);
    check_counted(f);
}

static void bytes_of_a_batch_that_is_lost_do_not_count(void **state)
{
    struct fixture *f = *state;
    uint64_t one = end_large(f, SPOOL_REJECTED, 4);
    sqlite3 *db;
    char path[128];

    deliver_some(f, 10);
    uint64_t before = spool_record_bytes(f->spool);
    append_many(f, 3);
    while (next_id(f) != 0)
        continue;
    deliver(f, 15);
    spool_set_exported(f->spool, 14);
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    spool_set_busy_wait(f->spool, 1);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_BUSY);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(spool_record_bytes(f->spool), before);
    commit(f);
    assert_in_range(spool_record_bytes(f->spool), 4 * one, 4 * one + 100);
    check_counted(f);
}

static void an_earlier_schema_is_counted_when_it_is_migrated(void **state)
{
    struct fixture *f = *state;

    use_no_segments(f);
    reopen_spool(f);
    end_large(f, SPOOL_REJECTED, 3);
    deliver_some(f, 100);
    uint64_t bytes = spool_record_bytes(f->spool);
    close_spool(f);
    tamper(f, TO_SECOND_SCHEMA "PRAGMA user_version = 2");
    check_counted(f); /* a reader reads it as it is */
    open_spool(f);
    assert_int_equal(spool_record_bytes(f->spool), bytes);
    check_counted(f);
}

static void reports_are_noted_with_their_message_or_not_at_all(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(spool_reported(f->spool), SPOOL_NOT_REPORTED);
    fail_some(f, 3);
    append_many(f, 1);
    spool_set_reported(f->spool, 2);
    assert_int_equal(spool_reported(f->spool), SPOOL_NOT_REPORTED);
    close_spool(f); /* as a crash before the commit */
    open_spool(f);
    assert_int_equal(spool_reported(f->spool), SPOOL_NOT_REPORTED);
    append_many(f, 1);
    spool_set_reported(f->spool, 2);
    commit(f);
    assert_int_equal(spool_reported(f->spool), 2);
    close_spool(f);
    open_spool(f);
    assert_int_equal(spool_reported(f->spool), 2);
    spool_set_reported(f->spool, SPOOL_NOT_REPORTED);
    append_many(f, 1);
    commit(f);
    close_spool(f);
    open_spool(f);
    assert_int_equal(spool_reported(f->spool), SPOOL_NOT_REPORTED);
}

static void no_failure_goes_before_it_is_reported(void **state)
{
    struct fixture *f = *state;

    fail_some(f, 10);
    spool_keep_unreported(f->spool, 4);
    spool_set_keep(f->spool, 0);
    spool_set_exported(f->spool, 10);
    settle_down(f);
    assert_int_equal(rows_of(f).first, 5);
    spool_keep_unreported(f->spool, 10);
    spool_set_keep(f->spool, 0);
    fail_some(f, 1);
    settle_down(f);
    assert_in_range(rows_of(f).first, 10, 11);
}

static void a_salvage_keeps_how_far_reports_got(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;

    fail_some(f, 3);
    append_many(f, 1);
    spool_set_reported(f->spool, 2);
    commit(f);
    close_spool(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    open_spool(f);
    assert_int_equal(spool_reported(f->spool), 2);
    close_spool(f);
    tamper(f, "UPDATE spool SET reported_seq = 99"); /* ahead of all: everything again */
    open_spool(f);
    assert_int_equal(spool_reported(f->spool), 0);
    close_spool(f);
    tamper(f, "UPDATE spool SET reported_seq = NULL");
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    open_spool(f);
    assert_int_equal(spool_reported(f->spool), SPOOL_NOT_REPORTED);
}

static void a_salvage_counts_again(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;

    end_large(f, SPOOL_REJECTED, 3);
    fail_some(f, 100);
    uint64_t bytes = spool_record_bytes(f->spool);
    close_spool(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    open_spool(f);
    assert_int_equal(spool_record_bytes(f->spool), bytes);
    check_counted(f);
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
        ON_SPOOL(exported_deliveries_go_without_traffic),
        ON_SPOOL(exported_failures_above_their_number_go_without_traffic),
        ON_SPOOL(a_record_counts_about_what_it_takes_of_the_file),
        ON_SPOOL(exported_failures_are_bounded_by_bytes),
        ON_SPOOL(deliveries_that_wait_are_bounded_by_bytes),
        ON_SPOOL(failures_that_wait_stay_and_are_counted),
        ON_SPOOL(bytes_of_a_batch_that_is_lost_do_not_count),
        ON_SPOOL(an_earlier_schema_is_counted_when_it_is_migrated),
        ON_SPOOL(reports_are_noted_with_their_message_or_not_at_all),
        ON_SPOOL(no_failure_goes_before_it_is_reported),
        ON_SPOOL(a_salvage_keeps_how_far_reports_got),
        ON_SPOOL(a_salvage_counts_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
