/* SPDX-License-Identifier: MIT */
/*
 * test_zero_tail.c - where the zeros begin with which a file ends
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/zero_tail.h"

static int setup(void **state)
{
    static int fd;

    fd = memfd_create("zero_tail", MFD_CLOEXEC);
    *state = &fd;
    return fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    const int *fd = *state;

    return close(*fd);
}

static void put(int fd, off_t at)
{
    assert_int_equal(pwrite(fd, "x", 1, at), 1);
}

static void expect(int fd, off_t size, off_t expected)
{
    off_t got = -1;

    assert_int_equal(zero_tail_begin(fd, size, &got), 0);
    assert_int_equal(got, expected);
}

static void they_begin_behind_the_last_other_byte(void **state)
{
    static const off_t places[] = {0, 1, 65534, 65535, 65536, 131071, 131072, 200000};
    const int *fd = *state;

    assert_int_equal(ftruncate(*fd, 300000), 0);
    expect(*fd, 0, 0);
    expect(*fd, 1, 0);
    expect(*fd, 300000, 0);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        put(*fd, places[i]);
        expect(*fd, 300000, places[i] + 1);
        expect(*fd, places[i] + 1, places[i] + 1);
        expect(*fd, places[i], i == 0 ? 0 : places[i - 1] + 1);
    }
}

static void so_many_are_looked_at_and_no_more(void **state)
{
    const int *fd = *state;

    assert_int_equal(ftruncate(*fd, ZERO_TAIL_MAX + 100), 0);
    expect(*fd, ZERO_TAIL_MAX + 100, 100);
}

static void a_file_that_is_shorter_is_a_failure(void **state)
{
    const int *fd = *state;
    off_t got = -1;

    assert_int_equal(ftruncate(*fd, 10), 0);
    assert_int_equal(zero_tail_begin(*fd, 20, &got), -EIO);
    assert_int_equal(zero_tail_begin(-1, 20, &got), -EBADF);
    assert_int_equal(got, -1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(they_begin_behind_the_last_other_byte),
        CASE(so_many_are_looked_at_and_no_more),
        CASE(a_file_that_is_shorter_is_a_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
