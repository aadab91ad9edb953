/* SPDX-License-Identifier: MIT */
/*
 * test_spool.c - append, next, settle, commit, rollback, reopening, readers, the clock
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/regular.h"
#include "base/view.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"

static const struct spool_verdict refused = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 0x97};

static void names_and_words_are_inverse(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++) {
        enum spool_outcome outcome = SPOOL_OUTCOMES;
        assert_true(spool_outcome_parse(spool_outcome_name((enum spool_outcome)i), &outcome));
        assert_int_equal(outcome, i);
    }
    for (unsigned i = 0; i < SPOOL_REASONS; i++) {
        enum spool_reason reason = SPOOL_REASONS;
        assert_true(spool_reason_parse(spool_reason_name((enum spool_reason)i), &reason));
        assert_int_equal(reason, i);
    }
    enum spool_outcome untouched = SPOOL_DAMAGED;
    assert_false(spool_outcome_parse("lost", &untouched));
    assert_int_equal(untouched, SPOOL_DAMAGED);
    assert_string_equal(spool_reason_name(SPOOL_REASONS), "");
    /* Each reason goes with one outcome, and each outcome has one. */
    for (int i = 0; i < SPOOL_REASONS; i++) {
        unsigned outcomes = 0;
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            outcomes += spool_reason_fits((enum spool_outcome)j, (enum spool_reason)i);
        assert_int_equal(outcomes, 1);
    }
    assert_true(spool_reason_fits(SPOOL_DELIVERED, SPOOL_REASON_NONE));
    assert_true(spool_reason_fits(SPOOL_EVICTED, SPOOL_REASON_DISK));
    assert_false(spool_reason_fits(SPOOL_EVICTED, SPOOL_REASON_NONE));
    assert_false(spool_reason_fits(SPOOL_OUTCOMES, SPOOL_REASON_NONE));
    assert_false(spool_reason_fits(SPOOL_DELIVERED, SPOOL_REASONS));
}

static void every_field_comes_back_as_it_went_in(void **state)
{
    struct fixture *f = *state;
    const char payload[] = "a\0b";
    struct spool_message in = {
        .uid = 4000000000u,
        .qos = 2,
        .retain = true,
        .expiry_ms = 60000,
        .client = view_of("gauge", 5),
        .topic = view_of("plant/\xc3\xa4", 8),
        .properties = view_of("\x01\x00\x02", 3),
        .ref = view_of("order-7", 7),
        .payload = view_of(payload, 3),
    };
    uint64_t id;
    assert_int_equal(spool_append(f->spool, &in, &f->now, &id), 0);
    commit(f);
    pass_time(f, 1000);
    struct spool_message out;
    assert_int_equal(spool_next(f->spool, &f->now, &out), 0);
    assert_int_equal(out.id, id);
    assert_int_equal(out.lane, 0);
    assert_int_equal(out.uid, 4000000000u);
    assert_int_equal(out.qos, 2);
    assert_true(out.retain);
    assert_int_equal(out.expiry_ms, 59000);
    assert_int_equal(out.accepted_ms, f->now.wall_ms - 1000);
    assert_int_equal(out.attempts, 1);
    assert_int_equal(out.payload.size, 3);
    assert_memory_equal(out.payload.data, payload, 3);
    assert_int_equal(out.properties.size, 3);
    assert_memory_equal(out.properties.data, in.properties.data, 3);
    assert_int_equal(out.topic.size, 8);
    assert_memory_equal(out.topic.data, in.topic.data, 8);
    assert_memory_equal(out.client.data, "gauge", 5);
    assert_memory_equal(out.ref.data, "order-7", 7);

    assert_int_equal(spool_settle(f->spool, id, &refused, f->now.boot_ms), 0);
    commit(f);
    struct found found = records_of(f, id);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.record.outcome, SPOOL_REJECTED);
    assert_int_equal(found.record.reason, SPOOL_REASON_REASON_CODE);
    assert_int_equal(found.record.code, 0x97);
    assert_int_equal(found.record.bytes, 3);
    assert_int_equal(found.record.age_ms, 1000);
    assert_int_equal(found.record.attempts, 1);
    assert_int_equal(found.record.uid, 4000000000u);
    assert_int_equal(found.record.qos, 2);
    assert_int_equal(found.record.time_ms, f->now.wall_ms);
    assert_int_equal(found.record.accepted_ms, f->now.wall_ms - 1000);
}

static void assert_same_text(struct view got, struct view expected)
{
    assert_int_equal(got.size, expected.size);
    assert_memory_equal(got.data, expected.data, expected.size);
}

/* Of two kinds in turn, two of each: what a row has is neither left out nor inherited. */
static void a_row_has_nothing_of_the_one_before_it(void **state)
{
    struct fixture *f = *state;
    enum { ROWS = 8 };
    const struct spool_message kinds[] = {
        {.uid = 1,
         .qos = 1,
         .retain = true,
         .expiry_ms = 60000,
         .client = view_of_text("gauge"),
         .topic = view_of_text("plant/1"),
         .properties = view_of_text("properties"),
         .ref = view_of_text("order-7"),
         .payload = view_of_text("payload")},
        {.expiry_ms = SPOOL_NO_EXPIRY, .topic = view_of_text("t")},
    };
    uint64_t id;
    for (unsigned i = 0; i < ROWS; i++) {
        assert_int_equal(spool_append(f->spool, &kinds[i / 2 % 2], &f->now, &id), 0);
        pass_time(f, 1000);
    }
    commit(f);
    for (unsigned i = 0; i < ROWS; i++) {
        const struct spool_message *in = &kinds[i / 2 % 2];
        int64_t age_ms = INT64_C(1000) * (ROWS - i);
        struct spool_message out;
        assert_int_equal(spool_next(f->spool, &f->now, &out), 0);
        assert_int_equal(out.uid, in->uid);
        assert_int_equal(out.qos, in->qos);
        assert_int_equal(out.retain, in->retain);
        assert_int_equal(out.number, i + 1);
        assert_int_equal(out.accepted_ms, f->now.wall_ms - age_ms);
        assert_int_equal(out.expiry_ms, i / 2 % 2 == 0 ? 60000 - age_ms : SPOOL_NO_EXPIRY);
        assert_same_text(out.client, in->client);
        assert_same_text(out.topic, in->topic);
        assert_same_text(out.properties, in->properties);
        assert_same_text(out.ref, in->ref);
        assert_same_text(out.payload, in->payload);
    }
    check_sound(f);
}

static int check_words(void *context, const struct spool_record *record)
{
    (*(unsigned *)context)++;
    assert_string_equal(record->lane, "default");
    assert_string_equal(record->client, "");
    assert_string_equal(record->topic, "t");
    assert_null(record->ref);
    assert_int_equal(record->code, SPOOL_NO_CODE);
    return 7;
}

static void empty_fields_are_kept_and_a_walk_can_be_ended(void **state)
{
    struct fixture *f = *state;
    struct spool_message in = {.topic = view_of("t", 1), .expiry_ms = SPOOL_NO_EXPIRY};
    uint64_t id;
    assert_int_equal(spool_append(f->spool, &in, &f->now, &id), 0);
    append(f, "second");
    commit(f);
    struct spool_message out;
    assert_int_equal(spool_next(f->spool, &f->now, &out), 0);
    assert_int_equal(out.payload.size, 0);
    assert_int_equal(out.ref.size, 0);
    assert_int_equal(out.expiry_ms, SPOOL_NO_EXPIRY);
    deliver(f, id);
    deliver_all(f);
    unsigned calls = 0;
    assert_int_equal(spool_each_record(f->spool, 0, false, 0, check_words, &calls), 7);
    assert_int_equal(calls, 1);
    assert_int_equal(spool_each_record(f->spool, 0, true, 0, check_words, &calls), 0);
    assert_int_equal(spool_each_record(f->spool, 2, false, 0, check_words, &calls), 0);
    assert_int_equal(calls, 1);
}

static void messages_are_handed_out_once_and_in_order(void **state)
{
    struct fixture *f = *state;
    append_many(f, 300);
    for (uint64_t id = 1; id <= 300; id++)
        assert_int_equal(next_id(f), id);
    assert_int_equal(next_id(f), 0);
    assert_int_equal(stats_of(f).in_flight, 300);
    assert_int_equal(stats_of(f).in_flight_peak, 300);
}

static void uncommitted_messages_are_not_handed_out(void **state)
{
    struct fixture *f = *state;
    append(f, "x");
    assert_int_equal(next_id(f), 0);
    assert_int_equal(ledger_of(f).accepted, 0);
    assert_int_equal(spool_batch_messages(f->spool), 1);
    assert_int_equal(spool_batch_bytes(f->spool), 1 + 6 + 7 + SPOOL_CHARGE_OVERHEAD);
    commit(f);
    assert_int_equal(spool_batch_messages(f->spool), 0);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(ledger_of(f).spooled, 1);
}

static void settle_twice_keeps_first_outcome(void **state)
{
    struct fixture *f = *state;
    append_many(f, 1);
    uint64_t id = next_id(f);
    deliver(f, id);
    assert_int_equal(spool_settle(f->spool, id, &refused, f->now.boot_ms), SPOOL_E_UNKNOWN);
    commit(f);
    assert_int_equal(spool_settle(f->spool, id, &refused, f->now.boot_ms), SPOOL_E_UNKNOWN);
    assert_int_equal(spool_return(f->spool, id, 0), SPOOL_E_UNKNOWN);
    assert_int_equal(spool_settle(f->spool, 77, &refused, f->now.boot_ms), SPOOL_E_UNKNOWN);
    commit(f);
    assert_int_equal(records_of(f, id).count, 1);
    assert_int_equal(records_of(f, id).record.outcome, SPOOL_DELIVERED);
    assert_int_equal(ledger_of(f).ended[SPOOL_DELIVERED], 1);
    assert_int_equal(ledger_of(f).ended[SPOOL_REJECTED], 0);
}

static void ids_are_never_reused_after_the_spool_was_empty(void **state)
{
    struct fixture *f = *state;
    append_many(f, 5);
    assert_int_equal(deliver_all(f), 5);
    reopen_spool(f);
    assert_int_equal(append(f, "x"), 6);
    commit(f);
    assert_int_equal(deliver_all(f), 1);
    assert_int_equal(spool_last_seq(f->spool), 6);
}

static void returned_messages_keep_their_place(void **state)
{
    struct fixture *f = *state;
    append_many(f, 5);
    for (uint64_t id = 1; id <= 4; id++)
        assert_int_equal(next_id(f), id);
    assert_int_equal(spool_return(f->spool, 3, 0), 0);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    assert_int_equal(spool_settle(f->spool, 1, &refused, f->now.boot_ms), SPOOL_E_UNKNOWN);
    struct spool_message message;
    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    assert_int_equal(message.id, 1);
    assert_int_equal(message.attempts, 2);
    assert_int_equal(next_id(f), 3);
    assert_int_equal(spool_return(f->spool, 2, 0), 0); /* before one handed out again */
    assert_int_equal(next_id(f), 2);
    assert_int_equal(next_id(f), 5);
    assert_int_equal(next_id(f), 0);
}

static void a_returned_message_waits_until_it_is_due(void **state)
{
    struct fixture *f = *state;
    append_many(f, 3);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 2);
    assert_int_equal(spool_return(f->spool, 1, f->now.boot_ms + 100), 0);
    assert_int_equal(spool_return(f->spool, 2, f->now.boot_ms + 50), 0);
    assert_int_equal(next_id(f), 3);
    assert_int_equal(next_id(f), 0);
    f->now.boot_ms += 50;
    assert_int_equal(next_id(f), 2);
    assert_int_equal(next_id(f), 0);
    f->now.boot_ms += 50;
    assert_int_equal(next_id(f), 1);
}

static void runs_with_gaps_and_mixed_verdicts_all_end_once(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    for (int i = 0; i < 10; i++)
        assert_int_not_equal(next_id(f), 0);
    static const uint64_t delivered[] = {1, 2, 3, 6, 7, 10};
    for (size_t i = 0; i < sizeof(delivered) / sizeof(*delivered); i++)
        deliver(f, delivered[i]);
    assert_int_equal(spool_settle(f->spool, 4, &refused, f->now.boot_ms), 0);
    commit(f);
    assert_int_equal(ledger_of(f).ended[SPOOL_DELIVERED], 6);
    assert_int_equal(ledger_of(f).ended[SPOOL_REJECTED], 1);
    assert_int_equal(ledger_of(f).spooled, 3);
    assert_int_equal(records_of(f, 4).record.outcome, SPOOL_REJECTED);
    assert_int_equal(records_of(f, 10).record.outcome, SPOOL_DELIVERED);
    assert_int_equal(records_of(f, 5).count, 0);
    deliver(f, 9);
    deliver(f, 5);
    deliver(f, 8);
    commit(f);
    assert_int_equal(records_of(f, 0).all, 10);
    assert_int_equal(ledger_of(f).spooled, 0);
    assert_int_equal(stats_of(f).bytes, 0);
}

static void in_flight_is_pending_again_after_reopen(void **state)
{
    struct fixture *f = *state;
    append_many(f, 3);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 2);
    deliver(f, 1); /* noted, not committed */
    reopen_spool(f);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 2);
    assert_int_equal(next_id(f), 3);
}

static void commit_without_work_touches_no_file(void **state)
{
    struct fixture *f = *state;
    append_many(f, 1);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/spool.db-wal", f->directory);
    struct stat before;
    struct stat after;
    assert_int_equal(stat(path, &before), 0);
    pass_time(f, HOUR / 12); /* the clock alone is written less often */
    assert_false(spool_has_work(f->spool));
    commit(f);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
}

static void an_expired_message_is_not_handed_out(void **state)
{
    struct fixture *f = *state;
    struct spool_message message = make_message("short");
    message.expiry_ms = 1000;
    uint64_t id;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    append(f, "long");
    commit(f);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    pass_time(f, 999);
    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    assert_int_equal(message.expiry_ms, 1);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    pass_time(f, 1);
    assert_int_equal(next_id(f), 2);
    assert_true(spool_has_work(f->spool));
    commit(f);
    assert_int_equal(records_of(f, 1).record.outcome, SPOOL_EXPIRED);
    assert_int_equal(records_of(f, 1).record.reason, SPOOL_REASON_MESSAGE_EXPIRY);
    assert_int_equal(records_of(f, 1).record.attempts, 2);
    assert_int_equal(ledger_of(f).ended[SPOOL_EXPIRED], 1);
}

static void what_was_not_sent_is_no_attempt(void **state)
{
    struct fixture *f = *state;
    struct spool_message message;

    append_many(f, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(next_id(f), 1);
        spool_uncount_attempt(f->spool, 1);
        assert_int_equal(spool_return(f->spool, 1, 0), 0);
    }
    spool_uncount_attempt(f->spool, 1); /* not in flight: nothing to take back */
    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    assert_int_equal(message.attempts, 1);
    spool_uncount_attempt(f->spool, 1);
    assert_int_equal(spool_settle(f->spool, 1, &refused, f->now.boot_ms), 0);
    commit(f);
    assert_int_equal(records_of(f, 1).record.attempts, 0);
}

static void a_message_that_vanished_from_the_database_is_fatal(void **state)
{
    struct fixture *f = *state;
    use_no_segments(f);
    reopen_spool(f);
    append_many(f, 3);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(next_id(f), id);
        deliver(f, id);
    }
    uint64_t never;
    struct spool_message message = make_message("x");
    assert_int_equal(spool_next(f->spool, &f->now, &message), SPOOL_E_EMPTY);
    tamper(f, "DELETE FROM message WHERE key = 2");
    assert_int_equal(spool_commit(f->spool, &f->now), -EBADMSG);
    message = make_message("x");
    assert_int_equal(spool_append(f->spool, &message, &f->now, &never), -EBADMSG);
    assert_int_equal(spool_commit(f->spool, &f->now), -EBADMSG);
    assert_true(strlen(spool_error(f->spool)) > 0);
    close_spool(f);
    /* Nothing of that batch was committed; the damage is remembered. */
    assert_int_equal(spool_open(&f->options, &f->spool), SPOOL_E_DAMAGED);
    struct spool_salvage salvage;
    f->options.now = f->now;
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, 2);
    assert_int_equal(salvage.damaged, 1);
    open_spool(f);
    assert_int_equal(records_of(f, 2).record.outcome, SPOOL_DAMAGED);
    assert_int_equal(deliver_all(f), 2);
}

static void a_locked_database_is_busy_and_keeps_settlements(void **state)
{
    struct fixture *f = *state;
    append_many(f, 2);
    deliver(f, next_id(f));
    assert_int_equal(next_id(f), 2);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_BUSY);
    assert_true(spool_has_work(f->spool));
    assert_int_equal(ledger_of(f).spooled, 2);
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    commit(f);
    assert_int_equal(records_of(f, 1).record.outcome, SPOOL_DELIVERED);
    assert_int_equal(ledger_of(f).spooled, 1);
}

/* ---- other processes ---- */

static int wait_for(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_second_process_finds_the_spool_locked(void **state)
{
    struct fixture *f = *state;
    assert_true(spool_is_in_use(f->directory));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct spool *second = NULL;
        _exit(spool_open(&f->options, &second) == SPOOL_E_LOCKED && !second ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    close_spool(f);
    assert_false(spool_is_in_use(f->directory));
}

static void append_in_child(struct fixture *f, int out)
{
    open_spool(f);
    for (;;) {
        uint64_t id = 0;
        for (int i = 0; i < 20; i++)
            id = append(f, "payload");
        if (spool_commit(f->spool, &f->now) != 0)
            _exit(1);
        if (write(out, &id, sizeof(id)) != sizeof(id))
            _exit(1);
    }
}

static void what_was_committed_survives_sigkill_mid_batch(void **state)
{
    struct fixture *f = *state;
    close_spool(f);
    uint64_t acknowledged = 0;
    for (int round = 0; round < 5; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)close(pipes[0]);
            append_in_child(f, pipes[1]);
        }
        (void)close(pipes[1]);
        for (int i = 0; i < 7 + round; i++)
            assert_int_equal(read(pipes[0], &acknowledged, sizeof(acknowledged)),
                             sizeof(acknowledged));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_true(WIFSIGNALED(wait_for(child)));
        while (read(pipes[0], &acknowledged, sizeof(acknowledged)) > 0)
            continue;
        (void)close(pipes[0]);

        struct spool *reader; /* a hot WAL and no daemon */
        assert_int_equal(spool_open_reader(f->directory, &reader), 0);
        struct spool_ledger ledger;
        assert_int_equal(spool_get_ledger(reader, &ledger), 0);
        spool_close(reader);
        assert_true(ledger.spooled >= acknowledged);
        assert_int_equal(ledger.spooled % 20, 0);
    }
    open_spool(f);
    assert_int_equal(deliver_all(f), ledger_of(f).accepted);
    assert_int_equal(ledger_of(f).spooled, 0);
}

/* As a copy by VACUUM INTO is, or what a person did with SQLite's shell. */
static void a_database_that_is_not_in_wal_mode_is_put_into_it(void **state)
{
    struct fixture *f = *state;
    char path[128];
    append_many(f, 10);
    close_spool(f);
    tamper(f, "PRAGMA journal_mode = DELETE");
    (void)snprintf(path, sizeof(path), "%s/spool.db-wal", f->directory);
    assert_int_not_equal(access(path, F_OK), 0);
    open_spool(f);
    assert_int_equal(access(path, F_OK), 0);
    append_many(f, 1);
    assert_int_equal(ledger_of(f).spooled, 11);
    reopen_spool(f);
    assert_int_equal(deliver_all(f), 11);
}

static void a_reader_sees_committed_figures_beside_a_writer_and_after_it(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    deliver(f, next_id(f));
    commit(f);
    struct spool *reader;
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    append_many(f, 5);
    append(f, "open batch");
    struct spool_ledger ledger;
    assert_int_equal(spool_get_ledger(reader, &ledger), 0);
    assert_true(spool_ledger_balances(&ledger));
    assert_int_equal(ledger.accepted, 15);
    struct spool_stats stats;
    pass_time(f, 500);
    assert_int_equal(spool_get_stats(reader, &f->now, &stats), 0);
    assert_int_equal(stats.messages, 14);
    assert_int_equal(stats.oldest_age_ms, 500);
    assert_true(stats.disk_bytes > 0);
    struct found found = {.id = 1};
    assert_int_equal(spool_each_record(reader, 0, false, 0, find_record, &found), 0);
    assert_int_equal(found.count, 1);
    struct spool_lane_stats lane;
    assert_int_equal(spool_lane_count(reader), 1);
    assert_int_equal(spool_get_lane_stats(reader, 0, &f->now, &lane), 0);
    assert_string_equal(lane.name, "default");
    assert_int_equal(lane.messages, 14);
    commit(f);
    close_spool(f);
    assert_int_equal(spool_get_ledger(reader, &ledger), 0);
    assert_int_equal(ledger.accepted, 16);
    spool_close(reader);
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_get_ledger(reader, &ledger), 0);
    assert_int_equal(ledger.spooled, 15);
    spool_close(reader);
}

static void a_reader_of_nothing_says_absent(void **state)
{
    struct fixture *f = *state;
    struct spool *reader = NULL;
    assert_int_equal(spool_open_reader(f->directory, &reader), SPOOL_E_ABSENT);
    assert_int_equal(spool_open_reader("/nonexistent/spool", &reader), SPOOL_E_ABSENT);
    assert_null(reader);
    assert_true(strlen(spool_open_error()) > 0);
}

/* ---- files that are not ours ---- */

static void write_file(const struct fixture *f, const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", f->directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void check_refused(struct fixture *f, int expected)
{
    f->options.now = f->now;
    struct spool *spool = NULL;
    assert_int_equal(spool_open(&f->options, &spool), expected);
    assert_null(spool);
    assert_true(strlen(spool_open_error()) > 0);
}

static void a_garbage_file_is_damaged_and_left_alone(void **state)
{
    struct fixture *f = *state;
    write_file(f, "spool.db", "this is no database");
    check_refused(f, SPOOL_E_DAMAGED);
    char path[128];
    char text[64] = {0};
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    assert_int_equal(fclose(file), 0);
    assert_string_equal(text, "this is no database");
}

static void an_empty_file_and_a_lost_database_are_damage(void **state)
{
    struct fixture *f = *state;
    write_file(f, "spool.db", "");
    check_refused(f, SPOOL_E_DAMAGED);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    assert_int_equal(unlink(path), 0);
    write_file(f, "spool.db-wal", "frames");
    check_refused(f, SPOOL_E_DAMAGED);
}

static void a_foreign_database_is_not_damage(void **state)
{
    struct fixture *f = *state;
    tamper(f, "CREATE TABLE t (a)");
    check_refused(f, SPOOL_E_FOREIGN);
}

static void a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    append_many(f, 1);
    close_spool(f);
    tamper(f, "PRAGMA user_version = 99");
    check_refused(f, SPOOL_E_NEWER);
    assert_string_equal(spool_open_error(),
                        "spool.db has schema version 99, this program knows 12");
    tamper(f, "PRAGMA user_version = 12");
    open_spool(f);
    assert_int_equal(ledger_of(f).spooled, 1);
}

static void check_words_of_what_cannot_be_read(struct fixture *f, const char *name)
{
    char path[128], words[64];
    (void)snprintf(path, sizeof(path), "%s/%s", f->directory, name);
    (void)snprintf(words, sizeof(words), "%s: is no regular file", name);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(spool_open(&f->options, &f->spool), -REGULAR_OTHER);
    assert_string_equal(spool_open_error(), words);
    assert_int_equal(spool_open_reader(f->directory, &f->spool), -REGULAR_OTHER);
    assert_string_equal(spool_open_error(), words);
}

static void what_cannot_be_read_is_named(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    check_words_of_what_cannot_be_read(f, "spool.mark");
    check_words_of_what_cannot_be_read(f, "spool.db");
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), -REGULAR_OTHER);
    assert_string_equal(spool_open_error(), "spool.db: is no regular file");
}

/* A database of the first schema is migrated; what it holds has no sum and is believed. */
static void a_spool_of_the_first_schema_is_migrated_and_drained(void **state)
{
    struct fixture *f = *state;
    use_no_segments(f);
    open_spool(f);
    append_many(f, 2);
    close_spool(f);
    use_segments(f);
    tamper(f, TO_SECOND_SCHEMA "ALTER TABLE message DROP COLUMN sum; PRAGMA user_version = 1");
    open_spool(f);
    append_many(f, 1);
    assert_int_equal(deliver_all(f), 3);
}

static void a_message_that_changed_on_disk_is_damaged_and_not_handed_out(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    append_many(f, 3);
    close_spool(f);
    tamper(f, "UPDATE segment0 SET payload = CAST('paylobd' AS BLOB) WHERE key = 2");
    open_spool(f);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 3);
    assert_int_equal(next_id(f), 0);
    deliver(f, 1);
    deliver(f, 3);
    commit(f);
    struct found found = records_of(f, 2);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.record.outcome, SPOOL_DAMAGED);
    assert_int_equal(found.record.reason, SPOOL_REASON_CORRUPT);
    assert_int_equal(ledger_of(f).ended[SPOOL_DAMAGED], 1);
    assert_int_equal(ledger_of(f).spooled, 0);
}

static void a_missing_table_or_a_wrong_ledger_is_damage(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    append_many(f, 3);
    close_spool(f);
    tamper(f, "UPDATE lane SET accepted = accepted + 1");
    check_refused(f, SPOOL_E_DAMAGED);
    tamper(f, "UPDATE lane SET accepted = accepted - 1; ALTER TABLE outcome RENAME TO gone");
    check_refused(f, SPOOL_E_DAMAGED);
    tamper(f, "ALTER TABLE gone RENAME TO outcome");
    open_spool(f);
}

static void only_the_last_part_of_the_directory_is_made(void **state)
{
    struct fixture *f = *state;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/a/b", f->directory);
    f->options.directory = path;
    check_refused(f, -ENOENT);
    path[strlen(path) - 2] = '\0';
    open_spool(f);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    close_spool(f);
}

static void an_unconfigured_lane_keeps_its_messages(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[3] = {f->lane, f->lane, f->lane};
    lanes[1].name = "alarms";
    lanes[1].priority = 10;
    lanes[2].name = "bulk";
    lanes[2].priority = -1;
    f->options.lanes = lanes;
    f->options.lane_count = 3;
    open_spool(f);
    struct spool_message message = make_message("x");
    uint64_t id;
    for (unsigned i = 0; i < 6; i++) {
        message.lane = 2 - i % 3; /* ids 1 4 bulk, 2 5 alarms, 3 6 default */
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    }
    commit(f);
    static const uint64_t by_priority[] = {2, 5, 3, 6, 1, 4};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(next_id(f), by_priority[i]);
    deliver(f, 5);
    commit(f);
    assert_int_equal(records_of(f, 5).count, 1);
    close_spool(f);

    struct spool_lane reordered[2] = {f->lane, lanes[2]};
    reordered[1].priority = 5;
    f->options.lanes = reordered;
    f->options.lane_count = 2;
    open_spool(f);
    assert_int_equal(spool_lane_count(f->spool), 3);
    static const uint64_t now_by_priority[] = {1, 4, 3, 6, 2, 0};
    static const unsigned lane_of[] = {1, 1, 0, 0, 0};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
        assert_int_equal(message.id, now_by_priority[i]);
        assert_int_equal(message.lane, lane_of[i]);
        deliver(f, message.id);
    }
    commit(f);
    assert_int_equal(ledger_of(f).spooled, 0);
    assert_int_equal(spool_last_seq(f->spool), 6);
    close_spool(f);
}

/* ---- the clock ---- */

static int64_t oldest_age(struct fixture *f)
{
    return stats_of(f).oldest_age_ms;
}

static void reboot(struct fixture *f, int64_t off_ms, bool credible)
{
    close_spool(f);
    f->now.wall_ms += off_ms;
    f->now.boot_ms = 2000;
    f->now.wall_credible = credible;
    memcpy(f->options.boot_id, f->options.boot_id[0] == 'a' ? BOOT_B : BOOT_A, sizeof(BOOT_A));
    open_spool(f);
}

static void time_passes_over_a_restart_in_the_same_boot(void **state)
{
    struct fixture *f = *state;
    append_many(f, 1);
    close_spool(f);
    pass_time(f, HOUR);
    f->now.wall_ms = 0;
    f->now.wall_credible = false;
    open_spool(f);
    assert_int_equal(oldest_age(f), HOUR);
}

static void a_step_of_the_wall_clock_ages_nothing(void **state)
{
    struct fixture *f = *state;
    append_many(f, 1);
    f->now.wall_ms += 1000 * HOUR;
    assert_int_equal(oldest_age(f), 0);
    append_many(f, 1);
    reopen_spool(f);
    f->now.wall_ms -= 3000 * HOUR;
    append_many(f, 1);
    pass_time(f, 10);
    assert_int_equal(oldest_age(f), 10);
}

static void time_switched_off_counts_with_credible_clocks(void **state)
{
    struct fixture *f = *state;
    append_many(f, 1);
    reboot(f, 5 * HOUR, true);
    assert_int_equal(oldest_age(f), 5 * HOUR);
    append_many(f, 1); /* stores the reading */
    reopen_spool(f);
    assert_int_equal(oldest_age(f), 5 * HOUR);
}

static void a_reboot_without_a_clock_counts_the_time_since_boot(void **state)
{
    struct fixture *f = *state;
    append_many(f, 1);
    f->now.wall_ms = 0;
    reboot(f, 0, false);
    assert_int_equal(oldest_age(f), 2000);
    pass_time(f, 3000);
    assert_int_equal(oldest_age(f), 5000);
}

static void time_switched_off_is_added_once_the_clock_is_credible(void **state)
{
    struct fixture *f = *state;
    append_many(f, 1);
    int64_t wall_ms = f->now.wall_ms;
    f->now.wall_ms = 0;
    reboot(f, 0, false);
    append_many(f, 1); /* id 2, of this boot */
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 2);
    assert_int_equal(spool_return(f->spool, 2, 0), 0);
    reopen_spool(f); /* what is missing is remembered over this */
    pass_time(f, 1000);
    f->now.wall_ms = wall_ms + 7 * HOUR;
    f->now.wall_credible = true;
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 2);
    deliver(f, 1);
    assert_true(spool_has_work(f->spool));
    commit(f);
    assert_int_equal(records_of(f, 1).record.age_ms, 3000); /* written before the jump */
    assert_int_equal(oldest_age(f), 1000);
    pass_time(f, 1);
    deliver(f, 2);
    commit(f);
    assert_int_equal(records_of(f, 2).record.age_ms, 1001);
}

static void expired_messages_are_read_for_so_many_bytes_in_a_call(void **state)
{
    static char payload[300000];
    struct fixture *f = *state;
    struct spool_message message = make_message("");
    uint64_t id, charge;
    unsigned calls = 1;
    message.payload = view_of(payload, sizeof(payload));
    message.expiry_ms = 1000;
    charge = spool_charge(&message);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
        commit(f);
    }
    append_many(f, 1);
    pass_time(f, 2000);
    assert_int_equal(next_id(f), 0);
    assert_in_range(spool_settled_bytes(f->spool), 4 << 20, (4 << 20) + charge);
    for (; next_id(f) == 0; calls++)
        commit(f);
    assert_int_equal(calls, 2);
}

/* Each message that is moved may be written anew as a whole. */
static void the_jump_moves_so_many_bytes_in_a_commit_and_no_more(void **state)
{
    static char payload[300000];
    struct fixture *f = *state;
    unsigned commits = 0;
    int64_t wall_ms = f->now.wall_ms;
    append_many(f, 1);
    f->now.wall_ms = 0;
    reboot(f, 0, false);
    memset(payload, 'x', sizeof(payload) - 1);
    for (int i = 0; i < 16; i++) {
        append(f, payload);
        commit(f);
    }
    f->now.wall_ms = wall_ms + 7 * HOUR;
    f->now.wall_credible = true;
    assert_int_equal(next_id(f), 1);
    for (; spool_has_work(f->spool); commits++)
        commit(f);
    print_message("# %u commits\n", commits);
    assert_in_range(commits, 4, 10);
    assert_int_equal(oldest_age(f), 7 * HOUR);
    deliver(f, 1);
    commit(f);
    assert_int_equal(oldest_age(f), 0);
}

static void a_batch_counts_all_that_is_written(void **state)
{
    static char text[60000];
    struct fixture *f = *state;
    struct spool_message message = make_message("x");
    uint64_t id;
    message.properties = message.ref = view_of(text, sizeof(text));
    message.topic = message.client = message.ref;
    memset(text, 't', sizeof(text));
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    assert_int_equal(spool_batch_bytes(f->spool), 2 * spool_charge(&message));
    assert_in_range(spool_batch_bytes(f->spool), 8 * sizeof(text), 9 * sizeof(text));
    commit(f);
    assert_int_equal(spool_batch_bytes(f->spool), 0);
    assert_int_equal(spool_settled_bytes(f->spool), 0);
    deliver(f, next_id(f));
    assert_int_equal(spool_settled_bytes(f->spool), spool_charge(&message));
    commit(f);
    assert_int_equal(spool_settled_bytes(f->spool), 0);
}

static void the_jump_ages_what_was_there_before_the_boot(void **state)
{
    struct fixture *f = *state;
    append_many(f, 1);
    int64_t wall_ms = f->now.wall_ms;
    f->now.wall_ms = 0;
    reboot(f, 0, false);
    append_many(f, 1);
    f->now.wall_ms = wall_ms + 7 * HOUR;
    f->now.wall_credible = true;
    assert_int_equal(next_id(f), 1);
    commit(f);
    assert_int_equal(oldest_age(f), 7 * HOUR);
    reopen_spool(f);
    assert_int_equal(oldest_age(f), 7 * HOUR);
    assert_int_equal(next_id(f), 1);
    deliver(f, 1);
    commit(f);
    assert_int_equal(oldest_age(f), 0);
}

/* ---- full disks and errors of I/O ---- */

static bool mount_disk(const struct fixture *f, const char *size)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    return mount("tmpfs", f->directory, "tmpfs", 0, size) == 0;
}

enum { CHILD_SKIPPED = 77 };

static void fill_the_disk(struct fixture *f)
{
    if (!mount_disk(f, "size=1m"))
        _exit(CHILD_SKIPPED);
    open_spool(f);
    append_many(f, 50);
    for (uint64_t id = 1; id <= 20; id++)
        assert_int_equal(next_id(f), id);
    deliver(f, 1);
    static char large[8192];
    memset(large, 'x', sizeof(large) - 1);
    uint64_t accepted = 50;
    uint64_t last_id = 0;
    int r = 0;
    for (int batch = 0; batch < 100 && r == 0; batch++) {
        struct spool_message message = make_message(large);
        uint64_t id;
        unsigned appended = 0;
        while (appended < 30 && spool_append(f->spool, &message, &f->now, &id) == 0) {
            assert_true(id > last_id);
            last_id = id;
            appended++;
        }
        r = spool_commit(f->spool, &f->now);
        accepted += r == 0 ? appended : 0;
    }
    assert_int_equal(r, SPOOL_E_DISK);
    assert_int_equal(spool_batch_messages(f->spool), 0);
    assert_int_equal(ledger_of(f).accepted, accepted);
    struct spool_message small = make_message("x");
    uint64_t id;
    if (spool_append(f->spool, &small, &f->now, &id) == 0)
        assert_true(id > last_id);
    reopen_spool(f);
    assert_int_equal(ledger_of(f).accepted, accepted);
    struct spool_message message;
    for (uint64_t i = ledger_of(f).spooled; i > 0; i--)
        assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    close_spool(f);
    _exit(0);
}

static int run_in_child(struct fixture *f, void (*body)(struct fixture *f))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        body(f);
    int status = wait_for(child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_SKIPPED)
        skip();
    return status;
}

static void a_full_disk_is_a_condition_and_loses_nothing_committed(void **state)
{
    assert_int_equal(run_in_child(*state, fill_the_disk), 0);
}

/* Another process takes the room after the batch has measured it. */
static void fill_up(const struct fixture *f)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/filler", f->directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    static const char zeros[65536];
    while (write(fd, zeros, sizeof(zeros)) == sizeof(zeros))
        continue;
    assert_int_equal(close(fd), 0);
}

static void make_room(const struct fixture *f)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/filler", f->directory);
    assert_int_equal(unlink(path), 0);
}

static void overflow_one_batch(struct fixture *f)
{
    if (!mount_disk(f, "size=1m"))
        _exit(CHILD_SKIPPED);
    open_spool(f);
    append_many(f, 5);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(spool_return(f->spool, 1, 0), 0);
    struct spool_lane lane = f->lane;
    lane.limits.max_messages = 4;
    assert_int_equal(spool_set_lanes(f->spool, &lane, 1), 0);
    unsigned evicted;
    bool more;
    assert_int_equal(spool_retain(f->spool, &f->now, 10, &evicted, &more), 0);
    assert_int_equal(evicted, 1);
    static char large[8192];
    memset(large, 'x', sizeof(large) - 1);
    struct spool_message message = make_message(large);
    uint64_t id;
    unsigned appended = 0;
    while (appended < 1000 && spool_append(f->spool, &message, &f->now, &id) == 0)
        appended++;
    assert_in_range(appended, 1, 999); /* all the room there was at its begin */
    assert_int_equal(spool_batch_messages(f->spool), appended);
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), SPOOL_E_DISK);
    assert_int_equal(next_id(f), 2); /* committed before; 1 is evicted by this batch */
    fill_up(f);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    assert_int_equal(spool_batch_messages(f->spool), 0);
    /* Nothing of the batch has happened, the eviction neither. */
    assert_int_equal(ledger_of(f).accepted, 5);
    assert_true(spool_has_work(f->spool)); /* is there room again? */
    assert_int_equal(next_id(f), 0);       /* its end could not be recorded */
    make_room(f);
    commit(f);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 3);
    deliver(f, 1);
    commit(f);
    assert_int_equal(ledger_of(f).accepted, 5);
    assert_int_equal(ledger_of(f).ended[SPOOL_EVICTED], 0);
    assert_int_equal(ledger_of(f).ended[SPOOL_DELIVERED], 1);
    assert_int_equal(records_of(f, 1).record.outcome, SPOOL_DELIVERED);
    close_spool(f);
    open_spool(f);
    assert_int_equal(ledger_of(f).accepted, 5);
    close_spool(f);
    _exit(0);
}

static void an_open_batch_hands_out_what_was_committed_before_it(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    append_many(f, 2);
    struct spool_message message = make_message("newer");
    uint64_t id;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    assert_int_equal(next_id(f), 1);
    assert_int_equal(next_id(f), 2);
    assert_int_equal(next_id(f), 0);
    commit(f);
    assert_int_equal(next_id(f), 3);
    close_spool(f);
}

static void a_batch_larger_than_the_disk_is_refused_as_a_whole(void **state)
{
    assert_int_equal(run_in_child(*state, overflow_one_batch), 0);
}

static void lose_a_batch_in_the_middle(struct fixture *f)
{
    if (!mount_disk(f, "size=8m"))
        _exit(CHILD_SKIPPED);
    open_spool(f);
    append_many(f, 5);
    append(f, "first of the batch");
    fill_up(f);
    static char large[8192];
    memset(large, 'x', sizeof(large) - 1);
    struct spool_message message = make_message(large);
    uint64_t id = 0;
    unsigned appended = 1;
    while (appended < 900 && spool_append(f->spool, &message, &f->now, &id) == 0)
        appended++;
    assert_in_range(appended, 100,
                    800); /* more than the page cache holds, less than the room */
    assert_int_equal(spool_batch_messages(f->spool), appended);
    struct spool_message small = make_message("x");
    uint64_t untouched = 0;
    assert_int_equal(spool_append(f->spool, &small, &f->now, &untouched), SPOOL_E_DISK);
    assert_int_equal(untouched, 0);
    unsigned evicted;
    bool more;
    assert_int_equal(spool_retain(f->spool, &f->now, 10, &evicted, &more), SPOOL_E_DISK);
    assert_int_equal(next_id(f), 0);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    assert_int_equal(spool_batch_messages(f->spool), 0);
    make_room(f);
    commit(f);
    assert_true(append(f, "x") > id); /* no id of the lost batch comes again */
    commit(f);
    assert_int_equal(ledger_of(f).accepted, 6);
    assert_int_equal(ledger_of(f).spooled, 6);
    close_spool(f);
    _exit(0);
}

static void a_batch_lost_in_the_middle_is_told_by_its_commit(void **state)
{
    assert_int_equal(run_in_child(*state, lose_a_batch_in_the_middle), 0);
}

static void drain_with_a_reserve(struct fixture *f)
{
    if (!mount_disk(f, "size=1m"))
        _exit(CHILD_SKIPPED);
    f->options.disk_reserve = 404 * 1024;
    f->lane.limits.when_full = SPOOL_REFUSE;
    open_spool(f);
    int r = 0;
    while (r == 0) {
        struct spool_message message = make_message("a payload of some length");
        uint64_t id;
        for (int i = 0; i < 10 && r == 0; i++)
            r = spool_append(f->spool, &message, &f->now, &id);
        commit(f);
    }
    assert_int_equal(r, SPOOL_E_DISK);
    uint64_t accepted = ledger_of(f).accepted;
    for (unsigned i = 0; i < 10000 && ledger_of(f).spooled > 0; i++) {
        for (int j = 0; j < 10; j++) {
            uint64_t id = next_id(f);
            if (id != 0)
                deliver(f, id);
        }
        r = spool_commit(f->spool, &f->now); /* may need a second try with the WAL reused */
        assert_true(r == 0 || r == SPOOL_E_DISK);
    }
    assert_int_equal(ledger_of(f).ended[SPOOL_DELIVERED], accepted);
    close_spool(f);
    _exit(0);
}

static void with_a_reserve_a_full_spool_drains_completely(void **state)
{
    assert_int_equal(run_in_child(*state, drain_with_a_reserve), 0);
}

/* From now on a write to it fails, as one that is not open for writing. */
static void spoil_descriptor_of(const char *name)
{
    int spoiled = 0;
    int nowhere = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(nowhere >= 0);
    for (int fd = 3; fd < 64; fd++) {
        char link[64];
        char path[256] = "";
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        bool is_open =
            (fcntl(fd, F_GETFL) & O_PATH) == 0; /* else it only identifies the file */
        if (is_open && readlink(link, path, sizeof(path) - 1) > 0 && strstr(path, name)) {
            assert_int_equal(dup3(nowhere, fd, O_CLOEXEC), fd);
            spoiled++;
        }
    }
    assert_int_equal(spoiled, 1);
    assert_int_equal(close(nowhere), 0);
}

static void fail_writes(struct fixture *f)
{
    open_spool(f);
    append_many(f, 5);
    spoil_descriptor_of("spool.db-wal");
    append(f, "x");
    int r = spool_commit(f->spool, &f->now);
    assert_true(r < 0);
    struct spool_message message = make_message("x");
    uint64_t id;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), r);
    assert_int_equal(spool_commit(f->spool, &f->now), r);
    assert_int_equal(spool_next(f->spool, &f->now, &message), r);
    close_spool(f);
    _exit(0);
}

static void an_error_of_io_sticks(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run_in_child(f, fail_writes), 0);
    open_spool(f);
    assert_int_equal(ledger_of(f).accepted, 5);
}

static void below_the_reserve_appends_are_refused_and_deliveries_continue(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    append_many(f, 10);
    close_spool(f);
    f->options.disk_reserve = UINT64_MAX / 2;
    open_spool(f);
    struct spool_message message = make_message("x");
    uint64_t id;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), SPOOL_E_DISK);
    assert_int_equal(spool_batch_messages(f->spool), 0);
    assert_int_equal(deliver_all(f), 10);
    close_spool(f);
    f->options.disk_reserve = 0;
    open_spool(f);
    append_many(f, 2000);
    assert_int_equal(deliver_all(f), 2000);
    spool_set_exported(f->spool, spool_last_seq(f->spool)); /* empties segments */
    commit(f);
    close_spool(f);
    f->options.disk_reserve = UINT64_MAX / 2; /* free pages inside the database may be used */
    open_spool(f);
    append_many(f, 10);
}

#define ON_SPOOL(name)  cmocka_unit_test_setup_teardown(name, setup, teardown)
#define ON_FOLDER(name) cmocka_unit_test_setup_teardown(name, setup_closed, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_words_are_inverse),
        ON_SPOOL(every_field_comes_back_as_it_went_in),
        ON_SPOOL(a_row_has_nothing_of_the_one_before_it),
        ON_SPOOL(empty_fields_are_kept_and_a_walk_can_be_ended),
        ON_SPOOL(messages_are_handed_out_once_and_in_order),
        ON_SPOOL(uncommitted_messages_are_not_handed_out),
        ON_SPOOL(settle_twice_keeps_first_outcome),
        ON_SPOOL(ids_are_never_reused_after_the_spool_was_empty),
        ON_SPOOL(returned_messages_keep_their_place),
        ON_SPOOL(a_returned_message_waits_until_it_is_due),
        ON_SPOOL(runs_with_gaps_and_mixed_verdicts_all_end_once),
        ON_SPOOL(in_flight_is_pending_again_after_reopen),
        ON_SPOOL(commit_without_work_touches_no_file),
        ON_SPOOL(an_expired_message_is_not_handed_out),
        ON_SPOOL(what_was_not_sent_is_no_attempt),
        ON_SPOOL(a_message_that_vanished_from_the_database_is_fatal),
        ON_SPOOL(a_locked_database_is_busy_and_keeps_settlements),
        ON_SPOOL(a_second_process_finds_the_spool_locked),
        ON_SPOOL(what_was_committed_survives_sigkill_mid_batch),
        ON_SPOOL(a_database_that_is_not_in_wal_mode_is_put_into_it),
        ON_SPOOL(a_reader_sees_committed_figures_beside_a_writer_and_after_it),
        ON_FOLDER(a_reader_of_nothing_says_absent),
        ON_FOLDER(a_garbage_file_is_damaged_and_left_alone),
        ON_FOLDER(an_empty_file_and_a_lost_database_are_damage),
        ON_FOLDER(a_foreign_database_is_not_damage),
        ON_FOLDER(a_newer_schema_is_refused),
        ON_FOLDER(what_cannot_be_read_is_named),
        ON_FOLDER(a_spool_of_the_first_schema_is_migrated_and_drained),
        ON_FOLDER(a_message_that_changed_on_disk_is_damaged_and_not_handed_out),
        ON_FOLDER(a_missing_table_or_a_wrong_ledger_is_damage),
        ON_FOLDER(only_the_last_part_of_the_directory_is_made),
        ON_FOLDER(an_unconfigured_lane_keeps_its_messages),
        ON_SPOOL(time_passes_over_a_restart_in_the_same_boot),
        ON_SPOOL(a_step_of_the_wall_clock_ages_nothing),
        ON_SPOOL(time_switched_off_counts_with_credible_clocks),
        ON_SPOOL(a_reboot_without_a_clock_counts_the_time_since_boot),
        ON_SPOOL(time_switched_off_is_added_once_the_clock_is_credible),
        ON_SPOOL(the_jump_ages_what_was_there_before_the_boot),
        ON_SPOOL(the_jump_moves_so_many_bytes_in_a_commit_and_no_more),
        ON_SPOOL(a_batch_counts_all_that_is_written),
        ON_SPOOL(expired_messages_are_read_for_so_many_bytes_in_a_call),
        ON_FOLDER(a_full_disk_is_a_condition_and_loses_nothing_committed),
        ON_FOLDER(an_open_batch_hands_out_what_was_committed_before_it),
        ON_FOLDER(a_batch_larger_than_the_disk_is_refused_as_a_whole),
        ON_FOLDER(a_batch_lost_in_the_middle_is_told_by_its_commit),
        ON_FOLDER(with_a_reserve_a_full_spool_drains_completely),
        ON_FOLDER(an_error_of_io_sticks),
        ON_FOLDER(below_the_reserve_appends_are_refused_and_deliveries_continue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
