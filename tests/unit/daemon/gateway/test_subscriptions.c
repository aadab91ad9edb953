/* SPDX-License-Identifier: MIT */
/*
 * test_subscriptions.c - who may subscribe to what, and what is kept of it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/view.h"
#include "daemon/gateway/subscriptions.h"
#include "daemon/mqtt/packet.h"

static bool may(const char *client_id, bool is_admin, const char *filter)
{
    assert_true(packet_filter_is_valid(view_of_text(filter)));
    return subscriptions_may(view_of_text(filter), view_of_text(client_id), is_admin);
}

static void a_producer_may_subscribe_to_what_is_its_own(void **state)
{
    static const char *const own[] = {
        "$SYS/spool/status",
        "$SYS/spool/outcome/a",
        "$SYS/spool/outcome/a/#",
        "$SYS/spool/outcome/a/+/b",
        "$SYS/spool/delivered/a",
        "$SYS/spool/delivered/a/#",
        "$CONTROL/spool/v1/response",
        "$CONTROL/spool/v1/response/#",
        "$CONTROL/spool/v1/response/x/+",
    };
    static const char *const foreign[] = {
        "#",
        "+/spool/status",
        "$SYS/#",
        "$SYS/spool/#",
        "$SYS/spool/+",
        "$SYS/spool/status/#",
        "$SYS/spool/status/x",
        "$SYS/spool/outcome",
        "$SYS/spool/outcome/#",
        "$SYS/spool/outcome/+",
        "$SYS/spool/outcome/+/a",
        "$SYS/spool/outcome/b",
        "$SYS/spool/outcome/ab",
        "$SYS/spool/outcome/",
        "$SYS/spool/delivered/b",
        "$SYS/spool/delivered/#",
        "$CONTROL/spool/v1",
        "$CONTROL/spool/v1/#",
        "$CONTROL/spool/v1/+",
        "$CONTROL/spool/v1/responses",
        "plant/a",
        "$SYS/broker/uptime",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (!may("a", false, own[i]))
            fail_msg("%s is refused", own[i]);
    }
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        if (may("a", false, foreign[i]))
            fail_msg("%s is granted", foreign[i]);
    }
}

static void an_administrator_may_subscribe_to_the_outcomes_of_all(void **state)
{
    (void)state;
    assert_true(may("a", true, "$SYS/spool/outcome/#"));
    assert_true(may("a", true, "$SYS/spool/delivered/#"));
    assert_true(may("a", true, "$SYS/spool/outcome/+"));
    assert_true(may("a", true, "$SYS/spool/outcome/b"));
    assert_true(may("+", true, "$SYS/spool/outcome/+"));
    assert_false(may("a", true, "$SYS/spool/#"));
    assert_false(may("a", true, "#"));
    assert_false(may("a", true, "$CONTROL/spool/v1/#"));
    assert_false(may("a", true, "plant/#"));
}

static void a_client_id_is_no_way_to_a_wildcard(void **state)
{
    (void)state;
    assert_false(may("+", false, "$SYS/spool/outcome/+"));
    assert_false(may("#", false, "$SYS/spool/outcome/#"));
    assert_false(may("a/+", false, "$SYS/spool/outcome/a/+"));
    assert_false(may("a/#", false, "$SYS/spool/delivered/a/#"));
    assert_true(may("a/b", false, "$SYS/spool/outcome/a/b"));
    assert_false(may("a/b", false, "$SYS/spool/outcome/a"));
}

static uint8_t add(struct subscriptions *subscriptions, const char *filter, uint8_t qos)
{
    bool is_new;

    return subscriptions_add(subscriptions, view_of_text(filter), qos, &is_new);
}

static void the_highest_qos_of_the_filters_that_match_counts(void **state)
{
    struct subscriptions subscriptions;
    struct view topic = view_of_text("$SYS/spool/outcome/a");

    (void)state;
    subscriptions_init(&subscriptions);
    assert_int_equal(subscriptions_qos(&subscriptions, topic), SUBSCRIPTIONS_NONE);
    assert_int_equal(add(&subscriptions, "$SYS/spool/outcome/a", 0), 0);
    assert_int_equal(subscriptions_qos(&subscriptions, topic), 0);
    assert_int_equal(add(&subscriptions, "$SYS/spool/outcome/a/#", 2), 1);
    assert_int_equal(subscriptions_qos(&subscriptions, topic), 1);
    assert_int_equal(subscriptions_qos(&subscriptions, view_of_text("$SYS/spool/outcome/b")),
                     SUBSCRIPTIONS_NONE);
    assert_true(subscriptions_remove(&subscriptions, view_of_text("$SYS/spool/outcome/a/#")));
    assert_false(subscriptions_remove(&subscriptions, view_of_text("$SYS/spool/outcome/a/#")));
    assert_int_equal(subscriptions_qos(&subscriptions, topic), 0);
    subscriptions_done(&subscriptions);
}

static void subscribing_again_replaces_the_qos(void **state)
{
    struct subscriptions subscriptions;
    struct view filter = view_of_text("$SYS/spool/status");
    bool is_new = false;

    (void)state;
    subscriptions_init(&subscriptions);
    assert_int_equal(subscriptions_add(&subscriptions, filter, 1, &is_new), 1);
    assert_true(is_new);
    assert_int_equal(subscriptions_add(&subscriptions, filter, 0, &is_new), 0);
    assert_false(is_new);
    assert_int_equal(subscriptions.count, 1);
    assert_int_equal(subscriptions_qos(&subscriptions, filter), 0);
    subscriptions_done(&subscriptions);
    assert_int_equal(subscriptions.count, 0);
}

static void their_number_and_their_size_are_bounded(void **state)
{
    struct subscriptions subscriptions;
    char filter[SUBSCRIPTIONS_FILTER_MAX + 2];

    (void)state;
    subscriptions_init(&subscriptions);
    memset(filter, 'x', sizeof(filter));
    filter[sizeof(filter) - 1] = '\0';
    assert_int_equal(add(&subscriptions, filter, 0), MQTT_QUOTA_EXCEEDED);
    filter[sizeof(filter) - 2] = '\0';
    assert_int_equal(add(&subscriptions, filter, 0), 0);
    for (int i = 1; i < SUBSCRIPTIONS_MAX; i++) {
        (void)snprintf(filter, sizeof(filter), "%d", i);
        assert_int_equal(add(&subscriptions, filter, 0), 0);
    }
    assert_int_equal(add(&subscriptions, "one more", 0), MQTT_QUOTA_EXCEEDED);
    assert_int_equal(add(&subscriptions, "1", 1), 1);
    subscriptions_done(&subscriptions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_producer_may_subscribe_to_what_is_its_own),
        cmocka_unit_test(an_administrator_may_subscribe_to_the_outcomes_of_all),
        cmocka_unit_test(a_client_id_is_no_way_to_a_wildcard),
        cmocka_unit_test(the_highest_qos_of_the_filters_that_match_counts),
        cmocka_unit_test(subscribing_again_replaces_the_qos),
        cmocka_unit_test(their_number_and_their_size_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
