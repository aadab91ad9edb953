/* SPDX-License-Identifier: MIT */
/*
 * test_publish_options.c - tests of the arguments of `mqtt-spool publish`: values,
 * defaults, and what is wrong
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sysexits.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/verbs/publish.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;
static struct publish_options options;
static char text[64]; /* of text_or_file, whose argument is gone after the run */

static int parse(const struct cli *cli, int argc, char **argv)
{
    int code;

    (void)cli;
    code = publish_parse(argc, argv, &options);
    text[0] = '\0';
    if (options.text_or_file)
        (void)snprintf(text, sizeof(text), "%s", options.text_or_file);
    if (options.user_property_count > 0)
        (void)snprintf(text, sizeof(text), "%s", options.user_properties[0]);
    free(options.user_properties);
    return code;
}

#define PARSE(...)      TOOL_RUN(&tool, parse, "publish", __VA_ARGS__)
#define PARSE_WITH(...) PARSE("-t", "plant/1", "-m", "21.5", __VA_ARGS__)

static void expect_wrong(int code, int wanted, const char *part)
{
    assert_int_equal(code, wanted);
    assert_contains(tool.err, part);
    if (wanted == EX_USAGE)
        assert_contains(tool.err, "Try: mqtt-spool help publish\n");
    assert_string_equal(tool.out, "");
}

static void a_topic_and_a_text_are_enough(void **state)
{
    (void)state;
    assert_int_equal(PARSE("-t", "plant/1", "-m", "21.5"), CLI_CONTINUE);
    assert_int_equal(options.source, PUBLISH_TEXT);
    assert_string_equal(text, "21.5");
    assert_int_equal(options.version, 5);
    assert_int_equal(options.qos, 1);
    assert_int_equal(options.timeout_ms, 30000);
    assert_int_equal(options.expiry_s, 0);
    assert_false(options.is_retained || options.is_json || options.is_verbose ||
                 options.is_utf8);
    assert_null(options.socket);
    assert_null(options.client_id);
}

static void each_source_is_known(void **state)
{
    (void)state;
    assert_int_equal(PARSE("-t", "a", "-f", "/x"), CLI_CONTINUE);
    assert_int_equal(options.source, PUBLISH_FILE);
    assert_string_equal(text, "/x");
    assert_int_equal(PARSE("-t", "a", "-l"), CLI_CONTINUE);
    assert_int_equal(options.source, PUBLISH_LINES);
    assert_int_equal(PARSE("-t", "a", "-s"), CLI_CONTINUE);
    assert_int_equal(options.source, PUBLISH_INPUT);
    assert_int_equal(PARSE("-t", "a", "-m", ""), CLI_CONTINUE);
    assert_int_equal(options.source, PUBLISH_TEXT);
}

static void there_is_one_source(void **state)
{
    (void)state;
    expect_wrong(PARSE_WITH("-l"), EX_USAGE, "give just one of -m, -f, -l and -s");
    expect_wrong(PARSE_WITH("-m", "b"), EX_USAGE, "give just one of");
    expect_wrong(PARSE("-t", "a"), EX_USAGE, "nothing to publish: give one of");
    expect_wrong(PARSE("-m", "a"), EX_USAGE, "-t TOPIC is missing");
    expect_wrong(PARSE_WITH("more"), EX_USAGE, "what is \"more\"? A message is given with -m");
}

static void qos_is_0_or_1(void **state)
{
    (void)state;
    assert_int_equal(PARSE_WITH("-q", "0"), CLI_CONTINUE);
    assert_int_equal(options.qos, 0);
    assert_int_equal(PARSE_WITH("-q", "1"), CLI_CONTINUE);
    assert_int_equal(options.qos, 1);
    expect_wrong(PARSE_WITH("-q", "3"), EX_USAGE, "-q is 0 or 1, not \"3\"");
    expect_wrong(PARSE_WITH("-q", "2"), EX_DATAERR, "use -q 1");
}

static void the_version_has_two_names_for_3_1_1(void **state)
{
    (void)state;
    assert_int_equal(PARSE_WITH("-V", "5"), CLI_CONTINUE);
    assert_int_equal(options.version, 5);
    assert_int_equal(PARSE_WITH("-V", "4"), CLI_CONTINUE);
    assert_int_equal(options.version, 4);
    assert_int_equal(PARSE_WITH("-V", "311"), CLI_CONTINUE);
    assert_int_equal(options.version, 4);
    expect_wrong(PARSE_WITH("-V", "3"), EX_USAGE, "not \"3\"");
}

static void spans_are_seconds_or_have_a_unit(void **state)
{
    (void)state;
    assert_int_equal(PARSE_WITH("--expiry", "90"), CLI_CONTINUE);
    assert_int_equal(options.expiry_s, 90);
    assert_int_equal(PARSE_WITH("--expiry", "2h"), CLI_CONTINUE);
    assert_int_equal(options.expiry_s, 7200);
    assert_int_equal(PARSE_WITH("--expiry", "4294967295"), CLI_CONTINUE);
    assert_int_equal(options.expiry_s, UINT32_MAX);
    assert_int_equal(PARSE_WITH("--timeout", "1"), CLI_CONTINUE);
    assert_int_equal(options.timeout_ms, 1000);
    assert_int_equal(PARSE_WITH("--timeout", "250ms"), CLI_CONTINUE);
    assert_int_equal(options.timeout_ms, 250);
}

static void wrong_spans_are_refused(void **state)
{
    static const char *const wrong_expiries[] = {"0", "", "-1", "500ms", "4294967296", "soon"};
    static const char *const wrong_timeouts[] = {"0", "", "x", "0s", "100d"};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong_expiries) / sizeof(wrong_expiries[0]); i++)
        expect_wrong(PARSE_WITH("--expiry", wrong_expiries[i]), EX_USAGE,
                     "--expiry is 1 to 4294967295 seconds, or a span like 10m, not \"");
    for (size_t i = 0; i < sizeof(wrong_timeouts) / sizeof(wrong_timeouts[0]); i++)
        expect_wrong(PARSE_WITH("--timeout", wrong_timeouts[i]), EX_USAGE,
                     "--timeout is a span like 30s, not \"");
}

static void user_properties_have_a_name(void **state)
{
    (void)state;
    assert_int_equal(PARSE_WITH("--user", "a=b=c", "--user", "d="), CLI_CONTINUE);
    assert_int_equal(options.user_property_count, 2);
    assert_string_equal(text, "a=b=c");
    expect_wrong(PARSE_WITH("--user", "a"), EX_USAGE, "--user takes NAME=VALUE, not \"a\"");
    expect_wrong(PARSE_WITH("--user", "=b"), EX_USAGE, "--user takes NAME=VALUE");
}

static void the_other_options_are_taken(void **state)
{
    (void)state;
    assert_int_equal(PARSE_WITH("--retain", "--json", "-v", "-i", "me", "--socket", "/s",
                                "--content-type", "t", "--response-topic", "r", "--correlation",
                                "c", "--ref", "o", "--payload-format", "utf8"),
                     CLI_CONTINUE);
    assert_true(options.is_retained && options.is_json && options.is_verbose &&
                options.is_utf8);
    assert_true(options.client_id && options.socket && options.content_type);
    assert_true(options.response_topic && options.correlation && options.ref);
    expect_wrong(PARSE_WITH("--payload-format", "json"), EX_USAGE,
                 "--payload-format is utf8, not \"json\"");
}

static void properties_need_mqtt_5(void **state)
{
    static const char *const properties[][2] = {
        {"--expiry", "1"},      {"--content-type", "t"},      {"--response-topic", "r"},
        {"--correlation", "c"}, {"--payload-format", "utf8"}, {"--ref", "o"},
        {"--user", "a=b"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++)
        expect_wrong(PARSE_WITH("-V", "4", properties[i][0], properties[i][1]), EX_USAGE,
                     "need MQTT 5 (-V 5)");
    assert_int_equal(PARSE_WITH("-V", "4", "--retain", "-q", "0"), CLI_CONTINUE);
}

static void help_and_misplaced_options(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--help"), EX_OK);
    assert_contains(tool.out, "Usage: mqtt-spool publish -t TOPIC");
    expect_wrong(PARSE("-c"), EX_USAGE, "-c and --config stand before the verb");
    expect_wrong(PARSE("-t"), EX_USAGE, "the option \"-t\" needs a value");
    expect_wrong(PARSE("--nonsense"), EX_USAGE, "wrong option \"--nonsense\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topic_and_a_text_are_enough),
        cmocka_unit_test(each_source_is_known),
        cmocka_unit_test(there_is_one_source),
        cmocka_unit_test(qos_is_0_or_1),
        cmocka_unit_test(the_version_has_two_names_for_3_1_1),
        cmocka_unit_test(spans_are_seconds_or_have_a_unit),
        cmocka_unit_test(wrong_spans_are_refused),
        cmocka_unit_test(user_properties_have_a_name),
        cmocka_unit_test(the_other_options_are_taken),
        cmocka_unit_test(properties_need_mqtt_5),
        cmocka_unit_test(help_and_misplaced_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
