/* SPDX-License-Identifier: MIT */
/*
 * test_wire_marks.c - what was written, and how much on the wire holds it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/uplink/paho/wire_marks.h"

/* Of 100 bytes written each takes 122 on the wire. */
static void fill(struct wire_marks *marks, unsigned count)
{
    *marks = (struct wire_marks){.count = 0};
    for (uint64_t i = 1; i <= count; i++)
        wire_marks_add(marks, i * 100, i * 122);
}

static void nothing_is_known_of_what_is_not_written(void **state)
{
    struct wire_marks marks;

    (void)state;
    fill(&marks, 0);
    assert_int_equal(wire_marks_find(&marks, 1), UINT64_MAX);
    fill(&marks, 3);
    assert_int_equal(wire_marks_find(&marks, 301), UINT64_MAX);
    assert_int_equal(wire_marks_find(&marks, UINT64_MAX), UINT64_MAX);
}

/* A part of a record can be read only with all of it. */
static void a_byte_is_there_with_all_that_was_written_with_it(void **state)
{
    struct wire_marks marks;

    (void)state;
    fill(&marks, WIRE_MARKS_MAX);
    for (uint64_t written = 1; written <= (uint64_t)WIRE_MARKS_MAX * 100; written++)
        assert_int_equal(wire_marks_find(&marks, written), (written + 99) / 100 * 122);
}

static void what_is_older_than_the_marks_is_there_with_the_oldest(void **state)
{
    struct wire_marks marks;
    uint64_t dropped = 1000;

    (void)state;
    fill(&marks, WIRE_MARKS_MAX + (unsigned)dropped);
    for (uint64_t written = 1; written <= dropped * 100; written += 50)
        assert_int_equal(wire_marks_find(&marks, written), (dropped + 1) * 122);
    for (uint64_t written = dropped * 100 + 1; written <= (WIRE_MARKS_MAX + dropped) * 100;
         written++)
        assert_int_equal(wire_marks_find(&marks, written), (written + 99) / 100 * 122);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_of_what_is_not_written),
        cmocka_unit_test(a_byte_is_there_with_all_that_was_written_with_it),
        cmocka_unit_test(what_is_older_than_the_marks_is_there_with_the_oldest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
