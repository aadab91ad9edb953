/* SPDX-License-Identifier: MIT */
/*
 * ending.c - the one way in which a message ends
 *
 * A message ends in ending_write_run() and nowhere else: the outcome rows of a
 * run of neighbours are written, then the run is deleted, and both must touch
 * exactly the messages that memory knows of, with consecutive seq. Anything
 * else means that the database is not what it was, and the batch dies before
 * its commit. This is how an id can have one outcome only without an index that
 * enforces it.
 *
 * When the open batch has ended messages at or behind a lane's cursor, that
 * cursor stands still until the batch is over. A rollback would bring those
 * messages back, and the plan has no entry for anything the cursor has passed.
 * Other lanes continue.
 */
#include "base/failpoint.h"
#include "store/plan.h"
#include "store/spool-private.h"

#include <errno.h>

uint64_t ending_count_ahead(const struct lane *lane)
{
    return lane->working.messages - lane->plan.in_state[PLAN_SETTLED];
}

uint64_t ending_bytes_ahead(const struct lane *lane)
{
    return lane->working.bytes - lane->plan.settled_charge;
}

static int write_records(struct spool *spool,
                         const struct lane *lane,
                         const struct ending *ending,
                         const struct spool_time *now)
{
    struct stmt *stmt = spool_stmt(spool, STMT_RECORD);
    spool->conn.record_tally = 0;
    stmt_bind_int(stmt, 1, ending->first_key);
    stmt_bind_int(stmt, 2, ending->last_key);
    stmt_bind_int(stmt, 3, lane->number);
    stmt_bind_int(stmt, 4, now->wall_ms);
    spool->time.clock.last_ended_ms = spool_clock_ms(spool, now);
    stmt_bind_int(stmt, 5, spool->time.clock.last_ended_ms);
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
    struct stmt *stmt = spool_stmt(spool, STMT_DELETE);
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

int ending_write_run(struct spool *spool,
                     struct lane *lane,
                     const struct ending *ending,
                     const struct spool_time *now)
{
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
        r = kept_store(spool, spool->working.last_seq + 1, last_seq);
        if (r != 0)
            return r;
        FAILPOINT("end.kept");
    }
    r = delete_messages(spool, ending);
    if (r != 0)
        return r;
    FAILPOINT("end.deleted");
    if ((uint64_t)sqlite3_changes(spool->conn.db) != ending->messages)
        return mismatch(spool, ending);
    if (ending->last_key >= lane->cursor)
        lane->is_cut = true;
    suspects_end(&spool->suspects, ending->first_key, ending->last_key);
    if (ending->verdict.outcome == SPOOL_DELIVERED || ending->verdict.outcome == SPOOL_REJECTED)
        spool->working.progress.cut_lives = 0;
    spool->working.last_seq = last_seq;
    spool->working.progress.record_bytes += spool->conn.record_tally;
    lane->working.last_seq = last_seq;
    lane->working.ended[ending->verdict.outcome] += ending->messages;
    lane->working.messages -= ending->messages;
    lane->working.bytes -= ending->charge;
    return 0;
}

static bool
continues_run(const struct lane *lane, const struct ending *run, const struct plan_entry *entry)
{
    return run->messages > 0 && lane_are_neighbours(lane, run->last_key, entry->key) &&
           run->attempts == entry->attempts && run->verdict.outcome == entry->verdict.outcome &&
           run->verdict.reason == entry->verdict.reason &&
           run->verdict.code == entry->verdict.code;
}

static int end_collected(struct spool *spool,
                         struct lane *lane,
                         struct ending *run,
                         const struct spool_time *now)
{
    if (run->messages == 0)
        return 0;
    FAILPOINT("settle.before_run");
    int r = ending_write_run(spool, lane, run, now);
    FAILPOINT("settle.after_run");
    run->messages = 0;
    return r;
}

/* Neighbours in the plan are neighbours in the table, except at a gap; what is GONE is in
 * neither any more. */
static int
write_settled_of_lane(struct spool *spool, struct lane *lane, const struct spool_time *now)
{
    struct ending run = {0};
    size_t left = lane->plan.in_state[PLAN_SETTLED];
    for (size_t i = 0; left > 0; i++) {
        const struct plan_entry *entry = plan_at(&lane->plan, i);
        if (entry->state == PLAN_GONE)
            continue;
        bool is_settled = entry->state == PLAN_SETTLED;
        if (!is_settled || !continues_run(lane, &run, entry)) {
            int r = end_collected(spool, lane, &run, now);
            if (r != 0)
                return r;
        }
        if (!is_settled)
            continue;
        left--;
        if (run.messages == 0)
            run = (struct ending){.first_key = entry->key,
                                  .attempts = entry->attempts,
                                  .verdict = entry->verdict};
        run.last_key = entry->key;
        run.messages++;
        run.charge += entry->charge;
    }
    return end_collected(spool, lane, &run, now);
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
