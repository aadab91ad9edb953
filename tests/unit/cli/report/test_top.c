/* SPDX-License-Identifier: MIT */
/*
 * test_top.c - tests of the most frequent of many texts: exact while they fit, and with a
 * stated error after that
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cli/report/top.h"

static struct top top;
static const struct top_entry *entries[TOP_MAX + 1];

static int setup(void **state)
{
    (void)state;
    memset(&top, 0, sizeof(top));
    return 0;
}

static void add_numbered(unsigned number)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "plant/%u", number);
    top_add(&top, text);
}

static void few_texts_are_counted_exactly(void **state)
{
    (void)state;
    assert_int_equal(top_get(&top, 20, entries), 0);
    for (unsigned i = 0; i < TOP_MAX; i++) {
        for (unsigned n = 0; n <= i % 7; n++)
            add_numbered(i);
    }
    assert_false(top.is_inexact);
    assert_int_equal(top_get(&top, 3, entries), 3);
    assert_string_equal(entries[0]->text, "plant/1000"); /* of those with 7 the first by text */
    assert_int_equal(entries[0]->count, 7);
    assert_int_equal(entries[2]->error, 0);
    assert_int_equal(top_get(&top, TOP_MAX, entries), TOP_MAX);
    for (size_t i = 1; i < TOP_MAX; i++)
        assert_true(entries[i - 1]->count >= entries[i]->count);
}

/* 40 heavy ones among 50,000 that come once. */
static void heavy_ones_are_found_among_very_many(void **state)
{
    size_t count;

    (void)state;
    for (unsigned i = 0; i < 50000; i++) {
        add_numbered(100000 + i);
        if (i % 5 == 0)
            add_numbered(i / 5 % 40);
    }
    assert_true(top.is_inexact);
    assert_int_equal(top.total, 60000);
    count = top_get(&top, 40, entries);
    assert_int_equal(count, 40);
    for (size_t i = 0; i < count; i++) {
        assert_true(strlen(entries[i]->text) <= strlen("plant/39"));
        assert_true(entries[i]->count >= 250);
        assert_true(entries[i]->count - entries[i]->error <= 250);
    }
}

static void counts_add_up_to_the_total(void **state)
{
    uint64_t sum = 0;

    (void)state;
    for (unsigned i = 0; i < 30000; i++)
        add_numbered(i * 7919U % 5003U);
    for (size_t i = 0; i < top.used; i++)
        sum += top.entries[i].count;
    assert_int_equal(sum, 30000);
}

static void a_long_text_is_cut_at_a_whole_character(void **state)
{
    char text[600];

    (void)state;
    for (size_t i = 0; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xbc", 2); /* two bytes each */
    text[598] = '\0';
    top_add(&top, text);
    text[597] = '\0'; /* another text with the same beginning */
    top_add(&top, text);
    top_add(&top, "");
    assert_int_equal(top_get(&top, 20, entries), 3);
    assert_string_equal(entries[0]->text, "");
    assert_true(entries[1]->is_cut);
    assert_int_equal(strlen(entries[1]->text), 254);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(few_texts_are_counted_exactly, setup),
        cmocka_unit_test_setup(heavy_ones_are_found_among_very_many, setup),
        cmocka_unit_test_setup(counts_add_up_to_the_total, setup),
        cmocka_unit_test_setup(a_long_text_is_cut_at_a_whole_character, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
