/* SPDX-License-Identifier: MIT */
/*
 * condition.h - a state that is reported once when it begins and once when it ends
 *
 * A lane at its limit has room for a moment with each message that leaves, and
 * so has a disk at its reserve. So a condition ends only when it has been false
 * for CONDITION_OVER_MS; if it is true again earlier, it is the same condition
 * and is not reported again.
 *
 * Invariant: beginnings and ends alternate, at most two reports a second however
 * often the state changes.
 */
#ifndef MQTT_SPOOLD_BASE_CONDITION_H
#define MQTT_SPOOLD_BASE_CONDITION_H

#include <stdbool.h>
#include <stdint.h>

#define CONDITION_OVER_MS 1000

/* All zero: false, and nothing was reported. Times are of the caller's clock. */
struct condition {
    bool reported; /* its beginning was, its end was not */
    bool clearing; /* false, since: */
    int64_t clear_since_ms;
    int64_t since_ms;
};

/* It is true now. Return: true: it begins, report it. */
bool condition_set(struct condition *condition, int64_t now_ms);
/* It is false now; to be called again while it is reported. Return: true: it has ended, report
 * it. */
bool condition_clear(struct condition *condition, int64_t now_ms);
/* Is it true, or was it within CONDITION_OVER_MS? */
bool condition_is_active(const struct condition *condition, int64_t now_ms);
/* For how long it was true; after condition_clear() returned true. */
int64_t condition_held_ms(const struct condition *condition);

#endif
