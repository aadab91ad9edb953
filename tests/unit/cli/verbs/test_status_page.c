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

static void what_is_kept_aside_is_shown_with_the_last_cause(void **state)
{
    const char *text =
        own_page("{\"rejected\":{\"messages\":4,\"bytes\":2048,\"last\":{\"time\":"
                 "\"2026-11-01T12:00:00.000Z\",\"topic\":\"plant/\\u001b1\","
                 "\"reason\":\"reason_code\",\"code\":135}}}");

    (void)state;
    assert_contains(text,
                    "\nrejected  4 kept aside, 2.0 KiB, besides the spool: the broker did "
                    "not take them\n"
                    "          the last one at 2026-11-01T12:00:00.000Z, reason_code 0x87 "
                    "(not authorized): plant/\\x1B1\n"
                    "          mqtt-spool failures has the reason of each\n");
    text = own_page("{\"rejected\":{\"messages\":1,\"bytes\":9,\"last\":{\"time\":\"t\","
                    "\"topic\":\"x\",\"reason\":\"poison\",\"code\":null}}}");
    assert_contains(text, "          the last one at t, poison: x\n");
    text = own_page("{\"rejected\":{\"messages\":1,\"bytes\":9}}");
    assert_contains(text, "\nrejected  1 kept aside, 9 B");
    assert_lacks(text, "the last one");
}

static void one_of_something_is_not_more(void **state)
{
    const char *text =
        own_page("{\"audit\":{\"healthy\":false,\"error\":\"x\",\"waiting\":1,"
                 "\"max_waiting\":1},\"intake\":{\"refusing\":\"audit_waiting\"},"
                 "\"salvage\":{\"time\":\"t\",\"salvaged\":1,\"damaged\":1},"
                 "\"link\":{\"rate\":{\"messages\":1}}}");

    (void)state;
    assert_contains(text, "1 of at most 1 record waits in the spool");
    assert_contains(text, "1 record waits for the audit file");
    assert_contains(text, "missing; 1 message\n          could be read and is kept, 1 is rec");
    assert_contains(text, "to 1 message/s\n");
}

static void a_certificate_that_expires_soon_is_shown(void **state)
{
    (void)state;
    assert_contains(
        own_page("{\"link\":{\"certificate_expires\":\"2026-11-03T12:01:05.000Z\"}}"),
        "          A CERTIFICATE EXPIRES in 2 d (2026-11-03T12:01:05.000Z)\n"
        "          -> replace the file of uplink.tls, ");
    assert_contains(
        own_page("{\"link\":{\"certificate_expires\":\"2026-11-01T12:01:04.000Z\"}}"),
        "A CERTIFICATE HAS EXPIRED 1 s ago");
    assert_lacks(own_page("{\"link\":{\"certificate_expires\":\"2026-11-09T12:01:05.000Z\"}}"),
                 "CERTIFICATE");
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
    assert_contains(text, "messages are taken and kept; they go out when the link is online");
}

static void a_pause_of_the_link_has_its_end_and_what_ends_it(void **state)
{
    const char *text =
        own_page("{\"link\":{\"state\":\"connecting\",\"last_error\":\"no route\","
                 "\"remedy\":\"see the cable\","
                 "\"next_attempt\":\"2026-11-01T12:02:57.613Z\"}}");

    (void)state;
    assert_contains(text, "          -> see the cable\n"
                          "          next attempt in 1 min 53 s; at once: mqtt-spool flush\n");
    assert_contains(own_page("{\"link\":{\"next_attempt\":\"2026-11-01T12:01:05.001Z\"}}"),
                    "next attempt in 1 s; ");
    assert_lacks(own_page("{\"link\":{\"state\":\"connecting\",\"next_attempt\":null}}"),
                 "next attempt");
}

static void an_offline_link_promises_nothing_that_is_not_taken(void **state)
{
    const char *text = own_page("{\"link\":{\"state\":\"connecting\"},"
                                "\"intake\":{\"refusing\":\"database_locked\"}}");

    (void)state;
    assert_lacks(text, "messages are taken");
    assert_contains(text, "what is spooled goes out when the link is online");
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
    assert_contains(own_page("{\"link\":{\"state\":\"refused\",\"refused_code\":151,"
                             "\"remedy\":\"check it\"}}"),
                    "          -> check it\n"
                    "          THE BROKER REFUSES EVERY MESSAGE: quota exceeded (code 0x97)\n"
                    "          messages are kept, a few are tried from time to time\n");
}

static void what_the_connection_lacks_is_reported(void **state)
{
    (void)state;
    assert_contains(own_page("{\"link\":{\"state\":\"online\",\"protocol\":\"3.1.1\"}}"),
                    "          MQTT 3.1.1: without properties, message expiry and reported "
                    "refusals (uplink.protocol)\n");
    assert_lacks(own_page("{\"link\":{\"state\":\"online\",\"protocol\":\"5\"}}"), "MQTT 3");
    assert_contains(
        own_page("{\"link\":{\"presence_error\":\"not authorized\"}}"),
        "          the broker refuses the message of uplink.presence: not authorized\n"
        "          -> allow this client id to publish to its topic, or change "
        "uplink.presence\n");
}

static void the_last_error_has_its_remedy(void **state)
{
    (void)state;
    assert_contains(
        own_page("{\"link\":{\"state\":\"connecting\",\"last_error\":\"bad "
                 "password\",\"remedy\":\"correct uplink.password_file\"}}"),
        ": bad password\n          -> correct uplink.password_file\n"
        "          messages are taken and kept; they go out when the link is online\n");
}

static void what_a_hup_has_not_applied_is_named(void **state)
{
    (void)state;
    assert_contains(
        own_page("{\"configuration\":{\"restart_keys\":\"listen.mode,uplink.window\"}}"),
        ", pid 4711\n"
        "          RESTART NEEDED: a reload does not change listen.mode,uplink.window\n"
        "          -> systemctl restart mqtt-spoold\n"
        "link ");
    assert_contains(
        own_page("{\"configuration\":{\"refused\":\"file\"}}"),
        "          THE LAST RELOAD CHANGED NOTHING: the configuration had an error\n"
        "          -> correct what mqtt-spoold --test-config names, then reload "
        "(systemctl reload mqtt-spoold, or HUP)\n");
    assert_contains(own_page("{\"configuration\":{\"refused\":\"lanes\"}}"),
                    "          THE LAST RELOAD LEFT lanes AND retention AS THEY WERE: too many "
                    "names of lanes\n"
                    "          -> use the names of older lanes again, or wait until their "
                    "records are gone (audit.keep)\n");
    assert_lacks(own_page("{\"configuration\":{\"restart_keys\":null,\"refused\":null}}"),
                 "RELOAD");
}

#define FAILED(state, time)                                                                    \
    "\"state\":\"" state "\",\"last_error\":\"no route\",\"remedy\":\"see the "                \
    "cable\",\"last_error_time\":\"2026-11-01T12:" time ".000Z\""

/* It was online from 12:00:10 on, and the broker acknowledged at 12:01:02. */
static void an_error_that_is_over_is_no_present_one(void **state)
{
    static const char over[] = ", which is over: no route\n"
                               "          -> if it comes again: see the cable\n";
    static const char present[] = " ago: no route\n          -> see the cable\n";

    (void)state;
    assert_contains(own_page("{\"link\":{" FAILED("online", "00:05") "}}"), over);
    assert_contains(own_page("{\"link\":{" FAILED("online", "01:01") "}}"), over);
    assert_contains(own_page("{\"link\":{" FAILED("online", "01:03") "}}"), present);
    assert_contains(own_page("{\"link\":{" FAILED("connecting", "00:05") "}}"), present);
    assert_contains(own_page("{\"link\":{" FAILED("refused", "00:05") "}}"), present);
    /* Connected again, and nothing was acknowledged since: is there something to send? */
    assert_contains(
        own_page("{\"link\":{\"acknowledged\":\"\"," FAILED("online", "00:05") "}}"), present);
}

static void after_an_error_nothing_need_be_acknowledged_where_nothing_waits(void **state)
{
    static const char over[] = "1 min ago, which is over: no route\n";

    (void)state;
    assert_contains(own_page("{\"spool\":{\"messages\":0},\"link\":{\"state\":\"online\","
                             "\"last_error\":\"no route\",\"acknowledged\":\"\","
                             "\"last_error_time\":\"2026-11-01T12:00:05.000Z\"}}"),
                    over);
    assert_contains(own_page("{\"link\":{\"state\":\"held\",\"last_error\":\"no route\","
                             "\"acknowledged\":\"\","
                             "\"last_error_time\":\"2026-11-01T12:00:05.000Z\"}}"),
                    over);
}

static void what_had_no_subscriber_is_counted(void **state)
{
    (void)state;
    assert_contains(own_page("{\"link\":{\"no_subscriber\":2}}"),
                    "          2 messages delivered since the start had no subscriber at the "
                    "broker\n"
                    "          -> subscribe there, or correct the topic\n");
    assert_contains(own_page("{\"link\":{\"no_subscriber\":1}}"),
                    "          1 message delivered since the start had no subscriber");
    assert_lacks(own_page("{\"link\":{\"no_subscriber\":0}}"), "subscriber");
}

static void a_rate_that_is_limited_is_shown(void **state)
{
    (void)state;
    assert_contains(own_page("{\"link\":{\"rate\":{\"messages\":50,\"bytes\":10240}}}"),
                    "2.5/s out, limited by uplink.rate to 50 messages/s and 10.0 KiB/s\n");
    assert_contains(own_page("{\"link\":{\"rate\":{\"messages\":0,\"bytes\":1024}}}"),
                    "2.5/s out, limited by uplink.rate to 1.0 KiB/s\n");
    assert_contains(own_page("{\"link\":{\"rate\":{\"messages\":0,\"bytes\":0}}}"),
                    "2.5/s out\n");
}

static void a_short_disk_and_damage_stand_with_the_spool(void **state)
{
    const char *text = own_page("{\"spool\":{\"disk_free_bytes\":1048576,\"damaged_files\":2},"
                                "\"salvage\":{\"time\":\"2026-11-01T11:00:00.000Z\","
                                "\"salvaged\":7,\"damaged\":1,\"damaged_unknown\":true}}");

    (void)state;
    assert_contains(text, "1.0 MiB free, below spool.disk_reserve (16.0 MiB)\n"
                          "          new messages go into free pages inside spool.db\n");
    assert_contains(text, "DAMAGED: 2 databases moved aside");
    assert_contains(text, "SALVAGED at 2026-11-01T11:00:00.000Z");
    assert_contains(text, "7 messages");
    assert_contains(text, "1 is recorded as damaged");
    assert_contains(text, "HOW MANY THERE WERE IS UNKNOWN");
    assert_lacks(own_page("{\"salvage\":{\"time\":\"2026-11-01T11:00:00.000Z\"}}"),
                 "IS UNKNOWN");
    assert_lacks(own_page("{\"spool\":{\"disk_free_bytes\":10},\"intake\":{\"refusing\":"
                          "\"disk\"}}"),
                 "go into free pages");
    assert_lacks(own_page("{\"spool\":{\"disk_free_bytes\":10,\"disk_short\":\"x\"}}"),
                 "go into free pages");
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
        text,
        "intake    lane \"default\" REFUSES new messages: 5 of 5 messages, "
        "when_full = \"refuse\"\n"
        "          bring the link back, or raise retention.max_messages and reload (systemctl reload mqtt-spoold, or HUP)\n"
        "          1 message refused since the start\n");
    text = own_page("{\"lanes\":[{\"name\":\"alarms\",\"messages\":1,\"bytes\":1024,"
                    "\"max_messages\":5,\"max_bytes\":1024,\"full\":true,"
                    "\"when_full\":\"block\"}]}");
    assert_contains(text, "lane \"alarms\" HOLDS ITS PRODUCERS BACK: 1.0 KiB of 1.0 KiB "
                          "(max_bytes), when_full = \"block\"");
    assert_contains(
        text,
        "bring the link back, or raise its max_bytes and reload (systemctl reload mqtt-spoold, or HUP)");
    assert_lacks(text, "refused since");
    assert_contains(
        own_page("{\"lanes\":[{\"name\":\"alarms\",\"messages\":5,\"max_messages\":5,"
                 "\"full\":true,\"held\":true,\"when_full\":\"block\"}]}"),
        "          release it (mqtt-spool release), or raise its max_messages");
    assert_lacks(tool.out, "bring the link back");
}

#define EVICTING                                                                                \
    "\"messages\":5,\"bytes\":10,\"oldest_age_ms\":1000,\"max_messages\":5,\"max_bytes\":1024," \
    "\"full\":false,\"when_full\":\"evict-oldest\",\"ledger\":{\"evicted\":150}"

static void a_full_lane_that_evicts_has_a_remark(void **state)
{
    (void)state;
    assert_contains(
        own_page(
            "{\"lanes\":[{\"name\":\"small\"," EVICTING
            "},{\"name\":\"default\",\"messages\":2,\"bytes\":20,\"oldest_age_ms\":2000}]}"),
        "lanes     small            5 of 5 messages, 10 B of 1.0 KiB, oldest 1 s\n"
        "          FULL: each new message EVICTS the oldest one, 150 were evicted so far\n"
        "          -> mqtt-spool failures names them; bring the link back, or raise its "
        "max_messages and reload (systemctl reload mqtt-spoold, or HUP)\n"
        "          default          2 messages");
    assert_contains(
        own_page("{\"lanes\":[{\"name\":\"default\"," EVICTING ",\"held\":true}]}"),
        "\n          FULL: each new message EVICTS the oldest one, 150 were evicted so "
        "far\n"
        "          -> mqtt-spool failures names them; release it (mqtt-spool release), "
        "or raise retention.max_messages and reload (systemctl reload mqtt-spoold, or HUP)\n"
        "          HELD by an operator\n");
}

static void a_lane_that_left_the_configuration_evicts_nothing(void **state)
{
    const char *text = own_page(
        "{\"lanes\":[{\"name\":\"default\",\"messages\":2,\"bytes\":20,\"oldest_age_ms\":2000,"
        "\"configured\":true},{\"name\":\"old\"," EVICTING ",\"configured\":false}]}");

    (void)state;
    assert_contains(
        text, "          old              5 messages, 10 B, oldest 1 s, no longer configured\n"
              "          nothing new comes in; what is left is sent, within the limits of "
              "\"default\"\n");
    assert_lacks(text, "EVICTS");
}

/* Nothing of it is sent: no promise of that. */
static void a_lane_that_left_the_configuration_waits_while_it_is_held(void **state)
{
    const char *text =
        own_page("{\"lanes\":[{\"name\":\"default\",\"configured\":true},{\"name\":\"old\","
                 "\"messages\":5,\"held\":true,\"configured\":false}]}");

    (void)state;
    assert_contains(text, ", HELD by an operator, no longer configured\n"
                          "          nothing new comes in; what is left waits until mqtt-spool "
                          "release --lane NAME\n");
    assert_lacks(text, "is sent, within");
    text = own_page("{\"link\":{\"all_held\":true},\"lanes\":[{\"name\":\"default\"},{\"name\":"
                    "\"old\",\"messages\":5,\"held\":true,\"configured\":false}]}");
    assert_contains(text, "          nothing new comes in; what is left waits until mqtt-spool "
                          "release\n");
}

static void what_an_operator_holds_is_named(void **state)
{
    (void)state;
    assert_contains(own_page("{\"link\":{\"state\":\"held\"}}"),
                    "link      held, broker ssl://b:8883");
    assert_contains(tool.out,
                    "HELD BY AN OPERATOR: nothing is sent until mqtt-spool release\n");
    assert_lacks(tool.out, "HELD by an operator");
    assert_contains(own_page("{\"link\":{\"state\":\"connecting\",\"all_held\":true}}"),
                    "HELD BY AN OPERATOR: nothing is sent until mqtt-spool release\n");
    assert_lacks(tool.out, "when the link is online");
    assert_contains(own_page("{\"lanes\":[{\"name\":\"default\",\"held\":true}]}"),
                    "          HELD by an operator\n");
    assert_lacks(tool.out, "HELD BY");
    assert_contains(own_page("{\"lanes\":[{\"name\":\"default\",\"messages\":0,\"held\":false},"
                             "{\"name\":\"bulk\",\"messages\":2,\"bytes\":9,"
                             "\"oldest_age_ms\":1000,\"held\":true}]}"),
                    "bulk             2 messages, 9 B, oldest 1 s, HELD by an operator\n");
}

static void what_was_refused_before_is_counted(void **state)
{
    (void)state;
    assert_contains(own_page("{\"producers\":{\"messages_refused\":1}}"),
                    "producers 1 message was refused since the start; none now\n");
    assert_contains(
        own_page("{\"producers\":{\"messages_refused\":2,\"refused_reason\":\"limits of "
                 "lane a\",\"refused_time\":\"2026-11-01T12:00:05.000Z\"}}"),
        "2 messages were refused since the start; none now\n"
        "          the newest 1 min ago: limits of lane a\n");
    assert_contains(
        own_page("{\"producers\":{\"messages_refused\":1,\"clients_refused\":2}}"),
        "producers 2 clients refused since the start; the log has why (client_refused)\n"
        "          1 message was refused since the start; none now\n");
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
        {"17896 KiB are free, of which disk_reserve keeps 16384 KiB",
         ":\n          1.0 GiB free, of which spool.disk_reserve keeps 16.0 MiB; a third of "
         "the rest is for messages, which is too little\n",
         "make room on the disk of the spool (docs/disk.md)"},
        {"a write had no room (EFBIG)", "a write had no room (EFBIG)", "LimitFSIZE="},
        {"a write had no room (EDQUOT)", "a write had no room (EDQUOT)", "raise the quota"},
        {"another program reads", "another program reads", "end that program (fuser -v"},
        {"(ENOSPC): no space to write a; the file system reports 17896 KiB free",
         "(ENOSPC): no space to write a; the file system has 1.0 GiB free\n",
         "make room on the disk of the spool"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char changes[256];
        const char *text;

        (void)snprintf(changes, sizeof(changes),
                       "{\"intake\":{\"refusing\":\"disk\"},\"spool\":{\"disk_short\":\"%s\"}}",
                       rows[i].detail);
        text = own_page(changes);
        assert_contains(text, "intake    NO MESSAGE IS ACCEPTED, too little disk space:\n");
        assert_contains(text, rows[i].shown);
        assert_contains(text, rows[i].remedy);
        assert_lacks(text, "KiB free");
        (void)snprintf(changes, sizeof(changes), "{\"spool\":{\"disk_short\":\"%s\"}}",
                       rows[i].detail);
        assert_contains(own_page(changes), "intake    NEW MESSAGES MAY EVICT OLD ONES");
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
                    "NO MESSAGE IS ACCEPTED, too little disk space:\n"
                    "          10 B free, spool.disk_reserve is 16.0 MiB\n");
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
        {"another process writes it", "name another one for one of the two"},
        {"Permission denied", "check audit.file, its folder's owner and the free space"},
        {"No space left on device", "make room on the disk of audit.file"},
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
        cmocka_unit_test(what_is_kept_aside_is_shown_with_the_last_cause),
        cmocka_unit_test(one_of_something_is_not_more),
        cmocka_unit_test(a_certificate_that_expires_soon_is_shown),
        cmocka_unit_test(a_stopped_daemon_has_its_remedy),
        cmocka_unit_test(a_daemon_without_a_readable_status_is_unknown),
        cmocka_unit_test(an_empty_object_has_dashes),
        cmocka_unit_test(a_link_that_failed_has_the_time_and_what_is_kept_meanwhile),
        cmocka_unit_test(a_pause_of_the_link_has_its_end_and_what_ends_it),
        cmocka_unit_test(an_offline_link_promises_nothing_that_is_not_taken),
        cmocka_unit_test(a_clock_that_was_set_back_makes_no_negative_span),
        cmocka_unit_test(a_held_link_is_reported),
        cmocka_unit_test(a_short_disk_and_damage_stand_with_the_spool),
        cmocka_unit_test(several_lanes_have_a_line_each),
        cmocka_unit_test(what_the_connection_lacks_is_reported),
        cmocka_unit_test(the_last_error_has_its_remedy),
        cmocka_unit_test(what_a_hup_has_not_applied_is_named),
        cmocka_unit_test(an_error_that_is_over_is_no_present_one),
        cmocka_unit_test(after_an_error_nothing_need_be_acknowledged_where_nothing_waits),
        cmocka_unit_test(what_had_no_subscriber_is_counted),
        cmocka_unit_test(a_rate_that_is_limited_is_shown),
        cmocka_unit_test(a_full_lane_has_its_limit_and_its_remedy),
        cmocka_unit_test(a_full_lane_that_evicts_has_a_remark),
        cmocka_unit_test(a_lane_that_left_the_configuration_evicts_nothing),
        cmocka_unit_test(a_lane_that_left_the_configuration_waits_while_it_is_held),
        cmocka_unit_test(what_an_operator_holds_is_named),
        cmocka_unit_test(what_was_refused_before_is_counted),
        cmocka_unit_test(a_short_disk_has_its_cause_and_its_remedy),
        cmocka_unit_test(each_cause_of_a_refusal_has_its_remedy),
        cmocka_unit_test(a_ledger_that_does_not_balance_is_an_alarm),
        cmocka_unit_test(an_audit_file_that_is_not_written_has_its_remedy),
        cmocka_unit_test(a_forecast_has_spans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
