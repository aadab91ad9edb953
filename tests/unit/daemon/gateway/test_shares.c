/* SPDX-License-Identifier: MIT */
/*
 * test_shares.c - users, batches and waiting clients by themselves; test_turns.c has what
 * sessions see of them
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
#include "daemon/gateway/users.h"
#include "daemon/gateway/waiting.h"
#include "daemon/ingress/session.h"
#include "tests/support/gateway_fakes.h"

#define SHARED     800 /* messages of a batch that are shared out */
#define USERS_IDLE 64  /* users without a client that are kept */

/* A client as waiting.c and batch.c know it. */
struct producer {
    struct user *user;
    struct share share;
    struct waiter waiter;
};

static void join(struct users *users, struct producer *producer, uid_t uid)
{
    memset(producer, 0, sizeof(*producer));
    producer->user = users_find(users, uid);
    producer->waiter = (struct waiter){.user = producer->user, .share = &producer->share};
    users_add_client(users, producer->user);
    users_add_active(users, producer->user);
}

static void use(struct producer *producer, unsigned messages)
{
    producer->share.messages += messages;
    producer->user->share.messages += messages;
}

/* ---- users.c ---- */

static void all_connections_of_a_uid_are_one_user(void **state)
{
    struct users users = {0};
    struct producer one, two, other;

    (void)state;
    users_init(&users);
    join(&users, &one, 1000);
    join(&users, &two, 1000);
    join(&users, &other, 1001);
    assert_ptr_equal(one.user, two.user);
    assert_ptr_not_equal(one.user, other.user);
    assert_int_equal(one.user->clients, 2);
    assert_int_equal(users.active, 2);
    users_remove_active(&users, one.user);
    assert_int_equal(users.active, 2);
    users_remove_active(&users, two.user);
    assert_int_equal(users.active, 1);
    users_finish(&users);
}

static void users_without_a_client_are_kept_within_a_bound(void **state)
{
    struct users users = {0};
    struct producer connected;

    (void)state;
    users_init(&users);
    join(&users, &connected, 1);
    for (uid_t uid = 2; uid < 2 + USERS_IDLE; uid++)
        users_find(&users, uid)->turn = uid;
    assert_int_equal(users.idle, USERS_IDLE);
    assert_int_equal(users_find(&users, 2)->turn, 2); /* needed again: not the oldest now */
    (void)users_find(&users, 5000);
    assert_int_equal(users.idle, USERS_IDLE);
    assert_int_equal(users_find(&users, 2)->turn, 2);
    assert_int_equal(users_find(&users, 3)->turn, 0); /* a new one: it was forgotten */
    assert_ptr_equal(users_find(&users, 1), connected.user);
    users_remove_client(&users, connected.user);
    assert_int_equal(users.idle, USERS_IDLE);
    users_finish(&users);
}

/* ---- batch.c ---- */

static struct batch open_batch(struct users *users)
{
    struct gateway *gateway = fakes_open("");

    memset(users, 0, sizeof(*users));
    users_init(users);
    return (struct batch){.spool = gateway->spool, .users = users};
}

static void
beside_clients_that_send_little_a_batch_is_filled_for_no_longer_than_a_commit(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct session *session = fakes_connect("one", 1000);
    struct batch *batch = &gateway->batch;

    (void)state;
    batch_note_commit(batch, 5000);
    assert_int_equal(fakes_publish(session, "a", "x").kind, SESSION_ACCEPT);
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
    assert_int_equal(fakes_publish(session, "a", "x").kind, SESSION_ACCEPT);
    fakes.monotonic_us += 4999;
    assert_false(batch_is_shared_out(batch));
    fakes.monotonic_us += 1;
    assert_true(batch_is_shared_out(batch));
}

static void one_served_whole_beside_one_that_waits_is_noted(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct session *greedy = fakes_connect("greedy", 1000);
    struct session *modest = fakes_connect("modest", 1001);

    (void)state;
    while (fakes_publish(greedy, "a", "x").kind == SESSION_ACCEPT)
        ;
    fakes_edge();
    assert_int_equal(gateway->batch.contended_us, 0);
    while (fakes_publish(greedy, "a", "x").kind == SESSION_ACCEPT)
        ;
    assert_int_equal(fakes_publish(modest, "a", "x").kind, SESSION_ACCEPT);
    fakes_edge();
    assert_int_equal(gateway->batch.contended_us, fakes.monotonic_us);
}

/* ---- waiting.c ---- */

static void
expect_next(struct waiting *waiting, const struct batch *batch, const struct producer *expected)
{
    assert_ptr_equal(waiting_next(waiting, batch), expected ? &expected->waiter : NULL);
}

static void turns_go_round_by_user_once_a_pass(void **state)
{
    struct users users;
    struct batch batch = open_batch(&users);
    struct waiting waiting = {0};
    struct producer a[3], b, c;

    (void)state;
    waiting_init(&waiting);
    for (unsigned i = 0; i < 3; i++) {
        join(&users, &a[i], 1000);
        waiting_add(&waiting, &a[i].waiter, WAITING_ANY, 0);
    }
    join(&users, &b, 1001);
    join(&users, &c, 1002);
    waiting_add(&waiting, &b.waiter, WAITING_ANY, 0);
    waiting_add(&waiting, &c.waiter, WAITING_ANY, 0);
    waiting_add(&waiting, &c.waiter, WAITING_ANY, 0); /* it waits already */
    waiting_begin_pass(&waiting);
    expect_next(&waiting, &batch, &a[0]);
    expect_next(&waiting, &batch, &b);
    expect_next(&waiting, &batch, &c);
    expect_next(&waiting, &batch, &a[1]);
    waiting_add(&waiting, &a[1].waiter, WAITING_ANY, 0);
    expect_next(&waiting, &batch, &a[2]);
    expect_next(&waiting, &batch, NULL); /* once a pass */
    waiting_begin_pass(&waiting);
    expect_next(&waiting, &batch, &a[1]);
    assert_int_equal(waiting.count, 0);
    users_finish(&users);
}

static void one_without_a_share_is_passed_over(void **state)
{
    struct users users;
    struct batch batch = open_batch(&users);
    struct waiting waiting = {0};
    struct producer one, two;

    (void)state;
    waiting_init(&waiting);
    join(&users, &one, 1000);
    join(&users, &two, 1001);
    waiting_add(&waiting, &one.waiter, WAITING_ANY, 0);
    waiting_add(&waiting, &two.waiter, WAITING_ANY, 0);
    use(&one, SHARED);
    waiting_begin_pass(&waiting);
    expect_next(&waiting, &batch, &two);
    expect_next(&waiting, &batch, NULL);
    assert_true(one.waiter.is_waiting);
    waiting_remove(&waiting, &one.waiter);
    waiting_remove(&waiting, &one.waiter);
    assert_int_equal(waiting.count, 0);
    users_finish(&users);
}

static void a_large_message_is_not_overtaken_in_its_lane(void **state)
{
    struct users users;
    struct batch batch = open_batch(&users);
    struct waiting waiting = {0};
    struct producer large, small, elsewhere;

    (void)state;
    waiting_init(&waiting);
    join(&users, &large, 1000);
    join(&users, &small, 1001);
    join(&users, &elsewhere, 1002);
    waiting_add(&waiting, &large.waiter, 0,
                UINT64_C(1) << 40); /* there is no room for so much */
    waiting_add(&waiting, &small.waiter, 0, 100);
    waiting_add(&waiting, &elsewhere.waiter, WAITING_ANY, 0);
    assert_true(waiting_has_lane(&waiting, 0));
    assert_false(waiting_has_lane(&waiting, 1));
    waiting_begin_pass(&waiting);
    expect_next(&waiting, &batch, &elsewhere);
    expect_next(&waiting, &batch, NULL);
    waiting_forget_lanes(&waiting); /* other limits: each is offered once to find its lane */
    assert_false(waiting_has_lane(&waiting, 0));
    expect_next(&waiting, &batch, &large);
    expect_next(&waiting, &batch, &small);
    users_finish(&users);
}

static void turns_count_across_lanes(void **state)
{
    struct users users;
    struct batch batch = open_batch(&users);
    struct waiting waiting = {0};
    struct producer first, second, third;

    (void)state;
    waiting_init(&waiting);
    join(&users, &first, 1000);
    join(&users, &second, 1001);
    join(&users, &third, 1002);
    waiting_add(&waiting, &first.waiter, 0, 100);
    first.waiter.turn = 1;
    waiting_add(&waiting, &second.waiter, WAITING_ANY, 0);
    second.waiter.turn = 2;
    waiting_add(&waiting, &third.waiter, 0, 100);
    third.waiter.turn = 3;
    waiting_begin_pass(&waiting);
    expect_next(&waiting, &batch, &first);
    expect_next(&waiting, &batch, &second);
    expect_next(&waiting, &batch, &third);
    users_finish(&users);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(all_connections_of_a_uid_are_one_user),
        FAKES_TEST(users_without_a_client_are_kept_within_a_bound),
        FAKES_TEST(
            beside_clients_that_send_little_a_batch_is_filled_for_no_longer_than_a_commit),
        FAKES_TEST(one_served_whole_beside_one_that_waits_is_noted),
        FAKES_TEST(turns_go_round_by_user_once_a_pass),
        FAKES_TEST(one_without_a_share_is_passed_over),
        FAKES_TEST(a_large_message_is_not_overtaken_in_its_lane),
        FAKES_TEST(turns_count_across_lanes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
