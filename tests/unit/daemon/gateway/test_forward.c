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
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/config/config.h"
#include "daemon/gateway/careful.h"
#include "daemon/gateway/forward.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/others.h"
#include "daemon/gateway/poison.h"
#include "daemon/gateway/refusal.h"
#include "daemon/gateway/shape.h"
#include "daemon/gateway/stop.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

/* @count messages, committed and as many of them sent as the window takes. */
static struct gateway *open_with(unsigned count)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fakes_publish(connection, "plant/1", "payload").kind,
                         CONNECTION_ACCEPT);
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
    assert_int_equal(gateway->forward.settled.messages, 1);
    assert_int_equal(fakes_ledger().ended[SPOOL_DELIVERED], 0);
    assert_int_equal(gateway->forward.acknowledged_boot_ms, fakes.now.boot_ms);
    expect_ended(SPOOL_DELIVERED, 1);
    assert_int_equal(gateway->forward.settled.messages, 0);
    assert_int_equal(fakes_ledger().spooled, 1);
}

static int keep_record(void *userdata, const struct spool_record *record)
{
    *(struct spool_record *)userdata = *record; /* its texts are not looked at */
    return 0;
}

static void a_record_has_the_time_of_the_answer_however_late_the_commit(void **state)
{
    struct spool_record record = {0};
    struct gateway *gateway = open_with(1);
    int64_t wall_ms = fakes.now.wall_ms;

    (void)state;
    fakes_pass_time(40);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_pass_time(1900);
    expect_ended(SPOOL_DELIVERED, 1);
    assert_int_equal(spool_each_record(gateway->spool, 0, false, 0, keep_record, &record), 0);
    assert_int_equal(record.time_ms, wall_ms + 40);
    assert_int_equal(record.age_ms, 40);
}

static void what_no_subscriber_gets_is_delivered_and_counted(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    fakes_answer(1, UPLINK_DELIVERED, MQTT_NO_MATCHING_SUBSCRIBERS);
    fakes_answer(2, UPLINK_DELIVERED, -1);
    assert_int_equal(gateway->counters.unsubscribed, 0);
    expect_ended(SPOOL_DELIVERED, 2);
    assert_int_equal(gateway->counters.unsubscribed, 1);
}

static void what_is_refused_for_good_is_rejected(void **state)
{
    static const int codes[] = {MQTT_NOT_AUTHORIZED,    MQTT_TOPIC_NAME_INVALID,
                                MQTT_PACKET_TOO_LARGE,  MQTT_PAYLOAD_FORMAT_INVALID,
                                MQTT_QOS_NOT_SUPPORTED, MQTT_RETAIN_NOT_SUPPORTED};
    const unsigned count = sizeof(codes) / sizeof(codes[0]);

    (void)state;
    (void)open_with(count + 1);
    fakes_answer(count + 1, UPLINK_DELIVERED, -1);
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

/* Message 1 waits and is refused once more. */
static void refuse_first_again(int code)
{
    fakes_pass_time(10000);
    fakes_edge();
    fakes_answer(1, UPLINK_REFUSED, code);
}

static void a_bounded_number_of_attempts_ends_as_rejected(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    gateway->config->uplink.max_attempts = 3;
    fakes_answer(1, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
    refuse_first_again(MQTT_QUOTA_EXCEEDED);
    fakes_answer(2, UPLINK_DELIVERED, -1);
    expect_ended(SPOOL_REJECTED, 0);
    refuse_first_again(MQTT_QUOTA_EXCEEDED);
    expect_ended(SPOOL_REJECTED, 1);
    assert_int_equal(reason_of(gateway, 1), SPOOL_REASON_ATTEMPTS);
}

static void expect_no_end_before_an_acceptance(int code)
{
    struct gateway *gateway = open_with(2);

    gateway->config->uplink.max_attempts = 2;
    fakes_answer(1, UPLINK_REFUSED, code);
    for (unsigned times = 0; times < 3; times++)
        refuse_first_again(code);
    assert_false(gateway->forward.refusal->is_refused);
    expect_ended(SPOOL_REJECTED, 0);
    fakes_answer(2, UPLINK_DELIVERED, -1);
    refuse_first_again(code);
    expect_ended(SPOOL_REJECTED, 1);
}

static void no_number_of_refusals_ends_a_message_before_an_acceptance(void **state)
{
    (void)state;
    expect_no_end_before_an_acceptance(MQTT_QUOTA_EXCEEDED);
}

static void no_refusal_for_good_ends_a_message_before_an_acceptance(void **state)
{
    (void)state;
    expect_no_end_before_an_acceptance(MQTT_NOT_AUTHORIZED);
}

/* @count messages are refused, from @first on. */
static void refuse(unsigned first, unsigned count, int code)
{
    for (unsigned id = first; id < first + count; id++)
        fakes_answer(id, UPLINK_REFUSED, code);
}

/* The broker refuses new messages with topics of these tags, one a millisecond. Return: is the
 * link refused now? */
static bool
count_refusals(struct refusal *refusal, unsigned count, uint64_t first_tag, uint64_t step)
{
    static int64_t now_ms = 1000;

    for (unsigned i = 0; i < count; i++) {
        const struct refusal_event event = {.tag = first_tag + i * step,
                                            .code = MQTT_NOT_AUTHORIZED,
                                            .is_permanent = true,
                                            .is_first = true,
                                            .boot_ms = now_ms++};
        (void)refusal_count(refusal, &event);
    }
    return refusal->is_refused;
}

static bool is_refused_at(struct refusal *refusal, int64_t boot_ms, bool is_permanent)
{
    const struct refusal_event event = {
        .tag = 99, .code = 0x97, .is_permanent = is_permanent, .boot_ms = boot_ms};
    struct refusal copy = *refusal;

    return refusal_count(&copy, &event);
}

static void one_topic_is_not_enough_beside_another_that_is_accepted(void **state)
{
    struct refusal refusal = {0};

    (void)state;
    assert_false(refusal_clear(&refusal, 2, 1000));
    assert_false(count_refusals(&refusal, 10 * REFUSAL_IN_A_ROW, 1, 0));
    assert_true(refusal_is_in_doubt(&refusal));
    assert_false(is_refused_at(&refusal, 1000 + 10 * REFUSAL_PATIENCE_MS, true));
    assert_false(is_refused_at(&refusal, 1000 + 10 * REFUSAL_PATIENCE_MS, false));
}

static void many_topics_are_not_enough_soon_after_an_acceptance(void **state)
{
    struct refusal refusal = {0};

    (void)state;
    assert_false(refusal_clear(&refusal, 2, 1000));
    assert_false(count_refusals(&refusal, 1000, 1001, 1));
    assert_false(is_refused_at(&refusal, 1000 + REFUSAL_PATIENCE_MS - 1, true));
    assert_true(is_refused_at(&refusal, 1000 + REFUSAL_PATIENCE_MS, true));
    /* A quota is the broker's */
    assert_false(is_refused_at(&refusal, 1000 + REFUSAL_DOUBT_MS - 1, false));
    assert_true(is_refused_at(&refusal, 1000 + REFUSAL_DOUBT_MS, false));
    assert_false(refusal_clear(&refusal, 2, 1500));
    assert_false(refusal_is_in_doubt(&refusal));
}

static void topics_that_were_accepted_before_show_that_it_is_the_broker(void **state)
{
    struct refusal refusal = {0};

    (void)state;
    for (unsigned tag = 1; tag <= 20; tag++)
        assert_false(refusal_clear(&refusal, tag, 1000));
    assert_false(count_refusals(&refusal, REFUSAL_IN_A_ROW - 1, 1, 1));
    assert_true(count_refusals(&refusal, 1, REFUSAL_IN_A_ROW, 1));
    assert_true(refusal_clear(&refusal, 1, 2000));
    assert_false(refusal.is_refused);
}

/* Nor does it show anything if it is the only one. */
static void a_topic_that_was_accepted_before_shows_nothing_about_itself(void **state)
{
    struct refusal refusal = {0};

    (void)state;
    assert_false(refusal_clear(&refusal, 1, 1000));
    assert_false(refusal_clear(&refusal, 1, 1000));
    assert_false(count_refusals(&refusal, REFUSAL_IN_A_ROW - 1, 1, 0));
    assert_true(count_refusals(&refusal, 1, 1, 0));
}

/* Each of its topics may be one that it takes: but not for ever. */
static void a_broker_that_has_accepted_nothing_is_given_a_moment(void **state)
{
    struct refusal refusal = {0};

    (void)state;
    assert_false(count_refusals(&refusal, 100, 1001, 1));
    int64_t began_ms = refusal.row.began_boot_ms;
    assert_false(is_refused_at(&refusal, began_ms + REFUSAL_DOUBT_MS - 1, true));
    assert_true(is_refused_at(&refusal, began_ms + REFUSAL_DOUBT_MS, true));
    assert_true(is_refused_at(&refusal, began_ms + 101, false));
    assert_false(count_refusals(&refusal, REFUSAL_IN_A_ROW - 2, 1001, 1));
    assert_true(count_refusals(&refusal, 1, 1001, 0));
}

static void refuse_tagged(uint64_t id, uint64_t tag, int code)
{
    fakes.answer_tag = tag;
    fakes_answer(id, UPLINK_REFUSED, code);
    fakes.answer_tag = 0;
}

/* Neither does its own topic's refusal alone end it then. */
static void in_doubt_a_message_ends_if_another_one_was_accepted_meanwhile(void **state)
{
    struct gateway *gateway = open_with(13);

    (void)state;
    fakes_answer(13, UPLINK_DELIVERED, -1);
    for (unsigned id = 1; id <= 10; id++)
        refuse_tagged(id, 100 + id, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, REFUSAL_IN_A_ROW - 1);
    assert_false(gateway->forward.refusal->is_refused);
    (void)fakes_take_trace();
    fakes_pass_time(1000);
    fakes_edge();
    assert_string_equal(take_sends(), "send-8 send-9 send-10 ");
    refuse_tagged(8, 108, MQTT_NOT_AUTHORIZED); /* nothing was accepted meanwhile */
    expect_ended(SPOOL_REJECTED, REFUSAL_IN_A_ROW - 1);
    fakes_answer(11, UPLINK_DELIVERED, -1);
    for (uint64_t tag = 201; tag <= 200 + REFUSAL_IN_A_ROW; tag++)
        (void)refusal_count(gateway->forward.refusal,
                            &(struct refusal_event){.tag = tag,
                                                    .is_permanent = true,
                                                    .boot_ms = fakes.now.boot_ms});
    assert_true(refusal_is_in_doubt(gateway->forward.refusal));
    refuse_tagged(9, 109, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, REFUSAL_IN_A_ROW);
}

static void change_link_to(unsigned broker)
{
    fakes_link_state(UPLINK_IDLE);
    fakes.link.connects++;
    fakes.link.broker_index = broker;
    fakes_link_state(UPLINK_ONLINE);
}

static void
another_broker_gets_at_once_what_waits_and_is_judged_by_its_own_answers(void **state)
{
    struct gateway *gateway = open_with(20);

    (void)state;
    refuse(1, 20, MQTT_QUOTA_EXCEEDED);
    assert_true(gateway->forward.refusal->is_refused);
    (void)take_sends();
    change_link_to(1);
    assert_false(gateway->forward.refusal->is_refused);
    assert_true(fakes.is_leave_held);
    fakes.room = 19;
    fakes_edge();
    assert_non_null(strstr(take_sends(), "send-1 send-2 send-3 "));
    assert_true(fakes.is_leave_held); /* one has not been offered */
    fakes.room = 100;
    fakes_edge();
    assert_string_equal(take_sends(), "send-20 ");
    assert_false(fakes.is_leave_held);
    change_link_to(0);
    assert_true(gateway->forward.refusal->is_refused);
}

static void connect_to(unsigned broker)
{
    change_link_to(broker);
    fakes_edge();
}

/* The two brokers of the configuration. */
static void a_message_ends_by_refusal_only_if_each_broker_has_refused_it(void **state)
{
    struct gateway *gateway = open_with(6);

    (void)state;
    fakes.can_others_take = true;
    fakes_answer(5, UPLINK_DELIVERED, -1);
    refuse_tagged(1, 101, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 0);
    assert_int_equal(fakes.wanted, 1);
    connect_to(1);
    fakes_answer(6, UPLINK_DELIVERED, -1);
    refuse_tagged(1, 101, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 1);
    /* What the first does with its topic is known now. */
    refuse_tagged(2, 101, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 2);
    refuse_tagged(3, 103, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 2);
    gateway->config->uplink.on_refusal = UPLINK_ON_REFUSAL_REJECT;
    refuse_tagged(4, 104, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 3);
}

static void a_broker_that_cannot_be_reached_is_not_waited_for(void **state)
{
    (void)state;
    (void)open_with(3);
    fakes_answer(3, UPLINK_DELIVERED, -1);
    fakes.can_others_take = true;
    refuse_tagged(1, 101, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 0);
    fakes.can_others_take = false;
    refuse_tagged(2, 101, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 1);
}

static void what_is_refused_for_now_wants_another_broker_after_some_patience(void **state)
{
    struct gateway *gateway = open_with(3);

    (void)state;
    fakes.can_others_take = true;
    fakes.wanted = 0;
    for (unsigned i = 1; i <= OTHERS_PATIENCE; i++) {
        assert_int_equal(fakes.wanted, 0);
        refuse_tagged(1, 101, MQTT_QUOTA_EXCEEDED);
        fakes_pass_time(10000);
        fakes_edge();
    }
    assert_int_equal(fakes.wanted, 1);
    /* Nor does it end by its number of attempts before. */
    gateway->config->uplink.max_attempts = OTHERS_PATIENCE;
    fakes_answer(2, UPLINK_DELIVERED, -1);
    refuse_tagged(1, 101, MQTT_QUOTA_EXCEEDED);
    expect_ended(SPOOL_REJECTED, 0);
    fakes.can_others_take = false;
    fakes_answer(3, UPLINK_DELIVERED, -1);
    fakes_pass_time(20000);
    fakes_edge();
    refuse_tagged(1, 101, MQTT_QUOTA_EXCEEDED);
    expect_ended(SPOOL_REJECTED, 1);
}

static void
a_broker_that_refuses_everything_is_left_and_asked_again_at_the_next_visit(void **state)
{
    struct gateway *gateway = open_with(20);

    (void)state;
    refuse(1, 20, MQTT_QUOTA_EXCEEDED);
    assert_true(fakes.is_refused);
    fakes.room = 1;
    connect_to(1);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes.room = 100;
    fakes.is_refused = false;
    connect_to(0);
    assert_true(gateway->forward.refusal->is_refused);
    (void)take_sends();
    fakes_pass_time(1000);
    fakes_edge();
    assert_non_null(strstr(take_sends(), "send-"));
    for (unsigned i = 0; i < REFUSAL_TRIES; i++) {
        assert_false(fakes.is_refused); /* the round is not over */
        fakes_answer(2 + i, UPLINK_REFUSED, MQTT_QUOTA_EXCEEDED);
        fakes_edge();
    }
    assert_true(fakes.is_refused);
    fakes_pass_time(10000);
    fakes_edge();
    fakes_answer(2, UPLINK_DELIVERED, -1);
    assert_false(fakes.is_refused);
}

static void a_broker_that_refused_everything_for_long_is_not_waited_for(void **state)
{
    struct refusal all[2] = {0};
    const struct others_refusal refusal = {.tag = 7, .is_permanent = true};
    struct refusal_event event = {.tag = 1, .code = MQTT_QUOTA_EXCEEDED, .boot_ms = 1000};

    (void)state;
    fakes.can_others_take = true;
    for (; event.tag <= REFUSAL_IN_A_ROW; event.tag++)
        (void)refusal_count(&all[0], &event);
    assert_true(all[0].is_refused);
    event.boot_ms += REFUSAL_LASTING_MS - 1;
    (void)refusal_count(&all[0], &event);
    assert_int_equal(others_next(NULL, all, 2, 1, &refusal), 0);
    event.boot_ms++;
    (void)refusal_count(&all[0], &event);
    assert_int_equal(others_next(NULL, all, 2, 1, &refusal), OTHERS_NONE);
    (void)refusal_clear(&all[0], 2, event.boot_ms);
    assert_int_equal(others_next(NULL, all, 2, 1, &refusal), 0);
}

/* A refusal for now does not show that the broker would refuse for good. */
static void what_each_broker_has_refused_is_known_by_message_and_by_topic(void **state)
{
    struct refusal all[3] = {0};
    struct others_refusal refusal = {.tag = 7, .is_permanent = true};
    struct refusal_event event = {.tag = 7, .code = MQTT_QUOTA_EXCEEDED, .boot_ms = 1000};

    (void)state;
    fakes.can_others_take = true;
    assert_int_equal(others_next(NULL, all, 3, 2, &refusal), 0);
    (void)refusal_count(&all[0], &event);
    assert_int_equal(others_next(NULL, all, 3, 2, &refusal), 0);
    refusal.is_permanent = false;
    assert_int_equal(others_next(NULL, all, 3, 2, &refusal), 1);
    refusal.is_permanent = true;
    refusal.marks = others_mark(0, false);
    assert_int_equal(others_next(NULL, all, 3, 2, &refusal), 0);
    refusal.marks |= others_mark(0, true);
    assert_int_equal(others_next(NULL, all, 3, 2, &refusal), 1);
    event.is_permanent = true;
    (void)refusal_count(&all[1], &event);
    assert_int_equal(others_next(NULL, all, 3, 2, &refusal), OTHERS_NONE);
    refusal.tag = 0; /* a report */
    assert_int_equal(others_next(NULL, all, 3, 2, &refusal), 1);
    assert_int_equal(others_next(NULL, all, 1, 0, &refusal), OTHERS_NONE);
}

static void a_broker_that_refuses_everything_is_not_believed(void **state)
{
    struct gateway *gateway = open_with(20);

    (void)state;
    refuse(1, 20, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 0);
    assert_true(gateway->forward.refusal->is_refused);
    assert_int_equal(fakes_logged("link_refused code=0x87 "), 1);
    (void)fakes_take_trace();
    fakes_edge();
    assert_null(strstr(fakes_take_trace(), "send-")); /* after a pause */
    fakes_pass_time(1000);
    fakes_edge();
    assert_string_equal(take_sends(), "send-1 "); /* one, the oldest */
    fakes_edge();
    assert_string_equal(take_sends(), "");
    fakes_answer(1, UPLINK_DELIVERED, -1);
    assert_int_equal(fakes_logged("link_accepts "), 1);
    assert_false(gateway->forward.refusal->is_refused);
    fakes_edge();
    assert_string_equal(
        take_sends(),
        "send-2 send-3 send-4 send-5 send-6 send-7 send-8 send-9 send-10 send-11 send-12 send-13 send-14 send-15 send-16 send-17 "
        "send-18 send-19 send-20 ");
}

static void tries_of_a_refused_link_are_few_and_of_others_than_the_oldest(void **state)
{
    struct gateway *gateway = open_with(12);

    (void)state;
    refuse(1, 12, MQTT_QUOTA_EXCEEDED);
    assert_true(gateway->forward.refusal->is_refused);
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
    assert_false(gateway->forward.refusal->is_refused);
}

/* What is tried next ends, and the link is no longer refused: all others are sent, too. */
static void a_refused_link_resumes_if_the_operator_chooses_reject(void **state)
{
    struct gateway *gateway = open_with(20);

    (void)state;
    refuse(1, 20, MQTT_NOT_AUTHORIZED);
    assert_true(gateway->forward.refusal->is_refused);
    gateway->config->uplink.on_refusal = UPLINK_ON_REFUSAL_REJECT;
    fakes_edge();
    (void)take_sends();
    fakes_pass_time(1000);
    fakes_edge();
    assert_string_equal(take_sends(), "send-1 ");
    fakes_answer(1, UPLINK_REFUSED, MQTT_NOT_AUTHORIZED);
    assert_false(gateway->forward.refusal->is_refused);
    assert_int_equal(fakes_logged("link_accepts rounds=1 cause=\"uplink.on_refusal is reject"),
                     1);
    fakes_edge();
    assert_non_null(strstr(take_sends(), "send-2 send-3 "));
    refuse(2, 19, MQTT_NOT_AUTHORIZED);
    assert_false(gateway->forward.refusal->is_refused);
    expect_ended(SPOOL_REJECTED, 20);
}

static void an_acceptance_between_them_ends_a_row_of_refusals(void **state)
{
    struct gateway *gateway = open_with(20);

    (void)state;
    fakes_answer(20, UPLINK_DELIVERED, -1);
    refuse(1, 7, MQTT_NOT_AUTHORIZED);
    fakes_answer(8, UPLINK_DELIVERED, -1);
    refuse(9, 7, MQTT_NOT_AUTHORIZED);
    assert_false(gateway->forward.refusal->is_refused);
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

static uint64_t only_in_flight(void)
{
    uint64_t id = 0;

    assert_int_equal(fakes.link.in_flight, 1);
    for (unsigned i = 0; i < fakes.sent_count; i++)
        id = fakes.sent[i] != 0 ? fakes.sent[i] : id;
    return id;
}

/* One alone after the other, until the suspect is, or has ended. Return: how many. */
static unsigned answer_others(struct gateway *gateway, uint64_t suspect)
{
    unsigned count = 0;

    while (gateway->forward.poison.step != POISON_NONE && only_in_flight() != suspect) {
        fakes_answer(only_in_flight(), UPLINK_DELIVERED, -1);
        fakes_edge();
        count++;
    }
    return count;
}

/* The one before is committed by then. */
static void answer_other(struct gateway *gateway)
{
    fakes_edge();
    assert_int_not_equal(gateway->forward.poison.step, POISON_NONE);
    assert_int_not_equal(only_in_flight(), 2);
    fakes_answer(only_in_flight(), UPLINK_DELIVERED, -1);
}

static void a_message_at_which_the_broker_closes_alone_is_poison(void **state)
{
    struct gateway *gateway = open_with(40);

    (void)state;
    close_at(2, POISON_CLOSINGS, 40);
    assert_int_equal(fakes_logged("message_suspected id=2 closings=2 "), 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_in_range(answer_others(gateway, 2), POISON_OTHERS_MIN, 2 * POISON_OTHERS_MIN);
        fakes_close_at(2, -1);
        fakes_edge();
    }
    expect_ended(SPOOL_REJECTED, 0);
    while (fakes.excuses == 0)
        answer_other(gateway);
    assert_int_equal(fakes_logged("message_poison"), 0); /* it is not committed yet */
    fakes_edge();
    expect_ended(SPOOL_REJECTED, 1);
    assert_int_equal(reason_of(gateway, 2), SPOOL_REASON_POISON);
    assert_int_equal(fakes_logged("message_poison id=2 "), 1);
    assert_int_equal(fakes.excuses, 1);
    assert_true(fakes.link.in_flight > 10); /* all others */
}

/* The mark that is set before a message is sent carefully counts as POISON_ALONE closings. */
static void the_mark_of_careful_sending_is_no_closing_in_the_log(void **state)
{
    struct gateway *gateway = open_with(0);
    struct connection *connection = fakes_connect("two", 1000);

    (void)state;
    gateway->forward.careful = (struct careful){.has_begun = true, .is_on = true, .left = 100};
    (void)fakes_publish(connection, "plant/1", "payload");
    while (fakes.link.in_flight == 0)
        fakes_edge();
    assert_int_equal(spool_count_suspects(gateway->spool, POISON_ALONE), 1);
    fakes_close_at(1, -1);
    assert_int_equal(fakes_logged("message_suspected id=1 closings=1 "), 1);
}

/* Until the broker has closed at it often enough to condemn it. */
static void condemn_here(struct gateway *gateway, uint64_t id)
{
    while (gateway->forward.poison.step != POISON_NONE) {
        (void)answer_others(gateway, id);
        if (gateway->forward.poison.step == POISON_NONE)
            return;
        fakes_close_at(id, -1);
        fakes_edge();
    }
}

/* What is in flight of @count messages is sent again there. */
static void leave_for(unsigned broker, unsigned count)
{
    for (uint64_t id = 1; id <= count; id++)
        fakes_answer(id, UPLINK_UNKNOWN, -1);
    connect_to(broker);
}

static bool was_sent(uint64_t id)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "send-%" PRIu64 " ", id);
    return strstr(take_sends(), name) != NULL;
}

/* Of 60 messages the first of two brokers has condemned the second. */
static struct gateway *open_condemned(void)
{
    struct gateway *gateway = open_with(60);

    fakes.can_others_take = true;
    close_at(2, POISON_CLOSINGS, 60);
    condemn_here(gateway, 2);
    return gateway;
}

static void a_message_is_poison_only_if_each_broker_closes_at_it(void **state)
{
    struct gateway *gateway = open_condemned();

    (void)state;
    expect_ended(SPOOL_REJECTED, 0);
    assert_int_equal(fakes.wanted, 1);
    assert_int_equal(fakes_logged("message_poison id=2 outcome=kept "), 1);
    (void)take_sends();
    spool_release_returned(gateway->spool);
    fakes_edge();
    assert_false(was_sent(2));        /* not to this one */
    assert_int_equal(fakes.stays, 0); /* the other may take it */
    leave_for(1, 60);
    assert_int_equal(gateway->forward.poison.suspect_id, 2); /* by what the first did */
    condemn_here(gateway, 2);
    assert_true(fakes.stays > 0);
    expect_ended(SPOOL_REJECTED, 1);
    assert_int_equal(reason_of(gateway, 2), SPOOL_REASON_POISON);
    assert_int_equal(fakes_logged("message_poison id=2 outcome=rejected "), 1);
}

static void a_message_at_which_one_broker_closes_is_delivered_by_another(void **state)
{
    struct gateway *gateway = open_condemned();

    (void)state;
    leave_for(1, 60);
    (void)answer_others(gateway, 2);
    fakes_answer(2, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(gateway->forward.poison.step, POISON_NONE);
    expect_ended(SPOOL_REJECTED, 0);
}

/* What the second says of it does not change what the first does. */
static void a_message_that_one_closes_at_and_the_other_refuses_ends(void **state)
{
    struct gateway *gateway = open_with(60);

    (void)state;
    fakes.can_others_take = true;
    close_at(2, POISON_CLOSINGS, 60);
    leave_for(1, 60); /* before the first has proven it */
    (void)answer_others(gateway, 2);
    refuse_tagged(2, 102, MQTT_NOT_AUTHORIZED);
    expect_ended(SPOOL_REJECTED, 0);
    fakes_edge();
    leave_for(0, 60);
    assert_int_equal(gateway->forward.poison.suspect_id, 2);
    condemn_here(gateway, 2);
    assert_true(fakes.stays > 0);
    expect_ended(SPOOL_REJECTED, 1);
}

static void poison_does_not_wait_for_a_broker_that_cannot_be_reached(void **state)
{
    struct gateway *gateway = open_condemned();

    (void)state;
    expect_ended(SPOOL_REJECTED, 0);
    fakes.can_others_take = false;
    fakes_pass_time(OTHERS_AGAIN_MS + 1000);
    fakes_edge();
    leave_for(0, 60);
    condemn_here(gateway, 2); /* suspected again */
    expect_ended(SPOOL_REJECTED, 1);
}

static void a_broker_that_closes_at_others_too_condemns_nothing(void **state)
{
    struct gateway *gateway = open_with(40);

    (void)state;
    close_at(1, POISON_CLOSINGS, 40);
    for (unsigned i = 0; i < 5; i++) {
        fakes_close_at(only_in_flight(), -1);
        fakes_edge();
        assert_int_equal(only_in_flight(), 1); /* its turn, so that it may be answered */
        fakes_close_at(1, -1);
        fakes_edge();
        (void)answer_others(gateway, 1);
        fakes_close_at(1, -1);
        fakes_edge();
    }
    expect_ended(SPOOL_REJECTED, 0);
    (void)answer_others(gateway, 1);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(fakes_logged("message_acquitted id=1 "), 1);
    assert_int_equal(gateway->forward.poison.step, POISON_NONE);
    expect_ended(SPOOL_REJECTED, 0);
    assert_int_equal(fakes.excuses, 0);
}

/* The broker closed at whatever came, took one, and after that others. */
static void an_outage_between_two_answers_is_no_proof(void **state)
{
    struct gateway *gateway = open_with(2);

    (void)state;
    close_at(1, 10, 2);
    fakes_answer(2, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(only_in_flight(), 1);
    expect_ended(SPOOL_REJECTED, 0);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(gateway->forward.poison.step, POISON_NONE);
    expect_ended(SPOOL_DELIVERED, 2);
}

static void condemn_first(struct gateway *gateway)
{
    close_at(1, POISON_CLOSINGS, 100);
    for (unsigned i = 0; i < 2; i++) {
        (void)answer_others(gateway, 1);
        fakes_close_at(1, -1);
        fakes_edge();
    }
    (void)answer_others(gateway, 1);
    expect_ended(SPOOL_REJECTED, 1);
}

/* After the first one the second needs no more than one closing in the window. */
static void each_further_bad_message_costs_two_connections(void **state)
{
    struct gateway *gateway = open_with(99);

    (void)state;
    condemn_first(gateway);
    close_at(60, 1, 99);
    assert_int_equal(answer_others(gateway, 60), 1);
    fakes_close_at(60, -1);
    fakes_edge();
    assert_int_equal(answer_others(gateway, 60), 1);
    expect_ended(SPOOL_REJECTED, 2);
    assert_int_equal(reason_of(gateway, 60), SPOOL_REASON_POISON);
    assert_int_equal(fakes.excuses, 2);
}

static void a_burst_is_over_after_a_while(void **state)
{
    struct gateway *gateway = open_with(99);

    (void)state;
    condemn_first(gateway);
    fakes_pass_time(POISON_BURST_MS);
    fakes_answer(50, UPLINK_DELIVERED, -1);
    close_at(60, 1, 99);
    assert_int_equal(gateway->forward.poison.step, POISON_NONE);
}

static void a_burst_is_over_after_many_answers(void **state)
{
    struct poison poison = {.has_condemned = true};

    (void)state;
    for (uint64_t id = 1; id < POISON_BURST_ANSWERS; id++)
        assert_int_equal(poison_on_answer(&poison, id, 0), POISON_CONTINUES);
    assert_int_equal(poison_on_closing(&poison, 1000, 1), POISON_BEGINS);
    poison_end(&poison);
    assert_int_equal(poison_on_answer(&poison, 1001, 0), POISON_CONTINUES);
    assert_int_equal(poison_on_closing(&poison, 1002, 1), POISON_CONTINUES);
}

static void what_one_broker_did_condemns_nothing_at_another(void **state)
{
    struct poison poison = {0};

    (void)state;
    assert_int_equal(poison_on_closing(&poison, 1, POISON_CLOSINGS), POISON_BEGINS);
    for (uint64_t id = 2; id < 100; id++) {
        poison_set_broker(&poison, (unsigned)id % 2);
        do
            poison.other_id = ++id;
        while (poison_on_answer(&poison, id, 0) == POISON_CONTINUES);
        if (poison.broker == 1 || poison.brokers[0].proofs == 2)
            continue; /* it takes others, and this one is not offered to it */
        assert_int_equal(poison_on_closing(&poison, 1, 9), POISON_CONTINUES);
    }
    assert_int_equal(poison.brokers[0].proofs, 2);
    assert_int_equal(poison.brokers[1].proofs, 0);
    assert_false(poison.has_condemned);
}

static void a_suspect_that_is_answered_is_acquitted(void **state)
{
    (void)state;
    struct gateway *gateway = open_with(40);
    close_at(1, POISON_CLOSINGS, 40);
    (void)answer_others(gateway, 1);
    (void)take_sends();
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(
        fakes_logged("message_acquitted id=1 cause=\"the broker has answered it\""), 1);
    assert_non_null(strstr(take_sends(), "send-40 "));
    expect_ended(SPOOL_REJECTED, 0);
}

/* What the broker says of the connection suspects no message; nor is a suspect that ended. */
static void only_a_closing_at_a_message_suspects_it(void **state)
{
    static const int codes[] = {0x00, 0x89, 0x8B, 0x8D, 0x8E, 0x93, 0x96, 0x97,
                                0x98, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2};
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
    assert_int_not_equal(gateway->forward.poison.step, POISON_NONE);
}

static void expect_sent(const char *topic, const char *sent_topic, uint8_t sent_qos)
{
    struct connection *connection = fakes_connect("one", 1000);

    assert_int_equal(fakes_publish(connection, topic, "payload").kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_string_equal(fakes.sent_topic, sent_topic);
    assert_int_equal(fakes.sent_qos, sent_qos);
    fakes_leave(connection);
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
    struct connection *connection = fakes_connect("two", 1000);

    (void)state;
    assert_int_equal(fakes_publish(connection, "a", "x").code, MQTT_TOPIC_NAME_INVALID);
    assert_int_equal(fakes_publish(connection, "a/$SYS/x", "x").code, MQTT_TOPIC_NAME_INVALID);
    assert_int_equal(gateway->counters.refused, 2);
    fakes_reload("lanes = ( { name = \"a\"; topics = ( \"a/#\" ); } );\n");
    fakes.room = 0;
    assert_int_equal(fakes_publish(connection, "a", "x").kind, CONNECTION_ACCEPT);
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
    assert_int_equal(gateway->forward.settled.messages, 0);
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

/* By a broker that has accepted another message. */
static void expect_excluded_ends(int announced)
{
    (void)open_with(1);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes.send = (struct fake_result){announced, 1};
    (void)fakes_publish(fakes_connect("two", 1000), "plant/2", "payload");
    fakes_edge();
    assert_int_equal(fakes.sent_count, 1);
    expect_ended(SPOOL_REJECTED, 1);
}

static void what_no_broker_takes_is_rejected_and_no_attempt(void **state)
{
    (void)state;
    expect_excluded_ends(UPLINK_E_TOO_LARGE);
}

static void answer_topic(struct gateway *gateway, const char *topic)
{
    const struct spool_message message = {
        .topic = {(const uint8_t *)topic, strlen(topic)},
    };

    fakes.answer_tag = shape_tag(gateway->forward.shape, &message);
}

/* 1 to 12 are of a topic that the broker does not answer, the others are not. The window has
 * eight places, and the first eight are sent. */
static struct gateway *open_silent(void)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    fakes.room = fakes.link.window = 8;
    fakes.link.connects = 1;
    fakes_link_state(UPLINK_ONLINE);
    for (unsigned i = 1; i <= 20; i++)
        (void)fakes_publish(connection, i <= 12 ? "plant/silent" : "plant/1", "payload");
    fakes_edge();
    return gateway;
}

/* All that is in flight ends so, and the next connection begins. */
static void end_by_stall(bool was_passed)
{
    for (unsigned i = 0; i < fakes.sent_count; i++) {
        if (fakes.sent[i] != 0)
            fakes_stall_at(fakes.sent[i], was_passed);
    }
    fakes.room = 8;
    fakes.link.connects++;
    fakes_link_state(UPLINK_ONLINE);
    (void)fakes_take_trace();
    fakes_pass_time(1000);
    fakes_edge();
}

static void what_ends_by_silence_once_is_sent_again_in_its_order(void **state)
{
    (void)state;
    (void)open_silent();
    end_by_stall(false);
    assert_string_equal(take_sends(),
                        "send-1 send-2 send-3 send-4 send-5 send-6 send-7 send-8 ");
    assert_int_equal(fakes_logged("topic_unanswered"), 0);
}

static void silence_without_an_answer_lets_others_show_that_the_broker_answers(void **state)
{
    struct gateway *gateway = open_silent();

    (void)state;
    answer_topic(gateway, "plant/silent");
    end_by_stall(false);
    end_by_stall(false);
    assert_string_equal(take_sends(),
                        "send-13 send-14 send-15 send-16 send-17 send-18 send-19 send-20 ");
    answer_topic(gateway, "plant/1");
    for (unsigned id = 13; id <= 20; id++)
        fakes_answer(id, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_string_equal(take_sends(), "send-1 send-2 "); /* a quarter of the window */
    answer_topic(gateway, "plant/silent");
    end_by_stall(false);
    assert_int_equal(fakes_logged("topic_unanswered topic=\"plant/silent\" retry_ms=1000 "), 1);
    assert_string_equal(fakes.blamed_topic, "\"plant/silent\"");
    assert_string_equal(take_sends(), "send-1 send-2 "); /* there is no other */
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_string_equal(take_sends(), "send-3 send-4 send-5 send-6 send-7 send-8 send-9 ");
    expect_ended(SPOOL_REJECTED, 0);
}

static void a_broker_that_answers_nothing_is_blamed_for_no_topic(void **state)
{
    (void)state;
    (void)open_silent();
    for (unsigned i = 0; i < 10; i++)
        end_by_stall(false);
    assert_int_equal(fakes_logged("topic_unanswered"), 0);
    assert_string_equal(fakes.blamed_topic, "");
    expect_ended(SPOOL_REJECTED, 0);
}

static void what_later_messages_have_passed_waits_a_growing_pause(void **state)
{
    static const char *const pauses[] = {"return+1000 ", "return+2000 ",  "return+4000 ",
                                         "return+8000 ", "return+10000 ", "return+10000 "};
    struct gateway *gateway = open_silent();

    (void)state;
    answer_topic(gateway, "plant/silent");
    for (unsigned i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
        (void)fakes_take_trace();
        fakes_stall_at(1, true);
        assert_memory_equal(fakes_take_trace(), pauses[i], strlen(pauses[i]));
        end_by_stall(true);
        fakes_pass_time(10000);
        answer_topic(gateway, "plant/1");
        fakes_answer(13, UPLINK_DELIVERED, -1);
        answer_topic(gateway, "plant/silent");
        fakes_edge();
        assert_non_null(strstr(take_sends(), "send-1 "));
    }
    assert_int_equal(fakes_logged("topic_unanswered"), 1);
    assert_int_equal(fakes_ledger().ended[SPOOL_REJECTED], 0);
}

static void of_a_topic_that_is_answered_only_the_silent_message_waits(void **state)
{
    struct gateway *gateway = open_silent();

    (void)state;
    answer_topic(gateway, "plant/silent");
    for (unsigned id = 2; id <= 8; id++)
        fakes_answer(id, UPLINK_DELIVERED, -1);
    fakes_edge();
    end_by_stall(true);
    assert_int_equal(gateway->forward.silence.count, 8); /* all that was in flight, alone */
    assert_int_equal(fakes_logged("topic_unanswered"), 1);
}

static void what_no_packet_can_hold_is_rejected_however_much_it_is(void **state)
{
    (void)state;
    fakes.send = (struct fake_result){UPLINK_E_IMPOSSIBLE, 0};
    (void)open_with(20);
    expect_ended(SPOOL_REJECTED, 20);
    assert_int_equal(fakes_logged("link_refused"), 0);
}

static void expect_backlog_outlives(int announced, const char *line)
{
    fakes.send = (struct fake_result){announced, 0};
    struct gateway *gateway = open_with(300);

    for (unsigned i = 0; i < 20; i++) {
        fakes_pass_time(10000);
        fakes_edge();
    }
    assert_int_equal(fakes_ledger().ended[SPOOL_REJECTED], 0);
    assert_true(gateway->forward.refusal->is_refused);
    assert_int_equal(fakes_logged(line), 1);
    assert_int_equal(fakes.sent_count, 0);
    fakes.send = (struct fake_result){0}; /* the next CONNACK */
    for (unsigned i = 0; i < 3 && fakes.sent_count == 0; i++) {
        fakes_pass_time(10000);
        fakes_edge();
    }
    assert_int_equal(fakes.sent_count, 1);
    fakes_answer(fakes.sent[0], UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_in_range(fakes.sent_count, 90, 101);
}

static void a_wrong_packet_size_in_one_connack_destroys_no_backlog(void **state)
{
    (void)state;
    expect_backlog_outlives(UPLINK_E_TOO_LARGE, "link_refused code=0x95 ");
}

static void a_connack_without_retain_destroys_no_backlog(void **state)
{
    (void)state;
    expect_backlog_outlives(UPLINK_E_RETAIN, "link_refused code=0x9A ");
}

static void what_each_connack_excludes_waits_for_no_other_broker(void **state)
{
    (void)state;
    fakes.can_others_take = true;
    expect_excluded_ends(UPLINK_E_TOO_LARGE);
    assert_int_equal(fakes.wanted, 0);
}

/* Of one topic, and the broker has accepted nothing yet. */
static void what_connack_excludes_refuses_no_link_before_others_are_sent(void **state)
{
    (void)state;
    fakes.excluded_id = 20;
    struct gateway *gateway = open_with(21);

    assert_int_equal(fakes.sent_count, 1);
    assert_int_equal(fakes.sent[0], 21);
    assert_false(gateway->forward.refusal->is_refused);
    fakes_answer(21, UPLINK_DELIVERED, -1);
    fakes_pass_time(10000);
    fakes_edge();
    expect_ended(SPOOL_REJECTED, 20);
    assert_int_equal(fakes_logged("link_refused"), 0);
}

static void what_connack_excludes_uses_no_try_of_a_refused_link(void **state)
{
    (void)state;
    fakes.excluded_id = 20;
    struct gateway *gateway = open_with(20);

    for (unsigned i = 0; i < 20; i++) {
        fakes_pass_time(10000);
        fakes_edge();
    }
    assert_true(gateway->forward.refusal->is_refused);
    assert_true(fakes.is_refused); /* with several brokers the next one is used */
    (void)fakes_publish(fakes_connect("two", 1000), "plant/1", "small");
    for (unsigned i = 0; i < 2; i++) { /* the rest of a round, and one */
        fakes_pass_time(120000);
        fakes_edge();
    }
    assert_int_equal(fakes.sent_count, 1);
    assert_int_equal(fakes.sent[0], 21);
    fakes_answer(21, UPLINK_DELIVERED, -1);
    assert_false(gateway->forward.refusal->is_refused);
}

static void what_is_too_large_beside_others_that_are_accepted_is_rejected(void **state)
{
    struct gateway *gateway = open_with(1);
    struct connection *connection = fakes_connect("two", 1000);

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        fakes_answer(fakes.sent[fakes.sent_count - 1], UPLINK_DELIVERED, -1);
        fakes.send = (struct fake_result){UPLINK_E_TOO_LARGE, 1};
        (void)fakes_publish(connection, "plant/2", "large");
        (void)fakes_publish(connection, "plant/1", "small");
        fakes_edge();
    }
    expect_ended(SPOOL_REJECTED, 20);
    assert_int_equal(reason_of(gateway, 2), SPOOL_REASON_TOO_LARGE);
    assert_int_equal(fakes_logged("link_refused"), 0);
}

static void a_broker_without_retained_messages_rejects_them(void **state)
{
    (void)state;
    expect_excluded_ends(UPLINK_E_RETAIN);
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
    struct connection *connection = fakes_connect("two", 1000);

    (void)state;
    fakes.send = (struct fake_result){UPLINK_E_OTHER_BROKER, 1000000};
    for (unsigned i = 0; i < 5 * GATEWAY_DEFERRED_RUN; i++)
        assert_int_equal(fakes_publish(connection, "plant/1", "payload").kind,
                         CONNECTION_ACCEPT);
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
    struct connection *connection = fakes_connect("one", 1000);
    for (unsigned i = 0; i < 4; i++)
        (void)fakes_publish(connection, "plant/1", "payload");
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
        FAKES_TEST(a_record_has_the_time_of_the_answer_however_late_the_commit),
        FAKES_TEST(what_no_subscriber_gets_is_delivered_and_counted),
        FAKES_TEST(what_is_refused_for_good_is_rejected),
        FAKES_TEST(what_is_refused_for_now_returns_after_its_own_growing_pause),
        FAKES_TEST(a_bounded_number_of_attempts_ends_as_rejected),
        FAKES_TEST(no_number_of_refusals_ends_a_message_before_an_acceptance),
        FAKES_TEST(no_refusal_for_good_ends_a_message_before_an_acceptance),
        FAKES_TEST(one_topic_is_not_enough_beside_another_that_is_accepted),
        FAKES_TEST(many_topics_are_not_enough_soon_after_an_acceptance),
        FAKES_TEST(topics_that_were_accepted_before_show_that_it_is_the_broker),
        FAKES_TEST(a_broker_that_has_accepted_nothing_is_given_a_moment),
        FAKES_TEST(in_doubt_a_message_ends_if_another_one_was_accepted_meanwhile),
        FAKES_TEST(another_broker_gets_at_once_what_waits_and_is_judged_by_its_own_answers),
        FAKES_TEST(a_topic_that_was_accepted_before_shows_nothing_about_itself),
        FAKES_TEST(a_message_ends_by_refusal_only_if_each_broker_has_refused_it),
        FAKES_TEST(a_broker_that_cannot_be_reached_is_not_waited_for),
        FAKES_TEST(what_is_refused_for_now_wants_another_broker_after_some_patience),
        FAKES_TEST(a_broker_that_refuses_everything_is_left_and_asked_again_at_the_next_visit),
        FAKES_TEST(a_broker_that_refused_everything_for_long_is_not_waited_for),
        FAKES_TEST(what_each_broker_has_refused_is_known_by_message_and_by_topic),
        FAKES_TEST(a_broker_that_refuses_everything_is_not_believed),
        FAKES_TEST(tries_of_a_refused_link_are_few_and_of_others_than_the_oldest),
        FAKES_TEST(an_operator_may_have_each_refusal_end_its_message),
        FAKES_TEST(a_refused_link_resumes_if_the_operator_chooses_reject),
        FAKES_TEST(an_acceptance_between_them_ends_a_row_of_refusals),
        FAKES_TEST(a_message_at_which_the_broker_closes_alone_is_poison),
        FAKES_TEST(the_mark_of_careful_sending_is_no_closing_in_the_log),
        FAKES_TEST(a_message_is_poison_only_if_each_broker_closes_at_it),
        FAKES_TEST(a_message_at_which_one_broker_closes_is_delivered_by_another),
        FAKES_TEST(a_message_that_one_closes_at_and_the_other_refuses_ends),
        FAKES_TEST(poison_does_not_wait_for_a_broker_that_cannot_be_reached),
        FAKES_TEST(an_outage_between_two_answers_is_no_proof),
        FAKES_TEST(a_burst_is_over_after_a_while),
        cmocka_unit_test(a_burst_is_over_after_many_answers),
        FAKES_TEST(a_broker_that_closes_at_others_too_condemns_nothing),
        FAKES_TEST(each_further_bad_message_costs_two_connections),
        FAKES_TEST(what_one_broker_did_condemns_nothing_at_another),
        FAKES_TEST(a_suspect_that_is_answered_is_acquitted),
        FAKES_TEST(only_a_closing_at_a_message_suspects_it),
        FAKES_TEST(a_lane_has_a_prefix_and_a_qos_of_its_own),
        FAKES_TEST(a_lane_maps_its_topics),
        FAKES_TEST(what_maps_to_no_topic_is_refused_or_rejected),
        FAKES_TEST(what_has_no_answer_is_sent_again),
        FAKES_TEST(an_answer_without_a_token_is_counted_and_ignored),
        FAKES_TEST(a_settlement_that_fails_ends_the_daemon),
        FAKES_TEST(what_no_broker_takes_is_rejected_and_no_attempt),
        FAKES_TEST(what_ends_by_silence_once_is_sent_again_in_its_order),
        FAKES_TEST(silence_without_an_answer_lets_others_show_that_the_broker_answers),
        FAKES_TEST(a_broker_that_answers_nothing_is_blamed_for_no_topic),
        FAKES_TEST(what_later_messages_have_passed_waits_a_growing_pause),
        FAKES_TEST(of_a_topic_that_is_answered_only_the_silent_message_waits),
        FAKES_TEST(what_no_packet_can_hold_is_rejected_however_much_it_is),
        FAKES_TEST(a_wrong_packet_size_in_one_connack_destroys_no_backlog),
        FAKES_TEST(a_connack_without_retain_destroys_no_backlog),
        FAKES_TEST(what_each_connack_excludes_waits_for_no_other_broker),
        FAKES_TEST(what_connack_excludes_refuses_no_link_before_others_are_sent),
        FAKES_TEST(what_connack_excludes_uses_no_try_of_a_refused_link),
        FAKES_TEST(what_is_too_large_beside_others_that_are_accepted_is_rejected),
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
