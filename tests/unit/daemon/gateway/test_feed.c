/* SPDX-License-Identifier: MIT */
/*
 * test_feed.c - what producers are sent for their subscriptions
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/view.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "tests/support/gateway_fakes.h"

#define STATUS "$SYS/spool/status"

/* What was asked for is composed. */
static void compose(void)
{
    assert_int_equal(fakes_due_ms(fakes.gateway->feed.status_timer), 0);
    fakes_reach(fakes.gateway->feed.status_timer);
}

static int64_t accepted_in(const char *payload)
{
    const char *found = strstr(payload, "\"accepted\":");

    assert_non_null(found);
    return strtoll(found + strlen("\"accepted\":"), NULL, 10);
}

static void the_status_comes_at_once_and_with_each_one(void **state)
{
    (void)state;
    (void)fakes_open("");
    gateway_publish_status(fakes.gateway);
    struct connection *connection = fakes_connect("a", 1000);
    assert_int_equal(fakes_subscribe(connection, STATUS, 1), 1);
    compose();
    assert_int_equal(connection->sent, 1);
    const struct fake_message *message = fakes_message(connection);
    assert_string_equal(message->topic, STATUS);
    assert_int_equal(message->qos, 0);
    assert_memory_equal(message->payload, "{\"version\":", 11);
    gateway_publish_status(fakes.gateway);
    assert_int_equal(connection->sent, 2);
}

/* Not the one before, which does not have what the client did since. */
static void the_first_status_is_that_of_now(void **state)
{
    (void)state;
    (void)fakes_open("");
    gateway_publish_status(fakes.gateway);
    struct connection *connection = fakes_connect("a", 1000);
    assert_int_equal(fakes_publish(connection, "t", "x").code, 0);
    fakes_edge();
    assert_int_equal(fakes_subscribe(connection, STATUS, 0), 0);
    assert_int_equal(connection->sent, 0);
    compose();
    assert_int_equal(connection->sent, 1);
    assert_int_equal(accepted_in(fakes_message(connection)->payload), 1);
}

/* Those that subscribe within 50 ms share one, which other subscribers are not sent. */
static void a_storm_of_subscriptions_shares_what_is_composed(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *first = fakes_connect("a", 1000), *second = fakes_connect("b", 1000);
    assert_int_equal(fakes_subscribe(first, STATUS, 0), 0);
    compose();
    assert_int_equal(first->sent, 1);
    fakes_pass_time(10);
    assert_int_equal(fakes_subscribe(second, STATUS, 0), 0);
    assert_int_equal(second->sent, 0);
    assert_int_equal(fakes_due_ms(fakes.gateway->feed.status_timer), 40);
    assert_int_equal(fakes_subscribe(second, STATUS, 0), 0);
    fakes_pass_time(40);
    compose();
    assert_int_equal(second->sent, 1);
    assert_int_equal(first->sent, 1);
    assert_int_equal(fakes_due_ms(fakes.gateway->feed.status_timer), -1);
}

static void the_status_comes_behind_a_suback_that_waits_for_a_commit(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = fakes_connect_session("a", 1000, false, 3600);
    assert_int_equal(fakes_subscribe(connection, STATUS, 0), 0);
    assert_true(connection->is_confirming);
    assert_int_equal(gateway_on_status_asked(NULL, 0, fakes.gateway), 0);
    assert_int_equal(connection->sent, 0);
    fakes_edge();
    assert_false(connection->is_confirming);
    assert_int_equal(connection->sent, 1);
}

static void without_a_new_status_the_one_before_is_sent(void **state)
{
    (void)state;
    (void)fakes_open("");
    gateway_publish_status(fakes.gateway);
    struct connection *connection = fakes_connect("a", 1000);
    fakes.gateway->turn.has_failed = true;
    assert_int_equal(fakes_subscribe(connection, STATUS, 0), 0);
    compose();
    assert_int_equal(connection->sent, 1);
    fakes.gateway->turn.has_failed = false;
}

static void nothing_comes_without_a_subscription(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = fakes_connect("a", 1000);
    gateway_publish_status(fakes.gateway);
    assert_int_equal(fakes_subscribe(connection, "$SYS/spool/outcome/b", 1), 0x87);
    assert_int_equal(fakes_subscribe(connection, "$CONTROL/spool/v1/response", 2), 1);
    gateway_publish_status(fakes.gateway);
    assert_int_equal(connection->sent, 0);
}

static void it_ends_with_the_subscription(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = fakes_connect("a", 1000);
    connection->room = 0;
    assert_int_equal(fakes_subscribe(connection, STATUS, 0), 0);
    assert_int_equal(
        connection->ops->unsubscribe(connection->owner, connection, view_of_text(STATUS)), 0);
    assert_int_equal(
        connection->ops->unsubscribe(connection->owner, connection, view_of_text(STATUS)),
        MQTT_NO_SUBSCRIPTION_EXISTED);
    fakes_give_room(connection, 10);
    gateway_publish_status(fakes.gateway);
    assert_int_equal(connection->sent, 0);
}

static unsigned sent_after(struct connection *connection, uint8_t retain_handling)
{
    struct connection_subscribe subscribe = {.filter = view_of_text(STATUS),
                                             .retain_handling = retain_handling};
    unsigned before = connection->sent;

    assert_int_equal(connection->ops->subscribe(connection->owner, connection, &subscribe), 0);
    connection->ops->writable(connection->owner, connection);
    fakes_pass_time(60);
    if (fakes_due_ms(fakes.gateway->feed.status_timer) >= 0)
        compose();
    return connection->sent - before;
}

static void the_first_one_is_sent_as_retain_handling_says(void **state)
{
    (void)state;
    (void)fakes_open("");
    gateway_publish_status(fakes.gateway);
    struct connection *connection = fakes_connect("a", 1000);
    assert_int_equal(sent_after(connection, 1), 1);
    assert_int_equal(sent_after(connection, 1), 0);
    assert_int_equal(sent_after(connection, 0), 1);
    assert_int_equal(sent_after(connection, 2), 0);
    connection = fakes_connect("b", 1000);
    assert_int_equal(sent_after(connection, 2), 0);
}

static void a_client_that_does_not_read_gets_the_newest_one_later(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = fakes_connect("a", 1000);
    assert_int_equal(fakes_subscribe(connection, STATUS, 0), 0);
    connection->room = 0;
    unsigned before = connection->sent;
    gateway_publish_status(fakes.gateway);
    gateway_publish_status(fakes.gateway);
    assert_int_equal(connection->sent, before);
    fakes_give_room(connection, 5);
    assert_int_equal(connection->sent, before + 1);
    fakes_give_room(connection, 5);
    assert_int_equal(connection->sent, before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(the_status_comes_at_once_and_with_each_one),
        FAKES_TEST(the_first_status_is_that_of_now),
        FAKES_TEST(a_storm_of_subscriptions_shares_what_is_composed),
        FAKES_TEST(the_status_comes_behind_a_suback_that_waits_for_a_commit),
        FAKES_TEST(without_a_new_status_the_one_before_is_sent),
        FAKES_TEST(nothing_comes_without_a_subscription),
        FAKES_TEST(it_ends_with_the_subscription),
        FAKES_TEST(the_first_one_is_sent_as_retain_handling_says),
        FAKES_TEST(a_client_that_does_not_read_gets_the_newest_one_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
