/* SPDX-License-Identifier: MIT */
/*
 * test_record_selected.c - a message that an operator looks at, as an object of JSON
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/record/selected.h"
#include "store/spool.h"

static char memory[16384];
static struct spool_selected selected;

static int setup(void **state)
{
    (void)state;
    selected = (struct spool_selected){
        .state = SPOOL_PENDING,
        .bytes = 128,
        .age_ms = 6789,
        .code = SPOOL_NO_CODE,
        .message =
            {
                .id = 42,
                .lane_name = "default",
                .uid = 1001,
                .qos = 1,
                .expiry_ms = SPOOL_NO_EXPIRY,
                .client = view_of_text("press-7"),
                .topic = view_of_text("plant/7"),
                .accepted_ms = INT64_C(1793536490000),
                .attempts = 2,
            },
    };
    return 0;
}

static const char *list(bool is_held, size_t text_max)
{
    struct json json;

    json_init(&json, memory, sizeof(memory) - 1);
    record_write_selected(&json, &selected, is_held, text_max);
    assert_false(json.failed);
    memory[json_used(&json)] = '\0';
    return memory;
}

static const char *show(void)
{
    struct json json;

    json_init(&json, memory, sizeof(memory) - 1);
    record_write_details(&json, &selected);
    assert_false(json.failed);
    memory[json_used(&json)] = '\0';
    return memory;
}

static void a_message_has_the_members_of_list_in_their_order(void **state)
{
    (void)state;
    assert_string_equal(list(false, 1024),
                        "\"id\":42,\"lane\":\"default\",\"client\":\"press-7\",\"uid\":1001,"
                        "\"topic\":\"plant/7\",\"qos\":1,\"bytes\":128,"
                        "\"accepted\":\"2026-11-01T12:34:50.000Z\",\"age_ms\":6789,"
                        "\"attempts\":2,\"state\":\"pending\"");
    selected.message.ref = view_of_text("order/1");
    selected.message.uid = PEER_UID_UNKNOWN;
    assert_non_null(strstr(list(false, 1024), "\"uid\":null,"));
    assert_non_null(strstr(memory, "\"state\":\"pending\",\"ref\":\"order/1\""));
}

static void only_what_is_pending_is_held(void **state)
{
    (void)state;
    assert_non_null(strstr(list(true, 1024), "\"state\":\"held\""));
    selected.state = SPOOL_IN_FLIGHT;
    assert_non_null(strstr(list(true, 1024), "\"state\":\"in_flight\""));
    selected.state = SPOOL_KEPT;
    assert_non_null(strstr(list(true, 1024), "\"state\":\"rejected\""));
}

static void long_texts_are_cut_at_a_character(void **state)
{
    (void)state;
    selected.message.topic = view_of_text("caf\xC3\xA9/1");
    assert_non_null(strstr(list(false, 4), "\"topic\":\"caf\","));
    assert_non_null(strstr(list(false, 5), "\"topic\":\"caf\xC3\xA9\","));
}

static void whatever_texts_hold_the_memory_suffices(void **state)
{
    static char text[512];
    const struct view all = view_of(text, sizeof(text));

    (void)state;
    memset(text, 1, sizeof(text));
    selected.message.client = selected.message.topic = selected.message.ref = all;
    assert_true(strlen(list(false, sizeof(text))) < RECORD_SELECTED_MAX(sizeof(text)));
}

static void properties_are_shown_by_their_names(void **state)
{
    static const uint8_t properties[] = {0x01, 1,                      /* payload format */
                                         0x03, 0, 1, 'j',              /* content type */
                                         0x08, 0, 1, 'r',              /* response topic */
                                         0x09, 0, 3, 0xFF, 0x00, 0x01, /* correlation data */
                                         0x26, 0, 1, 'n',  0,    1,    'v',  /* user property */
                                         0x26, 0, 1, 'n',  0,    1,    'w'}; /* twice */

    (void)state;
    assert_string_equal(show(), "\"retain\":false,\"user_properties\":[]");
    selected.message.retain = true;
    selected.message.expiry_ms = 1000;
    selected.message.properties = view_of(properties, sizeof(properties));
    assert_string_equal(show(), "\"retain\":true,\"expiry_ms\":1000,\"payload_format\":1,"
                                "\"content_type\":\"j\",\"response_topic\":\"r\","
                                "\"correlation_data\":\"/wAB\","
                                "\"user_properties\":[[\"n\",\"v\"],[\"n\",\"w\"]]");
}

static void a_rejected_message_has_its_end(void **state)
{
    (void)state;
    selected.state = SPOOL_KEPT;
    selected.seq = 7;
    selected.ended_ms = INT64_C(1793536496789);
    selected.reason = SPOOL_REASON_REASON_CODE;
    selected.code = 135;
    assert_string_equal(show(), "\"retain\":false,\"seq\":7,"
                                "\"ended\":\"2026-11-01T12:34:56.789Z\","
                                "\"reason\":\"reason_code\",\"code\":135,"
                                "\"user_properties\":[]");
}

#define CASE(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_message_has_the_members_of_list_in_their_order),
        CASE(only_what_is_pending_is_held),
        CASE(long_texts_are_cut_at_a_character),
        CASE(whatever_texts_hold_the_memory_suffices),
        CASE(properties_are_shown_by_their_names),
        CASE(a_rejected_message_has_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
