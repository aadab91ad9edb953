/* SPDX-License-Identifier: MIT */
/*
 * handout.c - hands messages out, takes them back, and notes how they ended
 *
 * Handing out walks the tables with statements that stay open between calls
 * in a row, so a burst costs one step a message: one over the segments, one after the
 * other, and one over table message, whichever has the lower key. They are reset before
 * anything is written, and read snapshots therefore never outlive a batch. turns.c decides
 * which lane comes first.
 *
 * The plan is bounded: when too many messages were handed out and returned to
 * wait, only those that are due are handed out.
 *
 * A lane of which live messages are handed out first has two halves, backlog and live,
 * divided by a key. Each is read in the order of keys with a cursor of its own; when the
 * backlog is read, the two become one.
 */
#include "store/plan.h"
#include "store/row.h"
#include "store/segments.h"
#include "store/spool-private.h"
#include "store/turns.h"

#include <assert.h>
#include <errno.h>

/* ---- a message of a lane ---- */

static const struct spool_verdict verdict_expired = {
    .outcome = SPOOL_EXPIRED,
    .reason = SPOOL_REASON_MESSAGE_EXPIRY,
    .code = SPOOL_NO_CODE,
};

static const struct spool_verdict verdict_damaged = {
    .outcome = SPOOL_DAMAGED,
    .reason = SPOOL_REASON_CORRUPT,
    .code = SPOOL_NO_CODE,
};

/* Reads the row. Return: why it is not to be handed out; NULL: it is. */
static const struct spool_verdict *read_and_judge(const struct spool *spool,
                                                  const struct stmt *stmt,
                                                  const struct lane *lane,
                                                  int64_t clock_ms,
                                                  struct spool_message *ret)
{
    if (!row_read(spool, stmt, lane, clock_ms, ret))
        return &verdict_damaged;
    /* SPOOL_NO_EXPIRY is negative, too. */
    bool has_expired = ret->expiry_ms <= 0 && !stmt_is_null(stmt, MESSAGE_EXPIRES_AT);
    return has_expired ? &verdict_expired : NULL;
}

static void count_handed_out(struct handout *handout)
{
    handout->in_flight++;
    if (handout->in_flight > handout->in_flight_peak)
        handout->in_flight_peak = handout->in_flight;
}

/* A message that waits again in its place. SPOOL_E_EMPTY: it has expired meanwhile, or is no
 * longer what was stored. */
static int hand_out_again(struct spool *spool,
                          struct lane *lane,
                          struct plan_entry *entry,
                          int64_t clock_ms,
                          struct spool_message *ret)
{
    struct stmt *stmt = spool_table_stmt(spool, entry->table, TABLE_FETCH);
    spool_end_fetch(spool);
    spool->conn.fetch = stmt;
    stmt_bind_int(stmt, 1, entry->key);
    int rc = stmt_step(stmt);
    if (rc == SQLITE_DONE) {
        uint64_t id = (uint64_t)entry->key & SPOOL_ID_MAX;
        return spool_fail(spool, -EBADMSG, "message %llu is gone from the database",
                          (unsigned long long)id);
    }
    if (rc != SQLITE_ROW)
        return spool_result(spool, rc);
    const struct spool_verdict *verdict = read_and_judge(spool, stmt, lane, clock_ms, ret);
    if (verdict) {
        entry->verdict = *verdict;
        entry->settled_boot_ms = spool->time.clock.state.boot_ms;
        plan_mark(&lane->plan, entry, PLAN_SETTLED);
        return SPOOL_E_EMPTY;
    }
    plan_mark(&lane->plan, entry, PLAN_IN_FLIGHT);
    ret->attempts = ++entry->attempts;
    count_handed_out(&spool->handout);
    return 0;
}

/* In an open batch the lane may hold newer messages, which must not be handed out
 * before the commit. */
static int64_t last_committed_key(const struct spool *spool, const struct lane *lane)
{
    if (!spool->batch.is_open)
        return lane_last_key(lane);
    return lane_first_key(lane) | (int64_t)lane->committed.last_id;
}

/* Up to where the half of the lane has been read. */
static int64_t *cursor_of_half(struct lane *lane, bool is_live)
{
    return is_live && lane_has_gap(lane) ? &lane->live_cursor : &lane->cursor;
}

static void scan_bind(struct spool *spool, unsigned table, int64_t first_key, int64_t last_key)
{
    struct stmt *stmt = spool_table_stmt(spool, table, TABLE_SCAN);
    stmt_bind_int(stmt, 1, first_key);
    stmt_bind_int(stmt, 2, last_key);
}

/* In the next segment that may hold some. */
static void scan_segments_from(struct spool *spool, int64_t first_key)
{
    struct scan *scan = &spool->conn.scan;
    unsigned table =
        segments_next(&spool->working.segments, (uint64_t)first_key & SPOOL_ID_MAX);
    scan->segments.table = table < TABLE_SEGMENTS ? table : TABLES;
    if (table < TABLE_SEGMENTS)
        scan_bind(spool, table, first_key, scan->last_key);
}

static void begin_scan(struct spool *spool, struct lane *lane, bool is_live)
{
    struct scan *scan = &spool->conn.scan;
    bool is_message_empty = lane->working.messages == lane->working.segment_messages;
    spool_end_scan(spool);
    scan->lane = lane;
    scan->is_live = is_live;
    scan->last_key = is_live ? last_committed_key(spool, lane) : lane->live_from - 1;
    scan->message.table = is_message_empty ? TABLES : TABLE_MESSAGE;
    int64_t first_key = *cursor_of_half(lane, is_live);
    if (!is_message_empty)
        scan_bind(spool, TABLE_MESSAGE, first_key, scan->last_key);
    scan->segments.table = TABLES;
    if (lane->working.segment_messages > 0)
        scan_segments_from(spool, lane_pending_from(lane, first_key));
}

/* The source's next row, if it has none that waits: SQLITE_ROW, SQLITE_DONE or an error. */
static int step_source(struct spool *spool, struct scan_source *source)
{
    while (!source->has_row && source->table < TABLES) {
        unsigned table = source->table;
        struct stmt *stmt = spool_table_stmt(spool, table, TABLE_SCAN);
        int rc = stmt_step(stmt);
        source->has_row = rc == SQLITE_ROW;
        if (rc != SQLITE_DONE)
            return rc;
        stmt_reset(stmt);
        source->table = TABLES;
        if (table != TABLE_MESSAGE)
            scan_segments_from(spool, lane_first_key(spool->conn.scan.lane) +
                                          (int64_t)spool->working.segments.all[table].last_id +
                                          1);
    }
    return source->has_row ? SQLITE_ROW : SQLITE_DONE;
}

static const struct stmt *scan_stmt(struct spool *spool)
{
    return spool_table_stmt(spool, spool->conn.scan.current->table, TABLE_SCAN);
}

static int64_t source_key(struct spool *spool, const struct scan_source *source)
{
    return stmt_int(spool_table_stmt(spool, source->table, TABLE_SCAN), MESSAGE_KEY);
}

/* The next row at the cursor of the half: SQLITE_ROW, SQLITE_DONE or an error. */
static int step_scan(struct spool *spool, struct lane *lane, bool is_live)
{
    struct scan *scan = &spool->conn.scan;
    if (scan->lane != lane || scan->is_live != is_live)
        begin_scan(spool, lane, is_live);
    if (scan->current)
        scan->current->has_row = false;
    scan->current = NULL;
    int of_message = step_source(spool, &scan->message);
    if (of_message != SQLITE_ROW && of_message != SQLITE_DONE)
        return of_message;
    int of_segments = step_source(spool, &scan->segments);
    if (of_segments != SQLITE_ROW && of_segments != SQLITE_DONE)
        return of_segments;
    if (of_segments == SQLITE_ROW &&
        (of_message == SQLITE_DONE ||
         source_key(spool, &scan->segments) < source_key(spool, &scan->message)))
        scan->current = &scan->segments;
    else if (of_message == SQLITE_ROW)
        scan->current = &scan->message;
    return scan->current ? SQLITE_ROW : SQLITE_DONE;
}

/* The row at the cursor of the backlog is in the plan already: it was handed out when it was
 * live, before the link was lost. NULL: it is not. */
static struct plan_entry *find_known_row(struct spool *spool, struct lane *lane)
{
    int64_t key = stmt_int(scan_stmt(spool), MESSAGE_KEY);
    return lane_has_gap(lane) ? plan_find(&lane->plan, key) : NULL;
}

/* Its turn comes with its place in the order. SPOOL_E_EMPTY: not now. */
static int hand_out_known_row(struct spool *spool,
                              struct lane *lane,
                              struct plan_entry *entry,
                              const struct spool_time *now,
                              struct spool_message *ret)
{
    lane->cursor = entry->key + 1;
    if (entry->state != PLAN_RETURNED || entry->not_before_boot_ms > now->boot_ms)
        return SPOOL_E_EMPTY;
    return hand_out_again(spool, lane, entry, spool_clock_ms(spool, now), ret);
}

static int hand_out_row(struct spool *spool,
                        struct lane *lane,
                        bool is_live,
                        int64_t clock_ms,
                        struct spool_message *ret)
{
    const struct stmt *stmt = scan_stmt(spool);
    const struct spool_verdict *verdict = read_and_judge(spool, stmt, lane, clock_ms, ret);
    struct plan_entry entry = {
        .key = stmt_int(stmt, MESSAGE_KEY),
        .accepted_at = stmt_int(stmt, MESSAGE_ACCEPTED_AT),
        .charge = (uint32_t)stmt_int(stmt, MESSAGE_CHARGE),
        .table = spool->conn.scan.current->table,
        .settled_boot_ms = spool->time.clock.state.boot_ms,
        .attempts = verdict ? 0 : 1,
        .state = verdict ? PLAN_SETTLED : PLAN_IN_FLIGHT,
    };
    if (verdict)
        entry.verdict = *verdict;
    if (plan_insert(&lane->plan, &entry) < 0)
        return spool_fail_memory(spool);
    *cursor_of_half(lane, is_live) = entry.key + 1;
    if (verdict)
        return SPOOL_E_EMPTY;
    ret->attempts = entry.attempts;
    count_handed_out(&spool->handout);
    return 0;
}

/* The plans are bounded together, but no lane can keep another one from its share. */
static bool plan_has_room(const struct lane_set *lanes, const struct lane *lane)
{
    if (lane->plan.count < SPOOL_PLAN_SHARE)
        return true;
    size_t count = 0;
    for (size_t i = 0; i < lanes->count; i++)
        count += lanes->all[i].plan.count;
    return count < SPOOL_PLAN_MAX;
}

static int64_t newest_committed_key(const struct lane *lane)
{
    return lane_first_key(lane) | (int64_t)lane->committed.last_id;
}

/* May the half hold a committed message that was never handed out? */
static bool half_has_more(const struct lane *lane, bool is_live)
{
    if (lane->committed.messages <= lane->plan.count)
        return false;
    if (!lane_has_gap(lane))
        return is_live;
    return !is_live || lane->live_cursor <= newest_committed_key(lane);
}

static void close_gap(struct lane *lane)
{
    lane->cursor = lane->live_cursor;
    lane->live_cursor = 0;
}

/* Nothing follows in the half. Where there is a gap, what the lane counts may lie in the other
 * half; without one it must be here. */
static int end_half(struct spool *spool, struct lane *lane, bool is_live)
{
    spool_end_scan(spool);
    if (!lane_has_gap(lane))
        return spool_fail(spool, -EBADMSG, "lane \"%s\" holds fewer messages than it counts",
                          lane->name);
    if (is_live) {
        lane->live_cursor = newest_committed_key(lane) + 1;
        return SPOOL_E_EMPTY;
    }
    close_gap(lane);
    return SPOOL_E_EMPTY;
}

/* The half's oldest message never handed out, if there is one and room in the plan. */
static int next_of_table(struct spool *spool,
                         struct lane *lane,
                         bool is_live,
                         const struct spool_time *now,
                         struct spool_message *ret)
{
    unsigned budget = SPOOL_NEXT_BUDGET; /* rows that have expired take from both */
    uint64_t bytes = 0;
    if (lane->is_cut) /* what went may come back, and then must not lie behind the cursor */
        return SPOOL_E_EMPTY;
    while (half_has_more(lane, is_live) && plan_has_room(&spool->lanes, lane) && budget > 0 &&
           bytes < SPOOL_NEXT_BYTES) {
        int rc = step_scan(spool, lane, is_live);
        if (rc == SQLITE_DONE)
            return end_half(spool, lane, is_live);
        if (rc != SQLITE_ROW) {
            int error = spool_result(spool, rc);
            spool_end_scan(spool);
            return error;
        }
        struct plan_entry *known = find_known_row(spool, lane);
        int r = known ? hand_out_known_row(spool, lane, known, now, ret)
                      : hand_out_row(spool, lane, is_live, spool_clock_ms(spool, now), ret);
        if (r != SPOOL_E_EMPTY)
            return r;
        if (known) /* the plan bounds how many there are */
            continue;
        budget--;
        bytes += (uint64_t)stmt_int(scan_stmt(spool), MESSAGE_CHARGE);
    }
    return SPOOL_E_EMPTY;
}

/* The half's message that waits again and is due; NULL: none. What lies behind the cursor of
 * the backlog waits for its place, unless the plan has no room to read on to it. */
static struct plan_entry *first_due_of_half(const struct lane_set *lanes,
                                            struct lane *lane,
                                            bool is_live,
                                            int64_t boot_ms)
{
    struct plan_entry *entry = plan_first_due(&lane->plan, boot_ms);
    if (!entry)
        return NULL;
    if (is_live)
        return entry->key >= lane->live_from
                   ? entry
                   : plan_first_due_from(&lane->plan, lane->live_from, boot_ms);
    bool is_read_on = lane_has_gap(lane) && plan_has_room(lanes, lane);
    return entry->key < (is_read_on ? lane->cursor : lane->live_from) ? entry : NULL;
}

static int next_of_half(struct spool *spool,
                        struct lane *lane,
                        bool is_live,
                        const struct spool_time *now,
                        struct spool_message *ret)
{
    struct plan_entry *entry;
    if (lane_has_gap(lane) && lane->committed.messages <= lane->plan.count)
        close_gap(lane);
    while ((entry = first_due_of_half(&spool->lanes, lane, is_live, now->boot_ms)) != NULL) {
        int r = hand_out_again(spool, lane, entry, spool_clock_ms(spool, now), ret);
        if (r != SPOOL_E_EMPTY)
            return r;
    }
    return next_of_table(spool, lane, is_live, now, ret);
}

/* The turns give the places back if the message comes back at once. */
static void count_place_of_half(struct spool *spool, struct lane *lane, bool is_live)
{
    spool->lanes.turns.taker_live_places = lane->live_places;
    if (!is_live)
        lane->live_places = 0;
    else if (lane->live_places < TURNS_PLACES)
        lane->live_places++;
}

static int next_of_lane(struct spool *spool,
                        struct lane *lane,
                        const struct spool_time *now,
                        struct spool_message *ret)
{
    if (lane->committed.messages == 0)
        return SPOOL_E_EMPTY;
    bool is_live = lane->live_from == 0 ||
                   (lane->drain == SPOOL_LIVE_FIRST && lane->live_places < TURNS_PLACES);
    int r = next_of_half(spool, lane, is_live, now, ret);
    if (r == SPOOL_E_EMPTY && lane->live_from != 0) {
        is_live = !is_live;
        r = next_of_half(spool, lane, is_live, now, ret);
    }
    if (r == 0)
        count_place_of_half(spool, lane, is_live);
    return r;
}

void spool_begin_live(struct spool *spool)
{
    spool_end_scan(spool);
    for (size_t i = 0; i < spool->lanes.count; i++) {
        struct lane *lane = &spool->lanes.all[i];
        if (lane->drain != SPOOL_LIVE_FIRST)
            continue;
        bool has_unread = lane->committed.messages > lane->plan.count;
        lane->live_from = newest_committed_key(lane) + 1;
        lane->live_cursor = has_unread ? lane->live_from : 0;
        if (!has_unread)
            lane->cursor = lane->live_from;
    }
}

/* ---- next ---- */

/* Asks the lanes in this order. @ninth: those below the ones that had eight places, only. */
static int next_of_lanes(struct spool *spool,
                         struct lane *const *lanes,
                         bool is_ninth,
                         const struct spool_time *now,
                         struct spool_message *ret)
{
    struct turns *turns = &spool->lanes.turns;
    for (size_t i = 0; i < turns->count; i++) {
        struct lane *lane = lanes[i];
        if ((is_ninth && lane->priority >= turns->priority) || hold_of_lane(spool, lane))
            continue;
        int r = next_of_lane(spool, lane, now, ret);
        if (r == SPOOL_E_EMPTY || r == SPOOL_E_BUSY) /* another process locks the database */
            continue;
        if (r == 0) {
            turns->taker = lane;
            turns->taker_id = ret->id;
            turns->is_ninth = is_ninth;
        }
        return r;
    }
    return SPOOL_E_EMPTY;
}

int spool_next(struct spool *spool, const struct spool_time *now, struct spool_message *ret)
{
    struct turns *turns = &spool->lanes.turns;
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    if (spool->batch.is_lost || spool->batch.commit_state != SPOOL_COMMIT_SUCCEEDED)
        return SPOOL_E_EMPTY;
    turns_count_place(turns);
    int r = SPOOL_E_EMPTY;
    if (turns->places >= TURNS_PLACES) {
        r = next_of_lanes(spool, turns->by_wait, true, now, ret);
        if (r == SPOOL_E_EMPTY) /* no lane below has a message */
            turns->places = 0;
    }
    if (r == SPOOL_E_EMPTY)
        r = next_of_lanes(spool, turns->by_priority, false, now, ret);
    if (r == SPOOL_E_EMPTY)
        spool_end_scan(spool);
    return r;
}

/* ---- return and settle ---- */

static struct plan_entry *find_planned(const struct lane_set *lanes,
                                       uint64_t id,
                                       enum plan_state state,
                                       struct lane **ret_lane)
{
    if (id == 0 || id > SPOOL_ID_MAX)
        return NULL;
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->all[i];
        struct plan_entry *entry = plan_find(&lane->plan, lane_first_key(lane) | (int64_t)id);
        if (!entry)
            continue;
        *ret_lane = lane;
        return entry->state == state ? entry : NULL;
    }
    return NULL;
}

static struct plan_entry *
find_in_flight(const struct lane_set *lanes, uint64_t id, struct lane **ret_lane)
{
    return find_planned(lanes, id, PLAN_IN_FLIGHT, ret_lane);
}

int spool_next_of(struct spool *spool,
                  const struct spool_time *now,
                  uint64_t id,
                  struct spool_message *ret)
{
    struct lane *lane;
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    if (spool->batch.is_lost || spool->batch.commit_state != SPOOL_COMMIT_SUCCEEDED)
        return SPOOL_E_EMPTY;
    struct plan_entry *entry = find_planned(&spool->lanes, id, PLAN_RETURNED, &lane);
    if (!entry || hold_of_lane(spool, lane))
        return SPOOL_E_UNKNOWN;
    int r = hand_out_again(spool, lane, entry, spool_clock_ms(spool, now), ret);
    return r == SPOOL_E_EMPTY ? SPOOL_E_UNKNOWN : r;
}

int spool_return(struct spool *spool, uint64_t id, int64_t not_before_boot_ms)
{
    struct lane *lane;
    struct plan_entry *entry = find_in_flight(&spool->lanes, id, &lane);
    if (!entry)
        return SPOOL_E_UNKNOWN;
    entry->not_before_boot_ms = not_before_boot_ms;
    plan_mark(&lane->plan, entry, PLAN_RETURNED);
    spool->handout.in_flight--;
    turns_give_back(&spool->lanes.turns, id);
    /* It is no longer pinned, so retention has to look at it. */
    lane->age_due_ms = INT64_MIN;
    spool->lanes.expiry_due_ms = INT64_MIN;
    return 0;
}

size_t spool_release_returned(struct spool *spool)
{
    size_t count = 0;
    for (size_t i = 0; i < spool->lanes.count; i++)
        count += plan_release(&spool->lanes.all[i].plan);
    return count;
}

int spool_count_refusal(
    struct spool *spool, uint64_t id, uint64_t mark, unsigned *ret_refusals, uint64_t *ret_mark)
{
    struct lane *lane;
    struct plan_entry *entry = find_in_flight(&spool->lanes, id, &lane);
    if (!entry)
        return SPOOL_E_UNKNOWN;
    plan_note_refused(&lane->plan, entry);
    *ret_refusals = ++entry->refusals;
    *ret_mark = entry->refusal_mark;
    entry->refusal_mark = mark;
    return 0;
}

uint32_t spool_mark_refused(struct spool *spool, uint64_t id, uint32_t marks)
{
    struct lane *lane;
    struct plan_entry *entry = find_in_flight(&spool->lanes, id, &lane);
    if (!entry)
        return marks;
    if (marks != 0)
        plan_note_refused(&lane->plan, entry);
    entry->refused_by |= marks;
    return entry->refused_by;
}

bool spool_was_refused(const struct spool *spool, uint64_t id)
{
    struct lane *lane;
    const struct plan_entry *entry = find_in_flight(&spool->lanes, id, &lane);
    return entry && entry->refusals > 0;
}

uint64_t spool_refused_messages(const struct spool *spool)
{
    uint64_t count = 0;
    for (size_t i = 0; i < spool->lanes.count; i++)
        count += spool->lanes.all[i].plan.refused;
    return count;
}

int spool_set_closings(struct spool *spool, uint64_t id, unsigned closings)
{
    struct lane *lane;
    struct plan_entry *entry = find_in_flight(&spool->lanes, id, &lane);
    return entry ? suspects_set(spool, entry->key, closings) : SPOOL_E_UNKNOWN;
}

int spool_count_closing(struct spool *spool, uint64_t id, unsigned *ret_closings)
{
    struct lane *lane;
    struct plan_entry *entry = find_in_flight(&spool->lanes, id, &lane);
    if (!entry)
        return SPOOL_E_UNKNOWN;
    unsigned closings = suspects_closings(&spool->suspects, entry->key) + 1;
    int r = suspects_set(spool, entry->key, closings);
    if (r == 0)
        *ret_closings = closings;
    return r;
}

int spool_forget_closings(struct spool *spool, uint64_t id)
{
    for (size_t i = 0; i < spool->lanes.count; i++) {
        int64_t key = lane_first_key(&spool->lanes.all[i]) | (int64_t)id;
        int r = suspects_set(spool, key, 0);
        if (r != 0)
            return r;
    }
    return 0;
}

void spool_uncount_attempt(struct spool *spool, uint64_t id)
{
    struct lane *lane;
    struct plan_entry *entry = find_in_flight(&spool->lanes, id, &lane);
    if (entry)
        entry->attempts--;
}

int spool_settle(struct spool *spool,
                 uint64_t id,
                 const struct spool_verdict *verdict,
                 int64_t boot_ms)
{
    assert(verdict->outcome < SPOOL_OUTCOMES && verdict->reason < SPOOL_REASONS);
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    struct lane *lane;
    struct plan_entry *entry = find_in_flight(&spool->lanes, id, &lane);
    if (!entry)
        return SPOOL_E_UNKNOWN;
    entry->verdict = *verdict;
    entry->settled_boot_ms = boot_ms;
    plan_mark(&lane->plan, entry, PLAN_SETTLED);
    spool->handout.in_flight--;
    return 0;
}
