/* SPDX-License-Identifier: MIT */
/*
 * test_summary.c - tests of what a report gathers: periods, clocks that were not set, and
 * lines that are no records
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report/buckets.h"
#include "cli/report/summary.h"
#include "store/spool.h"

#define NOW  INT64_C(1780000000000)
#define HOUR INT64_C(3600000)

static const struct summary_period always = {INT64_MIN, INT64_MAX};
static struct summary *summary;

static int setup(void **state)
{
    (void)state;
    summary = malloc(sizeof(*summary));
    if (!summary)
        return -1;
    summary_init(summary, &always, NOW, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(summary);
    return 0;
}

static struct spool_record record_of(uint64_t seq, int64_t time_ms, int64_t age_ms)
{
    return (struct spool_record){
        .seq = seq,
        .id = seq,
        .time_ms = time_ms,
        .client = "press",
        .topic = "plant/1",
        .bytes = 100,
        .age_ms = age_ms,
        .attempts = 1,
        .code = SPOOL_NO_CODE,
    };
}

static void add(uint64_t seq, int64_t time_ms, int64_t age_ms)
{
    struct spool_record record = record_of(seq, time_ms, age_ms);

    summary_add(summary, &record, 300);
}

static void add_failure(uint64_t seq, int64_t time_ms, enum spool_reason reason, int code)
{
    struct spool_record record = record_of(seq, time_ms, 0);

    record.outcome = reason == SPOOL_REASON_REASON_CODE ? SPOOL_REJECTED : SPOOL_EVICTED;
    record.reason = reason;
    record.code = code;
    summary_add(summary, &record, 300);
}

static uint64_t charted(enum bucket_series series)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < summary->buckets.count; i++)
        sum += summary->buckets.at[i].amounts[series];
    return sum;
}

static void add_line(const char *text)
{
    json_t *object = json_loads(text, 0, NULL);

    assert_non_null(object);
    summary_add_line(summary, object, strlen(text) + 1);
    json_decref(object);
}

static void each_record_is_in_totals_and_charts(void **state)
{
    (void)state;
    add(1, NOW - HOUR, 500);
    add(2, NOW - HOUR + 10, 2000);
    add_failure(3, NOW - 1000, SPOOL_REASON_REASON_CODE, 0x87);
    add_failure(4, NOW - 900, SPOOL_REASON_MAX_AGE, SPOOL_NO_CODE);
    summary_add_waiting(summary, 60000, 50);
    summary_end(summary);
    assert_int_equal(summary->accepted, 5);
    assert_int_equal(summary->accepted_bytes, 450);
    assert_int_equal(summary->ended[SPOOL_DELIVERED], 2);
    assert_int_equal(summary_failed(summary), 2);
    assert_int_equal(summary->reasons[SPOOL_EVICTED][SPOOL_REASON_MAX_AGE], 1);
    assert_int_equal(summary->codes[0x87], 1);
    assert_int_equal(summary->delays.max_ms, 2000);
    assert_int_equal(summary->topics.total, 2);
    assert_int_equal(charted(BUCKET_ACCEPTED), 5);
    assert_int_equal(charted(BUCKET_DELIVERED), 2);
    assert_int_equal(charted(BUCKET_FAILED), 2);
    assert_int_equal(summary->waiting_since_ms, NOW - 60000);
}

static void a_clock_that_was_not_set_bends_no_chart(void **state)
{
    (void)state;
    add(1, 5000, 100);                          /* 1970 */
    add(2, NOW + INT64_C(900) * 86400000, 100); /* years ahead */
    add(3, NOW - HOUR, 100);
    assert_int_equal(summary->untimed, 2);
    assert_int_equal(summary->accepted, 3);
    assert_int_equal(summary->ended[SPOOL_DELIVERED], 3);
    assert_int_equal(summary->buckets.count, 2);
    assert_int_equal(buckets_width_ms(&summary->buckets), BUCKETS_SECOND);
}

static void a_period_leaves_the_rest_out_and_knows_the_backlog_at_its_begin(void **state)
{
    const struct summary_period period = {NOW - 2 * HOUR, NOW - HOUR};

    (void)state;
    summary_init(summary, &period, NOW, 0);
    add(1, NOW - 3 * HOUR, 100);         /* before */
    add(2, NOW - 2 * HOUR + 1000, HOUR); /* accepted before, ends in it */
    add(3, NOW - HOUR - 1000, 100);      /* all in it */
    add(4, NOW - 10, 90 * 60000);        /* accepted in it, ends after */
    add(5, 5000, 10);                    /* when, is not known */
    summary_add_waiting(summary, 5 * HOUR, 1);
    summary_end(summary);
    assert_int_equal(summary->accepted, 2);
    assert_int_equal(summary->ended[SPOOL_DELIVERED], 2);
    assert_int_equal(summary->accepted_before, 3);
    assert_int_equal(summary->ended_before, 1);
    assert_int_equal(charted(BUCKET_DELIVERED), 2);
    assert_true(buckets_start_ms(&summary->buckets, summary->buckets.count - 1) < NOW - HOUR);
}

static void files_that_begin_late_begin_with_their_first_record(void **state)
{
    (void)state;
    add(500, NOW - HOUR, 20 * HOUR);
    add(501, NOW - HOUR + 5000, 1000);
    assert_true(summary->is_partial);
    assert_int_equal(summary->accepted, 1);
    assert_int_equal(summary->accepted_before, 1);
    assert_int_equal(buckets_start_ms(&summary->buckets, 0), NOW - HOUR);
    assert_int_equal(summary->pauses.count, 0);
}

static void lines_are_read_by_their_kind(void **state)
{
    (void)state;
    add_line("{\"seq\":1,\"time\":\"2026-05-01T10:00:00.000Z\",\"outcome\":\"rejected\","
             "\"reason\":\"reason_code\",\"id\":1,\"client\":\"c\",\"topic\":\"t\",\"bytes\":7,"
             "\"age_ms\":3,\"attempts\":1,\"code\":151}");
    add_line("{\"seq\":9,\"time\":\"2026-05-01T10:00:01.000Z\",\"from\":2,\"pruned\":8}");
    add_line("{\"admin\":\"hold\",\"time\":\"2026-05-01T10:00:02.000Z\",\"uid\":0}");
    add_line("{\"admin\":\"release\",\"time\":\"2026-05-01T10:00:03.000Z\",\"uid\":0}");
    add_line("{\"seal\":12,\"time\":\"2026-05-01T10:00:03.000Z\"}");
    add_line("{\"seq\":10,\"outcome\":\"vanished\"}");
    add_line("{}");
    assert_int_equal(summary->ended[SPOOL_REJECTED], 1);
    assert_int_equal(summary->codes[151], 1);
    assert_int_equal(summary->accepted, 1);
    assert_int_equal(summary->pruned, 8);
    assert_int_equal(summary->admin, 2);
    assert_int_equal(summary->pauses.hold_count, 1);
    assert_int_equal(summary->untimed, 0);
}

static void values_of_other_types_are_taken_as_nothing(void **state)
{
    (void)state;
    add_line("{\"seq\":\"x\",\"time\":7,\"outcome\":\"evicted\",\"reason\":[],\"client\":{},"
             "\"topic\":null,\"bytes\":-5,\"age_ms\":1e300,\"attempts\":true,\"code\":999999}");
    add_line("{\"pruned\":-3}");
    add_line("{\"admin\":5,\"time\":[]}");
    assert_int_equal(summary->ended[SPOOL_EVICTED], 1);
    assert_int_equal(summary->untimed, 1);
    assert_int_equal(summary->pruned, 0);
    assert_int_equal(summary->admin, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_record_is_in_totals_and_charts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_was_not_set_bends_no_chart, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_period_leaves_the_rest_out_and_knows_the_backlog_at_its_begin, setup, teardown),
        cmocka_unit_test_setup_teardown(files_that_begin_late_begin_with_their_first_record,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(lines_are_read_by_their_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(values_of_other_types_are_taken_as_nothing, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
