/* SPDX-License-Identifier: MIT */
/*
 * tallies.h - how long deliveries took and why messages failed, counted by lane
 *
 * Part of a lane's counters: in memory twice, and in the lane's row as one blob, so that they
 * cost no write of their own and never step back. They refine the ledger and are no part of
 * it: what ended before schema version 12 is in none, so they add up to the ledger's terms or
 * to less. A blob that cannot be read is none.
 *
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_TALLIES_H
#define MQTT_SPOOLD_STORE_TALLIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/view.h"
#include "store/spool.h"

enum { TALLIES_BYTES_MAX = (1 + SPOOL_DELAY_BUCKETS + SPOOL_REASONS) * 10 }; /* of the blob */

struct tallies {
    struct spool_delays delays;
    uint64_t reasons[SPOOL_REASONS]; /* of none: 0 */
};

/* A message was delivered after @delay_ms; a negative one counts as 0. */
void tallies_count_delay(struct tallies *tallies, int64_t delay_ms);
/* Of a lane that is forgotten. */
void tallies_add(struct tallies *tallies, const struct tallies *more);
/* Is no term larger than that of the ledger with these @ended? */
bool tallies_fit(const struct tallies *tallies, const uint64_t ended[static SPOOL_OUTCOMES]);

/* Return: the size. */
size_t tallies_encode(const struct tallies *tallies, uint8_t bytes[static TALLIES_BYTES_MAX]);
/* Of no bytes all are 0. False: no blob of tallies, and all are 0. */
bool tallies_decode(struct view bytes, struct tallies *ret);

#endif
