/* SPDX-License-Identifier: MIT */
/*
 * ending.c - the one way in which a message ends
 *
 * A message ends in ending_write_run() or end_in_place(), and nowhere else. In the
 * first the outcome rows of a run of neighbours are written, then the run is deleted, and
 * both must touch exactly the messages that memory knows of, with consecutive seq. In the
 * second, for deliveries of the lane's oldest in a segment, the rows stay: the run is
 * written to the lane's row, the range must hold exactly these messages, and it lies above
 * ended_id, which then passes it. What lies at or below ended_id ends no more. Anything else
 * means that the database is not what it was, and the batch dies before its commit. This
 * is how an id can have one outcome only without an index that enforces it.
 *
 * When the open batch has ended messages at or behind a lane's cursor, that
 * cursor stands still until the batch is over. A rollback would bring those
 * messages back, and the plan has no entry for anything the cursor has passed.
 * Other lanes continue.
 */
#include "base/failpoint.h"
#include "store/plan.h"
#include "store/runs.h"
#include "store/segments.h"
#include "store/spool-private.h"
#include "store/tallies.h"

#include <errno.h>

enum { SETTLED_TOGETHER_MS = 100 };

uint64_t ending_count_ahead(const struct lane *lane)
{
    return lane->working.messages - lane->plan.in_state[PLAN_SETTLED];
}

uint64_t ending_bytes_ahead(const struct lane *lane)
{
    return lane->working.bytes - lane->plan.settled_charge;
}

/* Return: when it ended, on the spool's clock. */
static int64_t
note_end(struct spool *spool, const struct ending *ending, const struct spool_time *now)
{
    int64_t ended_at = spool_clock_ms(spool, now) - ending->ago_ms;
    if (ended_at > spool->time.clock.last_ended_ms)
        spool->time.clock.last_ended_ms = ended_at;
    return ended_at;
}

static int write_records(struct spool *spool,
                         const struct lane *lane,
                         const struct ending *ending,
                         const struct spool_time *now)
{
    struct stmt *stmt = spool_table_stmt(spool, ending->table, TABLE_RECORD);
    spool->conn.record_tally = 0;
    spool->conn.record_seq = spool->working.last_seq;
    stmt_bind_int(stmt, 1, ending->first_key);
    stmt_bind_int(stmt, 2, ending->last_key);
    stmt_bind_int(stmt, 3, lane->number);
    stmt_bind_int(stmt, 4, now->wall_ms - ending->ago_ms);
    stmt_bind_int(stmt, 5, note_end(spool, ending, now));
    stmt_bind_int(stmt, 6, ending->verdict.outcome);
    stmt_bind_int(stmt, 7, ending->verdict.reason);
    if (ending->verdict.code != SPOOL_NO_CODE)
        stmt_bind_int(stmt, 8, ending->verdict.code);
    else
        stmt_bind_null(stmt, 8);
    stmt_bind_int(stmt, 9, ending->attempts);
    return spool_result(spool, stmt_run(stmt));
}

static int delete_messages(struct spool *spool, const struct ending *ending)
{
    struct stmt *stmt = spool_table_stmt(spool, ending->table, TABLE_DELETE);
    stmt_bind_int(stmt, 1, ending->first_key);
    stmt_bind_int(stmt, 2, ending->last_key);
    return spool_result(spool, stmt_run(stmt));
}

static int mismatch(struct spool *spool, const struct ending *ending)
{
    return spool_fail(spool, -EBADMSG,
                      "messages %llu to %llu are not in the database as they should be",
                      (unsigned long long)((uint64_t)ending->first_key & SPOOL_ID_MAX),
                      (unsigned long long)((uint64_t)ending->last_key & SPOOL_ID_MAX));
}

/* Whatever ends in a segment is above all that was delivered in one. */
static bool is_pending(const struct lane *lane, const struct ending *ending)
{
    return ending->table == TABLE_MESSAGE || ending->first_key >= lane_first_pending(lane);
}

static void count_ended(struct spool *spool, struct lane *lane, const struct ending *ending)
{
    if (ending->last_key >= lane->cursor)
        lane->is_cut = true;
    suspects_end(&spool->suspects, ending->first_key, ending->last_key);
    if (ending->verdict.outcome == SPOOL_DELIVERED || ending->verdict.outcome == SPOOL_REJECTED)
        spool->working.progress.cut_lives = 0;
    spool->working.last_seq += ending->messages;
    lane->working.last_seq = spool->working.last_seq;
    lane->working.ended[ending->verdict.outcome] += ending->messages;
    if (ending->verdict.outcome != SPOOL_DELIVERED)
        lane->working.tallies.reasons[ending->verdict.reason] += ending->messages;
    lane->working.messages -= ending->messages;
    lane->working.bytes -= ending->charge;
    if (ending->table != TABLE_MESSAGE)
        lane->working.segment_messages -= ending->messages;
}

int ending_write_run(struct spool *spool,
                     struct lane *lane,
                     const struct ending *ending,
                     const struct spool_time *now)
{
    if (!is_pending(lane, ending))
        return mismatch(spool, ending);
    int r = spool_begin(spool);
    if (r == 0)
        r = write_records(spool, lane, ending, now);
    if (r != 0)
        return r;
    uint64_t last_seq = spool->working.last_seq + ending->messages;
    if ((uint64_t)sqlite3_changes(spool->conn.db) != ending->messages ||
        (uint64_t)sqlite3_last_insert_rowid(spool->conn.db) != last_seq)
        return mismatch(spool, ending);
    FAILPOINT("end.recorded");
    if (ending->verdict.outcome == SPOOL_REJECTED) {
        r = kept_store(spool, ending->table, spool->working.last_seq + 1, last_seq);
        if (r != 0)
            return r;
        FAILPOINT("end.kept");
    }
    r = origin_end(spool, ending->first_key, ending->last_key, last_seq);
    if (r == 0)
        r = delete_messages(spool, ending);
    if (r != 0)
        return r;
    FAILPOINT("end.deleted");
    if ((uint64_t)sqlite3_changes(spool->conn.db) != ending->messages)
        return mismatch(spool, ending);
    spool->working.progress.record_bytes += spool->conn.record_tally;
    if (ending->table != TABLE_MESSAGE)
        spool->working.segments.all[ending->table].rows -= ending->messages;
    count_ended(spool, lane, ending);
    return 0;
}

/* While the disk is short rows go at once, so that their pages are free. */
static bool
can_stay(const struct spool *spool, const struct lane *lane, const struct ending *ending)
{
    return ending->is_oldest && !runs_are_full(&lane->runs) && !spool->room.is_low &&
           spool->batch.commit_state != SPOOL_COMMIT_REFUSED;
}

/* The rows stay in their segment; that they have ended is in the lane's row. */
static int end_in_place(struct spool *spool,
                        struct lane *lane,
                        const struct ending *ending,
                        const struct spool_time *now)
{
    struct segment *segment = &spool->working.segments.all[ending->table];
    uint64_t rows = 0;
    int r = spool_begin(spool);
    if (r == 0)
        r = segments_count_rows(spool, ending->table, ending->first_key, ending->last_key,
                                &rows);
    if (r != 0)
        return r;
    if (rows != ending->messages || !is_pending(lane, ending))
        return mismatch(spool, ending);
    r = origin_end(spool, ending->first_key, ending->last_key,
                   spool->working.last_seq + ending->messages);
    if (r != 0)
        return r;
    const struct run run = {.first_seq = spool->working.last_seq + 1,
                            .messages = ending->messages,
                            .first_id = (uint64_t)ending->first_key & SPOOL_ID_MAX,
                            .last_id = (uint64_t)ending->last_key & SPOOL_ID_MAX,
                            .time_ms = now->wall_ms - ending->ago_ms,
                            .ended_at = note_end(spool, ending, now),
                            .attempts = ending->attempts,
                            .code = ending->verdict.code,
                            .segment = ending->table};
    r = runs_add(&lane->runs, &run);
    if (r < 0)
        return spool_fail_memory(spool);
    lane->working.ended_id = run.last_id;
    segment->delivered += ending->messages;
    segment->last_seq = run_last_seq(&run);
    count_ended(spool, lane, ending);
    return 0;
}

/* Settled neighbours of a plan that end as one: their records have one time, that of the newest
 * answer. */
struct settled_run {
    struct ending ending;
    size_t first; /* index in the plan */
    int64_t from_boot_ms;
    int64_t till_boot_ms;
};

/* Ten runs a second are about as many as are exported in time. Once they are many, to save them
 * matters more than the time. */
static bool is_of_one_time(const struct lane *lane,
                           const struct settled_run *run,
                           const struct plan_entry *entry)
{
    return runs_are_many(&lane->runs) ||
           (entry->settled_boot_ms - run->from_boot_ms < SETTLED_TOGETHER_MS &&
            run->till_boot_ms - entry->settled_boot_ms < SETTLED_TOGETHER_MS);
}

static bool continues_run(const struct lane *lane,
                          const struct settled_run *run,
                          const struct plan_entry *entry)
{
    const struct ending *ending = &run->ending;
    return ending->messages > 0 && ending->table == entry->table &&
           lane_are_neighbours(lane, ending->last_key, entry->key) &&
           ending->attempts == entry->attempts &&
           ending->verdict.outcome == entry->verdict.outcome &&
           ending->verdict.reason == entry->verdict.reason &&
           ending->verdict.code == entry->verdict.code && is_of_one_time(lane, run, entry);
}

/* By the ages that the records have. @end: index behind the run. */
static void
count_delays(struct lane *lane, const struct settled_run *run, size_t end, int64_t ended_at)
{
    if (run->ending.verdict.outcome != SPOOL_DELIVERED)
        return;
    for (size_t i = run->first; i < end; i++) {
        const struct plan_entry *entry = plan_at(&lane->plan, i);
        if (entry->state == PLAN_SETTLED)
            tallies_count_delay(&lane->working.tallies, ended_at - entry->accepted_at);
    }
}

/* @end: index behind the run. */
static int end_collected(struct spool *spool,
                         struct lane *lane,
                         struct settled_run *run,
                         size_t end,
                         const struct spool_time *now)
{
    struct ending *ending = &run->ending;
    if (ending->messages == 0)
        return 0;
    int64_t clock_ms = spool_clock_ms(spool, now);
    int64_t ago_ms = spool->time.clock.state.boot_ms - run->till_boot_ms;
    ending->ago_ms = ago_ms > 0 ? ago_ms : 0;
    FAILPOINT("settle.before_run");
    int r = can_stay(spool, lane, ending) ? end_in_place(spool, lane, ending, now)
                                          : ending_write_run(spool, lane, ending, now);
    FAILPOINT("settle.after_run");
    count_delays(lane, run, end, clock_ms - ending->ago_ms);
    ending->messages = 0;
    return r;
}

static struct settled_run begin_run(const struct lane *lane,
                                    const struct plan_entry *entry,
                                    size_t index,
                                    bool is_oldest_in_segments)
{
    return (struct settled_run){
        .ending = {.table = entry->table,
                   .is_oldest = is_oldest_in_segments && entry->table != TABLE_MESSAGE &&
                                entry->verdict.outcome == SPOOL_DELIVERED &&
                                entry->key < lane->cursor,
                   .first_key = entry->key,
                   .attempts = entry->attempts,
                   .verdict = entry->verdict},
        .first = index,
        .from_boot_ms = entry->settled_boot_ms,
        .till_boot_ms = entry->settled_boot_ms};
}

static void add_to_run(struct settled_run *run, const struct plan_entry *entry)
{
    run->ending.last_key = entry->key;
    run->ending.messages++;
    run->ending.charge += entry->charge;
    if (entry->settled_boot_ms < run->from_boot_ms)
        run->from_boot_ms = entry->settled_boot_ms;
    if (entry->settled_boot_ms > run->till_boot_ms)
        run->till_boot_ms = entry->settled_boot_ms;
}

/* Neighbours in the plan are neighbours in the table, except at a gap; what is GONE is in
 * neither any more. Below the cursor the plan has all that is pending. */
static int
write_settled_of_lane(struct spool *spool, struct lane *lane, const struct spool_time *now)
{
    struct settled_run run = {0};
    size_t left = lane->plan.in_state[PLAN_SETTLED], i = 0;
    bool is_oldest_in_segments = true;
    for (; left > 0; i++) {
        const struct plan_entry *entry = plan_at(&lane->plan, i);
        if (entry->state == PLAN_GONE)
            continue;
        bool is_settled = entry->state == PLAN_SETTLED;
        if (!is_settled || !continues_run(lane, &run, entry)) {
            int r = end_collected(spool, lane, &run, i, now);
            if (r != 0)
                return r;
        }
        if (!is_settled) {
            is_oldest_in_segments &= entry->table == TABLE_MESSAGE;
            continue;
        }
        left--;
        if (run.ending.messages == 0)
            run = begin_run(lane, entry, i, is_oldest_in_segments);
        add_to_run(&run, entry);
    }
    return end_collected(spool, lane, &run, i, now);
}

int ending_write_settled(struct spool *spool, const struct spool_time *now)
{
    for (size_t i = 0; i < spool->lanes.count; i++) {
        int r = write_settled_of_lane(spool, &spool->lanes.all[i], now);
        if (r != 0)
            return r;
    }
    return 0;
}
