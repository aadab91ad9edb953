/* SPDX-License-Identifier: MIT */
/*
 * fleet.c - how a thousand gateways come back to one broker that was away
 *
 * Simulated time, but the pauses are those of the uplink (uplink_backoff_ms()). All gateways
 * lose the broker in the same moment. While it is away each attempt fails at once; the first
 * one after that succeeds. Printed are attempts and connects in the busiest second, with the
 * jitter of the daemon and without any.
 *
 *     fleet [GATEWAYS [MIN_MS [MAX_MS]]]
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/uplink/uplink-private.h"

#define SECONDS_MAX 7200

struct fleet {
    unsigned gateways;
    uint64_t min_ms;
    uint64_t max_ms;
    bool has_jitter;
    uint64_t random; /* the state of the generator: the same sequence in each run */
    unsigned attempts[SECONDS_MAX];
    unsigned connects[SECONDS_MAX];
    uint64_t last_ms; /* when the last gateway was connected */
};

/* splitmix64 */
static uint64_t next_random(struct fleet *fleet)
{
    uint64_t mixed = fleet->random += 0x9E3779B97F4A7C15u;

    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return mixed ^ mixed >> 31;
}

static uint64_t next_pause_ms(struct fleet *fleet, unsigned round)
{
    uint64_t limit_ms = uplink_backoff_limit_ms(fleet->min_ms, fleet->max_ms, round);
    uint64_t random = fleet->has_jitter ? next_random(fleet) : limit_ms;

    return uplink_backoff_ms(fleet->min_ms, fleet->max_ms, round, random);
}

static void count(unsigned *seconds, uint64_t at_ms)
{
    if (at_ms / 1000 < SECONDS_MAX)
        seconds[at_ms / 1000]++;
}

/* One gateway, from the loss at 0 to its first connection after @outage_ms. */
static void run_gateway(struct fleet *fleet, uint64_t outage_ms)
{
    uint64_t at_ms = 0;

    for (unsigned round = 0;; round++) {
        at_ms += next_pause_ms(fleet, round);
        if (at_ms >= outage_ms)
            break;
        count(fleet->attempts, at_ms);
    }
    count(fleet->connects, at_ms);
    if (at_ms > fleet->last_ms)
        fleet->last_ms = at_ms;
}

static unsigned busiest(const unsigned *seconds, unsigned from)
{
    unsigned most = 0;

    for (unsigned i = from; i < SECONDS_MAX; i++) {
        if (seconds[i] > most)
            most = seconds[i];
    }
    return most;
}

static void run(struct fleet *fleet, uint64_t outage_ms, bool has_jitter)
{
    fleet->has_jitter = has_jitter;
    fleet->random = 1;
    fleet->last_ms = 0;
    memset(fleet->attempts, 0, sizeof(fleet->attempts));
    memset(fleet->connects, 0, sizeof(fleet->connects));
    for (unsigned i = 0; i < fleet->gateways; i++)
        run_gateway(fleet, outage_ms);
    printf("%8" PRIu64 " s  %-6s  %8u  %8u  %8u  %8.1f s\n", outage_ms / 1000,
           has_jitter ? "full" : "none", busiest(fleet->attempts, 0),
           busiest(fleet->attempts, 60), busiest(fleet->connects, 0),
           (double)(fleet->last_ms - outage_ms) / 1000);
}

static uint64_t number(int argc, char **argv, int index, uint64_t fallback)
{
    return argc > index ? strtoull(argv[index], NULL, 10) : fallback;
}

int main(int argc, char **argv)
{
    static struct fleet fleet;
    static const unsigned outages_s[] = {2, 10, 60, 600, 3600};

    fleet.gateways = (unsigned)number(argc, argv, 1, 1000);
    fleet.min_ms = number(argc, argv, 2, 1000);
    fleet.max_ms = number(argc, argv, 3, 120000);
    printf("%u gateways, backoff %" PRIu64 " to %" PRIu64 " ms; in the busiest second:\n",
           fleet.gateways, fleet.min_ms, fleet.max_ms);
    printf("%10s  %-6s  %8s  %8s  %8s  %10s\n", "outage", "jitter", "attempts", "later",
           "connects", "all back");
    for (size_t i = 0; i < sizeof(outages_s) / sizeof(outages_s[0]); i++) {
        run(&fleet, outages_s[i] * UINT64_C(1000), true);
        run(&fleet, outages_s[i] * UINT64_C(1000), false);
    }
    return 0;
}
