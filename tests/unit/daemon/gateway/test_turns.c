/* SPDX-License-Identifier: MIT */
/*
 * test_turns.c - users share batches, take turns, and have log lines of their own
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "daemon/config/config.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/users.h"
#include "daemon/ingress/session.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/gateway_fakes.h"

#define SHARED (GATEWAY_BATCH_MESSAGES * 4 / 5)
#define BLOCKS "retention: { max_messages = 1; when_full = \"block\"; };"

/* How many are accepted before it must wait. */
static unsigned publish_until_it_waits(struct session *session)
{
    unsigned accepted = 0;

    while (fakes_publish(session, "a", "x").kind == SESSION_ACCEPT)
        accepted++;
    assert_int_equal(session->verdict.kind, SESSION_WAIT);
    return accepted;
}

static void a_client_alone_has_the_shared_part_of_a_batch(void **state)
{
    struct session *one;

    (void)state;
    (void)fakes_open("");
    one = fakes_connect("one", 1000);
    assert_int_equal(publish_until_it_waits(one), SHARED);
}

static void a_client_that_was_not_active_has_room_beyond_the_shares(void **state)
{
    struct session *greedy, *honest;

    (void)state;
    (void)fakes_open("");
    greedy = fakes_connect("greedy", 1000);
    honest = fakes_connect("honest", 1000);
    assert_int_equal(publish_until_it_waits(greedy), SHARED);
    assert_int_equal(publish_until_it_waits(honest), 1);
}

static void no_batch_holds_more_than_its_limit(void **state)
{
    struct session *session;
    unsigned stored;

    (void)state;
    (void)fakes_open("");
    stored = publish_until_it_waits(fakes_connect("greedy", 1000));
    for (unsigned i = stored; i < GATEWAY_BATCH_MESSAGES; i++) {
        session = fakes_connect("one", 1000); /* takes over the one before */
        assert_int_equal(fakes_publish(session, "a", "x").kind, SESSION_ACCEPT);
    }
    session = fakes_connect("one", 1000);
    assert_int_equal(fakes_publish(session, "a", "x").kind, SESSION_WAIT);
}

/* In the batch after the one in which they became active. */
static void clients_of_one_user_share_alike(void **state)
{
    struct session *sessions[4];
    char id[16];

    (void)state;
    (void)fakes_open("");
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(id, sizeof(id), "%u", i);
        sessions[i] = fakes_connect(id, 1000);
        (void)publish_until_it_waits(sessions[i]);
    }
    fakes_edge(); /* each is offered the message that waited */
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(sessions[i]->verdict.kind, SESSION_ACCEPT);
        assert_int_equal(1 + publish_until_it_waits(sessions[i]), SHARED / 4);
    }
}

static void users_share_alike_however_many_clients_they_have(void **state)
{
    struct session *crowd[3], *other;
    char id[16];

    (void)state;
    (void)fakes_open("");
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(id, sizeof(id), "%u", i);
        crowd[i] = fakes_connect(id, 1000);
        (void)publish_until_it_waits(crowd[i]);
    }
    other = fakes_connect("other", 1001);
    (void)publish_until_it_waits(other);
    fakes_edge();
    for (unsigned i = 0; i < 3; i++)
        assert_in_range(1 + publish_until_it_waits(crowd[i]), SHARED / 6 - 1, SHARED / 6 + 1);
    assert_int_equal(1 + publish_until_it_waits(other), SHARED / 2);
}

static void shares_are_counted_in_bytes_too(void **state)
{
    static char payload[4000];
    struct session *one, *two;
    unsigned accepted = 0;

    (void)state;
    (void)fakes_open("");
    memset(payload, 'x', sizeof(payload) - 1);
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1000);
    (void)fakes_publish(two, "a", "x"); /* so that both are active */
    while (fakes_publish(one, "a", payload).kind == SESSION_ACCEPT)
        accepted++;
    assert_in_range(accepted, GATEWAY_BATCH_BYTES * 2 / 5 / 4200, /* the charge of one */
                    GATEWAY_BATCH_BYTES * 2 / 5 / 4000 + 1);
}

static void a_client_that_leaves_gives_its_share_back(void **state)
{
    struct session *one, *two;

    (void)state;
    (void)fakes_open("");
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1000);
    assert_int_equal(fakes_publish(one, "a", "x").kind, SESSION_ACCEPT);
    fakes_leave(one);
    assert_int_equal(publish_until_it_waits(two), SHARED - 1);
    fakes_edge();
    assert_int_equal(fakes.gateway->clients.users.active, 1);
    fakes_leave(two);
    fakes_edge();
    assert_int_equal(fakes.gateway->clients.users.active, 0);
}

/* One place in the lane at each edge: who gets it? */
static void expect_turn(struct session *session, uint64_t *id)
{
    fakes_answer((*id)++, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(session->verdict.kind, SESSION_ACCEPT);
    fakes_edge(); /* it is committed, and forwarded */
}

static void those_that_wait_for_a_lane_take_turns(void **state)
{
    struct session *bulk[3], *single;
    uint64_t id = 1;
    char name[16];

    (void)state;
    (void)fakes_open(BLOCKS);
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof(name), "%u", i);
        bulk[i] = fakes_connect(name, 1000);
        (void)fakes_publish(bulk[i], "a", "x");
    }
    assert_int_equal(bulk[0]->verdict.kind, SESSION_ACCEPT);
    (void)fakes_publish(bulk[0], "a", "x");
    single = fakes_connect("single", 1000);
    (void)fakes_publish(single, "a", "x");
    fakes_edge();
    expect_turn(bulk[1], &id);
    (void)fakes_publish(bulk[1], "a", "x");
    expect_turn(bulk[2], &id);
    (void)fakes_publish(bulk[2], "a", "x");
    expect_turn(bulk[0], &id);
    (void)fakes_publish(bulk[0], "a", "x");
    expect_turn(single, &id);
    expect_turn(bulk[1], &id);
}

static void turns_go_round_by_user(void **state)
{
    struct session *crowd[3], *other;
    uint64_t id = 1;
    char name[16];

    (void)state;
    (void)fakes_open(BLOCKS);
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof(name), "%u", i);
        crowd[i] = fakes_connect(name, 1000);
        (void)fakes_publish(crowd[i], "a", "x");
    }
    (void)fakes_publish(crowd[0], "a", "x");
    other = fakes_connect("other", 1001);
    (void)fakes_publish(other, "a", "x");
    fakes_edge();
    expect_turn(crowd[1], &id);
    expect_turn(other, &id);
    (void)fakes_publish(other, "a", "x");
    expect_turn(crowd[2], &id);
    expect_turn(other, &id);
    expect_turn(crowd[0], &id);
}

/* There is room, but it is spoken for. */
static void a_new_message_waits_behind_those_that_wait_for_its_lane(void **state)
{
    struct session *one, *two;

    (void)state;
    (void)fakes_open("retention: { max_messages = 2; when_full = \"block\"; };");
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1000);
    (void)fakes_publish(one, "a", "x");
    (void)fakes_publish(one, "a", "x");
    assert_int_equal(fakes_publish(one, "a", "x").kind, SESSION_BLOCK);
    fakes_edge();
    fakes_answer(1, UPLINK_DELIVERED, -1);
    assert_int_equal(fakes_publish(two, "a", "x").kind, SESSION_BLOCK);
    fakes_edge();
    assert_int_equal(one->verdict.kind, SESSION_ACCEPT);
    assert_int_equal(two->resumed, 0);
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

static void one_user_uses_up_its_own_log_lines_only(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    gateway->clients.max = gateway->clients.max_surplus = 0;
    for (unsigned i = 0; i < 10; i++)
        assert_null(fakes_accept(1000));
    assert_int_equal(fakes_logged("uid=1000"), 5);
    assert_null(fakes_accept(1001));
    assert_int_equal(fakes_logged("uid=1001"), 1);
}

static void users_without_a_client_are_forgotten_beyond_a_number(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct users *users = &gateway->clients.users;
    struct session *stays = fakes_connect("stays", 5);

    (void)state;
    for (uid_t uid = 1000; uid < 1200; uid++)
        (void)users_find(users, uid);
    assert_int_equal(users->idle, 64);
    assert_int_equal(users_find(users, 5)->clients, 1);
    fakes_leave(stays);
    fakes_edge();
    assert_int_equal(users_find(users, 5)->clients, 0);
    assert_int_equal(users->idle, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(a_client_alone_has_the_shared_part_of_a_batch),
        FAKES_TEST(a_client_that_was_not_active_has_room_beyond_the_shares),
        FAKES_TEST(no_batch_holds_more_than_its_limit),
        FAKES_TEST(clients_of_one_user_share_alike),
        FAKES_TEST(users_share_alike_however_many_clients_they_have),
        FAKES_TEST(shares_are_counted_in_bytes_too),
        FAKES_TEST(a_client_that_leaves_gives_its_share_back),
        FAKES_TEST(those_that_wait_for_a_lane_take_turns),
        FAKES_TEST(turns_go_round_by_user),
        FAKES_TEST(a_new_message_waits_behind_those_that_wait_for_its_lane),
        FAKES_TEST(at_the_limit_a_client_takes_the_place_of_its_own_session),
        FAKES_TEST(one_user_uses_up_its_own_log_lines_only),
        FAKES_TEST(users_without_a_client_are_forgotten_beyond_a_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
