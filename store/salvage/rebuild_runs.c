/* SPDX-License-Identifier: MIT */
/*
 * rebuild_runs.c - which rows of segments have ended, by the rows of the lanes
 *
 * ended_id is the newest id of the newest run as well. Where the two differ the lower one is
 * believed: to send a message again is better than to lose it.
 */
#include "store/salvage/rebuild-private.h"

#include <errno.h>
#include <stdlib.h>

#include "store/runs.h"
#include "store/salvage/pages.h"

struct kept_runs *rebuild_find_runs(const struct rebuild *rebuild, unsigned number)
{
    for (size_t i = 0; i < rebuild->segments.lane_count; i++) {
        if (rebuild->segments.lanes[i].number == number)
            return &rebuild->segments.lanes[i];
    }
    return NULL;
}

enum { LANE_ENDED_ID = 14, LANE_RUNS = 15 };

static bool has_ended_id(const struct pages_row *row)
{
    const struct pages_field *field = &row->fields[LANE_ENDED_ID];
    return field->kind == PAGES_NUMBER && field->number >= 0 &&
           (uint64_t)field->number <= SPOOL_LAST_MAX;
}

/* Each of the two shows the other. */
static uint64_t believed_end(const struct kept_runs *lane, const struct pages_row *row)
{
    const struct run *newest = runs_newest(&lane->runs);
    uint64_t ended_id = has_ended_id(row) ? (uint64_t)rebuild_number(row, LANE_ENDED_ID) : 0;
    if (!lane->has_runs || !newest)
        return ended_id;
    return has_ended_id(row) ? rebuild_lower(ended_id, newest->last_id) : newest->last_id;
}

int rebuild_take_runs(struct rebuild *rebuild, const struct pages_row *row)
{
    struct rebuild_segments *segments = &rebuild->segments;
    if (!segments->lanes || row->field_count <= LANE_RUNS || row->rowid < 0 ||
        row->rowid > SPOOL_LANE_MAX || rebuild_find_runs(rebuild, (unsigned)row->rowid) ||
        segments->lane_count == SPOOL_LANES_KNOWN_MAX)
        return 0;
    struct kept_runs *lane = &segments->lanes[segments->lane_count];
    int r = runs_decode(&lane->runs, rebuild_bytes(row, LANE_RUNS));
    if (r == -ENOMEM)
        return r;
    lane->number = (unsigned)row->rowid;
    lane->has_runs = r == 0 && row->fields[LANE_RUNS].kind != PAGES_LOST;
    if (!lane->has_runs)
        lane->runs.count = 0;
    lane->ended_id = believed_end(lane, row);
    segments->lane_count++;
    return 0;
}

uint64_t rebuild_newest_run_seq(const struct rebuild *rebuild)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < rebuild->segments.lane_count; i++) {
        const struct run *newest = runs_newest(&rebuild->segments.lanes[i].runs);
        if (newest)
            seq = rebuild_higher(seq, run_last_seq(newest));
    }
    return seq;
}

bool rebuild_has_ended(const struct rebuild *rebuild, const struct pages_row *row)
{
    const struct kept_runs *lane = rebuild_find_runs(rebuild, rebuild_lane_of(row));
    return lane && rebuild_id_of(row) <= lane->ended_id;
}

void rebuild_free_segments(struct rebuild_segments *segments)
{
    for (size_t i = 0; i < SPOOL_LANES_KNOWN_MAX && segments->lanes; i++)
        runs_done(&segments->lanes[i].runs);
    free(segments->lanes);
}
