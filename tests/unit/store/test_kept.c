/* SPDX-License-Identifier: MIT */
/*
 * test_kept.c - rejected messages are kept with their payload, under their limits
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include "base/view.h"
#include "store/spool.h"
#include "tests/support/fault_io.h"
#include "tests/support/spool_fixture.h"

static const struct spool_kept_limits wide = {1000, UINT64_C(1) << 30, 1000 * (uint64_t)HOUR};

static int setup_keeping(void **state)
{
    if (setup_closed(state) != 0)
        return -1;
    struct fixture *f = *state;
    f->options.kept = wide;
    open_spool(f);
    return 0;
}

static void reject(struct fixture *f, uint64_t id, enum spool_reason reason)
{
    const struct spool_verdict verdict = {SPOOL_REJECTED, reason, 0x87};

    assert_int_equal(spool_settle(f->spool, id, &verdict, f->now.boot_ms), 0);
}

/* @count messages come and are rejected, one in a commit. */
static void reject_many(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        append(f, "payload");
        commit(f);
        reject(f, next_id(f), SPOOL_REASON_REASON_CODE);
        commit(f);
    }
}

/* Counters, table and check agree. */
static void check_kept(struct fixture *f, uint64_t count)
{
    struct spool *reader;

    assert_int_equal(stats_of(f).kept_messages, count);
    assert_int_equal(query_number(f, "SELECT count(*) FROM rejected"), count);
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_check(reader, fail_on_finding, NULL), 0);
    struct spool_stats stats;
    assert_int_equal(spool_get_stats(reader, &f->now, &stats), 0);
    assert_int_equal(stats.kept_messages, count);
    assert_int_equal(stats.kept_bytes, stats_of(f).kept_bytes);
    spool_close(reader);
}

static void a_rejected_message_is_kept_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct spool_message message = make_message("what it said");
    uint64_t id;

    message.retain = true;
    message.expiry_ms = 10000;
    message.ref = view_of_text("order-1");
    message.properties = view_of("\x01\x00", 2);
    append_many(f, 3);
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    commit(f);
    for (int i = 0; i < 3; i++)
        deliver(f, next_id(f));
    assert_int_equal(next_id(f), id);
    pass_time(f, 4000);
    reject(f, id, SPOOL_REASON_POISON);
    commit(f);
    check_kept(f, 1);
    assert_int_equal(
        query_number(f,
                     "SELECT seq = 4 AND key = 4 AND client = 'client' AND topic = 'plant/1'"
                     " AND ref = 'order-1' AND properties = x'0100'"
                     " AND payload = CAST('what it said' AS BLOB) AND flags = 5 AND uid = 1000"
                     " AND reason = 8 AND code = 135 AND attempts = 1 AND age_ms = 4000"
                     " AND expiry_ms = 6000 FROM rejected"),
        1);
    assert_int_equal(ledger_of(f).ended[SPOOL_REJECTED], 1);
    assert_int_equal(stats_of(f).messages, 0);
    reopen_spool(f);
    check_kept(f, 1);
}

static int copy_record(void *userdata, const struct spool_record *record)
{
    char *text = userdata;

    (void)snprintf(text, 64, "%llu %llu %d 0x%x %s", (unsigned long long)record->seq,
                   (unsigned long long)record->id, (int)record->reason, (unsigned)record->code,
                   record->topic);
    return 0;
}

static void the_newest_is_read_with_its_cause(void **state)
{
    struct fixture *f = *state;
    struct spool *reader;
    char text[64] = "none";

    assert_int_equal(spool_read_newest_kept(f->spool, copy_record, text), 0);
    assert_string_equal(text, "none");
    reject_many(f, 1);
    append(f, "payload");
    commit(f);
    reject(f, next_id(f), SPOOL_REASON_POISON);
    commit(f);
    assert_int_equal(spool_read_newest_kept(f->spool, copy_record, text), 0);
    assert_string_equal(text, "2 2 8 0x87 plant/1");
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    (void)snprintf(text, sizeof(text), "none");
    assert_int_equal(spool_read_newest_kept(reader, copy_record, text), 0);
    assert_string_equal(text, "2 2 8 0x87 plant/1");
    spool_close(reader);
}

static void what_ends_otherwise_is_not_kept(void **state)
{
    struct fixture *f = *state;
    unsigned evicted;
    bool more;
    struct spool_limits limits = f->lane.limits;

    append_many(f, 5);
    deliver(f, next_id(f));
    commit(f);
    limits.max_messages = 1;
    set_limits(f, limits);
    assert_int_equal(spool_retain(f->spool, &f->now, 100, &evicted, &more), 0);
    commit(f);
    check_kept(f, 0);
}

static void the_oldest_go_by_number(void **state)
{
    struct fixture *f = *state;

    spool_set_kept(f->spool, &(struct spool_kept_limits){3, 1 << 20, UINT64_MAX});
    reject_many(f, 5);
    check_kept(f, 3);
    assert_int_equal(query_number(f, "SELECT min(seq) FROM rejected"), 3);
    assert_int_equal(records_of(f, 1).count, 1); /* its record stays */
}

static void the_oldest_go_by_bytes(void **state)
{
    struct fixture *f = *state;

    reject_many(f, 4);
    uint64_t bytes = stats_of(f).kept_bytes;
    spool_set_kept(f->spool, &(struct spool_kept_limits){1000, bytes / 2, UINT64_MAX});
    assert_true(spool_has_work(f->spool));
    commit(f);
    check_kept(f, 2);
    spool_set_kept(f->spool, &(struct spool_kept_limits){1000, bytes / 8, UINT64_MAX});
    reject_many(f, 1); /* which alone is above the limit */
    check_kept(f, 0);
    assert_false(spool_has_work(f->spool));
}

static void the_oldest_go_by_age_without_traffic(void **state)
{
    struct fixture *f = *state;

    spool_set_kept(f->spool, &(struct spool_kept_limits){1000, 1 << 20, HOUR});
    reject_many(f, 1);
    pass_time(f, HOUR / 2);
    reject_many(f, 1);
    pass_time(f, HOUR / 2 - 1);
    commit(f);
    check_kept(f, 2);
    pass_time(f, 1);
    commit(f);
    check_kept(f, 1);
    pass_time(f, HOUR);
    f->options.kept.max_age_ms = HOUR;
    reopen_spool(f);
    commit(f);
    check_kept(f, 0);
}

/* Whatever one commit may remove, the limits are reached without further traffic. */
static void limits_that_are_lowered_are_reached_in_bounded_steps(void **state)
{
    struct fixture *f = *state;
    unsigned commits = 0;

    spool_set_kept(f->spool, &(struct spool_kept_limits){10000, 1 << 30, UINT64_MAX});
    append_many(f, 3500);
    for (uint64_t id; (id = next_id(f)) != 0;)
        reject(f, id, SPOOL_REASON_ATTEMPTS);
    commit(f);
    check_kept(f, 3500);
    spool_set_kept(f->spool, &(struct spool_kept_limits){10, 1 << 30, UINT64_MAX});
    for (; spool_has_work(f->spool); commits++)
        commit(f);
    assert_in_range(commits, 2, 6);
    check_kept(f, 10);
}

static void any_limit_of_0_keeps_none(void **state)
{
    struct fixture *f = *state;
    static const struct spool_kept_limits none[] = {
        {0, 1 << 20, HOUR}, {1000, 0, HOUR}, {1000, 1 << 20, 0}};

    for (size_t i = 0; i < 3; i++) {
        spool_set_kept(f->spool, &wide);
        reject_many(f, 2);
        check_kept(f, 2);
        spool_set_kept(f->spool, &none[i]);
        reject_many(f, 1);
        check_kept(f, 0);
    }
}

static void a_batch_that_is_lost_keeps_none_of_it(void **state)
{
    struct fixture *f = *state;

    fault_io_arm(f->directory, FAULT_WRITE | FAULT_TRUNCATE, 0, 0, ENOSPC);
    reopen_spool(f); /* whose files are watched from here on */
    reject_many(f, 1);
    append_many(f, 2);
    reject(f, next_id(f), SPOOL_REASON_REASON_CODE);
    fault_io_arm(f->directory, FAULT_WRITE | FAULT_TRUNCATE, 1, 0, ENOSPC);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    assert_int_equal(stats_of(f).kept_messages, 1);
    fault_io_disarm();
    /* The commit that follows holds what ended and nothing new: there may be no room. */
    commit(f);
    check_kept(f, 1);
    assert_int_equal(ledger_of(f).ended[SPOOL_REJECTED], 2);
    reject(f, next_id(f), SPOOL_REASON_REASON_CODE);
    commit(f);
    check_kept(f, 2);
}

static void a_lane_stays_known_while_any_of_it_is_kept(void **state)
{
    struct fixture *f = *state;
    const struct spool_lane lanes[] = {f->lane, {.name = "alarms", .limits = f->lane.limits}};
    struct spool_message message = make_message("x");
    uint64_t id;

    assert_int_equal(spool_set_lanes(f->spool, lanes, 2), 0);
    message.lane = 1;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    commit(f);
    reject(f, next_id(f), SPOOL_REASON_REASON_CODE);
    commit(f);
    append_many(f, 2); /* newer outcomes, so that its row may be pruned */
    deliver_all(f);
    spool_set_exported(f->spool, 3);
    spool_set_keep(f->spool, 0);
    commit(f);
    pass_time(f, 1000);
    commit(f);
    assert_int_equal(records_of(f, id).count, 0);
    reopen_spool(f);
    assert_int_equal(spool_lane_count(f->spool), 2);
    spool_set_kept(f->spool, &(struct spool_kept_limits){0, 0, 0});
    commit(f);
    reopen_spool(f);
    assert_int_equal(spool_lane_count(f->spool), 1);
}

/* Time switched off becomes known: what ended since the boot must not age by it. */
static void what_ended_since_the_boot_does_not_age_by_a_jump_of_the_clock(void **state)
{
    struct fixture *f = *state;

    spool_set_kept(f->spool, &(struct spool_kept_limits){1000, 1 << 20, HOUR});
    reject_many(f, 1);
    close_spool(f);
    memcpy(f->options.boot_id, BOOT_B, sizeof(BOOT_B));
    f->options.kept.max_age_ms = HOUR;
    f->now = (struct spool_time){.wall_ms = 1000, .boot_ms = 10000};
    open_spool(f);
    reject_many(f, 1);
    check_kept(f, 2);
    f->now = (struct spool_time){
        .wall_ms = INT64_C(1700000000000) + 2 * HOUR, .boot_ms = 20000, .wall_credible = true};
    for (int i = 0; i < 4; i++)
        commit(f);
    pass_time(f, 1000);
    commit(f);
    check_kept(f, 1);
    assert_int_equal(query_number(f, "SELECT max(seq) FROM rejected"), 2);
}

static void the_third_schema_is_migrated_and_read(void **state)
{
    struct fixture *f = *state;

    use_no_segments(f);
    reopen_spool(f);
    struct spool *reader;

    append_many(f, 2);
    close_spool(f);
    tamper(f, TO_THIRD_SCHEMA "PRAGMA user_version = 3");
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    struct spool_stats stats;
    assert_int_equal(spool_get_stats(reader, &f->now, &stats), 0);
    assert_int_equal(stats.kept_messages, 0);
    assert_int_equal(stats.messages, 2);
    assert_int_equal(spool_check(reader, fail_on_finding, NULL), 0);
    spool_close(reader);
    open_spool(f);
    reject(f, next_id(f), SPOOL_REASON_TOO_LARGE);
    commit(f);
    check_kept(f, 1);
}

static void the_check_finds_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    static const char *const wrong[] = {
        "UPDATE rejected SET payload = CAST('paylobd' AS BLOB) WHERE seq = 1",
        "UPDATE spool SET rejected_messages = 3",
        "UPDATE spool SET rejected_bytes = rejected_bytes + 1",
        "UPDATE rejected SET seq = 99 WHERE seq = 2",
        ("INSERT INTO message SELECT key, accepted, 0, NULL, charge - 32, uid, flags, client,"
         " topic, properties, ref, payload, sum, behind FROM rejected WHERE seq = 1"),
    };

    reject_many(f, 2);
    close_spool(f);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct spool *reader;
        unsigned found = 0;
        char sql[512];
        (void)snprintf(sql, sizeof(sql),
                       "CREATE TABLE saved_r AS SELECT * FROM rejected;"
                       "CREATE TABLE saved_s AS SELECT * FROM spool");
        tamper(f, sql);
        tamper(f, wrong[i]);
        assert_int_equal(spool_open_reader(f->directory, &reader), 0);
        assert_int_equal(spool_check(reader, count_finding, &found), 0);
        spool_close(reader);
        if (found == 0)
            print_error("not found: %s\n", wrong[i]);
        assert_true(found > 0);
        tamper(f, "DELETE FROM rejected; INSERT INTO rejected SELECT * FROM saved_r;"
                  "DELETE FROM spool; INSERT INTO spool SELECT * FROM saved_s;"
                  "DELETE FROM message; DROP TABLE saved_r; DROP TABLE saved_s");
    }
}

static void a_counter_that_is_too_small_stops_nothing(void **state)
{
    struct fixture *f = *state;

    reject_many(f, 5);
    close_spool(f);
    tamper(f, "UPDATE spool SET rejected_messages = 1, rejected_bytes = 1");
    f->options.kept.max_age_ms = 1;
    pass_time(f, 1000);
    open_spool(f);
    commit(f);
    assert_int_equal(stats_of(f).kept_messages, 0);
    assert_int_equal(query_number(f, "SELECT count(*) FROM rejected"), 0);
}

static void a_salvage_keeps_them(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;

    reject_many(f, 30);
    append_many(f, 5);
    close_spool(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, 5);
    assert_int_equal(salvage.damaged, 0);
    assert_int_equal(salvage.kept_lost, 0);
    open_spool(f);
    check_kept(f, 30);
    assert_int_equal(query_number(f, "SELECT count(*) FROM rejected"
                                     " WHERE payload = CAST('payload' AS BLOB)"),
                     30);
}

/* The first page, which says where the table is, is lost: its rows are found nevertheless. */
static void a_salvage_finds_them_without_the_schema(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;
    static const char zeros[4096];
    char path[128];

    reject_many(f, 30);
    assert_int_equal(spool_checkpoint(f->spool), 0);
    close_spool(f);
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fwrite(zeros, sizeof(zeros), 1, file), 1);
    assert_int_equal(fclose(file), 0);
    (void)snprintf(path, sizeof(path), "%s/spool.db-wal", f->directory);
    (void)unlink(path);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.kept_lost, 0);
    open_spool(f);
    check_kept(f, 30);
}

#define KEEPING(name) cmocka_unit_test_setup_teardown(name, setup_keeping, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEEPING(a_rejected_message_is_kept_as_it_was),
        KEEPING(the_newest_is_read_with_its_cause),
        KEEPING(what_ends_otherwise_is_not_kept),
        KEEPING(the_oldest_go_by_number),
        KEEPING(the_oldest_go_by_bytes),
        KEEPING(the_oldest_go_by_age_without_traffic),
        KEEPING(limits_that_are_lowered_are_reached_in_bounded_steps),
        KEEPING(any_limit_of_0_keeps_none),
        KEEPING(a_batch_that_is_lost_keeps_none_of_it),
        KEEPING(a_lane_stays_known_while_any_of_it_is_kept),
        KEEPING(what_ended_since_the_boot_does_not_age_by_a_jump_of_the_clock),
        KEEPING(the_third_schema_is_migrated_and_read),
        KEEPING(the_check_finds_what_is_wrong),
        KEEPING(a_counter_that_is_too_small_stops_nothing),
        KEEPING(a_salvage_keeps_them),
        KEEPING(a_salvage_finds_them_without_the_schema),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
