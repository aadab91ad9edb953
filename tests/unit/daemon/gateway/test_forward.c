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
#include <stdio.h>
#include <string.h>

#include "daemon/config/config.h"
#include "daemon/gateway/forward.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/poison.h"
#include "daemon/gateway/refusal.h"
#include "daemon/gateway/stop.h"
#include "daemon/ingress/session.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
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

/* What was sent since the last call. */
static const char *take_sends(void)
{
    static char text[1024];
    char trace[FAKES_TRACE_MAX];
    char *rest = trace;

    text[0] = '\0';
    (void)snprintf(trace, sizeof(trace), "%s", fakes_take_trace());
    for (const char *word; (word = strsep(&rest, " ")) != NULL;) {
        size_t used = strlen(text);
        if (strncmp(word, "send-", 5) == 0)
            (void)snprintf(text + used, sizeof(text) - used, "%s ", word);
    }
    return text;
}

struct record_search {
    uint64_t id;
    int reason; /* -1: not found */
};

static int find_reason(void *userdata, const struct spool_record *record)
{
    struct record_search *search = userdata;

    if (record->id == search->id)
        search->reason = (int)record->reason;
    return 0;
}

static int reason_of(struct gateway *gateway, uint64_t id)
{
    struct record_search search = {.id = id, .reason = -1};

    assert_int_equal(spool_each_record(gateway->spool, 0, false, 0, find_reason, &search), 0);
    return search.reason;
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

/* Each has a pause of its own, and so its neighbours have none because of it. */
static void what_is_refused_for_now_returns_after_its_own_growing_pause(void **state)
{
    static const char *const pauses[] = {"return+1000 ", "return+2000 ", "return+4000 ",
                                         "return+8000 ", "return+10000 "};
    struct gateway *gateway = open_with(3);

    (void)state;
    fakes_answer(2, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
    assert_string_equal(fakes_take_trace(), "return+1000 ");
    for (unsigned i = 0; i < 5; i++) {
        fakes_answer(1, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
        assert_string_equal(fakes_take_trace(), pauses[i]);
        fakes_pass_time(10000);
        fakes_edge();
        assert_non_null(strstr(fakes_take_trace(), "send-1 "));
    }
    assert_int_equal(fakes_logged("broker_refuses code=0x97 "), 1); /* the others: suppressed */
    assert_int_equal(gateway->forward.acknowledged_boot_ms, 0);
    expect_ended(SPOOL_REJECTED, 0);
}

static void a_bounded_number_of_attempts_ends_as_rejected(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    gateway->config->uplink.max_attempts = 3;
    for (unsigned i = 0; i < 3; i++) {
        fakes_answer(1, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
        fakes_pass_time(10000);
        fakes_edge();
    }
    assert_int_equal(fakes_ledger().ended[SPOOL_REJECTED], 1);
    assert_int_equal(reason_of(gateway, 1), SPOOL_REASON_ATTEMPTS);
}

/* @count messages are refused, from @first on. */
static void refuse(unsigned first, unsigned count, int code)
{
    for (unsigned id = first; id < first + count; id++)
        fakes_answer(id, UPLINK_REFUSED, code);
}

/* @count refusals of a topic. Return: is the link refused now? */
static bool count_refusals(struct refusal *refusal, unsigned count, uint64_t tag)
{
    for (unsigned i = 0; i < count; i++)
        (void)refusal_count(refusal, tag, MQTT_NOT_AUTHORIZED);
    return refusal->is_refused;
}

static void one_topic_is_not_enough_beside_another_that_is_accepted(void **state)
{
    struct refusal refusal = {0};

    (void)state;
    assert_false(refusal_clear(&refusal, 2));
    assert_false(count_refusals(&refusal, 10 * REFUSAL_IN_A_ROW, 1));
    assert_true(count_refusals(&refusal, 1, 3)); /* two topics in a row */
    assert_true(refusal_clear(&refusal, 3));
    assert_false(count_refusals(&refusal, REFUSAL_IN_A_ROW, 3)); /* 2 was accepted, too */
    refusal_begin_connection(&refusal);
    assert_true(count_refusals(&refusal, 1, 3));
}

static void a_topic_that_was_accepted_before_shows_nothing_about_itself(void **state)
{
    struct refusal refusal = {0};

    (void)state;
    assert_false(refusal_clear(&refusal, 1));
    assert_false(refusal_clear(&refusal, 1));
    assert_false(count_refusals(&refusal, REFUSAL_IN_A_ROW - 1, 1));
    assert_true(count_refusals(&refusal, 1, 1));
}

static void a_broker_that_refuses_everything_is_not_believed(void **state)
{
    struct gateway *gateway = open_with(20);

    (void)state;
    refuse(1, 20, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, REFUSAL_IN_A_ROW - 1);
    assert_true(gateway->forward.refusal.is_refused);
    assert_int_equal(fakes_logged("link_refused code=0x87 "), 1);
    (void)fakes_take_trace();
    fakes_edge();
    assert_null(strstr(fakes_take_trace(), "send-")); /* after a pause */
    fakes_pass_time(1000);
    fakes_edge();
    assert_string_equal(take_sends(), "send-8 "); /* one, the oldest */
    fakes_edge();
    assert_string_equal(take_sends(), "");
    fakes_answer(8, UPLINK_DELIVERED, -1);
    assert_int_equal(fakes_logged("link_accepts "), 1);
    assert_false(gateway->forward.refusal.is_refused);
    fakes_edge();
    assert_string_equal(
        take_sends(), "send-9 send-10 send-11 send-12 send-13 send-14 send-15 send-16 send-17 "
                      "send-18 send-19 send-20 ");
}

static void tries_of_a_refused_link_are_few_and_of_others_than_the_oldest(void **state)
{
    struct gateway *gateway = open_with(12);

    (void)state;
    refuse(1, 12, MQTT_QUOTA_EXCEEDED);
    assert_true(gateway->forward.refusal.is_refused);
    expect_ended(SPOOL_REJECTED, 0);
    (void)take_sends();
    for (unsigned round = 0; round < 3; round++) {
        static const char *const tried[] = {"send-1 send-2 send-3 ", "send-1 send-4 send-5 ",
                                            "send-1 send-6 send-7 "};
        static const unsigned ids[][3] = {{1, 2, 3}, {1, 4, 5}, {1, 6, 7}};
        fakes_pass_time(10000);
        fakes_edge();
        for (unsigned i = 0; i < 3; i++) {
            fakes_answer(ids[round][i], UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
            fakes_edge();
        }
        assert_string_equal(take_sends(), tried[round]);
    }
    expect_ended(SPOOL_REJECTED, 0);
}

static void an_operator_may_have_each_refusal_end_its_message(void **state)
{
    struct gateway *gateway = open_with(20);

    (void)state;
    gateway->config->uplink.on_refusal = UPLINK_ON_REFUSAL_REJECT;
    refuse(1, 20, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 20);
    assert_false(gateway->forward.refusal.is_refused);
}

static void an_acceptance_between_them_ends_a_row_of_refusals(void **state)
{
    struct gateway *gateway = open_with(20);

    (void)state;
    refuse(1, 7, MQTT_NOT_AUTHORIZED);
    fakes_answer(8, UPLINK_DELIVERED, -1);
    refuse(9, 7, MQTT_NOT_AUTHORIZED);
    assert_false(gateway->forward.refusal.is_refused);
    expect_ended(SPOOL_REJECTED, 14);
}

/* The broker closes at message @id, @times times; all that is in flight is sent again. */
static void close_at(uint64_t id, unsigned times, unsigned in_flight)
{
    for (unsigned i = 0; i < times; i++) {
        fakes_close_at(id, -1);
        for (uint64_t other = 1; other <= in_flight; other++) {
            if (other != id)
                fakes_answer(other, UPLINK_UNKNOWN, -1);
        }
        (void)take_sends();
        fakes_edge();
    }
}

static void a_message_at_which_the_broker_closes_alone_is_poison(void **state)
{
    struct gateway *gateway = open_with(4);

    (void)state;
    close_at(2, POISON_CLOSINGS, 4);
    assert_int_equal(fakes_logged("message_suspected id=2 closings=3 "), 1);
    assert_string_equal(take_sends(), "send-2 "); /* alone */
    fakes_edge();
    assert_string_equal(take_sends(), "");
    fakes_close_at(2, -1);
    fakes_edge();
    assert_string_equal(take_sends(), "send-1 "); /* another one, alone */
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_string_equal(take_sends(), "send-3 send-4 ");
    assert_int_equal(fakes_ledger().ended[SPOOL_REJECTED], 1);
    assert_int_equal(reason_of(gateway, 2), SPOOL_REASON_POISON);
    assert_int_equal(fakes_logged("message_poison id=2 "), 1);
}

static void a_broker_that_closes_at_others_too_condemns_nothing(void **state)
{
    struct gateway *gateway = open_with(3);

    (void)state;
    close_at(1, POISON_CLOSINGS, 3);
    fakes_close_at(1, -1);
    fakes_edge();
    (void)take_sends();
    fakes_close_at(2, -1);
    fakes_edge();
    assert_int_equal(fakes_logged("message_acquitted id=1 "), 1);
    assert_string_equal(take_sends(), "send-1 send-2 send-3 ");
    assert_int_equal(gateway->forward.poison.step, POISON_NONE);
    expect_ended(SPOOL_REJECTED, 0);
}

static void a_suspect_that_is_answered_is_acquitted(void **state)
{
    (void)state;
    (void)open_with(2);
    close_at(1, POISON_CLOSINGS, 2);
    (void)take_sends();
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(
        fakes_logged("message_acquitted id=1 cause=\"the broker has answered it\""), 1);
    assert_string_equal(take_sends(), "send-2 ");
    expect_ended(SPOOL_REJECTED, 0);
}

/* What the broker says of the connection suspects no message; nor is a suspect that ended. */
static void only_a_closing_at_a_message_suspects_it(void **state)
{
    static const int codes[] = {MQTT_SERVER_BUSY,        MQTT_SERVER_SHUTTING_DOWN,
                                MQTT_KEEP_ALIVE_TIMEOUT, MQTT_SESSION_TAKEN_OVER,
                                MQTT_SERVER_MOVED,       MQTT_MAXIMUM_CONNECT_TIME};
    struct gateway *gateway = open_with(2);

    (void)state;
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        fakes_close_at(1, codes[i]);
        fakes_edge();
    }
    assert_int_equal(gateway->forward.poison.step, POISON_NONE);
    close_at(1, POISON_CLOSINGS - 1, 2);
    assert_int_equal(gateway->forward.poison.step, POISON_NONE);
    close_at(1, 1, 2);
    assert_int_equal(gateway->forward.poison.step, POISON_SUSPECT);
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
        FAKES_TEST(what_is_refused_for_now_returns_after_its_own_growing_pause),
        FAKES_TEST(a_bounded_number_of_attempts_ends_as_rejected),
        FAKES_TEST(one_topic_is_not_enough_beside_another_that_is_accepted),
        FAKES_TEST(a_topic_that_was_accepted_before_shows_nothing_about_itself),
        FAKES_TEST(a_broker_that_refuses_everything_is_not_believed),
        FAKES_TEST(tries_of_a_refused_link_are_few_and_of_others_than_the_oldest),
        FAKES_TEST(an_operator_may_have_each_refusal_end_its_message),
        FAKES_TEST(an_acceptance_between_them_ends_a_row_of_refusals),
        FAKES_TEST(a_message_at_which_the_broker_closes_alone_is_poison),
        FAKES_TEST(a_broker_that_closes_at_others_too_condemns_nothing),
        FAKES_TEST(a_suspect_that_is_answered_is_acquitted),
        FAKES_TEST(only_a_closing_at_a_message_suspects_it),
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
