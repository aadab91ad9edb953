/* SPDX-License-Identifier: MIT */
/*
 * test_verb_control.c - tests of the verbs that ask the daemon: what they send, what they
 * print of its answers, and their exit codes
 *
 * The daemon is a fake behind libmosquitto's functions. list and show read the files, too.
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
#include "cli/verbs/control.h"
#include "store/spool.h"
#include "tests/support/history_fixture.h"
#include "tests/support/mosquitto_fake.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

#define SOCKET "/run/x/publish.sock"

static struct tool tool;
static const char *answers[8];

static const char *const *give_answers(const char *request)
{
    (void)request;
    return answers;
}

static int setup_case(void **state)
{
    memset(&tool, 0, sizeof(tool));
    memset(answers, 0, sizeof(answers));
    mosquitto_fake_reset();
    mosquitto_fake.control = give_answers;
    return setup_closed(state);
}

static int setup_history(void **state)
{
    if (setup_case(state) != 0)
        return -1;
    struct fixture *f = *state;
    f->options.kept = (struct spool_kept_limits){100, 1 << 20, 1000 * (uint64_t)HOUR};
    open_spool(f);
    make_history(f);
    return 0;
}

static int teardown_case(void **state)
{
    mosquitto_fake_reset();
    return teardown(state);
}

static int refuse(unsigned number)
{
    (void)number;
    return MQTT_RC_NOT_AUTHORIZED;
}

static int quota(unsigned number)
{
    (void)number;
    return MQTT_RC_QUOTA_EXCEEDED;
}

#define RUN(verb, ...)  TOOL_RUN(&tool, verb, __VA_ARGS__, "--socket", SOCKET)
#define OK_ANSWER(name) "{\"command\":\"" name "\",\"ok\":true,\"last\":true}"

/* ---- one request, one answer ---- */

static void each_command_is_sent_and_its_answer_awaited(void **state)
{
    static const struct {
        tool_verb *verb;
        const char *words[4];
        const char *request;
        const char *page;
    } cases[] = {
        {cli_flush, {"flush"}, "{\"command\":\"flush\"}", "sends what waits"},
        {cli_hold, {"hold"}, "{\"command\":\"hold\"}", "nothing is sent"},
        {cli_hold,
         {"hold", "--lane", "a\"b"},
         "{\"command\":\"hold\",\"lane\":\"a\\\"b\"}",
         "Held: nothing of lane \"a\"b\" is sent"},
        {cli_release,
         {"release"},
         "{\"command\":\"release\"}",
         "messages of all lanes are sent again, also of those that were held alone"},
        {cli_release,
         {"release", "--lane", "x\x1b"},
         "{\"command\":\"release\",\"lane\":\"x\\u001b\"}",
         "Released: messages of lane \"x\\x1B\" are sent again"},
        {cli_rotate, {"rotate"}, "{\"command\":\"rotate\"}", "audit file again"},
        {cli_log_level,
         {"log-level", "debug"},
         "{\"command\":\"log_level\",\"level\":\"debug\"}",
         "at this level"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *words[8] = {NULL};
        size_t count = 0;

        answers[0] = OK_ANSWER("x");
        mosquitto_fake.sent = 0;
        for (; count < 4 && cases[i].words[count]; count++)
            words[count] = cases[i].words[count];
        words[count++] = "--socket";
        words[count++] = SOCKET;
        assert_int_equal(tool_run(&tool, cases[i].verb, words), EX_OK);
        assert_contains(tool.out, cases[i].page);
        assert_string_equal(mosquitto_fake.topic, "$CONTROL/spool/v1");
        assert_string_equal(mosquitto_fake.subscribed, "$CONTROL/spool/v1/response");
        assert_string_equal(mosquitto_fake.payloads[0], cases[i].request);
        assert_int_equal(mosquitto_fake.qos, 1);
        assert_string_equal(mosquitto_fake.socket, SOCKET);
        assert_true(mosquitto_fake.is_disconnected && mosquitto_fake.is_destroyed);
        words[count++] = "--json";
        assert_int_equal(tool_run(&tool, cases[i].verb, words), EX_OK);
        assert_string_equal(tool.out, "{\"command\":\"x\",\"ok\":true}\n");
        mosquitto_fake_reset();
        mosquitto_fake.control = give_answers;
    }
}

static const char *const *answer_held(const char *request)
{
    static const char *const done[] = {OK_ANSWER("flush"), NULL};
    static const char *const status[] = {
        "{\"command\":\"status\",\"ok\":true,\"status\":{\"link\":{\"all_held\":true},"
        "\"lanes\":[{\"held\":true}]},\"last\":true}",
        NULL};
    static const char *const stuck[] = {
        "{\"command\":\"status\",\"ok\":true,\"status\":{\"link\":{\"held\":true}},\"last\":true}",
        NULL};
    static const char *const lane[] = {
        "{\"command\":\"status\",\"ok\":true,\"status\":{\"link\":{\"all_held\":false},"
        "\"lanes\":[{\"held\":false},{\"held\":true}]},\"last\":true}",
        NULL};

    if (!strstr(request, "\"status\""))
        return done;
    if (answers[1])
        return stuck;
    return answers[0] ? lane : status;
}

static void a_flush_of_what_is_held_names_the_release(void **state)
{
    (void)state;
    mosquitto_fake.control = answer_held;
    assert_int_equal(RUN(cli_flush, "flush"), EX_OK);
    assert_contains(tool.out, "held: nothing is sent until mqtt-spool release");
    answers[0] = "";
    assert_int_equal(RUN(cli_flush, "flush"), EX_OK);
    assert_contains(tool.out, "sends what waits, but nothing of a lane that is held");
    answers[1] = "";
    assert_int_equal(RUN(cli_flush, "flush"), EX_OK);
    assert_contains(tool.out, "connects, but nothing is sent until a commit has room: see");
    assert_null(strstr(tool.out, "release"));
    assert_int_equal(RUN(cli_flush, "flush", "--json"), EX_OK);
    assert_string_equal(tool.out, "{\"command\":\"flush\",\"ok\":true}\n");
}

static void a_level_that_is_none_is_a_usage_error(void **state)
{
    (void)state;
    assert_int_equal(RUN(cli_log_level, "log-level", "loud"), EX_USAGE);
    assert_int_equal(RUN(cli_log_level, "log-level"), EX_USAGE);
    assert_int_equal(mosquitto_fake.sent, 0);
}

static void who_is_no_admin_gets_77(void **state)
{
    (void)state;
    mosquitto_fake.suback = 0x87;
    assert_int_equal(RUN(cli_flush, "flush"), EX_NOPERM);
    assert_contains(tool.err, "admin = true");
    assert_contains(tool.err, "root too");
    assert_int_equal(mosquitto_fake.sent, 0);
    mosquitto_fake.suback = 1;
    mosquitto_fake.answer = refuse;
    assert_int_equal(RUN(cli_flush, "flush"), EX_NOPERM);
    mosquitto_fake.connect_result = MOSQ_ERR_ERRNO;
    mosquitto_fake.connect_errno = EACCES;
    assert_int_equal(RUN(cli_flush, "flush"), EX_NOPERM);
    assert_contains(tool.err, "admin = true");
    assert_lacks(tool.err, "group");
    mosquitto_fake.connect_result = 0;
    mosquitto_fake.connack = MQTT_RC_NOT_AUTHORIZED;
    assert_int_equal(RUN(cli_flush, "flush"), EX_NOPERM);
    assert_contains(tool.err, "access has no entry for this user");
}

static void a_daemon_that_is_not_there_is_69(void **state)
{
    (void)state;
    mosquitto_fake.connect_result = MOSQ_ERR_ERRNO;
    mosquitto_fake.connect_errno = ECONNREFUSED;
    assert_int_equal(RUN(cli_hold, "hold"), EX_UNAVAILABLE);
    assert_contains(tool.err, "no daemon listens at " SOCKET);
    tool.config_path = "/nonexistent/c";
    assert_int_equal(TOOL_RUN(&tool, cli_hold, "hold"), EX_CONFIG);
    assert_int_equal(TOOL_RUN(&tool, cli_list, "list"), EX_CONFIG);
}

static void what_the_daemon_refuses_is_printed_with_its_reason(void **state)
{
    (void)state;
    answers[0] =
        "{\"command\":\"hold\",\"ok\":false,\"error\":\"there is no lane \\\"x\\u001b\\\"\","
        "\"last\":true}";
    assert_int_equal(RUN(cli_hold, "hold", "--lane", "x"), EX_DATAERR);
    assert_contains(tool.err, "the daemon refused that: there is no lane \"x\\x1B\"");
    mosquitto_fake.answer = quota;
    assert_int_equal(RUN(cli_hold, "hold", "--lane", "x"), EX_TEMPFAIL);
    answers[0] = "[]";
    assert_int_equal(RUN(cli_hold, "hold"), EX_UNAVAILABLE);
    assert_contains(tool.err, "no JSON object");
}

static void a_connection_that_is_lost_or_refused_is_reported(void **state)
{
    (void)state;
    mosquitto_fake.connack = MQTT_RC_QUOTA_EXCEEDED;
    assert_int_equal(RUN(cli_flush, "flush"), EX_TEMPFAIL);
    assert_contains(tool.err, "the daemon refused the connection");
    mosquitto_fake.connack = 0;
    mosquitto_fake.lost_after = 1;
    assert_int_equal(RUN(cli_flush, "flush"), EX_TEMPFAIL);
    assert_contains(tool.err, "the connection to the daemon was lost");
    mosquitto_fake_reset();
    mosquitto_fake.control = give_answers;
    mosquitto_fake.lost_after = 1;
    mosquitto_fake.lost_reason = MQTT_RC_SERVER_SHUTTING_DOWN;
    assert_int_equal(RUN(cli_flush, "flush"), EX_TEMPFAIL);
    assert_contains(tool.err, "shutting down");
}

static void a_status_that_is_not_had_comes_with_the_code_of_the_connack(void **state)
{
    json_t *root = NULL;
    int connack = 0;

    (void)state;
    cli_silence_errors(true);
    mosquitto_fake.connack = MQTT_RC_NOT_AUTHORIZED;
    assert_int_equal(control_get_status(SOCKET, &root, &connack), EX_NOPERM);
    assert_int_equal(connack, MQTT_RC_NOT_AUTHORIZED);
    mosquitto_fake.connack = 0;
    mosquitto_fake.suback = 0x87;
    assert_int_equal(control_get_status(SOCKET, &root, &connack), EX_NOPERM);
    assert_int_equal(connack, 0);
    mosquitto_fake.connect_result = MOSQ_ERR_ERRNO;
    mosquitto_fake.connect_errno = ECONNREFUSED;
    assert_int_equal(control_get_status(SOCKET, &root, &connack), EX_UNAVAILABLE);
    assert_int_equal(connack, -1);
    cli_silence_errors(false);
    assert_null(root);
}

/* ---- list and show ---- */

static void a_list_of_the_daemon_comes_in_several_answers(void **state)
{
    (void)state;
    answers[0] = "{\"command\":\"list\",\"ok\":true,\"messages\":[{\"id\":1,\"lane\":\"a\","
                 "\"state\":\"held\",\"topic\":\"t\\u001b\",\"age_ms\":61000,\"bytes\":5}],"
                 "\"last\":false}";
    answers[1] = "{\"command\":\"list\",\"ok\":true,\"messages\":[{\"id\":2},{\"id\":3}],"
                 "\"last\":true}";
    assert_int_equal(RUN(cli_list, "list", "--lane", "a", "--topic", "#", "--client", "c",
                         "--user", "7", "--older-than", "1m", "--id", "3", "--id", "1",
                         "--rejected", "--limit", "9", "--json"),
                     EX_OK);
    assert_string_equal(mosquitto_fake.payloads[0],
                        "{\"command\":\"list\",\"ids\":[1,3],\"lane\":\"a\",\"topic\":\"#\","
                        "\"client\":\"c\",\"user\":7,\"older_than_ms\":60000,"
                        "\"rejected\":true,\"limit\":9}");
    assert_string_equal(tool.out,
                        "{\"id\":1,\"lane\":\"a\",\"state\":\"held\",\"topic\":\"t\\u001b\","
                        "\"age_ms\":61000,\"bytes\":5}\n{\"id\":2}\n{\"id\":3}\n");
    assert_int_equal(RUN(cli_list, "list"), EX_OK);
    assert_contains(tool.out, "        ID LANE         STATE");
    assert_contains(tool.out, "         1 a            held");
    assert_contains(tool.out, "t\\x1B\n");
    assert_lacks(tool.out, "\x1b");
    answers[0] = "{\"command\":\"list\",\"ok\":true,\"messages\":[],\"last\":true}";
    answers[1] = NULL;
    assert_int_equal(RUN(cli_list, "list"), EX_OK);
    assert_string_equal(tool.out, "No messages are spooled.\n");
    assert_int_equal(RUN(cli_list, "list", "--rejected"), EX_OK);
    assert_string_equal(tool.out, "No rejected messages are kept.\n");
    assert_int_equal(RUN(cli_list, "list", "--client", "c"), EX_OK);
    assert_string_equal(tool.out, "There is no such message.\n");
}

static void a_message_of_the_daemon_is_shown_with_its_payload_in_parts(void **state)
{
    (void)state;
    answers[0] =
        "{\"command\":\"show\",\"ok\":true,\"id\":7,\"age_ms\":1000,\"content_type\":\"a\\u001b\","
        "\"user_properties\":[[\"k\",\"v\"]],\"payload\":\"MTIz\",\"last\":false}";
    answers[1] = "{\"command\":\"show\",\"ok\":true,\"payload\":\"NA==\",\"last\":true}";
    assert_int_equal(RUN(cli_show, "show", "7", "--payload", "--json"), EX_OK);
    assert_string_equal(mosquitto_fake.payloads[0],
                        "{\"command\":\"show\",\"id\":7,\"payload\":true}");
    assert_string_equal(tool.out,
                        "{\"id\":7,\"age_ms\":1000,\"content_type\":\"a\\u001b\","
                        "\"user_properties\":[[\"k\",\"v\"]],\"payload\":\"MTIzNA==\"}\n");
    assert_int_equal(RUN(cli_show, "show", "7"), EX_OK);
    assert_contains(tool.out, "id                7\n");
    assert_contains(tool.out, "age               1");
    assert_contains(tool.out, "content type      a\\x1B\n");
    assert_contains(tool.out, "user property     k = v\n");
    assert_contains(tool.out, "payload (base64)  MTIzNA==\n");
    answers[0] = "{\"command\":\"show\",\"ok\":false,\"error\":\"there is no message 7\"}";
    answers[1] = NULL;
    assert_int_equal(RUN(cli_show, "show", "7"), EX_DATAERR);
    assert_contains(tool.err, "there is no message 7\n");
    assert_contains(tool.err,
                    "one that has ended without being rejected has no payload any "
                    "more and cannot be sent again; mqtt-spool audit --id 7 shows its "
                    "life\n");
    assert_int_equal(RUN(cli_show, "show", "0"), EX_USAGE);
    assert_int_equal(RUN(cli_show, "show"), EX_USAGE);
    assert_int_equal(RUN(cli_show, "show", "1", "2"), EX_USAGE);
}

static void without_a_daemon_the_files_are_read(void **state)
{
    struct fixture *f = *state;
    char config[256], text[512];

    (void)snprintf(text, sizeof(text),
                   "spool: { directory = \"%s\"; }; listen: { socket = \"%s/s\"; };"
                   "uplink: { brokers = (\"tcp://b:1\"); };",
                   f->directory, f->directory);
    tool.config_path = tool_write(config, "/tmp", "spool-test-control.conf", text);
    close_spool(f);
    assert_int_equal(TOOL_RUN(&tool, cli_list, "list"), EX_OK);
    assert_contains(tool.out, "         8 default      pending");
    open_spool(f);
    assert_int_equal(spool_set_hold(f->spool, NULL, true), 0);
    commit(f);
    close_spool(f);
    assert_int_equal(TOOL_RUN(&tool, cli_list, "list"), EX_OK);
    assert_contains(tool.out, "         8 default      held");
    assert_lacks(tool.out, "         7 default");
    assert_int_equal(TOOL_RUN(&tool, cli_list, "list", "--limit", "1", "--json"), EX_OK);
    assert_contains(tool.out,
                    "{\"id\":8,\"lane\":\"default\",\"client\":\"client\",\"uid\":1000,");
    assert_lacks(tool.out, "\"id\":9");
    assert_int_equal(TOOL_RUN(&tool, cli_list, "list", "--rejected", "--json"), EX_OK);
    assert_contains(tool.out, "{\"id\":5,");
    assert_contains(tool.out, "\"state\":\"rejected\"");
    assert_int_equal(TOOL_RUN(&tool, cli_show, "show", "9", "--payload"), EX_OK);
    assert_contains(tool.out, "payload (base64)  cGF5bG9hZA==\n");
    assert_int_equal(TOOL_RUN(&tool, cli_show, "show", "5"), EX_OK);
    assert_contains(tool.out, "code              0x87\n");
    assert_int_equal(TOOL_RUN(&tool, cli_show, "show", "5", "--json"), EX_OK);
    assert_contains(tool.out, "\"reason\":\"reason_code\",\"code\":135");
    assert_lacks(tool.out, "payload\":\"");
    assert_int_equal(TOOL_RUN(&tool, cli_list, "list", "--lane", "none"), EX_DATAERR);
    assert_contains(tool.err, "there is no lane \"none\"");
    assert_int_equal(TOOL_RUN(&tool, cli_show, "show", "1"), EX_DATAERR);
    assert_contains(tool.err, "there is no message 1 in the spool\n");
    assert_contains(tool.err, "one that has ended without being rejected has no payload any "
                              "more and cannot be sent again; mqtt-spool audit --id 1 shows");
    assert_int_equal(mosquitto_fake.sent, 0);
    open_spool(f); /* a daemon runs */
    answers[0] = "{\"command\":\"list\",\"ok\":true,\"messages\":[{\"id\":3}],\"last\":true}";
    assert_int_equal(TOOL_RUN(&tool, cli_list, "list", "--json"), EX_OK);
    assert_string_equal(tool.out, "{\"id\":3}\n");
    assert_int_equal(mosquitto_fake.sent, 1);
    assert_int_equal(
        TOOL_RUN(&tool, cli_list, "list", "--json", "--directory", f->directory, "--id", "9"),
        EX_OK);
    assert_contains(tool.out, "{\"id\":9,");
    (void)unlink(config);
}

/* ---- drop and requeue ---- */

static void a_drop_without_a_terminal_needs_yes(void **state)
{
    (void)state;
    assert_int_equal(RUN(cli_drop, "drop", "--all"), EX_USAGE);
    assert_contains(tool.err, "needs --yes");
    assert_int_equal(RUN(cli_drop, "drop", "--yes"), EX_USAGE);
    assert_contains(tool.err, "say which messages");
    assert_int_equal(RUN(cli_drop, "drop", "--yes", "--all", "--lane", "a"), EX_USAGE);
    assert_int_equal(mosquitto_fake.sent, 0);
    answers[0] =
        "{\"command\":\"drop\",\"ok\":true,\"matched\":9,\"dropped\":2,\"in_flight\":1,"
        "\"last\":false}";
    answers[1] =
        "{\"command\":\"drop\",\"ok\":true,\"matched\":9,\"dropped\":8,\"in_flight\":1,"
        "\"last\":true}";
    assert_int_equal(RUN(cli_drop, "drop", "--all", "--yes"), EX_OK);
    assert_string_equal(mosquitto_fake.payloads[0], "{\"command\":\"drop\",\"all\":true}");
    assert_string_equal(tool.out, "9 messages matched, 8 dropped; 1 in flight stays\n");
    assert_int_equal(RUN(cli_drop, "drop", "--id", "4", "--dry-run", "--json"), EX_OK);
    assert_string_equal(mosquitto_fake.payloads[1],
                        "{\"command\":\"drop\",\"ids\":[4],\"dry_run\":true}");
    assert_string_equal(tool.out,
                        "{\"command\":\"drop\",\"ok\":true,\"matched\":9,\"dropped\":8,"
                        "\"in_flight\":1,\"dry_run\":true}\n");
}

static void what_is_not_there_is_followed_in_the_audit_file(void **state)
{
    (void)state;
    answers[0] = "{\"command\":\"drop\",\"ok\":true,\"matched\":0,\"dropped\":0,"
                 "\"in_flight\":0,\"last\":true}";
    assert_int_equal(RUN(cli_drop, "drop", "--yes", "--id", "7"), EX_OK);
    assert_contains(tool.out,
                    "0 messages matched, 0 dropped\none that has ended already cannot "
                    "be dropped; mqtt-spool audit --id 7 shows its life\n");
    answers[0] = "{\"command\":\"list\",\"ok\":true,\"messages\":[],\"last\":true}";
    assert_int_equal(RUN(cli_list, "list", "--id", "7"), EX_OK);
    assert_string_equal(
        tool.out,
        "There is no such message.\none that has ended is listed only "
        "if it was rejected, by --rejected; mqtt-spool audit --id 7 shows its life\n");
    assert_int_equal(RUN(cli_list, "list", "--id", "7", "--json"), EX_OK);
    assert_string_equal(tool.out, "");
}

static void more_ids_than_a_request_holds_become_several_requests(void **state)
{
    enum { IDS = 10000 };
    char *input = malloc((size_t)IDS * 8);
    size_t used = 0;

    (void)state;
    assert_non_null(input);
    for (unsigned i = 1; i <= IDS; i++)
        used += (size_t)sprintf(input + used, "%u\n", 100000 + i);
    tool.input = input;
    answers[0] =
        "{\"command\":\"drop\",\"ok\":true,\"matched\":3,\"dropped\":2,\"in_flight\":1,"
        "\"last\":true}";
    assert_int_equal(RUN(cli_drop, "drop", "--id", "-", "--yes", "--json"), EX_OK);
    assert_int_equal(mosquitto_fake.sent, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_true(mosquitto_fake.sizes[i] <= 65536);
    assert_contains(mosquitto_fake.payloads[0], "\"ids\":[100001,100002,");
    assert_contains(mosquitto_fake.payloads[3], ",110000]}");
    assert_string_equal(tool.out,
                        "{\"command\":\"drop\",\"ok\":true,\"matched\":12,\"dropped\":8,"
                        "\"in_flight\":4}\n");
    tool.input = "";
    assert_int_equal(RUN(cli_drop, "drop", "--id", "-", "--yes", "--json"), EX_OK);
    assert_int_equal(mosquitto_fake.sent, 4);
    assert_contains(tool.out, "\"matched\":0");
    free(input);
}

static void a_requeue_asks_nothing_and_prints_what_was_done_before_it_failed(void **state)
{
    (void)state;
    answers[0] =
        "{\"command\":\"requeue\",\"ok\":true,\"matched\":1,\"requeued\":1,\"last\":true}";
    assert_int_equal(RUN(cli_requeue, "requeue", "--all"), EX_OK);
    assert_string_equal(mosquitto_fake.payloads[0], "{\"command\":\"requeue\",\"all\":true}");
    assert_string_equal(tool.out, "1 message matched, 1 requeued\n");
    answers[0] =
        "{\"command\":\"requeue\",\"ok\":true,\"matched\":0,\"requeued\":0,\"last\":true}";
    assert_int_equal(RUN(cli_requeue, "requeue", "--all"), EX_OK);
    assert_string_equal(tool.out, "0 messages matched, 0 requeued\n");
    assert_int_equal(RUN(cli_requeue, "requeue", "--id", "7", "--json"), EX_OK);
    assert_lacks(tool.out, "life");
    assert_int_equal(RUN(cli_requeue, "requeue", "--id", "7"), EX_OK);
    assert_string_equal(tool.out,
                        "0 messages matched, 0 requeued\n"
                        "one that has ended without being rejected has no payload any more and "
                        "cannot be sent again; mqtt-spool audit --id 7 shows its life\n");
    assert_int_equal(RUN(cli_requeue, "requeue", "--id", "7", "--id", "8"), EX_OK);
    assert_contains(tool.out, "mqtt-spool audit --id N shows its life\n");
    answers[0] = "{\"command\":\"requeue\",\"ok\":false,\"error\":\"a lane has no room\","
                 "\"matched\":5,\"requeued\":4,\"last\":true}";
    mosquitto_fake.answer = quota;
    assert_int_equal(RUN(cli_requeue, "requeue", "--all", "--json"), EX_TEMPFAIL);
    assert_contains(tool.err, "a lane has no room");
    assert_string_equal(tool.out, "{\"command\":\"requeue\",\"ok\":false,\"matched\":5,"
                                  "\"requeued\":4}\n");
    assert_int_equal(RUN(cli_requeue, "requeue", "--yes", "--all"), EX_USAGE);
}

static void values_that_a_request_cannot_hold_are_refused(void **state)
{
    char *text = malloc(70000);

    (void)state;
    assert_non_null(text);
    memset(text, 'a', 69999);
    text[69999] = '\0';
    assert_int_equal(RUN(cli_requeue, "requeue", "--client", text), EX_DATAERR);
    assert_int_equal(RUN(cli_hold, "hold", "--lane", text), EX_DATAERR);
    assert_int_equal(RUN(cli_hold, "hold", "--lane", ""), EX_USAGE);
    assert_int_equal(RUN(cli_release, "release", "--lane", ""), EX_USAGE);
    assert_int_equal(RUN(cli_list, "list", "--lane", ""), EX_USAGE);
    assert_int_equal(RUN(cli_drop, "drop", "--yes", "--client", ""), EX_USAGE);
    assert_contains(tool.err, "--client is empty");
    assert_int_equal(mosquitto_fake.sent, 0);
    free(text);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_case, teardown_case)
    const struct CMUnitTest tests[] = {
        CASE(each_command_is_sent_and_its_answer_awaited),
        CASE(a_flush_of_what_is_held_names_the_release),
        CASE(a_level_that_is_none_is_a_usage_error),
        CASE(who_is_no_admin_gets_77),
        CASE(a_daemon_that_is_not_there_is_69),
        CASE(what_the_daemon_refuses_is_printed_with_its_reason),
        CASE(a_connection_that_is_lost_or_refused_is_reported),
        CASE(a_status_that_is_not_had_comes_with_the_code_of_the_connack),
        CASE(a_list_of_the_daemon_comes_in_several_answers),
        CASE(a_message_of_the_daemon_is_shown_with_its_payload_in_parts),
        cmocka_unit_test_setup_teardown(without_a_daemon_the_files_are_read, setup_history,
                                        teardown_case),
        CASE(a_drop_without_a_terminal_needs_yes),
        CASE(what_is_not_there_is_followed_in_the_audit_file),
        CASE(more_ids_than_a_request_holds_become_several_requests),
        CASE(a_requeue_asks_nothing_and_prints_what_was_done_before_it_failed),
        CASE(values_that_a_request_cannot_hold_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
