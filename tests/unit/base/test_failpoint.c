/* SPDX-License-Identifier: MIT */
/*
 * test_failpoint.c - a process dies at the failpoint and passage that its environment selects
 *
 * The variable is read before main(), so each case runs this program again, as a
 * child that passes its failpoints and writes to standard output how far it came.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/read_full.h"
#include "tests/support/child.h"

#define PASSAGES 3

int __real_kill(pid_t pid, int number);
int __wrap_kill(pid_t pid, int number);

int __wrap_kill(pid_t pid, int number)
{
    child_keep_coverage();
    return __real_kill(pid, number);
}

/* ---- the child ---- */

static int pass_failpoints(void)
{
    for (int i = 0; i < PASSAGES; i++) {
        FAILPOINT("test.one");
        (void)write(STDOUT_FILENO, "1", 1);
        FAILPOINT("test.two");
        (void)write(STDOUT_FILENO, "2", 1);
        FAILPOINT_TORN("test.torn", STDOUT_FILENO, "whole", 5);
    }
    return 0;
}

/* ---- the cases ---- */

struct result {
    char output[64];
    int status;
};

/* @selected: the value of the variable; NULL: it is not set. */
static struct result run(const char *selected)
{
    struct result result = {0};
    int pipe_fds[2];
    pid_t child;

    assert_int_equal(pipe(pipe_fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(pipe_fds[1], STDOUT_FILENO);
        (void)close(STDERR_FILENO); /* its complaint is expected */
        if (selected)
            (void)setenv("SPOOLD_FAILPOINT", selected, 1);
        (void)execl("/proc/self/exe", "test_failpoint", "child", NULL);
        child_exit(77);
    }
    (void)close(pipe_fds[1]);
    ssize_t size = read_full(pipe_fds[0], result.output, sizeof(result.output) - 1);
    assert_true(size >= 0);
    (void)close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &result.status, 0), child);
    return result;
}

static void expect_end(const char *selected, const char *output)
{
    struct result result = run(selected);

    assert_string_equal(result.output, output);
    assert_true(WIFEXITED(result.status));
    assert_int_equal(WEXITSTATUS(result.status), 0);
}

static void expect_death(const char *selected, int number, const char *output)
{
    struct result result = run(selected);

    assert_string_equal(result.output, output);
    assert_true(WIFSIGNALED(result.status));
    assert_int_equal(WTERMSIG(result.status), number);
}

static void without_the_variable_nothing_happens(void **state)
{
    (void)state;
    expect_end(NULL, "121212");
}

static void the_selected_passage_kills_the_process(void **state)
{
    (void)state;
    expect_death("test.one:1", SIGKILL, "");
    expect_death("test.one:3", SIGKILL, "1212");
    expect_death("test.two:2", SIGKILL, "121");
}

static void another_name_or_a_later_passage_changes_nothing(void **state)
{
    (void)state;
    expect_end("test.one:4", "121212");
    expect_end("test.three:1", "121212");
    expect_end("test.on:1", "121212");
    expect_end("test.one.more:1", "121212");
}

static void a_torn_write_leaves_its_first_half(void **state)
{
    (void)state;
    expect_death("test.torn:2", SIGKILL, "1212wh");
}

static void a_malformed_variable_ends_the_process(void **state)
{
    static const char *const malformed[] = {
        "", "test.one", "test.one:", "test.one:0", "test.one:x", "test.one:1x"};

    (void)state;
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        expect_death(malformed[i], SIGABRT, "");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_variable_nothing_happens),
        cmocka_unit_test(the_selected_passage_kills_the_process),
        cmocka_unit_test(another_name_or_a_later_passage_changes_nothing),
        cmocka_unit_test(a_torn_write_leaves_its_first_half),
        cmocka_unit_test(a_malformed_variable_ends_the_process),
    };

    if (argc == 2 && strcmp(argv[1], "child") == 0)
        return pass_failpoints();
    return cmocka_run_group_tests_name("failpoint", tests, NULL, NULL);
}
