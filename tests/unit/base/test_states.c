/* SPDX-License-Identifier: MIT */
/*
 * test_states.c - a move that the table does not allow ends the process
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/states.h"
#include "tests/support/child.h"

enum { SHUT, OPEN, GONE, STATES };

static const char *const names[STATES] = {"shut", "open", "gone"};
static const uint32_t may_follow[STATES] = {
    [SHUT] = STATES_BIT(OPEN),
    [OPEN] = STATES_BIT(SHUT) | STATES_BIT(OPEN) | STATES_BIT(GONE),
};
static const struct states door = {"door", names, may_follow, STATES};

/* What the process that moves from @from to @to writes; it must end there if @text is asked
 * for. */
static void expect_move(unsigned from, unsigned to, bool invariant, const char *text)
{
    char line[512] = {0};
    int pipe_fds[2];
    int status = 0;
    pid_t child;

    assert_int_equal(pipe(pipe_fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};

        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)dup2(pipe_fds[1], STDERR_FILENO);
        log_open();
        child_may_abort();
        states_check(&door, from, to);
        states_require(&door, to, invariant);
        child_exit(0);
    }
    (void)close(pipe_fds[1]);
    for (size_t used = 0; used < sizeof(line) - 1;) {
        ssize_t size = read(pipe_fds[0], line + used, sizeof(line) - 1 - used);

        if (size <= 0)
            break;
        used += (size_t)size;
    }
    (void)close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!text) {
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        return;
    }
    assert_non_null(strstr(line, text));
    child_expect_fault(status);
}

static void moves_of_the_table_are_allowed(void **state)
{
    (void)state;
    expect_move(SHUT, OPEN, true, NULL);
    expect_move(OPEN, SHUT, true, NULL);
    expect_move(OPEN, OPEN, true, NULL);
    expect_move(OPEN, GONE, true, NULL);
}

static void any_other_move_is_logged_and_ends_the_process(void **state)
{
    (void)state;
    expect_move(SHUT, GONE, true, "state_fault machine=door from=shut to=gone ");
    expect_move(SHUT, SHUT, true, "state_fault machine=door from=shut to=shut ");
    expect_move(GONE, OPEN, true, "state_fault machine=door from=gone to=open ");
    expect_move(SHUT, STATES, true, "state_fault machine=door from=shut to=none ");
    expect_move(STATES, OPEN, true, "state_fault machine=door from=none to=open ");
}

static void a_broken_invariant_is_logged_and_ends_the_process(void **state)
{
    (void)state;
    expect_move(SHUT, OPEN, false, "state_fault machine=door state=open ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_of_the_table_are_allowed),
        cmocka_unit_test(any_other_move_is_logged_and_ends_the_process),
        cmocka_unit_test(a_broken_invariant_is_logged_and_ends_the_process),
    };

    return cmocka_run_group_tests_name("states", tests, NULL, NULL);
}
