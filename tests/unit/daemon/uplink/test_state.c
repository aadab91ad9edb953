/* SPDX-License-Identifier: MIT */
/*
 * test_state.c - which state of the link may follow which, and what is true in each
 *
 * Each move is made by a process of its own, because a wrong one ends it.
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

#include "base/mailbox.h"
#include "daemon/uplink/uplink-private.h"
#include "tests/support/child.h"

static struct uplink_slot slot;

static bool is_timed(enum uplink_link_state state)
{
    return state == LINK_WAITING || state == LINK_RESOLVING || state == LINK_CONNECTING ||
           state == LINK_PARTING || state == LINK_DROPPING;
}

/* As the link is on its way from @from to @to, with all that is wanted of it. */
static void
prepare(struct uplink *uplink, enum uplink_link_state from, enum uplink_link_state to)
{
    bool is_attempt = to == LINK_RESOLVING || to == LINK_CONNECTING;

    *uplink = (struct uplink){.state = from};
    assert_int_equal(mailbox_init(&uplink->inbox.mailbox), 0);
    uplink->timer.is_armed = is_timed(to);
    uplink->client.handle = &slot; /* any that is not NULL */
    uplink->connection.online_ms = is_attempt ? 0 : 1;
    uplink->resolver.host[0] = 'h';
    slot = (struct uplink_slot){.state = SLOT_FREE};
    uplink->slots.array = &slot;
    uplink->slots.count = 1;
    TAILQ_INIT(&uplink->slots.sent);
}

/* The message of @uplink, in @state. */
static void prepare_message(struct uplink *uplink, enum uplink_slot_state state)
{
    slot.state = state;
    uplink->slots.in_flight = 1;
    TAILQ_INSERT_TAIL(&uplink->slots.sent, &slot, order);
}

/* Does the process survive the move of @uplink to @to? */
static bool survives(struct uplink *uplink, enum uplink_link_state to)
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};

        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)close(STDERR_FILENO);
        uplink_set_state(uplink, to);
        _exit(uplink->state == to && uplink->owner.is_change_due ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    child_expect_fault(status);
    return false;
}

/* One row for each state; what it may be followed by, in the order of the states. */
static const char *const moves[LINK_STATES] = {
    [LINK_STOPPED] = ".w......f",   [LINK_WAITING] = "s.rc....f",
    [LINK_RESOLVING] = "sw.c....f", [LINK_CONNECTING] = "sw..o.d.f",
    [LINK_ONLINE] = ".w...pdxf",    [LINK_PARTING] = "s......xf",
    [LINK_DROPPING] = ".w.....xf",  [LINK_STOPPING] = "s.......f",
    [LINK_FREED] = ".........",
};

static void the_moves_of_the_link_are_these_and_no_others(void **state)
{
    (void)state;
    for (unsigned from = 0; from < LINK_STATES; from++) {
        for (unsigned to = 0; to < LINK_STATES; to++) {
            struct uplink uplink;

            prepare(&uplink, (enum uplink_link_state)from, (enum uplink_link_state)to);
            if (survives(&uplink, (enum uplink_link_state)to) != (moves[from][to] != '.'))
                fail_msg("from %u to %u", from, to);
            mailbox_done(&uplink.inbox.mailbox);
        }
    }
}

static void expect_fault(struct uplink *uplink, enum uplink_link_state to)
{
    assert_false(survives(uplink, to));
    mailbox_done(&uplink->inbox.mailbox);
}

static void a_wait_without_a_deadline_is_a_fault(void **state)
{
    static const enum uplink_link_state from[] = {LINK_STOPPED, LINK_WAITING, LINK_WAITING,
                                                  LINK_ONLINE};
    static const enum uplink_link_state to[] = {LINK_WAITING, LINK_RESOLVING, LINK_CONNECTING,
                                                LINK_DROPPING};
    struct uplink uplink;

    (void)state;
    for (unsigned i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
        prepare(&uplink, from[i], to[i]);
        uplink.timer.is_armed = false;
        expect_fault(&uplink, to[i]);
    }
}

static void a_message_without_an_answer_after_the_end_is_a_fault(void **state)
{
    struct uplink uplink;

    (void)state;
    prepare(&uplink, LINK_ONLINE, LINK_WAITING);
    prepare_message(&uplink, SLOT_SENT);
    expect_fault(&uplink, LINK_WAITING);
    prepare(&uplink, LINK_STOPPING, LINK_STOPPED);
    prepare_message(&uplink, SLOT_SENT);
    expect_fault(&uplink, LINK_STOPPED);
    /* What was answered lies in the mailbox, and is read later. */
    prepare(&uplink, LINK_ONLINE, LINK_WAITING);
    prepare_message(&uplink, SLOT_ANSWERED);
    assert_true(survives(&uplink, LINK_WAITING));
    mailbox_done(&uplink.inbox.mailbox);
}

static void to_be_online_with_a_client_that_is_spoilt_is_a_fault(void **state)
{
    struct uplink uplink;

    (void)state;
    prepare(&uplink, LINK_CONNECTING, LINK_ONLINE);
    uplink.client.is_unusable = true;
    expect_fault(&uplink, LINK_ONLINE);
    prepare(&uplink, LINK_CONNECTING, LINK_ONLINE);
    uplink.client.handle = NULL;
    expect_fault(&uplink, LINK_ONLINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_moves_of_the_link_are_these_and_no_others),
        cmocka_unit_test(a_wait_without_a_deadline_is_a_fault),
        cmocka_unit_test(a_message_without_an_answer_after_the_end_is_a_fault),
        cmocka_unit_test(to_be_online_with_a_client_that_is_spoilt_is_a_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
