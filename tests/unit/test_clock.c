/*
 * test_clock.c - reading, formatting and parsing of times
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/clock.h"

#define DAY_MS INT64_C(86400000)

static void a_reading_is_close_to_the_kernels_clocks(void **state)
{
    struct clock_reading reading;
    struct timespec before;
    struct timespec after;

    (void)state;
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &before), 0);
    clock_read(&reading);
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &after), 0);
    assert_true(reading.boot_ms >= before.tv_sec * 1000 + before.tv_nsec / 1000000);
    assert_true(reading.boot_ms <= after.tv_sec * 1000 + after.tv_nsec / 1000000);
    assert_true(reading.wall_ms / 1000 - time(NULL) <= 2);
    assert_true(time(NULL) - reading.wall_ms / 1000 <= 2);
}

static void the_monotonic_clock_is_the_kernels_in_microseconds(void **state)
{
    struct timespec before;
    struct timespec after;
    uint64_t us;

    (void)state;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &before), 0);
    us = clock_monotonic_us();
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &after), 0);
    assert_true(us >= (uint64_t)before.tv_sec * 1000000 + (uint64_t)before.tv_nsec / 1000);
    assert_true(us <= (uint64_t)after.tv_sec * 1000000 + (uint64_t)after.tv_nsec / 1000);
}

static void every_day_until_the_year_9999_is_written_as_the_c_library_does(void **state)
{
    char expected[64];
    char text[CLOCK_TEXT_MAX];

    (void)state;
    for (int64_t day = 0; day < 2932897; day += day < 100000 ? 1 : 13) {
        int64_t wall_ms = day * DAY_MS + (day * 7919 + 1) % DAY_MS;
        time_t seconds = (time_t)(wall_ms / 1000);
        struct tm tm;
        int64_t back = -1;
        size_t n;

        assert_non_null(gmtime_r(&seconds, &tm));
        n = strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &tm);
        (void)snprintf(expected + n, sizeof expected - n, ".%03dZ", (int)(wall_ms % 1000));
        clock_format(wall_ms, text);
        assert_string_equal(text, expected);
        assert_true(clock_parse(text, &back));
        assert_int_equal(back, wall_ms);
    }
}

static void times_outside_the_range_are_written_as_its_ends(void **state)
{
    char text[CLOCK_TEXT_MAX];

    (void)state;
    clock_format(-1, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format(INT64_MIN, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
}

static void text_that_is_no_such_time_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "now",
        "2026-11-01",
        "2026-11-01T12:34:56Z",
        "2026-11-01T12:34:56.789",
        "2026-11-01T12:34:56.789z",
        "2026-11-01 12:34:56.789Z",
        "2026-11-01T12:34:56.789Z ",
        "2026-13-01T12:34:56.789Z",
        "2026-00-01T12:34:56.789Z",
        "2026-11-00T12:34:56.789Z",
        "2026-11-31T12:34:56.789Z",
        "2026-02-29T12:34:56.789Z",
        "2100-02-29T12:34:56.789Z",
        "2026-11-01T24:00:00.000Z",
        "2026-11-01T12:60:00.000Z",
        "2026-11-01T12:00:60.000Z",
        "1969-12-31T23:59:59.999Z",
        "+026-11-01T12:34:56.789Z",
    };
    int64_t wall_ms = 42;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(clock_parse(wrong[i], &wall_ms));
    assert_int_equal(wall_ms, 42);
    assert_true(clock_parse("2024-02-29T00:00:00.000Z", &wall_ms));
    assert_int_equal(wall_ms, INT64_C(1709164800000));
}

static void the_boot_id_is_an_uuid_and_stays_the_same(void **state)
{
    char first[CLOCK_BOOT_ID_MAX];
    char second[CLOCK_BOOT_ID_MAX];

    (void)state;
    clock_boot_id(first);
    clock_boot_id(second);
    assert_string_equal(first, second);
    assert_int_equal(strlen(first), 36);
    assert_int_equal(first[8], '-');
}

static void spans_are_told_in_two_units_at_most(void **state)
{
    static const struct {
        int64_t span_ms;
        const char *text;
    } table[] = {
        {0, "0 ms"},
        {250, "250 ms"},
        {1000, "1 s"},
        {12999, "12 s"},
        {60000, "1 min"},
        {61000, "1 min 1 s"},
        {60999, "1 min"},
        {3600000, "1 h"},
        {3600000 + 59000, "1 h"},
        {2 * 3600000 + 5 * 60000, "2 h 5 min"},
        {3 * DAY_MS + 4 * 3600000 + 999, "3 d 4 h"},
        {3 * DAY_MS, "3 d"},
        {-1500, "-1 s"},
        {INT64_MIN, "-106751991167 d 7 h"},
        {INT64_MAX, "106751991167 d 7 h"},
    };
    char text[CLOCK_SPAN_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        clock_span(table[i].span_ms, text);
        assert_string_equal(text, table[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reading_is_close_to_the_kernels_clocks),
        cmocka_unit_test(the_monotonic_clock_is_the_kernels_in_microseconds),
        cmocka_unit_test(every_day_until_the_year_9999_is_written_as_the_c_library_does),
        cmocka_unit_test(times_outside_the_range_are_written_as_its_ends),
        cmocka_unit_test(text_that_is_no_such_time_is_refused),
        cmocka_unit_test(the_boot_id_is_an_uuid_and_stays_the_same),
        cmocka_unit_test(spans_are_told_in_two_units_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
