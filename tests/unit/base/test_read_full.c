/* SPDX-License-Identifier: MIT */
/*
 * test_read_full.c - reads that are cut short and interrupted
 *
 * read(2) and pread(2) of this program are its own, and do what the case says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/read_full.h"

static const char text[] = "all of a small file";

static struct {
    size_t at;
    unsigned calls;
    unsigned interrupt; /* each call of a number that this divides */
    size_t fail_at;     /* from here on a read fails; 0: none does */
} disk;

static ssize_t give(void *to, size_t size, size_t from)
{
    size_t length = strlen(text) - from < 3 ? strlen(text) - from : 3;

    if (++disk.calls % disk.interrupt == 0) {
        errno = EINTR;
        return -1;
    }
    if (disk.fail_at > 0 && from >= disk.fail_at) {
        errno = EIO;
        return -1;
    }
    if (length > size)
        length = size;
    memcpy(to, text + from, length);
    return (ssize_t)length;
}

ssize_t read(int fd, void *to, size_t size)
{
    ssize_t got = give(to, size, disk.at);

    assert_int_equal(fd, 7);
    disk.at += got > 0 ? (size_t)got : 0;
    return got;
}

ssize_t pread(int fd, void *to, size_t size, off_t from)
{
    assert_int_equal(fd, 7);
    return give(to, size, (size_t)from);
}

static int setup(void **state)
{
    (void)state;
    memset(&disk, 0, sizeof(disk));
    disk.interrupt = 2;
    return 0;
}

static void short_and_interrupted_reads_give_the_whole_file(void **state)
{
    char got[100];

    (void)state;
    assert_int_equal(read_full(7, got, sizeof(got)), strlen(text));
    assert_memory_equal(got, text, strlen(text));
    assert_int_equal(read_full(7, got, sizeof(got)), 0);
}

static void no_more_is_read_than_there_is_room(void **state)
{
    char got[8] = "1234567";

    (void)state;
    assert_int_equal(read_full(7, got, 7), 7);
    assert_memory_equal(got, text, 7);
    assert_int_equal(got[7], '\0');
    assert_int_equal(disk.at, 7);
    assert_int_equal(read_full(7, got, 0), 0);
}

static void an_offset_is_where_it_begins(void **state)
{
    char got[100];

    (void)state;
    assert_int_equal(read_full_at(7, got, 5, 7), 5);
    assert_memory_equal(got, text + 7, 5);
    assert_int_equal(read_full_at(7, got, sizeof(got), 7), strlen(text) - 7);
    assert_memory_equal(got, text + 7, strlen(text) - 7);
}

static void a_failure_after_a_part_is_a_failure(void **state)
{
    char got[100];

    (void)state;
    disk.fail_at = 6;
    assert_int_equal(read_full(7, got, sizeof(got)), -EIO);
    assert_int_equal(read_full_at(7, got, sizeof(got), 0), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(short_and_interrupted_reads_give_the_whole_file, setup),
        cmocka_unit_test_setup(no_more_is_read_than_there_is_room, setup),
        cmocka_unit_test_setup(an_offset_is_where_it_begins, setup),
        cmocka_unit_test_setup(a_failure_after_a_part_is_a_failure, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
