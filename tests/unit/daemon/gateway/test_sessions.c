/* SPDX-License-Identifier: MIT */
/*
 * test_sessions.c - what the gateway makes of sessions, over connections, commits and restarts
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

enum { UID = 1000, OTHER_UID = 1001, HOUR_S = 3600 };

static struct gateway *open_limited(unsigned max_sessions)
{
    struct gateway *gateway = fakes_open("");

    gateway->config->listen.max_sessions = max_sessions;
    return gateway;
}

static struct connection *connect_kept(const char *client, bool is_clean, uint32_t expiry_s)
{
    struct connection *connection = fakes_connect_session(client, UID, is_clean, expiry_s);

    assert_non_null(connection);
    fakes_edge();
    assert_false(connection->admission.is_waiting);
    return connection;
}

static struct connection_verdict
publish_2(struct connection *connection, uint16_t packet_id, const char *payload)
{
    connection->qos = 2;
    connection->packet_id = packet_id;
    return fakes_publish(connection, "t", payload);
}

static struct spool_session *find(struct gateway *gateway, const char *client, uint32_t uid)
{
    return spool_session_find(gateway->spool, uid, view_of_text(client));
}

/* What was not committed is lost. */
static void crash(struct gateway *gateway)
{
    gateway->turn.has_failed = true;
    assert_int_equal(gateway_free(gateway), 0);
    fakes.gateway = NULL;
}

static void connack_of_a_new_session_waits_for_its_commit(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect_session("c", UID, true, HOUR_S);

    (void)state;
    assert_true(connection->admission.is_waiting);
    fakes_edge();
    assert_int_equal(connection->connect_code, MQTT_SUCCESS);
    assert_false(connection->admission.is_waiting);
    assert_false(connection->admission.has_session);
    assert_int_equal(connection->admission.session_expiry_s, HOUR_S);
    connection = fakes_connect_session("d", UID, true, 0); /* that needs none */
    assert_false(connection->admission.is_waiting);
    assert_null(find(gateway, "d", UID));
}

static void a_session_is_resumed_by_its_own_user_only(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("");
    connection = connect_kept("c", true, HOUR_S);
    fakes_leave(connection);
    fakes_edge();
    connection = fakes_connect_session("c", OTHER_UID, false, HOUR_S);
    assert_true(connection->admission.is_waiting); /* a session of its own */
    fakes_leave(connection);
    connection = fakes_connect_session("c", UID, false, HOUR_S);
    assert_false(connection->admission.is_waiting);
    assert_true(connection->admission.has_session);
}

static void a_restart_keeps_the_session_and_its_packet_ids(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = connect_kept("c", true, HOUR_S);

    (void)state;
    assert_int_equal(publish_2(connection, 7, "x").kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_int_equal(publish_2(connection, 8, "lost").kind, CONNECTION_ACCEPT);
    crash(gateway);
    gateway = fakes_open("");
    connection = fakes_connect_session("c", UID, false, HOUR_S);
    assert_true(connection->admission.has_session);
    assert_true(connection->unreleased[7]);
    assert_false(connection->unreleased[8]);
    assert_int_equal(connection->ops->repeated(connection->owner, connection, 7), 1);
    assert_true(connection->ops->released(connection->owner, connection, 7));
    fakes_edge();
    assert_int_equal(connection->acknowledged, 1);
    crash(gateway);
    gateway = fakes_open("");
    connection = fakes_connect_session("c", UID, false, HOUR_S);
    assert_false(connection->unreleased[7]);
    assert_non_null(find(gateway, "c", UID));
}

/* Its first message would else be a repetition of one of the session that is gone. */
static void a_clean_start_is_confirmed_when_the_old_session_is_gone(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = connect_kept("c", true, HOUR_S);

    (void)state;
    (void)publish_2(connection, 7, "x");
    fakes_edge();
    fakes_leave(connection);
    fakes_edge();
    connection = fakes_connect_session("c", UID, true, 0);
    assert_true(connection->admission.is_waiting);
    fakes_edge();
    assert_false(connection->admission.is_waiting);
    assert_false(connection->admission.has_session);
    assert_false(connection->unreleased[7]);
    assert_null(find(gateway, "c", UID));
    fakes_leave(connection);
    connection = connect_kept("c", false, HOUR_S);
    assert_false(connection->admission.has_session);
}

static void take_over_keeps_the_session_and_what_is_in_the_open_batch(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *first = connect_kept("c", true, HOUR_S), *second;

    (void)state;
    (void)publish_2(first, 7, "x");
    second = fakes_connect_session("c", UID, false, HOUR_S);
    assert_true(first->is_closed);
    assert_int_equal(first->code, MQTT_SESSION_TAKEN_OVER);
    assert_true(second->admission.has_session);
    assert_true(second->unreleased[7]);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, 1);
    (void)publish_2(second, 8, "y");
    first = fakes_connect_session("c", UID, false, HOUR_S);
    assert_true(first->unreleased[8]);
    fakes.commit = (struct fake_result){SPOOL_E_DISK, 1}; /* the batch is lost */
    fakes_edge();
    assert_true(first->unreleased[7]);
    assert_true(spool_session_count(gateway->spool) == 1);
}

static void a_session_without_expiry_ends_with_its_connection(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = connect_kept("c", true, HOUR_S);

    (void)state;
    connection->ops->expiry_changed(connection->owner, connection, 0); /* by DISCONNECT */
    fakes_leave(connection);
    fakes_edge();
    assert_null(find(gateway, "c", UID));
    (void)connect_kept("c", true, HOUR_S);
    connection = connect_kept("c", false, 0); /* resumed, for this connection */
    assert_true(connection->admission.has_session);
    connection = connect_kept("c", false, HOUR_S); /* takes over what has ended */
    assert_false(connection->admission.has_session);
}

static void the_granted_expiry_is_within_the_limit(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection;

    (void)state;
    gateway->config->listen.session_expiry_ms = 2 * HOUR_S * UINT64_C(1000);
    connection = connect_kept("c", true, CONNECTION_NO_EXPIRY);
    assert_int_equal(connection->admission.session_expiry_s, 2 * HOUR_S);
    fakes_leave(connection);
    fakes_edge();
    fakes_pass_time((2 * HOUR_S - 1) * INT64_C(1000));
    fakes_tick();
    assert_non_null(find(gateway, "c", UID));
    fakes_pass_time(2000);
    fakes_tick();
    assert_null(find(gateway, "c", UID));
}

/* It may be overdue for long if very many are. */
static void a_session_that_is_overdue_is_not_resumed(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = connect_kept("c", true, 2);

    (void)state;
    (void)publish_2(connection, 7, "x");
    fakes_edge();
    fakes_leave(connection);
    fakes_edge();
    fakes_pass_time(2000);
    connection = fakes_connect_session("c", UID, false, HOUR_S);
    assert_true(connection->admission.is_waiting); /* as after a clean start */
    assert_false(connection->admission.has_session);
    fakes_edge();
    assert_false(connection->admission.is_waiting);
    assert_false(connection->unreleased[7]);
    fakes_leave(connection);
    fakes_tick();
    assert_int_equal(fakes_logged("sessions_expired sessions=1 kept=1"), 1);
    connection = connect_kept("c", false, 0);
    assert_true(connection->admission.has_session);
    assert_false(connection->unreleased[7]);
    fakes_leave(connection);
    fakes_edge();
    assert_null(find(gateway, "c", UID));
}

static void at_the_limit_a_session_that_is_overdue_goes_first(void **state)
{
    struct gateway *gateway = open_limited(3);

    (void)state;
    fakes_leave(connect_kept("a", true, HOUR_S));
    fakes_pass_time(1000);
    fakes_leave(fakes_connect_session("b", OTHER_UID, true, 2));
    (void)connect_kept("c", true, HOUR_S);
    fakes_pass_time(2000);
    (void)connect_kept("d", true, HOUR_S);
    assert_non_null(find(gateway, "a", UID));
    assert_null(find(gateway, "b", OTHER_UID));
    assert_non_null(find(gateway, "d", UID));
    assert_int_equal(fakes_logged("sessions_limited"), 0);
}

static void at_the_limit_the_oldest_of_the_same_user_goes(void **state)
{
    struct gateway *gateway = open_limited(3);
    struct connection *connection;

    (void)state;
    fakes_leave(connect_kept("a", true, HOUR_S));
    fakes_pass_time(1000);
    fakes_leave(connect_kept("b", true, HOUR_S));
    (void)connect_kept("c", true, HOUR_S);
    connection = connect_kept("d", true, HOUR_S);
    assert_int_equal(connection->admission.session_expiry_s, HOUR_S);
    assert_null(find(gateway, "a", UID));
    assert_non_null(find(gateway, "b", UID));
    assert_int_equal(
        fakes_logged("sessions_limited max_sessions=3 session=dropped client=\"a\""), 1);
}

static void a_user_with_fewer_sessions_takes_one_of_the_user_with_most(void **state)
{
    struct gateway *gateway = open_limited(3);
    struct connection *connection;

    (void)state;
    fakes_leave(connect_kept("a", true, HOUR_S));
    fakes_leave(connect_kept("b", true, HOUR_S));
    fakes_leave(connect_kept("c", true, HOUR_S));
    (void)fakes_connect_session("x", OTHER_UID, true, HOUR_S);
    assert_non_null(find(gateway, "x", OTHER_UID));
    connection =
        fakes_connect_session("y", OTHER_UID, true, HOUR_S); /* 2 to 1 would be 1 to 2 */
    assert_null(find(gateway, "y", OTHER_UID));
    assert_int_equal(connection->connect_code, MQTT_SUCCESS);
    assert_int_equal(connection->admission.session_expiry_s, 0);
    assert_int_equal(spool_session_count(gateway->spool), 3);
}

static void a_session_that_cannot_be_kept_is_told(void **state)
{
    struct connection *connection;

    (void)state;
    (void)open_limited(0);
    connection = fakes_connect_session("c", UID, true, HOUR_S);
    assert_int_equal(connection->connect_code, MQTT_SUCCESS);
    assert_false(connection->admission.is_waiting);
    assert_int_equal(connection->admission.session_expiry_s, 0);
    connection = fakes_accept(UID);
    connection->version = MQTT_3_1_1;
    connection->connect.session_expiry_s = CONNECTION_NO_EXPIRY;
    assert_int_equal(fakes_say_connect(connection, "d"), MQTT_QUOTA_EXCEEDED);
    assert_true(connection->is_closed);
}

static void without_room_on_the_disk_a_new_session_is_refused(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *old = connect_kept("old", true, HOUR_S), *fresh;

    (void)state;
    (void)publish_2(old, 7, "x");
    fakes_edge();
    fresh = fakes_connect_session("new", UID, true, HOUR_S);
    fakes.commit = (struct fake_result){SPOOL_E_DISK, 1};
    fakes_edge();
    assert_int_equal(fresh->connect_code, MQTT_QUOTA_EXCEEDED);
    assert_true(fresh->is_closed);
    assert_false(old->is_closed);
    assert_true(old->unreleased[7]);
    fakes_edge();
    assert_null(find(gateway, "new", UID));
    assert_non_null(find(gateway, "old", UID));
}

/* What it is still owed after a batch that was lost comes with the next commit. */
static void a_release_is_confirmed_by_the_commit_after_a_lost_batch(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("");
    connection = connect_kept("c", true, HOUR_S);
    (void)publish_2(connection, 7, "x");
    fakes_edge();
    unsigned before = connection->acknowledged;
    assert_true(connection->ops->released(connection->owner, connection, 7));
    connection->is_owed = true;
    fakes.commit = (struct fake_result){SPOOL_E_DISK, 1};
    fakes_edge();
    assert_int_equal(connection->acknowledged, before);
    fakes_edge();
    assert_int_equal(connection->acknowledged, before + 1);
    fakes_leave(connection);
    connection = connect_kept("c", false, HOUR_S);
    assert_false(connection->unreleased[7]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(connack_of_a_new_session_waits_for_its_commit),
        FAKES_TEST(a_session_is_resumed_by_its_own_user_only),
        FAKES_TEST(a_restart_keeps_the_session_and_its_packet_ids),
        FAKES_TEST(a_clean_start_is_confirmed_when_the_old_session_is_gone),
        FAKES_TEST(take_over_keeps_the_session_and_what_is_in_the_open_batch),
        FAKES_TEST(a_session_without_expiry_ends_with_its_connection),
        FAKES_TEST(the_granted_expiry_is_within_the_limit),
        FAKES_TEST(a_session_that_is_overdue_is_not_resumed),
        FAKES_TEST(at_the_limit_a_session_that_is_overdue_goes_first),
        FAKES_TEST(at_the_limit_the_oldest_of_the_same_user_goes),
        FAKES_TEST(a_user_with_fewer_sessions_takes_one_of_the_user_with_most),
        FAKES_TEST(a_session_that_cannot_be_kept_is_told),
        FAKES_TEST(without_room_on_the_disk_a_new_session_is_refused),
        FAKES_TEST(a_release_is_confirmed_by_the_commit_after_a_lost_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
