/* SPDX-License-Identifier: MIT */
/*
 * poison.c - see poison.h
 */
#include "daemon/gateway/poison.h"

#include <stdbool.h>
#include <stdint.h>

bool poison_begin(struct poison *poison, uint64_t id, unsigned closings)
{
    if (poison->step != POISON_NONE || closings < POISON_CLOSINGS)
        return false;
    /* More: it was alone, before a restart. */
    *poison = (struct poison){.step = closings >= POISON_ALONE ? POISON_OTHER : POISON_SUSPECT,
                              .suspect_id = id,
                              .is_old = closings < POISON_CERTAIN};
    return true;
}

enum poison_verdict poison_on_closing(struct poison *poison, uint64_t id, unsigned closings)
{
    if (id == poison->suspect_id)
        poison->is_old = false;
    switch (poison->step) {
    case POISON_NONE:
        if (!poison_begin(poison, id, closings))
            return POISON_CONTINUES;
        poison->is_old = false;
        return POISON_BEGINS;
    case POISON_SUSPECT:
        if (id == poison->suspect_id)
            poison->step = POISON_OTHER;
        return POISON_CONTINUES;
    case POISON_OTHER:
        break;
    }
    return id == poison->other_id ? POISON_ACQUITS_BOTH : POISON_CONTINUES;
}

enum poison_verdict poison_on_answer(struct poison *poison, uint64_t id)
{
    if (poison->step == POISON_NONE)
        return POISON_CONTINUES;
    if (id == poison->suspect_id)
        return POISON_ACQUITS;
    if (poison->step != POISON_OTHER || id != poison->other_id)
        return POISON_CONTINUES;
    if (!poison->is_old)
        return POISON_CONDEMNS;
    *poison = (struct poison){.step = POISON_SUSPECT, .suspect_id = poison->suspect_id};
    return POISON_RETRIES;
}

void poison_end(struct poison *poison)
{
    *poison = (struct poison){0};
}
