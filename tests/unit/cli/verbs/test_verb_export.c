/* SPDX-License-Identifier: MIT */
/*
 * test_verb_export.c - tests of `mqtt-spool export` and `mqtt-spool shape`: what they read from
 * the files of a spool, and the options of SELECTION
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sysexits.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/view.h"
#include "cli/cli.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;

void __real_clock_read(struct clock_reading *ret);
void __wrap_clock_read(struct clock_reading *ret);

/* The machine has been up for longer than the oldest message is in the spool. */
void __wrap_clock_read(struct clock_reading *ret)
{
    __real_clock_read(ret);
    ret->boot_ms += 10 * HOUR;
}

static void append_as(struct fixture *f, const char *topic, const char *client, uint32_t uid)
{
    struct spool_message message = make_message("payload");
    uint64_t id;

    message.topic = view_of_text(topic);
    message.client = view_of_text(client);
    message.uid = uid;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
}

/* Messages 1 to 6. */
static int setup_messages(void **state)
{
    static const struct spool_lane lanes[] = {
        {.name = "default", .limits = {1000, 1 << 20, UINT64_MAX, SPOOL_REFUSE}},
        {.name = "alarms", .limits = {1000, 1 << 20, UINT64_MAX, SPOOL_REFUSE}},
    };
    struct spool_message message = make_message("");
    uint64_t id;

    memset(&tool, 0, sizeof(tool));
    if (setup_closed(state) != 0)
        return -1;
    struct fixture *f = *state;
    f->options.lanes = lanes;
    f->options.lane_count = 2;
    f->options.kept = (struct spool_kept_limits){100, 1 << 20, 1000 * (uint64_t)HOUR};
    f->now = cli_now();
    f->now.boot_ms -= 2 * HOUR;
    open_spool(f);
    append_as(f, "plant/1/temp", "press", 0);
    append_as(f, "plant/2/temp", "press", 4242);
    append_as(f, "plant", "saw\x1b", 4242);
    pass_time(f, 2 * HOUR);
    append_as(f, "office", "saw", 4242);
    message.lane = 1;
    message.topic = view_of_text("plant/alarm");
    message.payload = view_of("\0\1\xff", 3);
    message.qos = 2;
    message.retain = true;
    message.expiry_ms = 60000;
    message.ref = view_of_text("order-1");
    message.properties = view_of("\x01\x01\x03\0\1t\x08\0\1r\x09\0\2\0\1\x26\0\1a\0\1b", 22);
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    append_as(f, "office/2", "saw", 4242);
    commit(f);
    return 0;
}

#define EXPORT(f, ...)                                                                         \
    TOOL_RUN(&tool, cli_export, "export", "--directory", (f)->directory, __VA_ARGS__)
#define SHAPE(f, ...)                                                                          \
    TOOL_RUN(&tool, cli_shape, "shape", "--directory", (f)->directory, __VA_ARGS__)

static void expect_ids(const char *ids)
{
    char seen[256] = "";

    for (const char *at = tool.out; (at = strstr(at, "{\"id\":")) != NULL; at++) {
        size_t used = strlen(seen);
        (void)snprintf(seen + used, sizeof(seen) - used, "%d ", atoi(at + 6));
    }
    assert_string_equal(seen, ids);
}

static void all_messages_are_written_in_the_order_of_acceptance(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(TOOL_RUN(&tool, cli_export, "export", "--directory", f->directory), EX_OK);
    expect_ids("1 2 3 4 5 6 ");
    assert_contains(tool.out, "\"payload\":\"cGF5bG9hZA==\"}\n");
    assert_contains(tool.out, "\"client\":\"saw\\u001b\"");
    assert_string_equal(tool.err, "exported 6 messages\n");
}

static void a_message_has_all_that_it_was_published_with(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(EXPORT(f, "--lane", "alarms", "--json"), EX_OK);
    assert_contains(tool.out, "{\"id\":5,\"lane\":\"alarms\",");
    assert_contains(tool.out, "\"qos\":2,\"bytes\":3,");
    assert_contains(tool.out, "\"ref\":\"order-1\",\"retain\":true,\"expiry_ms\":");
    assert_contains(tool.out, "\"payload_format\":1,\"content_type\":\"t\","
                              "\"response_topic\":\"r\",\"correlation_data\":\"AAE=\","
                              "\"user_properties\":[[\"a\",\"b\"]],\"payload\":\"AAH/\"}");
    assert_string_equal(tool.err, "exported 1 message\n");
}

static void each_option_narrows(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(EXPORT(f, "--topic", "plant/#"), EX_OK);
    expect_ids("1 2 3 5 ");
    assert_int_equal(EXPORT(f, "--topic", "+"), EX_OK);
    expect_ids("3 4 ");
    assert_int_equal(EXPORT(f, "--client", "saw"), EX_OK);
    expect_ids("4 6 ");
    assert_int_equal(EXPORT(f, "--user", "root"), EX_OK);
    expect_ids("1 ");
    assert_int_equal(EXPORT(f, "--user", "4242", "--client", "press"), EX_OK);
    expect_ids("2 ");
    assert_int_equal(EXPORT(f, "--older-than", "1h"), EX_OK);
    expect_ids("1 2 3 ");
    assert_int_equal(EXPORT(f, "--id", "6", "--id", "2", "--id", "6", "--id", "99"), EX_OK);
    expect_ids("2 6 ");
}

static void ids_come_from_standard_input_too(void **state)
{
    struct fixture *f = *state;

    tool.input = "4\r\n\n1\n3";
    assert_int_equal(EXPORT(f, "--id", "-", "--id", "2"), EX_OK);
    expect_ids("1 2 3 4 ");
    tool.input = "";
    assert_int_equal(EXPORT(f, "--id", "-"), EX_OK);
    expect_ids("");
    tool.input = "1\nx\n";
    assert_int_equal(EXPORT(f, "--id", "-"), EX_DATAERR);
    assert_contains(tool.err, "standard input, line 2: \"x\" is no id");
    char line[300];
    memset(line, '1', sizeof(line));
    line[sizeof(line) - 1] = '\0';
    tool.input = line;
    assert_int_equal(EXPORT(f, "--id", "-"), EX_DATAERR);
    assert_contains(tool.err, "line 1: this is no id");
}

static void values_that_select_nothing_by_mistake_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(EXPORT(f, "--id", "0"), EX_USAGE);
    assert_int_equal(EXPORT(f, "--topic", "a#"), EX_USAGE);
    assert_contains(tool.err, "--topic is a topic filter");
    assert_int_equal(EXPORT(f, "--user", "no-such-user"), EX_USAGE);
    assert_int_equal(EXPORT(f, "--lane", ""), EX_USAGE);
    assert_int_equal(EXPORT(f, "--lane", "none"), EX_DATAERR);
    assert_contains(tool.err, "there is no lane \"none\"");
    assert_int_equal(
        TOOL_RUN(&tool, cli_shape, "shape", "--directory", f->directory, "--lane", "none"),
        EX_DATAERR);
    assert_int_equal(EXPORT(f, "--older-than", "soon"), EX_USAGE);
    assert_int_equal(TOOL_RUN(&tool, cli_export, "export", "--directory", "/nonexistent"),
                     EX_UNAVAILABLE);
    assert_int_equal(EXPORT(f, "more"), EX_USAGE);
}

static void what_is_kept_aside_is_exported_if_it_is_asked_for(void **state)
{
    const struct spool_verdict verdict = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 0x87};
    struct fixture *f = *state;

    assert_int_equal(EXPORT(f, "--rejected"), EX_OK);
    expect_ids("");
    assert_int_equal(next_id(f), 1);
    assert_int_equal(spool_settle(f->spool, 1, &verdict, f->now.boot_ms), 0);
    commit(f);
    assert_int_equal(EXPORT(f, "--rejected"), EX_OK);
    expect_ids("1 ");
    assert_contains(tool.out, "\"state\":\"rejected\"");
    assert_contains(tool.out, "\"reason\":\"reason_code\",\"code\":135");
    assert_int_equal(TOOL_RUN(&tool, cli_export, "export", "--directory", f->directory), EX_OK);
    expect_ids("2 3 4 5 6 ");
}

static void an_output_that_cannot_be_written_is_reported(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 200; i++)
        append_as(f, "plant/1/temp", "press", 0);
    commit(f);
    tool.output = "/dev/full";
    (void)TOOL_RUN(&tool, cli_export, "export", "--directory", f->directory);
    assert_true(tool.output_failed || tool.code == EX_UNAVAILABLE);
}

/* ---- shape ---- */

static void groups_are_counted_by_the_first_levels(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(TOOL_RUN(&tool, cli_shape, "shape", "--directory", f->directory), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 6);
    assert_contains(tool.out, "  MESSAGES      BYTES     OLDEST      1m     10m      1h");
    assert_contains(tool.out, "         6       38 B");
    assert_contains(tool.out, " (all)\n         3       17 B");
    assert_contains(tool.out, " plant/#\n");
    assert_contains(tool.out, " office\n");
    assert_true(strstr(tool.out, " office\n") < strstr(tool.out, " plant\n"));
    assert_int_equal(SHAPE(f, "--json", "--levels", "2"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 6);
    assert_contains(tool.out, "{\"prefix\":\"plant/1/#\",\"messages\":1,\"bytes\":7,");
    assert_contains(tool.out, "{\"prefix\":\"plant/alarm\",\"messages\":1,\"bytes\":3,");
    assert_contains(tool.out,
                    "\"ages\":{\"1m\":0,\"10m\":0,\"1h\":0,\"6h\":1,\"1d\":0,\"7d\":0,"
                    "\"7d+\":0}}");
    assert_int_equal(SHAPE(f, "--json", "--limit", "1"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 1);
    assert_int_equal(SHAPE(f, "--json", "--lane", "alarms"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 1);
    assert_int_equal(SHAPE(f, "--rejected"), EX_OK);
    assert_int_equal(tool_count_lines(tool.out), 2);
}

static void topics_beyond_the_bound_are_counted_together(void **state)
{
    struct fixture *f = *state;
    char topic[32];

    for (unsigned i = 0; i < 10050; i++) {
        (void)snprintf(topic, sizeof(topic), "t%u", i);
        struct spool_message message = make_message("");
        uint64_t id;
        message.topic = view_of_text(topic);
        message.lane = 0;
        f->options.lanes = NULL;
        static const struct spool_lane lane = {
            .name = "default", .limits = {100000, 1 << 28, UINT64_MAX, SPOOL_REFUSE}};
        if (i == 0)
            assert_int_equal(spool_set_lanes(f->spool, &lane, 1), 0);
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    }
    commit(f);
    assert_int_equal(SHAPE(f, "--json", "--limit", "3"), EX_OK);
    assert_contains(tool.out, "{\"prefix\":\"(others)\",\"messages\":54,");
    assert_int_equal(tool_count_lines(tool.out), 4);
}

static void a_topic_from_outside_is_printed_in_its_visible_form(void **state)
{
    struct fixture *f = *state;

    append_as(f, "a\x1b[31m", "c", 0);
    commit(f);
    assert_int_equal(TOOL_RUN(&tool, cli_shape, "shape", "--directory", f->directory), EX_OK);
    assert_contains(tool.out, "a\\x1B[31m\n");
    assert_lacks(tool.out, "\x1b");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_messages, teardown)
    const struct CMUnitTest tests[] = {
        CASE(all_messages_are_written_in_the_order_of_acceptance),
        CASE(a_message_has_all_that_it_was_published_with),
        CASE(each_option_narrows),
        CASE(ids_come_from_standard_input_too),
        CASE(values_that_select_nothing_by_mistake_are_refused),
        CASE(what_is_kept_aside_is_exported_if_it_is_asked_for),
        CASE(an_output_that_cannot_be_written_is_reported),
        CASE(groups_are_counted_by_the_first_levels),
        CASE(topics_beyond_the_bound_are_counted_together),
        CASE(a_topic_from_outside_is_printed_in_its_visible_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
