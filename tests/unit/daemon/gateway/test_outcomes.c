/* SPDX-License-Identifier: MIT */
/*
 * test_outcomes.c - who is sent how a message ended, and when
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/outcome_topic.h"
#include "daemon/gateway/record_queue.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

#define ONE_MESSAGE "retention: { max_messages = 1; };"

static struct connection *subscribe(const char *client_id, uid_t uid, const char *filter)
{
    struct connection *connection = fakes_connect(client_id, uid);

    assert_int_equal(fakes_subscribe(connection, filter, 1), 1);
    return connection;
}

static void publish(struct connection *connection, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fakes_publish(connection, "a", "x").kind, CONNECTION_ACCEPT);
}

static void
expect_last(const struct connection *connection, const char *topic, const char *part)
{
    const struct fake_message *message = fakes_message(connection);

    assert_string_equal(message->topic, topic);
    if (!strstr(message->payload, part))
        fail_msg("%s is not in %s", part, message->payload);
}

static void an_outcome_leaves_after_its_commit(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    struct connection *one = subscribe("one", 1000, "$SYS/spool/outcome/one");
    publish(one, 3);
    assert_int_equal(one->sent, 0);
    (void)fakes_take_trace();
    fakes_edge();
    assert_int_equal(one->sent, 2);
    expect_last(one, "$SYS/spool/outcome/one",
                "\"outcome\":\"evicted\",\"reason\":\"max_messages\",\"id\":2,");
    assert_int_equal(fakes_message(one)->qos, 1);
}

static void a_delivery_is_sent_to_those_who_want_it(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *one = subscribe("one", 1000, "$SYS/spool/delivered/one");
    struct connection *two = subscribe("two", 1000, "$SYS/spool/outcome/two");
    publish(one, 1);
    publish(two, 1);
    fakes_edge();
    fakes_answer(fakes.sent[0], UPLINK_DELIVERED, 0);
    fakes_answer(fakes.sent[1], UPLINK_DELIVERED, 0);
    fakes_edge();
    assert_int_equal(one->sent, 1);
    expect_last(one, "$SYS/spool/delivered/one", "\"outcome\":\"delivered\",\"id\":1,");
    assert_int_equal(two->sent, 0);
}

static void a_client_id_of_another_user_is_another_producer(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    struct connection *one = fakes_connect("id", 1000);
    publish(one, 2);
    fakes_leave(one);
    struct connection *two = subscribe("id", 1001, "$SYS/spool/outcome/id");
    fakes_edge();
    assert_int_equal(two->sent, 0);
    publish(two, 2);
    fakes_edge();
    assert_int_equal(two->sent, 2); /* the message of the other one is in flight */
    expect_last(two, "$SYS/spool/outcome/id", "\"uid\":1001,");
}

static void an_administrator_is_sent_those_of_all(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    struct connection *root = subscribe("root", 0, "$SYS/spool/outcome/#");
    struct connection *two = subscribe("other", 0, "$SYS/spool/outcome/a_b");
    struct connection *one = fakes_connect("a+b", 1000);
    publish(one, 2);
    fakes_edge();
    expect_last(root, "$SYS/spool/outcome/a_b", "\"client\":\"a+b\",");
    expect_last(two, "$SYS/spool/outcome/a_b", "\"client\":\"a+b\",");
    publish(root, 2);
    fakes_edge();
    assert_int_equal(root->sent, 3);
    assert_int_equal(two->sent, 1);
    expect_last(root, "$SYS/spool/outcome/root", "\"client\":\"root\",");
}

static void a_subscription_of_a_client_that_left_is_forgotten(void **state)
{
    (void)state;
    struct gateway *gateway = fakes_open(ONE_MESSAGE);
    struct connection *one = subscribe("one", 1000, "$SYS/spool/outcome/one");
    assert_int_equal(fakes_subscribe(one, "$SYS/spool/delivered/one", 0), 0);
    assert_int_equal(gateway->feed.outcomes.subscribers[OUTCOME_FAILURE], 1);
    assert_int_equal(gateway->feed.outcomes.subscribers[OUTCOME_DELIVERY], 1);
    assert_int_equal(
        one->ops->unsubscribe(one->owner, one, view_of_text("$SYS/spool/delivered/one")), 0);
    assert_int_equal(gateway->feed.outcomes.subscribers[OUTCOME_DELIVERY], 0);
    publish(one, 3);
    fakes_leave(one);
    assert_int_equal(gateway->feed.outcomes.subscribers[OUTCOME_FAILURE], 0);
    fakes_edge();
    assert_int_equal(one->sent, 0);
    assert_int_equal(gateway->feed.outcomes.budget.used, 0);
}

static void a_lost_batch_sends_nothing(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    struct connection *one = subscribe("one", 1000, "$SYS/spool/outcome/one");
    publish(one, 1);
    fakes_edge();
    publish(one, 1);
    fakes.commit = (struct fake_result){.value = SPOOL_E_BUSY, .count = 1};
    fakes_edge();
    assert_int_equal(one->sent, 0);
}

static void what_has_no_room_follows_in_its_order(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    struct connection *one = subscribe("one", 1000, "$SYS/spool/outcome/one");
    one->room = 1;
    publish(one, 4);
    fakes_edge();
    assert_int_equal(one->sent, 1);
    expect_last(one, "$SYS/spool/outcome/one", "\"id\":1,");
    fakes_give_room(one, 1);
    expect_last(one, "$SYS/spool/outcome/one", "\"id\":2,");
    fakes_give_room(one, 5);
    assert_int_equal(one->sent, 3);
    expect_last(one, "$SYS/spool/outcome/one", "\"id\":3,");
}

static void what_was_removed_is_counted_in_its_place(void **state)
{
    (void)state;
    struct gateway *gateway = fakes_open(ONE_MESSAGE);
    struct connection *one = subscribe("one", 1000, "$SYS/spool/outcome/one");
    one->room = 0;
    publish(one, 2);
    fakes_edge();
    gateway->feed.outcomes.budget.used += RECORD_QUEUES_MAX; /* others fill it */
    publish(one, 2);
    fakes_edge();
    fakes_give_room(one, 5);
    assert_int_equal(one->sent, 1);
    expect_last(one, "$SYS/spool/outcome/one", "{\"missed\":3}");
    gateway->feed.outcomes.budget.used -= RECORD_QUEUES_MAX;
    publish(one, 1);
    fakes_edge();
    assert_int_equal(one->sent, 2);
    expect_last(one, "$SYS/spool/outcome/one", "\"id\":5,");
}

/* ---- sessions that are kept ---- */

#define TOPIC "$SYS/spool/outcome/one"

static struct connection *kept(void)
{
    struct connection *one = fakes_connect_session("one", 1000, false, 3600);

    fakes_edge(); /* its CONNACK waits for it */
    assert_int_equal(one->connect_code, MQTT_SUCCESS);
    return one;
}

static struct connection *subscribed(void)
{
    struct connection *one = kept();

    assert_int_equal(fakes_subscribe(one, TOPIC, 1), 1);
    fakes_edge();
    return one;
}

/* It leaves, and all of its @count messages but the newest end. */
static void leave_behind(struct connection *connection, unsigned count)
{
    publish(connection, count);
    fakes_leave(connection);
    fakes_edge();
}

static void a_subscription_of_a_session_is_answered_after_its_commit(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    struct connection *one = kept();
    assert_int_equal(fakes_subscribe(one, TOPIC, 1), 1);
    assert_true(one->is_confirming);
    fakes_edge();
    assert_false(one->is_confirming);
    assert_int_equal(fakes_subscribe(one, TOPIC, 1), 1);
    fakes_edge();
    assert_int_equal(fakes_subscribe(one, "plant/#", 1), MQTT_NOT_AUTHORIZED);
    assert_false(one->is_confirming); /* there is nothing to commit */
    assert_int_equal(fakes_subscribe(one, "$SYS/spool/delivered/one", 0), 0);
    assert_true(one->is_confirming);
    fakes.commit = (struct fake_result){.value = SPOOL_E_BUSY, .count = 1};
    fakes_edge();
    assert_false(one->is_confirming); /* it is in effect anyway */
}

static void what_a_session_missed_is_sent_to_it_in_order(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    fakes.room = 0; /* nothing is in flight */
    struct connection *one = subscribed();
    leave_behind(one, 5);
    one = kept();
    one->ops->writable(one->owner, one);
    assert_int_equal(one->sent, 4);
    for (unsigned i = 0; i < 4; i++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "\"id\":%u,", i + 1);
        assert_non_null(strstr(one->messages[i].payload, id));
        assert_string_equal(one->messages[i].topic, TOPIC);
        assert_int_equal(one->messages[i].qos, 1);
        assert_int_equal(one->messages[i].packet_id, one->messages[i].tag + 1);
        assert_false(one->messages[i].is_repeated);
    }
}

static void what_is_not_acknowledged_is_sent_again_with_its_packet_id(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    fakes.room = 0;
    struct connection *one = subscribed();
    one->room = 3;
    publish(one, 6);
    fakes_edge();
    assert_int_equal(one->sent, 3);
    uint16_t second = one->messages[1].packet_id;
    fakes_acknowledge(one, one->messages[0].tag);
    fakes_acknowledge(one, one->messages[2].tag); /* not before the one in front of it */
    fakes_edge();
    fakes_leave(one);
    one = kept();
    one->ops->writable(one->owner, one);
    assert_int_equal(one->sent, 4);
    assert_int_equal(one->messages[0].packet_id, second);
    assert_true(one->messages[0].is_repeated);
    assert_true(one->messages[1].is_repeated);
    assert_false(one->messages[2].is_repeated);
    for (unsigned i = 0; i < 4; i++)
        fakes_acknowledge(one, one->messages[i].tag);
    fakes_edge();
    fakes_leave(one);
    one = kept();
    one->ops->writable(one->owner, one);
    assert_int_equal(one->sent, 0);
}

static void a_session_that_is_connected_is_sent_its_records_at_once(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    fakes.room = 0;
    struct connection *one = subscribed();
    publish(one, 2);
    fakes_edge();
    assert_int_equal(one->sent, 1);
    publish(one, 2);
    fakes_edge();
    assert_int_equal(one->sent, 3);
    expect_last(one, TOPIC, "\"id\":3,");
}

static void only_what_was_asked_for_with_qos_1_is_kept(void **state)
{
    (void)state;
    struct gateway *gateway = fakes_open(ONE_MESSAGE);
    fakes.room = 0;
    struct connection *one = kept();
    assert_int_equal(fakes_subscribe(one, TOPIC, 0), 0);
    fakes_edge();
    publish(one, 2);
    fakes_edge();
    assert_int_equal(one->sent, 1);
    assert_int_equal(fakes_message(one)->qos, 0);
    assert_int_equal(spool_sessions_wanting(gateway->spool, SPOOL_OUTBOX_FAILURE), 0);
    leave_behind(one, 2);
    one = kept();
    one->ops->writable(one->owner, one);
    assert_int_equal(one->sent, 0);
    publish(one, 1); /* its subscription has lasted */
    fakes_edge();
    assert_int_equal(one->sent, 1);
}

static void what_a_session_no_longer_wants_is_passed_over(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    fakes.room = 0;
    struct connection *one = subscribed();
    one->room = 0;
    publish(one, 3);
    fakes_edge();
    assert_int_equal(one->ops->unsubscribe(one->owner, one, view_of_text(TOPIC)), 0);
    assert_int_equal(fakes_subscribe(one, "$SYS/spool/delivered/one", 1), 1);
    fakes_edge();
    fakes_give_room(one, 10);
    assert_int_equal(one->sent, 0);
    fakes_edge();
    fakes_leave(one);
    one = kept();
    assert_int_equal(fakes_subscribe(one, TOPIC, 1), 1);
    fakes_edge();
    assert_int_equal(one->sent, 0);
}

static void beyond_its_backlog_a_session_is_informed_of_what_it_missed(void **state)
{
    (void)state;
    struct gateway *gateway = fakes_open(ONE_MESSAGE);
    gateway->config->listen.session_backlog = 4096;
    fakes.room = 0;
    struct connection *one = subscribed();
    leave_behind(one, 41);
    one = kept();
    one->ops->writable(one->owner, one);
    expect_last(one, TOPIC, "\"id\":40,");
    unsigned kept_count = one->sent - 1;
    char missed[32];
    (void)snprintf(missed, sizeof(missed), "{\"missed\":%u}", 40 - kept_count);
    fakes_leave(one); /* it acknowledged nothing */
    one = kept();
    one->room = 1;
    one->ops->writable(one->owner, one);
    expect_last(one, TOPIC, missed);
    fakes_acknowledge(one, fakes_message(one)->tag);
    fakes_give_room(one, 100);
    assert_int_equal(one->sent, 1 + kept_count);
    fakes_edge();
    fakes_leave(one);
    one = kept();
    one->ops->writable(one->owner, one);
    assert_int_equal(one->sent, kept_count);
}

static void rows_beyond_the_window_follow_their_acknowledgements(void **state)
{
    (void)state;
    (void)fakes_open(ONE_MESSAGE);
    fakes.room = 0;
    struct connection *one = subscribed();
    leave_behind(one, 200);
    one = kept();
    one->ops->writable(one->owner, one);
    assert_int_equal(one->sent, CONNECTION_WINDOW_MAX);
    for (uint64_t seq = 1; seq < 200; seq++)
        fakes_acknowledge(one, seq);
    assert_int_equal(one->sent, 199);
    expect_last(one, TOPIC, "\"id\":199,");
}

static void a_session_that_is_replaced_is_let_go_of(void **state)
{
    (void)state;
    struct gateway *gateway = fakes_open(ONE_MESSAGE);
    fakes.room = 0;
    struct connection *one = subscribed();
    one->closes_late = true;
    publish(one, 3);
    struct connection *two = fakes_connect_session("one", 1000, true, 3600);
    fakes_edge();
    publish(two, 3);
    fakes_edge();
    assert_int_equal(one->sent, 0);
    assert_int_equal(two->sent, 0); /* it has not subscribed */
    assert_int_equal(gateway->feed.outcomes.subscribers[OUTCOME_FAILURE], 0);
    assert_int_equal(spool_sessions_wanting(gateway->spool, SPOOL_OUTBOX_FAILURE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(an_outcome_leaves_after_its_commit),
        FAKES_TEST(a_delivery_is_sent_to_those_who_want_it),
        FAKES_TEST(a_client_id_of_another_user_is_another_producer),
        FAKES_TEST(an_administrator_is_sent_those_of_all),
        FAKES_TEST(a_subscription_of_a_client_that_left_is_forgotten),
        FAKES_TEST(a_lost_batch_sends_nothing),
        FAKES_TEST(what_has_no_room_follows_in_its_order),
        FAKES_TEST(what_was_removed_is_counted_in_its_place),
        FAKES_TEST(a_subscription_of_a_session_is_answered_after_its_commit),
        FAKES_TEST(what_a_session_missed_is_sent_to_it_in_order),
        FAKES_TEST(what_is_not_acknowledged_is_sent_again_with_its_packet_id),
        FAKES_TEST(a_session_that_is_connected_is_sent_its_records_at_once),
        FAKES_TEST(only_what_was_asked_for_with_qos_1_is_kept),
        FAKES_TEST(what_a_session_no_longer_wants_is_passed_over),
        FAKES_TEST(rows_beyond_the_window_follow_their_acknowledgements),
        FAKES_TEST(a_session_that_is_replaced_is_let_go_of),
        FAKES_TEST(beyond_its_backlog_a_session_is_informed_of_what_it_missed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
