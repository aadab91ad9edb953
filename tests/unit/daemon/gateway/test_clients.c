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
#include "daemon/ingress/connection.h"
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
    struct connection *connection = fakes_accept(1000);
    assert_non_null(connection);
    assert_int_not_equal(connection->connect_timeout_ms, 0); /* it has less time than others */
    assert_int_equal(fakes_say_connect(connection, "two"), MQTT_QUOTA_EXCEEDED);
    assert_int_equal(fakes_logged("client_refused reason=max_clients uid=1000 pid=1"), 1);
    assert_int_equal(fakes_logged("client_refused"), 1); /* not once more as it closes */
    assert_int_equal(clients->count, 1);
    assert_int_equal(clients->surplus_count, 0);
    assert_int_equal(clients->counters->clients_refused, 1);
}

static void one_of_the_surplus_is_admitted_when_another_has_left(void **state)
{
    struct clients *clients = open_for(1);
    struct connection *one = fakes_connect("one", 1000), *two = fakes_accept(1000);

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

/* All that are open came @ms earlier. */
static void age_clients(struct clients *clients, int64_t ms)
{
    struct client *client;

    TAILQ_FOREACH(client, &clients->open, link)
        client->accepted_ms -= ms;
}

static void a_silent_connection_takes_no_place_from_a_client(void **state)
{
    struct clients *clients = open_for(2);
    struct connection *three;

    (void)state;
    assert_non_null(fakes_accept(1001));
    assert_non_null(fakes_connect("two", 1000));
    three = fakes_accept(1000);
    age_clients(clients, 900); /* it may be about to send it */
    assert_int_equal(fakes_say_connect(three, "three"), MQTT_QUOTA_EXCEEDED);
    age_clients(clients, 100);
    assert_int_equal(fakes_say_connect(fakes_accept(1000), "four"), MQTT_SUCCESS);
    assert_int_equal(fakes_logged("client_refused reason=no_connect uid=1001"), 1);
    assert_int_equal(clients->count, 2);
    assert_int_equal(clients->surplus_count, 0);
    /* The other one has connected, however long ago. */
    age_clients(clients, 60000);
    assert_int_equal(fakes_say_connect(fakes_accept(1000), "five"), MQTT_QUOTA_EXCEEDED);
}

static void silent_connections_above_the_limit_make_room_for_the_next_one(void **state)
{
    struct clients *clients = open_for(1);

    (void)state;
    assert_non_null(fakes_connect("one", 1000));
    for (unsigned i = 0; i < clients->max_surplus; i++)
        assert_non_null(fakes_accept(1001));
    age_clients(clients, 1000);
    assert_non_null(fakes_accept(1000));
    assert_int_equal(clients->surplus_count, clients->max_surplus);
    assert_int_equal(fakes_logged("client_refused reason=no_connect uid=1001"), 1);
    assert_int_equal(fakes_logged("client_refused reason=max_clients"), 0);
}

/* However young they are: another user gets its turn, and the log names the one in the way. */
static void a_user_whose_connections_send_no_connect_makes_room_for_others(void **state)
{
    struct clients *clients = open_for(20);
    struct connection *connection;

    (void)state;
    for (unsigned i = 0; i < 20 + clients->max_surplus; i++)
        assert_non_null(fakes_accept(1001));
    assert_null(fakes_accept(1001)); /* not in the place of its own */
    assert_int_equal(fakes_logged("client_refused reason=max_clients uid=1001 pid=1 "
                                  "suppressed=0 remedy=\"find the program of uid 1001: 36 of "
                                  "its connections have sent no CONNECT\""),
                     1);
    connection = fakes_accept(1000);
    assert_non_null(connection);
    assert_int_equal(fakes_logged("client_refused reason=no_connect uid=1001"), 1);
    assert_int_equal(clients->surplus_count, clients->max_surplus);
    assert_null(fakes_accept(1001));
    assert_int_equal(fakes_say_connect(connection, "one"), MQTT_SUCCESS);
    assert_int_equal(clients->count, 20);
    assert_int_equal(fakes_logged("uid=1000 pid"), 0);
}

/* These may be about to send it. */
static void a_user_with_few_connections_without_connect_keeps_them(void **state)
{
    struct clients *clients = open_for(1);

    (void)state;
    assert_non_null(fakes_connect("one", 1000));
    for (unsigned i = 0; i < clients->max_surplus; i++)
        assert_non_null(fakes_accept(1001 + i % 4));
    assert_null(fakes_accept(1000));
    assert_int_equal(fakes_logged("client_refused reason=no_connect"), 0);
    assert_int_equal(fakes_logged("remedy=\"raise listen.max_clients"), 1);
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

static void a_connection_that_cannot_be_made_is_counted_and_logged(void **state)
{
    struct clients *clients = open_for(2);

    (void)state;
    fakes.new_connection.value = -ENOMEM;
    assert_null(fakes_accept(1000));
    assert_int_equal(fakes_logged("client_refused reason=\"Cannot allocate memory\""), 1);
    assert_int_equal(clients->count, 0);
    assert_int_equal(fakes_exit_code(), -1);
}

static void the_same_user_takes_its_connection_over(void **state)
{
    struct clients *clients = open_for(2);
    struct connection *one = fakes_connect("same", 1000), *two = fakes_connect("same", 1000);

    (void)state;
    assert_non_null(two);
    assert_true(one->is_closed);
    assert_int_equal(one->code, MQTT_SESSION_TAKEN_OVER);
    assert_false(two->is_closed);
    assert_int_equal(clients->count, 1);
    assert_int_equal(fakes_logged("client_refused"), 0);
}

static void at_the_limit_a_client_takes_the_place_of_its_own_connection(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct clients *clients = &gateway->clients;
    struct connection *one, *two, *three;

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

#define ROOT_AND_1000                                                                          \
    "access = ( { user = 0; admin = true; }, { user = 1000; publish = ( \"a/#\" ); } );"

static void client_that_no_entry_fits_is_rejected_with_its_name(void **state)
{
    struct clients *clients = &fakes_open(ROOT_AND_1000)->clients;
    struct connection *connection = fakes_accept(1001);

    (void)state;
    assert_non_null(connection);
    assert_int_equal(clients->count, 0); /* it takes no place */
    assert_int_equal(fakes_say_connect(connection, "sly"), MQTT_NOT_AUTHORIZED);
    assert_int_equal(fakes_logged("client_refused reason=no_access client=\"sly\" uid=1001 "
                                  "pid=1 suppressed=0"),
                     1);
    assert_int_equal(fakes_logged("client_refused"), 1);
    assert_int_equal(clients->counters->clients_refused, 1);
    assert_int_equal(clients->surplus_count, 0);
    assert_non_null(fakes_connect("good", 1000));
}

static void clients_that_no_entry_fits_cannot_fill_the_places(void **state)
{
    struct clients *clients = &fakes_open(ROOT_AND_1000)->clients;

    (void)state;
    for (unsigned i = 0; i < clients->max_surplus; i++)
        assert_non_null(fakes_accept(1001));
    assert_null(fakes_accept(1001));
    assert_int_equal(fakes_logged("client_refused reason=no_access uid=1001"), 1);
    assert_non_null(fakes_connect("good", 1000));
}

static void an_entry_or_root_without_a_list_makes_an_administrator(void **state)
{
    struct clients *clients = &fakes_open("")->clients;

    (void)state;
    assert_non_null(fakes_connect("root", 0));
    assert_true(client_is_admin(TAILQ_LAST(&clients->open, client_list)));
    assert_non_null(fakes_connect("one", 1000));
    assert_false(client_is_admin(TAILQ_LAST(&clients->open, client_list)));
    fakes_reload("access = ( { user = 1000; admin = true; }, { user = \"*\"; } );");
    assert_false(client_is_admin(TAILQ_FIRST(&clients->open)));
    assert_true(client_is_admin(TAILQ_LAST(&clients->open, client_list)));
}

static void who_lost_access_by_hup_is_closed_and_others_have_the_new_entry(void **state)
{
    struct clients *clients = &fakes_open("")->clients;
    struct connection *one = fakes_connect("one", 1000), *two = fakes_connect("two", 1001),
                      *silent = fakes_accept(1001);

    (void)state;
    fakes_reload(ROOT_AND_1000);
    assert_true(two->is_closed);
    assert_int_equal(two->code, MQTT_NOT_AUTHORIZED);
    assert_int_equal(fakes_logged("client_refused reason=access_withdrawn client=\"two\" "
                                  "uid=1001 pid=1"),
                     1);
    assert_false(silent->is_closed); /* its CONNECT is answered */
    assert_int_equal(fakes_say_connect(silent, "three"), MQTT_NOT_AUTHORIZED);
    assert_false(one->is_closed);
    assert_int_equal(fakes_publish(one, "a/b", "x").kind, CONNECTION_ACCEPT);
    assert_int_equal(fakes_publish(one, "b", "x").code, MQTT_NOT_AUTHORIZED);
    fakes_edge();
    assert_int_equal(clients->count, 1);
    fakes_reload("");
    assert_int_equal(fakes_publish(one, "b", "x").kind, CONNECTION_ACCEPT);
}

static void subscriptions_of_an_administrator_end_with_its_right(void **state)
{
    struct connection *all, *own;

    (void)state;
    (void)fakes_open("access = ( { user = 1000; admin = true; } );");
    all = fakes_connect("all", 1000);
    own = fakes_connect("own", 1000);
    assert_int_equal(fakes_subscribe(all, "$SYS/spool/outcome/#", 1), 1);
    assert_int_equal(fakes_subscribe(own, "$SYS/spool/outcome/own", 1), 1);
    fakes_reload("access = ( { user = 1000; admin = true; rate = 5; } );");
    assert_false(all->is_closed);
    fakes_reload("access = ( { user = 1000; } );");
    assert_true(all->is_closed);
    assert_int_equal(all->code, MQTT_NOT_AUTHORIZED);
    assert_false(own->is_closed);
    assert_int_equal(fakes_logged("client_refused reason=access_withdrawn client=\"all\""), 1);
    assert_int_equal(fakes_logged("set admin in the entry of access that fits it"), 1);
    assert_int_equal(fakes_subscribe(own, "$SYS/spool/outcome/#", 1), MQTT_NOT_AUTHORIZED);
}

static void where_the_list_is_gone_the_remedy_names_no_entry_of_it(void **state)
{
    struct connection *all;

    (void)state;
    (void)fakes_open("access = ( { user = 1000; admin = true; } );");
    all = fakes_connect("all", 1000);
    assert_int_equal(fakes_subscribe(all, "$SYS/spool/outcome/#", 1), 1);
    fakes_reload("");
    assert_true(all->is_closed);
    assert_int_equal(fakes_logged("set admin in the entry"), 0);
    assert_int_equal(fakes_logged("remedy=\"run it as root if"), 1);
}

static void a_user_has_no_more_clients_than_its_entry_allows(void **state)
{
    struct clients *clients =
        &fakes_open("access = ( { user = 1000; max_clients = 2; }, { user = \"*\"; } );")
             ->clients;
    struct connection *one = fakes_connect("one", 1000), *two = fakes_connect("two", 1000);

    (void)state;
    assert_int_equal(fakes_say_connect(fakes_accept(1000), "three"), MQTT_QUOTA_EXCEEDED);
    assert_int_equal(fakes_logged("client_refused reason=access.max_clients client=\"three\" "
                                  "uid=1000"),
                     1);
    assert_non_null(fakes_accept(1000)); /* without CONNECT it is not counted */
    two = fakes_connect("two", 1000);    /* takes over */
    assert_false(two->is_closed);
    for (int i = 0; i < 3; i++)
        assert_non_null(fakes_connect(i == 0 ? "a" : i == 1 ? "b" : "c", 1001));
    fakes_leave(one);
    assert_false(fakes_connect("three", 1000)->is_closed);
    assert_int_equal(fakes_say_connect(fakes_accept(1000), "four"), MQTT_QUOTA_EXCEEDED);
    assert_int_equal(clients->count, 6);
    fakes_reload("access = ( { user = 1000; max_clients = 3; }, { user = \"*\"; } );");
    assert_int_equal(fakes_say_connect(fakes_accept(1000), "four"), MQTT_SUCCESS);
}

#define TWO_A_SECOND "access = ( { user = 1000; rate = 2; }, { user = \"*\"; } );"

static enum connection_verdict_kind publish(struct connection *connection)
{
    return fakes_publish(connection, "a", "x").kind;
}

/* Its last offer was accepted. */
static bool was_taken(const struct connection *connection)
{
    return connection->verdict.kind == CONNECTION_ACCEPT;
}

static void a_user_above_its_rate_waits_and_loses_nothing(void **state)
{
    struct clients *clients = &fakes_open(TWO_A_SECOND)->clients;
    struct connection *one = fakes_connect("one", 1000), *other = fakes_connect("other", 1001);

    (void)state;
    assert_int_equal(publish(one), CONNECTION_ACCEPT); /* one second's worth at once */
    assert_int_equal(publish(one), CONNECTION_ACCEPT);
    assert_int_equal(fakes_due_ms(clients->throttle.timer), -1);
    assert_int_equal(publish(one), CONNECTION_THROTTLE);
    assert_int_equal(fakes_due_ms(clients->throttle.timer), 500);
    for (int i = 0; i < 10; i++)
        assert_int_equal(publish(other), CONNECTION_ACCEPT);
    assert_int_equal(fakes_logged("client_throttled client=\"one\" uid=1000 pid=1 rate=2 "), 1);
    fakes_edge(); /* a commit is no reason to try again */
    assert_int_equal(one->resumed, 0);
    fakes_pass_time(499);
    fakes_reach(clients->throttle.timer); /* early: it still waits */
    assert_int_equal(one->resumed, 0);
    assert_int_equal(fakes_due_ms(clients->throttle.timer), 10);
    fakes_pass_time(1);
    fakes_reach(clients->throttle.timer);
    assert_int_equal(one->resumed, 1);
    assert_true(was_taken(one));
    assert_int_equal(fakes_due_ms(clients->throttle.timer), -1);
    assert_int_equal(publish(one), CONNECTION_THROTTLE);
    assert_int_equal(fakes_logged("client_throttled"), 1); /* one line a minute */
    assert_int_equal(clients->counters->refused, 0);
}

static void the_clients_of_a_throttled_user_take_turns(void **state)
{
    struct clients *clients = &fakes_open(TWO_A_SECOND)->clients;
    struct connection *one = fakes_connect("one", 1000), *two = fakes_connect("two", 1000),
                      *three = fakes_connect("three", 1000);

    (void)state;
    assert_int_equal(publish(one), CONNECTION_ACCEPT);
    assert_int_equal(publish(one), CONNECTION_ACCEPT);
    assert_int_equal(publish(one), CONNECTION_THROTTLE);
    assert_int_equal(publish(two), CONNECTION_THROTTLE);
    fakes_pass_time(500);
    assert_int_equal(publish(three), CONNECTION_THROTTLE); /* there is a token: not for it */
    fakes_reach(clients->throttle.timer);
    assert_true(was_taken(one));
    assert_false(was_taken(two));
    assert_int_equal(publish(one), CONNECTION_THROTTLE);
    fakes_pass_time(500);
    fakes_reach(clients->throttle.timer);
    assert_true(was_taken(two));
    assert_false(was_taken(three));
    fakes_pass_time(1000);
    fakes_reach(clients->throttle.timer);
    assert_true(was_taken(three));
    assert_false(was_taken(one)); /* the tokens of a late timer pass in several runs */
    fakes_reach(clients->throttle.timer);
    assert_true(was_taken(one));
}

static void a_client_that_waits_for_its_rate_may_leave(void **state)
{
    struct clients *clients = &fakes_open(TWO_A_SECOND)->clients;
    struct connection *one = fakes_connect("one", 1000), *two;

    (void)state;
    for (int i = 0; i < 3; i++)
        (void)publish(one);
    fakes_leave(one);
    fakes_edge();
    assert_int_equal(clients->counters->refused, 1); /* its kept message */
    fakes_pass_time(500);
    fakes_reach(clients->throttle.timer);
    assert_int_equal(fakes_due_ms(clients->throttle.timer), -1);
    two = fakes_connect("two", 1000); /* its user is remembered, with its bucket */
    assert_int_equal(publish(two), CONNECTION_ACCEPT);
    assert_int_equal(publish(two), CONNECTION_THROTTLE);
}

static void hup_changes_the_rate_of_a_client_that_waits(void **state)
{
    struct clients *clients = &fakes_open(TWO_A_SECOND)->clients;
    struct connection *one = fakes_connect("one", 1000);

    (void)state;
    for (int i = 0; i < 3; i++)
        (void)publish(one);
    assert_false(was_taken(one));
    fakes_reload("");
    fakes_pass_time(10);
    fakes_reach(clients->throttle.timer);
    assert_true(was_taken(one));
    for (int i = 0; i < 10; i++)
        assert_int_equal(publish(one), CONNECTION_ACCEPT);
}

static void message_that_waits_for_its_batch_is_charged_once(void **state)
{
    struct gateway *gateway = fakes_open("access = ( { user = 1000; rate = 2; } );"
                                         "retention: { max_messages = 1; when_full = "
                                         "\"block\"; };");
    struct connection *one = fakes_connect("one", 1000);

    (void)state;
    assert_int_equal(publish(one), CONNECTION_ACCEPT);
    fakes_edge();
    assert_int_equal(publish(one), CONNECTION_BLOCK); /* charged, and never again */
    fakes_reload("access = ( { user = 1000; rate = 2; } );");
    fakes_edge();
    assert_true(was_taken(one));
    assert_int_equal(publish(one), CONNECTION_THROTTLE);
    assert_int_equal(gateway->counters.refused, 0);
}

/* Else the first user of an id could keep the programs of others away. */
static void the_client_id_of_another_user_does_not_matter(void **state)
{
    struct connection *one, *two;

    (void)state;
    (void)open_for(2);
    one = fakes_connect("same", 1000);
    two = fakes_accept(1001);
    assert_int_equal(fakes_say_connect(two, "same"), MQTT_SUCCESS);
    assert_false(one->is_closed);
    assert_false(two->is_closed);
    assert_int_equal(fakes_logged("client_refused"), 0);
    two = fakes_accept(1001); /* takes its own connection over */
    assert_int_equal(fakes_say_connect(two, "same"), MQTT_SUCCESS);
    assert_false(one->is_closed);
    one = fakes_connect("same", 1000);
    assert_false(two->is_closed);
}

static void what_a_connection_refuses_itself_is_logged_with_its_reason(void **state)
{
    struct clients *clients = open_for(2);
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    connection->was_refused = true;
    connection->is_closed = true;
    connection->ops->closed(connection->owner, connection, "malformed packet");
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
    struct connection *one, *two;

    (void)state;
    (void)fakes_open("retention: { when_full = \"block\"; }; audit: { max_waiting = 1000; };");
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1001);
    fakes.is_audit_broken = true;
    fakes.waiting = 1000;
    assert_int_equal(fakes_publish(two, "a", "x").kind, CONNECTION_BLOCK);
    assert_int_equal(fakes_publish(one, "a", "x").kind, CONNECTION_BLOCK);
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
    struct connection *one, *two;

    (void)state;
    (void)fakes_open("retention: { max_messages = 1; when_full = \"block\"; };");
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1000);
    assert_int_equal(fakes_publish(one, "a", "x").kind, CONNECTION_ACCEPT);
    assert_int_equal(fakes_publish(two, "a", "x").kind, CONNECTION_BLOCK);
    assert_int_equal(fakes_publish(one, "a", "x").kind, CONNECTION_BLOCK);
    fakes_edge();
    assert_int_equal(one->resumed + two->resumed, 0);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(two->resumed, 1); /* it was the first to wait */
    assert_int_equal(two->verdict.kind, CONNECTION_ACCEPT);
    assert_int_equal(one->resumed, 0);
}

static void one_that_waits_and_leaves_counts_as_refused(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("retention: { max_messages = 1; when_full = \"block\"; };");
    connection = fakes_connect("one", 1000);
    (void)fakes_publish(connection, "a", "x");
    (void)fakes_publish(connection, "a", "x");
    fakes_leave(connection);
    assert_int_equal(fakes.gateway->counters.refused, 1);
    fakes_edge();
    assert_int_equal(connection->resumed, 0);
    assert_int_equal(fakes.gateway->counters.accepted, 1);
}

static void connections_that_are_open_at_the_end_are_freed(void **state)
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
        FAKES_TEST(a_silent_connection_takes_no_place_from_a_client),
        FAKES_TEST(silent_connections_above_the_limit_make_room_for_the_next_one),
        FAKES_TEST(a_user_whose_connections_send_no_connect_makes_room_for_others),
        FAKES_TEST(a_user_with_few_connections_without_connect_keeps_them),
        FAKES_TEST(few_descriptors_mean_fewer_clients),
        FAKES_TEST(a_connection_that_cannot_be_made_is_counted_and_logged),
        FAKES_TEST(the_same_user_takes_its_connection_over),
        FAKES_TEST(at_the_limit_a_client_takes_the_place_of_its_own_connection),
        FAKES_TEST(client_that_no_entry_fits_is_rejected_with_its_name),
        FAKES_TEST(clients_that_no_entry_fits_cannot_fill_the_places),
        FAKES_TEST(an_entry_or_root_without_a_list_makes_an_administrator),
        FAKES_TEST(who_lost_access_by_hup_is_closed_and_others_have_the_new_entry),
        FAKES_TEST(subscriptions_of_an_administrator_end_with_its_right),
        FAKES_TEST(where_the_list_is_gone_the_remedy_names_no_entry_of_it),
        FAKES_TEST(a_user_has_no_more_clients_than_its_entry_allows),
        FAKES_TEST(a_user_above_its_rate_waits_and_loses_nothing),
        FAKES_TEST(the_clients_of_a_throttled_user_take_turns),
        FAKES_TEST(a_client_that_waits_for_its_rate_may_leave),
        FAKES_TEST(hup_changes_the_rate_of_a_client_that_waits),
        FAKES_TEST(message_that_waits_for_its_batch_is_charged_once),
        FAKES_TEST(the_client_id_of_another_user_does_not_matter),
        FAKES_TEST(what_a_connection_refuses_itself_is_logged_with_its_reason),
        FAKES_TEST(rejections_are_logged_at_a_bounded_rate),
        FAKES_TEST(those_that_wait_are_offered_once_an_edge_and_keep_their_turns),
        FAKES_TEST(those_that_wait_for_their_lane_are_not_offered_without_room),
        FAKES_TEST(one_that_waits_and_leaves_counts_as_refused),
        FAKES_TEST(connections_that_are_open_at_the_end_are_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
