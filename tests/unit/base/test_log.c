/* SPDX-License-Identifier: MIT */
/*
 * test_log.c - lines as they leave, caught on a pipe in place of standard error
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/support/child.h"

struct fixture {
    int pipe[2];
    int saved_stderr;
    char text[8192];
};

static int setup(void **state)
{
    static struct fixture f;

    assert_int_equal(pipe2(f.pipe, O_CLOEXEC | O_NONBLOCK), 0);
    f.saved_stderr = dup(STDERR_FILENO);
    assert_true(dup2(f.pipe[1], STDERR_FILENO) >= 0);
    (void)unsetenv("JOURNAL_STREAM");
    log_set_level(LOG_LEVEL_INFO);
    log_open();
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    (void)dup2(f->saved_stderr, STDERR_FILENO);
    log_open();
    (void)close(f->saved_stderr);
    (void)close(f->pipe[0]);
    (void)close(f->pipe[1]);
    return 0;
}

static const char *written(struct fixture *f)
{
    ssize_t n = read(f->pipe[0], f->text, sizeof(f->text) - 1);

    f->text[n < 0 ? 0 : n] = '\0';
    return f->text;
}

static void pretend_journal(struct fixture *f, unsigned long wrong)
{
    struct stat st;
    char value[64];

    assert_int_equal(fstat(f->pipe[1], &st), 0);
    (void)snprintf(value, sizeof(value), "%lu:%lu", (unsigned long)st.st_dev,
                   (unsigned long)st.st_ino + wrong);
    assert_int_equal(setenv("JOURNAL_STREAM", value, 1), 0);
}

static void a_line_for_a_person_has_time_and_level(void **state)
{
    const char *text;
    char time[CLOCK_TEXT_MAX];
    int64_t wall_ms;

    log_warning("uplink lost broker=%s retry_ms=%d", "tcp://far", 4000);
    text = written(*state);
    memcpy(time, text, 24);
    time[24] = '\0';
    assert_true(clock_parse(time, &wall_ms));
    assert_string_equal(text + 24, " warning uplink lost broker=tcp://far retry_ms=4000\n");
}

static void a_line_for_the_journal_has_the_level_as_a_number(void **state)
{
    pretend_journal(*state, 0);
    log_error("spool failed");
    log_info("spool open");
    assert_string_equal(written(*state), "<3>spool failed\n<6>spool open\n");
}

static void an_inherited_journal_variable_does_not_fool_it(void **state)
{
    pretend_journal(*state, 1);
    log_error("spool failed");
    assert_non_null(strstr(written(*state), "Z error spool failed\n"));
}

static void lines_below_the_level_are_not_written(void **state)
{
    log_debug("hidden");
    assert_string_equal(written(*state), "");
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
    log_set_level(LOG_LEVEL_ERROR);
    log_warning("hidden");
    assert_string_equal(written(*state), "");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("shown");
    assert_non_null(strstr(written(*state), " debug shown\n"));
}

static void no_text_can_forge_a_second_line(void **state)
{
    pretend_journal(*state, 0);
    log_info("client=%s", "a\n<3>spool lost\x1b[2J\xC2\x9B\xE2\x80\xAE\xFF");
    assert_string_equal(written(*state),
                        "<6>client=a\\x0A<3>spool lost\\x1B[2J\\u{9B}\\u{202E}\\xFF\n");
}

static void a_line_that_is_too_long_is_cut_with_dots(void **state)
{
    char longer[5000];
    const char *text;

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    pretend_journal(*state, 0);
    log_info("%s", longer);
    text = written(*state);
    assert_int_equal(strlen(text), 2048);
    assert_string_equal(text + 2040, "xxxx...\n");
    memset(longer, '\t', 1000); /* what grows by its escapes */
    longer[1000] = '\0';
    log_info("%s", longer);
    text = written(*state);
    assert_int_equal(strlen(text), 3 + 510 * 4 + 3 + 1);
    assert_string_equal(text + 2039, "\\x09...\n");
}

static void errno_survives_a_line_and_may_stand_in_it(void **state)
{
    pretend_journal(*state, 0);
    errno = ENOSPC;
    log_info("why=%m");
    assert_int_equal(errno, ENOSPC);
    assert_string_equal(written(*state), "<6>why=No space left on device\n");
}

static void quoting_shows_what_is_printable_and_escapes_the_rest(void **state)
{
    char text[64];

    (void)state;
    assert_string_equal(log_quote(text, sizeof(text), "a b\"\\\n\xC3\xBC\xFF\x7F", 10),
                        "\"a b\\\"\\\\\\x0A\xC3\xBC\\xFF\\x7F\"");
    assert_string_equal(log_quote(text, sizeof(text), "", 0), "\"\"");
    assert_string_equal(log_quote(text, sizeof(text), "\0", 1), "\"\\x00\"");
}

static void quoting_cuts_at_a_whole_character_within_any_size(void **state)
{
    static const char source[] = "\xC3\xBC\nabc\xE2\x82\xAC\xC3\xBC\xC3\xBC";
    char text[64];

    (void)state;
    for (size_t size = 0; size < sizeof(text); size++) {
        size_t length;

        memset(text, '#', sizeof(text));
        (void)log_quote(text, size, source, sizeof(source) - 1);
        assert_int_equal(text[size], '#');
        if (size < 6)
            continue;
        length = strlen(text);
        assert_true(length < size);
        assert_int_equal(text[length - 1], '"');
        if (size < 19) /* the whole takes 18 and the end */
            assert_memory_equal(text + length - 4, "...\"", 4);
        else
            assert_string_equal(text, "\"\xC3\xBC\\x0A"
                                      "abc\xE2\x82\xAC\xC3\xBC\xC3\xBC\"");
    }
    assert_string_equal(log_quote(text, 8, source, sizeof(source) - 1), "\"\xC3\xBC...\"");
    assert_string_equal(log_quote(text, 7, source, sizeof(source) - 1), "\"...\"");
}

static void the_brake_passes_a_burst_then_counts_what_it_held_back(void **state)
{
    struct log_limit limit = {.interval_ms = 1000, .burst = 2};
    uint64_t suppressed = 99;

    (void)state;
    assert_true(log_limit_pass(&limit, 5000, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_true(log_limit_pass(&limit, 5999, &suppressed));
    assert_false(log_limit_pass(&limit, 5999, &suppressed));
    assert_false(log_limit_pass(&limit, 5999, &suppressed));
    assert_true(log_limit_pass(&limit, 6000, &suppressed));
    assert_int_equal(suppressed, 2);
    assert_true(log_limit_pass(&limit, 6000, &suppressed));
    assert_int_equal(suppressed, 0);
}

/* ---- a reader that does not read ---- */

#define STALL_LINES 5000
#define STALL_TEXT  "a_line number=%u text=\"................................................\""

/* Standard error is @fd, an inherited open file description, for one case. */
static void use_stderr(int fd)
{
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    log_open();
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0); /* others share it */
    (void)alarm(60); /* a line that waits ends the program */
}

static void write_lines(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        log_info(STALL_TEXT, i);
}

/* All there is; a terminal hands it over a moment after it was written. */
static size_t read_all(int fd, char *text, size_t room)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    size_t used = 0;
    ssize_t n;

    while (poll(&wait, 1, 200) > 0 && (n = read(fd, text + used, room - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = '\0';
    return used;
}

/* Whole lines only, in order from 0, and log_dropped in the place of those that are missing: a
 * terminal makes room a little later, by itself. Returns how many came; @ret_dropped: how many
 * did not. */
static unsigned check_lines(char *text, unsigned long long *ret_dropped)
{
    unsigned count = 0;
    unsigned long long lines;

    *ret_dropped = 0;
    for (char *line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        const char *event = strstr(line, "a_line ");
        const char *dropped = strstr(line, " warning log_dropped ");
        char wanted[128];

        if (dropped) {
            assert_int_equal(sscanf(dropped, " warning log_dropped lines=%llu", &lines), 1);
            *ret_dropped += lines;
            assert_non_null(strstr(dropped, " remedy=\""));
            continue;
        }
        assert_non_null(event);
        (void)snprintf(wanted, sizeof(wanted), STALL_TEXT, count + (unsigned)*ret_dropped);
        assert_string_equal(event, wanted);
        count++;
    }
    return count;
}

/* Lines until the reader's memory is full and beyond; then it reads, and all are
 * accounted for. */
static void expect_dropped_and_counted(int writer, int reader)
{
    static char text[4 * 1024 * 1024];
    unsigned long long dropped, nothing;
    unsigned taken;
    size_t used;

    use_stderr(writer);
    write_lines(STALL_LINES);
    used = read_all(reader, text, sizeof(text));
    log_flush(); /* no further line is needed */
    (void)read_all(reader, text + used, sizeof(text) - used);
    taken = check_lines(text, &dropped);
    assert_in_range(taken, 1, STALL_LINES - 1);
    assert_int_equal(taken + dropped, STALL_LINES);
    log_flush();
    write_lines(1);
    (void)read_all(reader, text, sizeof(text));
    assert_int_equal(check_lines(text, &nothing), 1);
    assert_int_equal(nothing, 0); /* once */
    (void)alarm(0);
}

static void a_pipe_that_is_not_read_holds_no_line_up(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    expect_dropped_and_counted(fds[1], fds[0]);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void a_socket_that_is_not_read_holds_no_line_up(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    expect_dropped_and_counted(fds[1], fds[0]);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static int open_terminal(int *ret_master)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    *ret_master = master;
    return open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static void a_terminal_that_is_not_read_holds_no_line_up(void **state)
{
    int master;
    int fd = open_terminal(&master);

    (void)state;
    assert_true(fd >= 0);
    expect_dropped_and_counted(fd, master);
    (void)close(fd);
    (void)close(master);
}

/* What belongs to another user cannot be opened again. */
static void in_child_without_rights(int writer, int reader)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0 &&
            (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0))
            child_exit(77);
        assert_true(open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY) < 0);
        expect_dropped_and_counted(writer, reader);
        child_exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
}

static void a_pipe_of_another_user_holds_no_line_up(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fchmod(fds[1], 0), 0);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    in_child_without_rights(fds[1], fds[0]);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void a_terminal_of_another_user_holds_no_line_up(void **state)
{
    int master;
    int fd = open_terminal(&master);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0), 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    in_child_without_rights(fd, master);
    (void)close(fd);
    (void)close(master);
}

/* A disk that is full takes a part of a line; what follows does not stick to it. */
static void a_file_that_takes_half_a_line_gets_its_rest_first(void **state)
{
    char name[] = "/tmp/test_log.XXXXXX";
    static char text[65536];
    unsigned long long dropped;
    struct rlimit limit, before;
    int fd = mkostemp(name, O_APPEND | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(unlink(name), 0);
    use_stderr(fd);
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){250, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    write_lines(10);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    log_finish();
    text[pread(fd, text, sizeof(text) - 1, 0)] = '\0';
    assert_int_equal(check_lines(text, &dropped) + dropped, 10);
    assert_in_range(dropped, 1, 9);
    (void)alarm(0);
    (void)close(fd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_line_for_a_person_has_time_and_level),
        CASE(a_line_for_the_journal_has_the_level_as_a_number),
        CASE(an_inherited_journal_variable_does_not_fool_it),
        CASE(lines_below_the_level_are_not_written),
        CASE(no_text_can_forge_a_second_line),
        CASE(a_line_that_is_too_long_is_cut_with_dots),
        CASE(errno_survives_a_line_and_may_stand_in_it),
        CASE(quoting_shows_what_is_printable_and_escapes_the_rest),
        CASE(quoting_cuts_at_a_whole_character_within_any_size),
        CASE(the_brake_passes_a_burst_then_counts_what_it_held_back),
        CASE(a_pipe_that_is_not_read_holds_no_line_up),
        CASE(a_socket_that_is_not_read_holds_no_line_up),
        CASE(a_terminal_that_is_not_read_holds_no_line_up),
        CASE(a_pipe_of_another_user_holds_no_line_up),
        CASE(a_terminal_of_another_user_holds_no_line_up),
        CASE(a_file_that_takes_half_a_line_gets_its_rest_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
