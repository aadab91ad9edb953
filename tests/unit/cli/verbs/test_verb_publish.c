/* SPDX-License-Identifier: MIT */
/*
 * test_verb_publish.c - tests of `mqtt-spool publish`: what it sends, what it prints of
 * each answer, and its exit code
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

#include "base/clock.h"
#include "cli/cli.h"
#include "tests/support/mosquitto_fake.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

#define SOCKET "/run/x/publish.sock"

static struct tool tool;
static int64_t extra_ms; /* that the clock is ahead */

void __real_clock_read(struct clock_reading *ret);
void __wrap_clock_read(struct clock_reading *ret);

/* While the daemon is silent each look at the clock is half a second later. */
void __wrap_clock_read(struct clock_reading *ret)
{
    __real_clock_read(ret);
    if (mosquitto_fake.is_silent)
        extra_ms += 500;
    ret->boot_ms += extra_ms;
}

static int setup_case(void **state)
{
    memset(&tool, 0, sizeof(tool));
    mosquitto_fake_reset();
    mosquitto_fake.id_name = "spool-id";
    extra_ms = 0;
    return setup_closed(state);
}

static int teardown_case(void **state)
{
    mosquitto_fake_reset();
    return teardown(state);
}

#define PUBLISH(...)                                                                           \
    TOOL_RUN(&tool, cli_publish, "publish", "--socket", SOCKET, "-t", "plant/1", __VA_ARGS__)

static int answer_0x97(unsigned number)
{
    (void)number;
    return MQTT_RC_QUOTA_EXCEEDED;
}

static int no_answer(unsigned number)
{
    (void)number;
    return MOSQUITTO_FAKE_NO_ANSWER;
}

static void an_accepted_message_is_success_without_a_word(void **state)
{
    (void)state;
    assert_int_equal(PUBLISH("-m", "21.5"), EX_OK);
    assert_string_equal(tool.out, "");
    assert_string_equal(tool.err, "");
    assert_int_equal(mosquitto_fake.sent, 1);
    assert_string_equal(mosquitto_fake.topic, "plant/1");
    assert_string_equal(mosquitto_fake.payloads[0], "21.5");
    assert_int_equal(mosquitto_fake.qos, 1);
    assert_false(mosquitto_fake.retain);
    assert_null(mosquitto_fake.properties);
    assert_string_equal(mosquitto_fake.socket, SOCKET);
    assert_int_equal(mosquitto_fake.version, MQTT_PROTOCOL_V5);
    assert_true(mosquitto_fake.is_disconnected);
    assert_true(mosquitto_fake.is_destroyed);
}

static void the_id_is_printed_where_the_daemon_gave_one(void **state)
{
    (void)state;
    assert_int_equal(PUBLISH("-m", "a", "-v"), EX_OK);
    assert_string_equal(tool.out, "accepted id=101\n");
    assert_int_equal(PUBLISH("-m", "a", "--json"), EX_OK);
    assert_string_equal(tool.out,
                        "{\"id\":101,\"topic\":\"plant/1\",\"result\":\"accepted\"}\n");
    mosquitto_fake.id_name = "another";
    assert_int_equal(PUBLISH("-m", "a", "-v"), EX_OK);
    assert_string_equal(tool.out, "accepted\n");
    mosquitto_fake.id_name = NULL;
    assert_int_equal(PUBLISH("-m", "a", "--json"), EX_OK);
    assert_string_equal(tool.out, "{\"topic\":\"plant/1\",\"result\":\"accepted\"}\n");
}

static void a_message_of_qos_0_is_sent_and_not_accepted(void **state)
{
    (void)state;
    mosquitto_fake.id_name = NULL;
    assert_int_equal(PUBLISH("-m", "a", "-q", "0", "-v", "--retain"), EX_OK);
    assert_string_equal(tool.out, "sent\n");
    assert_int_equal(mosquitto_fake.qos, 0);
    assert_true(mosquitto_fake.retain);
}

static void the_message_may_be_a_file_or_standard_input(void **state)
{
    struct fixture *f = *state;
    char path[256];

    (void)tool_write(path, f->directory, "payload", "of a\nfile");
    assert_int_equal(PUBLISH("-f", path), EX_OK);
    assert_string_equal(mosquitto_fake.payloads[0], "of a\nfile");
    tool.input = "a\0b\n";
    tool.input_size = 4;
    assert_int_equal(PUBLISH("-s"), EX_OK);
    assert_int_equal(mosquitto_fake.sizes[1], 4);
    assert_memory_equal(mosquitto_fake.payloads[1], "a\0b\n", 4);
    tool.input = NULL;
    assert_int_equal(PUBLISH("-s"), EX_OK);
    assert_int_equal(mosquitto_fake.sizes[2], 0);
}

static void a_file_that_does_not_open_or_read_is_unavailable(void **state)
{
    (void)state;
    assert_int_equal(PUBLISH("-f", "/nowhere/file"), EX_UNAVAILABLE);
    assert_contains(tool.err, "cannot open /nowhere/file: No such file or directory");
    assert_int_equal(PUBLISH("-f", "/"), EX_UNAVAILABLE);
    assert_contains(tool.err, "cannot read /: Is a directory");
    assert_int_equal(mosquitto_fake.sent, 0);
}

static void each_line_is_a_message(void **state)
{
    (void)state;
    tool.input = "one\n\nthree";
    assert_int_equal(PUBLISH("-l", "--json"), EX_OK);
    assert_int_equal(mosquitto_fake.sent, 3);
    assert_string_equal(mosquitto_fake.payloads[0], "one");
    assert_string_equal(mosquitto_fake.payloads[1], "");
    assert_string_equal(mosquitto_fake.payloads[2], "three");
    assert_string_equal(
        tool.out, "{\"id\":101,\"topic\":\"plant/1\",\"line\":1,\"result\":\"accepted\"}\n"
                  "{\"id\":102,\"topic\":\"plant/1\",\"line\":2,\"result\":\"accepted\"}\n"
                  "{\"id\":103,\"topic\":\"plant/1\",\"line\":3,\"result\":\"accepted\"}\n");
    tool.input = NULL;
    assert_int_equal(PUBLISH("-l"), EX_OK);
    assert_int_equal(mosquitto_fake.sent, 3);
}

static void a_window_of_messages_is_in_flight(void **state)
{
    static char lines[300 * 2 + 1];

    (void)state;
    for (int i = 0; i < 300; i++)
        memcpy(lines + (ptrdiff_t)2 * i, "x\n", 2);
    tool.input = lines;
    assert_int_equal(PUBLISH("-l"), EX_OK);
    assert_int_equal(mosquitto_fake.sent, 300);
    assert_int_equal(mosquitto_fake.in_flight_peak, 100);
    assert_int_equal(mosquitto_fake.send_maximum, 100);
}

static void the_window_is_bounded_in_bytes_too(void **state)
{
    enum { LINE = 1024 * 1024, LINES = 12 };
    char *lines = malloc((size_t)LINE * LINES);

    (void)state;
    assert_non_null(lines);
    memset(lines, 'x', (size_t)LINE * LINES);
    for (int i = 1; i <= LINES; i++)
        lines[(ptrdiff_t)i * LINE - 1] = '\n';
    tool.input = lines;
    tool.input_size = (size_t)LINE * LINES;
    mosquitto_fake.is_late = true;
    mosquitto_fake.max_packet = LINE; /* more is not read ahead, either */
    assert_int_equal(PUBLISH("-l"), EX_OK);
    free(lines);
    assert_int_equal(mosquitto_fake.sent, LINES);
    assert_in_range(mosquitto_fake.in_flight_bytes_peak, 4 * LINE - 8, 5 * LINE);
}

static void a_line_longer_than_the_daemon_takes_ends_the_input(void **state)
{
    (void)state;
    mosquitto_fake.max_packet = 8;
    tool.input = "one\n123456789\nthree\n";
    assert_int_equal(PUBLISH("-l"), EX_DATAERR);
    assert_contains(tool.err, "line 2 is longer than the 8 bytes that the daemon takes; it and "
                              "what follows was not sent");
    assert_contains(tool.err, "1 of 1 message was accepted");
    assert_int_equal(mosquitto_fake.sent, 1);
}

static int publish_from_a_folder(const struct cli *cli, int argc, char **argv)
{
    int fd = open("/", O_RDONLY | O_CLOEXEC);

    (void)dup2(fd, STDIN_FILENO);
    (void)close(fd);
    return cli_publish(cli, argc, argv);
}

static void an_input_that_does_not_read_is_unavailable(void **state)
{
    (void)state;
    assert_int_equal(
        TOOL_RUN(&tool, publish_from_a_folder, "publish", "--socket", SOCKET, "-t", "a", "-l"),
        EX_UNAVAILABLE);
    assert_contains(tool.err,
                    "cannot read standard input: Is a directory; what was read before "
                    "was sent");
}

static int reason; /* of each answer */

static int answer_reason(unsigned number)
{
    (void)number;
    return reason;
}

static void each_refusal_has_its_exit_code_and_its_text(void **state)
{
    static const struct {
        int reason;
        int code;
        const char *text;
    } rows[] = {
        {MQTT_RC_QUOTA_EXCEEDED, EX_TEMPFAIL,
         "the message was refused: quota exceeded; mqtt-spool status says why (0x97)\n"},
        {MQTT_RC_SERVER_BUSY, EX_TEMPFAIL, "try again (0x89)"},
        {MQTT_RC_SERVER_SHUTTING_DOWN, EX_TEMPFAIL, "try again (0x8B)"},
        {MQTT_RC_NOT_AUTHORIZED, EX_NOPERM, "this user may not do that (0x87)"},
        {MQTT_RC_TOPIC_NAME_INVALID, EX_DATAERR,
         "the topic name is not valid, alone or with prefix or map of its lane (0x90)"},
        {MQTT_RC_PACKET_TOO_LARGE, EX_DATAERR, "larger than the daemon takes"},
        {MQTT_RC_PAYLOAD_FORMAT_INVALID, EX_DATAERR, "not the UTF-8 it claims to be (0x99)"},
        {MQTT_RC_QOS_NOT_SUPPORTED, EX_DATAERR, "(0x9B)"},
        {MQTT_RC_RETAIN_NOT_SUPPORTED, EX_UNAVAILABLE, "(0x9A)"},
        {MQTT_RC_UNSPECIFIED, EX_UNAVAILABLE, "see the daemon's journal (0x80)"},
        {MQTT_RC_IMPLEMENTATION_SPECIFIC, EX_UNAVAILABLE, "(0x83)"},
    };

    (void)state;
    mosquitto_fake.answer = answer_reason;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        reason = rows[i].reason;
        assert_int_equal(PUBLISH("-m", "a"), rows[i].code);
        assert_contains(tool.err, rows[i].text);
        assert_contains(tool.err, "0 of 1 message was accepted\n");
    }
}

static void a_message_that_never_fits_is_bad_data(void **state)
{
    (void)state;
    mosquitto_fake.answer = answer_0x97;
    mosquitto_fake.id_name = "spool-refused";
    mosquitto_fake.id_value = "too_large";
    assert_int_equal(PUBLISH("-m", "a"), EX_DATAERR);
    assert_contains(tool.err,
                    "the message was refused: it is larger than max_bytes of its lane, "
                    "so every other try is refused, too (0x97)\n");
    mosquitto_fake.id_value = "another";
    assert_int_equal(PUBLISH("-m", "a"), EX_TEMPFAIL);
}

static void a_topic_that_begins_with_a_dollar_is_not_for_producers(void **state)
{
    (void)state;
    mosquitto_fake.answer = answer_reason;
    reason = MQTT_RC_NOT_AUTHORIZED;
    assert_int_equal(
        TOOL_RUN(&tool, cli_publish, "publish", "--socket", SOCKET, "-t", "$SYS/x", "-m", "a"),
        EX_NOPERM);
    assert_contains(tool.err, "topics that begin with $ cannot be published (0x87)");
}

static int refuse_second_and_third(unsigned number)
{
    return number == 2 ? MQTT_RC_QUOTA_EXCEEDED
                       : (number == 3 ? MQTT_RC_TOPIC_NAME_INVALID : 0);
}

static void the_first_failure_decides_and_the_others_are_sent(void **state)
{
    (void)state;
    mosquitto_fake.answer = refuse_second_and_third;
    tool.input = "1\n2\n3\n4\n";
    assert_int_equal(PUBLISH("-l", "--json"), EX_TEMPFAIL);
    assert_int_equal(mosquitto_fake.sent, 4);
    assert_contains(tool.out, "{\"topic\":\"plant/1\",\"line\":2,\"result\":\"refused\","
                              "\"code\":151,\"text\":\"quota exceeded; mqtt-spool status says "
                              "why\"}\n");
    assert_contains(tool.out, "\"line\":4,\"result\":\"accepted\"}\n");
    assert_contains(tool.err, "line 2 was refused: ");
    assert_contains(tool.err, "line 3 was refused: ");
    assert_contains(tool.err, "2 of 4 messages were accepted\n");
}

static void more_refusals_than_are_shown_are_counted(void **state)
{
    (void)state;
    mosquitto_fake.answer = answer_0x97;
    tool.input = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n";
    assert_int_equal(PUBLISH("-l"), EX_TEMPFAIL);
    assert_contains(tool.err, "line 10 was refused");
    assert_lacks(tool.err, "line 11 was refused");
    assert_contains(tool.err, "2 more were refused\n");
}

static int library_result; /* of each publish */

static int result_of_library(unsigned number)
{
    (void)number;
    return library_result;
}

static void what_the_library_does_not_send_is_refused_as_the_daemon_would(void **state)
{
    static const struct {
        int result;
        int code;
        const char *text;
    } rows[] = {
        {MOSQ_ERR_OVERSIZE_PACKET, EX_DATAERR, "(0x95)"},
        {MOSQ_ERR_PAYLOAD_SIZE, EX_DATAERR, "(0x95)"},
        {MOSQ_ERR_QOS_NOT_SUPPORTED, EX_DATAERR, "(0x9B)"},
        {MOSQ_ERR_RETAIN_NOT_SUPPORTED, EX_UNAVAILABLE, "(0x9A)"},
        {MOSQ_ERR_INVAL, EX_DATAERR, "(0x90)"},
        {MOSQ_ERR_MALFORMED_UTF8, EX_DATAERR, "(0x90)"},
        {MOSQ_ERR_NOMEM, EX_UNAVAILABLE, "(0x80)"},
    };

    (void)state;
    mosquitto_fake.publish_result = result_of_library;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        library_result = rows[i].result;
        assert_int_equal(PUBLISH("-m", "a"), rows[i].code);
        assert_contains(tool.err, rows[i].text);
    }
}

static void a_refused_connection_has_its_reason(void **state)
{
    (void)state;
    mosquitto_fake.connack = MQTT_RC_QUOTA_EXCEEDED;
    assert_int_equal(PUBLISH("-m", "a"), EX_TEMPFAIL);
    assert_string_equal(tool.err,
                        "mqtt-spool: the daemon refused the connection: it has as many clients "
                        "as it takes (listen.max_clients); try again (0x97)\n");
    mosquitto_fake.connack = MQTT_RC_NOT_AUTHORIZED;
    assert_int_equal(PUBLISH("-m", "a"), EX_NOPERM);
    assert_int_equal(mosquitto_fake.sent, 0);
    assert_false(mosquitto_fake.is_disconnected);
}

static void return_codes_of_3_1_1_mean_the_same(void **state)
{
    static const struct {
        int connack;
        int code;
        const char *text;
    } rows[] = {
        {1, EX_UNAVAILABLE, "(0x01)"},
        {2, EX_UNAVAILABLE, "(0x02)"},
        {3, EX_TEMPFAIL,
         "as many clients as it takes (listen.max_clients), or is stopping; try "
         "again (0x03)"},
        {4, EX_UNAVAILABLE, "(0x04)"},
        {5, EX_NOPERM, "(0x05)"},
        {6, EX_UNAVAILABLE, "(0x06)"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        mosquitto_fake.connack = rows[i].connack;
        assert_int_equal(PUBLISH("-V", "4", "-m", "a"), rows[i].code);
        assert_contains(tool.err, rows[i].text);
        assert_int_equal(mosquitto_fake.version, MQTT_PROTOCOL_V311);
    }
}

static void a_connection_that_is_lost_leaves_messages_without_an_answer(void **state)
{
    (void)state;
    mosquitto_fake.answer = no_answer;
    mosquitto_fake.lost_after = 2;
    tool.input = "1\n2\n3\n";
    assert_int_equal(PUBLISH("-l", "--json"), EX_TEMPFAIL);
    assert_contains(tool.out, "\"line\":1,\"result\":\"unknown\"}\n");
    assert_contains(tool.out, "\"line\":2,\"result\":\"unknown\"}\n");
    assert_contains(tool.err, "sent without an answer: the daemon may have taken them");
    assert_contains(tool.err, "the connection to the daemon was lost; it may be restarting");
    assert_contains(tool.err, "messages were confirmed as accepted");
    mosquitto_fake_reset();
    mosquitto_fake.answer = no_answer;
    mosquitto_fake.lost_after = 1;
    assert_int_equal(PUBLISH("-m", "a", "-V", "4"), EX_TEMPFAIL);
    assert_contains(tool.err, "-V 5 shows the reason; try again");
    assert_contains(tool.err, "0 of 1 message was confirmed as accepted\n");
}

static int first_only(unsigned number)
{
    return number == 1 ? 0 : MOSQUITTO_FAKE_NO_ANSWER;
}

static void a_daemon_that_ends_the_connection_has_a_reason(void **state)
{
    (void)state;
    mosquitto_fake.answer = first_only;
    mosquitto_fake.lost_after = 2;
    mosquitto_fake.lost_reason = MQTT_RC_SESSION_TAKEN_OVER;
    tool.input = "1\n2\n";
    assert_int_equal(PUBLISH("-l"), EX_UNAVAILABLE);
    assert_contains(tool.err, "the daemon ended the connection: another client came with the "
                              "same id (-i) (0x8E)");
    assert_contains(tool.err, "1 sent without an answer");
    assert_contains(tool.err, "1 of 2 messages were confirmed as accepted");
}

static void a_keepalive_without_an_answer_means_a_busy_daemon(void **state)
{
    (void)state;
    mosquitto_fake.answer = no_answer;
    mosquitto_fake.lost_after = 1;
    mosquitto_fake.lost_reason = MOSQ_ERR_KEEPALIVE;
    assert_int_equal(PUBLISH("-m", "a"), EX_TEMPFAIL);
    assert_contains(tool.err, "the daemon did not take the message in time");
    mosquitto_fake.lost_after = 4;
    tool.input = "1\n2\n3\n";
    assert_int_equal(PUBLISH("-l"), EX_TEMPFAIL);
    assert_contains(tool.err, "the daemon did not take the messages in time");
    mosquitto_fake_reset();
    mosquitto_fake.connack = -1; /* none */
    mosquitto_fake.is_silent = true;
    assert_int_equal(PUBLISH("-m", "a"), EX_TEMPFAIL);
    assert_contains(tool.err, "the daemon does not answer: it cannot start, is stopped or is "
                              "busy; systemctl status mqtt-spoold shows which");
    assert_contains(tool.err, "the message was not accepted\n");
    assert_lacks(tool.err, "0 of 0");
    tool.input = "1\n2\n";
    assert_int_equal(PUBLISH("-l"), EX_TEMPFAIL);
    assert_contains(tool.err, "no message was accepted: the input was not read\n");
    assert_lacks(tool.err, "0 of 0");
}

static void a_message_that_met_a_lost_connection_has_no_answer(void **state)
{
    (void)state;
    mosquitto_fake.publish_result = result_of_library;
    library_result = MOSQ_ERR_NO_CONN;
    mosquitto_fake.lost_after = 1;
    assert_int_equal(PUBLISH("-m", "a", "--json"), EX_TEMPFAIL);
    assert_contains(tool.out, "\"result\":\"unknown\"");
}

static void a_silent_daemon_is_waited_for_as_long_as_was_asked(void **state)
{
    (void)state;
    mosquitto_fake.is_silent = true;
    assert_int_equal(PUBLISH("-m", "a", "--timeout", "20s"), EX_TEMPFAIL);
    assert_contains(tool.err, "the daemon did not answer for 20000 ms (--timeout)\n");
    assert_contains(tool.err, "1 sent without an answer");
    assert_contains(tool.err, "the daemon did not take the message in time: a lane is full");
    assert_true(extra_ms >= 20000);
}

static void a_connection_that_fails_has_its_exit_code_and_its_remedy(void **state)
{
    static const struct {
        int error;
        int code;
        const char *text;
    } rows[] = {
        {ENOENT, EX_UNAVAILABLE,
         "mqtt-spool: no daemon listens at " SOCKET
         ": start the daemon (systemctl start mqtt-spoold)"},
        {ECONNREFUSED, EX_UNAVAILABLE, "name its socket with --socket or -c"},
        {EACCES, EX_NOPERM,
         "may not open " SOCKET ": run this as root (sudo), or as a user who"},
        {EAGAIN, EX_TEMPFAIL, "just now; try again"},
        {EINTR, EX_TEMPFAIL, "just now; try again"},
        {ENOTSOCK, EX_UNAVAILABLE,
         "cannot connect to " SOCKET ": Socket operation on non-socket"},
    };

    (void)state;
    mosquitto_fake.connect_result = MOSQ_ERR_ERRNO;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        mosquitto_fake.connect_errno = rows[i].error;
        assert_int_equal(PUBLISH("-m", "a"), rows[i].code);
        assert_contains(tool.err, rows[i].text);
        assert_contains(tool.err, SOCKET);
    }
    mosquitto_fake.connect_result = MOSQ_ERR_NOMEM;
    assert_int_equal(PUBLISH("-m", "a"), EX_UNAVAILABLE);
    assert_contains(tool.err, "Input/output error");
}

static void a_socket_path_that_the_kernel_does_not_take_is_refused(void **state)
{
    static char path[200];

    (void)state;
    memset(path, 'x', sizeof(path) - 1);
    assert_int_equal(
        TOOL_RUN(&tool, cli_publish, "publish", "--socket", path, "-t", "a", "-m", "b"),
        EX_UNAVAILABLE);
    assert_contains(tool.err, "File name too long");
}

static void a_wrong_topic_is_bad_data_without_a_connection(void **state)
{
    static char long_topic[65537];
    static const char *const wrong[] = {"", "a/+", "a/#", "\xff", long_topic};

    (void)state;
    memset(long_topic, 'x', sizeof(long_topic) - 1);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(TOOL_RUN(&tool, cli_publish, "publish", "--socket", SOCKET, "-t",
                                  wrong[i], "-m", "a"),
                         EX_DATAERR);
        assert_contains(tool.err, "the topic is not valid: 1 to 65535 bytes of UTF-8, without "
                                  "the wildcards + and #");
    }
    assert_int_equal(
        TOOL_RUN(&tool, cli_publish, "publish", "--socket", SOCKET, "-t", "a\tb", "-m", "a"),
        EX_DATAERR);
    assert_contains(tool.err, "the topic is not valid: it has a control character");
    assert_string_equal(mosquitto_fake.socket, "");
}

static void a_topic_may_have_any_other_character(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, cli_publish, "publish", "--socket", SOCKET, "-t",
                              "a b/\xc2\xa9/\xe2\x82\xac", "-m", "a"),
                     EX_OK);
    assert_string_equal(mosquitto_fake.topic, "a b/\xc2\xa9/\xe2\x82\xac");
}

static void properties_go_with_the_message(void **state)
{
    const mosquitto_property *properties;
    char *text = NULL, *name = NULL, *value = NULL;
    uint32_t expiry = 0;
    uint8_t format = 0;
    uint16_t size = 0;
    void *data = NULL;

    (void)state;
    assert_int_equal(PUBLISH("-m", "a", "--expiry", "60", "--content-type", "text/plain",
                             "--response-topic", "r", "--correlation", "c1", "--payload-format",
                             "utf8", "--user", "a=b=c", "--ref", "order-5"),
                     EX_OK);
    properties = mosquitto_fake.properties;
    assert_non_null(mosquitto_property_read_int32(properties, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
                                                  &expiry, false));
    assert_int_equal(expiry, 60);
    assert_non_null(mosquitto_property_read_byte(properties, MQTT_PROP_PAYLOAD_FORMAT_INDICATOR,
                                                 &format, false));
    assert_int_equal(format, 1);
    assert_non_null(
        mosquitto_property_read_string(properties, MQTT_PROP_CONTENT_TYPE, &text, false));
    assert_string_equal(text, "text/plain");
    free(text);
    assert_non_null(
        mosquitto_property_read_string(properties, MQTT_PROP_RESPONSE_TOPIC, &text, false));
    assert_string_equal(text, "r");
    free(text);
    assert_non_null(mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA,
                                                   &data, &size, false));
    assert_int_equal(size, 2);
    free(data);
    properties = mosquitto_property_read_string_pair(properties, MQTT_PROP_USER_PROPERTY, &name,
                                                     &value, false);
    assert_string_equal(name, "a");
    assert_string_equal(value, "b=c");
    free(name);
    free(value);
    assert_non_null(mosquitto_property_read_string_pair(properties, MQTT_PROP_USER_PROPERTY,
                                                        &name, &value, true));
    assert_string_equal(name, "spool-ref");
    assert_string_equal(value, "order-5");
    free(name);
    free(value);
}

static void wrong_properties_are_bad_data(void **state)
{
    static char long_text[70000];

    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
    assert_int_equal(PUBLISH("-m", "a", "--content-type", "\xff"), EX_DATAERR);
    assert_contains(tool.err, "the properties of the message are not valid MQTT (");
    assert_int_equal(PUBLISH("-m", "a", "--response-topic", "a/#"), EX_DATAERR);
    assert_int_equal(PUBLISH("-m", "a", "--correlation", long_text), EX_DATAERR);
    assert_int_equal(PUBLISH("-m", "a", "--ref", long_text), EX_DATAERR);
    long_text[65536] = '\0'; /* one more than MQTT has room for, 0 in 16 bits */
    assert_int_equal(PUBLISH("-m", "a", "--content-type", long_text), EX_DATAERR);
    long_text[65536] = 'x';
    long_text[0] = 'n';
    long_text[1] = '=';
    assert_int_equal(PUBLISH("-m", "a", "--user", long_text), EX_DATAERR);
    long_text[1] = 'x';
    long_text[69998] = '=';
    assert_int_equal(PUBLISH("-m", "a", "--user", long_text), EX_DATAERR);
    assert_int_equal(mosquitto_fake.sent, 0);
}

static void a_client_id_is_made_when_none_is_given(void **state)
{
    char first[64];

    (void)state;
    assert_int_equal(PUBLISH("-m", "a"), EX_OK);
    (void)snprintf(first, sizeof(first), "%s", mosquitto_fake.client_id);
    assert_int_equal(strlen(first), strlen("mqtt-spool-") + 12);
    assert_memory_equal(first, "mqtt-spool-", strlen("mqtt-spool-"));
    assert_int_equal(PUBLISH("-m", "a"), EX_OK);
    assert_string_not_equal(first, mosquitto_fake.client_id);
    assert_int_equal(PUBLISH("-m", "a", "-i", "me"), EX_OK);
    assert_string_equal(mosquitto_fake.client_id, "me");
}

static void a_client_id_that_the_library_does_not_take_is_bad_data(void **state)
{
    (void)state;
    mosquitto_fake.client_fails = true;
    assert_int_equal(PUBLISH("-m", "a", "-i", "\xff"), EX_DATAERR);
    assert_contains(tool.err, "the client id is not valid: it must be UTF-8 and not be empty");
    assert_int_equal(PUBLISH("-m", "a", "-i", "a\x7f"), EX_DATAERR);
    assert_contains(tool.err, "the client id is not valid: it has a control character");
    assert_int_equal(PUBLISH("-m", "a", "-i", "a\xc2\x85"), EX_DATAERR);
    assert_contains(tool.err, "it has a control character");
}

static void a_client_id_that_mqtt_has_no_room_for_is_bad_data(void **state)
{
    static char id[65537];

    (void)state;
    memset(id, 'x', sizeof(id) - 1);
    assert_int_equal(PUBLISH("-m", "a", "-i", id), EX_DATAERR);
    assert_contains(tool.err, "the client id is not valid: it is longer than 65535 bytes");
    assert_int_equal(mosquitto_fake.sent, 0);
}

static void messages_are_sent_when_their_answers_cannot_be_printed(void **state)
{
    (void)state;
    tool.output = "/dev/full";
    tool.input = "1\n2\n";
    assert_int_equal(PUBLISH("-l", "--json"), EX_OK);
    assert_true(tool.output_failed); /* main() makes 69 of it */
    assert_int_equal(mosquitto_fake.sent, 2);
    assert_int_equal(PUBLISH("-l", "-v"), EX_OK);
    assert_true(tool.output_failed);
    assert_int_equal(mosquitto_fake.sent, 4);
}

static void the_socket_is_that_of_the_configuration(void **state)
{
    struct fixture *f = *state;
    char path[256];

    tool.config_path = tool_write(path, f->directory, "x.conf",
                                  "listen: { socket = \"/run/other.sock\"; };\n"
                                  "uplink: { brokers = ( \"tcp://h:1\" ); };\n");
    assert_int_equal(TOOL_RUN(&tool, cli_publish, "publish", "-t", "a", "-m", "b"), EX_OK);
    assert_string_equal(mosquitto_fake.socket, "/run/other.sock");
    tool.config_path = "/nowhere/x.conf";
    assert_int_equal(TOOL_RUN(&tool, cli_publish, "publish", "-t", "a", "-m", "b"), EX_CONFIG);
    assert_contains(tool.err, "or give --socket PATH");
    assert_int_equal(TOOL_RUN(&tool, cli_publish, "publish", "-t", "a"), EX_USAGE);
}

static void a_3_1_1_message_above_the_configured_packet_size_is_bad_data(void **state)
{
    struct fixture *f = *state;
    char path[256], text[4097];

    tool.config_path =
        tool_write(path, f->directory, "x.conf",
                   "listen: { socket = \"/run/other.sock\"; max_packet = \"4k\"; };\n"
                   "uplink: { brokers = ( \"tcp://h:1\" ); };\n");
    memset(text, 'a', sizeof(text) - 1);
    text[4096 - 8] = '\0'; /* header 3, topic 3, packet id 2 */
    assert_int_equal(TOOL_RUN(&tool, cli_publish, "publish", "-V", "4", "-t", "a", "-m", text),
                     EX_OK);
    text[4096 - 8] = 'a';
    text[4096 - 7] = '\0';
    assert_int_equal(TOOL_RUN(&tool, cli_publish, "publish", "-V", "4", "-t", "a", "-m", text),
                     EX_DATAERR);
    assert_contains(tool.err, "larger than the daemon takes (listen.max_packet)");
    assert_int_equal(mosquitto_fake.sent, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_case, teardown_case)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_accepted_message_is_success_without_a_word),
        CASE(the_id_is_printed_where_the_daemon_gave_one),
        CASE(a_message_of_qos_0_is_sent_and_not_accepted),
        CASE(the_message_may_be_a_file_or_standard_input),
        CASE(a_file_that_does_not_open_or_read_is_unavailable),
        CASE(each_line_is_a_message),
        CASE(a_window_of_messages_is_in_flight),
        CASE(the_window_is_bounded_in_bytes_too),
        CASE(a_line_longer_than_the_daemon_takes_ends_the_input),
        CASE(an_input_that_does_not_read_is_unavailable),
        CASE(each_refusal_has_its_exit_code_and_its_text),
        CASE(a_message_that_never_fits_is_bad_data),
        CASE(a_topic_that_begins_with_a_dollar_is_not_for_producers),
        CASE(the_first_failure_decides_and_the_others_are_sent),
        CASE(more_refusals_than_are_shown_are_counted),
        CASE(what_the_library_does_not_send_is_refused_as_the_daemon_would),
        CASE(a_refused_connection_has_its_reason),
        CASE(return_codes_of_3_1_1_mean_the_same),
        CASE(a_connection_that_is_lost_leaves_messages_without_an_answer),
        CASE(a_daemon_that_ends_the_connection_has_a_reason),
        CASE(a_keepalive_without_an_answer_means_a_busy_daemon),
        CASE(a_message_that_met_a_lost_connection_has_no_answer),
        CASE(a_silent_daemon_is_waited_for_as_long_as_was_asked),
        CASE(a_connection_that_fails_has_its_exit_code_and_its_remedy),
        CASE(a_socket_path_that_the_kernel_does_not_take_is_refused),
        CASE(a_wrong_topic_is_bad_data_without_a_connection),
        CASE(a_topic_may_have_any_other_character),
        CASE(properties_go_with_the_message),
        CASE(wrong_properties_are_bad_data),
        CASE(a_client_id_is_made_when_none_is_given),
        CASE(a_client_id_that_the_library_does_not_take_is_bad_data),
        CASE(a_client_id_that_mqtt_has_no_room_for_is_bad_data),
        CASE(messages_are_sent_when_their_answers_cannot_be_printed),
        CASE(the_socket_is_that_of_the_configuration),
        CASE(a_3_1_1_message_above_the_configured_packet_size_is_bad_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
