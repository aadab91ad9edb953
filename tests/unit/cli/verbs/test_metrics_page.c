/* SPDX-License-Identifier: MIT */
/*
 * test_metrics_page.c - tests of the metrics: a sound status object, in which each case changes
 * some members
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/verbs/metrics_page.h"
#include "tests/support/sound_status.h"

static char text[65536];

static const char *page_of(const char *changes, struct metrics_page page)
{
    json_error_t error;
    json_t *root = json_loads(sound_status, 0, &error);
    json_t *change = json_loads(changes, 0, &error);
    FILE *stream = fmemopen(text, sizeof(text), "w");

    assert_non_null(root);
    assert_non_null(change);
    assert_non_null(stream);
    assert_int_equal(json_object_update_recursive(root, change), 0);
    page.root = root;
    metrics_page_print(&page, stream);
    assert_int_equal(fclose(stream), 0);
    json_decref(change);
    json_decref(root);
    return text;
}

#define RUNNING ((struct metrics_page){.running = true, .is_own = true})

static void expect(const char *page, const char *line)
{
    if (!strstr(page, line))
        print_error("not in it: %s\n%s\n", line, page);
    assert_non_null(strstr(page, line));
}

static void a_running_daemon_has_all(void **state)
{
    (void)state;
    const char *page = page_of("{}", RUNNING);
    assert_int_equal(strncmp(page, METRICS_PAGE_BEGINS, strlen(METRICS_PAGE_BEGINS)), 0);
    expect(page, "\nmqtt_spool_up 1\n");
    expect(page, "\nmqtt_spool_build_info{version=\"1.2.3\"} 1\n");
    expect(page, "\nmqtt_spool_link_state{state=\"online\"} 1\n");
    expect(page, "\nmqtt_spool_link_state{state=\"refused\"} 0\n");
    expect(page, "\nmqtt_spool_intake_refusing{reason=\"disk\"} 0\n");
    expect(page, "\n# TYPE mqtt_spool_uptime_seconds gauge\nmqtt_spool_uptime_seconds 65\n");
    expect(page, "\nmqtt_spool_link_since_timestamp_seconds 1793534410\n");
    expect(page, "\nmqtt_spool_backlog_messages{lane=\"default\"} 3\n");
    expect(page, "\nmqtt_spool_backlog_oldest_age_seconds{lane=\"default\"} 90\n");
    expect(page, "\nmqtt_spool_forecast_drained_seconds 0\n");
    assert_null(strstr(page, "mqtt_spool_forecast_full_seconds")); /* null: not known */
    assert_null(strstr(page, "delivery_delay"));                   /* of an earlier version */
}

static void of_files_only_what_they_know_is_there(void **state)
{
    (void)state;
    const char *page = page_of("{}", (struct metrics_page){.running = false});
    expect(page, "\nmqtt_spool_up 0\n");
    expect(page, "\nmqtt_spool_ledger_balanced 1\n");
    assert_null(strstr(page, "mqtt_spool_uptime_seconds"));
    assert_null(strstr(page, "mqtt_spool_lane_full"));
    assert_null(strstr(page, "mqtt_spool_lane_evicting"));
    assert_null(strstr(page, "mqtt_spool_intake_refusing"));
}

static void counters_and_the_histogram_are_of_the_lanes(void **state)
{
    (void)state;
    const char *page = page_of(
        "{\"delay_bounds_ms\":[10,2500],\"audit\":{\"last_seq\":6},\"lanes\":[{\"name\":\"a\","
        "\"ledger\":{\"accepted\":9,\"delivered\":3,\"evicted\":3},"
        "\"delays\":{\"counts\":[1,0,2],\"sum_ms\":6500},"
        "\"reasons\":{\"max_messages\":2}}]}",
        RUNNING);
    expect(page, "\n# TYPE mqtt_spool_messages_accepted_total counter\n"
                 "mqtt_spool_messages_accepted_total{lane=\"a\"} 9\n");
    expect(page, "\nmqtt_spool_messages_ended_total{lane=\"a\",outcome=\"delivered\"} 3\n");
    expect(page, "{lane=\"a\",outcome=\"evicted\",reason=\"max_messages\"} 2\n");
    expect(page, "{lane=\"a\",outcome=\"evicted\",reason=\"unrecorded\"} 1\n");
    expect(page, "\nmqtt_spool_audit_records_total 6\n");
    expect(page, "\nmqtt_spool_delivery_delay_seconds_bucket{lane=\"a\",le=\"0.01\"} 1\n"
                 "mqtt_spool_delivery_delay_seconds_bucket{lane=\"a\",le=\"2.5\"} 1\n"
                 "mqtt_spool_delivery_delay_seconds_bucket{lane=\"a\",le=\"+Inf\"} 3\n"
                 "mqtt_spool_delivery_delay_seconds_sum{lane=\"a\"} 6.5\n"
                 "mqtt_spool_delivery_delay_seconds_count{lane=\"a\"} 3\n");
}

#define FULL "\"full\":false,\"messages\":9,\"max_messages\":9,\"max_bytes\":99,\"bytes\":9,"

static void a_full_lane_that_evicts_is_no_full_one(void **state)
{
    (void)state;
    const char *page =
        page_of("{\"lanes\":[{\"name\":\"a\"," FULL "\"when_full\":\"evict-oldest\"},"
                "{\"name\":\"b\"," FULL "\"when_full\":\"refuse\"},"
                "{\"name\":\"c\",\"full\":null,\"messages\":9}]}",
                RUNNING);
    expect(page, "\n# TYPE mqtt_spool_lane_evicting gauge\n"
                 "mqtt_spool_lane_evicting{lane=\"a\"} 1\n"
                 "mqtt_spool_lane_evicting{lane=\"b\"} 0\n#");
    expect(page, "\nmqtt_spool_lane_full{lane=\"a\"} 0\n");
}

/* It has the limits of "default", of which its fill says nothing. */
static void a_lane_that_left_the_configuration_has_no_limits(void **state)
{
    (void)state;
    const char *page =
        page_of("{\"lanes\":[{\"name\":\"a\",\"messages\":9,\"max_messages\":9,\"max_bytes\":9,"
                "\"configured\":true},{\"name\":\"old\",\"messages\":9,\"max_messages\":9,"
                "\"max_bytes\":9,\"configured\":false}]}",
                RUNNING);
    expect(page, "\nmqtt_spool_backlog_messages{lane=\"old\"} 9\n");
    expect(page, "\nmqtt_spool_backlog_max_messages{lane=\"a\"} 9\n");
    assert_null(strstr(page, "backlog_max_messages{lane=\"old\"}"));
    assert_null(strstr(page, "backlog_max_bytes{lane=\"old\"}"));
}

static void label_values_are_escaped(void **state)
{
    (void)state;
    const char *page = page_of("{\"version\":\"1\\\"\\\\\\u001b\\n\"}", RUNNING);
    expect(page, "{version=\"1\\\"\\\\\\\\x1B\\\\x0A\"} 1\n");
}

static void as_json_each_sample_is_an_object(void **state)
{
    (void)state;
    const char *page =
        page_of("{}", (struct metrics_page){.running = true, .is_own = true, .is_json = true});
    expect(page, "{\"name\":\"mqtt_spool_up\",\"type\":\"gauge\",\"labels\":{},\"value\":1}\n");
    expect(page, "{\"name\":\"mqtt_spool_backlog_messages\",\"type\":\"gauge\",\"labels\":"
                 "{\"lane\":\"default\"},\"value\":3}\n");
    assert_null(strstr(page, "# HELP"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_daemon_has_all),
        cmocka_unit_test(of_files_only_what_they_know_is_there),
        cmocka_unit_test(counters_and_the_histogram_are_of_the_lanes),
        cmocka_unit_test(a_full_lane_that_evicts_is_no_full_one),
        cmocka_unit_test(a_lane_that_left_the_configuration_has_no_limits),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(as_json_each_sample_is_an_object),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
