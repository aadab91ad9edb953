/* SPDX-License-Identifier: MIT */
/*
 * test_lines.c - tests of lines from a descriptor: pipes, whose reads the test cuts where
 * it wants
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/lines.h"

struct fixture {
    int reader;
    int writer;
    struct lines lines;
};

static int forced_errno; /* of the next read; 0: a real one */
static bool poll_called;

ssize_t __real_read(int fd, void *memory, size_t size);
ssize_t __wrap_read(int fd, void *memory, size_t size);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

ssize_t __wrap_read(int fd, void *memory, size_t size)
{
    if (forced_errno == 0)
        return __real_read(fd, memory, size);
    errno = forced_errno;
    forced_errno = 0;
    return -1;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    assert_int_equal(count, 1);
    assert_int_equal(fds->events, POLLIN);
    assert_int_equal(timeout, -1);
    poll_called = true;
    return 1;
}

static int setup(void **state)
{
    static struct fixture fixture;
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    fixture.reader = fds[0];
    fixture.writer = fds[1];
    lines_init(&fixture.lines, fixture.reader, 16);
    forced_errno = 0;
    poll_called = false;
    *state = &fixture;
    return 0;
}

static void feed(struct fixture *f, const char *text)
{
    assert_int_equal(write(f->writer, text, strlen(text)), strlen(text));
}

static void end(struct fixture *f)
{
    if (f->writer >= 0)
        (void)close(f->writer);
    f->writer = -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    end(f);
    (void)close(f->reader);
    lines_done(&f->lines);
    return 0;
}

static void expect_line(struct fixture *f, const char *text, bool is_torn)
{
    struct line line;

    assert_int_equal(lines_next(&f->lines, &line), 1);
    assert_int_equal(line.size, strlen(text));
    assert_memory_equal(line.text, text, line.size);
    assert_int_equal(line.torn, is_torn);
}

static void lines_come_without_their_newline(void **state)
{
    struct fixture *f = *state;
    struct line line;

    feed(f, "one\n\ntwo\n");
    end(f);
    expect_line(f, "one", false);
    expect_line(f, "", false);
    expect_line(f, "two", false);
    assert_int_equal(lines_next(&f->lines, &line), 0);
    assert_int_equal(lines_next(&f->lines, &line), 0);
}

static void the_last_line_without_a_newline_is_torn(void **state)
{
    struct fixture *f = *state;

    feed(f, "one\ntw");
    end(f);
    expect_line(f, "one", false);
    expect_line(f, "tw", true);
}

static void an_empty_input_has_no_line(void **state)
{
    struct fixture *f = *state;
    struct line line;

    end(f);
    assert_int_equal(lines_next(&f->lines, &line), 0);
}

static void a_line_that_arrives_in_parts_is_one_line(void **state)
{
    struct fixture *f = *state;
    struct line line;

    feed(f, "on");
    assert_int_equal(lines_fill(&f->lines), 0);
    assert_false(lines_take(&f->lines, &line));
    feed(f, "e\nt");
    assert_int_equal(lines_fill(&f->lines), 0);
    expect_line(f, "one", false);
    assert_false(lines_take(&f->lines, &line));
    assert_false(f->lines.ended);
    feed(f, "wo\n");
    assert_int_equal(lines_fill(&f->lines), 0);
    expect_line(f, "two", false);
}

static void a_line_may_have_nul_bytes(void **state)
{
    struct fixture *f = *state;
    struct line line;

    assert_int_equal(write(f->writer, "a\0b\n", 4), 4);
    assert_int_equal(lines_next(&f->lines, &line), 1);
    assert_int_equal(line.size, 3);
    assert_memory_equal(line.text, "a\0b", 3);
}

static void put_zeros(struct fixture *f, size_t count)
{
    static const char zeros[4096];

    while (count > 0) {
        size_t size = count < sizeof(zeros) ? count : sizeof(zeros);

        assert_int_equal(write(f->writer, zeros, size), size);
        count -= size;
    }
}

/* Of more than the cap no line can be made; those behind them come as ever. */
static void zeros_are_passed_over_however_many(void **state)
{
    struct fixture *f = *state;
    struct line line;
    uint64_t at = 0, count = 0;

    feed(f, "one\ntwo");
    put_zeros(f, 5000);
    feed(f, "three\nfour");
    put_zeros(f, 3);
    end(f);
    expect_line(f, "one", false);
    assert_int_equal(lines_next(&f->lines, &line), -ENOBUFS);
    assert_int_equal(lines_skip_zeros(&f->lines, &at, &count), 1);
    assert_int_equal(at, 7);
    assert_int_equal(count, 5000);
    assert_int_equal(lines_skip_zeros(&f->lines, &at, &count), 0);
    expect_line(f, "three", false);
    assert_int_equal(f->lines.offset, 5007);
    assert_int_equal(lines_next(&f->lines, &line), 1);
    assert_true(line.torn);
    assert_int_equal(lines_skip_zeros(&f->lines, &at, &count), 1);
    assert_int_equal(at, 5017);
    assert_int_equal(count, 3);
    assert_int_equal(lines_next(&f->lines, &line), 0);
    assert_int_equal(lines_skip_zeros(&f->lines, &at, &count), 0);
}

static void an_error_among_zeros_is_returned(void **state)
{
    struct fixture *f = *state;
    uint64_t at, count;

    put_zeros(f, 8);
    assert_int_equal(lines_fill(&f->lines), 0);
    forced_errno = EIO;
    assert_int_equal(lines_skip_zeros(&f->lines, &at, &count), -EIO);
}

/* A pipe of which this process has a writer ends only when it is closed, so a file. */
static void a_file_that_grew_is_read_on(void **state)
{
    struct fixture *f = *state;
    struct line line;
    int fd = memfd_create("lines", MFD_CLOEXEC);

    assert_true(fd >= 0);
    f->lines.fd = fd;
    assert_int_equal(pwrite(fd, "one\ntw", 6, 0), 6);
    expect_line(f, "one", false);
    expect_line(f, "tw", true);
    assert_int_equal(pwrite(fd, "o\nthree\n", 8, 6), 8);
    lines_resume(&f->lines);
    expect_line(f, "two", false);
    lines_resume(&f->lines); /* before the end */
    expect_line(f, "three", false);
    assert_int_equal(lines_next(&f->lines, &line), 0);
    assert_int_equal(pwrite(fd, "four\n", 5, 14), 5);
    lines_resume(&f->lines);
    expect_line(f, "four", false);
    assert_int_equal(close(fd), 0);
}

static void a_line_as_long_as_the_cap_is_taken_and_a_longer_one_is_refused(void **state)
{
    struct fixture *f = *state;
    struct line line;

    feed(f, "123456789012345");
    assert_int_equal(lines_fill(&f->lines), 0);
    feed(f, "\n");
    expect_line(f, "123456789012345", false);
    feed(f, "123456789012345\n" /* 16 with the newline */
            "1234567890123456\n");
    expect_line(f, "123456789012345", false);
    assert_int_equal(lines_next(&f->lines, &line), -ENOBUFS);
}

static void more_lines_than_the_cap_holds_come_one_after_the_other(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 100; i++)
        feed(f, "1234567\n");
    end(f);
    for (int i = 0; i < 100; i++)
        expect_line(f, "1234567", false);
}

static void a_read_that_a_signal_interrupts_is_repeated(void **state)
{
    struct fixture *f = *state;

    feed(f, "one\n");
    forced_errno = EINTR;
    expect_line(f, "one", false);
}

static void a_non_blocking_descriptor_is_waited_for(void **state)
{
    struct fixture *f = *state;

    feed(f, "one\n");
    forced_errno = EAGAIN;
    expect_line(f, "one", false);
    assert_true(poll_called);
}

static void an_error_of_the_read_is_returned(void **state)
{
    struct fixture *f = *state;
    struct line line;

    forced_errno = EIO;
    assert_int_equal(lines_next(&f->lines, &line), -EIO);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(lines_come_without_their_newline),
        CASE(the_last_line_without_a_newline_is_torn),
        CASE(an_empty_input_has_no_line),
        CASE(a_line_that_arrives_in_parts_is_one_line),
        CASE(a_line_may_have_nul_bytes),
        CASE(zeros_are_passed_over_however_many),
        CASE(an_error_among_zeros_is_returned),
        CASE(a_file_that_grew_is_read_on),
        CASE(a_line_as_long_as_the_cap_is_taken_and_a_longer_one_is_refused),
        CASE(more_lines_than_the_cap_holds_come_one_after_the_other),
        CASE(a_read_that_a_signal_interrupts_is_repeated),
        CASE(a_non_blocking_descriptor_is_waited_for),
        CASE(an_error_of_the_read_is_returned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
