/* SPDX-License-Identifier: MIT */
/*
 * rebuild_segments.c - what the segments hold: pending messages, and deliveries without a row
 *
 * A row of a segment has ended if its id is not above ended_id of its lane. Its record is made
 * from the row and the run that has its id, as the export would have made it. The new
 * database has no runs: pending messages go to table message, deliveries that were not
 * exported to table outcome.
 */
#include "store/salvage/rebuild-private.h"

#include <errno.h>
#include <stdlib.h>

#include "store/runs.h"
#include "store/salvage/pages.h"
#include "store/spool-private.h"
#include "store/stmt.h"

int rebuild_prepare_segments(struct rebuild *rebuild)
{
    struct rebuild_segments *segments = &rebuild->segments;
    segments->lanes = calloc(SPOOL_LANES_KNOWN_MAX, sizeof(*segments->lanes));
    return segments->lanes ? rebuild_find_segments(rebuild->task->pages, segments->roots)
                           : -ENOMEM;
}

int rebuild_walk_segments(struct rebuild *rebuild, pages_row_fn *fn)
{
    int r = 0;
    for (unsigned i = 0; i < TABLE_SEGMENTS && r == 0; i++) {
        rebuild->segments.walked = i;
        rebuild->messages.walked_key = 0;
        if (rebuild->segments.roots[i] > 0)
            r = pages_walk(rebuild->task->pages, rebuild->segments.roots[i], fn, rebuild);
    }
    rebuild->segments.walked = TABLE_MESSAGE;
    return r;
}

/* ---- deliveries ---- */

/* The run whose ids include this one, or NULL. */
static const struct run *
find_run(const struct kept_runs *lane, uint64_t id, unsigned segment, unsigned *ret_index)
{
    for (unsigned i = 0; i < lane->runs.count; i++) {
        const struct run *run = &lane->runs.all[i];
        if (id < run->first_id || id > run->last_id ||
            (segment != TABLE_MESSAGE && segment != run->segment))
            continue;
        *ret_index = i;
        return run;
    }
    return NULL;
}

static int write_delivery(struct rebuild *rebuild,
                          const struct pages_row *row,
                          const struct run *run,
                          uint64_t seq)
{
    int64_t age_ms = run->ended_at - rebuild_number(row, MESSAGE_ACCEPTED_AT);
    const int64_t numbers[] = {
        (int64_t)seq,
        (int64_t)rebuild_id_of(row),
        rebuild_lane_of(row),
        run->time_ms,
        run->ended_at,
        SPOOL_DELIVERED,
        SPOOL_REASON_NONE,
        run->code,
        run->attempts,
        rebuild_number(row, MESSAGE_UID),
        rebuild_number(row, MESSAGE_FLAGS) & FLAGS_QOS,
        (int64_t)rebuild_bytes(row, MESSAGE_PAYLOAD).size,
        rebuild_number(row, MESSAGE_ACCEPTED),
        age_ms > 0 ? age_ms : 0,
    };
    const struct rebuild_record record = {.numbers = numbers,
                                          .has_code = run->code != SPOOL_NO_CODE,
                                          .client = rebuild_bytes(row, MESSAGE_CLIENT),
                                          .topic = rebuild_bytes(row, MESSAGE_TOPIC),
                                          .ref = rebuild_bytes(row, MESSAGE_REF)};
    return rebuild_write_record(rebuild, &record);
}

/*
 * A row that has ended. Where ids of the run have gaps its seq follows from its place among the
 * rows of the run; then only rows that surely belong to the segment count. What was exported is
 * in the audit file.
 */
static int take_ended(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    struct kept_runs *lane = rebuild_find_runs(rebuild, rebuild_lane_of(row));
    uint64_t id = rebuild_id_of(row);
    unsigned index = 0;
    if (!lane || id > lane->ended_id || numbers_has(&rebuild->seen.ids, id) ||
        rebuild_judge(rebuild, row) != SOUND_MESSAGE)
        return 0;
    const struct run *run = find_run(lane, id, rebuild->segments.walked, &index);
    if (!run) {
        if (lane->has_runs && !row->is_uncertain)
            numbers_add(&rebuild->seen.ids, id);
        return 0;
    }
    bool is_exact = run->last_id - run->first_id + 1 == run->messages;
    if ((row->is_uncertain && !is_exact) || lane->taken[index] == run->messages)
        return 0;
    uint64_t seq = run->first_seq + (is_exact ? id - run->first_id : lane->taken[index]);
    uint64_t gone = rebuild_higher(rebuild->state.exported, rebuild->state.pruned);
    lane->taken[index]++;
    if (seq > rebuild->ends.last_seq || numbers_has(&rebuild->seen.seqs, seq))
        return 0;
    numbers_add(&rebuild->seen.ids, id);
    if (seq <= gone)
        return 0;
    struct kept_lane *counted = rebuild_ensure_lane(rebuild, lane->number);
    if (!counted)
        return 0;
    rebuild_count_ended(rebuild, counted, seq, SPOOL_DELIVERED);
    return write_delivery(rebuild, row, run, seq);
}

int rebuild_read_runs(struct rebuild *rebuild)
{
    struct pages *pages = rebuild->task->pages;
    pages_restart(pages);
    int r = rebuild_walk_segments(rebuild, take_ended);
    if (r == 0) /* what it holds has not ended */
        r = pages_walk(pages, ROOT_MESSAGE, rebuild_pass_row, NULL);
    return r == 0 ? pages_orphans(pages, take_ended, rebuild) : r;
}
