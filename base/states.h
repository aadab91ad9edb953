/* SPDX-License-Identifier: MIT */
/*
 * states.h - which state may follow which, and what each of them promises
 *
 * A state machine has one table and one function that moves it:
 *
 *     states_check(&link_states, link->state, next);
 *     link->state = next;
 *     states_require(&link_states, next, link_is_consistent(link));
 *
 * A move that the table does not allow, or an invariant that does not hold after
 * one, is a fault of the program. A test build (SPOOLD_FAILPOINTS) aborts, so
 * that a debugger and a sanitizer see the stack. Every other build ends the
 * process at once with exit code 1: what is on the disk is true at any instant,
 * so a restart is safer than to continue in a state that was not foreseen.
 *
 * Diagnostics: state_fault machine= from= to=, and state_fault machine= state=.
 *
 * Thread: loop thread only, as log.h.
 */
#ifndef MQTT_SPOOLD_BASE_STATES_H
#define MQTT_SPOOLD_BASE_STATES_H

#include <stdbool.h>
#include <stdint.h>

#define STATES_BIT(state) (UINT32_C(1) << (state))

/* Static and constant. States are numbered from 0, without a gap, at most 32 of them. */
struct states {
    const char *machine;        /* its name in the log */
    const char *const *names;   /* @count of them */
    const uint32_t *may_follow; /* by state: STATES_BIT() of each that may follow it */
    unsigned count;
};

/* Returns only if the table allows @to after @from. A state may follow itself only if the table
 * allows it. */
void states_check(const struct states *states, unsigned from, unsigned to);
/* Returns only if @holds, which is the invariant of @state. */
void states_require(const struct states *states, unsigned state, bool holds);

#endif
