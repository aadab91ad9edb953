/* SPDX-License-Identifier: MIT */
/*
 * test_status_file.c - the status file: what it says, that it is replaced whole, and what goes
 * wrong
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/config/config.h"
#include "daemon/gateway/control.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/intake.h"
#include "daemon/gateway/status.h"
#include "daemon/gateway/stop.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

static const char *path_of(const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", fakes.directory, name);
    return path;
}

/* The object as it is now. */
static const char *read_status(void)
{
    static char text[65536];
    FILE *file;

    gateway_publish_status(fakes.gateway);
    file = fopen(path_of("status.json"), "re");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    assert_int_equal(fclose(file), 0);
    text[size] = '\0';
    return text;
}

static void expect_member(const char *member)
{
    const char *text = read_status();

    if (!strstr(text, member))
        print_error("%s\n", text);
    assert_non_null(strstr(text, member));
}

static void publish_and_commit(unsigned count)
{
    struct connection *connection = fakes_connect("one", 1000);

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fakes_publish(connection, "a", "x").kind, CONNECTION_ACCEPT);
    fakes_edge();
}

/* As if so much time had passed since the last status. */
static void pass_time(int64_t ms)
{
    fakes_pass_time(ms);
    turn_read_clock(&fakes.gateway->turn);
}

static void it_says_what_came_and_went(void **state)
{
    (void)state;
    (void)fakes_open("");
    pass_time(1000);
    (void)read_status();
    publish_and_commit(20);
    for (unsigned id = 1; id <= 10; id++)
        fakes_answer(id, UPLINK_DELIVERED, -1);
    pass_time(10000);
    fakes_edge();
    expect_member("\"rates\":{\"in\":2.0,\"out\":1.0}");
    expect_member("\"link\":{\"state\":\"online\"");
    pass_time(99);
    (void)read_status();
    assert_int_equal((int)fakes.gateway->status.rates.in_per_s, 2); /* kept: asked at once */
}

/* The link itself is online, and has forgotten its last error: as after a minute. */
static void a_refused_link_has_its_cause_and_its_time(void **state)
{
    char clock[CLOCK_TEXT_MAX], since[CLOCK_TEXT_MAX + 16];

    (void)state;
    (void)fakes_open("");
    publish_and_commit(20);
    pass_time(5000);
    for (unsigned id = 1; id <= 20; id++)
        fakes_answer(id, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
    pass_time(90000);
    clock_format(fakes.gateway->turn.now.wall_ms - 90000, clock);
    (void)snprintf(since, sizeof(since), "\"since\":\"%s\"", clock);
    expect_member("\"state\":\"refused\"");
    expect_member(since);
    expect_member(
        "\"last_error\":\"the broker refused a message: quota exceeded (code 0x97)\"");
    (void)snprintf(since, sizeof(since), "error_time\":\"%s\"", clock);
    expect_member(since);
    expect_member("\"remedy\":\"check the rights and limits of this client id");
    expect_member("\"refused_code\":151");
}

/* The link has forgotten its last error, and accepts others; what it refused waits. */
static void what_is_refused_keeps_the_cause_of_a_link_that_is_online(void **state)
{
    char clock[CLOCK_TEXT_MAX], time[CLOCK_TEXT_MAX + 16];

    (void)state;
    (void)fakes_open("");
    publish_and_commit(4);
    expect_member("\"refused_waiting\":0");
    fakes_answer(1, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
    fakes_answer(2, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
    clock_format(fakes.gateway->turn.now.wall_ms, clock);
    (void)snprintf(time, sizeof(time), "error_time\":\"%s\"", clock);
    pass_time(90000);
    fakes_answer(3, UPLINK_DELIVERED, -1);
    fakes_answer(4, UPLINK_DELIVERED, -1);
    expect_member("\"state\":\"online\"");
    expect_member("\"refused_waiting\":2");
    expect_member(
        "\"last_error\":\"the broker refused a message: quota exceeded (code 0x97)\"");
    expect_member(time);
    (void)snprintf(fakes.link.last_error, sizeof(fakes.link.last_error), "connection lost");
    fakes.link.last_error_boot_ms = fakes.gateway->turn.now.boot_ms;
    expect_member("\"last_error\":\"connection lost\"");
    fakes.link.since_boot_ms = fakes.link.last_error_boot_ms + 1; /* it came up again */
    expect_member(
        "\"last_error\":\"the broker refused a message: quota exceeded (code 0x97)\"");
    fakes.link.state = UPLINK_CONNECTING;
    expect_member("\"last_error\":\"connection lost\"");
    fakes.link.state = UPLINK_ONLINE;
    fakes.link.last_error[0] = '\0';
    pass_time(1000);
    fakes_edge();
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_answer(2, UPLINK_DELIVERED, -1);
    expect_member("\"refused_waiting\":0");
    expect_member("\"last_error\":null");
}

/* @ago_ms: before now. */
static void expect_since(const char *state, int64_t ago_ms)
{
    char clock[CLOCK_TEXT_MAX], member[CLOCK_TEXT_MAX + 128];

    (void)snprintf(member, sizeof(member), "\"link\":{\"state\":\"%s\"", state);
    expect_member(member);
    clock_format(fakes.gateway->turn.now.wall_ms - ago_ms, clock);
    (void)snprintf(member, sizeof(member), "\"since\":\"%s\"", clock);
    expect_member(member);
}

static void ask_operator(struct connection *connection, const char *request)
{
    (void)fakes_publish(connection, CONTROL_TOPIC, request);
    fakes_edge();
    fakes_edge();
}

static void a_hold_and_its_end_have_their_own_times(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = fakes_connect("root", 0);
    fakes_edge();
    fakes.link.since_boot_ms = fakes.gateway->turn.now.boot_ms;
    pass_time(5000);
    ask_operator(connection, "{\"command\":\"hold\",\"lane\":\"default\"}");
    expect_since("online", 5000);
    ask_operator(connection, "{\"command\":\"hold\"}");
    pass_time(7000);
    ask_operator(connection, "{\"command\":\"hold\"}"); /* it is held already */
    pass_time(2000);
    expect_since("held", 9000);
    ask_operator(connection, "{\"command\":\"release\"}");
    pass_time(3000);
    expect_since("online", 3000);
}

/* A hold that ends during a refusal shows that again, and so since then. */
static void what_a_hold_has_covered_is_shown_since_its_end(void **state)
{
    (void)state;
    (void)fakes_open("");
    publish_and_commit(20);
    struct connection *connection = fakes_connect("root", 0);
    fakes_edge();
    for (unsigned id = 1; id <= 20; id++)
        fakes_answer(id, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
    pass_time(1000);
    expect_since("refused", 1000);
    ask_operator(connection, "{\"command\":\"hold\"}");
    pass_time(2000);
    expect_since("held", 2000);
    ask_operator(connection, "{\"command\":\"release\"}");
    pass_time(4000);
    expect_since("refused", 4000);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    pass_time(500);
    expect_since("online", 500);
}

static void it_says_what_a_hup_has_not_applied(void **state)
{
    (void)state;
    (void)fakes_open("");
    expect_member("\"configuration\":{\"restart_keys\":null,\"refused\":null}");
    struct config *config = fakes_config("");
    config->uplink.window = 7;
    gateway_reload(fakes.gateway, config);
    expect_member("\"configuration\":{\"restart_keys\":\"uplink.window\",\"refused\":null}");
    gateway_refuse_reload(fakes.gateway);
    expect_member(
        "\"configuration\":{\"restart_keys\":\"uplink.window\",\"refused\":\"file\"}");
    fakes.set_lanes.value = SPOOL_E_LANES;
    fakes_reload("");
    expect_member("\"configuration\":{\"restart_keys\":null,\"refused\":\"lanes\"}");
    fakes.set_lanes.value = 0;
    fakes_reload("");
    expect_member("\"configuration\":{\"restart_keys\":null,\"refused\":null}");
}

static void systemd_is_shown_a_line_of_the_same(void **state)
{
    (void)state;
    (void)fakes_open("");
    publish_and_commit(3);
    (void)read_status();
    assert_non_null(strstr(fakes.systemd_status, "link online, 3 spooled (oldest "));
    intake_note_full(&fakes.gateway->intake, INTAKE_FULL_DISK);
    (void)read_status();
    assert_non_null(strstr(fakes.systemd_status, ", NEW MESSAGES ARE NOT TAKEN"));
    stop_begin(&fakes.gateway->stop);
    strcpy(fakes.systemd_status, "stopping");
    (void)read_status();
    assert_string_equal(fakes.systemd_status, "stopping"); /* what it says then stays */
}

static void a_lane_that_grows_has_a_forecast(void **state)
{
    struct gateway *gateway = fakes_open("retention: { max_messages = 100; };");

    (void)state;
    fakes_link_state(UPLINK_IDLE);
    pass_time(1000);
    (void)read_status();
    assert_true(gateway->status.rates.has_lanes);
    publish_and_commit(10);
    pass_time(10000);
    expect_member("\"full_s\":90");
    publish_and_commit(90);
    pass_time(10000);
    expect_member("\"full_s\":0");
}

static void what_is_full_now_needs_no_forecast(void **state)
{
    (void)state;
    (void)fakes_open("");
    expect_member("\"full_s\":null");
    intake_note_full(&fakes.gateway->intake, INTAKE_FULL_DISK);
    expect_member("\"full_s\":0");
    expect_member("\"refusing\":\"disk\"");
}

static void a_database_that_is_locked_keeps_the_last_status(void **state)
{
    (void)state;
    (void)fakes_open("");
    (void)read_status();
    assert_int_equal(unlink(path_of("status.json")), 0);
    fakes.get_stats.value = SPOOL_E_BUSY;
    gateway_publish_status(fakes.gateway);
    assert_int_equal(access(path_of("status.json"), F_OK), -1);
    assert_int_equal(fakes_logged("status_not_written"), 0);
}

static void what_a_killed_daemon_left_is_in_nobodys_way(void **state)
{
    (void)state;
    (void)fakes_open("");
    assert_int_equal(symlink("/etc/passwd", path_of("status.json.new")), 0);
    expect_member("\"pid\"");
    assert_int_equal(access(path_of("status.json.new"), F_OK), -1);
}

static void a_status_that_cannot_be_written_is_logged_once_and_its_end_once(void **state)
{
    (void)state;
    (void)fakes_open("");
    assert_int_equal(mkdir(path_of("status.json.new"), 0700), 0);
    gateway_publish_status(fakes.gateway);
    gateway_publish_status(fakes.gateway);
    assert_int_equal(fakes_logged("status_not_written file="), 1);
    assert_int_equal(rmdir(path_of("status.json.new")), 0);
    gateway_publish_status(fakes.gateway);
    pass_time(1000);
    gateway_publish_status(fakes.gateway);
    assert_int_equal(fakes_logged("status_written"), 1);
}

static void another_process_that_writes_it_is_noticed_once(void **state)
{
    (void)state;
    (void)fakes_open("");
    (void)read_status();
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(unlink(path_of("status.json")), 0);
        int fd = open(path_of("status.json"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "{}", 2), 2);
        assert_int_equal(close(fd), 0);
        gateway_publish_status(fakes.gateway);
    }
    assert_int_equal(fakes_logged("status_shared file="), 1);
}

static void a_failed_daemon_writes_none_and_the_end_removes_it(void **state)
{
    (void)state;
    (void)fakes_open("");
    (void)read_status();
    fakes.gateway->turn.has_failed = true;
    assert_int_equal(unlink(path_of("status.json")), 0);
    gateway_publish_status(fakes.gateway);
    assert_int_equal(access(path_of("status.json"), F_OK), -1);
    fakes.gateway->turn.has_failed = false;
    (void)read_status();
    assert_int_equal(gateway_free(fakes.gateway), 0);
    fakes.gateway = NULL;
    assert_int_equal(access(path_of("status.json"), F_OK), -1);
}

static void the_timer_writes_it_each_interval(void **state)
{
    struct gateway *gateway = fakes_open("status_interval = \"7s\";");

    (void)state;
    assert_int_equal(access(path_of("status.json"), F_OK), 0); /* at once after the start */
    assert_int_equal(fakes_due_ms(gateway->status.timer), 7000);
    status_hasten(&gateway->status);
    assert_int_equal(fakes_due_ms(gateway->status.timer), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(it_says_what_came_and_went),
        FAKES_TEST(a_refused_link_has_its_cause_and_its_time),
        FAKES_TEST(what_is_refused_keeps_the_cause_of_a_link_that_is_online),
        FAKES_TEST(a_hold_and_its_end_have_their_own_times),
        FAKES_TEST(what_a_hold_has_covered_is_shown_since_its_end),
        FAKES_TEST(it_says_what_a_hup_has_not_applied),
        FAKES_TEST(systemd_is_shown_a_line_of_the_same),
        FAKES_TEST(a_lane_that_grows_has_a_forecast),
        FAKES_TEST(what_is_full_now_needs_no_forecast),
        FAKES_TEST(a_database_that_is_locked_keeps_the_last_status),
        FAKES_TEST(what_a_killed_daemon_left_is_in_nobodys_way),
        FAKES_TEST(a_status_that_cannot_be_written_is_logged_once_and_its_end_once),
        FAKES_TEST(another_process_that_writes_it_is_noticed_once),
        FAKES_TEST(a_failed_daemon_writes_none_and_the_end_removes_it),
        FAKES_TEST(the_timer_writes_it_each_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
