/* SPDX-License-Identifier: MIT */
/*
 * test_rewrite.c - topics made of the levels of other topics
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/view.h"
#include "daemon/mqtt/packet.h"
#include "daemon/mqtt/rewrite.h"

static void
expect(const char *filter, const char *target, const char *topic, const char *wanted)
{
    uint8_t memory[64];
    char text[sizeof(memory) + 1] = "";

    assert_null(rewrite_check(filter, target));
    assert_true(packet_topic_matches(filter, view_of_text(topic)));
    size_t size = rewrite_topic(filter, target, view_of_text(topic), memory, sizeof(memory));
    memcpy(text, memory, size);
    assert_string_equal(text, wanted);
}

static void text_stands_for_itself(void **state)
{
    (void)state;
    expect("a", "b", "a", "b");
    expect("#", "$aws/rules/r/b}", "x/y", "$aws/rules/r/b}");
}

static void a_number_stands_for_the_level_of_that_plus(void **state)
{
    (void)state;
    expect("plant/+/temp/+", "{2}/t/{1}", "plant/7/temp/east", "east/t/7");
    expect("+/+", "{1}{1}-{2}", "a/b", "aa-b");
    expect("+", "{1}", "level", "level");
    expect("+/a/+/+", "{1}.{2}.{3}", "/a//x", "..x");
    expect("a/+", "{1}", "a/{1}", "{1}"); /* what was matched is text */
}

static void a_plus_in_tenth_place_has_its_number(void **state)
{
    (void)state;
    expect("+/+/+/+/+/+/+/+/+/+/+", "{11}{10}{1}0", "a/b/c/d/e/f/g/h/i/j/k", "kja0");
}

static void a_hash_stands_for_all_levels_that_follow(void **state)
{
    (void)state;
    expect("plant/#", "x/{#}/y", "plant/1/2/3", "x/1/2/3/y");
    expect("+/#", "{#}/{1}", "a/b/c", "b/c/a");
    expect("#", "{#}", "a/b", "a/b");
    expect("a/#", "{#}", "a//", "/");
}

static void the_parent_of_a_hash_leaves_the_slash_out(void **state)
{
    (void)state;
    expect("plant/#", "x/{#}", "plant", "x");
    expect("plant/#", "{#}/x", "plant", "/x");
    expect("plant/#", "x/{#}", "plant/", "x/"); /* an empty level is one */
    expect("+/#", "{1}/{#}", "a", "a");
    expect("plant/#", "{#}", "plant", "");
}

static void a_result_that_does_not_fit_is_none(void **state)
{
    const struct view topic = view_of_text("abcde");
    uint8_t memory[10];

    (void)state;
    assert_int_equal(rewrite_topic("+", "{1}{1}", topic, memory, 10), 10);
    assert_int_equal(rewrite_topic("+", "{1}{1}", topic, memory, 9), 0);
    assert_int_equal(rewrite_topic("+", "{1}{1}x", topic, memory, 10), 0);
}

static void targets_that_cannot_be_made_are_refused(void **state)
{
    static const char *const pairs[][2] = {
        {"+", ""},      {"+", "a/+"},  {"#", "a/#"},    {"+", "{2}"}, {"+", "{#}"},
        {"#", "{1}"},   {"+", "{0}"},  {"+", "{01}"},   {"+", "{"},   {"+", "{1"},
        {"+", "{x}"},   {"+", "{}"},   {"+", "{-1}"},   {"#", "{#"},  {"+", "{1000}"},
        {"+", "{{1}}"}, {"+", "a{1b"}, {"+/#", "{##}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        assert_non_null(rewrite_check(pairs[i][0], pairs[i][1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_stands_for_itself),
        cmocka_unit_test(a_number_stands_for_the_level_of_that_plus),
        cmocka_unit_test(a_plus_in_tenth_place_has_its_number),
        cmocka_unit_test(a_hash_stands_for_all_levels_that_follow),
        cmocka_unit_test(the_parent_of_a_hash_leaves_the_slash_out),
        cmocka_unit_test(a_result_that_does_not_fit_is_none),
        cmocka_unit_test(targets_that_cannot_be_made_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
