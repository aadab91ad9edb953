/* SPDX-License-Identifier: MIT */
/*
 * test_clock.c - reading, formatting and parsing of times
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

#include "base/clock.h"

#define DAY_MS INT64_C(86400000)

/* ---- the kernel, as the module sees it ---- */

static struct {
    int64_t wall_shift_s; /* against the true one */
    int64_t boot_shift_s;
    bool forbidden; /* adjtimex, as a sandbox may */
    long max_error_us;
    int status;
    bool file_exists;
    unsigned asked;
} kernel;

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_adjtimex(struct timex *state);
int __wrap_access(const char *path, int mode);

/* With 64-bit times on 32 bits the headers rename the calls. */
int __real___clock_gettime64(clockid_t id, struct timespec *ret) __attribute__((weak));
int __wrap___clock_gettime64(clockid_t id, struct timespec *ret);
int __wrap____adjtimex64(struct timex *state);

int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
    int r = sizeof(time_t) > sizeof(long) ? __real___clock_gettime64(id, ret)
                                          : __real_clock_gettime(id, ret);

    if (id == CLOCK_REALTIME)
        ret->tv_sec += kernel.wall_shift_s;
    if (id == CLOCK_BOOTTIME)
        ret->tv_sec += kernel.boot_shift_s;
    return r;
}

int __wrap_adjtimex(struct timex *state)
{
    kernel.asked++;
    if (kernel.forbidden) {
        errno = EPERM;
        return -1;
    }
    state->maxerror = kernel.max_error_us;
    state->status = kernel.status;
    return kernel.status & STA_UNSYNC ? TIME_ERROR : TIME_OK;
}

int __wrap___clock_gettime64(clockid_t id, struct timespec *ret)
{
    return __wrap_clock_gettime(id, ret);
}

int __wrap____adjtimex64(struct timex *state)
{
    return __wrap_adjtimex(state);
}

int __wrap_access(const char *path, int mode)
{
    (void)mode;
    assert_string_equal(path, "/run/systemd/timesync/synchronized");
    return kernel.file_exists ? 0 : -1;
}

/* A second later, so that the kernel is asked again. */
static bool synchronized_later(void)
{
    struct clock_reading reading;

    kernel.boot_shift_s += 2;
    kernel.wall_shift_s += 2;
    clock_read(&reading);
    return reading.synchronized;
}

static bool synchronized_now(void)
{
    struct clock_reading reading;

    clock_read(&reading);
    return reading.synchronized;
}

static int reset_kernel(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    kernel.max_error_us = 16000000;
    kernel.status = STA_UNSYNC;
    return 0;
}

static void a_reading_is_close_to_the_kernels_clocks(void **state)
{
    struct clock_reading reading;
    struct timespec before;
    struct timespec after;
    time_t wall_s = time(NULL);

    (void)state;
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &before), 0);
    clock_read(&reading);
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &after), 0);
    assert_true(reading.boot_ms >= before.tv_sec * 1000 + before.tv_nsec / 1000000);
    assert_true(reading.boot_ms <= after.tv_sec * 1000 + after.tv_nsec / 1000000);
    assert_true(reading.wall_ms / 1000 - time(NULL) <= 2);
    assert_true(wall_s - reading.wall_ms / 1000 <= 2);
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

/* Each text is made anew, or of that of an earlier time of the same second. */
static void a_time_has_the_same_text_whatever_was_written_before(void **state)
{
    static const int64_t steps_ms[] = {1, 0, 999, -998, 1000, 8000, -8000, 64000, -65999, 7};
    const size_t steps = sizeof(steps_ms) / sizeof(steps_ms[0]);
    int64_t wall_ms = INT64_C(1793536496789);

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        char expected[64], text[CLOCK_TEXT_MAX];
        time_t seconds;
        struct tm tm;

        wall_ms += steps_ms[i * 7 % steps] * (i % 3);
        seconds = (time_t)(wall_ms / 1000);
        assert_non_null(gmtime_r(&seconds, &tm));
        size_t n = strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S", &tm);
        (void)snprintf(expected + n, sizeof(expected) - n, ".%03dZ", (int)(wall_ms % 1000));
        clock_format(wall_ms, text);
        assert_string_equal(text, expected);
    }
    char text[CLOCK_TEXT_MAX];
    clock_format(-1, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format(999, text);
    assert_string_equal(text, "1970-01-01T00:00:00.999Z");
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
        n = strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S", &tm);
        (void)snprintf(expected + n, sizeof(expected) - n, ".%03dZ", (int)(wall_ms % 1000));
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
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
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

static void spans_have_two_units_at_most(void **state)
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
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        clock_format_span(table[i].span_ms, text);
        assert_string_equal(text, table[i].text);
    }
}

static void a_forecast_of_0_means_that_it_is_so_already(void **state)
{
    (void)state;
    assert_int_equal(clock_round_up_s(0), 0);
    assert_int_equal(clock_round_up_s(0.14), 1);
    assert_int_equal(clock_round_up_s(1), 1);
    assert_int_equal(clock_round_up_s(1.01), 2);
    assert_int_equal(clock_round_up_s(1e9 + 0.5), 1000000001);
}

static void the_clock_is_credible_by_the_maximum_error_of_the_kernel(void **state)
{
    (void)state;
    assert_false(synchronized_later());
    kernel.max_error_us = 15999999;
    assert_true(synchronized_later()); /* chrony without rtcsync leaves STA_UNSYNC standing */
    kernel.status = 0;
    assert_true(synchronized_later());
    kernel.max_error_us = 16000000;
    assert_false(synchronized_later());
    kernel.file_exists = true; /* it says that the clock once was right */
    assert_false(synchronized_later());
}

static void where_the_kernel_may_not_be_asked_the_file_of_timesyncd_decides(void **state)
{
    (void)state;
    kernel.forbidden = true;
    assert_false(synchronized_later());
    kernel.file_exists = true;
    assert_true(synchronized_later());
}

static void a_clock_from_before_this_program_is_never_believed(void **state)
{
    (void)state;
    kernel.max_error_us = 1000;
    kernel.status = 0;
    assert_true(synchronized_later());
    kernel.wall_shift_s = -time(NULL) + 100;
    assert_false(synchronized_later());
    kernel.wall_shift_s = 0;
    assert_true(synchronized_later());
}

/* Who sets the clock by hand makes the kernel unsure in the same moment. */
static void a_step_is_noticed_at_once_and_a_quiet_clock_is_asked_once_a_second(void **state)
{
    (void)state;
    kernel.max_error_us = 1000;
    assert_true(synchronized_later());
    kernel.asked = 0;
    int64_t began_us = (int64_t)clock_monotonic_us();
    for (int i = 0; i < 100; i++)
        assert_true(synchronized_now());
    /* If we are held up between its two clocks, it takes that for a step, there and back. */
    assert_true(kernel.asked <= 1 + ((int64_t)clock_monotonic_us() - began_us) / 50000);
    kernel.max_error_us = 16000000;
    kernel.wall_shift_s -= 3 * 86400;
    assert_false(synchronized_now());
    kernel.max_error_us = 1000;
    kernel.wall_shift_s += 3 * 86400;
    assert_true(synchronized_now());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reading_is_close_to_the_kernels_clocks),
        cmocka_unit_test(the_monotonic_clock_is_the_kernels_in_microseconds),
        cmocka_unit_test(a_time_has_the_same_text_whatever_was_written_before),
        cmocka_unit_test(every_day_until_the_year_9999_is_written_as_the_c_library_does),
        cmocka_unit_test(times_outside_the_range_are_written_as_its_ends),
        cmocka_unit_test(text_that_is_no_such_time_is_refused),
        cmocka_unit_test(the_boot_id_is_an_uuid_and_stays_the_same),
        cmocka_unit_test(spans_have_two_units_at_most),
        cmocka_unit_test(a_forecast_of_0_means_that_it_is_so_already),
        cmocka_unit_test_setup(the_clock_is_credible_by_the_maximum_error_of_the_kernel,
                               reset_kernel),
        cmocka_unit_test_setup(where_the_kernel_may_not_be_asked_the_file_of_timesyncd_decides,
                               reset_kernel),
        cmocka_unit_test_setup(a_clock_from_before_this_program_is_never_believed,
                               reset_kernel),
        cmocka_unit_test_setup(
            a_step_is_noticed_at_once_and_a_quiet_clock_is_asked_once_a_second, reset_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
