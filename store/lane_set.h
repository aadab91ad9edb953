/* SPDX-License-Identifier: MIT */
/*
 * lane_set.h - the lanes of an open spool, with their counters and their plans
 *
 * Each counter exists twice: as the last commit left it, and as it will be when
 * the open batch commits. A rollback copies the first over the second.
 *
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_LANE_SET_H
#define MQTT_SPOOLD_STORE_LANE_SET_H

#include <stdbool.h>

#include "store/plan.h"
#include "store/runs.h"
#include "store/spool.h"
#include "store/tallies.h"
#include "store/turns.h"

/* A message's key: its lane's number, and below it the id. */
#define SPOOL_ID_BITS 48
#define SPOOL_ID_MAX  ((UINT64_C(1) << SPOOL_ID_BITS) - 1)
/* No spool comes to half of all ids in a hundred years: what is beyond is damage. */
#define SPOOL_LAST_MAX     (SPOOL_ID_MAX / 2)
#define SPOOL_IDS_LEFT_OUT (1 << 20) /* in a row, at most: what lost batches would have had */
#define SPOOL_LANE_MAX     0x7fff    /* lane numbers: a key stays positive */

struct spool_counters {
    uint64_t accepted;
    uint64_t numbered; /* the newest number of a message within the lane */
    uint64_t ended[SPOOL_OUTCOMES];
    uint64_t messages;
    uint64_t bytes;
    uint64_t last_id;
    uint64_t last_seq;
    uint64_t ended_id;         /* rows of segments up to it were delivered, by runs */
    uint64_t segment_messages; /* of the messages; of a writer, and not stored */
    struct tallies tallies;
};

/* Charges, since the last checkpoint: see checkpoint.c. */
struct lane_log {
    uint64_t spooled;  /* at it */
    uint64_t waiting;  /* of these, what was not in flight */
    uint64_t appended; /* and committed since */
    uint64_t newest;   /* of these, by the newest commit */
};

/* By the operator. */
struct hold {
    bool is_wanted;
    bool is_stored; /* by the last commit */
};

struct lane {
    char *name;
    unsigned number; /* in keys and in the table, stable for ever */
    bool is_stored;  /* the table has it */
    unsigned index;  /* as spool_next() reports it: what is not configured goes as "default" */
    int priority;
    struct spool_limits limits;
    struct spool_counters committed;
    struct spool_counters working;
    uint64_t batch_charge; /* of what the open batch has appended */
    struct lane_log log;
    struct plan plan;
    struct runs runs;
    bool has_segment_rows; /* at the open: some, also delivered ones */
    struct hold hold;
    enum spool_drain drain;
    int64_t cursor; /* every message with a key below is in the plan, or ended */
    /* The first key of what is live; 0: all is. */
    int64_t live_from;
    /* 0: there is no gap. Else every message from live_from up to here is in the plan, or
     * ended, too; but between cursor and live_from lie some that are neither. */
    int64_t live_cursor;
    unsigned live_places; /* in a row that went to live messages, counted up to TURNS_PLACES */
    bool is_cut;          /* the open batch has ended messages from the cursor on */
    int64_t age_due_ms;   /* no message outside the plan's pins reaches max_age before */
};

/* Configured lanes come first, in their order; behind them what the database knows besides. */
struct lane_set {
    struct lane *all;
    size_t count;
    size_t configured_count;
    bool has_new; /* one that the table does not have yet */
    struct turns turns;
    uint64_t last_id;      /* the newest ever given out, also in a batch rolled back */
    int64_t expiry_due_ms; /* no message outside the plans' pins expires before */
};

static inline int64_t lane_first_key(const struct lane *lane)
{
    return (int64_t)lane->number * (INT64_C(1) << SPOOL_ID_BITS);
}

static inline int64_t lane_last_key(const struct lane *lane)
{
    return lane_first_key(lane) | (int64_t)SPOOL_ID_MAX;
}

/* In segments: what lies before it was delivered. */
static inline int64_t lane_first_pending(const struct lane *lane)
{
    return lane_first_key(lane) + (int64_t)lane->working.ended_id + 1;
}

/* The first key, from @key on, at which a segment may hold a pending message. */
static inline int64_t lane_pending_from(const struct lane *lane, int64_t key)
{
    int64_t first_key = lane_first_pending(lane);

    return key > first_key ? key : first_key;
}

static inline bool lane_has_gap(const struct lane *lane)
{
    return lane->live_cursor != 0;
}

/* Can no message lie between these two of the plan, which has none between them? */
static inline bool lane_are_neighbours(const struct lane *lane, int64_t key, int64_t next_key)
{
    return !lane_has_gap(lane) || next_key < lane->cursor || key >= lane->live_from;
}

/* NULL: there is none of that name, or number. */
struct lane *lane_set_find(const struct lane_set *lanes, const char *name);
struct lane *lane_set_find_number(const struct lane_set *lanes, int64_t number);
/* The newest id in the lanes' rows; ids of a batch that was rolled back are not in it. */
uint64_t lane_set_committed_id(const struct lane_set *lanes);
/* Retention looks at all messages again. */
void lane_set_reset_due_times(struct lane_set *lanes);
/* Frees what it holds. */
void lane_set_done(struct lane_set *lanes);

#endif
