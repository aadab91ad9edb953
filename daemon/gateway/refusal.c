/* SPDX-License-Identifier: MIT */
/*
 * refusal.c - see refusal.h
 */
#include "daemon/gateway/refusal.h"

#include <stdbool.h>
#include <stdint.h>

void refusal_begin_connection(struct refusal *refusal)
{
    refusal->taken[0] = refusal->taken[1] = 0;
}

static bool accepts_another(const struct refusal *refusal, uint64_t tag)
{
    return (refusal->taken[0] != 0 && refusal->taken[0] != tag) ||
           (refusal->taken[1] != 0 && refusal->taken[1] != tag);
}

bool refusal_count(struct refusal *refusal, uint64_t tag, int code)
{
    bool was_refused = refusal->is_refused;

    refusal->is_varied |= refusal->in_a_row > 0 && tag != refusal->tag;
    refusal->code = code;
    refusal->tag = tag;
    if (refusal->in_a_row < REFUSAL_IN_A_ROW)
        refusal->in_a_row++;
    if (refusal->in_a_row >= REFUSAL_IN_A_ROW &&
        (refusal->is_varied || !accepts_another(refusal, tag)))
        refusal->is_refused = true;
    return refusal->is_refused && !was_refused;
}

bool refusal_clear(struct refusal *refusal, uint64_t tag)
{
    bool was_refused = refusal->is_refused;
    uint64_t before = refusal->taken[0] != tag ? refusal->taken[0] : refusal->taken[1];

    *refusal = (struct refusal){.taken = {tag, before}};
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

bool refusal_is_first_try(const struct refusal *refusal)
{
    return refusal->tries_left == REFUSAL_TRIES;
}

uint64_t refusal_choose(const struct refusal *refusal)
{
    return refusal_is_first_try(refusal) ? refusal->head_id : 0;
}

void refusal_note_try(struct refusal *refusal, uint64_t id)
{
    if (refusal_is_first_try(refusal))
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
