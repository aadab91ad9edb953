/* SPDX-License-Identifier: MIT */
/*
 * test_shares.c - what the clients of a user have in common, and how batches are shared out
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/types.h>

#include "daemon/gateway/batch.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/users.h"
#include "daemon/ingress/connection.h"
#include "tests/support/gateway_fakes.h"

#define SHARED     (GATEWAY_BATCH_MESSAGES * 4 / 5)
#define USERS_IDLE 64 /* users without a client that are kept */

/* ---- users.c ---- */

static void all_connections_of_a_uid_are_one_user(void **state)
{
    struct users users = {0};
    struct user *user;

    (void)state;
    users_init(&users);
    user = fakes_add_client(&users, 1000);
    assert_ptr_equal(fakes_add_client(&users, 1000), user);
    assert_ptr_not_equal(fakes_add_client(&users, 1001), user);
    assert_int_equal(user->clients, 2);
    assert_int_equal(users.active, 2);
    users_remove_active(&users, user);
    assert_int_equal(users.active, 2);
    users_remove_active(&users, user);
    assert_int_equal(users.active, 1);
    users_finish(&users);
}

static void users_without_a_client_are_kept_within_a_bound(void **state)
{
    struct users users = {0};
    struct user *connected;

    (void)state;
    users_init(&users);
    connected = fakes_add_client(&users, 1);
    for (uid_t uid = 2; uid < 2 + USERS_IDLE; uid++)
        users_find(&users, uid)->turn = uid;
    assert_int_equal(users.idle, USERS_IDLE);
    assert_int_equal(users_find(&users, 2)->turn, 2); /* needed again: not the oldest now */
    (void)users_find(&users, 5000);
    assert_int_equal(users.idle, USERS_IDLE);
    assert_int_equal(users_find(&users, 2)->turn, 2);
    assert_int_equal(users_find(&users, 3)->turn, 0); /* a new one: it was forgotten */
    assert_ptr_equal(users_find(&users, 1), connected);
    users_remove_client(&users, connected);
    assert_int_equal(users.idle, USERS_IDLE);
    users_finish(&users);
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

/* ---- batch.c ---- */

/* How many are accepted before it must wait. */
static unsigned publish_until_it_waits(struct connection *connection)
{
    unsigned accepted = 0;

    while (fakes_publish(connection, "a", "x").kind == CONNECTION_ACCEPT)
        accepted++;
    assert_int_equal(connection->verdict.kind, CONNECTION_WAIT);
    return accepted;
}

static void a_client_alone_has_the_shared_part_of_a_batch(void **state)
{
    struct connection *one;

    (void)state;
    (void)fakes_open("");
    one = fakes_connect("one", 1000);
    assert_int_equal(publish_until_it_waits(one), SHARED);
}

static void a_client_that_was_not_active_has_room_beyond_the_shares(void **state)
{
    struct connection *greedy, *honest;

    (void)state;
    (void)fakes_open("");
    greedy = fakes_connect("greedy", 1000);
    honest = fakes_connect("honest", 1000);
    assert_int_equal(publish_until_it_waits(greedy), SHARED);
    assert_int_equal(publish_until_it_waits(honest), 1);
}

static void no_batch_holds_more_than_its_limit(void **state)
{
    struct connection *connection;
    unsigned stored;

    (void)state;
    (void)fakes_open("");
    stored = publish_until_it_waits(fakes_connect("greedy", 1000));
    for (unsigned i = stored; i < GATEWAY_BATCH_MESSAGES; i++) {
        connection = fakes_connect("one", 1000); /* takes over the one before */
        assert_int_equal(fakes_publish(connection, "a", "x").kind, CONNECTION_ACCEPT);
    }
    connection = fakes_connect("one", 1000);
    assert_int_equal(fakes_publish(connection, "a", "x").kind, CONNECTION_WAIT);
}

/* In the batch after the one in which they became active. */
static void clients_of_one_user_share_alike(void **state)
{
    struct connection *connections[4];

    (void)state;
    (void)fakes_open("");
    fakes_connect_many(connections, 4, 1000);
    for (unsigned i = 0; i < 4; i++)
        (void)publish_until_it_waits(connections[i]);
    fakes_edge(); /* each is offered the message that waited */
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(connections[i]->verdict.kind, CONNECTION_ACCEPT);
        assert_int_equal(1 + publish_until_it_waits(connections[i]), SHARED / 4);
    }
}

static void users_share_alike_however_many_clients_they_have(void **state)
{
    struct connection *crowd[3], *other;

    (void)state;
    (void)fakes_open("");
    fakes_connect_many(crowd, 3, 1000);
    for (unsigned i = 0; i < 3; i++)
        (void)publish_until_it_waits(crowd[i]);
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
    struct connection *one, *two;
    unsigned accepted = 0;

    (void)state;
    (void)fakes_open("");
    memset(payload, 'x', sizeof(payload) - 1);
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1000);
    (void)fakes_publish(two, "a", "x"); /* so that both are active */
    while (fakes_publish(one, "a", payload).kind == CONNECTION_ACCEPT)
        accepted++;
    assert_in_range(accepted, GATEWAY_BATCH_BYTES * 2 / 5 / 4200, /* the charge of one */
                    GATEWAY_BATCH_BYTES * 2 / 5 / 4000 + 1);
}

static void a_client_that_leaves_gives_its_share_back(void **state)
{
    struct users *users = &fakes_open("")->clients.users;
    struct connection *one, *two;

    (void)state;
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1000);
    assert_int_equal(fakes_publish(one, "a", "x").kind, CONNECTION_ACCEPT);
    fakes_leave(one);
    assert_int_equal(publish_until_it_waits(two), SHARED - 1);
    fakes_edge();
    assert_int_equal(users->active, 1);
    assert_int_equal(users->idle, 0);
    fakes_leave(two);
    fakes_edge();
    assert_int_equal(users->active, 0);
    assert_int_equal(users->idle, 1);
    assert_int_equal(users_find(users, 1000)->clients, 0);
}

static void
beside_clients_that_send_little_a_batch_is_filled_for_no_longer_than_a_commit(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);
    struct batch *batch = &gateway->batch;

    (void)state;
    batch_note_commit(batch, 5000);
    assert_int_equal(fakes_publish(connection, "a", "x").kind, CONNECTION_ACCEPT);
    fakes.monotonic_us += 5000;
    assert_false(batch_is_shared_out(batch));
    batch_note_contended(batch);
    assert_true(batch_is_shared_out(batch));
    fakes.monotonic_us += 1000000; /* no such client for so long: for throughput it is filled */
    assert_false(batch_is_shared_out(batch));
    fakes_edge();
    batch_note_commit(batch, 5000);
    batch_note_contended(batch);
    assert_false(batch_is_shared_out(batch)); /* it is empty */
    assert_int_equal(fakes_publish(connection, "a", "x").kind, CONNECTION_ACCEPT);
    fakes.monotonic_us += 4999;
    assert_false(batch_is_shared_out(batch));
    fakes.monotonic_us += 1;
    assert_true(batch_is_shared_out(batch));
}

static void one_served_whole_beside_one_that_waits_is_noted(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *greedy = fakes_connect("greedy", 1000);
    struct connection *modest = fakes_connect("modest", 1001);

    (void)state;
    (void)publish_until_it_waits(greedy);
    fakes_edge();
    assert_int_equal(gateway->batch.contended_us, 0);
    (void)publish_until_it_waits(greedy);
    assert_int_equal(fakes_publish(modest, "a", "x").kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_int_equal(gateway->batch.contended_us, fakes.monotonic_us);
}

/* A batch that has been filled for as long as its commit takes is full, except for clients that
 * have nothing in it. */
static void a_contended_batch_is_filled_no_longer_than_its_commit_takes(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *greedy = fakes_connect("greedy", 1000);
    struct connection *honest = fakes_connect("honest", 1000);

    (void)state;
    batch_note_commit(&gateway->batch, 0);
    batch_note_contended(&gateway->batch);
    assert_int_equal(publish_until_it_waits(greedy), 1);
    assert_int_equal(publish_until_it_waits(honest), 1);
    fakes_edge();
    batch_note_commit(&gateway->batch, UINT64_MAX);
    assert_int_equal(greedy->verdict.kind, CONNECTION_ACCEPT);
    assert_int_equal(1 + publish_until_it_waits(greedy), SHARED / 2);
}

static void a_batch_is_contended_when_some_are_served_whole_and_others_wait(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *greedy = fakes_connect("greedy", 1000);
    struct connection *honest = fakes_connect("honest", 1000);

    (void)state;
    (void)fakes_publish(honest, "a", "x");
    fakes_edge();
    assert_int_equal(gateway->batch.contended_us, 0);
    (void)publish_until_it_waits(greedy);
    fakes_edge();
    assert_int_equal(gateway->batch.contended_us, 0);
    (void)publish_until_it_waits(greedy);
    (void)fakes_publish(honest, "a", "x");
    fakes_edge();
    assert_int_not_equal(gateway->batch.contended_us, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(all_connections_of_a_uid_are_one_user),
        FAKES_TEST(users_without_a_client_are_kept_within_a_bound),
        FAKES_TEST(one_user_uses_up_its_own_log_lines_only),
        FAKES_TEST(a_client_alone_has_the_shared_part_of_a_batch),
        FAKES_TEST(a_client_that_was_not_active_has_room_beyond_the_shares),
        FAKES_TEST(no_batch_holds_more_than_its_limit),
        FAKES_TEST(clients_of_one_user_share_alike),
        FAKES_TEST(users_share_alike_however_many_clients_they_have),
        FAKES_TEST(shares_are_counted_in_bytes_too),
        FAKES_TEST(a_client_that_leaves_gives_its_share_back),
        FAKES_TEST(
            beside_clients_that_send_little_a_batch_is_filled_for_no_longer_than_a_commit),
        FAKES_TEST(one_served_whole_beside_one_that_waits_is_noted),
        FAKES_TEST(a_contended_batch_is_filled_no_longer_than_its_commit_takes),
        FAKES_TEST(a_batch_is_contended_when_some_are_served_whole_and_others_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
