/* SPDX-License-Identifier: MIT */
/*
 * condition.c - a state that is reported once when it begins and once when it ends
 */
#include "base/condition.h"

bool condition_set(struct condition *condition, int64_t now_ms)
{
    condition->clearing = false;
    if (condition->reported)
        return false;
    condition->reported = true;
    condition->since_ms = now_ms;
    return true;
}

bool condition_clear(struct condition *condition, int64_t now_ms)
{
    if (!condition->reported)
        return false;
    if (!condition->clearing)
        condition->clear_since_ms = now_ms;
    condition->clearing = true;
    if (condition_is_active(condition, now_ms))
        return false;
    condition->reported = false;
    return true;
}

bool condition_is_active(const struct condition *condition, int64_t now_ms)
{
    return condition->reported &&
           (!condition->clearing || now_ms - condition->clear_since_ms < CONDITION_OVER_MS);
}

int64_t condition_held_ms(const struct condition *condition)
{
    return condition->clear_since_ms - condition->since_ms;
}
