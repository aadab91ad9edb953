/* SPDX-License-Identifier: MIT */
/*
 * test_html.c - tests of texts, numbers and times on a page of HTML
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report/html.h"

static void expect_text(const char *text, const char *wanted)
{
    char *written = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&written, &size);

    assert_non_null(stream);
    html_text(stream, text);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(written, wanted);
    free(written);
}

static void a_text_is_neither_markup_nor_hidden(void **state)
{
    (void)state;
    expect_text("plant/1", "plant/1");
    expect_text("<script>alert('1')</script>",
                "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;");
    expect_text("\" onload=\"x&y", "&quot; onload=&quot;x&amp;y");
    expect_text("a\x1b[31m\n", "a\\x1B[31m\\x0A");
    expect_text("\xe2\x80\xae"
                "evil",
                "\\u{202E}evil");
    expect_text("\xff<", "\\xFF&lt;");
    expect_text("\xc3\xbc", "\xc3\xbc");
}

static void numbers_have_one_form(void **state)
{
    char text[HTML_TEXT_MAX];

    (void)state;
    assert_string_equal(html_number(0, text), "0");
    assert_string_equal(html_number(999, text), "999");
    assert_string_equal(html_number(1000, text), "1,000");
    assert_string_equal(html_number(UINT64_MAX, text), "18,446,744,073,709,551,615");
    assert_string_equal(html_share(0, 0, text), "0 %");
    assert_string_equal(html_share(5, 5, text), "100 %");
    assert_string_equal(html_share(1, 3, text), "33.3 %");
    assert_string_equal(html_share(999999, 1000000, text), "99.9 %");
    assert_string_equal(html_share(1, 1000000, text), "< 0.1 %");
}

static void times_are_local_and_the_zone_is_named(void **state)
{
    char text[HTML_TEXT_MAX];
    const int64_t wall_ms = INT64_C(1793525696789); /* 2026-11-01T09:34:56.789Z */

    (void)state;
    assert_string_equal(html_time(wall_ms, 0, 0, text), "2026-11-01 09:34:56");
    assert_string_equal(html_time(wall_ms, -10 * 3600000, 0, text), "2026-10-31 23:34:56");
    assert_string_equal(html_time(wall_ms - 56789, 0, 1, text), "2026-11-01 09:34");
    assert_string_equal(html_time(INT64_MAX / 2, 0, 0, text), "after the year 9999");
    assert_string_equal(html_zone(0, text), "UTC");
    assert_string_equal(html_zone(19800000, text), "UTC+05:30");
    assert_string_equal(html_zone(-12600000, text), "UTC-03:30");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_neither_markup_nor_hidden),
        cmocka_unit_test(numbers_have_one_form),
        cmocka_unit_test(times_are_local_and_the_zone_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
