/* SPDX-License-Identifier: MIT */
/*
 * test_publish.c - what is answered to a PUBLISH, and that nothing is acknowledged by it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/intake.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/stop.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

#define REFUSE_ONE "retention: { max_messages = 1; when_full = \"refuse\"; };"
#define BLOCK_ONE  "retention: { max_messages = 1; when_full = \"block\"; };"

static void expect_verdict(struct connection_verdict verdict,
                           enum connection_verdict_kind kind,
                           uint8_t code)
{
    assert_int_equal(verdict.kind, kind);
    assert_int_equal(verdict.code, code);
}

static void
expect_publish(struct connection *connection, enum connection_verdict_kind kind, uint8_t code)
{
    expect_verdict(fakes_publish(connection, "plant/1", "payload"), kind, code);
}

static void an_accepted_message_waits_for_the_edge(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    struct connection_verdict verdict = fakes_publish(connection, "plant/1", "payload");
    expect_verdict(verdict, CONNECTION_ACCEPT, 0);
    assert_int_equal(verdict.spool_id, 1);
    assert_string_equal(fakes_take_trace(), "append ");
    assert_int_equal(connection->acknowledged, 0);
    assert_int_equal(fakes_ledger().accepted, 0);
    assert_true(gateway->edge_timer.is_armed);
    assert_int_equal(fakes_due_ms(gateway->edge_timer.deadline), GATEWAY_EDGE_LATEST_MS);
}

static void a_client_is_not_offered_the_topics_of_servers(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    expect_verdict(fakes_publish(connection, "$SYS/x", "payload"), CONNECTION_REFUSE,
                   MQTT_NOT_AUTHORIZED);
    assert_string_equal(fakes_take_trace(), "");
    assert_int_equal(gateway->counters.refused, 1);
    assert_false(connection->verdict.is_too_large);
    assert_int_equal(
        fakes_logged("message_refused reason=\"a topic that begins with $ (7 bytes, "
                     "topic $SYS/x)\""),
        1);
}

/* A bridge of 3.1.1 that gets no answer would connect again and repeat it, for ever. */
static void the_notifications_of_a_bridge_are_acknowledged_and_not_stored(void **state)
{
    struct gateway *gateway =
        fakes_open("access = ( { user = \"*\"; publish = ( \"plant/#\" ); } );");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    struct connection_verdict verdict =
        fakes_publish(connection, "$SYS/broker/connection/vm.spool/state", "1");
    expect_verdict(verdict, CONNECTION_ACCEPT, 0);
    assert_int_equal(verdict.spool_id, 0);
    fakes_edge();
    assert_int_equal(connection->acknowledged, 1);
    assert_null(strstr(fakes_take_trace(), "append"));
    assert_int_equal(fakes_ledger().accepted, 0);
    assert_int_equal(gateway->counters.bridge_notifications, 1);
    assert_int_equal(gateway->counters.refused, 0);
    expect_verdict(fakes_publish(connection, "$SYS/broker/connection", "1"), CONNECTION_REFUSE,
                   MQTT_NOT_AUTHORIZED);
    expect_verdict(fakes_publish(connection, "$SYS/broker/connections/x", "1"),
                   CONNECTION_REFUSE, MQTT_NOT_AUTHORIZED);
}

static void a_full_lane_that_refuses_answers_quota_exceeded(void **state)
{
    struct gateway *gateway = fakes_open(REFUSE_ONE);
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes_link_state(UPLINK_IDLE);
    expect_publish(connection, CONNECTION_ACCEPT, 0);
    expect_publish(connection, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    expect_publish(connection, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    assert_string_equal(connection->verdict.why, "limits of lane default");
    assert_int_equal(fakes_logged("message_refused"), 0); /* spool_full is for all of them */
    assert_int_equal(gateway->counters.refused, 2);
    assert_int_equal(fakes_logged("spool_full reason=limits lane=default new_messages=refused"),
                     1);
    assert_true(intake_lane_is_full(&gateway->intake, 0));
}

static void a_full_lane_that_blocks_keeps_the_message_and_offers_it_again(void **state)
{
    struct gateway *gateway = fakes_open(BLOCK_ONE);
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    expect_publish(connection, CONNECTION_ACCEPT, 0);
    expect_publish(connection, CONNECTION_BLOCK, 0);
    assert_int_equal(fakes_logged("spool_full reason=limits lane=default new_messages=blocked"),
                     1);
    assert_int_equal(gateway->counters.refused, 0);
    fakes_edge();
    assert_int_equal(connection->resumed, 0); /* the first one is sent, and not settled */
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(connection->resumed, 1);
    expect_verdict(connection->verdict, CONNECTION_ACCEPT, 0);
}

static void a_message_that_can_never_fit_is_refused_under_every_policy(void **state)
{
    struct gateway *gateway =
        fakes_open("retention: { max_bytes = \"1k\"; when_full = \"block\"; };");
    struct connection *connection = fakes_connect("one", 1000);
    char payload[2048];

    (void)state;
    memset(payload, 'x', sizeof(payload));
    payload[sizeof(payload) - 1] = '\0';
    expect_verdict(fakes_publish(connection, "plant/1", payload), CONNECTION_REFUSE,
                   MQTT_QUOTA_EXCEEDED);
    assert_true(connection->verdict.is_too_large);
    assert_string_equal(connection->verdict.why,
                        "larger than max_bytes of lane default (2047 bytes, topic plant/1)");
    assert_int_equal(fakes_logged("message_refused reason=\"larger than max_bytes of lane "
                                  "default (2047 bytes, topic plant/1)\" client=\"one\" "
                                  "uid=1000 pid="),
                     1);
    assert_int_equal(fakes_logged("spool_full"), 0); /* the lane has room for others */
    assert_int_equal(gateway->counters.refused, 1);
    assert_false(intake_lane_is_full(&gateway->intake, 0));
}

static void the_first_lane_with_a_matching_filter_takes_the_message(void **state)
{
    struct gateway *gateway =
        fakes_open("lanes = ( { name = \"alarms\"; topics = ( \"a/#\", \"b/+\" ); },"
                   "          { name = \"rest\"; topics = ( \"b/#\" ); } );");
    struct connection *connection = fakes_connect("one", 1000);
    struct spool_lane_stats stats;
    struct spool_time now = turn_spool_time(&gateway->turn);
    static const char *const topics[] = {"a/1/2", "b/1", "b/1/2", "c"};
    static const uint64_t expected[] = {1, 2, 1};

    (void)state;
    fakes_link_state(UPLINK_IDLE);
    for (size_t i = 0; i < 4; i++)
        expect_verdict(fakes_publish(connection, topics[i], "x"), CONNECTION_ACCEPT, 0);
    fakes_edge();
    for (unsigned lane = 0; lane < 3; lane++) {
        assert_int_equal(spool_get_lane_stats(gateway->spool, lane, &now, &stats), 0);
        assert_int_equal(stats.messages, expected[lane]);
    }
}

static void a_producer_that_fills_a_batch_waits_for_its_commit(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);
    unsigned accepted = 0;

    (void)state;
    while (fakes_publish(connection, "plant/1", "payload").kind == CONNECTION_ACCEPT)
        assert_in_range(accepted++, 0, GATEWAY_BATCH_MESSAGES);
    expect_verdict(connection->verdict, CONNECTION_WAIT, 0);
    assert_int_equal(spool_batch_messages(gateway->spool), accepted);
    assert_true(gateway->edge_timer.is_armed);
    fakes_edge();
    assert_int_equal(fakes_ledger().accepted, accepted);
    assert_int_equal(connection->resumed, 1);
    expect_verdict(connection->verdict, CONNECTION_ACCEPT, 0);
    assert_int_equal(gateway->counters.refused, 0);
}

static void a_short_disk_refuses_and_says_so_once(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes.append.value = SPOOL_E_DISK;
    expect_publish(connection, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    expect_publish(connection, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    assert_int_equal(fakes_logged("disk_short "), 1);
    assert_int_equal(fakes_logged("spool_full reason=disk new_messages=refused"), 1);
    assert_int_equal(intake_full_reason(&gateway->intake), INTAKE_FULL_DISK);
    assert_false(gateway->edge_timer.is_awaited); /* nothing to commit */
}

static void a_short_disk_holds_back_where_the_lane_blocks(void **state)
{
    struct gateway *gateway = fakes_open("retention: { when_full = \"block\"; };");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes_link_state(UPLINK_IDLE);
    expect_publish(connection, CONNECTION_ACCEPT, 0);
    gateway->edge_timer.is_armed = false; /* as if the edge had begun */
    fakes.append.value = SPOOL_E_DISK;
    expect_publish(connection, CONNECTION_BLOCK, 0);
    assert_true(gateway->edge_timer.is_awaited); /* what the batch holds is committed soon */
    assert_int_equal(fakes_due_ms(gateway->edge_timer.deadline), GATEWAY_FULL_RETRY_MS);
}

static void a_locked_database_makes_producers_wait_and_is_tried_now_and_then(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes.append.value = SPOOL_E_BUSY;
    expect_publish(connection, CONNECTION_WAIT, 0);
    assert_int_equal(fakes_logged("database_locked "), 1);
    assert_true(gateway->edge_timer.is_awaited);
    expect_publish(connection, CONNECTION_WAIT, 0);
    assert_string_equal(fakes_take_trace(), "append "); /* the second did not try */
    fakes_pass_time(GATEWAY_LOCKED_RETRY_MS);
    expect_publish(connection, CONNECTION_WAIT, 0);
    assert_string_equal(fakes_take_trace(), "append ");
    assert_int_equal(gateway->counters.refused, 0);
}

static void a_database_locked_for_long_refuses_or_blocks_by_the_lane(void **state)
{
    struct gateway *gateway = fakes_open(
        "lanes = ( { name = \"b\"; topics = ( \"b/#\" ); when_full = \"block\"; } );");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes.append.value = SPOOL_E_BUSY;
    expect_publish(connection, CONNECTION_WAIT, 0);
    fakes_pass_time(GATEWAY_LOCKED_PATIENCE_MS);
    expect_publish(connection, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    assert_int_equal(fakes_logged("spool_full reason=database_locked"), 1);
    expect_verdict(fakes_publish(connection, "b/1", "x"), CONNECTION_BLOCK, 0);
    fakes.append.value = 0;
    fakes_pass_time(GATEWAY_LOCKED_RETRY_MS);
    expect_publish(connection, CONNECTION_ACCEPT, 0);
    assert_false(gateway->intake.lock.is_held);
}

static void a_database_locked_for_long_is_logged_where_all_lanes_block(void **state)
{
    struct gateway *gateway = fakes_open("retention: { when_full = \"block\"; };");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes.append.value = SPOOL_E_BUSY;
    expect_publish(connection, CONNECTION_WAIT, 0);
    fakes_pass_time(GATEWAY_LOCKED_PATIENCE_MS);
    expect_publish(connection, CONNECTION_BLOCK, 0);
    assert_int_equal(fakes_logged("spool_full reason=database_locked new_messages=blocked "),
                     1);
    assert_int_equal(intake_full_reason(&gateway->intake), INTAKE_FULL_LOCKED);
    assert_true(gateway->edge_timer.is_awaited);
}

static void too_many_waiting_records_refuse_before_the_spool_is_asked(void **state)
{
    struct gateway *gateway = fakes_open("audit: { max_waiting = 1000; };");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes.is_audit_broken = true;
    fakes.waiting = 999;
    expect_publish(connection, CONNECTION_ACCEPT, 0);
    fakes.waiting = 1000;
    (void)fakes_take_trace();
    expect_publish(connection, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    assert_string_equal(fakes_take_trace(), "");
    assert_int_equal(intake_full_reason(&gateway->intake), INTAKE_FULL_AUDIT);
    fakes.is_audit_broken = false;
    expect_publish(connection, CONNECTION_ACCEPT, 0);
}

static void a_failed_append_ends_the_daemon_without_an_answer(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    expect_publish(connection, CONNECTION_ACCEPT, 0);
    fakes.append.value = -EIO;
    expect_publish(connection, CONNECTION_STOP, 0);
    assert_int_equal(fakes_exit_code(), 1);
    assert_int_equal(fakes_logged("failed what=append "), 1);
    fakes.append.value = 0;
    expect_publish(connection, CONNECTION_STOP, 0);
    (void)fakes_take_trace();
    fakes_edge();
    assert_string_equal(fakes_take_trace(), ""); /* neither a commit nor an acknowledgement */
    assert_true(gateway->turn.has_failed);
}

static void moved_files_refuse_and_the_edge_finds_out_why(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes.append = (struct fake_result){SPOOL_E_MOVED, 1};
    expect_publish(connection, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    assert_true(gateway->edge_timer.is_armed);
    fakes.commit = (struct fake_result){SPOOL_E_MOVED, 1};
    fakes.moved = (struct spool_moved){.what = SPOOL_REMOVED, .is_restorable = true};
    fakes.restore.value = SPOOL_E_DISK;
    fakes_edge();
    (void)fakes_take_trace();
    expect_publish(connection, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    assert_string_equal(fakes_take_trace(), "");
    assert_int_equal(gateway->counters.refused, 2);
}

static void a_daemon_that_stops_answers_nothing(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes.uplink_stops_late = true;
    stop_begin(&gateway->stop);
    expect_publish(connection, CONNECTION_STOP, 0);
    assert_int_equal(gateway->counters.refused, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(an_accepted_message_waits_for_the_edge),
        FAKES_TEST(a_client_is_not_offered_the_topics_of_servers),
        FAKES_TEST(the_notifications_of_a_bridge_are_acknowledged_and_not_stored),
        FAKES_TEST(a_full_lane_that_refuses_answers_quota_exceeded),
        FAKES_TEST(a_full_lane_that_blocks_keeps_the_message_and_offers_it_again),
        FAKES_TEST(a_message_that_can_never_fit_is_refused_under_every_policy),
        FAKES_TEST(the_first_lane_with_a_matching_filter_takes_the_message),
        FAKES_TEST(a_producer_that_fills_a_batch_waits_for_its_commit),
        FAKES_TEST(a_short_disk_refuses_and_says_so_once),
        FAKES_TEST(a_short_disk_holds_back_where_the_lane_blocks),
        FAKES_TEST(a_locked_database_makes_producers_wait_and_is_tried_now_and_then),
        FAKES_TEST(a_database_locked_for_long_refuses_or_blocks_by_the_lane),
        FAKES_TEST(a_database_locked_for_long_is_logged_where_all_lanes_block),
        FAKES_TEST(too_many_waiting_records_refuse_before_the_spool_is_asked),
        FAKES_TEST(a_failed_append_ends_the_daemon_without_an_answer),
        FAKES_TEST(moved_files_refuse_and_the_edge_finds_out_why),
        FAKES_TEST(a_daemon_that_stops_answers_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
