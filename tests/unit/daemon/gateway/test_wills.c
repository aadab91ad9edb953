/* SPDX-License-Identifier: MIT */
/*
 * test_wills.c - which wills are admitted, and what becomes of them without their clients
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
#include <sys/types.h>

#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/wills.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

/* Return: what its CONNECT was answered. */
static uint8_t say_connect(struct connection **ret,
                           const char *client_id,
                           uid_t uid,
                           const char *topic,
                           const char *payload)
{
    *ret = fakes_accept(uid);
    assert_non_null(*ret);
    fakes_set_will(*ret, topic, payload);
    return fakes_say_connect(*ret, client_id);
}

static struct connection *connect_with_will(const char *client_id, uid_t uid, const char *topic)
{
    struct connection *connection;

    assert_int_equal(say_connect(&connection, client_id, uid, topic, "gone"), MQTT_SUCCESS);
    return connection;
}

static void leave_with_will(const char *client_id, uid_t uid, const char *topic)
{
    fakes_leave(connect_with_will(client_id, uid, topic));
}

static void a_will_is_a_message_once_its_client_has_gone(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = connect_with_will("one", 1000, "plant/will");

    (void)state;
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 0);
    fakes_leave(connection);
    assert_true(gateway->edge_timer.is_armed);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 1);
    assert_int_equal(gateway->counters.accepted, 1);
    assert_string_equal(fakes.sent_topic, "plant/will");
    assert_int_equal(fakes.sent_qos, 1);
    assert_int_equal(gateway->clients.wills.bytes, 0);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 1);
}

static void a_connection_that_is_taken_over_leaves_its_will(void **state)
{
    (void)state;
    (void)fakes_open("");
    assert_non_null(connect_with_will("one", 1000, "plant/will"));
    assert_non_null(fakes_connect("one", 1000));
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 1);
}

static void expect_rejected(const char *topic, const char *payload, uint8_t code)
{
    struct connection *connection;

    assert_int_equal(say_connect(&connection, "one", 1000, topic, payload), code);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 0);
}

static void a_will_that_can_never_be_accepted_is_refused_at_connect(void **state)
{
    char payload[2048];

    (void)state;
    (void)fakes_open("retention: { max_bytes = \"1k\"; };"
                     "access = ( { user = 1000; publish = ( \"plant/#\" ); } );");
    memset(payload, 'x', sizeof(payload));
    payload[sizeof(payload) - 1] = '\0';
    expect_rejected("$SYS/x", "x", MQTT_NOT_AUTHORIZED);
    assert_int_equal(fakes_logged("client_refused reason=will_topic_with_dollar "), 1);
    expect_rejected("other/x", "x", MQTT_NOT_AUTHORIZED);
    assert_int_equal(fakes_logged("client_refused reason=will_topic_not_allowed "), 1);
    expect_rejected("plant/x", payload, MQTT_QUOTA_EXCEEDED);
    assert_int_equal(fakes_logged("client_refused reason=will_too_large "), 1);
    assert_int_equal(fakes_logged("client_refused"), 3);
    assert_non_null(connect_with_will("one", 1000, "plant/x"));
}

static void the_will_of_a_bridge_is_admitted_and_dropped(void **state)
{
    struct gateway *gateway = fakes_open("access = ( { user = 1000; publish = ( \"a\" ); } );");

    (void)state;
    leave_with_will("one", 1000, "$SYS/broker/connection/vm.spool/state");
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 0);
    assert_int_equal(gateway->counters.bridge_notifications, 1);
    assert_int_equal(gateway->counters.refused, 0);
    assert_int_equal(gateway->clients.wills.bytes, 0);
}

static void a_full_lane_that_refuses_refuses_the_will(void **state)
{
    struct gateway *gateway =
        fakes_open("retention: { max_messages = 1; when_full = \"refuse\"; };");

    (void)state;
    fakes_link_state(UPLINK_IDLE);
    leave_with_will("one", 1000, "plant/1");
    leave_with_will("two", 1000, "plant/2");
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 1);
    assert_int_equal(gateway->counters.refused, 1);
    assert_int_equal(fakes_logged("will_refused reason=\"limits of its lane\" client=\"two\" "
                                  "uid=1000 topic=\"plant/2\""),
                     1);
    assert_int_equal(gateway->clients.wills.bytes, 0);
}

static void a_full_lane_that_blocks_has_the_will_wait(void **state)
{
    struct gateway *gateway =
        fakes_open("retention: { max_messages = 1; when_full = \"block\"; };");

    (void)state;
    leave_with_will("one", 1000, "plant/1");
    leave_with_will("two", 1000, "plant/2");
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 1);
    assert_true(gateway->edge_timer.is_awaited || gateway->edge_timer.is_armed);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 2);
    assert_int_equal(gateway->counters.refused, 0);
    assert_int_equal(gateway->clients.wills.bytes, 0);
}

/* The memory of those that wait is bounded, and a user has no more than half of it. */
static void clients_with_wills_are_rejected_while_too_many_wait(void **state)
{
    struct gateway *gateway =
        fakes_open("retention: { max_messages = 1; when_full = \"block\"; };");
    struct connection *connection;
    size_t size = 60000;
    char *payload = malloc(size);
    unsigned count = 0;

    (void)state;
    assert_non_null(payload);
    memset(payload, 'x', size);
    payload[size - 1] = '\0';
    while (gateway->clients.wills.bytes <= WILLS_BYTES_MAX / 2) {
        assert_int_equal(say_connect(&connection, "one", 1000, "plant/1", payload),
                         MQTT_SUCCESS);
        fakes_leave(connection);
        fakes_edge();
        count++;
    }
    assert_in_range(count, WILLS_BYTES_MAX / 2 / size, WILLS_BYTES_MAX / 2 / size + 2);
    assert_int_equal(say_connect(&connection, "one", 1000, "plant/1", "x"),
                     MQTT_QUOTA_EXCEEDED);
    assert_int_equal(fakes_logged("client_refused reason=wills_wait "), 1);
    assert_non_null(fakes_connect("one", 1000)); /* without a will */
    assert_int_equal(say_connect(&connection, "other", 1001, "plant/1", "x"), MQTT_SUCCESS);
    free(payload);
}

static void a_will_of_a_batch_that_is_rolled_back_is_tried_again(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes.commit = (struct fake_result){.value = SPOOL_E_BUSY, .count = 1};
    leave_with_will("one", 1000, "plant/1");
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 0);
    assert_int_not_equal(gateway->clients.wills.bytes, 0);
    assert_non_null(strstr(fakes_take_trace(), "append "));
    fakes_pass_time(1000);
    fakes_edge();
    assert_non_null(strstr(fakes_take_trace(), "append "));
    assert_int_not_equal(fakes_ledger().accepted, 0);
    assert_int_equal(gateway->clients.wills.bytes, 0);
}

static void wills_count_for_the_rate_of_their_user(void **state)
{
    (void)state;
    (void)fakes_open("access = ( { user = 1000; rate = 1; }, { user = \"*\"; } );");
    for (unsigned i = 0; i < 3; i++)
        leave_with_will("one", 1000, "plant/1");
    leave_with_will("other", 1001, "plant/2");
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 2);
    fakes_pass_time(1000);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 3);
    fakes_pass_time(1000);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 4);
}

static void an_edge_takes_some_wills_and_the_next_one_more(void **state)
{
    struct gateway *gateway = fakes_open("");
    char id[16];

    (void)state;
    for (unsigned i = 0; i < 70; i++) {
        (void)snprintf(id, sizeof(id), "%u", i);
        leave_with_will(id, 1000, "plant/1");
    }
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 64);
    assert_true(gateway->edge_timer.is_armed);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 70);
}

static void a_right_that_was_withdrawn_is_gone_for_the_will_too(void **state)
{
    (void)state;
    (void)fakes_open("access = ( { user = 1000; } );");
    assert_non_null(connect_with_will("one", 1000, "plant/1"));
    fakes_reload("access = ( { user = 1001; } );");
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 0);
    assert_int_equal(fakes_logged("will_refused reason=\"will_topic_not_allowed\""), 1);
}

/* ---- Will Delay Interval ---- */

/* Client "one" with a session that lives for @expiry_s; its will is delayed by @delay_s. */
static struct connection *connect_session(bool is_clean, uint32_t expiry_s, uint32_t delay_s)
{
    struct connection *connection = fakes_accept(1000);

    assert_non_null(connection);
    fakes_set_will(connection, "plant/will", "gone");
    connection->will->delay_s = delay_s;
    connection->connect =
        (struct connection_connect){.is_clean = is_clean, .session_expiry_s = expiry_s};
    assert_int_equal(fakes_say_connect(connection, "one"), MQTT_SUCCESS);
    fakes_edge();
    return connection;
}

static uint64_t accepted_after(int64_t ms)
{
    fakes_pass_time(ms);
    fakes_tick();
    fakes_edge();
    return fakes_ledger().accepted;
}

static void a_will_is_delayed_as_long_as_its_session_lives(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes_leave(connect_session(true, 60, 10));
    assert_int_equal(accepted_after(9000), 0);
    assert_int_equal(accepted_after(1000), 1);
    fakes_leave(connect_session(true, 5, 10));
    assert_int_equal(accepted_after(4000), 1);
    assert_int_equal(accepted_after(1000), 2);
    fakes_leave(connect_session(true, 0, 10));
    assert_int_equal(accepted_after(0), 3);
    assert_int_equal(gateway->clients.wills.bytes, 0);
    assert_int_equal(gateway->clients.wills.delayed_count, 0);
}

static void a_client_that_resumes_its_session_in_time_leaves_no_will(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes_leave(connect_session(true, 60, 10));
    assert_int_not_equal(gateway->clients.wills.bytes, 0);
    assert_non_null(connect_session(false, 60, 10));
    assert_int_equal(gateway->clients.wills.bytes, 0);
    assert_int_equal(accepted_after(20000), 0);
}

static void an_earlier_end_of_the_session_publishes_the_will(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes_leave(connect_session(true, 60, 10));
    assert_non_null(connect_session(true, 60, 10));
    assert_int_equal(accepted_after(0), 1);
    assert_int_equal(gateway->clients.wills.bytes, 0);
}

static void a_session_that_gives_way_to_others_publishes_its_will(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    gateway->config->listen.max_sessions = 1;
    fakes_leave(connect_session(true, 60, 10));
    assert_non_null(fakes_connect_session("two", 1000, true, 60));
    assert_int_equal(accepted_after(0), 1);
}

static void a_take_over_publishes_a_will_that_has_no_delay(void **state)
{
    (void)state;
    (void)fakes_open("");
    assert_non_null(connect_session(true, 60, 10));
    assert_non_null(connect_session(false, 60, 0));
    assert_int_equal(accepted_after(20000), 0);
    assert_non_null(connect_session(false, 60, 10));
    assert_int_equal(accepted_after(0), 1);
    assert_non_null(connect_session(true, 60, 10));
    assert_int_equal(accepted_after(0), 2);
}

static void a_daemon_that_stops_waits_for_no_delay(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes.uplink_stops_late = true;
    fakes_leave(connect_session(true, 60, 10));
    gateway_stop(gateway);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 1);
}

/* ---- the end of the daemon ---- */

static void a_daemon_that_stops_stores_the_wills_of_all(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes.uplink_stops_late = true;
    assert_non_null(connect_with_will("one", 1000, "plant/1"));
    assert_non_null(connect_with_will("two", 1000, "plant/2"));
    gateway_stop(gateway);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 2);
    assert_int_equal(fakes_logged("wills_lost"), 0);
}

static void what_cannot_be_stored_at_the_stop_is_logged(void **state)
{
    struct gateway *gateway =
        fakes_open("retention: { max_messages = 1; when_full = \"block\"; };");

    (void)state;
    leave_with_will("one", 1000, "plant/1");
    leave_with_will("two", 1000, "plant/2");
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 1);
    fakes.gateway = NULL;
    (void)gateway_free(gateway);
    assert_int_equal(fakes_logged("wills_lost wills=1 "), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(a_will_is_a_message_once_its_client_has_gone),
        FAKES_TEST(a_connection_that_is_taken_over_leaves_its_will),
        FAKES_TEST(a_will_that_can_never_be_accepted_is_refused_at_connect),
        FAKES_TEST(the_will_of_a_bridge_is_admitted_and_dropped),
        FAKES_TEST(a_full_lane_that_refuses_refuses_the_will),
        FAKES_TEST(a_full_lane_that_blocks_has_the_will_wait),
        FAKES_TEST(clients_with_wills_are_rejected_while_too_many_wait),
        FAKES_TEST(a_will_of_a_batch_that_is_rolled_back_is_tried_again),
        FAKES_TEST(wills_count_for_the_rate_of_their_user),
        FAKES_TEST(an_edge_takes_some_wills_and_the_next_one_more),
        FAKES_TEST(a_right_that_was_withdrawn_is_gone_for_the_will_too),
        FAKES_TEST(a_will_is_delayed_as_long_as_its_session_lives),
        FAKES_TEST(a_client_that_resumes_its_session_in_time_leaves_no_will),
        FAKES_TEST(an_earlier_end_of_the_session_publishes_the_will),
        FAKES_TEST(a_session_that_gives_way_to_others_publishes_its_will),
        FAKES_TEST(a_take_over_publishes_a_will_that_has_no_delay),
        FAKES_TEST(a_daemon_that_stops_waits_for_no_delay),
        FAKES_TEST(a_daemon_that_stops_stores_the_wills_of_all),
        FAKES_TEST(what_cannot_be_stored_at_the_stop_is_logged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
