/* SPDX-License-Identifier: MIT */
/*
 * backoff.c - how long a pause before an attempt is
 *
 * Pure, so that bench/fleet.c can simulate many gateways with it.
 */
#include <stdint.h>

#include "daemon/uplink/uplink-private.h"

uint64_t uplink_backoff_limit_ms(uint64_t min_ms, uint64_t max_ms, unsigned round)
{
    uint64_t limit = min_ms < max_ms ? min_ms : max_ms;

    while (round-- > 0 && limit < max_ms)
        limit = limit > max_ms / 2 ? max_ms : limit * 2;
    return limit;
}

uint64_t uplink_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned round, uint64_t random)
{
    return random % (uplink_backoff_limit_ms(min_ms, max_ms, round) + 1);
}
