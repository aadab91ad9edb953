/* SPDX-License-Identifier: MIT */
/*
 * refusal.c - see refusal.h
 */
#include "daemon/gateway/refusal.h"

#include <stdbool.h>
#include <stdint.h>

bool refusal_count(struct refusal *refusal, int code)
{
    bool was_refused = refusal->is_refused;

    refusal->code = code;
    if (refusal->in_a_row < REFUSAL_IN_A_ROW)
        refusal->in_a_row++;
    refusal->is_refused = refusal->in_a_row >= REFUSAL_IN_A_ROW;
    return refusal->is_refused && !was_refused;
}

bool refusal_clear(struct refusal *refusal)
{
    bool was_refused = refusal->is_refused;

    *refusal = (struct refusal){0};
    return was_refused;
}

bool refusal_may_try(struct refusal *refusal, int64_t boot_ms, uint64_t min_ms, uint64_t max_ms)
{
    if (refusal->due_boot_ms == 0) /* the first one waits, too */
        refusal->due_boot_ms = boot_ms + (int64_t)refusal_backoff_ms(min_ms, max_ms, 0);
    if (refusal->tries_left == 0 && boot_ms >= refusal->due_boot_ms) {
        refusal->tries_left = REFUSAL_TRIES;
        refusal->rounds++;
        refusal->due_boot_ms =
            boot_ms + (int64_t)refusal_backoff_ms(min_ms, max_ms, refusal->rounds);
    }
    return refusal->tries_left > 0;
}

uint64_t refusal_choose(const struct refusal *refusal)
{
    return refusal->tries_left == REFUSAL_TRIES ? refusal->head_id : 0;
}

void refusal_note_try(struct refusal *refusal, uint64_t id)
{
    if (refusal->tries_left == REFUSAL_TRIES)
        refusal->head_id = id;
    refusal->tries_left--;
}

void refusal_end_round(struct refusal *refusal)
{
    refusal->tries_left = 0;
}

uint64_t refusal_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned times)
{
    uint64_t ms = min_ms;

    for (unsigned i = 0; i < times && ms < max_ms; i++)
        ms *= 2;
    return ms < max_ms ? ms : max_ms;
}
