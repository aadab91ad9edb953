/* SPDX-License-Identifier: MIT */
/*
 * tally.h - which messages arrived, counted by the number at the head of their payload
 *
 * A payload of the bench begins with its sequence number and the time at which it was sent,
 * both of 8 bytes, big endian. A bitmap of the numbers tells lost messages from repeated ones
 * exactly.
 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <stddef.h>
#include <stdint.h>

#define TALLY_STAMP_SIZE 16

struct tally {
    uint8_t *seen;
    int64_t *latency_ns; /* of each distinct message; NULL: not measured */
    uint64_t expected, distinct, repeated;
    uint64_t foreign; /* payloads without a number that is expected */
    int64_t first_ns, last_ns;
};

/* For numbers below @expected. Latencies are kept for a million messages at most. */
void tally_init(struct tally *tally, uint64_t expected);
void tally_deinit(struct tally *tally);

/* Writes number and time to the head of a payload, as much as @size has room for. */
void tally_stamp(uint8_t *payload, size_t size, uint64_t sequence, int64_t now_ns);

/* Counts a payload that arrived at @now_ns. */
void tally_add(struct tally *tally, const uint8_t *payload, size_t size, int64_t now_ns);

/* Prints the counts as one JSON object on a line of its own. */
void tally_print(struct tally *tally);

#endif
