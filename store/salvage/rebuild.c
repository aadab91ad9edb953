/* SPDX-License-Identifier: MIT */
/*
 * rebuild.c - which messages are left, and how the others ended
 *
 * Known are: the lanes' counters as they stood at some commit; the mark beside
 * the database and the audit file, which may know of later ones; the outcome
 * rows and messages that can be read. Ids and seqs rise by one, and each
 * outcome has one seq, so
 *
 *   accepted = counted ones + ids given out since the counters were written
 *   missing  = accepted - seqs given out - messages that were read
 *
 * A message that was read from a page which its tree surely holds is in the
 * spool. One from an older image of a page, or from a page that no tree
 * reaches, may have been deleted since: such ones are taken only where the
 * above says that messages are missing, the newest first, and never one whose
 * end is recorded. What is then still missing is recorded as damaged: under its
 * id if the rest of its row holds it; else under the newest ids that are
 * neither spooled nor known to have ended; where there are not enough of these,
 * under ids made for it. So the ledger balances, each seq is there once, and no
 * id is given out again.
 *
 * Outcome rows that had not reached the audit file and cannot be read leave a
 * hole in its numbering. It is closed in the same way, by a record of a message
 * whose end is no longer known; the counters say of what kind it was, because they
 * count more of that kind than was read.
 *
 * Memory is bounded by what there is to read, not by how far ids lie apart: 16
 * bytes for each uncertain message, and the ids and seqs that were seen (numbers.h),
 * about a byte for each line of the audit file and some hundred bytes for a row
 * that has no neighbour among 512 ids.
 */
#include "store/salvage/rebuild-private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/lane_set.h"
#include "store/salvage/mark.h"
#include "store/salvage/pages.h"
#include "store/salvage/reads.h"
#include "store/spool.h"
#include "store/stmt.h"

enum {
    GAP_MAX = 4096, /* between two rows side by side: some pages of rows may be lost */
};

/* ---- the ends ---- */

static void see_id(struct rebuild *rebuild, uint64_t id, int64_t clock_ms)
{
    if (id > rebuild->ends.last_id)
        rebuild->ends.last_id = id;
    if (clock_ms > rebuild->ends.newest_ms)
        rebuild->ends.newest_ms = clock_ms;
}

static int measure_row(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    if (rebuild_is_outcome_row(rebuild, row)) {
        see_id(rebuild, (uint64_t)rebuild_number(row, 1), rebuild_number(row, 4));
        if ((uint64_t)row->rowid > rebuild->ends.last_seq)
            rebuild->ends.last_seq = (uint64_t)row->rowid;
    } else if (rebuild_judge(rebuild, row) == SOUND_MESSAGE) {
        see_id(rebuild, rebuild_id_of(row), rebuild_number(row, MESSAGE_ACCEPTED_AT));
        if (rebuild->ends.lowest_id == 0 || rebuild_id_of(row) < rebuild->ends.lowest_id)
            rebuild->ends.lowest_id = rebuild_id_of(row);
    }
    return 0;
}

static int measure_history(void *userdata, const struct spool_ended *ended)
{
    struct rebuild *rebuild = userdata;
    if (ended->id > SPOOL_LAST_MAX || ended->seq > SPOOL_LAST_MAX)
        return 0;
    see_id(rebuild, ended->id, 0);
    if (ended->seq > rebuild->history.seq) {
        rebuild->history.seq = ended->seq;
        rebuild->history.id = ended->id;
    }
    return 0;
}

struct history_walk {
    struct rebuild *rebuild;
    spool_ended_fn *fn;
};

static int pass_ended(void *userdata, const struct spool_ended *ended)
{
    const struct history_walk *history_walk = userdata;
    return reads_is_stopped() ? -ECANCELED : history_walk->fn(history_walk->rebuild, ended);
}

static int each_ended(struct rebuild *rebuild, spool_ended_fn *fn)
{
    const struct spool_history *history = rebuild->task->history;
    struct history_walk history_walk = {rebuild, fn};
    return history ? history->each(history->owner, pass_ended, &history_walk) : 0;
}

static int scan_max_row(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    struct rebuild_max_seen *max_seen = &rebuild->max_seen;
    if (rebuild_is_outcome_row(rebuild, row)) {
        max_seen->id = rebuild_higher(max_seen->id, (uint64_t)rebuild_number(row, 1));
        max_seen->seq = rebuild_higher(max_seen->seq, (uint64_t)row->rowid);
    } else if (rebuild_judge(rebuild, row) == SOUND_MESSAGE) {
        max_seen->id = rebuild_higher(max_seen->id, rebuild_id_of(row));
    }
    return 0;
}

/*
 * One flipped bit in a lane's last id or last seq must not fabricate millions of
 * messages. Each end has one seq, so all lanes' ends add up to the last seq, and
 * ids are no fewer than what was accepted; beyond that only the mark, the audit
 * file or a row is evidence. The newest row of the outcomes is always there.
 */
static int limit_lane_counters(struct rebuild *rebuild)
{
    const struct mark *mark = &rebuild->mark;
    uint64_t ended = rebuild_sum_ended(&rebuild->lanes);
    uint64_t seq = rebuild->counted.seq;
    uint64_t id = rebuild->counted.id;
    uint64_t seq_reach =
        rebuild_higher(ended, rebuild_higher(mark->last_seq, rebuild->history.seq));
    uint64_t id_reach = rebuild_higher(rebuild->counted.accepted,
                                       rebuild_higher(mark->last_id, rebuild->ends.last_id));
    if (seq > seq_reach || id > id_reach) {
        pages_restart(rebuild->task->pages);
        rebuild->limits.seq = seq;
        rebuild->limits.id = rebuild->limits.ended_id = rebuild_lower(id, SPOOL_LAST_MAX);
        int r = pages_walk(rebuild->task->pages, ROOT_OUTCOME, scan_max_row, rebuild);
        if (r == 0)
            r = pages_walk(rebuild->task->pages, ROOT_MESSAGE, scan_max_row, rebuild);
        if (r == 0)
            r = rebuild_walk_segments(rebuild, scan_max_row);
        if (r != 0)
            return r;
        uint64_t run_seq = rebuild_newest_run_seq(rebuild);
        seq_reach = rebuild_higher(seq_reach, rebuild_higher(rebuild->max_seen.seq, run_seq));
        id_reach = rebuild_higher(id_reach, rebuild->max_seen.id);
    }
    rebuild->counted.seq = rebuild_higher(ended, rebuild_lower(seq, seq_reach));
    rebuild->counted.id =
        rebuild_higher(rebuild->counted.accepted, rebuild_lower(id, id_reach));
    rebuild->lanes.is_complete = rebuild->lanes.count > 0 && rebuild->counted.seq == ended;
    return 0;
}

/*
 * Rows that are newer than all else are believed where the lanes' counters may
 * be old, or are lost: a commit writes both. What lies further away from the
 * others than some lost pages would explain is garbage anyway.
 */
static int collect_beyond(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    if (rebuild_is_outcome_row(rebuild, row) && (uint64_t)row->rowid > rebuild->ends.last_seq)
        numbers_add(&rebuild->seen.beyond, (uint64_t)row->rowid);
    return 0;
}

static int reach_beyond(struct rebuild *rebuild)
{
    pages_restart(rebuild->task->pages);
    int r = pages_walk(rebuild->task->pages, ROOT_OUTCOME, collect_beyond, rebuild);
    if (r == 0)
        r = pages_orphans(rebuild->task->pages, collect_beyond, rebuild);
    uint64_t seq = rebuild->ends.last_seq;
    for (uint64_t next = seq + 1; next <= seq + GAP_MAX && next <= rebuild->limits.seq;
         next++) {
        if (numbers_has(&rebuild->seen.beyond, next))
            seq = next;
    }
    rebuild->limits.seq = seq;
    numbers_done(&rebuild->seen.beyond);
    rebuild->seen.beyond = (struct numbers){0};
    return r;
}

/* Beyond all that is known lies garbage; if nothing is known, all is accepted that is plausible
 * by itself. A message has its checksum as evidence. */
static int set_limits(struct rebuild *rebuild)
{
    const struct mark *mark = &rebuild->mark;
    rebuild->ends.last_id = rebuild_higher(rebuild->ends.last_id,
                                           rebuild_higher(rebuild->counted.id, mark->last_id));
    rebuild->ends.last_seq = rebuild_higher(
        rebuild->history.seq, rebuild_higher(rebuild->counted.seq, mark->last_seq));
    bool is_known = rebuild->lanes.count > 0 || mark->is_known || rebuild->history.seq > 0;
    bool is_newest = rebuild->lanes.is_complete && !rebuild->lanes.is_uncertain;
    rebuild->limits.id = is_known ? rebuild->ends.last_id + SLACK : SPOOL_LAST_MAX;
    rebuild->limits.ended_id = is_newest ? rebuild->ends.last_id : rebuild->limits.id;
    rebuild->limits.seq = !is_known   ? SPOOL_LAST_MAX
                          : is_newest ? rebuild->ends.last_seq
                                      : rebuild->ends.last_seq + SLACK;
    return is_known && !is_newest ? reach_beyond(rebuild) : 0;
}

static int measure(struct rebuild *rebuild)
{
    struct pages *pages = rebuild->task->pages;
    pages_restart(pages);
    int r = pages_walk(pages, ROOT_LANE, rebuild_take_lane, rebuild);
    if (r == 0)
        r = pages_walk(pages, ROOT_SPOOL, rebuild_take_state, rebuild);
    if (r == 0)
        r = each_ended(rebuild, measure_history);
    if (r == 0)
        r = limit_lane_counters(rebuild);
    if (r == 0)
        r = set_limits(rebuild);
    if (r != 0)
        return r;
    pages_restart(pages);
    r = pages_walk(pages, ROOT_OUTCOME, measure_row, rebuild);
    if (r == 0)
        r = pages_walk(pages, ROOT_MESSAGE, measure_row, rebuild);
    if (r == 0)
        r = rebuild_walk_segments(rebuild, measure_row);
    if (r == 0)
        r = pages_orphans(pages, measure_row, rebuild);
    return r;
}

static int read_outcomes(struct rebuild *rebuild)
{
    struct pages *pages = rebuild->task->pages;
    pages_restart(pages);
    int r = pages_walk(pages, ROOT_OUTCOME, rebuild_keep_outcome, rebuild);
    return r == 0 ? pages_orphans(pages, rebuild_keep_outcome, rebuild) : r;
}

static int count_history(void *userdata, const struct spool_ended *ended)
{
    struct rebuild *rebuild = userdata;
    struct kept_lane *lane = rebuild_find_lane_by_name(&rebuild->lanes, ended->lane);
    numbers_add(&rebuild->seen.ids, ended->id);
    if (ended->seq > rebuild->ends.last_seq || numbers_has(&rebuild->seen.seqs, ended->seq))
        return 0;
    rebuild_count_ended(rebuild, lane ? lane : rebuild->lanes.fallback, ended->seq,
                        ended->outcome);
    if (ended->outcome != SPOOL_DELIVERED && rebuild->state.failures_pruned > 0)
        rebuild->state.failures_pruned--; /* the audit file has it */
    return 0;
}

/* What the audit file holds is exported, whatever the cursor says. A cursor that is ahead of
 * all there is was damaged; how far rows are pruned is nearly the same. */
static void derive_export_cursor(struct rebuild *rebuild)
{
    if (rebuild->state.exported > rebuild->ends.last_seq) {
        rebuild->state.exported =
            rebuild->state.pruned <= rebuild->ends.last_seq ? rebuild->state.pruned : 0;
        rebuild->state.has_cursor = rebuild->state.exported > 0;
    }
    rebuild->state.exported = rebuild_higher(rebuild->state.exported, rebuild->history.seq);
    if (rebuild->state.pruned >= rebuild->ends.last_seq)
        rebuild->state.pruned = rebuild->state.exported;
}

/* The cursor is lost and there is no audit file: what waits for its export lies side by side at
 * the end. */
static int guess_export(struct rebuild *rebuild)
{
    uint64_t seq = rebuild->ends.last_seq;
    char sql[128];
    if (rebuild->state.has_cursor || rebuild->history.seq > 0)
        return 0;
    while (seq > 0 && numbers_has(&rebuild->seen.seqs, seq))
        seq--;
    rebuild->state.exported = seq;
    (void)snprintf(sql, sizeof(sql),
                   "DELETE FROM outcome WHERE seq <= %llu AND seq <> %llu AND outcome = %d",
                   (unsigned long long)seq, (unsigned long long)rebuild->ends.last_seq,
                   SPOOL_DELIVERED);
    return sqlite3_exec(rebuild->task->db, sql, NULL, NULL, NULL);
}

/*
 * How far deliveries were pruned, beyond what is exported. Where more of them are
 * there than not that number was damaged; where few are, these were.
 */
static int verify_pruned(struct rebuild *rebuild)
{
    uint64_t from = rebuild->state.exported;
    char sql[128];
    sqlite3_stmt *stmt;
    if (rebuild->state.pruned <= from)
        return 0;
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*), min(seq) FROM outcome WHERE outcome = %d AND seq <= %llu",
                   SPOOL_DELIVERED, (unsigned long long)rebuild->state.pruned);
    int rc = sqlite3_prepare_v2(rebuild->task->db, sql, -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(stmt);
    uint64_t there = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    uint64_t first = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 1) : 0;
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    if (rc != SQLITE_ROW || there == 0)
        return rc == SQLITE_ROW ? 0 : rc;
    if (2 * there >= rebuild->state.pruned - from) {
        rebuild->state.pruned = first - 1;
        return 0;
    }
    (void)snprintf(sql, sizeof(sql), "DELETE FROM outcome WHERE outcome = %d AND seq <= %llu",
                   SPOOL_DELIVERED, (unsigned long long)rebuild->state.pruned);
    return sqlite3_exec(rebuild->task->db, sql, NULL, NULL, NULL);
}

/* A line of a lane that was forgotten, and was created again: "default" took its counters
 * over. */
static void move_to_fallback(struct rebuild *rebuild)
{
    uint64_t *fallback = rebuild->lanes.fallback->recorded;
    for (size_t i = 0; i < rebuild->lanes.count && rebuild->lanes.is_complete; i++) {
        struct kept_lane *lane = &rebuild->lanes.all[i];
        for (int j = 0; j < SPOOL_OUTCOMES && lane != rebuild->lanes.fallback; j++) {
            uint64_t counted = rebuild_lower(lane->recorded[j], lane->counters.ended[j]);
            fallback[j] += lane->recorded[j] - counted;
            lane->recorded[j] = counted;
        }
    }
}

/*
 * The counters say of what kinds the ends up to counted.seq are, the records
 * that were read say it of most. So no counter is below what was read; and all
 * of them together are as many as there are seqs, so that each whose record is
 * lost is in one of them. Where a lane's counters are lost, what is unknown
 * was exported: it counts as delivered.
 */
static void level_counters(struct rebuild *rebuild)
{
    uint64_t failures = 0;
    move_to_fallback(rebuild);
    for (size_t i = 0; i < rebuild->lanes.count; i++) {
        struct kept_lane *lane = &rebuild->lanes.all[i];
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            lane->counters.ended[j] =
                rebuild_higher(lane->counters.ended[j], lane->recorded[j]);
    }
    uint64_t ended = rebuild_sum_ended(&rebuild->lanes);
    if (ended < rebuild->counted.seq)
        rebuild->lanes.fallback->counters.ended[SPOOL_DELIVERED] +=
            rebuild->counted.seq - ended;
    for (int j = 0; j < SPOOL_OUTCOMES; j++) {
        for (size_t i = 0; i < rebuild->lanes.count; i++) {
            struct kept_lane *lane = &rebuild->lanes.all[i];
            uint64_t excess = ended - rebuild_lower(ended, rebuild->counted.seq);
            uint64_t part = rebuild_lower(excess, lane->counters.ended[j] - lane->recorded[j]);
            lane->counters.ended[j] -= part;
            ended -= part;
            failures += j == SPOOL_DELIVERED ? 0 : lane->counters.ended[j] - lane->recorded[j];
        }
    }
    rebuild->messages.spare_failures =
        failures - rebuild_lower(failures, rebuild->state.failures_pruned);
}

/* ---- which messages ---- */

static int take_sound(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    bool is_of_segment = rebuild->segments.walked != TABLE_MESSAGE;
    if ((is_of_segment && rebuild_has_ended(rebuild, row)) ||
        rebuild_judge(rebuild, row) != SOUND_MESSAGE)
        return 0;
    if (!row->is_uncertain)
        return rebuild_keep_message(rebuild, row);
    return rebuild_add_candidate(&rebuild->candidates, row, rebuild_id_of(row));
}

/* A tree is in order: where a row is not, it is its key that was damaged. */
static int take_broken(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    if (row->is_uncertain)
        return 0;
    switch (rebuild_judge(rebuild, row)) {
    case NO_MESSAGE:
        return 0;
    case SOUND_MESSAGE:
        rebuild->messages.walked_key = row->rowid;
        return 0;
    case BROKEN_MESSAGE:
        break;
    }
    if (rebuild->segments.walked != TABLE_MESSAGE && rebuild_has_ended(rebuild, row))
        return 0;
    return row->rowid > rebuild->messages.walked_key ? rebuild_record_broken(rebuild, row) : 0;
}

static int take_candidate(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    if ((rebuild->candidates.has_ended_last && rebuild_has_ended(rebuild, row)) ||
        rebuild_judge(rebuild, row) != SOUND_MESSAGE)
        return 0;
    return rebuild_keep_message(rebuild, row);
}

/* Newest first, while any are missing. */
static int take_candidates(struct rebuild *rebuild, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < rebuild->candidates.count && rebuild_count_missing(rebuild) > 0;
         i++) {
        const struct candidate *candidate = &rebuild->candidates.all[i];
        if (candidate->number < from || candidate->number > to)
            continue;
        int r = pages_one(rebuild->task->pages, candidate->page, candidate->cell,
                          take_candidate, rebuild);
        if (r != 0)
            return r;
    }
    return 0;
}

/*
 * Those whose ids are among the newest of which nothing is known: just so many are missing. An
 * older one is likelier to have ended long ago, beyond what the audit file reaches back; only
 * where there is no such file, and lanes may have overtaken each other, it is sent rather than
 * given up.
 */
static int choose_candidates(struct rebuild *rebuild)
{
    uint64_t missing =
        rebuild_lower(rebuild_count_missing(rebuild), rebuild_most_missing(rebuild));
    uint64_t oldest = rebuild_open_pool(rebuild, missing).next;
    rebuild->candidates.has_ended_last = true;
    int r = take_candidates(rebuild, oldest, UINT64_MAX);
    rebuild->candidates.has_ended_last = false;
    if (r == 0)
        r = take_candidates(rebuild, oldest, UINT64_MAX);
    if (r == 0 && rebuild->history.seq == 0 && rebuild->lanes.count > 1)
        r = take_candidates(rebuild, 0, oldest);
    return r;
}

static int read_messages(struct rebuild *rebuild)
{
    struct pages *pages = rebuild->task->pages;
    pages_restart(pages);
    int r = pages_walk(pages, ROOT_MESSAGE, take_sound, rebuild);
    if (r == 0)
        r = rebuild_walk_segments(rebuild, take_sound);
    if (r == 0)
        r = pages_walk(pages, ROOT_OUTCOME, take_sound, rebuild); /* none: it is reached */
    if (r == 0)
        r = pages_orphans(pages, take_sound, rebuild);
    if (r != 0)
        return r;
    rebuild_sort_candidates(&rebuild->candidates);
    r = choose_candidates(rebuild);
    if (r != 0)
        return r;
    pages_restart(pages);
    r = pages_walk(pages, ROOT_MESSAGE, take_broken, rebuild);
    return r == 0 ? rebuild_walk_segments(rebuild, take_broken) : r;
}

/* ---- all of it ---- */

static int read_all(struct rebuild *rebuild)
{
    int r = measure(rebuild);
    if (r != 0)
        return r;
    rebuild->task->is_count_unknown = rebuild->lanes.count == 0 && !rebuild->mark.is_known;
    rebuild->lanes.fallback =
        rebuild_find_lane_by_name(&rebuild->lanes, rebuild->task->options->lanes[0].name);
    if (!rebuild->lanes.fallback)
        rebuild->lanes.fallback = rebuild_ensure_lane(rebuild, 0);
    if (!rebuild->lanes.fallback)
        rebuild->lanes.fallback = rebuild->lanes.all; /* there are too many others */
    derive_export_cursor(rebuild);
    if (!rebuild->state.is_read || rebuild->state.clock.clock_ms < rebuild->ends.newest_ms)
        rebuild->state.clock.clock_ms = rebuild->ends.newest_ms;
    r = read_outcomes(rebuild);
    if (r == 0)
        r = rebuild_read_runs(rebuild);
    if (r == 0)
        r = guess_export(rebuild);
    if (r == 0)
        r = verify_pruned(rebuild);
    if (r == 0)
        r = each_ended(rebuild, count_history);
    if (r != 0)
        return r;
    level_counters(rebuild);
    r = rebuild_read_kept(rebuild);
    if (r == 0)
        r = read_messages(rebuild);
    if (r == 0)
        r = rebuild_choose_kept(rebuild);
    return r == 0 ? rebuild_copy_holds(rebuild) : r;
}

int rebuild(struct rebuild_task *task)
{
    struct rebuild rebuild = {.task = task, .segments.walked = TABLE_MESSAGE};
    if (task->mark->last_id <= SPOOL_LAST_MAX && task->mark->last_seq <= SPOOL_LAST_MAX)
        rebuild.mark = *task->mark;
    rebuild.lanes.all = calloc(SPOOL_LANES_KNOWN_MAX, sizeof(*rebuild.lanes.all));
    int r = rebuild.lanes.all ? rebuild_prepare(&rebuild) : -ENOMEM;
    if (r == 0)
        r = rebuild_prepare_segments(&rebuild);
    if (r == 0)
        r = read_all(&rebuild);
    if (r == 0)
        r = rebuild_write_rest(&rebuild);
    if (r == 0 &&
        (rebuild.seen.ids.is_short || rebuild.seen.seqs.is_short || rebuild.kept.ids.is_short))
        r = -ENOMEM;
    task->salvaged = rebuild.messages.found;
    task->last_id = rebuild.ends.last_id;
    task->last_seq = rebuild.ends.last_seq;
    (void)sqlite3_finalize(rebuild.insert.message);
    (void)sqlite3_finalize(rebuild.insert.outcome);
    (void)sqlite3_finalize(rebuild.insert.kept);
    free(rebuild.candidates.all);
    free(rebuild.kept.candidates.all);
    free(rebuild.lanes.all);
    rebuild_free_segments(&rebuild.segments);
    numbers_done(&rebuild.seen.ids);
    numbers_done(&rebuild.seen.seqs);
    numbers_done(&rebuild.kept.ids);
    return r;
}
