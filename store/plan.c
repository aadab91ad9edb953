/* SPDX-License-Identifier: MIT */
/*
 * plan.c - an ordered array with a moving head
 *
 * Entries come in at the end in the order of keys, except those of the backlog of
 * a lane that hands out live messages first, and leave, as brokers answer
 * in order, mostly at the front: dropping a prefix only moves the head. What is
 * left behind a gap is compacted in one pass a commit. Look-ups are binary
 * searches. The array never shrinks: its bound is SPOOL_PLAN_MAX, which the
 * caller holds.
 */
#include "store/plan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PLAN_CAPACITY_MIN = 64 };

void plan_done(struct plan *plan)
{
    free(plan->entries);
    *plan = (struct plan){0};
}

static int plan_make_room(struct plan *plan)
{
    if (plan->head + plan->count < plan->capacity)
        return 0;
    if (plan->head > plan->capacity / 2) {
        memmove(plan->entries, plan->entries + plan->head,
                plan->count * sizeof(*plan->entries));
        plan->head = 0;
        return 0;
    }
    size_t capacity = plan->capacity ? plan->capacity * 2 : PLAN_CAPACITY_MIN;
    struct plan_entry *entries = realloc(plan->entries, capacity * sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    plan->entries = entries;
    plan->capacity = capacity;
    return 0;
}

int plan_push(struct plan *plan, const struct plan_entry *entry)
{
    int r = plan_make_room(plan);
    if (r < 0)
        return r;
    *plan_at(plan, plan->count) = *entry;
    plan->count++;
    plan->in_state[entry->state]++;
    if (entry->state == PLAN_SETTLED)
        plan->settled_charge += entry->charge;
    return 0;
}

size_t plan_index_from(const struct plan *plan, int64_t key)
{
    size_t low = 0;
    size_t high = plan->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (plan_at(plan, middle)->key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct plan_entry *plan_find(const struct plan *plan, int64_t key)
{
    size_t index = plan_index_from(plan, key);
    if (index == plan->count || plan_at(plan, index)->key != key)
        return NULL;
    return plan_at(plan, index);
}

int plan_insert(struct plan *plan, const struct plan_entry *entry)
{
    if (plan->count == 0 || plan_at(plan, plan->count - 1)->key < entry->key)
        return plan_push(plan, entry);
    size_t index = plan_index_from(plan, entry->key);
    int r = plan_push(plan, entry);
    if (r < 0)
        return r;
    /* first_returned stays: no entry has moved to the front. */
    memmove(plan_at(plan, index + 1), plan_at(plan, index),
            (plan->count - 1 - index) * sizeof(*entry));
    *plan_at(plan, index) = *entry;
    return 0;
}

static bool has_ended(const struct plan_entry *entry)
{
    return entry->state == PLAN_SETTLED || entry->state == PLAN_GONE;
}

static bool counts_as_refused(const struct plan_entry *entry)
{
    return entry->is_refused && !has_ended(entry);
}

void plan_note_refused(struct plan *plan, struct plan_entry *entry)
{
    plan->refused -= counts_as_refused(entry);
    entry->is_refused = true;
    plan->refused += counts_as_refused(entry);
}

void plan_mark(struct plan *plan, struct plan_entry *entry, enum plan_state state)
{
    plan->in_state[entry->state]--;
    plan->in_state[state]++;
    if (entry->state == PLAN_SETTLED)
        plan->settled_charge -= entry->charge;
    if (state == PLAN_SETTLED)
        plan->settled_charge += entry->charge;
    plan->refused -= counts_as_refused(entry);
    entry->state = state;
    plan->refused += counts_as_refused(entry);
    if (state != PLAN_RETURNED)
        return;
    size_t index = (size_t)(entry - plan_at(plan, 0));
    if (index < plan->first_returned)
        plan->first_returned = index;
    if (entry->not_before_boot_ms < plan->due_boot_ms)
        plan->due_boot_ms = entry->not_before_boot_ms;
}

struct plan_entry *plan_first_due(struct plan *plan, int64_t boot_ms)
{
    if (plan->in_state[PLAN_RETURNED] == 0 || boot_ms < plan->due_boot_ms)
        return NULL;

    int64_t due_boot_ms = INT64_MAX;
    bool has_seen_any = false;
    for (size_t i = plan->first_returned; i < plan->count; i++) {
        struct plan_entry *entry = plan_at(plan, i);
        if (entry->state != PLAN_RETURNED) {
            /* A whole window that was returned is handed out again in one pass. */
            if (!has_seen_any)
                plan->first_returned = i + 1;
            continue;
        }
        has_seen_any = true;
        if (entry->not_before_boot_ms <= boot_ms)
            return entry;
        if (entry->not_before_boot_ms < due_boot_ms)
            due_boot_ms = entry->not_before_boot_ms;
    }
    plan->due_boot_ms = due_boot_ms;
    return NULL;
}

struct plan_entry *plan_first_due_from(const struct plan *plan, int64_t key, int64_t boot_ms)
{
    for (size_t i = plan_index_from(plan, key); i < plan->count; i++) {
        struct plan_entry *entry = plan_at(plan, i);
        if (entry->state == PLAN_RETURNED && entry->not_before_boot_ms <= boot_ms)
            return entry;
    }
    return NULL;
}

size_t plan_release(struct plan *plan)
{
    for (size_t i = plan->first_returned; i < plan->count; i++)
        plan_at(plan, i)->not_before_boot_ms = 0;
    plan->due_boot_ms = 0;
    return plan->in_state[PLAN_RETURNED];
}

void plan_drop_ended(struct plan *plan)
{
    size_t ended = plan->in_state[PLAN_SETTLED] + plan->in_state[PLAN_GONE];
    if (ended == 0)
        return;
    size_t prefix = 0;
    while (prefix < plan->count && has_ended(plan_at(plan, prefix)))
        prefix++;
    plan->head += prefix;
    plan->count -= prefix;
    if (prefix < ended) {
        size_t kept = 0;
        for (size_t i = 0; i < plan->count; i++) {
            if (!has_ended(plan_at(plan, i)))
                *plan_at(plan, kept++) = *plan_at(plan, i);
        }
        plan->count = kept;
    }
    if (plan->count == 0)
        plan->head = 0;
    plan->in_state[PLAN_SETTLED] = 0;
    plan->in_state[PLAN_GONE] = 0;
    plan->settled_charge = 0;
    plan->first_returned = 0;
}

void plan_restore(struct plan *plan)
{
    for (size_t i = 0; plan->in_state[PLAN_GONE] > 0; i++) {
        if (plan_at(plan, i)->state == PLAN_GONE)
            plan_mark(plan, plan_at(plan, i), PLAN_RETURNED);
    }
}

void plan_move(struct plan *plan, unsigned from, unsigned to)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan_at(plan, i)->table == from)
            plan_at(plan, i)->table = to;
    }
}
