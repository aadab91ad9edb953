/* SPDX-License-Identifier: MIT */
/*
 * test_subprocess.c - the output of a program, within a time and a size
 */
#include <setjmp.h> /* cmocka needs these three before it */
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/view.h"
#include "cli/bundle/subprocess.h"

#include <errno.h>
#include <stdint.h>

enum { LONG_MS = 60000, CAP = 1 << 20 };

static int run(const char *script, unsigned timeout_ms, struct bytes *output)
{
    const char *const argv[] = {"sh", "-c", script, NULL};

    bytes_init(output, CAP);
    return subprocess_read(argv, timeout_ms, output);
}

static void the_output_is_read_and_nothing_else(void **state)
{
    struct bytes output;

    (void)state;
    assert_int_equal(run("echo seen; echo error >&2; cat", LONG_MS, &output), 0);
    assert_true(view_is(bytes_view(&output), "seen\n"));
    bytes_done(&output);
}

static void one_that_does_not_end_is_ended_and_what_it_printed_stays(void **state)
{
    struct bytes output;

    (void)state;
    assert_int_equal(run("echo seen; exec sleep 1000", 2000, &output), -ETIMEDOUT);
    assert_true(view_is(bytes_view(&output), "seen\n"));
    bytes_done(&output);
}

static void one_that_closes_its_output_is_not_waited_for(void **state)
{
    struct bytes output;

    (void)state;
    assert_int_equal(run("exec >&-; exec sleep 1000", 2000, &output), -ETIMEDOUT);
    bytes_done(&output);
}

static void the_output_has_a_cap(void **state)
{
    struct bytes output;

    (void)state;
    assert_int_equal(run("exec yes", LONG_MS, &output), -ENOBUFS);
    assert_true(bytes_used(&output) <= CAP);
    bytes_done(&output);
}

static void a_program_that_fails_or_is_not_there_is_reported(void **state)
{
    const char *const argv[] = {"no-such-program-anywhere", NULL};
    struct bytes output;

    (void)state;
    assert_int_equal(run("echo seen; exit 3", LONG_MS, &output), -ENOEXEC);
    bytes_done(&output);
    bytes_init(&output, CAP);
    assert_int_equal(subprocess_read(argv, LONG_MS, &output), -ENOEXEC);
    bytes_done(&output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_output_is_read_and_nothing_else),
        cmocka_unit_test(one_that_does_not_end_is_ended_and_what_it_printed_stays),
        cmocka_unit_test(one_that_closes_its_output_is_not_waited_for),
        cmocka_unit_test(the_output_has_a_cap),
        cmocka_unit_test(a_program_that_fails_or_is_not_there_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
