/* SPDX-License-Identifier: MIT */
/*
 * drop.c - ends selected messages by the operator's will
 *
 * As retention ends them: outcome row, ledger and removal in the open batch, runs of
 * neighbours at once. What is in flight is pinned, because the broker may have it already.
 */
#include "store/plan.h"
#include "store/select.h"
#include "store/spool-private.h"

static const struct spool_verdict verdict_dropped = {
    .outcome = SPOOL_DROPPED,
    .reason = SPOOL_REASON_OPERATOR,
    .code = SPOOL_NO_CODE,
};

struct drop {
    struct spool *spool;
    const struct spool_time *now;
    struct spool_changes *changes;
    bool is_dry_run;
    struct lane *lane; /* of the run */
    struct ending run; /* messages that are not in the plan, not ended yet */
};

static int drop_end_run(struct drop *drop)
{
    if (drop->run.messages == 0)
        return 0;
    int r =
        drop->is_dry_run ? 0 : ending_write_run(drop->spool, drop->lane, &drop->run, drop->now);
    if (r == 0)
        drop->changes->changed += drop->run.messages;
    drop->run.messages = 0;
    return r;
}

static void
drop_begin_run(struct drop *drop, struct lane *lane, const struct select_found *found)
{
    drop->lane = lane;
    drop->run = (struct ending){
        .table = found->table,
        .first_key = found->position,
        .verdict = verdict_dropped,
    };
}

static void drop_add(struct drop *drop, const struct select_found *found)
{
    drop->run.last_key = found->position;
    drop->run.messages++;
    drop->run.charge += found->charge;
    drop->changes->matched++;
}

/* A message that was handed out. */
static int drop_planned(struct drop *drop,
                        struct lane *lane,
                        struct plan_entry *entry,
                        const struct select_found *found)
{
    int r = drop_end_run(drop);

    if (r != 0 || entry->state == PLAN_SETTLED || entry->state == PLAN_GONE)
        return r;
    if (entry->state == PLAN_IN_FLIGHT) {
        drop->changes->matched++;
        drop->changes->in_flight++;
        return 0;
    }
    drop_begin_run(drop, lane, found);
    drop_add(drop, found);
    drop->run.attempts = entry->attempts;
    r = drop_end_run(drop);
    if (r == 0 && !drop->is_dry_run)
        plan_mark(&lane->plan, entry, PLAN_GONE);
    return r;
}

static int drop_found(struct drop *drop, const struct spool_select *select)
{
    int r = 0;

    for (size_t i = 0; i < select->count && r == 0; i++) {
        const struct select_found *found = &select->found[i];
        struct lane *lane =
            lane_set_find_number(&drop->spool->lanes, found->position >> SPOOL_ID_BITS);
        struct plan_entry *entry = plan_find(&lane->plan, found->position);
        if (entry) {
            r = drop_planned(drop, lane, entry, found);
            continue;
        }
        if (!found->is_neighbour)
            r = drop_end_run(drop);
        if (r == 0 && drop->run.messages == 0)
            drop_begin_run(drop, lane, found);
        drop_add(drop, found);
    }
    return r == 0 ? drop_end_run(drop) : r;
}

int spool_select_drop(struct spool_select *select,
                      const struct spool_time *now,
                      bool is_dry_run,
                      struct spool_changes *changes)
{
    struct spool *spool = select->spool;
    uint64_t next = select->next;
    int r = spool_check_batch(spool);

    if (r == 0)
        r = select_fill(select, now);
    if (r != 0)
        return r;
    struct spool_changes done = {0};
    struct drop drop = {.spool = spool, .now = now, .changes = &done, .is_dry_run = is_dry_run};
    r = drop_found(&drop, select);
    select->taken = select->count;
    if (r != 0)
        select->next = next;
    if (r > 0) /* as in spool_retain() */
        return spool_lose_batch(spool, r);
    if (r < 0)
        return r;
    changes->matched += done.matched;
    changes->changed += done.changed;
    changes->in_flight += done.in_flight;
    return SPOOL_E_AGAIN;
}
