/* SPDX-License-Identifier: MIT */
/*
 * test_forward.c - what is sent, and what the broker's answers make of a message
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/gateway/forward.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/stop.h"
#include "daemon/ingress/session.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

/* @count messages, committed and as many of them sent as the window takes. */
static struct gateway *open_with(unsigned count)
{
    struct gateway *gateway = fakes_open("");
    struct session *session = fakes_connect("one", 1000);

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fakes_publish(session, "plant/1", "payload").kind, SESSION_ACCEPT);
    fakes_edge();
    (void)fakes_take_trace();
    return gateway;
}

static void expect_ended(enum spool_outcome outcome, uint64_t count)
{
    fakes_edge();
    assert_int_equal(fakes_ledger().ended[outcome], count);
}

static void what_is_delivered_ends_with_the_next_commit(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    fakes_answer(1, UPLINK_DELIVERED, -1);
    assert_int_equal(gateway->forward.settled, 1);
    assert_int_equal(fakes_ledger().ended[SPOOL_DELIVERED], 0);
    assert_int_equal(gateway->forward.acknowledged_boot_ms, fakes.now.boot_ms);
    expect_ended(SPOOL_DELIVERED, 1);
    assert_int_equal(gateway->forward.settled, 0);
    assert_int_equal(fakes_ledger().spooled, 1);
}

static void what_no_subscriber_gets_is_delivered_and_counted(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    fakes_answer(1, UPLINK_DELIVERED, MQTT_NO_MATCHING_SUBSCRIBERS);
    assert_int_equal(gateway->counters.unsubscribed, 1);
    fakes_answer(2, UPLINK_DELIVERED, -1);
    assert_int_equal(gateway->counters.unsubscribed, 1);
    expect_ended(SPOOL_DELIVERED, 2);
}

static void what_is_refused_for_good_is_rejected(void **state)
{
    static const int codes[] = {MQTT_NOT_AUTHORIZED,    MQTT_TOPIC_NAME_INVALID,
                                MQTT_PACKET_TOO_LARGE,  MQTT_PAYLOAD_FORMAT_INVALID,
                                MQTT_QOS_NOT_SUPPORTED, MQTT_RETAIN_NOT_SUPPORTED};
    const unsigned count = sizeof(codes) / sizeof(codes[0]);

    (void)state;
    (void)open_with(count);
    for (unsigned i = 0; i < count; i++)
        fakes_answer(i + 1, UPLINK_REFUSED, codes[i]);
    expect_ended(SPOOL_REJECTED, count);
    assert_int_equal(fakes_logged("broker_refuses"), 0);
}

static void what_is_refused_for_now_returns_after_a_growing_pause(void **state)
{
    struct gateway *gateway = open_with(6);

    (void)state;
    for (unsigned id = 1; id <= 5; id++)
        fakes_answer(id, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
    assert_string_equal(fakes_take_trace(),
                        "return+1000 return+2000 return+4000 return+8000 return+10000 ");
    assert_int_equal(fakes_logged("broker_refuses code=0x97 "), 1); /* the others: suppressed */
    assert_int_equal(gateway->forward.acknowledged_boot_ms, 0);
    fakes_answer(6, UPLINK_DELIVERED, -1);
    assert_int_equal(gateway->forward.transient_in_a_row, 0);
    expect_ended(SPOOL_REJECTED, 0);
    assert_null(strstr(fakes_take_trace(), "send-1 ")); /* not before its pause is over */
    fakes_pass_time(1000);
    fakes_edge();
    assert_non_null(strstr(fakes_take_trace(), "send-1 "));
}

static void expect_sent(const char *topic, const char *sent_topic, uint8_t sent_qos)
{
    struct session *session = fakes_connect("one", 1000);

    assert_int_equal(fakes_publish(session, topic, "payload").kind, SESSION_ACCEPT);
    fakes_edge();
    assert_string_equal(fakes.sent_topic, sent_topic);
    assert_int_equal(fakes.sent_qos, sent_qos);
    fakes_leave(session);
}

static void a_lane_has_a_prefix_and_a_qos_of_its_own(void **state)
{
    (void)state;
    (void)fakes_open("lanes = ( { name = \"a\"; topics = ( \"a/#\" ); prefix = \"x/\";\n"
                     "max_qos = 0; }, { name = \"b\"; topics = ( \"b\" ); prefix = \"\"; },\n"
                     "{ name = \"c\"; topics = ( \"c\" ); } );\n");
    expect_sent("a/1", "x/a/1", 0);
    expect_sent("b", "b", 1);
    expect_sent("c", "c", 1);
    expect_sent("d", "d", 1);
    fakes_reload("lanes = ( { name = \"a\"; topics = ( \"a/#\" ); prefix = \"y/\"; } );\n");
    expect_sent("a/1", "y/a/1", 1);
    expect_sent("b", "b", 1);
}

static void a_lane_maps_its_topics(void **state)
{
    (void)state;
    (void)fakes_open("lanes = ( { name = \"a\"; topics = ( \"a/#\" ); prefix = \"x/\";\n"
                     "map = ( \"a/+/t\", \"t/{1}\", \"a/#\", \"{#}/a\" ); } );\n");
    expect_sent("a/1/t", "x/t/1", 1);
    expect_sent("a/1/u", "x/1/u/a", 1);
    expect_sent("b/1/t", "b/1/t", 1);
}

#define MAP_ALL                                                                                \
    "lanes = ( { name = \"a\"; topics = ( \"a/#\" ); map = ( \"a/#\", \"{#}\" ); } );\n"

static void what_maps_to_no_topic_is_refused_or_rejected(void **state)
{
    struct gateway *gateway = fakes_open(MAP_ALL);
    struct session *session = fakes_connect("two", 1000);

    (void)state;
    assert_int_equal(fakes_publish(session, "a", "x").code, MQTT_TOPIC_NAME_INVALID);
    assert_int_equal(fakes_publish(session, "a/$SYS/x", "x").code, MQTT_TOPIC_NAME_INVALID);
    assert_int_equal(gateway->counters.refused, 2);
    fakes_reload("lanes = ( { name = \"a\"; topics = ( \"a/#\" ); } );\n");
    fakes.room = 0;
    assert_int_equal(fakes_publish(session, "a", "x").kind, SESSION_ACCEPT);
    fakes_edge();
    fakes_reload(MAP_ALL); /* for what is spooled, too */
    fakes.room = 100;
    (void)fakes_take_trace();
    fakes_edge();
    expect_ended(SPOOL_REJECTED, 1);
    assert_null(strstr(fakes_take_trace(), "send"));
}

static void what_has_no_answer_is_sent_again(void **state)
{
    (void)state;
    (void)open_with(1);
    fakes_answer(1, UPLINK_UNKNOWN, -1);
    assert_string_equal(fakes_take_trace(), "return+0 ");
    fakes_refill();
    assert_non_null(strstr(fakes_take_trace(), "send-1 "));
    expect_ended(SPOOL_DELIVERED, 0);
}

static void an_answer_without_a_token_is_counted_and_ignored(void **state)
{
    struct gateway *gateway = open_with(1);

    (void)state;
    fakes_answer(77, UPLINK_DELIVERED, -1);
    fakes_answer(77, UPLINK_REFUSED, MQTT_SERVER_BUSY);
    fakes_answer(77, UPLINK_UNKNOWN, -1);
    assert_int_equal(fakes_logged("answer_without_token id=77 ignored=yes"), 1);
    assert_int_equal(gateway->counters.ended, 0);
    assert_int_equal(gateway->forward.settled, 0);
    assert_int_equal(fakes_exit_code(), -1);
}

static void a_settlement_that_fails_ends_the_daemon(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    fakes.settle.value = -ENOMEM;
    fakes_answer(1, UPLINK_DELIVERED, -1);
    assert_int_equal(fakes_logged("failed what=settle "), 1);
    assert_int_equal(fakes_exit_code(), 1);
    (void)fakes_take_trace();
    fakes_answer(2, UPLINK_DELIVERED, -1);
    fakes_link_state(UPLINK_IDLE);
    assert_string_equal(fakes_take_trace(), ""); /* nothing is settled any more */
    assert_int_equal(gateway->forward.link_state, UPLINK_ONLINE);
}

static void what_no_broker_takes_is_rejected_and_no_attempt(void **state)
{
    (void)state;
    fakes.send = (struct fake_result){UPLINK_E_TOO_LARGE, 1};
    (void)open_with(2);
    assert_int_equal(fakes.sent_count, 1);
    expect_ended(SPOOL_REJECTED, 1);
}

static void a_broker_without_retained_messages_rejects_them(void **state)
{
    (void)state;
    fakes.send = (struct fake_result){UPLINK_E_RETAIN, 1};
    (void)open_with(1);
    expect_ended(SPOOL_REJECTED, 1);
}

static void what_waits_for_another_broker_is_given_back_for_a_while(void **state)
{
    (void)state;
    (void)open_with(2);
    fakes_answer(1, UPLINK_UNKNOWN, -1);
    fakes_answer(2, UPLINK_UNKNOWN, -1);
    fakes.send = (struct fake_result){UPLINK_E_OTHER_BROKER, 1};
    (void)fakes_take_trace();
    fakes_edge();
    assert_string_equal(fakes_take_trace(), "send-1 return+5000 send-2 retain commit export ");
    assert_int_equal(fakes_ledger().ended[SPOOL_REJECTED], 0);
    assert_int_equal(fakes_ledger().spooled, 2);
}

/* Thousands of them must not keep the loop from everything else. */
static void few_messages_for_another_broker_are_given_back_in_one_run(void **state)
{
    struct gateway *gateway = open_with(2);
    struct session *session = fakes_connect("two", 1000);

    (void)state;
    fakes.send = (struct fake_result){UPLINK_E_OTHER_BROKER, 1000000};
    for (unsigned i = 0; i < 5 * GATEWAY_DEFERRED_RUN; i++)
        assert_int_equal(fakes_publish(session, "plant/1", "payload").kind, SESSION_ACCEPT);
    fakes_edge();
    /* An edge sends twice, before its commit and after it. */
    assert_in_range(1000000 - fakes.send.count, 1, 2 * GATEWAY_DEFERRED_RUN);
    assert_true(gateway->forward.is_refill_armed);
    while (gateway->forward.is_refill_armed)
        fakes_refill();
    assert_int_equal(1000000 - fakes.send.count, 5 * GATEWAY_DEFERRED_RUN);
}

static void a_full_window_gives_the_message_back_and_stops(void **state)
{
    (void)state;
    (void)open_with(1);
    fakes_answer(1, UPLINK_UNKNOWN, -1);
    fakes.send = (struct fake_result){UPLINK_E_FULL, 1};
    (void)fakes_take_trace();
    fakes_edge();
    /* Once before the commit, where the window is full, and once after it. */
    assert_string_equal(fakes_take_trace(), "send-1 return+0 retain commit send-1 export ");
}

static void a_send_that_fails_is_a_failure(void **state)
{
    (void)state;
    (void)open_with(1);
    fakes_answer(1, UPLINK_UNKNOWN, -1);
    fakes.send.value = -ENOMEM;
    fakes_refill();
    assert_int_equal(fakes_logged("failed what=forward "), 1);
    assert_int_equal(fakes_exit_code(), 1);
}

static void what_is_settled_takes_its_place_in_the_window_until_the_commit(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.room = 2;
    struct session *session = fakes_connect("one", 1000);
    for (unsigned i = 0; i < 4; i++)
        (void)fakes_publish(session, "plant/1", "payload");
    fakes_edge();
    assert_int_equal(fakes.sent_count, 2);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_answer(2, UPLINK_DELIVERED, -1);
    assert_int_equal(forward_run(&fakes.gateway->forward), 0);
    assert_int_equal(fakes.sent_count, 2);
    fakes_edge();
    assert_int_equal(fakes.sent_count, 4);
}

static void too_many_settled_bytes_stop_sending(void **state)
{
    (void)state;
    (void)open_with(1);
    fakes_answer(1, UPLINK_UNKNOWN, -1);
    fakes.settled_bytes = GATEWAY_SETTLED_BYTES;
    (void)fakes_take_trace();
    assert_int_equal(forward_run(&fakes.gateway->forward), 0);
    assert_string_equal(fakes_take_trace(), "");
    fakes.settled_bytes = GATEWAY_SETTLED_BYTES - 1;
    assert_int_equal(forward_run(&fakes.gateway->forward), 0);
    assert_string_equal(fakes_take_trace(), "send-1 ");
}

static void a_quarter_of_the_window_is_worth_a_commit(void **state)
{
    struct gateway *gateway = open_with(30);

    (void)state;
    for (unsigned id = 1; id <= 24; id++)
        fakes_answer(id, UPLINK_DELIVERED, -1);
    fakes_refill();
    assert_int_equal(fakes_ledger().ended[SPOOL_DELIVERED], 0);
    assert_true(gateway->edge_timer.is_awaited);
    fakes_answer(25, UPLINK_DELIVERED, -1);
    fakes_refill(); /* arms the edge, which runs */
    assert_int_equal(fakes_ledger().ended[SPOOL_DELIVERED], 25);
}

static void the_refill_has_a_deadline(void **state)
{
    struct gateway *gateway = open_with(1);

    (void)state;
    fakes_answer(1, UPLINK_UNKNOWN, -1);
    assert_true(gateway->forward.is_refill_armed);
    assert_int_equal(fakes_due_ms(gateway->forward.refill_deadline), GATEWAY_EDGE_LATEST_MS);
    fakes_refill();
    assert_int_equal(fakes_due_ms(gateway->forward.refill_deadline), -1);
}

static void a_link_that_comes_up_sends_at_once_and_hastens_the_status(void **state)
{
    struct gateway *gateway = open_with(1);

    (void)state;
    fakes_answer(1, UPLINK_UNKNOWN, -1);
    fakes_link_state(UPLINK_IDLE);
    fakes_reach(gateway->status.timer);
    (void)fakes_take_trace();
    assert_true(fakes_due_ms(gateway->status.timer) > 0);
    fakes.link.window = 7;
    fakes_link_state(UPLINK_ONLINE);
    assert_int_equal(gateway->forward.window, 7);
    assert_int_equal(fakes_due_ms(gateway->status.timer), 0);
    fakes_refill();
    assert_non_null(strstr(fakes_take_trace(), "send-1 "));
}

static void while_it_stops_nothing_is_sent(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    stop_begin(&gateway->stop);
    fakes_answer(1, UPLINK_UNKNOWN, -1);
    assert_false(gateway->forward.is_refill_armed);
    assert_true(gateway->edge_timer.is_armed);
    (void)fakes_take_trace();
    assert_int_equal(forward_run(&gateway->forward), 0);
    assert_string_equal(fakes_take_trace(), "");
}

static void once_files_were_moved_no_answer_counts(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    gateway->turn.has_moved = true;
    fakes_answer(1, UPLINK_DELIVERED, -1);
    assert_string_equal(fakes_take_trace(), "");
    gateway->turn.has_moved = false;
    fakes_answer(2, UPLINK_UNKNOWN, -1);
    (void)fakes_take_trace();
    gateway->turn.has_moved = true;
    fakes_refill();
    assert_null(strstr(fakes_take_trace(), "send"));
    gateway->turn.has_moved = false;
}

static void a_database_without_a_message_is_no_failure(void **state)
{
    struct gateway *gateway = open_with(0);

    (void)state;
    fakes.next.value = SPOOL_E_EMPTY;
    assert_int_equal(forward_run(&gateway->forward), 0);
}

static void the_end_answers_what_is_open_before_the_last_commit(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    fakes_answer(1, UPLINK_DELIVERED, -1);
    (void)fakes_take_trace();
    assert_int_equal(gateway_free(gateway), 0);
    fakes.gateway = NULL;
    assert_string_equal(fakes_take_trace(),
                        "free-one return+0 commit export sync commit checkpoint ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(what_is_delivered_ends_with_the_next_commit),
        FAKES_TEST(what_no_subscriber_gets_is_delivered_and_counted),
        FAKES_TEST(what_is_refused_for_good_is_rejected),
        FAKES_TEST(what_is_refused_for_now_returns_after_a_growing_pause),
        FAKES_TEST(a_lane_has_a_prefix_and_a_qos_of_its_own),
        FAKES_TEST(a_lane_maps_its_topics),
        FAKES_TEST(what_maps_to_no_topic_is_refused_or_rejected),
        FAKES_TEST(what_has_no_answer_is_sent_again),
        FAKES_TEST(an_answer_without_a_token_is_counted_and_ignored),
        FAKES_TEST(a_settlement_that_fails_ends_the_daemon),
        FAKES_TEST(what_no_broker_takes_is_rejected_and_no_attempt),
        FAKES_TEST(a_broker_without_retained_messages_rejects_them),
        FAKES_TEST(what_waits_for_another_broker_is_given_back_for_a_while),
        FAKES_TEST(few_messages_for_another_broker_are_given_back_in_one_run),
        FAKES_TEST(a_full_window_gives_the_message_back_and_stops),
        FAKES_TEST(a_send_that_fails_is_a_failure),
        FAKES_TEST(what_is_settled_takes_its_place_in_the_window_until_the_commit),
        FAKES_TEST(too_many_settled_bytes_stop_sending),
        FAKES_TEST(a_quarter_of_the_window_is_worth_a_commit),
        FAKES_TEST(the_refill_has_a_deadline),
        FAKES_TEST(a_link_that_comes_up_sends_at_once_and_hastens_the_status),
        FAKES_TEST(while_it_stops_nothing_is_sent),
        FAKES_TEST(once_files_were_moved_no_answer_counts),
        FAKES_TEST(a_database_without_a_message_is_no_failure),
        FAKES_TEST(the_end_answers_what_is_open_before_the_last_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
