/* SPDX-License-Identifier: MIT */
/*
 * test_clients.c - who is admitted, who is rejected and how that is logged, who waits and who
 * is owed
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/config/config.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/session.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/gateway_fakes.h"

/* With max_clients from now on. */
static struct clients *open_for(unsigned max_clients)
{
    struct gateway *gateway = fakes_open("");

    gateway->config->listen.max_clients = max_clients;
    clients_fit(&gateway->clients);
    return &gateway->clients;
}

static void one_client_too_many_may_say_connect_and_is_told_why(void **state)
{
    struct clients *clients = open_for(1);

    (void)state;
    assert_non_null(fakes_connect("one", 1000));
    struct session *session = fakes_accept(1000);
    assert_non_null(session);
    assert_int_not_equal(session->connect_timeout_ms, 0); /* it has less time than others */
    assert_int_equal(fakes_say_connect(session, "two"), MQTT_QUOTA_EXCEEDED);
    assert_int_equal(fakes_logged("client_refused reason=max_clients uid=1000 pid=1"), 1);
    assert_int_equal(fakes_logged("client_refused"), 1); /* not once more as it closes */
    assert_int_equal(clients->count, 1);
    assert_int_equal(clients->surplus_count, 0);
    assert_int_equal(clients->counters->clients_refused, 1);
}

static void one_of_the_surplus_is_admitted_when_another_has_left(void **state)
{
    struct clients *clients = open_for(1);
    struct session *one = fakes_connect("one", 1000), *two = fakes_accept(1000);

    (void)state;
    assert_int_equal(clients->surplus_count, 1);
    fakes_leave(one);
    assert_int_equal(fakes_say_connect(two, "two"), MQTT_SUCCESS);
    assert_int_equal(clients->count, 1);
    assert_int_equal(clients->surplus_count, 0);
}

static void beyond_the_surplus_a_connection_is_closed_unheard(void **state)
{
    struct clients *clients = open_for(1);

    (void)state;
    assert_non_null(fakes_connect("one", 1000));
    for (unsigned i = 0; i < clients->max_surplus; i++)
        assert_non_null(fakes_accept(1000));
    assert_null(fakes_accept(1000));
    assert_int_equal(fakes_logged("client_refused reason=max_clients"), 1);
    assert_int_equal(clients->surplus_count, clients->max_surplus);
}

static void few_descriptors_mean_fewer_clients(void **state)
{
    struct clients *clients = open_for(1);
    struct rlimit limit, few;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    few = (struct rlimit){.rlim_cur = 100, .rlim_max = limit.rlim_max};
    clients->turn->now.boot_ms = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    fakes.gateway->config->listen.max_clients = 512;
    clients_fit(clients);
    assert_int_equal(clients->max, 36);
    assert_int_equal(clients->max_surplus, 16);
    few.rlim_cur = 60;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    clients_fit(clients);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(clients->max, 1);
    assert_int_equal(clients->max_surplus, 0);
    assert_int_equal(fakes_logged("clients_limited max_clients=512 served=36 descriptors=100"),
                     1);
    assert_int_equal(fakes_logged("LimitNOFILE=576"), 2);
}

static void a_session_that_cannot_be_made_is_counted_and_logged(void **state)
{
    struct clients *clients = open_for(2);

    (void)state;
    fakes.new_session.value = -ENOMEM;
    assert_null(fakes_accept(1000));
    assert_int_equal(fakes_logged("client_refused reason=\"Cannot allocate memory\""), 1);
    assert_int_equal(clients->count, 0);
    assert_int_equal(fakes_exit_code(), -1);
}

static void the_same_user_takes_its_session_over(void **state)
{
    struct clients *clients = open_for(2);
    struct session *one = fakes_connect("same", 1000), *two = fakes_connect("same", 1000);

    (void)state;
    assert_non_null(two);
    assert_true(one->is_closed);
    assert_int_equal(one->code, MQTT_SESSION_TAKEN_OVER);
    assert_false(two->is_closed);
    assert_int_equal(clients->count, 1);
    assert_int_equal(fakes_logged("client_refused"), 0);
}

static void at_the_limit_a_client_takes_the_place_of_its_own_session(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct clients *clients = &gateway->clients;
    struct session *one, *two, *three;

    (void)state;
    gateway->config->listen.max_clients = 2;
    clients_fit(clients);
    one = fakes_connect("one", 1000);
    assert_non_null(fakes_connect("other", 1000));
    two = fakes_accept(1000);
    assert_int_equal(fakes_say_connect(two, "one"), MQTT_SUCCESS);
    assert_int_equal(one->code, MQTT_SESSION_TAKEN_OVER);
    assert_int_equal(clients->count, 2);
    assert_int_equal(clients->surplus_count, 0);
    three = fakes_accept(1001); /* of another user */
    assert_int_not_equal(fakes_say_connect(three, "one"), MQTT_SUCCESS);
    assert_false(two->is_closed);
}

static void the_client_id_of_another_user_is_rejected(void **state)
{
    struct session *one, *two;

    (void)state;
    (void)open_for(2);
    one = fakes_connect("same", 1000);
    two = fakes_accept(1001);
    assert_int_equal(fakes_say_connect(two, "same"), MQTT_CLIENT_ID_NOT_VALID);
    assert_false(one->is_closed);
    assert_int_equal(fakes_logged("client_refused reason=client_id_of_another_user uid=1001"),
                     1);
    assert_int_equal(fakes_logged("client_refused"), 1);
}

static void what_a_session_refuses_itself_is_logged_with_its_reason(void **state)
{
    struct clients *clients = open_for(2);
    struct session *session = fakes_connect("one", 1000);

    (void)state;
    session->was_refused = true;
    session->is_closed = true;
    session->ops->closed(session->owner, session, "malformed packet");
    assert_int_equal(
        fakes_logged("client_refused reason=\"malformed packet\" client=\"one\" uid=1000"), 1);
    assert_int_equal(clients->counters->clients_refused, 1);
}

static void rejections_are_logged_at_a_bounded_rate(void **state)
{
    struct clients *clients = open_for(1);

    (void)state;
    clients->max_surplus = 0;
    assert_non_null(fakes_connect("one", 1000));
    for (unsigned i = 0; i < 20; i++)
        assert_null(fakes_accept(1000));
    assert_int_equal(fakes_logged("client_refused"), 5);
    fakes_pass_time(10000);
    assert_null(fakes_accept(1000));
    assert_int_equal(fakes_logged("suppressed=15"), 1);
    assert_int_equal(clients->counters->clients_refused, 21);
}

static void those_that_wait_are_offered_once_an_edge_and_keep_their_turns(void **state)
{
    struct session *one, *two;

    (void)state;
    (void)fakes_open("retention: { when_full = \"block\"; }; audit: { max_waiting = 1000; };");
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1001);
    fakes.is_audit_broken = true;
    fakes.waiting = 1000;
    assert_int_equal(fakes_publish(two, "a", "x").kind, SESSION_BLOCK);
    assert_int_equal(fakes_publish(one, "a", "x").kind, SESSION_BLOCK);
    for (unsigned i = 0; i < 2; i++) {
        (void)fakes_take_trace();
        fakes_edge();
        assert_string_equal(fakes_take_trace(), "retain commit export resume-two resume-one ");
    }
    fakes.waiting = 999;
    fakes_edge();
    assert_string_equal(fakes_take_trace(),
                        "retain commit export resume-two append resume-one append ");
}

static void those_that_wait_for_their_lane_are_not_offered_without_room(void **state)
{
    struct session *one, *two;

    (void)state;
    (void)fakes_open("retention: { max_messages = 1; when_full = \"block\"; };");
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1000);
    assert_int_equal(fakes_publish(one, "a", "x").kind, SESSION_ACCEPT);
    assert_int_equal(fakes_publish(two, "a", "x").kind, SESSION_BLOCK);
    assert_int_equal(fakes_publish(one, "a", "x").kind, SESSION_BLOCK);
    fakes_edge();
    assert_int_equal(one->resumed + two->resumed, 0);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(two->resumed, 1); /* it was the first to wait */
    assert_int_equal(two->verdict.kind, SESSION_ACCEPT);
    assert_int_equal(one->resumed, 0);
}

static void one_that_waits_and_leaves_counts_as_refused(void **state)
{
    struct session *session;

    (void)state;
    (void)fakes_open("retention: { max_messages = 1; when_full = \"block\"; };");
    session = fakes_connect("one", 1000);
    (void)fakes_publish(session, "a", "x");
    (void)fakes_publish(session, "a", "x");
    fakes_leave(session);
    assert_int_equal(fakes.gateway->counters.refused, 1);
    fakes_edge();
    assert_int_equal(session->resumed, 0);
    assert_int_equal(fakes.gateway->counters.accepted, 1);
}

static void sessions_that_are_open_at_the_end_are_freed(void **state)
{
    (void)state;
    (void)fakes_open("");
    (void)fakes_connect("one", 1000);
    fakes_leave(fakes_connect("two", 1000));
    (void)fakes_take_trace();
    assert_int_equal(gateway_free(fakes.gateway), 0);
    fakes.gateway = NULL;
    assert_non_null(strstr(fakes_take_trace(), "free-two free-one "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(one_client_too_many_may_say_connect_and_is_told_why),
        FAKES_TEST(one_of_the_surplus_is_admitted_when_another_has_left),
        FAKES_TEST(beyond_the_surplus_a_connection_is_closed_unheard),
        FAKES_TEST(few_descriptors_mean_fewer_clients),
        FAKES_TEST(a_session_that_cannot_be_made_is_counted_and_logged),
        FAKES_TEST(the_same_user_takes_its_session_over),
        FAKES_TEST(at_the_limit_a_client_takes_the_place_of_its_own_session),
        FAKES_TEST(the_client_id_of_another_user_is_rejected),
        FAKES_TEST(what_a_session_refuses_itself_is_logged_with_its_reason),
        FAKES_TEST(rejections_are_logged_at_a_bounded_rate),
        FAKES_TEST(those_that_wait_are_offered_once_an_edge_and_keep_their_turns),
        FAKES_TEST(those_that_wait_for_their_lane_are_not_offered_without_room),
        FAKES_TEST(one_that_waits_and_leaves_counts_as_refused),
        FAKES_TEST(sessions_that_are_open_at_the_end_are_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
