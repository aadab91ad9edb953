/* SPDX-License-Identifier: MIT */
/*
 * test_pacer.c - the token buckets: bursts, debts, changed rates
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/uplink/pacer.h"
#include "daemon/uplink/settings.h"

#define NOW 1000000

/* How many messages of @bytes are sent until @until_ms, as soon as they may be. */
static unsigned send_until(struct pacer *pacer,
                           const struct uplink_rate *rate,
                           int64_t until_ms,
                           uint64_t bytes)
{
    int64_t now = NOW;
    unsigned sent = 0;

    for (;;) {
        int64_t wait_ms = pacer_wait_ms(pacer, rate, now);

        assert_true(wait_ms >= 0);
        now += wait_ms;
        if (now > NOW + until_ms)
            return sent;
        pacer_charge(pacer, rate, now, bytes);
        sent++;
    }
}

static void a_rate_of_messages_allows_a_second_at_once_and_then_the_rate(void **state)
{
    const struct uplink_rate rate = {.messages = 5};
    struct pacer pacer = {0};

    (void)state;
    assert_int_equal(send_until(&pacer, &rate, 0, 100), 5);
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW), 200);
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW + 199), 1);
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW + 200), 0);
    pacer = (struct pacer){0};
    assert_int_equal(send_until(&pacer, &rate, 60000, 100), 5 + 60 * 5);
}

static void a_message_above_the_rate_of_bytes_goes_and_is_paid_for_afterwards(void **state)
{
    const struct uplink_rate rate = {.bytes = 1000};
    struct pacer pacer = {0};

    (void)state;
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW), 0);
    pacer_charge(&pacer, &rate, NOW, 256000);
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW), 255001);
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW + 255001), 0);
}

static void bytes_keep_to_their_rate(void **state)
{
    const struct uplink_rate rate = {.bytes = 1000};
    struct pacer pacer = {0};

    (void)state;
    /* A second at once, sixty more, and what the last message takes beyond. */
    assert_in_range(send_until(&pacer, &rate, 60000, 300), 61000 / 300, 61000 / 300 + 1);
}

static void the_slower_of_both_rates_decides(void **state)
{
    const struct uplink_rate rate = {.messages = 100, .bytes = 1000};
    struct pacer pacer = {0};

    (void)state;
    assert_in_range(send_until(&pacer, &rate, 60000, 100), 610, 611);
    pacer = (struct pacer){0};
    assert_int_equal(send_until(&pacer, &rate, 60000, 1), 6100);
}

static void an_idle_bucket_fills_to_one_second_only(void **state)
{
    const struct uplink_rate rate = {.messages = 3, .bytes = (uint64_t)1 << 40};
    struct pacer pacer = {0};
    unsigned sent = 0;

    (void)state;
    pacer_charge(&pacer, &rate, NOW, 1);
    while (pacer_wait_ms(&pacer, &rate, INT64_MAX / 2) == 0) {
        pacer_charge(&pacer, &rate, INT64_MAX / 2, 1);
        sent++;
    }
    assert_int_equal(sent, 3);
}

static void a_changed_rate_applies_and_a_debt_stays(void **state)
{
    struct uplink_rate rate = {.bytes = 1000};
    struct pacer pacer = {0};

    (void)state;
    pacer_charge(&pacer, &rate, NOW, 101000);
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW), 100001);
    rate.bytes = 10000;
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW), 10001);
    rate.bytes = 0;
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW), 0);
    pacer_charge(&pacer, &rate, NOW, UINT32_MAX);
    rate.bytes = 1000;
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW), 0);
    rate.messages = 10;
    assert_int_equal(send_until(&pacer, &rate, 0, 1), 10);
    rate.messages = 1; /* what is left of the burst is cut to the new one */
    pacer.messages.content = 10000;
    assert_int_equal(send_until(&pacer, &rate, 0, 1), 1);
}

static void there_is_no_limit_once_a_charge_knows_that_the_rates_have_gone(void **state)
{
    struct uplink_rate rate = {.bytes = 0};
    struct pacer pacer = {.filled_boot_ms = 0};

    (void)state;
    assert_false(pacer_has_limit(&pacer, &rate));
    rate.messages = 1;
    assert_true(pacer_has_limit(&pacer, &rate));
    pacer_charge(&pacer, &rate, NOW, 1);
    rate = (struct uplink_rate){.bytes = 1000};
    assert_true(pacer_has_limit(&pacer, &rate));
    pacer_charge(&pacer, &rate, NOW, 101000);
    rate.bytes = 0;
    assert_true(pacer_has_limit(&pacer, &rate));
    pacer_charge(&pacer, &rate, NOW, 1);
    assert_false(pacer_has_limit(&pacer, &rate));
}

static void a_clock_that_stands_still_or_steps_back_gives_nothing(void **state)
{
    const struct uplink_rate rate = {.messages = 1};
    struct pacer pacer = {0};

    (void)state;
    pacer_charge(&pacer, &rate, NOW, 1);
    assert_int_equal(pacer_wait_ms(&pacer, &rate, NOW), 1000);
    assert_true(pacer_wait_ms(&pacer, &rate, NOW - 500) >= 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_of_messages_allows_a_second_at_once_and_then_the_rate),
        cmocka_unit_test(a_message_above_the_rate_of_bytes_goes_and_is_paid_for_afterwards),
        cmocka_unit_test(bytes_keep_to_their_rate),
        cmocka_unit_test(the_slower_of_both_rates_decides),
        cmocka_unit_test(an_idle_bucket_fills_to_one_second_only),
        cmocka_unit_test(a_changed_rate_applies_and_a_debt_stays),
        cmocka_unit_test(there_is_no_limit_once_a_charge_knows_that_the_rates_have_gone),
        cmocka_unit_test(a_clock_that_stands_still_or_steps_back_gives_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
