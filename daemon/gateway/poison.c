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
    *poison = (struct poison){.step = POISON_SUSPECT, .suspect_id = id};
    return true;
}

enum poison_verdict poison_on_closing(struct poison *poison, uint64_t id, unsigned closings)
{
    switch (poison->step) {
    case POISON_NONE:
        return poison_begin(poison, id, closings) ? POISON_BEGINS : POISON_CONTINUES;
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
    bool is_condemned = poison->step == POISON_OTHER && id == poison->other_id;
    return is_condemned ? POISON_CONDEMNS : POISON_CONTINUES;
}

void poison_end(struct poison *poison)
{
    *poison = (struct poison){0};
}
