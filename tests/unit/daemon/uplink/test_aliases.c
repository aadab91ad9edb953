/* SPDX-License-Identifier: MIT */
/*
 * test_aliases.c - when a topic alias stands for its topic
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/uplink/uplink-private.h"

static struct uplink_aliases aliases;

static struct uplink_alias_use choose(const char *topic, uint64_t id)
{
    return uplink_alias_choose(&aliases, topic, true, id);
}

static void expect_none(struct uplink_alias_use use)
{
    assert_int_equal(use.number, 0);
    assert_false(use.omits_topic);
}

static void a_broker_that_allows_none_gets_none(void **state)
{
    (void)state;
    uplink_aliases_begin(&aliases, 0);
    expect_none(choose("plant/1", 1));
}

static void the_topic_is_left_out_after_the_acknowledgement_only(void **state)
{
    (void)state;
    uplink_aliases_begin(&aliases, 10);
    struct uplink_alias_use first = choose("plant/1", 1);
    assert_in_range(first.number, 1, 10);
    assert_false(first.omits_topic);
    expect_none(choose("plant/1", 2)); /* in flight: neither */
    uplink_alias_answer(&aliases, first.number, 1, true);
    struct uplink_alias_use later = choose("plant/1", 3);
    assert_int_equal(later.number, first.number);
    assert_true(later.omits_topic);
}

static void a_refused_message_establishes_nothing(void **state)
{
    (void)state;
    uplink_aliases_begin(&aliases, 1);
    assert_int_equal(choose("plant/1", 1).number, 1);
    uplink_alias_answer(&aliases, 1, 1, false);
    struct uplink_alias_use again = choose("plant/1", 2);
    assert_int_equal(again.number, 1);
    assert_false(again.omits_topic);
}

/* The place of @topic for a new one, after as many messages as that takes. */
static struct uplink_alias_use insist(const char *topic, uint64_t id)
{
    struct uplink_alias_use use = {.number = 0};

    for (unsigned i = 0; i < 1000 && use.number == 0; i++)
        use = choose(topic, id);
    return use;
}

static void a_place_in_use_is_given_away_after_a_while_only(void **state)
{
    (void)state;
    uplink_aliases_begin(&aliases, 1);
    (void)choose("plant/1", 1);
    expect_none(insist("plant/2", 2)); /* not confirmed: whose answer is due? */
    uplink_alias_answer(&aliases, 1, 1, true);
    assert_true(choose("plant/1", 3).omits_topic);
    for (unsigned i = 0; i < 10; i++)
        expect_none(choose("plant/2", 4));
    assert_true(choose("plant/1", 5).omits_topic);
    assert_int_equal(insist("plant/2", 6).number, 1);
    uplink_alias_answer(&aliases, 1, 1, true); /* of another topic */
    expect_none(choose("plant/2", 7));
    uplink_alias_answer(&aliases, 1, 6, true);
    assert_true(choose("plant/2", 8).omits_topic);
}

/* Otherwise each would cost the property and save nothing. */
static void more_topics_in_turn_than_places_do_not_drive_one_another_out(void **state)
{
    unsigned omitted = 0;
    unsigned established = 0;
    char topic[32];

    (void)state;
    uplink_aliases_begin(&aliases, 10);
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(topic, sizeof(topic), "plant/%u", i % 50);
        struct uplink_alias_use use = choose(topic, i);
        omitted += use.omits_topic;
        established += use.number > 0 && !use.omits_topic;
        if (use.number > 0 && !use.omits_topic)
            uplink_alias_answer(&aliases, use.number, i, true);
    }
    assert_in_range(omitted, 900, 1000);
    assert_in_range(established, 10, 100);
}

static void qos_0_establishes_nothing_but_may_use(void **state)
{
    (void)state;
    uplink_aliases_begin(&aliases, 1);
    expect_none(uplink_alias_choose(&aliases, "plant/1", false, 1));
    (void)choose("plant/1", 2);
    uplink_alias_answer(&aliases, 1, 2, true);
    assert_true(uplink_alias_choose(&aliases, "plant/1", false, 3).omits_topic);
}

static void topics_too_short_or_too_long_have_none(void **state)
{
    static char topic[ALIAS_TOPIC_MAX + 2];

    (void)state;
    uplink_aliases_begin(&aliases, 10);
    expect_none(choose("abc", 1));
    memset(topic, 't', ALIAS_TOPIC_MAX + 1);
    expect_none(choose(topic, 2));
    topic[ALIAS_TOPIC_MAX] = '\0';
    assert_true(choose(topic, 3).number > 0);
}

static void a_new_connection_knows_none(void **state)
{
    (void)state;
    uplink_aliases_begin(&aliases, 1);
    (void)choose("plant/1", 1);
    uplink_alias_answer(&aliases, 1, 1, true);
    uplink_aliases_begin(&aliases, 1);
    assert_false(choose("plant/1", 2).omits_topic);
}

static void numbers_stay_within_what_the_broker_allows(void **state)
{
    char topic[32];

    (void)state;
    uplink_aliases_begin(&aliases, 3);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(topic, sizeof(topic), "plant/%u", i);
        assert_true(choose(topic, i).number <= 3);
    }
    uplink_aliases_begin(&aliases, 65535);
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(topic, sizeof(topic), "plant/%u", i);
        assert_true(choose(topic, i).number <= ALIASES_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broker_that_allows_none_gets_none),
        cmocka_unit_test(the_topic_is_left_out_after_the_acknowledgement_only),
        cmocka_unit_test(a_refused_message_establishes_nothing),
        cmocka_unit_test(a_place_in_use_is_given_away_after_a_while_only),
        cmocka_unit_test(more_topics_in_turn_than_places_do_not_drive_one_another_out),
        cmocka_unit_test(qos_0_establishes_nothing_but_may_use),
        cmocka_unit_test(topics_too_short_or_too_long_have_none),
        cmocka_unit_test(a_new_connection_knows_none),
        cmocka_unit_test(numbers_stay_within_what_the_broker_allows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
