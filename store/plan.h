/* SPDX-License-Identifier: MIT */
/*
 * plan.h - the messages of one lane that were handed out and are not resolved
 *
 * In memory only: after a crash they are simply pending again. Entries are
 * ordered by key, and every message of the lane with a key below the lane's
 * cursor has one, so between two neighbours of the plan lies no message. That
 * is what lets a run of neighbours end by one range. A lane that hands out live
 * messages first has a gap in its plan while there is a backlog: lane_set.h.
 *
 * Pointers to entries are valid until the next push or drop.
 */
#ifndef MQTT_SPOOLD_STORE_PLAN_H
#define MQTT_SPOOLD_STORE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "store/spool.h"

/*
 * IN_FLIGHT: handed out, pinned. RETURNED: pending again, kept in its place.
 * SETTLED: its verdict is noted, the next commit writes it. GONE: evicted in
 * the open batch; a commit makes that final, a rollback makes it RETURNED.
 */
enum plan_state { PLAN_IN_FLIGHT, PLAN_RETURNED, PLAN_SETTLED, PLAN_GONE };

struct plan_entry {
    int64_t key;
    int64_t accepted_at;
    int64_t not_before_boot_ms;
    int64_t settled_boot_ms; /* of SETTLED: when it ended */
    uint32_t charge;
    uint32_t attempts;
    uint32_t refusals;     /* by the broker, in a row */
    uint64_t refusal_mark; /* of the newest one: the caller's */
    uint32_t refused_by;   /* likewise: spool_mark_refused() */
    bool is_refused;       /* by plan_note_refused() only, which keeps the count */
    unsigned table;        /* that holds it: TABLE_MESSAGE, or a segment */
    struct spool_verdict verdict;
    enum plan_state state; /* changed by plan_mark() only, which keeps the counts */
};

struct plan {
    struct plan_entry *entries;
    size_t head;
    size_t count;
    size_t capacity;
    size_t in_state[PLAN_GONE + 1];
    size_t refused; /* entries that were refused at their last try and have not ended */
    uint64_t settled_charge;
    size_t first_returned; /* no RETURNED entry lies before this index */
    int64_t due_boot_ms;   /* no RETURNED entry is due before */
};

void plan_done(struct plan *plan);

static inline struct plan_entry *plan_at(const struct plan *plan, size_t index)
{
    return &plan->entries[plan->head + index];
}

/* Appends an entry; its key is above all others. Return: 0; -ENOMEM. */
MUST_CHECK int plan_push(struct plan *plan, const struct plan_entry *entry);

/* The same in its place, with any key that no other has; moves all behind it. */
MUST_CHECK int plan_insert(struct plan *plan, const struct plan_entry *entry);

/* The index of the first entry with a key of at least @key; count: none. */
size_t plan_index_from(const struct plan *plan, int64_t key);

/* NULL when there is none. */
struct plan_entry *plan_find(const struct plan *plan, int64_t key);

void plan_mark(struct plan *plan, struct plan_entry *entry, enum plan_state state);

/* The broker refused an entry that is IN_FLIGHT. */
void plan_note_refused(struct plan *plan, struct plan_entry *entry);

/* The RETURNED entry with the lowest key that is due, or NULL. */
struct plan_entry *plan_first_due(struct plan *plan, int64_t boot_ms);

/* The same of those with a key of at least @key; looks at all of them. */
struct plan_entry *plan_first_due_from(const struct plan *plan, int64_t key, int64_t boot_ms);

/* What is RETURNED is due at once. Return: how many are. */
size_t plan_release(struct plan *plan);

/* After a commit: forgets what is SETTLED or GONE. */
void plan_drop_ended(struct plan *plan);

/* What lies in table @from lies in @to now. */
void plan_move(struct plan *plan, unsigned from, unsigned to);

/* After a rollback: what was GONE is RETURNED again. */
void plan_restore(struct plan *plan);

#endif
