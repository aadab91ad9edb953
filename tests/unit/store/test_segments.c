/* SPDX-License-Identifier: MIT */
/*
 * test_segments.c - messages in segments, deliveries that are runs, and what they become
 *
 * Segments are small here, so that a few messages fill them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>

#include "base/view.h"
#include "store/runs.h"
#include "store/spool.h"
#include "store/stmt.h"
#include "tests/support/spool_fixture.h"

enum { ROWS = 4, PAGE = 4096 };

static int setup_small(void **state)
{
    int r = setup_closed(state);
    struct fixture *f = *state;

    if (r != 0)
        return r;
    f->options.segment_rows = ROWS;
    open_spool(f);
    return 0;
}

static int64_t rows_of(struct fixture *f, const char *table)
{
    char sql[64];

    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
    return query_number(f, sql);
}

static void deliver_next(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        deliver(f, next_id(f));
    commit(f);
}

static void export_all(struct fixture *f)
{
    spool_set_exported(f->spool, spool_last_seq(f->spool));
    commit(f);
}

/* One record for each id from 1 to @count, in order, and no other. */
static void check_records(struct fixture *f, uint64_t count)
{
    assert_int_equal(records_of(f, 0).all, count);
    for (uint64_t id = 1; id <= count; id++) {
        const struct found found = records_of(f, id);

        assert_int_equal(found.count, 1);
        assert_int_equal(found.record.outcome, SPOOL_DELIVERED);
        assert_int_equal(found.record.bytes, strlen("payload"));
    }
}

/* ---- the blob ---- */

static struct run run_of(uint64_t number)
{
    return (struct run){.first_seq = 1 + 10 * number,
                        .messages = 1 + number % 10,
                        .first_id = 5 + 100 * number,
                        .last_id = 5 + 100 * number + number % 100,
                        .time_ms = INT64_C(1700000000000) - (int64_t)number * 7777,
                        .ended_at = (int64_t)number * 3,
                        .attempts = (uint32_t)number % 3,
                        .code = number % 2 ? 16 : SPOOL_NO_CODE,
                        .segment = (unsigned)number % TABLE_SEGMENTS};
}

/* Without the padding at the end, which has no value. */
enum { RUN_BYTES = offsetof(struct run, segment) + sizeof(unsigned) };

static void runs_come_back_as_they_were(void **state)
{
    uint8_t bytes[RUNS_BYTES_MAX];
    struct runs runs = {0}, found = {0};

    (void)state;
    for (uint64_t i = 0; i < RUNS_MAX; i++) {
        const struct run run = run_of(i);
        assert_int_equal(runs_add(&runs, &run), 0);
    }
    const struct run surplus = run_of(RUNS_MAX);
    assert_int_equal(runs_add(&runs, &surplus), -ENOSPC);
    size_t size = runs_encode(&runs, 0, bytes);
    assert_true(size < RUNS_MAX * 20);
    assert_int_equal(runs_decode(&found, view_of(bytes, size)), 0);
    assert_int_equal(found.count, RUNS_MAX);
    for (unsigned i = 0; i < RUNS_MAX; i++) {
        const struct run wanted = run_of(i);
        assert_memory_equal(&found.all[i], &wanted, RUN_BYTES);
    }
    /* What is exported is left out, except the newest. */
    size = runs_encode(&runs, UINT64_MAX, bytes);
    assert_int_equal(runs_decode(&found, view_of(bytes, size)), 0);
    assert_int_equal(found.count, 1);
    runs_done(&runs);
    runs_done(&found);
}

static void what_is_no_blob_of_runs_is_refused(void **state)
{
    uint8_t bytes[RUNS_BYTES_MAX];
    struct runs runs = {0}, found = {0};

    (void)state;
    for (uint64_t i = 0; i < 5; i++) {
        const struct run run = run_of(i);
        assert_int_equal(runs_add(&runs, &run), 0);
    }
    size_t size = runs_encode(&runs, 0, bytes);
    unsigned whole = 0;
    for (size_t cut = 0; cut < size; cut++)
        whole += runs_decode(&found, view_of(bytes, cut)) == 0;
    assert_int_equal(whole, 5); /* none, and one to four */
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (runs_decode(&found, view_of(bytes, size)) == 0) {
            for (unsigned i = 1; i < found.count; i++)
                assert_true(found.all[i].first_seq > run_last_seq(&found.all[i - 1]));
        }
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    runs_done(&runs);
    runs_done(&found);
}

/* ---- what becomes of messages ---- */

static void a_delivery_has_its_record_without_a_row(void **state)
{
    struct fixture *f = *state;

    append_many(f, 3);
    assert_int_equal(rows_of(f, "segment0"), 3);
    assert_int_equal(rows_of(f, "message"), 0);
    deliver_next(f, 2);
    assert_int_equal(rows_of(f, "outcome"), 0);
    assert_int_equal(rows_of(f, "segment0"), 3);
    assert_int_equal(rows_of(f, "spooled"), 1);
    check_records(f, 2);
    check_sound(f);
    struct spool *reader;
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    struct found found = {.id = 2};
    assert_int_equal(spool_each_record(reader, 0, false, 0, find_record, &found), 0);
    assert_int_equal(found.all, 2);
    assert_int_equal(found.count, 1);
    spool_close(reader);
    reopen_spool(f);
    check_records(f, 2);
    assert_int_equal(next_id(f), 3);
    assert_int_equal(next_id(f), 0);
}

static void a_segment_is_emptied_when_all_of_it_is_exported(void **state)
{
    struct fixture *f = *state;

    append_many(f, ROWS + 1); /* the last one is in the next segment */
    assert_int_equal(rows_of(f, "segment1"), 1);
    deliver_next(f, ROWS - 1);
    export_all(f);
    assert_int_equal(rows_of(f, "segment0"), ROWS);
    deliver_next(f, 1);
    assert_int_equal(rows_of(f, "segment0"), ROWS); /* not exported */
    assert_int_equal(records_of(f, ROWS).count, 1);
    reopen_spool(f);
    export_all(f);
    assert_int_equal(rows_of(f, "segment0"), 0);
    assert_int_equal(rows_of(f, "segment1"), 1);
    check_sound(f);
    reopen_spool(f);
    assert_int_equal(next_id(f), ROWS + 1);
    check_sound(f);
}

/* Some in segments, then some in table message, then some in segments. */
static void messages_are_handed_out_in_order_whatever_table_they_are_in(void **state)
{
    struct fixture *f = *state;

    f->options.segment_backlog = 6;
    reopen_spool(f);
    append_many(f, 9);
    assert_int_equal(rows_of(f, "message"), 3);
    deliver_next(f, 5);
    append_many(f, 2);
    assert_int_equal(query_number(f, "SELECT max(key) FROM segment1"), 11);
    assert_int_equal(query_number(f, "SELECT max(key) FROM message"), 9);
    for (int i = 0; i < 2; i++) {
        for (uint64_t id = 6; id <= 11; id++)
            assert_int_equal(next_id(f), id);
        assert_int_equal(next_id(f), 0);
        reopen_spool(f);
    }
    for (uint64_t id = 6; id <= 11; id++)
        deliver(f, next_id(f));
    commit(f);
    check_records(f, 11);
    assert_int_equal(rows_of(f, "message"), 0);
    assert_int_equal(rows_of(f, "outcome"), 3); /* of those in table message */
    check_sound(f);
}

static void an_answer_out_of_order_ends_by_a_row(void **state)
{
    struct fixture *f = *state;

    append_many(f, 4);
    for (uint64_t id = 1; id <= 4; id++)
        assert_int_equal(next_id(f), id);
    deliver(f, 2);
    deliver(f, 3);
    commit(f);
    assert_int_equal(rows_of(f, "outcome"), 2);
    assert_int_equal(rows_of(f, "segment0"), 2);
    deliver(f, 1);
    deliver(f, 4);
    commit(f);
    assert_int_equal(rows_of(f, "outcome"), 2);
    assert_int_equal(query_number(f, "SELECT ended_id FROM lane"), 4);
    check_sound(f);
    reopen_spool(f);
    check_records(f, 4);
    assert_int_equal(next_id(f), 0);
    append_many(f, 1);
    assert_int_equal(next_id(f), 5);
}

static void what_pins_a_segment_is_moved_to_table_message(void **state)
{
    struct fixture *f = *state;

    append_many(f, ROWS * TABLE_SEGMENTS);
    assert_int_equal(next_id(f), 1); /* its answer does not come */
    for (uint64_t id = 2; id <= ROWS * TABLE_SEGMENTS; id++) {
        assert_int_equal(next_id(f), id);
        deliver(f, id);
    }
    commit(f);
    export_all(f);
    append_many(f, ROWS * (TABLE_SEGMENTS - 1));
    assert_int_equal(rows_of(f, "message"), 1);
    assert_int_equal(query_number(f, "SELECT key FROM message"), 1);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    assert_int_equal(next_id(f), 1);
    deliver(f, 1);
    assert_int_equal(deliver_all(f), ROWS * (TABLE_SEGMENTS - 1));
    assert_int_equal(records_of(f, 1).count, 1);
    assert_int_equal(ledger_of(f).spooled, 0);
    check_sound(f);
}

static void while_nothing_is_exported_deliveries_become_rows(void **state)
{
    struct fixture *f = *state;
    enum { MORE = 10 };

    f->options.segment_rows = 1000;
    reopen_spool(f);
    for (int i = 0; i < RUNS_MAX + MORE; i++) {
        append_many(f, 1);
        deliver_next(f, 1);
    }
    assert_int_equal(rows_of(f, "outcome"), MORE);
    assert_true(spool_awaits_export(f->spool));
    check_records(f, RUNS_MAX + MORE);
    check_sound(f);
    reopen_spool(f);
    export_all(f);
    assert_false(spool_awaits_export(f->spool));
    append_many(f, 1);
    deliver_next(f, 1);
    assert_int_equal(rows_of(f, "outcome"), 0);
    check_sound(f);
}

static void a_record_can_be_read_from_the_middle_of_a_run(void **state)
{
    struct fixture *f = *state;

    append_many(f, 4);
    deliver_next(f, 4);
    for (uint64_t after = 0; after < 4; after++) {
        struct found found = {.id = after + 1, .last_seq = after};
        assert_int_equal(spool_each_record(f->spool, after, false, 1, find_record, &found), 0);
        assert_int_equal(found.all, 1);
        assert_int_equal(found.count, 1);
    }
    spool_set_exported(f->spool, 2);
    commit(f);
    assert_int_equal(records_of(f, 0).all, 2);
    check_sound(f);
}

/* ---- what must not be ---- */

static void a_row_that_vanished_from_a_segment_is_fatal(void **state)
{
    struct fixture *f = *state;
    struct spool_message message;

    append_many(f, 3);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(next_id(f), id);
        deliver(f, id);
    }
    assert_int_equal(spool_next(f->spool, &f->now, &message), SPOOL_E_EMPTY);
    tamper(f, "DELETE FROM segment0 WHERE key = 2");
    assert_int_equal(spool_commit(f->spool, &f->now), -EBADMSG);
    close_spool(f);
}

static void a_row_that_vanished_from_a_run_is_fatal(void **state)
{
    struct fixture *f = *state;
    struct found found = {.id = 1};

    append_many(f, ROWS);
    deliver_next(f, ROWS);
    tamper(f, "DELETE FROM segment0 WHERE key = 2");
    assert_int_equal(spool_each_record(f->spool, 0, false, 0, find_record, &found), -EBADMSG);
    close_spool(f);
}

static void a_segment_with_a_row_too_many_is_not_emptied(void **state)
{
    struct fixture *f = *state;

    append_many(f, ROWS + 1);
    deliver_next(f, ROWS);
    tamper(f,
           "INSERT INTO segment0 SELECT key + 100, accepted, accepted_at, expires_at, charge,"
           " uid, flags, client, topic, properties, ref, payload, NULL, behind FROM segment0"
           " WHERE key = 1");
    spool_set_exported(f->spool, ROWS);
    assert_int_equal(spool_commit(f->spool, &f->now), -EBADMSG);
    close_spool(f);
}

static void damage_of_runs_and_segments_is_found(void **state)
{
    static const char *const cases[] = {
        "DELETE FROM segment0 WHERE key = 2", /* of a run */
        "DELETE FROM segment0 WHERE key = 4", /* pending */
        "UPDATE segment0 SET payload = x'00' WHERE key = 4",
        "UPDATE lane SET ended_id = 2",
        "UPDATE segment0 SET key = 77 WHERE key = 4",
        "INSERT INTO message SELECT * FROM segment0 WHERE key = 4",
    };
    struct fixture *f = *state;
    char name[128], copy[128];

    append_many(f, ROWS);
    deliver_next(f, 3);
    close_spool(f);
    (void)snprintf(name, sizeof(name), "%s/spool.db", f->directory);
    (void)snprintf(copy, sizeof(copy), "%s/copy", f->directory);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct spool *reader;
        unsigned findings = 0;
        char command[300];

        (void)snprintf(command, sizeof(command), "cp %s %s", i == 0 ? name : copy,
                       i == 0 ? copy : name);
        assert_int_equal(system(command), 0);
        tamper(f, cases[i]);
        int r = spool_open_reader(f->directory, &reader);
        if (r == SPOOL_E_DAMAGED)
            continue;
        assert_int_equal(r, 0);
        assert_int_equal(spool_check(reader, count_finding, &findings), 0);
        if (findings == 0)
            print_error("nothing found: %s\n", cases[i]);
        assert_true(findings > 0);
        spool_close(reader);
    }
}

/* ---- migration and salvage ---- */

static void a_full_spool_of_the_eighth_schema_is_migrated(void **state)
{
    struct fixture *f = *state;

    use_no_segments(f);
    reopen_spool(f);
    append_many(f, 500);
    deliver_next(f, 100);
    close_spool(f);
    tamper(f, TO_EIGHTH_SCHEMA "PRAGMA user_version = 8");
    use_segments(f);
    struct spool *reader; /* before the daemon migrates it */
    struct found found = {.id = 7};
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_check(reader, fail_on_finding, NULL), 0);
    assert_int_equal(spool_each_record(reader, 0, false, 0, find_record, &found), 0);
    assert_int_equal(found.all, 100);
    spool_close(reader);
    open_spool(f);
    append_many(f, 20);
    assert_int_equal(rows_of(f, "message"), 400);
    for (uint64_t id = 101; id <= 520; id++) {
        assert_int_equal(next_id(f), id);
        deliver(f, id);
    }
    commit(f);
    check_records(f, 520);
    check_sound(f);
}

static void a_full_spool_of_the_ninth_schema_is_migrated(void **state)
{
    struct fixture *f = *state;

    append_many(f, 500);
    deliver_next(f, 100);
    close_spool(f);
    tamper(f, TO_NINTH_SCHEMA "PRAGMA user_version = 9");
    check_sound(f); /* of a reader, before the daemon migrates it */
    open_spool(f);
    append_many(f, 20);
    for (uint64_t id = 101; id <= 520; id++) {
        assert_int_equal(next_id(f), id);
        deliver(f, id);
    }
    commit(f);
    check_records(f, 520);
    check_sound(f);
    assert_int_equal(rows_of(f, "session"), 0);
    assert_int_equal(rows_of(f, "hold"), 0);
}

static void a_full_spool_of_the_tenth_schema_is_migrated(void **state)
{
    struct fixture *f = *state;

    append_many(f, 50);
    deliver_next(f, 10);
    close_spool(f);
    tamper(f, TO_TENTH_SCHEMA "PRAGMA user_version = 10");
    check_sound(f); /* of a reader, before the daemon migrates it */
    open_spool(f);
    assert_int_equal(deliver_all(f), 40);
    check_records(f, 50);
    check_sound(f);
    assert_int_equal(rows_of(f, "requeued"), 0);
}

static void
salvage_again(struct fixture *f, const struct spool_history *history, struct spool_salvage *ret)
{
    f->options.now = f->now;
    assert_int_equal(spool_salvage(&f->options, history, ret), 0);
    check_sound(f);
    open_spool(f);
}

static void deliveries_that_were_not_exported_are_salvaged(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;

    append_many(f, 10);
    deliver_next(f, 3);
    export_all(f);
    deliver_next(f, 3); /* in two segments */
    struct spool_ledger before = ledger_of(f);
    close_spool(f);
    salvage_again(f, NULL, &salvage);
    assert_int_equal(salvage.salvaged, 4);
    assert_int_equal(salvage.damaged, 0);
    struct spool_ledger after = ledger_of(f);
    assert_memory_equal(&before, &after, sizeof(before));
    for (uint64_t id = 4; id <= 6; id++) {
        assert_int_equal(records_of(f, id).count, 1);
        assert_int_equal(records_of(f, id).record.outcome, SPOOL_DELIVERED);
    }
    for (uint64_t id = 7; id <= 10; id++)
        assert_int_equal(next_id(f), id);
    assert_int_equal(next_id(f), 0);
}

static void overwrite_root_of(struct fixture *f, const char *table)
{
    char sql[96], path[128], bytes[PAGE];

    (void)snprintf(sql, sizeof(sql), "SELECT rootpage FROM sqlite_schema WHERE name = '%s'",
                   table);
    int64_t page = query_number(f, sql);
    tamper(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(pwrite(fd, bytes, PAGE, (page - 1) * PAGE), PAGE);
    assert_int_equal(close(fd), 0);
}

static int each_exported(void *owner, spool_ended_fn *fn, void *userdata)
{
    const unsigned *count = owner;

    for (unsigned i = 1; i <= *count; i++) {
        const struct spool_ended ended = {
            .seq = i, .id = i, .outcome = SPOOL_DELIVERED, .lane = "default"};
        int r = fn(userdata, &ended);
        if (r != 0)
            return r;
    }
    return 0;
}

/* The runs are gone: what is in the audit file has ended, the rest is sent again. */
static void without_the_lane_only_lines_of_the_audit_file_have_ended(void **state)
{
    struct fixture *f = *state;
    unsigned lines = 4;
    const struct spool_history history = {.each = each_exported, .owner = &lines};
    struct spool_salvage salvage;

    append_many(f, 10);
    deliver_next(f, 6);
    close_spool(f);
    overwrite_root_of(f, "lane");
    salvage_again(f, &history, &salvage);
    assert_int_equal(salvage.salvaged, 6);
    for (uint64_t id = 5; id <= 10; id++)
        assert_int_equal(next_id(f), id);
    assert_int_equal(next_id(f), 0);
    assert_int_equal(spool_exported(f->spool), 4); /* their lines are not written again */
    (void)ledger_of(f);
}

static void a_lost_page_under_a_run_counts_as_damaged(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;

    append_many(f, 2 * ROWS);
    deliver_next(f, 2 * ROWS - 1);
    close_spool(f);
    overwrite_root_of(f, "segment0");
    salvage_again(f, NULL, &salvage);
    assert_int_equal(salvage.salvaged, 1);
    assert_int_equal(salvage.damaged, ROWS);
    const struct spool_ledger ledger = ledger_of(f);
    assert_int_equal(ledger.ended[SPOOL_DAMAGED], ROWS);
    assert_int_equal(ledger.ended[SPOOL_DELIVERED], ROWS - 1);
    assert_int_equal(records_of(f, 0).all, 2 * ROWS - 1);
    assert_int_equal(next_id(f), 2 * ROWS);
}

/* Free pages hold the rows of an emptied segment as they were. */
static void what_an_emptied_segment_held_is_not_sent_for_what_was_lost(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    static char large[3000];
    struct spool_message message = make_message("");
    uint64_t id;

    message.payload = view_of(large, sizeof(large));
    for (int i = 0; i < 3 * ROWS; i++)
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    commit(f);
    deliver_next(f, 2 * ROWS);
    export_all(f);
    assert_int_equal(rows_of(f, "segment0") + rows_of(f, "segment1"), 0);
    close_spool(f);
    tamper(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    overwrite_root_of(f, "segment2"); /* its leaves are reached by nothing now */
    salvage_again(f, NULL, &salvage);
    assert_int_equal(salvage.salvaged, ROWS);
    assert_int_equal(salvage.damaged, 0);
    for (id = 2 * ROWS + 1; id <= 3 * ROWS; id++)
        assert_int_equal(next_id(f), id);
    assert_int_equal(next_id(f), 0);
}

#define SMALL(name) cmocka_unit_test_setup_teardown(name, setup_small, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_come_back_as_they_were),
        cmocka_unit_test(what_is_no_blob_of_runs_is_refused),
        SMALL(a_delivery_has_its_record_without_a_row),
        SMALL(a_segment_is_emptied_when_all_of_it_is_exported),
        SMALL(messages_are_handed_out_in_order_whatever_table_they_are_in),
        SMALL(an_answer_out_of_order_ends_by_a_row),
        SMALL(what_pins_a_segment_is_moved_to_table_message),
        SMALL(while_nothing_is_exported_deliveries_become_rows),
        SMALL(a_record_can_be_read_from_the_middle_of_a_run),
        SMALL(a_row_that_vanished_from_a_segment_is_fatal),
        SMALL(a_row_that_vanished_from_a_run_is_fatal),
        SMALL(a_segment_with_a_row_too_many_is_not_emptied),
        SMALL(damage_of_runs_and_segments_is_found),
        SMALL(a_full_spool_of_the_eighth_schema_is_migrated),
        SMALL(a_full_spool_of_the_ninth_schema_is_migrated),
        SMALL(a_full_spool_of_the_tenth_schema_is_migrated),
        SMALL(deliveries_that_were_not_exported_are_salvaged),
        SMALL(without_the_lane_only_lines_of_the_audit_file_have_ended),
        SMALL(a_lost_page_under_a_run_counts_as_damaged),
        SMALL(what_an_emptied_segment_held_is_not_sent_for_what_was_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
