/* SPDX-License-Identifier: MIT */
/*
 * states.c - which state may follow which, and what each of them promises
 *
 * Diagnostics: state_fault.
 */
#include "base/states.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

static _Noreturn void states_end_process(void)
{
    log_finish();
#ifdef SPOOLD_FAILPOINTS
    abort();
#else
    _exit(EXIT_FAILURE);
#endif
}

static const char *states_name(const struct states *states, unsigned state)
{
    return state < states->count ? states->names[state] : "none";
}

void states_check(const struct states *states, unsigned from, unsigned to)
{
    if (from < states->count && to < states->count &&
        (states->may_follow[from] & STATES_BIT(to)) != 0)
        return;
    log_error("state_fault machine=%s from=%s to=%s "
              "remedy=\"report it, with the lines before it; the daemon restarts\"",
              states->machine, states_name(states, from), states_name(states, to));
    states_end_process();
}

void states_require(const struct states *states, unsigned state, bool holds)
{
    if (holds)
        return;
    log_error("state_fault machine=%s state=%s "
              "remedy=\"report it, with the lines before it; the daemon restarts\"",
              states->machine, states_name(states, state));
    states_end_process();
}
