/* SPDX-License-Identifier: MIT */
/*
 * test_slots.c - the numbers of messages in flight, which never come round
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/uplink/uplink-private.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/broker_fake.h"
#include "tests/support/uplink_fixture.h"

#define WINDOW 8

/* --- on 32 and on 64 bits ----------------------------------------------------- */

static void an_index_has_the_bits_that_the_window_needs(void **state)
{
    (void)state;
    assert_int_equal(uplink_index_bits(1), 1);
    assert_int_equal(uplink_index_bits(2), 1);
    assert_int_equal(uplink_index_bits(3), 2);
    assert_int_equal(uplink_index_bits(512), 9);
    assert_int_equal(uplink_index_bits(513), 10);
    assert_int_equal(uplink_index_bits(10000), 14);
}

static void a_generation_has_all_other_bits_of_a_pointer(void **state)
{
    (void)state;
    for (unsigned bits = 1; bits <= 14; bits++) {
        assert_int_equal(uplink_generation_max(32, bits), (UINT32_MAX >> bits));
        assert_int_equal(uplink_generation_max(64, bits), (UINT64_MAX >> bits));
    }
}

/* --- at the end of the numbers ------------------------------------------------ */

static void go_online_with_uses(struct fixture *f, uint64_t uses)
{
    f->settings.window = WINDOW;
    go_online(f);
    for (unsigned i = 0; i < WINDOW; i++)
        f->uplink->slots.array[i].generation = f->uplink->slots.generation_max - uses;
}

static void deliver(struct fixture *f, unsigned count)
{
    f->refills = true;
    f->goal = (unsigned)f->next_id + count;
    refill(f);
    wait_for(f, has_goal);
    assert_int_equal(f->kinds[UPLINK_DELIVERED], f->answers);
    assert_each_once(f);
}

static bool is_online_again(struct fixture *f)
{
    return is_online(f) && link_of(f).connects == 2;
}

static void slots_are_used_in_turn(void **state)
{
    struct fixture *f = *state;

    f->settings.window = WINDOW;
    go_online(f);
    for (unsigned i = 0; i < 3 * WINDOW; i++)
        deliver(f, 1);
    for (unsigned i = 0; i < WINDOW; i++)
        assert_int_equal(f->uplink->slots.array[i].generation, 3);
}

static void the_connection_is_renewed_before_the_numbers_are_used_up(void **state)
{
    struct fixture *f = *state;

    go_online_with_uses(f, 100);
    deliver(f, 100 * WINDOW);
    wait_for(f, is_online_again);
    assert_int_equal(link_of(f).late_answers, 0);
    deliver(f, 100 * WINDOW);
    assert_int_equal(link_of(f).connects, 2);
    for (unsigned i = 0; i < WINDOW; i++)
        assert_true(f->uplink->slots.array[i].generation <= 200);
}

static void a_number_that_would_come_round_is_not_used(void **state)
{
    struct fixture *f = *state;

    go_online_with_uses(f, 1);
    f->broker.withholds_acks = true;
    assert_int_equal(send_text(f, "t", "the last one of its slot", 1), 0);
    f->uplink->slots.array[1].generation = f->uplink->slots.generation_max;
    assert_int_equal(send_text(f, "t", "one too many", 1), UPLINK_E_FULL);
    assert_int_equal(link_of(f).in_flight, 1);
    f->goal = 1;
    wait_for(f, has_published);
    broker_acknowledge(&f->broker);
    wait_for(f, is_online_again);
    f->broker.withholds_acks = false;
    deliver(f, WINDOW);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_has_the_bits_that_the_window_needs),
        cmocka_unit_test(a_generation_has_all_other_bits_of_a_pointer),
        CASE(slots_are_used_in_turn),
        CASE(the_connection_is_renewed_before_the_numbers_are_used_up),
        CASE(a_number_that_would_come_round_is_not_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
