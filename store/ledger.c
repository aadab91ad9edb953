/* SPDX-License-Identifier: MIT */
/*
 * ledger.c - the counters of each lane, in memory and in their small table
 *
 * The whole ledger is the sum of the lanes' rows, the last id and the last seq
 * are their maxima; nothing is stored twice. A commit writes the rows that
 * changed. Which lanes there are is in lanes.c.
 */
#include "base/view.h"
#include "store/runs.h"
#include "store/spool-private.h"
#include "store/tallies.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

bool spool_ledger_balances(const struct spool_ledger *ledger)
{
    uint64_t sum = ledger->spooled;
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        sum += ledger->ended[i];
    return sum == ledger->accepted;
}

static void read_lane(const struct stmt *stmt, struct lane *lane)
{
    struct spool_counters *counters = &lane->committed;
    int column = 0;
    lane->number = (unsigned)stmt_int(stmt, column++);
    column++; /* the name */
    counters->accepted = (uint64_t)stmt_int(stmt, column++);
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        counters->ended[i] = (uint64_t)stmt_int(stmt, column++);
    counters->messages = (uint64_t)stmt_int(stmt, column++);
    counters->bytes = (uint64_t)stmt_int(stmt, column++);
    counters->last_id = (uint64_t)stmt_int(stmt, column++);
    counters->last_seq = (uint64_t)stmt_int(stmt, column++);
    lane->working = *counters;
    lane->is_stored = true;
    lane->cursor = lane_first_key(lane);
}

static int read_lane_row(struct spool *spool, const struct stmt *stmt)
{
    const char *name = stmt_string(stmt, 1);
    if (!name)
        return spool_fail_memory(spool);
    int64_t number = stmt_int(stmt, 0);
    if (number < 0 || number > SPOOL_LANE_MAX)
        return spool_fail(spool, -EBADMSG, "lane \"%s\" has an impossible number", name);
    struct lane *lane = lane_set_find(&spool->lanes, name);
    if (!lane) {
        int r = lanes_add(spool, name, &lane);
        if (r != 0)
            return r;
    }
    read_lane(stmt, lane);
    return 0;
}

static int read_lane_row_of_9(struct spool *spool, const struct stmt *stmt)
{
    struct lane *lane = lane_set_find_number(&spool->lanes, stmt_int(stmt, 0));
    int64_t ended_id = stmt_int(stmt, 2);
    if (!lane) /* new since the lanes were read */
        return 0;
    lane->committed.numbered = lane->working.numbered = (uint64_t)stmt_int(stmt, 1);
    int r = runs_decode(&lane->runs, stmt_bytes(stmt, 3));
    if (r == -ENOMEM)
        return spool_fail_memory(spool);
    const struct run *newest = runs_newest(&lane->runs);
    if (r < 0 || ended_id < 0 || (uint64_t)ended_id > SPOOL_LAST_MAX ||
        (newest && newest->last_id > (uint64_t)ended_id))
        return spool_fail(spool, -EBADMSG, "the runs of lane \"%s\" are damaged", lane->name);
    lane->committed.ended_id = lane->working.ended_id = (uint64_t)ended_id;
    return 0;
}

/* A spool that the daemon has not yet migrated has none. */
static int read_lanes_of_9(struct spool *spool)
{
    struct stmt *stmt = spool_stmt(spool, STMT_LANES_OF_9);
    int r = 0;
    int rc = SQLITE_DONE;
    if (!stmt->handle)
        return 0;
    while (r == 0 && (rc = stmt_step(stmt)) == SQLITE_ROW)
        r = read_lane_row_of_9(spool, stmt);
    if (r == 0)
        r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

/* They refine the ledger: a blob that is not one makes no spool damaged. check.c reports it. */
static int read_tallies(struct spool *spool)
{
    struct stmt *stmt = spool_stmt(spool, STMT_LANES_OF_12);
    int rc = SQLITE_DONE;
    if (!stmt->handle)
        return 0;
    while ((rc = stmt_step(stmt)) == SQLITE_ROW) {
        struct lane *lane = lane_set_find_number(&spool->lanes, stmt_int(stmt, 0));
        if (!lane) /* new since the lanes were read */
            continue;
        (void)tallies_decode(stmt_bytes(stmt, 1), &lane->committed.tallies);
        lane->working.tallies = lane->committed.tallies;
    }
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

/* Forgotten since a reader last read them: its counters are those of "default" now, its number
 * may be another lane's. Its name stays, because a caller may hold it. */
static void clear_missing_lanes(struct spool *spool)
{
    for (size_t i = 0; i < spool->lanes.count; i++) {
        struct lane *lane = &spool->lanes.all[i];
        if (lane->is_stored)
            continue;
        lane->number = SPOOL_LANE_MAX + 1;
        lane->committed = lane->working = (struct spool_counters){0};
        runs_done(&lane->runs);
    }
}

static int read_lanes(struct spool *spool)
{
    struct stmt *stmt = spool_stmt(spool, STMT_LANES);
    int r = 0;
    int rc = SQLITE_DONE;
    for (size_t i = 0; i < spool->lanes.count; i++)
        spool->lanes.all[i].is_stored = false;
    while (r == 0 && (rc = stmt_step(stmt)) == SQLITE_ROW)
        r = read_lane_row(spool, stmt);
    if (r == 0)
        r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r == 0)
        clear_missing_lanes(spool);
    return r;
}

/* The maxima over all lanes. */
static void update_maxima(struct spool *spool)
{
    uint64_t last_id = lane_set_committed_id(&spool->lanes);
    uint64_t last_seq = 0;
    for (size_t i = 0; i < spool->lanes.count; i++) {
        if (spool->lanes.all[i].committed.last_seq > last_seq)
            last_seq = spool->lanes.all[i].committed.last_seq;
    }
    if (last_id > spool->lanes.last_id)
        spool->lanes.last_id = last_id;
    spool->committed.last_seq = last_seq;
    spool->working.last_seq = last_seq;
}

int ledger_refresh(struct spool *spool)
{
    int r = read_lanes(spool);
    if (r == 0)
        r = read_lanes_of_9(spool);
    if (r == 0)
        r = read_tallies(spool);
    if (r != 0)
        return r;
    update_maxima(spool);
    return 0;
}

struct spool_ledger ledger_from_counters(const struct spool_counters *counters)
{
    struct spool_ledger ledger = {.accepted = counters->accepted,
                                  .spooled = counters->messages};
    memcpy(ledger.ended, counters->ended, sizeof(ledger.ended));
    return ledger;
}

static bool counters_balance(const struct spool_counters *counters)
{
    const struct spool_ledger ledger = ledger_from_counters(counters);
    return spool_ledger_balances(&ledger);
}

static int verify_lane(struct spool *spool, const struct lane *lane)
{
    struct stmt *stmt = spool_stmt(spool, STMT_LAST_KEY);
    stmt_bind_int(stmt, 1, lane_first_key(lane));
    stmt_bind_int(stmt, 2, lane_last_key(lane));
    int rc = stmt_step(stmt);
    bool is_empty = rc == SQLITE_DONE;
    uint64_t last_id = is_empty ? 0 : (uint64_t)stmt_int(stmt, 0) & SPOOL_ID_MAX;
    bool is_numbered = !is_empty && !stmt_is_null(stmt, 1);
    uint64_t number = is_numbered ? last_id - (uint64_t)stmt_int(stmt, 1) : 0;
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r != 0)
        return r;
    if (!counters_balance(&lane->committed))
        return spool_fail(spool, -EBADMSG, "the ledger of lane \"%s\" does not balance",
                          lane->name);
    if (lane->committed.last_id > SPOOL_LAST_MAX || lane->committed.last_seq > SPOOL_LAST_MAX)
        return spool_fail(spool, -EBADMSG,
                          "no spool comes to the last id or seq of lane \"%s\"", lane->name);
    if (lane->committed.numbered > spool->lanes.last_id || number > lane->committed.numbered)
        return spool_fail(spool, -EBADMSG, "the numbers of lane \"%s\" do not match its ledger",
                          lane->name);
    uint64_t rest = lane->committed.messages - lane->committed.segment_messages;
    if (is_empty != (rest == 0) || rest > lane->committed.messages ||
        last_id > lane->committed.last_id)
        return spool_fail(spool, -EBADMSG,
                          "the messages of lane \"%s\" do not match its ledger", lane->name);
    return 0;
}

static const struct run *find_newest_run(const struct lane_set *lanes)
{
    const struct run *newest = NULL;
    for (size_t i = 0; i < lanes->count; i++) {
        const struct run *run = runs_newest(&lanes->all[i].runs);
        if (run && (!newest || run->first_seq > newest->first_seq))
            newest = run;
    }
    return newest;
}

int ledger_load_last_ended(struct spool *spool, int64_t *ret)
{
    struct stmt *stmt = spool_stmt(spool, STMT_LAST_ENDED);
    const struct run *newest = find_newest_run(&spool->lanes);
    int rc = stmt_step(stmt);
    int64_t last_ended_ms = rc == SQLITE_ROW ? stmt_int(stmt, 0) : 0;
    if (newest && (rc == SQLITE_DONE || run_last_seq(newest) > (uint64_t)stmt_int(stmt, 1)))
        last_ended_ms = newest->ended_at;
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r == 0)
        *ret = last_ended_ms;
    return r;
}

/* What is quickly checked; to count all messages would read the whole database. */
int ledger_verify(struct spool *spool)
{
    for (size_t i = 0; i < spool->lanes.count; i++) {
        if (spool->lanes.all[i].number > SPOOL_LANE_MAX) /* new */
            continue;
        int r = verify_lane(spool, &spool->lanes.all[i]);
        if (r != 0)
            return r;
    }
    uint64_t last_seq = 0;
    int r = spool_read_number(spool, STMT_LAST_SEQ, &last_seq);
    const struct run *newest = find_newest_run(&spool->lanes);
    if (newest && run_last_seq(newest) > last_seq)
        last_seq = run_last_seq(newest);
    if (r == 0 && last_seq != spool->committed.last_seq)
        return spool_fail(spool, -EBADMSG, "the outcome table does not match the ledger");
    return r;
}

int ledger_load_state(struct spool *spool, struct spool_clock_state *ret)
{
    struct stmt *stmt = spool_stmt(spool, STMT_STATE);
    int rc = stmt_step(stmt);
    if (rc != SQLITE_ROW) {
        stmt_reset(stmt);
        return rc == SQLITE_DONE ? spool_fail(spool, -EBADMSG, "table spool is empty")
                                 : spool_result(spool, rc);
    }
    struct spool_clock_state state = {0};
    struct view boot_id = stmt_bytes(stmt, 0);
    if (boot_id.size > 0 && boot_id.size < sizeof(state.boot_id))
        memcpy(state.boot_id, boot_id.data, boot_id.size);
    state.boot_ms = stmt_int(stmt, 1);
    state.clock_ms = stmt_int(stmt, 2);
    state.has_wall = !stmt_is_null(stmt, 3);
    state.wall_ms = stmt_int(stmt, 3);
    state.wall_clock_ms = stmt_int(stmt, 4);
    state.is_absent = !stmt_is_null(stmt, 5);
    state.absent_after = (uint64_t)stmt_int(stmt, 5);
    spool->working.progress.exported_seq = (uint64_t)stmt_int(stmt, 6);
    spool->working.progress.pruned_seq = (uint64_t)stmt_int(stmt, 7);
    spool->working.progress.failures_pruned = (uint64_t)stmt_int(stmt, 8);
    spool->committed.progress = spool->working.progress;
    stmt_reset(stmt);
    *ret = state;
    return 0;
}

int ledger_refresh_reader(struct spool *spool)
{
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    spool_end_scan(spool);
    if (!spool->conn.is_reader)
        return 0;
    int r = ledger_refresh(spool);
    return r == 0 ? ledger_load_state(spool, &spool->time.clock.state) : r;
}

static int store_lane(struct spool *spool, const struct lane *lane)
{
    struct stmt *stmt = spool_stmt(spool, STMT_LANE_ADD);
    stmt_bind_int(stmt, 1, lane->number);
    stmt_bind_text(stmt, 2, view_of_text(lane->name));
    return spool_result(spool, stmt_run(stmt));
}

static int write_lane(struct spool *spool, const struct lane *lane)
{
    const struct spool_counters *counters = &lane->working;
    struct stmt *stmt = spool_stmt(spool, STMT_LANE_WRITE);
    int index = 1;
    stmt_bind_int(stmt, index++, lane->number);
    stmt_bind_int(stmt, index++, (int64_t)counters->accepted);
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        stmt_bind_int(stmt, index++, (int64_t)counters->ended[i]);
    stmt_bind_int(stmt, index++, (int64_t)counters->messages);
    stmt_bind_int(stmt, index++, (int64_t)counters->bytes);
    stmt_bind_int(stmt, index++, (int64_t)counters->last_id);
    stmt_bind_int(stmt, index++, (int64_t)counters->last_seq);
    stmt_bind_int(stmt, index++, (int64_t)(counters->accepted - counters->numbered));
    stmt_bind_int(stmt, index++, (int64_t)counters->ended_id);
    uint8_t runs[RUNS_BYTES_MAX];
    size_t size = runs_encode(&lane->runs, spool->working.progress.exported_seq, runs);
    stmt_bind_blob(stmt, index++, view_of(runs, size));
    uint8_t tallies[TALLIES_BYTES_MAX];
    size = tallies_encode(&counters->tallies, tallies);
    stmt_bind_blob(stmt, index++, view_of(tallies, size));
    int r = spool_result(spool, stmt_run(stmt));
    if (r == 0 && sqlite3_changes(spool->conn.db) != 1)
        return spool_fail(spool, -EBADMSG, "lane \"%s\" is gone from the database", lane->name);
    return r;
}

int ledger_write(struct spool *spool)
{
    for (size_t i = 0; i < spool->lanes.count; i++) {
        const struct lane *lane = &spool->lanes.all[i];
        assert(counters_balance(&lane->working));
        int r = lane->is_stored ? 0 : store_lane(spool, lane);
        if (r == 0 && memcmp(&lane->working, &lane->committed, sizeof(lane->working)) != 0)
            r = write_lane(spool, lane);
        if (r != 0)
            return r;
    }
    return 0;
}

void ledger_commit(struct spool *spool)
{
    for (size_t i = 0; i < spool->lanes.count; i++) {
        struct lane *lane = &spool->lanes.all[i];
        lane->committed = lane->working;
        lane->is_stored = true;
        runs_commit(&lane->runs, spool->working.progress.exported_seq);
    }
    spool->lanes.has_new = false;
    spool->committed = spool->working;
}

void ledger_rollback(struct spool *spool)
{
    for (size_t i = 0; i < spool->lanes.count; i++) {
        spool->lanes.all[i].working = spool->lanes.all[i].committed;
        runs_rollback(&spool->lanes.all[i].runs);
    }
    spool->working = spool->committed;
    spool->moved_segment = TABLE_SEGMENTS;
}
