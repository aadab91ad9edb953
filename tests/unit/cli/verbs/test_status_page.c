/* SPDX-License-Identifier: MIT */
/*
 * test_status_page.c - tests of the status page: a sound status object, in which each case
 * changes some members, and what the page says of it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sysexits.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/verbs/status_page.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;

static const char sound_status[] =
    "{\"version\":\"1.2.3\",\"pid\":4711,\"uptime_ms\":65000,"
    "\"time\":\"2026-11-01T12:01:05.000Z\","
    "\"link\":{\"state\":\"online\",\"broker\":\"ssl://b:8883\","
    "\"since\":\"2026-11-01T12:00:10.000Z\",\"connects\":1,\"last_error\":\"\","
    "\"last_error_time\":\"\",\"acknowledged\":\"2026-11-01T12:01:02.000Z\",\"held\":false},"
    "\"spool\":{\"messages\":3,\"bytes\":2048,\"disk_bytes\":1048576,\"oldest_age_ms\":90000,"
    "\"disk_free_bytes\":1073741824,\"disk_reserve_bytes\":16777216,\"disk_short\":\"\","
    "\"damaged_files\":0},"
    "\"salvage\":{\"time\":\"\"},\"intake\":{\"refusing\":\"\"},"
    "\"lanes\":[{\"name\":\"default\",\"messages\":3,\"bytes\":2048,\"oldest_age_ms\":90000,"
    "\"max_messages\":1000,\"max_bytes\":1048576,\"when_full\":\"evict-oldest\",\"full\":false}],"
    "\"ledger\":{\"accepted\":10,\"delivered\":4,\"evicted\":2,\"expired\":0,\"rejected\":1,"
    "\"dropped\":0,\"damaged\":0,\"spooled\":3},"
    "\"producers\":{\"messages_refused\":0},"
    "\"tokens\":{\"in_flight\":1,\"peak\":9},\"rates\":{\"in\":1.5,\"out\":2.5},"
    "\"forecast\":{\"full_s\":null,\"drained_s\":0},"
    "\"audit\":{\"healthy\":true,\"error\":\"\",\"waiting\":2,\"max_waiting\":100,"
    "\"record_bytes\":1024,\"max_record_bytes\":4096}}";

static struct status_page page;

static int print_page(const struct cli *cli, int argc, char **argv)
{
    (void)cli, (void)argc, (void)argv;
    status_page_print(&page);
    return EX_OK;
}

/* The page of the sound object with the members of @changes, each merged into its part. */
static const char *page_with(const char *changes, bool running, bool own)
{
    json_error_t error;
    json_t *root = json_loads(sound_status, 0, &error);
    json_t *change = json_loads(changes, 0, &error);

    assert_non_null(root);
    assert_non_null(change);
    assert_int_equal(json_object_update_recursive(root, change), 0);
    page = (struct status_page){.root = root, .running = running, .is_own = own};
    (void)TOOL_RUN(&tool, print_page, "page");
    json_decref(change);
    json_decref(root);
    return tool.out;
}

static const char *own_page(const char *changes)
{
    return page_with(changes, true, true);
}

static void a_sound_daemon_has_a_page_without_alarms(void **state)
{
    (void)state;
    assert_string_equal(
        own_page("{}"),
        "daemon    mqtt-spoold 1.2.3, running for 1 min 5 s, pid 4711\n"
        "link      online, broker ssl://b:8883, since 2026-11-01T12:00:10.000Z\n"
        "          connected 1 time, last acknowledgement 3 s ago\n"
        "          no error of the connection\n"
        "spool     3 of 1000 messages, 2.0 KiB of 1.0 MiB, oldest 1 min 30 s\n"
        "          1.0 MiB on disk, 1.0 GiB free\n"
        "ledger    accepted            10\n"
        "          delivered            4\n"
        "          evicted              2\n"
        "          expired              0\n"
        "          rejected             1\n"
        "          dropped              0\n"
        "          damaged              0\n"
        "          spooled              3\n"
        "          balances: each message accepted is in one of the lines below it\n"
        "tokens    1 in flight, peak 9\n"
        "rates     1.5/s in, 2.5/s out\n"
        "forecast  full: -, drained: now\n");
    assert_string_equal(tool.err, "");
}

static void a_stopped_daemon_has_its_remedy(void **state)
{
    const char *text = page_with("{\"link\":{\"state\":\"stopped\"}}", false, false);

    (void)state;
    assert_contains(text, "daemon    NOT RUNNING");
    assert_contains(text, "start it: systemctl start mqtt-spoold");
    assert_contains(text, "\nlink      stopped\n");
    assert_lacks(text, "rates ");
    assert_lacks(text, "broker");
}

static void a_daemon_without_a_readable_status_is_unknown(void **state)
{
    const char *text = page_with("{\"link\":{\"state\":\"unknown\"}}", true, false);

    (void)state;
    assert_contains(text, "daemon    running, but its status file cannot be read");
    assert_contains(text, "is -c or --socket right?");
    assert_contains(text, "rates     unknown");
    assert_lacks(text, "in flight, peak");
}

static void an_empty_object_has_dashes(void **state)
{
    json_t *root = json_object();

    (void)state;
    page = (struct status_page){.root = root, .running = true, .is_own = true};
    (void)TOOL_RUN(&tool, print_page, "page");
    json_decref(root);
    assert_contains(tool.out, "mqtt-spoold -, running for -, pid -\n");
    assert_contains(tool.out, "connected - times\n");
    assert_contains(tool.out, "- messages, -, oldest -\n");
    assert_contains(tool.out, "forecast  full: -, drained: -\n");
}

static void a_link_that_failed_has_the_time_and_what_is_kept_meanwhile(void **state)
{
    const char *text =
        own_page("{\"link\":{\"state\":\"connecting\",\"connects\":2,\"acknowledged\":\"\","
                 "\"last_error\":\"refused\\u001b[2J\","
                 "\"last_error_time\":\"2026-11-01T12:00:05.000Z\"}}");

    (void)state;
    assert_contains(text, "link      connecting, ");
    assert_contains(text, "connected 2 times, no acknowledgement since the daemon's start\n");
    assert_contains(text, "last error 1 min ago: refused\\x1B[2J\n");
    assert_contains(text, "messages are taken and kept; they go out when the broker");
}

static void an_offline_link_promises_nothing_that_is_not_taken(void **state)
{
    const char *text = own_page("{\"link\":{\"state\":\"connecting\"},"
                                "\"intake\":{\"refusing\":\"database_locked\"}}");

    (void)state;
    assert_lacks(text, "messages are taken");
    assert_contains(text, "what is spooled goes out when the broker can be reached");
    assert_contains(
        text,
        "\nintake    NO MESSAGE IS ACCEPTED: another program keeps the database locked\n");
    assert_contains(text, "fuser -v spool.db");
    text =
        own_page("{\"link\":{\"state\":\"connecting\"},\"lanes\":[{\"name\":\"default\","
                 "\"messages\":3,\"max_messages\":3,\"full\":true,\"when_full\":\"refuse\"}]}");
    assert_lacks(text, "messages are taken");
}

static void a_clock_that_was_set_back_makes_no_negative_span(void **state)
{
    (void)state;
    assert_contains(own_page("{\"link\":{\"acknowledged\":\"2026-11-01T13:00:00.000Z\"}}"),
                    "last acknowledgement 0 ms ago");
}

static void a_held_link_is_reported(void **state)
{
    (void)state;
    assert_contains(own_page("{\"link\":{\"held\":true}}"), "NOTHING IS SENT until a commit");
    assert_contains(own_page("{\"link\":{\"state\":\"refused\",\"refused_code\":135}}"),
                    "THE BROKER REFUSES EVERY MESSAGE (code 135)");
}

static void a_short_disk_and_damage_stand_with_the_spool(void **state)
{
    const char *text = own_page("{\"spool\":{\"disk_free_bytes\":1048576,\"damaged_files\":2},"
                                "\"salvage\":{\"time\":\"2026-11-01T11:00:00.000Z\","
                                "\"salvaged\":7,\"damaged\":1,\"damaged_unknown\":true}}");

    (void)state;
    assert_contains(text, "1.0 MiB free, below spool.disk_reserve (16.0 MiB)\n");
    assert_contains(text, "DAMAGED: 2 database(s) moved aside");
    assert_contains(text, "SALVAGED at 2026-11-01T11:00:00.000Z");
    assert_contains(text, "7 messages");
    assert_contains(text, "1 are recorded as damaged");
    assert_contains(text, "HOW MANY THERE WERE IS UNKNOWN");
    assert_lacks(own_page("{\"salvage\":{\"time\":\"2026-11-01T11:00:00.000Z\"}}"),
                 "IS UNKNOWN");
}

static void several_lanes_have_a_line_each(void **state)
{
    const char *text = own_page(
        "{\"lanes\":[{\"name\":\"alarms\",\"messages\":1,\"bytes\":10,\"oldest_age_ms\":1000,"
        "\"max_messages\":5,\"max_bytes\":1024},{\"name\":\"default\",\"messages\":2,"
        "\"bytes\":20,\"oldest_age_ms\":2000}]}");

    (void)state;
    assert_contains(text, "spool     3 messages, 2.0 KiB, oldest");
    assert_contains(text,
                    "lanes     alarms           1 of 5 messages, 10 B of 1.0 KiB, oldest 1 s\n"
                    "          default          2 messages, 20 B, oldest 2 s\n");
}

static void a_full_lane_has_its_limit_and_its_remedy(void **state)
{
    const char *text = own_page("{\"lanes\":[{\"name\":\"default\",\"messages\":5,\"bytes\":10,"
                                "\"max_messages\":5,\"max_bytes\":1024,\"full\":true,"
                                "\"when_full\":\"refuse\"}],"
                                "\"producers\":{\"messages_refused\":1}}");

    (void)state;
    assert_contains(
        text, "intake    lane \"default\" REFUSES new messages: 5 of 5 messages, "
              "when_full = \"refuse\"\n"
              "          bring the link back, or raise retention.max_messages and send HUP\n"
              "          1 message refused since the start\n");
    text = own_page("{\"lanes\":[{\"name\":\"alarms\",\"messages\":1,\"bytes\":1024,"
                    "\"max_messages\":5,\"max_bytes\":1024,\"full\":true,"
                    "\"when_full\":\"block\"}]}");
    assert_contains(text, "lane \"alarms\" HOLDS ITS PRODUCERS BACK: 1.0 KiB of 1.0 KiB "
                          "(max_bytes), when_full = \"block\"");
    assert_contains(text, "raise its max_bytes and send HUP");
    assert_lacks(text, "refused since");
}

static void what_was_refused_before_is_counted(void **state)
{
    (void)state;
    assert_contains(own_page("{\"producers\":{\"messages_refused\":1}}"),
                    "producers 1 message was refused since the start; none now\n");
    assert_contains(own_page("{\"producers\":{\"messages_refused\":2}}"),
                    "producers 2 messages were refused since the start; none now\n");
    assert_contains(own_page("{\"intake\":{\"refusing\":\"disk\"},"
                             "\"producers\":{\"messages_refused\":3}}"),
                    "          3 messages refused since the start\n");
}

static void a_short_disk_has_its_cause_and_its_remedy(void **state)
{
    static const struct {
        const char *detail;
        const char *shown;
        const char *remedy;
    } rows[] = {
        {"below disk_reserve", "1.0 GiB free, spool.disk_reserve is 16.0 MiB", "make room on"},
        {"a write had no room (EFBIG)", "a write had no room (EFBIG)", "LimitFSIZE="},
        {"a write had no room (EDQUOT)", "a write had no room (EDQUOT)", "raise the quota"},
        {"another program reads", "another program reads", "end that program (fuser -v"},
        {"a write had no room (ENOSPC)", "(ENOSPC)", "make room on the disk"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char changes[256];
        const char *text;

        (void)snprintf(changes, sizeof(changes),
                       "{\"intake\":{\"refusing\":\"disk\"},\"spool\":{\"disk_short\":\"%s\"}}",
                       rows[i].detail);
        text = own_page(changes);
        assert_contains(text, "intake    NO MESSAGE IS ACCEPTED, the disk is short: ");
        assert_contains(text, rows[i].shown);
        assert_contains(text, rows[i].remedy);
        (void)snprintf(changes, sizeof(changes), "{\"spool\":{\"disk_short\":\"%s\"}}",
                       rows[i].detail);
        assert_contains(own_page(changes), "intake    EACH NEW MESSAGE EVICTS OLD ONES");
    }
}

static void each_cause_of_a_refusal_has_its_remedy(void **state)
{
    (void)state;
    assert_contains(own_page("{\"intake\":{\"refusing\":\"disk\"}}"),
                    "the newest message found no room on the disk: 1.0 GiB free now,\n"
                    "          spool.disk_reserve is 16.0 MiB; the next one is tried\n");
    assert_contains(own_page("{\"intake\":{\"refusing\":\"disk\"},"
                             "\"spool\":{\"disk_free_bytes\":10}}"),
                    "NO MESSAGE IS ACCEPTED, the disk is short: 10 B free");
    assert_contains(own_page("{\"intake\":{\"refusing\":\"audit_waiting\"}}"),
                    "records take 1.0 KiB of at most 4.0 KiB, and wait for the audit file\n"
                    "          make audit.file writable");
    assert_contains(own_page("{\"intake\":{\"refusing\":\"audit_waiting\"},"
                             "\"audit\":{\"waiting\":100}}"),
                    "100 records wait for the audit file, audit.max_waiting is 100\n");
    assert_contains(own_page("{\"intake\":{\"refusing\":\"spool_moved\"}}"),
                    "do not end the daemon");
    assert_contains(own_page("{\"intake\":{\"refusing\":\"a_later_cause\"}}"),
                    "intake    NO MESSAGE IS ACCEPTED: a_later_cause\n");
}

static void a_ledger_that_does_not_balance_is_an_alarm(void **state)
{
    const char *text = own_page("{\"ledger\":{\"accepted\":11}}");

    (void)state;
    assert_contains(text, "DOES NOT BALANCE: 11 accepted, 10 accounted for");
    assert_contains(text, "keep a copy of the spool, then: mqtt-spool audit");
}

static void an_audit_file_that_is_not_written_has_its_remedy(void **state)
{
    static const struct {
        const char *error;
        const char *remedy;
    } rows[] = {
        {"No such file or directory", "make the folder of audit.file"},
        {"Not a directory", "make the folder of audit.file"},
        {"is no regular file", "something else has the name of audit.file: move it away"},
        {"is no audit file", "something else has the name of audit.file: move it away"},
        {"Permission denied", "check audit.file, its folder's owner and the free space"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char changes[256];
        const char *text;

        (void)snprintf(changes, sizeof(changes),
                       "{\"audit\":{\"healthy\":false,\"error\":\"%s\"}}", rows[i].error);
        text = own_page(changes);
        assert_contains(text, "audit     NOT WRITTEN just now: ");
        assert_contains(text, rows[i].error);
        assert_contains(text, "2 of at most 100 records wait in the spool");
        assert_contains(text, rows[i].remedy);
    }
}

static void a_forecast_has_spans(void **state)
{
    (void)state;
    assert_contains(own_page("{\"forecast\":{\"full_s\":3600,\"drained_s\":90}}"),
                    "forecast  full: 1 h, drained: 1 min 30 s\n");
    assert_contains(
        own_page("{\"forecast\":{\"full_s\":9223372036854775807,\"drained_s\":-1}}"),
        "forecast  full: -, drained: -\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_daemon_has_a_page_without_alarms),
        cmocka_unit_test(a_stopped_daemon_has_its_remedy),
        cmocka_unit_test(a_daemon_without_a_readable_status_is_unknown),
        cmocka_unit_test(an_empty_object_has_dashes),
        cmocka_unit_test(a_link_that_failed_has_the_time_and_what_is_kept_meanwhile),
        cmocka_unit_test(an_offline_link_promises_nothing_that_is_not_taken),
        cmocka_unit_test(a_clock_that_was_set_back_makes_no_negative_span),
        cmocka_unit_test(a_held_link_is_reported),
        cmocka_unit_test(a_short_disk_and_damage_stand_with_the_spool),
        cmocka_unit_test(several_lanes_have_a_line_each),
        cmocka_unit_test(a_full_lane_has_its_limit_and_its_remedy),
        cmocka_unit_test(what_was_refused_before_is_counted),
        cmocka_unit_test(a_short_disk_has_its_cause_and_its_remedy),
        cmocka_unit_test(each_cause_of_a_refusal_has_its_remedy),
        cmocka_unit_test(a_ledger_that_does_not_balance_is_an_alarm),
        cmocka_unit_test(an_audit_file_that_is_not_written_has_its_remedy),
        cmocka_unit_test(a_forecast_has_spans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
