/* SPDX-License-Identifier: MIT */
/*
 * segments.c - the segment tables: found at the open, chosen, unpinned and emptied
 *
 * SQLite writes a page to the log once more when its last row is deleted. A table that is
 * emptied as a whole gives its pages back unwritten: so messages that are soon delivered go
 * to segments, tables of about a thousand rows, and their end is a run in the lane's row
 * (ending.c, runs.h).
 *
 * Where a row lies is policy only. Whatever ends otherwise than as the lane's oldest delivery
 * is deleted from its segment as from table message; and what keeps a segment from being
 * emptied is moved to table message, if it is little.
 *
 * Invariant: a row of a segment whose id is not above ended_id of its lane belongs to exactly
 * one run, and stays until that is exported; a segment is emptied only when all of its rows
 * are such, and must then lose exactly as many rows as were delivered.
 */
#include "store/segments.h"

#include <errno.h>

#include "base/failpoint.h"
#include "store/plan.h"
#include "store/runs.h"
#include "store/spool-private.h"

/* ---- numbers ---- */

unsigned segments_next(const struct segments *segments, uint64_t id)
{
    unsigned found = TABLE_SEGMENTS;
    for (unsigned i = 0; i < TABLE_SEGMENTS; i++) {
        const struct segment *segment = &segments->all[i];
        if (segment->rows > 0 && segment->last_id >= id &&
            (found == TABLE_SEGMENTS || segment->last_id < segments->all[found].last_id))
            found = i;
    }
    return found;
}

static bool segment_is_full(const struct segment *segment, const struct segment_limits *limits)
{
    return segment->rows >= limits->rows || segment->bytes >= SEGMENT_BYTES;
}

static unsigned find_empty(const struct segments *segments)
{
    unsigned i = 0;
    while (i < TABLE_SEGMENTS && segments->all[i].rows > 0)
        i++;
    return i;
}

unsigned
segments_choose(struct segments *segments, const struct segment_limits *limits, uint64_t charge)
{
    if (charge > SEGMENT_MESSAGE_BYTES)
        return TABLE_MESSAGE;
    if (!segment_is_full(&segments->all[segments->current], limits))
        return segments->current;
    unsigned empty = find_empty(segments);
    if (empty == TABLE_SEGMENTS)
        return TABLE_MESSAGE;
    segments->all[empty] = (struct segment){0};
    segments->current = empty;
    return empty;
}

void segments_note_append(struct segment *segment, uint64_t id, uint64_t charge, bool expires)
{
    if (segment->rows == 0)
        segment->first_id = id;
    segment->last_id = id;
    segment->rows++;
    segment->bytes += charge;
    segment->has_expiry |= expires;
}

bool segments_have_expiry(const struct segments *segments)
{
    for (unsigned i = 0; i < TABLE_SEGMENTS; i++) {
        if (segments->all[i].rows > 0 && segments->all[i].has_expiry)
            return true;
    }
    return false;
}

bool spool_awaits_export(const struct spool *spool)
{
    enum { WAITING_SEGMENTS = 2 };
    const struct segments *segments = &spool->committed.segments;
    unsigned waiting = 0;
    for (unsigned i = 0; i < TABLE_SEGMENTS; i++) {
        const struct segment *segment = &segments->all[i];
        waiting += segment->rows > 0 && segment->rows == segment->delivered;
    }
    for (size_t i = 0; i < spool->lanes.count; i++) {
        if (runs_are_many(&spool->lanes.all[i].runs))
            return true;
    }
    return waiting >= WAITING_SEGMENTS;
}

struct stmt *segments_oldest(struct spool *spool,
                             const struct lane *lane,
                             int64_t first_key,
                             int64_t last_key)
{
    struct stmt *of_all = spool_stmt(spool, STMT_OLDEST_OF_ALL);
    bool may_lie_there =
        spool->conn.is_reader ? of_all->handle != NULL : lane->working.segment_messages > 0;
    struct stmt *stmt = may_lie_there ? of_all : spool_stmt(spool, STMT_OLDEST);
    stmt_bind_int(stmt, 1, first_key);
    stmt_bind_int(stmt, 2, last_key);
    if (may_lie_there)
        stmt_bind_int(stmt, 3, lane_pending_from(lane, first_key));
    return stmt;
}

int segments_count_rows(
    struct spool *spool, unsigned table, int64_t first_key, int64_t last_key, uint64_t *ret)
{
    struct stmt *stmt = spool_table_stmt(spool, table, TABLE_COUNT);
    stmt_bind_int(stmt, 1, first_key);
    stmt_bind_int(stmt, 2, last_key);
    int rc = stmt_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = (uint64_t)stmt_int(stmt, 0);
    stmt_reset(stmt);
    return spool_result(spool, rc);
}

/* ---- at the open ---- */

static int load_row(struct spool *spool, struct segment *segment, const struct stmt *stmt)
{
    int64_t key = stmt_int(stmt, 0);
    uint64_t id = (uint64_t)key & SPOOL_ID_MAX;
    struct lane *lane = lane_set_find_number(&spool->lanes, key >> SPOOL_ID_BITS);
    uint64_t first_id = segment->rows == 0 || id < segment->first_id ? id : segment->first_id;
    uint64_t last_id = id > segment->last_id ? id : segment->last_id;
    segments_note_append(segment, id, (uint64_t)stmt_int(stmt, 1), !stmt_is_null(stmt, 2));
    segment->first_id = first_id;
    segment->last_id = last_id;
    if (!lane) /* never handed out, as in table message */
        return 0;
    if (id > lane->committed.last_id)
        return spool_fail(spool, -EBADMSG, "a segment holds messages that lane \"%s\" has not",
                          lane->name);
    lane->has_segment_rows = true;
    segment->delivered += id <= lane->committed.ended_id;
    lane->committed.segment_messages += id > lane->committed.ended_id;
    return 0;
}

static int load_segment(struct spool *spool, unsigned table)
{
    struct segment *segment = &spool->committed.segments.all[table];
    struct stmt *stmt = spool_table_stmt(spool, table, TABLE_ROWS);
    *segment = (struct segment){0};
    int r = 0;
    int rc = SQLITE_DONE;
    while (r == 0 && (rc = stmt_step(stmt)) == SQLITE_ROW)
        r = load_row(spool, segment, stmt);
    if (r == 0)
        r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

/* Only the current segment ever gets rows, and ids rise. */
static int verify_order(struct spool *spool)
{
    struct segments *segments = &spool->committed.segments;
    uint64_t before = 0;
    unsigned next;
    while ((next = segments_next(segments, before + 1)) < TABLE_SEGMENTS) {
        const struct segment *segment = &segments->all[next];
        if (segment->first_id <= before)
            return spool_fail(spool, -EBADMSG, "the segments are not in order");
        before = segment->last_id;
        segments->current = next;
    }
    return 0;
}

/* Runs that were exported may be of rows that are gone, and of a segment that is used again. */
static void note_runs(struct segments *segments, const struct runs *runs)
{
    for (unsigned i = 0; i < runs->count; i++) {
        const struct run *run = &runs->all[i];
        struct segment *segment = &segments->all[run->segment];
        if (run->first_id >= segment->first_id && run->last_id <= segment->last_id &&
            run_last_seq(run) > segment->last_seq)
            segment->last_seq = run_last_seq(run);
    }
}

int segments_load(struct spool *spool)
{
    int r = 0;
    for (size_t i = 0; i < spool->lanes.count; i++) {
        spool->lanes.all[i].committed.segment_messages = 0;
        spool->lanes.all[i].has_segment_rows = false;
    }
    for (unsigned i = 0; i < TABLE_SEGMENTS && r == 0; i++)
        r = load_segment(spool, i);
    if (r == 0)
        r = verify_order(spool);
    for (size_t i = 0; i < spool->lanes.count && r == 0; i++) {
        struct lane *lane = &spool->lanes.all[i];
        note_runs(&spool->committed.segments, &lane->runs);
        lane->working.segment_messages = lane->committed.segment_messages;
    }
    spool->working.segments = spool->committed.segments;
    return r;
}

/* ---- in the transaction of a commit ---- */

static int segments_mismatch(struct spool *spool, unsigned table)
{
    return spool_fail(spool, -EBADMSG, "segment %u does not hold the rows that it should",
                      table);
}

static int empty_segment(struct spool *spool, unsigned table)
{
    struct segment *segment = &spool->working.segments.all[table];
    FAILPOINT("segment.before_empty");
    int r = spool_result(spool, stmt_run(spool_table_stmt(spool, table, TABLE_EMPTY)));
    FAILPOINT("segment.after_empty");
    if (r == 0 && (uint64_t)sqlite3_changes(spool->conn.db) != segment->rows)
        return segments_mismatch(spool, table);
    if (r == 0)
        *segment = (struct segment){0};
    return r;
}

/* All that it holds was delivered, and no record of that is read from it any more. */
static bool is_done(const struct segment *segment, const struct spool_progress *progress)
{
    return segment->rows > 0 && segment->rows == segment->delivered &&
           segment->last_seq <= progress_gone_seq(progress);
}

int segments_empty(struct spool *spool)
{
    struct segments *segments = &spool->working.segments;
    int r = 0;
    for (unsigned i = 0; i < TABLE_SEGMENTS && r == 0; i++) {
        const struct segment *segment = &segments->all[i];
        bool is_in_use =
            i == segments->current && !segment_is_full(segment, &spool->segment_limits);
        if (!is_in_use && is_done(segment, &spool->working.progress))
            r = empty_segment(spool, i);
    }
    return r;
}

/* Of a lane that has nothing pending, and of which all is exported. */
static int delete_rows_of_lane(struct spool *spool, struct lane *lane)
{
    for (unsigned i = 0; i < TABLE_SEGMENTS; i++) {
        struct segment *segment = &spool->working.segments.all[i];
        struct stmt *stmt = spool_table_stmt(spool, i, TABLE_DELETE);
        stmt_bind_int(stmt, 1, lane_first_key(lane));
        stmt_bind_int(stmt, 2, lane_last_key(lane));
        int r = spool_result(spool, stmt_run(stmt));
        if (r != 0)
            return r;
        uint64_t rows = (uint64_t)sqlite3_changes(spool->conn.db);
        if (rows > segment->delivered)
            return segments_mismatch(spool, i);
        segment->rows -= rows;
        segment->delivered -= rows;
    }
    lane->has_segment_rows = false;
    return 0;
}

int segments_release_lanes(struct spool *spool)
{
    uint64_t exported_seq = spool->working.progress.exported_seq;
    int r = 0;
    for (size_t i = spool->lanes.configured_count; i < spool->lanes.count && r == 0; i++) {
        struct lane *lane = &spool->lanes.all[i];
        if (lane->has_segment_rows && lane->working.messages == 0 &&
            !runs_after(&lane->runs, exported_seq))
            r = delete_rows_of_lane(spool, lane);
    }
    return r;
}

/* The segment with the fewest pending rows, if they are few; TABLE_SEGMENTS: there is none. */
static unsigned find_pinned(const struct segments *segments)
{
    unsigned found = TABLE_SEGMENTS;
    uint64_t least = SEGMENT_MOVED_MAX + 1;
    for (unsigned i = 0; i < TABLE_SEGMENTS; i++) {
        const struct segment *segment = &segments->all[i];
        uint64_t pending = segment->rows - segment->delivered;
        if (i == segments->current || pending == 0 || pending >= least)
            continue;
        found = i;
        least = pending;
    }
    return found;
}

static int move_rows(struct spool *spool, unsigned table, struct lane *lane)
{
    static const enum table_stmt_id ids[] = {TABLE_MOVE, TABLE_DELETE};
    uint64_t moved[2] = {0};
    for (int i = 0; i < 2; i++) {
        struct stmt *stmt = spool_table_stmt(spool, table, ids[i]);
        stmt_bind_int(stmt, 1, lane_first_pending(lane));
        stmt_bind_int(stmt, 2, lane_last_key(lane));
        int r = spool_result(spool, stmt_run(stmt));
        if (r != 0)
            return r;
        moved[i] = (uint64_t)sqlite3_changes(spool->conn.db);
    }
    if (moved[0] != moved[1] || moved[0] > lane->working.segment_messages)
        return segments_mismatch(spool, table);
    lane->working.segment_messages -= moved[0];
    spool->working.segments.all[table].rows -= moved[0];
    return 0;
}

int segments_unpin(struct spool *spool)
{
    const struct segments *segments = &spool->working.segments;
    const struct segment *current = &segments->all[segments->current];
    if (spool->room.is_low || !segment_is_full(current, &spool->segment_limits) ||
        find_empty(segments) < TABLE_SEGMENTS)
        return 0;
    unsigned pinned = find_pinned(segments);
    if (pinned == TABLE_SEGMENTS)
        return 0;
    int r = 0;
    for (size_t i = 0; i < spool->lanes.count && r == 0; i++) {
        if (spool->lanes.all[i].working.segment_messages > 0)
            r = move_rows(spool, pinned, &spool->lanes.all[i]);
    }
    spool->moved_segment = pinned;
    return r;
}

void segments_commit(struct spool *spool)
{
    for (size_t i = 0; i < spool->lanes.count && spool->moved_segment < TABLE_SEGMENTS; i++)
        plan_move(&spool->lanes.all[i].plan, spool->moved_segment, TABLE_MESSAGE);
    spool->moved_segment = TABLE_SEGMENTS;
}
