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
        CASE(a_line_as_long_as_the_cap_is_taken_and_a_longer_one_is_refused),
        CASE(more_lines_than_the_cap_holds_come_one_after_the_other),
        CASE(a_read_that_a_signal_interrupts_is_repeated),
        CASE(a_non_blocking_descriptor_is_waited_for),
        CASE(an_error_of_the_read_is_returned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
