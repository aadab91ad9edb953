/* SPDX-License-Identifier: MIT */
/*
 * test_verb_status.c - tests of `mqtt-spool status`: where the object comes from, over
 * real spools and status files
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "store/spool.h"
#include "tests/support/access_fake.h"
#include "tests/support/history_fixture.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;

static char socket_path[128];
static char status_path[256];

static int setup_history(void **state)
{
    struct fixture *f;

    if (setup(state) != 0)
        return -1;
    f = *state;
    memset(&tool, 0, sizeof(tool));
    access_fails = false;
    make_history(f);
    (void)snprintf(socket_path, sizeof(socket_path), "%s/run/publish.sock", f->directory);
    (void)snprintf(status_path, sizeof(status_path), "%s/run/status.json", f->directory);
    *strrchr(status_path, '/') = '\0';
    if (mkdir(status_path, 0700) != 0)
        return -1;
    status_path[strlen(status_path)] = '/';
    return 0;
}

static void write_status(const char *text)
{
    FILE *file = fopen(status_path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* What a daemon of @pid wrote @age_ms ago. */
static void write_own_status(int pid, int64_t age_ms)
{
    char text[256], time[CLOCK_TEXT_MAX];

    clock_format(cli_now().wall_ms - age_ms, time);
    (void)snprintf(text, sizeof(text),
                   "{\"version\":\"9.9.9\",\n \"pid\":%d,\"time\":\"%s\","
                   "\"link\":{\"state\":\"online\"}}\n",
                   pid, time);
    write_status(text);
}

/* @members: more of them, each behind a comma. */
static void write_own_status_with(const char *members)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "{\"version\":\"9.9.9\",\"pid\":%d%s}", (int)getpid(),
                   members);
    write_status(text);
}

static void write_config(const struct fixture *f, const char *more)
{
    static char path[256];
    char text[1024];

    (void)snprintf(text, sizeof(text),
                   "spool: { directory = \"%s\"; };\nlisten: { socket = \"%s\"; };\n"
                   "uplink: { brokers = ( \"tcp://h:1\" ); };\naudit: { file = \"\"; };\n%s",
                   f->directory, socket_path, more);
    tool.config_path = tool_write(path, f->directory, "run/spoold.conf", text);
}

static json_t *parsed(void)
{
    json_error_t error;
    json_t *root = json_loads(tool.out, 0, &error);

    assert_non_null(root);
    assert_ptr_equal(strchr(tool.out, '\n'), tool.out + strlen(tool.out) - 1);
    return root;
}

static const char *link_state(const json_t *root)
{
    return json_string_value(json_object_get(json_object_get(root, "link"), "state"));
}

static void a_hold_of_all_lanes_is_shown_while_no_daemon_runs(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(spool_set_hold(f->spool, NULL, true), 0);
    commit(f);
    close_spool(f);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--directory", f->directory), EX_OK);
    assert_contains(tool.out, "link      stopped\n"
                              "          HELD BY AN OPERATOR: nothing is sent until mqtt-spool "
                              "release\n");
}

static void a_stopped_daemon_s_status_is_made_from_the_spool(void **state)
{
    struct fixture *f = *state;
    json_t *root;

    close_spool(f);
    assert_int_equal(
        TOOL_RUN(&tool, cli_status, "status", "--json", "--directory", f->directory), EX_OK);
    root = parsed();
    assert_string_equal(link_state(root), "stopped");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(root, "ledger"), "accepted")), 10);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(root, "audit"), "waiting")), 7);
    json_decref(root);
    assert_string_equal(tool.err, "");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--directory", f->directory), EX_OK);
    assert_contains(tool.out, "daemon    NOT RUNNING");
    assert_contains(tool.out, "accepted            10\n");
}

static void a_running_daemon_s_status_is_its_own(void **state)
{
    struct fixture *f = *state;
    json_t *root;

    write_config(f, "");
    write_own_status(getpid(), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--json"), EX_OK);
    root = parsed();
    assert_string_equal(json_string_value(json_object_get(root, "version")), "9.9.9");
    json_decref(root);
    assert_string_equal(tool.err, "");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.out, "daemon    mqtt-spoold 9.9.9");
}

/* The lock shows whether it runs, not the file, which a killed daemon leaves behind. */
static void a_status_file_that_was_left_behind_is_not_believed(void **state)
{
    struct fixture *f = *state;
    json_t *root;

    close_spool(f);
    write_config(f, "");
    write_own_status(getpid(), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--json"), EX_OK);
    root = parsed();
    assert_string_equal(link_state(root), "stopped");
    json_decref(root);
}

static void a_running_daemon_without_a_status_file_is_unknown(void **state)
{
    struct fixture *f = *state;
    json_t *root;

    write_config(f, "");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--json"), EX_OK);
    root = parsed();
    assert_string_equal(link_state(root), "unknown");
    json_decref(root);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.out, "its status file cannot be read");
}

static void a_status_file_that_is_no_object_is_reported(void **state)
{
    struct fixture *f = *state;

    write_config(f, "");
    write_status("[1, 2");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.err, "run/status.json is no status: ");
    assert_contains(tool.err, "looking into the spool instead");
    assert_contains(tool.out, "its status file cannot be read");
    write_status("[1, 2]");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.err, "is no status");
    write_status("{\"pid\":1,\"pid\":2}");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.err, "is no status: duplicate object key");
    write_status("{\"a\":1}");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.err, "is no status: it is not the object of a daemon");
}

static void a_fifo_in_place_of_the_status_file_is_not_waited_for(void **state)
{
    struct fixture *f = *state;

    write_config(f, "");
    assert_int_equal(mkfifo(status_path, 0600), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.out, "its status file cannot be read");
}

static void an_old_status_of_a_running_daemon_is_reported(void **state)
{
    struct fixture *f = *state;

    write_config(f, "status_interval = \"10s\";\n");
    write_own_status(getpid(), 25000);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_string_equal(tool.err, "");
    write_own_status(getpid(), 60000);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.err, "this status is 1 min");
    assert_contains(tool.err, "old although the daemon runs: it may hang");
}

static void running_can_be_required(void **state)
{
    struct fixture *f = *state;

    write_own_status(getpid(), 0);
    assert_int_equal(
        TOOL_RUN(&tool, cli_status, "status", "--require-running", "--directory", f->directory),
        EX_OK);
    close_spool(f);
    assert_int_equal(
        TOOL_RUN(&tool, cli_status, "status", "--require-running", "--directory", f->directory),
        EX_UNAVAILABLE);
    assert_contains(tool.err, "the daemon does not run; start it: systemctl start mqtt-spoold");
    assert_string_equal(tool.out, "");
}

/* Then the process that the file names shows it. */
static void with_the_socket_alone_the_status_file_is_enough_while_its_process_runs(void **state)
{
    (void)state;
    write_own_status(getpid(), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--socket", socket_path), EX_OK);
    assert_contains(tool.out, "daemon    mqtt-spoold 9.9.9");
    write_own_status(0, 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--socket", socket_path),
                     EX_UNAVAILABLE);
    assert_contains(tool.err, "give --directory DIR or -c FILE");
}

/* Its folder is the service's own. */
static void without_the_right_to_see_the_lock_the_process_decides(void **state)
{
    struct fixture *f = *state;

    close_spool(f);
    write_own_status(getpid(), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--socket", socket_path,
                              "--directory", f->directory),
                     EX_OK);
    assert_contains(tool.out, "daemon    NOT RUNNING");
    access_fails = true;
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--socket", socket_path,
                              "--directory", f->directory),
                     EX_OK);
    assert_contains(tool.out, "daemon    mqtt-spoold 9.9.9");
    write_own_status(0, 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--socket", socket_path,
                              "--directory", f->directory, "--require-running"),
                     EX_UNAVAILABLE);
}

/* Its process id lasts until its parent waits for it. */
static void a_killed_daemon_that_nobody_waited_for_does_not_run(void **state)
{
    struct fixture *f = *state;
    siginfo_t ended;
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    assert_true(pid > 0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT), 0);
    write_own_status(pid, 0);
    access_fails = true;
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--socket", socket_path,
                              "--directory", f->directory, "--require-running"),
                     EX_UNAVAILABLE);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* The missing right is not all there is to report. */
static void without_the_right_to_read_the_spool_it_says_whether_the_daemon_runs(void **state)
{
    struct fixture *f = *state;

    close_spool(f);
    write_own_status(0, 0);
    access_fails = true;
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--socket", socket_path,
                              "--directory", "/nowhere/spool"),
                     EX_NOPERM);
    assert_contains(tool.err, "the daemon does not run; start it: systemctl start mqtt-spoold");
    assert_contains(tool.err, "may not read the spool in /nowhere/spool");
    assert_int_equal(unlink(status_path), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--socket", socket_path,
                              "--directory", "/nowhere/spool"),
                     EX_NOPERM);
    assert_contains(tool.err, "the daemon does not seem to run: there is no ");
    write_own_status(getpid(), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--socket", socket_path,
                              "--directory", "/nowhere/spool"),
                     EX_OK);
}

static void a_status_that_is_not_of_now_has_its_time(void **state)
{
    struct fixture *f = *state;

    write_config(f, "status_interval = \"1m\";\n");
    write_own_status(getpid(), 0);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_null(strstr(tool.out, "as of"));
    write_own_status(getpid(), 30000);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.out, "\n          as of 20");
    assert_contains(tool.out, "30 s ago\n");
    assert_string_equal(tool.err, "");
}

static void one_message_is_no_messages(void **state)
{
    struct fixture *f = *state;

    write_config(f, "");
    write_own_status_with(", \"spool\":{\"messages\":1,\"bytes\":7}");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.out, "spool     1 message, 7 B");
}

static void the_limits_of_a_stopped_daemon_are_those_of_the_configuration(void **state)
{
    struct fixture *f = *state;

    close_spool(f);
    write_config(f, "retention: { max_messages = 77; };\n");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_OK);
    assert_contains(tool.out, "3 of 77 messages");
}

/* The number of rows after the cursor is not that of numbers then. */
static void records_that_were_pruned_do_not_wait(void **state)
{
    struct fixture *f = *state;
    json_t *root;

    tamper(f, "DELETE FROM outcome WHERE seq <= 2; UPDATE spool SET pruned_seq = 2");
    close_spool(f);
    assert_int_equal(
        TOOL_RUN(&tool, cli_status, "status", "--json", "--directory", f->directory), EX_OK);
    root = parsed();
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(root, "audit"), "waiting")), 5);
    json_decref(root);
}

static void no_spool_is_unavailable(void **state)
{
    struct fixture *f = *state;

    write_config(f, "");
    close_spool(f);
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--directory", "/nowhere/spool"),
                     EX_UNAVAILABLE);
    assert_contains(tool.err, "there is no spool in /nowhere/spool");
}

static void wrong_arguments_and_help(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "extra"), EX_USAGE);
    assert_contains(tool.err, "what is \"extra\"?");
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status", "--help"), EX_OK);
    assert_contains(tool.out, "Usage: mqtt-spool status");
    tool.config_path = "/nowhere/x.conf";
    assert_int_equal(TOOL_RUN(&tool, cli_status, "status"), EX_CONFIG);
    assert_contains(tool.err, "or give --directory DIR or --socket PATH");
}

static void a_path_that_is_too_long_has_no_status_file(void **state)
{
    static char path[5000];
    struct fixture *f = *state;

    memset(path, 'x', sizeof(path) - 1);
    path[0] = '/';
    path[4990] = '/';
    assert_int_equal(
        TOOL_RUN(&tool, cli_status, "status", "--socket", path, "--directory", f->directory),
        EX_OK);
    assert_contains(tool.out, "its status file cannot be read");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_history, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_hold_of_all_lanes_is_shown_while_no_daemon_runs),
        CASE(a_stopped_daemon_s_status_is_made_from_the_spool),
        CASE(a_running_daemon_s_status_is_its_own),
        CASE(a_status_file_that_was_left_behind_is_not_believed),
        CASE(a_running_daemon_without_a_status_file_is_unknown),
        CASE(a_status_file_that_is_no_object_is_reported),
        CASE(a_fifo_in_place_of_the_status_file_is_not_waited_for),
        CASE(an_old_status_of_a_running_daemon_is_reported),
        CASE(running_can_be_required),
        CASE(with_the_socket_alone_the_status_file_is_enough_while_its_process_runs),
        CASE(without_the_right_to_see_the_lock_the_process_decides),
        CASE(a_killed_daemon_that_nobody_waited_for_does_not_run),
        CASE(without_the_right_to_read_the_spool_it_says_whether_the_daemon_runs),
        CASE(a_status_that_is_not_of_now_has_its_time),
        CASE(one_message_is_no_messages),
        CASE(the_limits_of_a_stopped_daemon_are_those_of_the_configuration),
        CASE(records_that_were_pruned_do_not_wait),
        CASE(no_spool_is_unavailable),
        CASE(wrong_arguments_and_help),
        CASE(a_path_that_is_too_long_has_no_status_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
