/* SPDX-License-Identifier: MIT */
/*
 * test_record.c - the outcome record as a line of JSON
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "daemon/record/outcome.h"
#include "store/spool.h"

static const struct spool_record sample = {
    .seq = 7,
    .id = 42,
    .time_ms = INT64_C(1793536496789),
    .outcome = SPOOL_REJECTED,
    .reason = SPOOL_REASON_REASON_CODE,
    .lane = "default",
    .client = "press-7",
    .topic = "plant/7/temp \"hot\"",
    .ref = "order/1",
    .uid = 1001,
    .qos = 1,
    .bytes = 128,
    .accepted_ms = INT64_C(1793536490000),
    .age_ms = 6789,
    .attempts = 2,
    .code = 0x87,
};

static const char *write_record(const struct spool_record *record)
{
    static char memory[RECORD_LINE_MAX + 1];
    struct json json;

    json_init(&json, memory, RECORD_LINE_MAX);
    record_write(&json, record);
    assert_false(json.failed);
    memory[json_used(&json)] = '\0';
    return memory;
}

static void a_failure_has_every_field_in_its_order(void **state)
{
    (void)state;
    assert_string_equal(
        write_record(&sample),
        "{\"seq\":7,\"time\":\"2026-11-01T12:34:56.789Z\",\"outcome\":\"rejected\","
        "\"reason\":\"reason_code\",\"id\":42,\"lane\":\"default\",\"client\":\"press-7\","
        "\"uid\":1001,\"topic\":\"plant/7/temp \\\"hot\\\"\",\"qos\":1,\"bytes\":128,"
        "\"accepted\":\"2026-11-01T12:34:50.000Z\",\"age_ms\":6789,\"attempts\":2,"
        "\"code\":135,\"ref\":\"order/1\"}");
}

static void a_requeued_message_names_the_one_that_it_was(void **state)
{
    struct spool_record record = sample;

    (void)state;
    assert_null(strstr(write_record(&record), "requeued_from"));
    record.requeued_from = 17;
    assert_non_null(strstr(write_record(&record), "\"ref\":\"order/1\",\"requeued_from\":17}"));
}

static void a_delivery_leaves_out_what_has_no_value(void **state)
{
    struct spool_record record = sample;

    (void)state;
    record.outcome = SPOOL_DELIVERED;
    record.reason = SPOOL_REASON_NONE;
    record.code = SPOOL_NO_CODE;
    record.ref = NULL;
    assert_string_equal(
        write_record(&record),
        "{\"seq\":7,\"time\":\"2026-11-01T12:34:56.789Z\",\"outcome\":\"delivered\","
        "\"id\":42,\"lane\":\"default\",\"client\":\"press-7\",\"uid\":1001,"
        "\"topic\":\"plant/7/temp \\\"hot\\\"\",\"qos\":1,\"bytes\":128,"
        "\"accepted\":\"2026-11-01T12:34:50.000Z\",\"age_ms\":6789,\"attempts\":2}");
}

static void an_unknown_uid_is_no_number(void **state)
{
    struct spool_record record = sample;

    (void)state;
    record.uid = UINT32_MAX;
    assert_non_null(strstr(write_record(&record), ",\"uid\":null,\"topic\":"));
}

static void a_code_of_zero_is_a_code(void **state)
{
    struct spool_record record = sample;

    (void)state;
    record.code = 0;
    assert_non_null(strstr(write_record(&record), "\"code\":0,"));
}

static void the_worst_texts_fit_and_longer_ones_are_cut(void **state)
{
    static char worst[RECORD_TEXT_MAX + 1000];
    struct spool_record record = sample;
    size_t length;

    (void)state;
    memset(worst, '\x01', sizeof(worst) - 1);
    record.lane = worst;
    record.client = worst;
    record.topic = worst;
    record.ref = worst;
    record.seq = UINT64_MAX;
    record.id = UINT64_MAX;
    record.bytes = UINT64_MAX;
    record.age_ms = INT64_MIN;
    record.attempts = UINT32_MAX;
    record.uid = UINT32_MAX;
    record.qos = UINT8_MAX;
    record.code = INT32_MIN;
    length = strlen(write_record(&record));
    assert_true(length > (size_t)(3 * RECORD_TEXT_MAX + RECORD_LANE_MAX) * 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_has_every_field_in_its_order),
        cmocka_unit_test(a_requeued_message_names_the_one_that_it_was),
        cmocka_unit_test(a_delivery_leaves_out_what_has_no_value),
        cmocka_unit_test(an_unknown_uid_is_no_number),
        cmocka_unit_test(a_code_of_zero_is_a_code),
        cmocka_unit_test(the_worst_texts_fit_and_longer_ones_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
