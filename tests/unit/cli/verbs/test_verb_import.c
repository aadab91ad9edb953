/* SPDX-License-Identifier: MIT */
/*
 * test_verb_import.c - tests of `mqtt-spool import`: which messages a line becomes, and what is
 * sent after one that is refused
 *
 * The daemon is a fake behind libmosquitto's functions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <mqtt_protocol.h>
#include <sysexits.h>

#include "cli/cli.h"
#include "tests/support/mosquitto_fake.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;

static int setup(void **state)
{
    (void)state;
    memset(&tool, 0, sizeof(tool));
    mosquitto_fake_reset();
    mosquitto_fake.id_name = "spool-id";
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mosquitto_fake_reset();
    return 0;
}

#define IMPORT(...)  TOOL_RUN(&tool, cli_import, "import", "--socket", "/run/x/s", __VA_ARGS__)
#define IMPORT_ALL() TOOL_RUN(&tool, cli_import, "import", "--socket", "/run/x/s")

static void a_line_becomes_the_message_that_it_was(void **state)
{
    char *text = NULL;
    char *name = NULL;
    void *data = NULL;
    uint16_t size = 0;
    uint32_t expiry = 0;

    (void)state;
    tool.input = "{\"id\":5,\"topic\":\"plant/1\",\"qos\":2,\"retain\":true,\"expiry_ms\":1001,"
                 "\"payload_format\":1,\"content_type\":\"t\",\"response_topic\":\"r/s\","
                 "\"correlation_data\":\"AAE=\",\"user_properties\":[[\"a\",\"b\"]],"
                 "\"later\":{},\"payload\":\"AAH/\"}\n";
    assert_int_equal(IMPORT("--client-id", "mover"), EX_OK);
    assert_string_equal(tool.out, "1 message was accepted\n");
    assert_string_equal(mosquitto_fake.client_id, "mover");
    assert_int_equal(mosquitto_fake.version, MQTT_PROTOCOL_V5);
    assert_string_equal(mosquitto_fake.topic, "plant/1");
    assert_int_equal(mosquitto_fake.qos, 2);
    assert_true(mosquitto_fake.retain);
    assert_int_equal(mosquitto_fake.sizes[0], 3);
    assert_memory_equal(mosquitto_fake.payloads[0], "\0\1\xff", 3);
    const mosquitto_property *list = mosquitto_fake.properties;
    assert_non_null(
        mosquitto_property_read_int32(list, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, &expiry, false));
    assert_int_equal(expiry, 2);
    assert_non_null(
        mosquitto_property_read_binary(list, MQTT_PROP_CORRELATION_DATA, &data, &size, false));
    assert_int_equal(size, 2);
    assert_memory_equal(data, "\0\1", 2);
    free(data);
    assert_non_null(mosquitto_property_read_string(list, MQTT_PROP_CONTENT_TYPE, &text, false));
    assert_string_equal(text, "t");
    free(text);
    assert_non_null(
        mosquitto_property_read_string(list, MQTT_PROP_RESPONSE_TOPIC, &text, false));
    assert_string_equal(text, "r/s");
    free(text);
    assert_non_null(mosquitto_property_read_string_pair(list, MQTT_PROP_USER_PROPERTY, &name,
                                                        &text, false));
    assert_string_equal(name, "a");
    assert_string_equal(text, "b");
    free(name);
    free(text);
}

static void messages_keep_their_order_and_are_counted(void **state)
{
    (void)state;
    tool.input =
        "{\"topic\":\"a\",\"payload\":\"MQ==\"}\n\n{\"topic\":\"a\",\"payload\":\"Mg==\"}\n"
        "{\"topic\":\"a\",\"payload\":\"\"}\n{\"topic\":\"a\",\"payload\":\"MTIzNA==\"}";
    assert_int_equal(IMPORT("--json"), EX_OK);
    assert_int_equal(mosquitto_fake.sent, 4);
    assert_string_equal(mosquitto_fake.payloads[0], "1");
    assert_string_equal(mosquitto_fake.payloads[1], "2");
    assert_string_equal(mosquitto_fake.payloads[2], "");
    assert_string_equal(mosquitto_fake.payloads[3], "1234");
    assert_int_equal(mosquitto_fake.qos, 1);
    assert_string_equal(tool.out, "{\"id\":101,\"line\":1,\"result\":\"accepted\"}\n"
                                  "{\"id\":102,\"line\":3,\"result\":\"accepted\"}\n"
                                  "{\"id\":103,\"line\":4,\"result\":\"accepted\"}\n"
                                  "{\"id\":104,\"line\":5,\"result\":\"accepted\"}\n");
}

static void what_has_expired_is_left_out_and_qos_0_is_mentioned(void **state)
{
    (void)state;
    tool.input = "{\"topic\":\"a\",\"payload\":\"\",\"expiry_ms\":0}\n"
                 "{\"topic\":\"a\",\"payload\":\"\",\"qos\":0}\n";
    assert_int_equal(IMPORT_ALL(), EX_OK);
    assert_int_equal(mosquitto_fake.sent, 1);
    assert_contains(tool.err, "left out because expired: 1");
    assert_contains(tool.err, "1 message is of QoS 0");
}

static void a_line_that_is_wrong_ends_it_and_is_named(void **state)
{
    static const struct {
        const char *line;
        const char *error;
    } cases[] = {
        {"no", "this is no JSON object"},
        {"[]", "this is no JSON object"},
        {"{\"payload\":\"\"}", "\"topic\" is not a topic"},
        {"{\"topic\":\"\",\"payload\":\"\"}", "\"topic\" is not a topic"},
        {"{\"topic\":\"a\"}", "\"payload\" is not base64"},
        {"{\"topic\":\"a\",\"payload\":\"abc\"}", "\"payload\" is not base64"},
        {"{\"topic\":\"a\",\"payload\":\"a=bc\"}", "\"payload\" is not base64"},
        {"{\"topic\":\"a\",\"payload\":\"\",\"qos\":3}", "\"qos\" is not 0, 1 or 2"},
        {"{\"topic\":\"a\",\"payload\":\"\",\"expiry_ms\":-1}", "\"expiry_ms\" is not"},
        {"{\"topic\":\"a\",\"payload\":\"\",\"payload_format\":2}",
         "\"payload_format\" is not"},
        {"{\"topic\":\"a\",\"payload\":\"\",\"content_type\":2}", "\"content_type\" is not"},
        {"{\"topic\":\"a\",\"payload\":\"\",\"correlation_data\":\"%\"}",
         "\"correlation_data\" is not"},
        {"{\"topic\":\"a\",\"payload\":\"\",\"user_properties\":{}}",
         "\"user_properties\" is not"},
        {"{\"topic\":\"a\",\"payload\":\"\",\"user_properties\":[[\"a\"]]}",
         "\"user_properties\" is not"},
    };
    char input[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        mosquitto_fake_reset();
        (void)snprintf(
            input, sizeof(input),
            "{\"topic\":\"a\",\"payload\":\"\"}\n%s\n{\"topic\":\"a\",\"payload\":\"\"}\n",
            cases[i].line);
        tool.input = input;
        assert_int_equal(IMPORT_ALL(), EX_DATAERR);
        assert_contains(tool.err, "line 2: ");
        assert_contains(tool.err, cases[i].error);
        assert_int_equal(mosquitto_fake.sent, 1);
    }
}

static int second_is_refused(unsigned number)
{
    return number == 2 ? MQTT_RC_QUOTA_EXCEEDED : 0;
}

static void nothing_is_sent_after_one_that_was_refused(void **state)
{
    static const char line[] = "{\"topic\":\"a\",\"payload\":\"\"}\n";
    char input[20000] = "";

    (void)state;
    for (unsigned i = 0; i < 400; i++)
        memcpy(input + i * (sizeof(line) - 1), line, sizeof(line));
    tool.input = input;
    mosquitto_fake.answer = second_is_refused;
    assert_int_equal(IMPORT_ALL(), EX_TEMPFAIL);
    assert_contains(tool.err, "line 2 was refused: quota exceeded");
    assert_true(mosquitto_fake.sent <= 102);
    assert_contains(tool.err, " messages were accepted");
}

static int first_has_no_right(unsigned number)
{
    return number == 1 ? MQTT_RC_NOT_AUTHORIZED : 0;
}

static void lines_that_were_accepted_after_a_refused_one_are_named(void **state)
{
    (void)state;
    tool.input = "{\"topic\":\"$SYS/x\",\"payload\":\"\"}\n{\"topic\":\"a\",\"payload\":\"\"}\n"
                 "{\"topic\":\"b\",\"payload\":\"\"}\n";
    mosquitto_fake.answer = first_has_no_right;
    assert_int_equal(IMPORT_ALL(), EX_NOPERM);
    assert_contains(tool.err,
                    "line 1 was refused: topics that begin with $ cannot be published (0x87)");
    assert_contains(tool.err,
                    "2 messages that were sent already were accepted after it, up to line 3");
}

static void a_daemon_that_is_not_there_is_reported(void **state)
{
    (void)state;
    tool.input = "";
    mosquitto_fake.connect_result = MOSQ_ERR_ERRNO;
    mosquitto_fake.connect_errno = ENOENT;
    assert_int_equal(IMPORT_ALL(), EX_UNAVAILABLE);
    assert_contains(tool.err, "no daemon listens at /run/x/s");
    tool.config_path = "/nonexistent/c";
    assert_int_equal(TOOL_RUN(&tool, cli_import, "import"), EX_CONFIG);
    assert_int_equal(IMPORT("more"), EX_USAGE);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_line_becomes_the_message_that_it_was),
        CASE(messages_keep_their_order_and_are_counted),
        CASE(what_has_expired_is_left_out_and_qos_0_is_mentioned),
        CASE(a_line_that_is_wrong_ends_it_and_is_named),
        CASE(nothing_is_sent_after_one_that_was_refused),
        CASE(lines_that_were_accepted_after_a_refused_one_are_named),
        CASE(a_daemon_that_is_not_there_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
