/* SPDX-License-Identifier: MIT */
/*
 * tallies.c - how long deliveries took and why messages failed, counted by lane
 *
 * The blob is a list of varints: the sum of the delays, the buckets, then the reasons from 1
 * on. Reasons are appended in later versions: what is missing at the end is 0, what is beyond
 * the known ones is another version's and is passed over.
 */
#include "store/tallies.h"

#include <string.h>

/* About three a decade; a day and a week for gateways that are often offline. */
static const int64_t bounds_ms[SPOOL_DELAY_BUCKETS - 1] = {
    10,    25,    50,    100,    250,    500,     1000,     2500,     5000,
    10000, 30000, 60000, 300000, 900000, 3600000, 21600000, 86400000, 604800000,
};

int64_t spool_delay_bound_ms(unsigned bucket)
{
    return bounds_ms[bucket];
}

void tallies_count_delay(struct tallies *tallies, int64_t delay_ms)
{
    unsigned bucket = 0;
    while (bucket < SPOOL_DELAY_BUCKETS - 1 && delay_ms > bounds_ms[bucket])
        bucket++;
    tallies->delays.counts[bucket]++;
    if (delay_ms > 0)
        tallies->delays.sum_ms += (uint64_t)delay_ms;
}

void tallies_add(struct tallies *tallies, const struct tallies *more)
{
    tallies->delays.sum_ms += more->delays.sum_ms;
    for (int i = 0; i < SPOOL_DELAY_BUCKETS; i++)
        tallies->delays.counts[i] += more->delays.counts[i];
    for (int i = 0; i < SPOOL_REASONS; i++)
        tallies->reasons[i] += more->reasons[i];
}

bool tallies_fit(const struct tallies *tallies, const uint64_t ended[static SPOOL_OUTCOMES])
{
    uint64_t left = ended[SPOOL_DELIVERED];
    for (int i = 0; i < SPOOL_DELAY_BUCKETS; i++) {
        if (tallies->delays.counts[i] > left)
            return false;
        left -= tallies->delays.counts[i];
    }
    for (int outcome = SPOOL_DELIVERED + 1; outcome < SPOOL_OUTCOMES; outcome++) {
        left = ended[outcome];
        for (int i = 0; i < SPOOL_REASONS; i++) {
            if (!spool_reason_fits(outcome, i))
                continue;
            if (tallies->reasons[i] > left)
                return false;
            left -= tallies->reasons[i];
        }
    }
    return true;
}

/* ---- the blob ---- */

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
    for (; number > 0x7f; number >>= 7)
        *at++ = (uint8_t)(number | 0x80);
    *at++ = (uint8_t)number;
    return at;
}

/* False: it would go beyond @end, or has more than 63 bits. */
static bool get_number(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        if (*at == end)
            return false;
        uint8_t byte = *(*at)++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        *ret = number;
        return true;
    }
    return false;
}

size_t tallies_encode(const struct tallies *tallies, uint8_t bytes[static TALLIES_BYTES_MAX])
{
    uint8_t *at = put_number(bytes, tallies->delays.sum_ms);
    for (int i = 0; i < SPOOL_DELAY_BUCKETS; i++)
        at = put_number(at, tallies->delays.counts[i]);
    for (int i = SPOOL_REASON_NONE + 1; i < SPOOL_REASONS; i++)
        at = put_number(at, tallies->reasons[i]);
    return (size_t)(at - bytes);
}

static bool decode(struct view bytes, struct tallies *tallies)
{
    const uint8_t *at = bytes.data;
    const uint8_t *end = at + bytes.size;
    uint64_t unknown;
    if (!get_number(&at, end, &tallies->delays.sum_ms))
        return false;
    for (int i = 0; i < SPOOL_DELAY_BUCKETS; i++) {
        if (!get_number(&at, end, &tallies->delays.counts[i]))
            return false;
    }
    for (int i = SPOOL_REASON_NONE + 1; at != end; i++) {
        if (!get_number(&at, end, i < SPOOL_REASONS ? &tallies->reasons[i] : &unknown))
            return false;
    }
    return true;
}

bool tallies_decode(struct view bytes, struct tallies *ret)
{
    struct tallies tallies = {0};
    bool is_sound = bytes.size == 0 || decode(bytes, &tallies);
    *ret = is_sound ? tallies : (struct tallies){0};
    return is_sound;
}
