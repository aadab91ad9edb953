/* SPDX-License-Identifier: MIT */
/*
 * lanes.c - adds, numbers, orders and forgets lanes
 *
 * Lane numbers are given out once per name and never change, so that reordering
 * or removing lanes in the configuration moves no message, whether at start or
 * while the daemon runs; a lane that is no longer configured keeps its messages
 * and its counters and lives under the limits of lane "default".
 *
 * When neither a message nor a record of such a lane is left, the next start
 * forgets it and lane "default" takes its counters over; so the table stays
 * small whatever names come and go.
 *
 * A new lane is stored by the next commit, with the ledger. Nothing here writes
 * except the forgetting at open.
 */
#include "base/view.h"
#include "store/runs.h"
#include "store/spool-private.h"
#include "store/tallies.h"
#include "store/turns.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int lanes_add(struct spool *spool, const char *name, struct lane **ret)
{
    struct lane *lanes = realloc(spool->lanes.all, (spool->lanes.count + 1) * sizeof(*lanes));
    if (!lanes)
        return spool_fail_memory(spool);
    spool->lanes.all = lanes;
    struct lane *lane = &lanes[spool->lanes.count];
    *lane = (struct lane){.name = strdup(name), .number = SPOOL_LANE_MAX + 1};
    if (!lane->name)
        return spool_fail_memory(spool);
    spool->lanes.count++;
    *ret = lane;
    return 0;
}

/* Gives a number to each configured lane that the database does not know yet. */
static int number_lanes(struct lane *lanes, size_t count)
{
    unsigned next = 0;
    for (size_t i = 0; i < count; i++) {
        if (lanes[i].number <= SPOOL_LANE_MAX && lanes[i].number >= next)
            next = lanes[i].number + 1;
    }
    for (size_t i = 0; i < count; i++) {
        struct lane *lane = &lanes[i];
        if (lane->number <= SPOOL_LANE_MAX)
            continue;
        if (next > SPOOL_LANE_MAX)
            return SPOOL_E_LANES;
        lane->number = next++;
        lane->cursor = lane_first_key(lane);
    }
    return 0;
}

/* Lanes that are not configured live as lane "default" does. */
static void apply_configuration(struct lane *lanes, size_t count, size_t configured)
{
    for (size_t i = 0; i < count; i++) {
        struct lane *lane = &lanes[i];
        const struct lane *model = i < configured ? lane : &lanes[0];
        lane->index = (unsigned)(model - lanes);
        lane->priority = model->priority;
        lane->drain = model->drain;
        lane->limits = model->limits;
        lane->age_due_ms = INT64_MIN;
    }
}

static int too_many_lanes(struct spool *spool)
{
    return spool_fail(spool, SPOOL_E_LANES,
                      "more than %d lanes, with those that messages or records are left of",
                      SPOOL_LANES_KNOWN_MAX);
}

/* ---- lanes that may be forgotten ---- */

/* What it counted goes over to lane "default", so that the sum stays what it was. */
static int forget_lane(struct spool *spool, struct lane *lane)
{
    struct spool_counters *heir = &spool->lanes.all[0].working;
    const struct spool_counters *counters = &lane->working;
    struct stmt *stmt = spool_stmt(spool, STMT_LANE_DROP);
    stmt_bind_int(stmt, 1, lane->number);
    int r = spool_result(spool, stmt_run(stmt));
    if (r == 0) {
        stmt = spool_stmt(spool, STMT_HOLD_DROP);
        stmt_bind_text(stmt, 1, view_of_text(lane->name));
        r = spool_result(spool, stmt_run(stmt));
    }
    if (r != 0)
        return r;
    heir->accepted += counters->accepted;
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        heir->ended[i] += counters->ended[i];
    tallies_add(&heir->tallies, &counters->tallies);
    if (counters->last_id > heir->last_id)
        heir->last_id = counters->last_id;
    if (counters->last_seq > heir->last_seq)
        heir->last_seq = counters->last_seq;
    runs_done(&lane->runs);
    free(lane->name);
    return 0;
}

/* Lanes that are not configured and of which neither a message nor a record is left. */
static int forget_lanes(struct spool *spool)
{
    uint64_t oldest_seq = 0;
    int r = spool_read_number(spool, STMT_FIRST_SEQ, &oldest_seq);
    size_t kept = spool->lanes.configured_count;
    if (oldest_seq == 0 || oldest_seq > spool->committed.last_seq)
        oldest_seq = spool->committed.last_seq; /* a delivery without a row */
    for (size_t i = kept; i < spool->lanes.count; i++) {
        struct lane *lane = &spool->lanes.all[i];
        bool is_used = lane->working.messages > 0 || lane->has_segment_rows ||
                       (lane->working.last_seq > 0 && lane->working.last_seq >= oldest_seq);
        bool is_forgotten = false;
        if (r == 0 && !is_used) {
            r = forget_lane(spool, lane);
            is_forgotten = r == 0;
        }
        if (!is_forgotten)
            spool->lanes.all[kept++] = *lane;
    }
    spool->lanes.count = kept;
    return r;
}

/* ---- at open ---- */

int lanes_add_configured(struct spool *spool, const struct spool_lane *lanes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct lane *lane;
        int r = lanes_add(spool, lanes[i].name, &lane);
        if (r != 0)
            return r;
        lane->priority = lanes[i].priority;
        lane->drain = lanes[i].drain;
        lane->limits = lanes[i].limits;
    }
    spool->lanes.configured_count = count;
    return 0;
}

int lanes_reconcile(struct spool *spool)
{
    int r = forget_lanes(spool);
    if (r != 0)
        return r;
    if (spool->lanes.count > SPOOL_LANES_KNOWN_MAX ||
        number_lanes(spool->lanes.all, spool->lanes.count) != 0)
        return too_many_lanes(spool);
    apply_configuration(spool->lanes.all, spool->lanes.count, spool->lanes.configured_count);
    r = turns_new(spool->lanes.all, spool->lanes.count, &spool->lanes.turns);
    return r == 0 ? 0 : spool_fail_memory(spool);
}

/* ---- while the spool is open ---- */

/* All lanes in their new order; the plans move with them. New ones have no name yet. */
static size_t arrange_lanes(const struct lane_set *lanes,
                            const struct spool_lane *wanted,
                            size_t count,
                            struct lane *ret)
{
    size_t used = count;
    for (size_t i = 0; i < count; i++) {
        const struct lane *existing = lane_set_find(lanes, wanted[i].name);
        ret[i] = existing ? *existing : (struct lane){.number = SPOOL_LANE_MAX + 1};
        ret[i].priority = wanted[i].priority;
        ret[i].drain = wanted[i].drain;
        ret[i].limits = wanted[i].limits;
    }
    for (size_t i = 0; i < lanes->count; i++) {
        bool is_wanted = false;
        for (size_t j = 0; j < count && !is_wanted; j++)
            is_wanted = strcmp(lanes->all[i].name, wanted[j].name) == 0;
        if (!is_wanted)
            ret[used++] = lanes->all[i];
    }
    return used;
}

/* Only when nothing can fail any more. */
static void replace_lanes(struct lane_set *lanes,
                          struct lane *fresh,
                          size_t count,
                          size_t configured,
                          struct turns *turns)
{
    free(lanes->all);
    turns_done(&lanes->turns);
    lanes->all = fresh;
    lanes->count = count;
    lanes->configured_count = configured;
    lanes->turns = *turns;
    lanes->expiry_due_ms = INT64_MIN;
    for (size_t i = 0; i < count; i++)
        lanes->has_new |= !fresh[i].is_stored;
}

static int name_lanes(struct lane *lanes, const struct spool_lane *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!lanes[i].name && !(lanes[i].name = strdup(wanted[i].name)))
            return -ENOMEM;
    }
    return 0;
}

static void free_new_lanes(const struct lane_set *lanes, struct lane *fresh, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fresh[i].name && !lane_set_find(lanes, fresh[i].name))
            free(fresh[i].name);
    }
    free(fresh);
}

int spool_set_lanes(struct spool *spool, const struct spool_lane *lanes, size_t count)
{
    assert(count >= 1 && count <= SPOOL_LANES_MAX);
    assert(strcmp(lanes[0].name, spool->lanes.all[0].name) == 0);
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    spool_end_scan(spool);
    struct lane *fresh = calloc(count + spool->lanes.count, sizeof(*fresh));
    if (!fresh)
        return spool_fail_memory(spool);
    struct turns turns;
    size_t total = arrange_lanes(&spool->lanes, lanes, count, fresh);
    int r = total <= SPOOL_LANES_KNOWN_MAX ? number_lanes(fresh, total) : SPOOL_E_LANES;
    if (r == 0)
        r = name_lanes(fresh, lanes, count);
    if (r == 0)
        r = turns_new(fresh, total, &turns);
    if (r != 0) {
        free_new_lanes(&spool->lanes, fresh, count);
        return r == SPOOL_E_LANES ? too_many_lanes(spool) : spool_fail_memory(spool);
    }
    apply_configuration(fresh, total, count);
    replace_lanes(&spool->lanes, fresh, total, count, &turns);
    return 0;
}
