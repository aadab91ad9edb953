/* SPDX-License-Identifier: MIT */
/*
 * tally.c - counting what arrived
 */
#include "bench/tally.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

#define LATENCIES_MAX (1u << 20)

void tally_init(struct tally *tally, uint64_t expected)
{
    *tally =
        (struct tally){.seen = calloc((size_t)(expected / 8 + 1), 1), .expected = expected};
    if (expected <= LATENCIES_MAX)
        tally->latency_ns = calloc((size_t)expected + 1, sizeof(*tally->latency_ns));
    if (!tally->seen || (expected <= LATENCIES_MAX && !tally->latency_ns))
        bench_die("memory");
}

void tally_deinit(struct tally *tally)
{
    free(tally->seen);
    free(tally->latency_ns);
}

void tally_stamp(uint8_t *payload, size_t size, uint64_t sequence, int64_t now_ns)
{
    uint64_t stamp[2] = {htobe64(sequence), htobe64((uint64_t)now_ns)};

    memcpy(payload, stamp, size < sizeof(stamp) ? size : sizeof(stamp));
}

void tally_add(struct tally *tally, const uint8_t *payload, size_t size, int64_t now_ns)
{
    uint64_t stamp[2] = {0};

    memcpy(stamp, payload, size < sizeof(stamp) ? size : sizeof(stamp));
    uint64_t sequence = be64toh(stamp[0]);
    if (size < sizeof(stamp[0]) || sequence >= tally->expected) {
        tally->foreign++;
        return;
    }
    uint8_t bit = (uint8_t)(1u << sequence % 8);
    if (tally->seen[sequence / 8] & bit) {
        tally->repeated++;
        return;
    }
    tally->seen[sequence / 8] |= bit;
    if (tally->latency_ns)
        tally->latency_ns[tally->distinct] = now_ns - (int64_t)be64toh(stamp[1]);
    tally->distinct++;
    tally->last_ns = now_ns;
    if (!tally->first_ns)
        tally->first_ns = now_ns;
}

void tally_print(struct tally *tally)
{
    (void)printf("{\"distinct\":%" PRIu64 ",\"repeated\":%" PRIu64 ",\"foreign\":%" PRIu64
                 ",\"first_ns\":%" PRId64 ",\"last_ns\":%" PRId64,
                 tally->distinct, tally->repeated, tally->foreign, tally->first_ns,
                 tally->last_ns);
    if (tally->latency_ns)
        bench_print_percentiles(tally->latency_ns, (size_t)tally->distinct);
    (void)puts("}");
    (void)fflush(stdout);
}
