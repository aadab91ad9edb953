/* SPDX-License-Identifier: MIT */
/*
 * test_tallies.c - tests of the counts by delay and by reason in the lanes' rows
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <string.h>

#include "base/view.h"
#include "store/spool.h"
#include "store/tallies.h"
#include "tests/support/spool_fixture.h"

/* In memory: many commits. */
static int setup_open(void **state)
{
    if (setup_fast(state) != 0)
        return -1;
    open_spool(*state);
    return 0;
}

static struct spool_lane_stats lane_stats(struct fixture *f, unsigned lane)
{
    struct spool_lane_stats stats;

    assert_int_equal(spool_get_lane_stats(f->spool, lane, &f->now, &stats), 0);
    return stats;
}

static uint64_t count_all(struct spool_delays delays)
{
    uint64_t count = 0;

    for (int i = 0; i < SPOOL_DELAY_BUCKETS; i++)
        count += delays.counts[i];
    return count;
}

/* One message, delivered after so long. */
static void deliver_after(struct fixture *f, int64_t delay_ms)
{
    append(f, "payload");
    commit(f);
    pass_time(f, delay_ms);
    assert_int_equal(deliver_all(f), 1);
}

static void note_finding(void *userdata, enum spool_part part, const char *text)
{
    unsigned *count = userdata;

    (void)part, (void)text;
    (*count)++;
}

static unsigned count_findings(struct fixture *f)
{
    struct spool *reader;
    unsigned count = 0;

    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_check(reader, note_finding, &count), 0);
    spool_close(reader);
    return count;
}

static void each_delivery_is_in_the_bucket_of_its_delay(void **state)
{
    struct fixture *f = *state;
    struct spool_delays delays;

    for (unsigned i = 0; i < SPOOL_DELAY_BUCKETS - 1; i++) {
        deliver_after(f, spool_delay_bound_ms(i));
        deliver_after(f, spool_delay_bound_ms(i) + 1);
    }
    delays = lane_stats(f, 0).delays;
    assert_int_equal(delays.counts[0], 1);
    for (unsigned i = 1; i < SPOOL_DELAY_BUCKETS - 1; i++)
        assert_int_equal(delays.counts[i], 2);
    assert_int_equal(delays.counts[SPOOL_DELAY_BUCKETS - 1], 1);
    assert_int_equal(count_findings(f), 0);
}

static void bounds_rise(void **state)
{
    (void)state;
    for (unsigned i = 1; i < SPOOL_DELAY_BUCKETS - 1; i++)
        assert_true(spool_delay_bound_ms(i) > spool_delay_bound_ms(i - 1));
}

static void counts_survive_a_restart_and_a_reader_has_them(void **state)
{
    struct fixture *f = *state;
    struct spool_lane_stats stats;
    struct spool *reader;

    deliver_after(f, 700);
    deliver_after(f, 50);
    reopen_spool(f);
    deliver_after(f, 51);
    stats = lane_stats(f, 0);
    assert_int_equal(count_all(stats.delays), 3);
    assert_int_equal(stats.delays.sum_ms, 801);
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_get_lane_stats(reader, 0, &f->now, &stats), 0);
    assert_int_equal(stats.delays.counts[6], 1); /* up to a second */
    assert_int_equal(stats.delays.sum_ms, 801);
    spool_close(reader);
}

static void what_was_not_committed_is_not_counted(void **state)
{
    struct fixture *f = *state;

    append_many(f, 2);
    deliver(f, next_id(f));
    assert_int_equal(count_all(lane_stats(f, 0).delays), 0);
    reopen_spool(f);
    assert_int_equal(count_all(lane_stats(f, 0).delays), 0);
    assert_int_equal(deliver_all(f), 2);
    assert_int_equal(count_all(lane_stats(f, 0).delays), 2);
}

static void failures_are_counted_by_reason(void **state)
{
    const struct spool_verdict refused = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 135};
    struct fixture *f = *state;
    struct spool_limits limits = f->lane.limits;
    struct spool_lane_stats stats;
    unsigned evicted;
    bool has_more;

    append_many(f, 10);
    limits.max_messages = 4;
    set_limits(f, limits);
    assert_int_equal(spool_retain(f->spool, &f->now, 1000, &evicted, &has_more), 0);
    commit(f);
    assert_int_equal(spool_settle(f->spool, next_id(f), &refused, f->now.boot_ms), 0);
    commit(f);
    reopen_spool(f);
    stats = lane_stats(f, 0);
    assert_int_equal(stats.reasons[SPOOL_REASON_MAX_MESSAGES], 6);
    assert_int_equal(stats.reasons[SPOOL_REASON_REASON_CODE], 1);
    assert_int_equal(stats.ledger.ended[SPOOL_EVICTED], 6);
    assert_int_equal(count_all(stats.delays), 0);
    assert_int_equal(count_findings(f), 0);
}

static void lane_that_is_forgotten_leaves_them_to_the_default_one(void **state)
{
    struct fixture *f = *state;
    const struct spool_lane lanes[] = {f->lane, {.name = "alarms", .limits = f->lane.limits}};

    f->options.lanes = lanes;
    f->options.lane_count = 2;
    reopen_spool(f);
    append_to_lane(f, 1);
    commit(f);
    pass_time(f, 20);
    assert_int_equal(deliver_all(f), 1);
    assert_int_equal(lane_stats(f, 1).delays.sum_ms, 20);
    assert_int_equal(lane_stats(f, 0).delays.sum_ms, 0);
    f->options.lanes = &f->lane;
    f->options.lane_count = 1;
    for (int i = 0; i < 5 && spool_lane_count(f->spool) > 1; i++) {
        spool_set_exported(f->spool, stats_of(f).last_seq);
        deliver_after(f, 0);
        reopen_spool(f);
    }
    assert_int_equal(spool_lane_count(f->spool), 1);
    assert_int_equal(lane_stats(f, 0).delays.sum_ms, 20);
}

static void full_spool_of_the_eleventh_schema_is_migrated(void **state)
{
    struct fixture *f = *state;
    struct spool_lane_stats stats;
    struct spool *reader;

    append_many(f, 50);
    deliver(f, next_id(f));
    commit(f);
    close_spool(f);
    tamper(f, TO_ELEVENTH_SCHEMA "PRAGMA user_version = 11");
    assert_int_equal(count_findings(f), 0); /* of a reader, before the daemon migrates it */
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_get_lane_stats(reader, 0, &f->now, &stats), 0);
    assert_int_equal(count_all(stats.delays), 0);
    spool_close(reader);
    open_spool(f);
    assert_int_equal(deliver_all(f), 49);
    stats = lane_stats(f, 0);
    assert_int_equal(stats.ledger.ended[SPOOL_DELIVERED], 50);
    assert_int_equal(count_all(stats.delays), 49);
    assert_int_equal(count_findings(f), 0);
}

static void blob_that_is_none_is_reported_and_costs_no_message(void **state)
{
    static const char *const blobs[] = {
        "x'80'",
        "x'00'",
        "x'ffffffffffffffffffff'",
        "randomblob(3)",
        /* one delivery more than the ledger */
        "x'0001000000000000000000000000000000000000'",
    };
    struct fixture *f = *state;

    append_many(f, 3);
    for (size_t i = 0; i < sizeof(blobs) / sizeof(*blobs); i++) {
        char sql[128];

        close_spool(f);
        (void)snprintf(sql, sizeof(sql), "UPDATE lane SET tallies = %s", blobs[i]);
        tamper(f, sql);
        assert_int_equal(count_findings(f), 1);
        open_spool(f);
        assert_int_equal(count_all(lane_stats(f, 0).delays), 0);
    }
    assert_int_equal(deliver_all(f), 3);
    assert_int_equal(count_findings(f), 0);
}

static void counts_above_the_ledger_are_reported(void **state)
{
    struct fixture *f = *state;
    struct tallies tallies = {.delays = {.counts = {[3] = 2}}};
    uint64_t ended[SPOOL_OUTCOMES] = {[SPOOL_DELIVERED] = 2, [SPOOL_EVICTED] = 1};

    assert_true(tallies_fit(&tallies, ended));
    tallies.delays.counts[4] = 1;
    assert_false(tallies_fit(&tallies, ended));
    tallies.delays.counts[4] = 0;
    tallies.reasons[SPOOL_REASON_MAX_AGE] = 1;
    assert_true(tallies_fit(&tallies, ended));
    tallies.reasons[SPOOL_REASON_DISK] = 1;
    assert_false(tallies_fit(&tallies, ended));
    deliver_after(f, 5);
    close_spool(f);
    tamper(f, "UPDATE lane SET delivered = 0, accepted = 0");
    assert_true(count_findings(f) > 0);
}

static void salvage_keeps_them(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage;

    deliver_after(f, 700);
    append_many(f, 5);
    close_spool(f);
    f->options.now = f->now;
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged, 5);
    open_spool(f);
    assert_int_equal(lane_stats(f, 0).delays.counts[6], 1);
    assert_int_equal(lane_stats(f, 0).delays.sum_ms, 700);
    assert_int_equal(deliver_all(f), 5);
    assert_int_equal(count_findings(f), 0);
}

static void blob_holds_the_largest_numbers_and_those_of_other_versions(void **state)
{
    struct tallies tallies, read;
    uint8_t bytes[TALLIES_BYTES_MAX + 1];
    size_t size;

    (void)state;
    memset(&tallies, 0, sizeof(tallies));
    tallies.delays.sum_ms = INT64_MAX;
    for (int i = 0; i < SPOOL_DELAY_BUCKETS; i++)
        tallies.delays.counts[i] = (uint64_t)INT64_MAX - (uint64_t)i;
    for (int i = 1; i < SPOOL_REASONS; i++)
        tallies.reasons[i] = UINT64_C(1) << i;
    size = tallies_encode(&tallies, bytes);
    assert_true(tallies_decode(view_of(bytes, size), &read));
    assert_memory_equal(&read, &tallies, sizeof(tallies));
    bytes[size] = 9; /* a reason that comes later */
    assert_true(tallies_decode(view_of(bytes, size + 1), &read));
    assert_memory_equal(&read, &tallies, sizeof(tallies));
    assert_true(tallies_decode(view_of(bytes, 9 * (1 + SPOOL_DELAY_BUCKETS)), &read));
    assert_int_equal(read.reasons[SPOOL_REASON_DISK], 0);
    assert_int_equal(read.delays.sum_ms, INT64_MAX);
    assert_false(tallies_decode(view_of(bytes, 9 * SPOOL_DELAY_BUCKETS), &read));
    assert_int_equal(read.delays.sum_ms, 0);
    tallies_count_delay(&read, INT64_MIN);
    assert_int_equal(read.delays.counts[0], 1);
    assert_int_equal(read.delays.sum_ms, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_open, teardown)
    const struct CMUnitTest tests[] = {
        CASE(each_delivery_is_in_the_bucket_of_its_delay),
        CASE(bounds_rise),
        CASE(counts_survive_a_restart_and_a_reader_has_them),
        CASE(what_was_not_committed_is_not_counted),
        CASE(failures_are_counted_by_reason),
        CASE(lane_that_is_forgotten_leaves_them_to_the_default_one),
        CASE(full_spool_of_the_eleventh_schema_is_migrated),
        CASE(blob_that_is_none_is_reported_and_costs_no_message),
        CASE(counts_above_the_ledger_are_reported),
        CASE(salvage_keeps_them),
        CASE(blob_holds_the_largest_numbers_and_those_of_other_versions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
