/* SPDX-License-Identifier: MIT */
/*
 * loop.h - turns of an event loop until a condition holds, with a deadline
 *
 * For unit tests only; include it after cmocka.h.
 */
#ifndef MQTT_SPOOLD_TESTS_LOOP_H
#define MQTT_SPOOLD_TESTS_LOOP_H

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "base/clock.h"

#define LOOP_DEADLINE_US UINT64_C(30000000)
/* The longest time between two looks at a condition that no event of the loop announces. */
#define LOOP_TURN_US UINT64_C(20000)

/* Fails the test, which names @what, if the condition does not hold within LOOP_DEADLINE_US. */
static inline void loop_run_until(sd_event *event,
                                  bool (*condition)(void *userdata),
                                  void *userdata,
                                  const char *what)
{
    uint64_t end_us = clock_monotonic_us() + LOOP_DEADLINE_US;

    while (!condition(userdata)) {
        if (clock_monotonic_us() > end_us)
            fail_msg("did not come true in time: %s", what);
        assert_true(sd_event_run(event, LOOP_TURN_US) >= 0);
    }
}

#endif
