/* SPDX-License-Identifier: MIT */
/*
 * shift.c - moves what was accepted or ended along when the clock is to jump
 *
 * Time that the machine was switched off becomes known only later. What came
 * since must not age by it, so it is moved along, some messages a commit, before
 * the clock jumps; absent_after says up to which id that is done.
 */
#include "store/plan.h"
#include "store/spool-private.h"

enum {
    SHIFT_MESSAGES = 2000, /* moved in one commit, of each lane; */
    SHIFT_BYTES = 1 << 20, /* or so many bytes and one message, because each may be rewritten */
};

/* Of rows that a statement finds: those since the newest credible reading of the clock. */
static int shift_rows(struct spool *spool, enum stmt_id id)
{
    struct stmt *stmt = spool_stmt(spool, id);
    stmt_bind_int(stmt, 1, spool->time.clock.state.wall_clock_ms);
    stmt_bind_int(stmt, 2, spool->time.clock.jump_ms);
    return spool_result(spool, stmt_run(stmt));
}

/*
 * How long a record is kept is counted from its end, so what ended since must not age
 * either. All at once, because nothing on disk would show which of them were moved
 * already; once a boot, and of failures that are kept or wait for the export.
 */
static int shift_new_records(struct spool *spool)
{
    int r = shift_rows(spool, STMT_SHIFT_RECORDS);
    if (r == 0 && spool->sessions.count > 0)
        r = shift_rows(spool, STMT_SHIFT_SESSIONS);
    if (r == 0 && spool->working.progress.kept_messages > 0)
        r = shift_rows(spool, STMT_SHIFT_KEPT);
    return r;
}

/* Up to which id this commit moves messages along. */
static int find_shift_end(struct spool *spool, uint64_t *ret)
{
    int64_t after = (int64_t)spool->time.clock.state.absent_after;
    uint64_t end = spool->lanes.last_id;
    for (size_t i = 0; i < spool->lanes.count; i++) {
        const struct lane *lane = &spool->lanes.all[i];
        struct stmt *stmt =
            segments_oldest(spool, lane, lane_first_key(lane) + after + 1, lane_last_key(lane));
        uint64_t bytes = 0;
        unsigned messages = 0;
        int rc;
        while ((rc = stmt_step(stmt)) == SQLITE_ROW && messages++ < SHIFT_MESSAGES &&
               bytes < SHIFT_BYTES)
            bytes += (uint64_t)stmt_int(stmt, 2);
        if (rc == SQLITE_ROW && ((uint64_t)stmt_int(stmt, 0) & SPOOL_ID_MAX) < end)
            end = (uint64_t)stmt_int(stmt, 0) & SPOOL_ID_MAX;
        int r = spool_result(spool, rc);
        stmt_reset(stmt);
        if (r != 0)
            return r;
    }
    *ret = end;
    return 0;
}

/* Of what is pending. The records of deliveries in segments have their age already. */
static int shift_lane(struct spool *spool, const struct lane *lane)
{
    const struct spool_clock *clock = &spool->time.clock;
    int64_t first_key = lane_first_key(lane) + (int64_t)clock->state.absent_after + 1;
    int r = 0;
    for (unsigned i = 0; i < TABLES && r == 0; i++) {
        bool is_segment = i != TABLE_MESSAGE;
        if (is_segment && lane->working.segment_messages == 0)
            continue;
        struct stmt *stmt = spool_table_stmt(spool, i, TABLE_SHIFT);
        stmt_bind_int(stmt, 1, is_segment ? lane_pending_from(lane, first_key) : first_key);
        stmt_bind_int(stmt, 2, lane_first_key(lane) + (int64_t)spool->time.shift_end);
        stmt_bind_int(stmt, 3, clock->jump_ms);
        r = spool_result(spool, stmt_run(stmt));
    }
    return r;
}

static bool is_last_shift(const struct spool *spool)
{
    return spool->time.shift_end >= spool->lanes.last_id;
}

/*
 * Time switched off became known: what was accepted since must not age by it, and
 * is moved along before the clock jumps. There may be a million of them, so each
 * commit moves some and lets absent_after follow; the last one moves the clock.
 * A crash in between finds the rest by absent_after. Who was moved already is
 * too young until then, never too old.
 */
int shift_new_messages(struct spool *spool)
{
    if (spool->time.clock.jump_ms == 0)
        return 0;
    int r = find_shift_end(spool, &spool->time.shift_end);
    for (size_t i = 0; i < spool->lanes.count && r == 0; i++)
        r = shift_lane(spool, &spool->lanes.all[i]);
    return r == 0 && is_last_shift(spool) ? shift_new_records(spool) : r;
}

void shift_plans(struct spool *spool)
{
    struct spool_clock *clock = &spool->time.clock;
    for (size_t i = 0; i < spool->lanes.count; i++) {
        struct plan *plan = &spool->lanes.all[i].plan;
        for (size_t j = 0; j < plan->count; j++) {
            struct plan_entry *entry = plan_at(plan, j);
            uint64_t id = (uint64_t)entry->key & SPOOL_ID_MAX;
            if (id > clock->state.absent_after && id <= spool->time.shift_end)
                entry->accepted_at += clock->jump_ms;
        }
    }
    if (is_last_shift(spool))
        sessions_shift(spool);
}

/* What shift_new_messages() has moved is durable, or is about to be. */
void shift_clock(const struct spool *spool, struct spool_clock *clock)
{
    if (is_last_shift(spool))
        spool_clock_jump(clock);
    else
        clock->state.absent_after = spool->time.shift_end;
}
