/* SPDX-License-Identifier: MIT */
/*
 * test_turns.c - clients that wait take turns: the list, and what connections see of it
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
#include "daemon/gateway/waiting.h"
#include "daemon/ingress/connection.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/gateway_fakes.h"

#define SHARED (GATEWAY_BATCH_MESSAGES * 4 / 5)
#define BLOCKS "retention: { max_messages = 1; when_full = \"block\"; };"

/* ---- waiting.c ---- */

/* A client as waiting.c and batch.c know it. */
struct producer {
    struct user *user;
    struct share share;
    struct waiter waiter;
};

static void join(struct users *users, struct producer *producer, uid_t uid)
{
    memset(producer, 0, sizeof(*producer));
    producer->user = fakes_add_client(users, uid);
    producer->waiter = (struct waiter){.user = producer->user, .share = &producer->share};
}

static struct batch open_batch(struct users *users)
{
    struct gateway *gateway = fakes_open("");

    memset(users, 0, sizeof(*users));
    users_init(users);
    return (struct batch){.spool = gateway->spool, .users = users};
}

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
    one.share.messages = one.user->share.messages = SHARED;
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

/* ---- connections ---- */

/* One place in the lane at each edge: who gets it? */
static void expect_turn(struct connection *connection, uint64_t *id)
{
    fakes_answer((*id)++, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(connection->verdict.kind, CONNECTION_ACCEPT);
    fakes_edge(); /* it is committed, and forwarded */
}

static void those_that_wait_for_a_lane_take_turns(void **state)
{
    struct connection *bulk[3], *single;
    uint64_t id = 1;

    (void)state;
    (void)fakes_open(BLOCKS);
    fakes_connect_many(bulk, 3, 1000);
    for (unsigned i = 0; i < 3; i++)
        (void)fakes_publish(bulk[i], "a", "x");
    assert_int_equal(bulk[0]->verdict.kind, CONNECTION_ACCEPT);
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
    struct connection *crowd[3], *other;
    uint64_t id = 1;

    (void)state;
    (void)fakes_open(BLOCKS);
    fakes_connect_many(crowd, 3, 1000);
    for (unsigned i = 0; i < 3; i++)
        (void)fakes_publish(crowd[i], "a", "x");
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

/* There is room, which is for the one that waits. */
static void a_new_message_waits_behind_those_that_wait_for_its_lane(void **state)
{
    struct connection *one, *two;

    (void)state;
    (void)fakes_open("retention: { max_messages = 2; when_full = \"block\"; };");
    one = fakes_connect("one", 1000);
    two = fakes_connect("two", 1000);
    (void)fakes_publish(one, "a", "x");
    (void)fakes_publish(one, "a", "x");
    assert_int_equal(fakes_publish(one, "a", "x").kind, CONNECTION_BLOCK);
    fakes_edge();
    fakes_answer(1, UPLINK_DELIVERED, -1);
    assert_int_equal(fakes_publish(two, "a", "x").kind, CONNECTION_BLOCK);
    fakes_edge();
    assert_int_equal(one->verdict.kind, CONNECTION_ACCEPT);
    assert_int_equal(two->resumed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(turns_go_round_by_user_once_a_pass),
        FAKES_TEST(one_without_a_share_is_passed_over),
        FAKES_TEST(a_large_message_is_not_overtaken_in_its_lane),
        FAKES_TEST(turns_count_across_lanes),
        FAKES_TEST(those_that_wait_for_a_lane_take_turns),
        FAKES_TEST(turns_go_round_by_user),
        FAKES_TEST(a_new_message_waits_behind_those_that_wait_for_its_lane),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
