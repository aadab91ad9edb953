/* SPDX-License-Identifier: MIT */
/*
 * others.c - see others.h
 *
 * Invariant: a message that each broker has refused for good waits for none, whatever is
 * forgotten of its topic, because its marks stay until it ends.
 */
#include "daemon/gateway/others.h"

#include <stdbool.h>
#include <stdint.h>

#include "daemon/gateway/refusal.h"
#include "daemon/uplink/uplink.h"

/* The list has 16 brokers at most: the upper half has the permanent refusals. */
enum { PERMANENT_SHIFT = 16 };

static uint32_t bit_of(unsigned number, bool is_permanent)
{
    return UINT32_C(1) << (number % PERMANENT_SHIFT + (is_permanent ? PERMANENT_SHIFT : 0));
}

uint32_t others_mark(unsigned number, bool is_permanent)
{
    return bit_of(number, false) | (is_permanent ? bit_of(number, true) : 0);
}

static bool
has_refused(const struct refusal *broker, unsigned number, const struct others_refusal *refusal)
{
    if ((refusal->marks & bit_of(number, refusal->is_permanent)) != 0)
        return true;
    if (refusal->tag == 0)
        return false;
    return refusal->is_permanent ? refusal_was_denied_finally(broker, refusal->tag)
                                 : refusal_was_denied(broker, refusal->tag);
}

unsigned others_next(const struct uplink *uplink,
                     const struct refusal *all,
                     unsigned count,
                     unsigned current,
                     const struct others_refusal *refusal)
{
    for (unsigned i = 1; i < count; i++) {
        unsigned number = (current + i) % count;
        const struct refusal *broker = &all[number];

        if (!has_refused(broker, number, refusal) && !refusal_has_lasted(broker) &&
            !uplink_is_away(uplink, number))
            return number;
    }
    return OTHERS_NONE;
}
