/* SPDX-License-Identifier: MIT */
/*
 * test_poison.c - a message at which the broker closes ends, and no innocent one does
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/gateway/gateway-private.h"
#include "daemon/ingress/connection.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

/* A broker that closes always at some, or by chance, or after so many answers: then at whatever
 * comes, on so many connections. */
struct broker {
    uint32_t random;
    unsigned percent;
    unsigned quota; /* answers; 0: no limit */
    unsigned pause; /* connections */
    unsigned used, closed;
    unsigned bad_every; /* message of so many; 0: none */
    unsigned bad_until; /* the last bad one */
    unsigned closings;
};

static bool broker_closes(struct broker *broker, uint64_t id)
{
    broker->random = broker->random * 1664525 + 1013904223;
    if (broker->bad_every > 0 && id % broker->bad_every == 0 && id <= broker->bad_until)
        return true;
    if ((broker->random >> 16) % 100 < broker->percent)
        return true;
    if (broker->quota == 0 || broker->used++ < broker->quota)
        return false;
    if (++broker->closed >= broker->pause)
        broker->used = broker->closed = 0;
    return true;
}

/* One by one, until it closes: what came behind that one is unanswered. */
static void serve_window(struct broker *broker)
{
    uint64_t sent[FAKES_SENT_MAX];
    unsigned count = fakes.sent_count;
    bool is_over = false;

    memcpy(sent, fakes.sent, sizeof(sent));
    for (unsigned i = 0; i < count; i++) {
        if (sent[i] == 0)
            continue;
        if (is_over) {
            fakes_answer(sent[i], UPLINK_UNKNOWN, -1);
        } else if (broker_closes(broker, sent[i])) {
            is_over = true;
            fakes_close_at(sent[i], -1);
        } else {
            fakes_answer(sent[i], UPLINK_DELIVERED, -1);
        }
    }
    fakes.sent_count = 0;
    broker->closings += is_over;
    if (is_over)
        fakes_pass_time(1000);
    (void)fakes_take_trace();
    fakes_forget_log();
    if (fakes.gateway->forward.is_refill_armed)
        fakes_refill();
    else
        fakes_edge();
}

static unsigned count_ended(enum spool_outcome outcome)
{
    return (unsigned)fakes_ledger().ended[outcome];
}

/* Until all have ended, or so many rounds. Return: how many were rejected. */
static unsigned serve(void **state, struct broker *broker, unsigned count, unsigned rounds)
{
    struct connection *connection;
    unsigned rejected;

    assert_int_equal(fakes_setup(state), 0);
    (void)fakes_open("");
    connection = fakes_connect("one", 1000);
    fakes.room = 0;
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fakes_publish(connection, "plant/1", "payload").kind,
                         CONNECTION_ACCEPT);
    fakes_edge();
    fakes.room = 100;
    fakes_edge();
    for (unsigned i = 0; i < rounds; i++) {
        if (count_ended(SPOOL_DELIVERED) + count_ended(SPOOL_REJECTED) == count)
            break;
        serve_window(broker);
        if (i % 16 == 0) /* a commit */
            fakes_edge();
    }
    fakes_edge();
    rejected = count_ended(SPOOL_REJECTED);
    if (rejected + count_ended(SPOOL_DELIVERED) < count)
        print_message("left after %u rounds: %u\n", rounds,
                      count - rejected - count_ended(SPOOL_DELIVERED));
    assert_int_equal(fakes_teardown(state), 0);
    return rejected;
}

static void a_broker_that_closes_by_chance_condemns_nothing(void **state)
{
    static const unsigned percents[] = {50, 35, 20, 10, 5};

    for (unsigned i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        unsigned rejected = 0, closings = 0;
        for (uint32_t seed = 1; seed <= 5; seed++) {
            struct broker broker = {.random = seed * 7919, .percent = percents[i]};
            rejected += serve(state, &broker, 150, 20000);
            closings += broker.closings;
        }
        print_message("%u %%: %u closings, %u rejected\n", percents[i], closings, rejected);
        assert_int_equal(rejected, 0);
    }
}

static void a_quota_condemns_nothing(void **state)
{
    unsigned rejected = 0;

    for (unsigned quota = 1; quota <= 16; quota++) {
        for (unsigned pause = 1; pause <= 5; pause += 2) {
            struct broker broker = {.quota = quota, .pause = pause};
            unsigned now = serve(state, &broker, 150, 20000);
            if (now > 0)
                print_message("quota %u, closes %u times: %u rejected\n", quota, pause, now);
            rejected += now;
        }
    }
    assert_int_equal(rejected, 0);
}

static void bad_ones_cost_few_closings(void **state)
{
    struct broker one = {.bad_every = 50, .bad_until = 50};
    struct broker first = {.bad_every = 1, .bad_until = 1};
    struct broker burst = {.bad_every = 5, .bad_until = 500};

    assert_int_equal(serve(state, &one, 200, 1000), 1);
    assert_int_equal(one.closings, 4);
    assert_int_equal(serve(state, &first, 200, 1000), 1);
    assert_int_equal(first.closings, 4);
    assert_int_equal(serve(state, &burst, 700, 10000), 100);
    print_message("100 bad ones: %u closings\n", burst.closings);
    assert_in_range(burst.closings, 100, 3 * 100);
}

/* It takes longer, and is decided rightly. */
static void a_broker_that_closes_by_chance_too_condemns_only_the_bad_one(void **state)
{
    for (uint32_t seed = 1; seed <= 4; seed++) {
        struct broker broker = {
            .random = seed * 7919, .percent = 3, .bad_every = 50, .bad_until = 50};
        assert_int_equal(serve(state, &broker, 700, 20000), 1);
        assert_in_range(broker.closings, 5, 150);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broker_that_closes_by_chance_condemns_nothing),
        cmocka_unit_test(a_quota_condemns_nothing),
        cmocka_unit_test(bad_ones_cost_few_closings),
        cmocka_unit_test(a_broker_that_closes_by_chance_too_condemns_only_the_bad_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
