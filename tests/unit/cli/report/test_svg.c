/* SPDX-License-Identifier: MIT */
/*
 * test_svg.c - tests of the axis of time below a chart
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report/buckets.h"
#include "cli/report/svg.h"

#define START INT64_C(1779926400000) /* 2026-05-28 00:00 UTC */

/* A chart of so many steps from START on. Return: its axis of time, to be freed. */
static char *draw_axis(int64_t width_ms, int64_t steps)
{
    static struct buckets buckets;
    static const uint64_t values[BUCKETS_MAX] = {5};
    const struct svg_chart chart = {
        .id = "c", .title = "t", .text = "d", .buckets = &buckets, .values = values};
    char *written = NULL, *axis;
    size_t size = 0;
    FILE *stream = open_memstream(&written, &size);

    assert_non_null(stream);
    buckets_init(&buckets, 0, width_ms, BUCKETS_MAX);
    buckets_add(&buckets, START, BUCKET_ACCEPTED, 5);
    buckets_add(&buckets, START + (steps - 1) * width_ms, BUCKET_ACCEPTED, 5);
    assert_int_equal(buckets.count, steps);
    svg_put_chart(stream, &chart);
    assert_int_equal(fclose(stream), 0);
    axis = strstr(written, "<div class=\"x\"");
    assert_non_null(axis);
    axis = strdup(axis);
    assert_non_null(axis);
    free(written);
    return axis;
}

static void expect_labels(int64_t width_ms, int64_t steps, unsigned count, const char *last)
{
    char *axis = draw_axis(width_ms, steps);
    const char *found = axis;
    unsigned seen = 0;

    for (const char *at = axis; (at = strstr(at, "<span")); at++) {
        found = at;
        seen++;
    }
    assert_int_equal(seen, count);
    assert_non_null(strstr(found, last));
    free(axis);
}

static void the_labels_of_few_steps_end_with_the_last_step(void **state)
{
    (void)state;
    expect_labels(BUCKETS_DAY, 1, 1, ">28 May<"); /* its only day */
    expect_labels(BUCKETS_DAY, 3, 1, ">29 May<");
    expect_labels(BUCKETS_DAY, 11, 5, "> 6 Jun<");
    expect_labels(BUCKETS_SECOND, 1, 1, ">28 May<");
    expect_labels(BUCKETS_SECOND, 6, 1, ">00:00:05<");
}

static void the_labels_of_many_steps_go_over_the_whole_axis(void **state)
{
    (void)state;
    expect_labels(BUCKETS_DAY, 14, 7, ">10 Jun<");
    expect_labels(BUCKETS_DAY, 300, 5, ">Mar 2027<");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_labels_of_few_steps_end_with_the_last_step),
        cmocka_unit_test(the_labels_of_many_steps_go_over_the_whole_axis),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
