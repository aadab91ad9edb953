/* SPDX-License-Identifier: MIT */
/*
 * child.h - a test's child process, whose coverage is counted too
 *
 * _exit() and abort() write no counters of gcov. A build for coverage defines
 * SPOOLD_COVERAGE; every other one has nothing of this.
 */
#ifndef MQTT_SPOOLD_TESTS_CHILD_H
#define MQTT_SPOOLD_TESTS_CHILD_H

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef SPOOLD_COVERAGE
void __gcov_dump(void);

static inline void child_on_abort(int number)
{
    (void)number;
    __gcov_dump();
}
#endif

/* Before the process ends in a way that writes no counters. */
static inline void child_keep_coverage(void)
{
#ifdef SPOOLD_COVERAGE
    __gcov_dump();
#endif
}

/* In place of _exit(). */
static inline _Noreturn void child_exit(int code)
{
    child_keep_coverage();
    _exit(code);
}

/* In a child that is to abort: the counters are written before it dies of the signal. */
static inline void child_may_abort(void)
{
#ifdef SPOOLD_COVERAGE
    (void)signal(SIGABRT, child_on_abort);
#endif
}

/* It ended as base/states.h says of a wrong move. After cmocka.h. */
static inline void child_expect_fault(int status)
{
#ifdef SPOOLD_FAILPOINTS
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
#else
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FAILURE);
#endif
}

#endif
