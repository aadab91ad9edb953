/* SPDX-License-Identifier: MIT */
/*
 * runs.h - deliveries of one lane that have no outcome rows: runs of neighbours
 *
 * A run is a range of ids in one segment whose messages were delivered, and the seqs of
 * their outcomes. They are stored in the lane's row as one blob. Ids and seqs rise from run
 * to run. Runs that were exported are removed, except the newest one, which shows the newest
 * seq of the lane.
 *
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_RUNS_H
#define MQTT_SPOOLD_STORE_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"

enum {
    RUNS_MAX = 128,
    RUNS_MANY = 96, /* it is time to export them */
    RUN_FIELDS = 9,
    RUNS_BYTES_MAX = RUNS_MAX * RUN_FIELDS * 10, /* of the blob; a tenth of it is usual */
};

struct run {
    uint64_t first_seq;
    uint64_t messages; /* as many seqs */
    uint64_t first_id;
    uint64_t last_id;
    int64_t time_ms;  /* of the end, by the wall clock, */
    int64_t ended_at; /* and by the spool's clock */
    uint32_t attempts;
    int code;         /* or SPOOL_NO_CODE */
    unsigned segment; /* the table that holds its messages */
};

static inline uint64_t run_last_seq(const struct run *run)
{
    return run->first_seq + run->messages - 1;
}

/* Those of the open batch are behind the committed ones. */
struct runs {
    struct run *all; /* RUNS_MAX of them, or NULL */
    unsigned count;
    unsigned committed_count;
};

void runs_done(struct runs *runs);

/* Return: 0; -ENOSPC: there are RUNS_MAX; -ENOMEM. */
MUST_CHECK int runs_add(struct runs *runs, const struct run *run);
static inline bool runs_are_full(const struct runs *runs)
{
    return runs->count == RUNS_MAX;
}
static inline bool runs_are_many(const struct runs *runs)
{
    return runs->count >= RUNS_MANY;
}

/* NULL: there is none. */
static inline const struct run *runs_newest(const struct runs *runs)
{
    return runs->count > 0 ? &runs->all[runs->count - 1] : NULL;
}

void runs_rollback(struct runs *runs);
/* Removes those up to @exported_seq, too, but not the newest one. */
void runs_commit(struct runs *runs, uint64_t exported_seq);

/* How many messages of runs have a seq from @first to @last. */
uint64_t runs_count(const struct runs *runs, uint64_t first, uint64_t last);
/* The first run that reaches beyond @seq; NULL: none. */
const struct run *runs_after(const struct runs *runs, uint64_t seq);

/* Those that reach beyond @exported_seq, and the newest one. Return: the size. */
size_t runs_encode(const struct runs *runs,
                   uint64_t exported_seq,
                   uint8_t bytes[static RUNS_BYTES_MAX]);
/* Replaces all. Return: 0; -EBADMSG: no blob of runs; -ENOMEM. */
MUST_CHECK int runs_decode(struct runs *runs, struct view bytes);

#endif
