/* SPDX-License-Identifier: MIT */
/*
 * walk.c - the records of how messages ended, in the order of seq
 *
 * A record is a row of table outcome, or a delivery of a run (runs.h): then it is made from the
 * message's row, which stays in its segment until the run is exported. Seqs of both do not
 * overlap. A run must have exactly as many rows as it says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/runs.h"
#include "store/spool-private.h"

static const char *lane_name(const struct lane_set *lanes, int64_t number)
{
    const struct lane *lane = lane_set_find_number(lanes, number);

    return lane ? lane->name : "";
}

static int read_record(struct spool *spool, const struct stmt *stmt, struct spool_record *ret)
{
    *ret = (struct spool_record){
        .seq = (uint64_t)stmt_int(stmt, 0),
        .id = (uint64_t)stmt_int(stmt, 1),
        .lane = lane_name(&spool->lanes, stmt_int(stmt, 2)),
        .time_ms = stmt_int(stmt, 3),
        .outcome = (enum spool_outcome)stmt_int(stmt, 4),
        .reason = (enum spool_reason)stmt_int(stmt, 5),
        .code = stmt_is_null(stmt, 6) ? SPOOL_NO_CODE : (int)stmt_int(stmt, 6),
        .attempts = (uint32_t)stmt_int(stmt, 7),
        .uid = (uint32_t)stmt_int(stmt, 8),
        .qos = (uint8_t)stmt_int(stmt, 9),
        .bytes = (uint64_t)stmt_int(stmt, 10),
        .accepted_ms = stmt_int(stmt, 11),
        .age_ms = stmt_int(stmt, 12),
        .client = stmt_string(stmt, 13),
        .topic = stmt_string(stmt, 14),
        .ref = stmt_string(stmt, 15),
    };
    if (!ret->client || !ret->topic)
        return spool_fail_memory(spool);
    int64_t key = stmt_int(stmt, 2) << SPOOL_ID_BITS | stmt_int(stmt, 1);
    return origin_find(spool, key, &ret->requeued_from);
}

struct walk {
    uint64_t after;
    uint64_t up_to;
    uint64_t left; /* records */
    bool failures_only;
    spool_record_fn *fn;
    void *userdata;
    bool is_in_batch; /* in the transaction of a commit, of records that it adds */
    int64_t last_key; /* of the record of a run with seq @after, or 0 */
};

static struct stmt *start_walk(struct spool *spool, const struct walk *walk)
{
    struct stmt *stmt = spool_stmt(spool, STMT_OUTCOMES);
    stmt_bind_int(stmt, 1, (int64_t)walk->after);
    stmt_bind_int(stmt, 2, (int64_t)walk->up_to);
    stmt_bind_int(stmt, 3, walk->failures_only ? SPOOL_DELIVERED + 1 : SPOOL_DELIVERED);
    return stmt;
}

/* ---- runs ---- */

/* The run with the next record of one; NULL: there is none. What was exported or pruned is not
 * reported from a run, because its rows may be gone. */
static const struct run *
find_run(const struct spool *spool, const struct walk *walk, const struct lane **ret_lane)
{
    const struct run *found = NULL;
    uint64_t gone = progress_gone_seq(&spool->committed.progress);
    uint64_t after = walk->after > gone ? walk->after : gone;
    for (size_t i = 0; i < spool->lanes.count && !walk->failures_only; i++) {
        const struct run *run = runs_after(&spool->lanes.all[i].runs, after);
        if (!run || run->first_seq > walk->up_to ||
            (found && found->first_seq < run->first_seq))
            continue;
        found = run;
        *ret_lane = &spool->lanes.all[i];
    }
    return found;
}

static int read_run_row(struct spool *spool,
                        const struct lane *lane,
                        const struct run *run,
                        const struct stmt *stmt,
                        struct spool_record *ret)
{
    int64_t age_ms = run->ended_at - stmt_int(stmt, 5);
    ret->id = (uint64_t)stmt_int(stmt, 0) & SPOOL_ID_MAX;
    ret->lane = lane->name;
    ret->time_ms = run->time_ms;
    ret->outcome = SPOOL_DELIVERED;
    ret->reason = SPOOL_REASON_NONE;
    ret->code = run->code;
    ret->attempts = run->attempts;
    ret->uid = (uint32_t)stmt_int(stmt, 1);
    ret->qos = (uint8_t)(stmt_int(stmt, 2) & FLAGS_QOS);
    ret->bytes = (uint64_t)stmt_int(stmt, 3);
    ret->accepted_ms = stmt_int(stmt, 4);
    ret->age_ms = age_ms > 0 ? age_ms : 0;
    ret->client = stmt_string(stmt, 6);
    ret->topic = stmt_string(stmt, 7);
    ret->ref = stmt_string(stmt, 8);
    if (!ret->client || !ret->topic)
        return spool_fail_memory(spool);
    return origin_find(spool, stmt_int(stmt, 0), &ret->requeued_from);
}

static int run_mismatch(struct spool *spool, const struct run *run)
{
    return spool_fail(spool, -EBADMSG,
                      "messages %llu to %llu, which were delivered, are not in "
                      "their segment",
                      (unsigned long long)run->first_id, (unsigned long long)run->last_id);
}

/* Stands before the row with @ret_seq: the first one, or the one after the last reported. */
static struct stmt *start_run(struct spool *spool,
                              const struct walk *walk,
                              const struct lane *lane,
                              const struct run *run,
                              uint64_t *ret_seq)
{
    struct stmt *stmt = spool_table_stmt(spool, run->segment, TABLE_RECORDS);
    int64_t first_key = lane_first_key(lane) + (int64_t)run->first_id;
    bool is_continued = walk->last_key >= first_key && walk->after >= run->first_seq;
    stmt_bind_int(stmt, 1, is_continued ? walk->last_key + 1 : first_key);
    stmt_bind_int(stmt, 2, lane_first_key(lane) + (int64_t)run->last_id);
    *ret_seq = is_continued ? walk->after + 1 : run->first_seq;
    return stmt;
}

/* The row of the run with the next seq to report: SQLITE_ROW, SQLITE_DONE or an error. */
static int
step_run(struct spool *spool, const struct walk *walk, struct stmt *stmt, uint64_t *seq)
{
    uint64_t gone = progress_gone_seq(&spool->committed.progress);
    int rc = stmt_step(stmt);
    while (rc == SQLITE_ROW && (*seq <= walk->after || *seq <= gone)) {
        ++*seq;
        rc = stmt_step(stmt);
    }
    return rc;
}

static int report(struct walk *walk, const struct spool_record *record)
{
    walk->after = record->seq;
    walk->left--;
    return walk->fn(walk->userdata, record);
}

/* ---- the writer's walk ---- */

/* A lock that lasts longer than the busy timeout; a commit handles its conditions itself. */
static int walk_result(struct spool *spool, const struct walk *walk, int rc)
{
    int r = spool_result(spool, rc);
    return r > 0 && !walk->is_in_batch ? -EBUSY : r;
}

static int
walk_run(struct spool *spool, struct walk *walk, const struct lane *lane, const struct run *run)
{
    struct spool_record record = {0};
    struct stmt *stmt = start_run(spool, walk, lane, run, &record.seq);
    int r = 0;
    int rc = SQLITE_ROW;
    while (r == 0 && walk->left > 0 &&
           (rc = step_run(spool, walk, stmt, &record.seq)) == SQLITE_ROW) {
        if (record.seq > run_last_seq(run))
            r = run_mismatch(spool, run);
        else
            r = read_run_row(spool, lane, run, stmt, &record);
        if (r == 0)
            r = report(walk, &record);
        walk->last_key = lane_first_key(lane) + (int64_t)record.id;
        record.seq++;
    }
    stmt_reset(stmt);
    if (r == 0 && rc == SQLITE_DONE && record.seq != run_last_seq(run) + 1)
        return run_mismatch(spool, run);
    return r == 0 ? walk_result(spool, walk, rc) : r;
}

/* One statement over all rows, because no other process checkpoints. */
static int walk_at_once(struct spool *spool, struct walk *walk)
{
    struct stmt *stmt = start_walk(spool, walk);
    struct spool_record record;
    bool has_row = false;
    int r = 0;
    int rc = SQLITE_ROW;
    while (r == 0 && walk->left > 0) {
        const struct lane *lane = NULL;
        const struct run *run = find_run(spool, walk, &lane);
        if (!has_row && rc == SQLITE_ROW) {
            rc = stmt_step(stmt);
            has_row = rc == SQLITE_ROW;
        }
        if (!has_row && rc != SQLITE_DONE)
            break;
        if (has_row && (!run || (uint64_t)stmt_int(stmt, 0) < run->first_seq)) {
            r = read_record(spool, stmt, &record);
            if (r == 0)
                r = report(walk, &record);
            has_row = false;
        } else if (run) {
            r = walk_run(spool, walk, lane, run);
        } else {
            break;
        }
    }
    if (r == 0)
        r = walk_result(spool, walk, rc);
    stmt_reset(stmt);
    return r;
}

void spool_watch_records(struct spool *spool,
                         bool failures_only,
                         spool_record_fn *fn,
                         void *userdata)
{
    spool->watch =
        (struct record_watch){.fn = fn, .userdata = userdata, .failures_only = failures_only};
}

int walk_batch(struct spool *spool)
{
    const struct record_watch *watch = &spool->watch;
    if (!watch->fn || spool->working.last_seq == spool->committed.last_seq)
        return 0;
    struct walk walk = {
        .after = spool->committed.last_seq,
        .up_to = spool->working.last_seq,
        .left = UINT64_MAX,
        .failures_only = watch->failures_only,
        .fn = watch->fn,
        .userdata = watch->userdata,
        .is_in_batch = true,
    };
    return walk_at_once(spool, &walk);
}

/* ---- a reader's walk ---- */

/* What a record borrows. */
struct record_copy {
    char *client;
    char *topic;
    char *ref;
};

static void free_copy(struct record_copy *copy)
{
    free(copy->client);
    free(copy->topic);
    free(copy->ref);
}

/* Return: 0; -ENOMEM. */
static int copy_record(struct spool_record *record, struct record_copy *ret)
{
    struct record_copy copy = {.client = record->client ? strdup(record->client) : NULL,
                               .topic = record->topic ? strdup(record->topic) : NULL,
                               .ref = record->ref ? strdup(record->ref) : NULL};
    if (!copy.client || !copy.topic || (record->ref && !copy.ref)) {
        free_copy(&copy);
        return -ENOMEM;
    }
    record->client = copy.client;
    record->topic = copy.topic;
    record->ref = copy.ref;
    *ret = copy;
    return 0;
}

/* Return: 0; SPOOL_E_EMPTY: there is none; negative errno. */
static int read_next(struct spool *spool,
                     struct walk *walk,
                     struct spool_record *ret,
                     struct record_copy *ret_copy)
{
    const struct lane *lane = NULL;
    const struct run *run = find_run(spool, walk, &lane);
    struct stmt *stmt = start_walk(spool, walk);
    int rc = stmt_step(stmt);
    int r = walk_result(spool, walk, rc);
    if (run && (rc == SQLITE_DONE ||
                (rc == SQLITE_ROW && (uint64_t)stmt_int(stmt, 0) > run->first_seq))) {
        stmt_reset(stmt);
        stmt = start_run(spool, walk, lane, run, &ret->seq);
        rc = step_run(spool, walk, stmt, &ret->seq);
        r = walk_result(spool, walk, rc);
        if (rc == SQLITE_DONE)
            r = run_mismatch(spool, run);
        else if (r == 0)
            r = read_run_row(spool, lane, run, stmt, ret);
        walk->last_key = r == 0 ? lane_first_key(lane) + (int64_t)ret->id : 0;
    } else if (rc == SQLITE_ROW) {
        r = read_record(spool, stmt, ret);
    } else if (r == 0) {
        r = SPOOL_E_EMPTY;
    }
    if (r == 0)
        r = copy_record(ret, ret_copy);
    stmt_reset(stmt);
    return r;
}

/* In one snapshot, because a run and its rows go at different times. */
static int read_next_in_snapshot(struct spool *spool,
                                 struct walk *walk,
                                 struct spool_record *ret,
                                 struct record_copy *ret_copy)
{
    struct spool_clock_state state;
    int r = walk_result(spool, walk, stmt_run(spool_stmt(spool, STMT_SNAPSHOT)));
    if (r != 0)
        return r;
    r = ledger_refresh(spool);
    if (r == 0)
        r = ledger_load_state(spool, &state);
    r = r > 0 ? -EBUSY : r;
    if (r == 0)
        r = read_next(spool, walk, ret, ret_copy);
    int rollback = walk_result(spool, walk, stmt_run(spool_stmt(spool, STMT_ROLLBACK)));
    if (r == 0 && rollback != 0)
        free_copy(ret_copy);
    return r == 0 ? rollback : r;
}

/*
 * One record, then the snapshot is released before the callback is called. A tool that
 * waits for a pager must not keep the daemon's WAL from being reused.
 */
static int walk_one_by_one(struct spool *spool, struct walk *walk)
{
    int r = 0;
    while (r == 0 && walk->left > 0) {
        struct spool_record record = {0};
        struct record_copy copy;
        r = walk->failures_only ? read_next(spool, walk, &record, &copy)
                                : read_next_in_snapshot(spool, walk, &record, &copy);
        if (r == SPOOL_E_EMPTY)
            return 0;
        if (r != 0)
            return r;
        r = report(walk, &record);
        free_copy(&copy);
    }
    return r;
}

int spool_each_record(struct spool *spool,
                      uint64_t after,
                      bool failures_only,
                      uint64_t limit,
                      spool_record_fn *fn,
                      void *userdata)
{
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    spool_end_scan(spool);
    if (spool->conn.is_reader) {
        int r = ledger_refresh(spool);
        if (r != 0)
            return r > 0 ? -EBUSY : r;
    }
    struct walk walk = {
        .after = after < INT64_MAX ? after : INT64_MAX,
        .up_to = spool->committed.last_seq,
        .left = limit > 0 ? limit : UINT64_MAX,
        .failures_only = failures_only,
        .fn = fn,
        .userdata = userdata,
    };
    if (walk.after >= walk.up_to)
        return 0;
    return spool->conn.is_reader ? walk_one_by_one(spool, &walk) : walk_at_once(spool, &walk);
}
