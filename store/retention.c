/* SPDX-License-Identifier: MIT */
/*
 * retention.c - enforces the limits; each eviction has its record
 *
 * For each message the order is: find the token (the plan's entry, or none when
 * it was never handed out), mark it failed (outcome row and ledger), report
 * (that row is what the audit exports once it is committed), release message
 * and token. All of it in the open batch, so a crash leaves either everything
 * or nothing of it.
 *
 * In flight means pinned: the broker may have the message already, so no
 * failure may be recorded before its answer. What may go, oldest first, is
 * therefore: the returned messages in the plan, then the table from the lane's
 * cursor on, which holds no pinned message at all. That part goes by ranges. Where
 * the plan has a gap both take turns, and no range reaches over a message of the plan.
 *
 * Age and expiry are asked in every batch and mostly have nothing to do, so
 * each keeps a time before which nothing can be due; what could make something
 * due earlier resets it. What is settled but not yet written counts as ended.
 */
#include "store/plan.h"
#include "store/segments.h"
#include "store/spool-private.h"

#include <stdlib.h>

enum { EXPIRY_CHUNK = 256, DISK_BUDGET = 1000, COST_BYTES = 64 << 10 };

/* One call of spool_retain(). */
struct sweep {
    struct spool *spool;
    const struct spool_time *now;
    int64_t clock_ms;
    unsigned budget; /* what is left of it, by cost_of() */
    /* What this batch appended to the lane. So many messages may be evicted without using the
     * budget, and so many bytes even when the budget is used up. */
    uint64_t owed_messages;
    uint64_t owed_bytes;
    unsigned ended;
    bool has_more;
};

/* What ends together. */
struct spent {
    uint64_t messages;
    uint64_t cost; /* of those that are not owed */
    uint64_t bytes;
};

/* A large message is as much work as several: all its pages are read and freed, and its record
 * may be large, too. */
static uint64_t cost_of(uint64_t charge)
{
    return 1 + charge / COST_BYTES;
}

static void spent_add(const struct sweep *sweep, struct spent *spent, uint64_t charge)
{
    if (spent->messages >= sweep->owed_messages)
        spent->cost += cost_of(charge);
    spent->messages++;
    spent->bytes += charge;
}

/* Would it be, after these? */
static bool is_spent(const struct sweep *sweep, const struct spent *spent)
{
    return spent->messages >= sweep->owed_messages && spent->cost >= sweep->budget &&
           spent->bytes >= sweep->owed_bytes;
}

static void spend(struct sweep *sweep, const struct spent *spent)
{
    uint64_t owed = sweep->owed_messages;

    sweep->ended += (unsigned)spent->messages;
    sweep->owed_messages -= spent->messages < owed ? spent->messages : owed;
    sweep->budget -= spent->cost < sweep->budget ? (unsigned)spent->cost : sweep->budget;
    sweep->owed_bytes -= spent->bytes < sweep->owed_bytes ? spent->bytes : sweep->owed_bytes;
}

/* How far one lane has to be cut, and why. */
struct excess {
    enum spool_reason reason;
    uint64_t messages;     /* so many must go, */
    uint64_t bytes;        /* or so many bytes, */
    int64_t accepted_till; /* or all that were accepted up to then */
};

static bool excess_takes(const struct excess *excess, int64_t accepted_at)
{
    return excess->messages > 0 || excess->bytes > 0 || accepted_at <= excess->accepted_till;
}

static void excess_took(struct excess *excess, uint64_t charge)
{
    if (excess->messages > 0)
        excess->messages--;
    excess->bytes -= charge < excess->bytes ? charge : excess->bytes;
}

static struct ending eviction(enum spool_reason reason)
{
    return (struct ending){
        .verdict = {.outcome = SPOOL_EVICTED, .reason = reason, .code = SPOOL_NO_CODE},
    };
}

/* A message that was handed out and came back: it still has an open token. */
static int end_returned(struct sweep *sweep,
                        struct lane *lane,
                        struct plan_entry *entry,
                        struct ending ending)
{
    ending.first_key = entry->key;
    ending.last_key = entry->key;
    ending.messages = 1;
    ending.charge = entry->charge;
    ending.table = entry->table;
    ending.attempts = entry->attempts;
    int r = ending_write_run(sweep->spool, lane, &ending, sweep->now);
    if (r != 0)
        return r;
    struct spent spent = {0};
    spent_add(sweep, &spent, entry->charge);
    plan_mark(&lane->plan, entry, PLAN_GONE);
    spend(sweep, &spent);
    return 0;
}

/* Entries from @index up to @end. @ret_first: when the first message that stays was accepted,
 * if one was seen. */
static int cut_plan(struct sweep *sweep,
                    struct lane *lane,
                    size_t index,
                    size_t end,
                    struct excess *excess,
                    int64_t *ret_first)
{
    static const struct spent nothing = {0};
    struct plan *plan = &lane->plan;
    for (size_t i = index; plan->in_state[PLAN_RETURNED] > 0 && i < end; i++) {
        struct plan_entry *entry = plan_at(plan, i);
        if (entry->state != PLAN_RETURNED)
            continue;
        if (is_spent(sweep, &nothing) || !excess_takes(excess, entry->accepted_at)) {
            *ret_first = entry->accepted_at;
            return 0;
        }
        int r = end_returned(sweep, lane, entry, eviction(excess->reason));
        if (r != 0)
            return r;
        excess_took(excess, entry->charge);
    }
    return 0;
}

/* Keys of one lane that no entry of the plan has. */
struct range {
    int64_t first_key;
    int64_t last_key;
};

/* How far the cut goes, within one table; reads only. */
static int measure_cut(struct sweep *sweep,
                       const struct lane *lane,
                       const struct range *range,
                       struct excess *excess,
                       struct ending *cut,
                       struct spent *spent,
                       int64_t *ret_first)
{
    struct stmt *stmt = segments_oldest(sweep->spool, lane, range->first_key, range->last_key);
    int rc;
    while ((rc = stmt_step(stmt)) == SQLITE_ROW) {
        int64_t accepted_at = stmt_int(stmt, 1);
        if (is_spent(sweep, spent) || !excess_takes(excess, accepted_at)) {
            *ret_first = accepted_at;
            break;
        }
        unsigned table = (unsigned)stmt_int(stmt, 3);
        if (cut->messages > 0 && cut->table != table)
            break;
        cut->table = table;
        if (cut->messages == 0)
            cut->first_key = stmt_int(stmt, 0);
        cut->last_key = stmt_int(stmt, 0);
        cut->messages++;
        cut->charge += (uint64_t)stmt_int(stmt, 2);
        spent_add(sweep, spent, (uint64_t)stmt_int(stmt, 2));
        excess_took(excess, (uint64_t)stmt_int(stmt, 2));
    }
    int r = spool_result(sweep->spool, rc);
    stmt_reset(stmt);
    return r;
}

static int cut_table(struct sweep *sweep,
                     struct lane *lane,
                     const struct range *range,
                     struct excess *excess,
                     int64_t *ret_first)
{
    struct range left = *range;
    for (;;) {
        struct ending cut = eviction(excess->reason);
        struct spent spent = {0};
        int r = measure_cut(sweep, lane, &left, excess, &cut, &spent, ret_first);
        if (r != 0 || cut.messages == 0)
            return r;
        r = ending_write_run(sweep->spool, lane, &cut, sweep->now);
        if (r != 0)
            return r;
        spend(sweep, &spent);
        if (*ret_first != INT64_MAX)
            return 0;
        left.first_key = cut.last_key + 1;
    }
}

/*
 * Evicts the oldest that are not pinned until the excess or the budget is used
 * up. @ret_first: when the oldest that stays was accepted; INT64_MAX: none does.
 */
static int
cut_lane(struct sweep *sweep, struct lane *lane, struct excess excess, int64_t *ret_first)
{
    int64_t first = INT64_MAX;
    size_t index = plan_index_from(&lane->plan, lane->cursor);
    struct range range = {.first_key = lane->cursor};
    int r = cut_plan(sweep, lane, 0, index, &excess, &first);
    for (; r == 0 && first == INT64_MAX && index < lane->plan.count; index++) {
        int64_t key = plan_at(&lane->plan, index)->key;
        range.last_key = key - 1;
        r = cut_table(sweep, lane, &range, &excess, &first);
        if (r == 0 && first == INT64_MAX)
            r = cut_plan(sweep, lane, index, index + 1, &excess, &first);
        range.first_key = key + 1;
    }
    range.last_key = lane_last_key(lane);
    if (r == 0 && first == INT64_MAX)
        r = cut_table(sweep, lane, &range, &excess, &first);
    if (r != 0)
        return r;
    if (first != INT64_MAX && excess_takes(&excess, first))
        sweep->has_more = true;
    *ret_first = first;
    return 0;
}

static int enforce_age(struct sweep *sweep, struct lane *lane)
{
    uint64_t max_age_ms = lane->limits.max_age_ms;
    if (sweep->clock_ms < lane->age_due_ms || max_age_ms > INT64_MAX / 2)
        return 0;
    const struct excess excess = {
        .reason = SPOOL_REASON_MAX_AGE,
        .accepted_till = sweep->clock_ms - (int64_t)max_age_ms,
    };
    int64_t first;
    int r = cut_lane(sweep, lane, excess, &first);
    if (r != 0)
        return r;
    /* Whatever comes later is younger than the first that stays, or than now. */
    int64_t oldest = first < sweep->clock_ms ? first : sweep->clock_ms;
    lane->age_due_ms = oldest + (int64_t)max_age_ms;
    return 0;
}

static uint64_t above(uint64_t value, uint64_t max)
{
    return value > max ? value - max : 0;
}

static int enforce_size(struct sweep *sweep, struct lane *lane)
{
    const struct spool_limits *limits = &lane->limits;
    if (limits->when_full != SPOOL_EVICT_OLDEST)
        return 0;
    struct excess by_number = {.reason = SPOOL_REASON_MAX_MESSAGES, .accepted_till = INT64_MIN};
    struct excess by_bytes = {.reason = SPOOL_REASON_MAX_BYTES, .accepted_till = INT64_MIN};
    int64_t first;
    int r = 0;
    sweep->owed_messages = lane->working.accepted - lane->committed.accepted;
    by_number.messages = above(ending_count_ahead(lane), limits->max_messages);
    if (by_number.messages > 0)
        r = cut_lane(sweep, lane, by_number, &first);
    sweep->owed_bytes = lane->batch_charge;
    by_bytes.bytes = above(ending_bytes_ahead(lane), limits->max_bytes);
    if (r == 0 && by_bytes.bytes > 0)
        r = cut_lane(sweep, lane, by_bytes, &first);
    sweep->owed_messages = 0;
    sweep->owed_bytes = 0;
    return r;
}

int retention_evict_for_disk(struct spool *spool,
                             struct lane *lane,
                             const struct spool_time *now,
                             uint64_t bytes,
                             uint64_t *ret_freed)
{
    if (lane->limits.when_full != SPOOL_EVICT_OLDEST)
        return 0;
    struct sweep sweep = {
        .spool = spool,
        .now = now,
        .clock_ms = spool_clock_ms(spool, now),
        .budget = DISK_BUDGET,
    };
    const struct excess excess = {
        .reason = SPOOL_REASON_DISK, .bytes = bytes, .accepted_till = INT64_MIN};
    uint64_t before = lane->working.bytes;
    int64_t first;
    int r = cut_lane(&sweep, lane, excess, &first);
    if (r > 0) /* as in spool_retain() */
        return spool_lose_batch(spool, r);
    if (r < 0)
        return r;
    spool->room.evicted += sweep.ended;
    spool->working.evicting.debt += sweep.ended;
    *ret_freed = before - lane->working.bytes;
    return 0;
}

/* ---- message expiry ---- */

struct expired {
    int64_t key;
    uint64_t charge;
    unsigned table;
};

static struct lane *lane_of_key(const struct lane_set *lanes, int64_t key)
{
    return lane_set_find_number(lanes, key >> SPOOL_ID_BITS);
}

static bool is_pinned(const struct lane_set *lanes, int64_t key)
{
    const struct lane *lane = lane_of_key(lanes, key);
    if (!lane) /* of no lane: never handed out, and no ledger to end it in */
        return true;
    const struct plan_entry *entry = plan_find(&lane->plan, key);
    return entry && entry->state != PLAN_RETURNED;
}

static int compare_keys(const void *a, const void *b)
{
    const struct expired *left = a;
    const struct expired *right = b;
    return (left->key > right->key) - (left->key < right->key);
}

static int
collect_expired(struct sweep *sweep, struct expired *found, unsigned max, unsigned *ret)
{
    bool may_lie_there = segments_have_expiry(&sweep->spool->working.segments);
    struct stmt *stmt =
        spool_stmt(sweep->spool, may_lie_there ? STMT_EXPIRED_OF_ALL : STMT_EXPIRED);
    stmt_bind_int(stmt, 1, sweep->clock_ms);
    unsigned count = 0;
    uint64_t cost = 0;
    int rc = SQLITE_DONE;
    while (count < max && cost < sweep->budget && (rc = stmt_step(stmt)) == SQLITE_ROW) {
        int64_t key = stmt_int(stmt, 0);
        if (is_pinned(&sweep->spool->lanes, key))
            continue;
        found[count++] =
            (struct expired){key, (uint64_t)stmt_int(stmt, 1), (unsigned)stmt_int(stmt, 2)};
        cost += cost_of((uint64_t)stmt_int(stmt, 1));
    }
    int r = spool_result(sweep->spool, rc);
    stmt_reset(stmt);
    if (r == 0)
        *ret = count;
    return r;
}

/* Ends found[0] and all that follow without a gap; @ret_count: how many that were. */
static int end_expired_run(struct sweep *sweep,
                           const struct expired *found,
                           unsigned count,
                           unsigned *ret_count)
{
    struct ending run = {
        .table = found[0].table,
        .first_key = found[0].key,
        .verdict = {SPOOL_EXPIRED, SPOOL_REASON_MESSAGE_EXPIRY, SPOOL_NO_CODE},
    };
    struct lane *lane = lane_of_key(&sweep->spool->lanes, found[0].key);
    *ret_count = 1;
    struct plan_entry *entry = plan_find(&lane->plan, found[0].key);
    if (entry)
        return end_returned(sweep, lane, entry, run);
    struct spent spent = {0};
    while (run.messages < count) {
        const struct expired *next = &found[run.messages];
        if (next->key != run.first_key + (int64_t)run.messages || next->table != run.table ||
            plan_find(&lane->plan, next->key))
            break;
        run.last_key = next->key;
        run.charge += next->charge;
        run.messages++;
        spent_add(sweep, &spent, next->charge);
    }
    int r = ending_write_run(sweep->spool, lane, &run, sweep->now);
    *ret_count = (unsigned)run.messages;
    if (r == 0)
        spend(sweep, &spent);
    return r;
}

static int load_next_expiry(struct sweep *sweep)
{
    bool may_lie_there = segments_have_expiry(&sweep->spool->working.segments);
    struct stmt *stmt =
        spool_stmt(sweep->spool, may_lie_there ? STMT_NEXT_EXPIRY_OF_ALL : STMT_NEXT_EXPIRY);
    stmt_bind_int(stmt, 1, sweep->clock_ms);
    int rc = stmt_step(stmt);
    int r = spool_result(sweep->spool, rc);
    if (r == 0)
        sweep->spool->lanes.expiry_due_ms =
            stmt_is_null(stmt, 0) ? INT64_MAX : stmt_int(stmt, 0);
    stmt_reset(stmt);
    return r;
}

static int enforce_expiry(struct sweep *sweep)
{
    if (sweep->clock_ms < sweep->spool->lanes.expiry_due_ms)
        return 0;
    struct expired found[EXPIRY_CHUNK];
    unsigned count;
    do {
        if (sweep->budget == 0) {
            sweep->has_more = true;
            return 0;
        }
        unsigned max = sweep->budget < EXPIRY_CHUNK ? sweep->budget : EXPIRY_CHUNK;
        int r = collect_expired(sweep, found, max, &count);
        if (r != 0)
            return r;
        qsort(found, count, sizeof(*found), compare_keys);
        for (unsigned i = 0, ended; i < count; i += ended) {
            r = end_expired_run(sweep, found + i, count - i, &ended);
            if (r != 0)
                return r;
        }
    } while (count > 0);
    return load_next_expiry(sweep);
}

/* ---- */

static int enforce_times(struct sweep *sweep)
{
    int r = enforce_expiry(sweep);
    for (size_t i = 0; i < sweep->spool->lanes.count && r == 0; i++)
        r = enforce_age(sweep, &sweep->spool->lanes.all[i]);
    return r;
}

struct surplus {
    struct lane *lane;
    uint64_t messages;
};

/* So many of its messages are too many: by number or, roughly, by bytes. */
static uint64_t count_surplus(const struct lane *lane)
{
    const struct spool_limits *limits = &lane->limits;
    uint64_t messages = ending_count_ahead(lane);
    uint64_t bytes = ending_bytes_ahead(lane);
    if (limits->when_full != SPOOL_EVICT_OLDEST || messages == 0)
        return 0;
    uint64_t by_number = above(messages, limits->max_messages);
    if (bytes <= limits->max_bytes)
        return by_number;
    uint64_t by_bytes = (bytes - limits->max_bytes) / (bytes / messages) + 1;
    return by_bytes > by_number ? by_bytes : by_number;
}

static int compare_surplus(const void *a, const void *b)
{
    const struct surplus *left = a;
    const struct surplus *right = b;
    return (left->messages > right->messages) - (left->messages < right->messages);
}

/* The least surplus first: a lane whose limit was lowered by a million must not keep the others
 * above theirs. */
static int enforce_sizes(struct sweep *sweep)
{
    struct spool *spool = sweep->spool;
    struct surplus found[SPOOL_LANES_KNOWN_MAX];
    size_t count = 0;
    for (size_t i = 0; i < spool->lanes.count; i++) {
        uint64_t messages = count_surplus(&spool->lanes.all[i]);
        if (messages > 0)
            found[count++] = (struct surplus){&spool->lanes.all[i], messages};
    }
    qsort(found, count, sizeof(*found), compare_surplus);
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++)
        r = enforce_size(sweep, found[i].lane);
    return r;
}

/* Ages and expiries come first, because they are more specific than a lack of room. A mass of
 * them may use up the budget; what each lane is owed for its own messages of this batch does
 * not depend on it. */
static int enforce_limits(struct sweep *sweep)
{
    int r = enforce_times(sweep);
    return r == 0 ? enforce_sizes(sweep) : r;
}

int spool_retain(struct spool *spool,
                 const struct spool_time *now,
                 unsigned budget,
                 unsigned *ret_evicted,
                 bool *ret_more)
{
    int r = spool_check_batch(spool);
    if (r != 0)
        return r;
    spool_end_scan(spool);
    struct sweep sweep = {
        .spool = spool,
        .now = now,
        .clock_ms = spool_clock_ms(spool, now),
        .budget = budget,
    };
    r = enforce_limits(&sweep);
    if (r > 0) /* a run may be written and not deleted: nothing of this batch can stay */
        return spool_lose_batch(spool, r);
    if (r < 0)
        return r;
    *ret_evicted = sweep.ended;
    *ret_more = sweep.has_more;
    return 0;
}
