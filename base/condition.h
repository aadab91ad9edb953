/* SPDX-License-Identifier: MIT */
/*
 * condition.h - a state that is reported once when it begins and once when it is over
 *
 * A lane at its limit has room for a moment with each message that leaves, a
 * disk at its reserve likewise. So a condition is over only when it has not held
 * for CONDITION_OVER_MS; what returns earlier is the same condition and is not
 * reported again. Two lines a second at the most, however often it changes.
 */
#ifndef MQTT_SPOOLD_BASE_CONDITION_H
#define MQTT_SPOOLD_BASE_CONDITION_H

#include <stdbool.h>
#include <stdint.h>

#define CONDITION_OVER_MS 1000

/* All zero: it does not hold, and nothing was reported. */
struct condition {
    bool reported; /* its beginning, but not its end */
    bool clearing; /* it does not hold, since: */
    int64_t clear_since_ms;
    int64_t since_ms;
};

/* It holds now. Return: true: it begins, report it. */
bool condition_set(struct condition *condition, int64_t now_ms);
/* It does not hold now; to be called again while it is reported. Return: true: it is over,
 * report it. */
bool condition_clear(struct condition *condition, int64_t now_ms);
/* Does it hold, or has it within CONDITION_OVER_MS? */
bool condition_is_active(const struct condition *condition, int64_t now_ms);
/* For how long it held; after condition_clear(). */
int64_t condition_held_ms(const struct condition *condition);

#endif
