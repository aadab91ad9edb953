/*
 * ledger.c - the counters of each lane, in memory and in their small table
 *
 * The whole ledger is the sum of the lanes' rows, the last id and the last seq
 * are their maxima; nothing is stored twice. A commit writes the rows that
 * changed. Lane numbers are given out once per name and never change, so that
 * reordering or removing lanes in the configuration moves no message, whether
 * at start or while the daemon runs; a lane that is no longer configured keeps
 * its messages and its counters and lives under the limits of lane "default".
 *
 * When neither a message nor a record of such a lane is left, the next start
 * forgets it and lane "default" takes its counters over; so the table stays
 * small whatever names come and go.
 */
#include "salvage.h"
#include "spool-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

bool spool_ledger_balances(const struct spool_ledger *ledger)
{
    uint64_t sum = ledger->spooled;
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        sum += ledger->ended[i];
    return sum == ledger->accepted;
}

static struct lane *find_lane(const struct spool *spool, const char *name)
{
    for (size_t i = 0; i < spool->lane_count; i++) {
        if (strcmp(spool->lanes[i].name, name) == 0)
            return &spool->lanes[i];
    }
    return NULL;
}

static int add_lane(struct spool *spool, const char *name, struct lane **ret)
{
    struct lane *lanes = realloc(spool->lanes, (spool->lane_count + 1) * sizeof *lanes);
    if (!lanes)
        return spool_fail(spool, -ENOMEM, "out of memory");
    spool->lanes = lanes;
    struct lane *lane = &lanes[spool->lane_count];
    *lane = (struct lane){.name = strdup(name), .number = SPOOL_LANE_MAX + 1};
    if (!lane->name)
        return spool_fail(spool, -ENOMEM, "out of memory");
    spool->lane_count++;
    *ret = lane;
    return 0;
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
        return spool_fail(spool, -ENOMEM, "out of memory");
    int64_t number = stmt_int(stmt, 0);
    if (number < 0 || number > SPOOL_LANE_MAX)
        return spool_fail(spool, -EBADMSG, "lane \"%s\" has an impossible number", name);
    struct lane *lane = find_lane(spool, name);
    if (!lane) {
        int r = add_lane(spool, name, &lane);
        if (r != 0)
            return r;
    }
    read_lane(stmt, lane);
    return 0;
}

static int read_lanes(struct spool *spool)
{
    struct stmt *stmt = spool_stmt(spool, STMT_LANES);
    int r = 0;
    int rc = SQLITE_DONE;
    while (r == 0 && (rc = stmt_step(stmt)) == SQLITE_ROW)
        r = read_lane_row(spool, stmt);
    if (r == 0)
        r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

/* The maxima over all lanes. */
static void sum_up(struct spool *spool)
{
    uint64_t last_id = 0;
    uint64_t last_seq = 0;
    for (size_t i = 0; i < spool->lane_count; i++) {
        const struct spool_counters *counters = &spool->lanes[i].committed;
        if (counters->last_id > last_id)
            last_id = counters->last_id;
        if (counters->last_seq > last_seq)
            last_seq = counters->last_seq;
    }
    if (last_id > spool->last_id)
        spool->last_id = last_id;
    spool->committed_last_seq = last_seq;
    spool->last_seq = last_seq;
}

int ledger_refresh(struct spool *spool)
{
    int r = read_lanes(spool);
    if (r != 0)
        return r;
    sum_up(spool);
    return 0;
}

static struct spool_ledger ledger_of(const struct spool_counters *counters)
{
    struct spool_ledger ledger = {.accepted = counters->accepted,
                                  .spooled = counters->messages};
    memcpy(ledger.ended, counters->ended, sizeof ledger.ended);
    return ledger;
}

static bool counters_balance(const struct spool_counters *counters)
{
    const struct spool_ledger ledger = ledger_of(counters);
    return spool_ledger_balances(&ledger);
}

static int verify_lane(struct spool *spool, const struct lane *lane)
{
    struct stmt *stmt = spool_stmt(spool, STMT_LAST_KEY);
    stmt_bind_int(stmt, 1, lane_first_key(lane));
    stmt_bind_int(stmt, 2, lane_last_key(lane));
    int rc = stmt_step(stmt);
    bool is_empty = rc == SQLITE_ROW && stmt_is_null(stmt, 0);
    uint64_t last_id = rc == SQLITE_ROW ? (uint64_t)stmt_int(stmt, 0) & SPOOL_ID_MAX : 0;
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r != 0)
        return r;
    if (!counters_balance(&lane->committed))
        return spool_fail(spool, -EBADMSG, "the ledger of lane \"%s\" does not balance",
                          lane->name);
    if (is_empty != (lane->committed.messages == 0) || last_id > lane->committed.last_id)
        return spool_fail(spool, -EBADMSG,
                          "the messages of lane \"%s\" do not match its ledger", lane->name);
    return 0;
}

/* What can be told in a moment; to count all messages would read the whole database. */
static int verify(struct spool *spool)
{
    for (size_t i = 0; i < spool->lane_count; i++) {
        if (spool->lanes[i].number > SPOOL_LANE_MAX) /* new */
            continue;
        int r = verify_lane(spool, &spool->lanes[i]);
        if (r != 0)
            return r;
    }
    struct stmt *stmt = spool_stmt(spool, STMT_LAST_SEQ);
    int rc = stmt_step(stmt);
    uint64_t last_seq = rc == SQLITE_ROW ? (uint64_t)stmt_int(stmt, 0) : 0;
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r == 0 && last_seq != spool->committed_last_seq)
        return spool_fail(spool, -EBADMSG, "the outcome table does not match the ledger");
    return r;
}

/* Gives a number to each configured lane that the database does not know yet. */
static int number_lanes(struct lane *lanes, size_t count)
{
    unsigned next = 0;
    for (size_t i = 0; i < count; i++) {
        if (lanes[i].number <= SPOOL_LANE_MAX && lanes[i].number >= next)
            next = lanes[i].number + 1;
    }
    for (size_t i = 0; i < count; i++) {
        struct lane *lane = &lanes[i];
        if (lane->number <= SPOOL_LANE_MAX)
            continue;
        if (next > SPOOL_LANE_MAX)
            return SPOOL_E_LANES;
        lane->number = next++;
        lane->cursor = lane_first_key(lane);
    }
    return 0;
}

/* Lanes that are not configured live as lane "default" does. */
static void model_lanes(struct lane *lanes, size_t count, size_t configured)
{
    for (size_t i = 0; i < count; i++) {
        struct lane *lane = &lanes[i];
        const struct lane *model = i < configured ? lane : &lanes[0];
        lane->index = (unsigned)(model - lanes);
        lane->priority = model->priority;
        lane->limits = model->limits;
        lane->age_due_ms = INT64_MIN;
    }
}

static int too_many_lanes(struct spool *spool)
{
    return spool_fail(spool, SPOOL_E_LANES,
                      "more than %d lanes, with those that messages or records are left of",
                      SPOOL_LANES_KNOWN_MAX);
}

/* ---- lanes that may be forgotten ---- */

static int first_seq(struct spool *spool, uint64_t *ret)
{
    struct stmt *stmt = spool_stmt(spool, STMT_FIRST_SEQ);
    int rc = stmt_step(stmt);
    uint64_t seq = rc == SQLITE_ROW ? (uint64_t)stmt_int(stmt, 0) : 0;
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r == 0)
        *ret = seq;
    return r;
}

/* What it counted goes over to lane "default", so that the sum stays what it was. */
static int forget_lane(struct spool *spool, struct lane *lane)
{
    struct spool_counters *heir = &spool->lanes[0].working;
    const struct spool_counters *counters = &lane->working;
    struct stmt *stmt = spool_stmt(spool, STMT_LANE_DROP);
    stmt_bind_int(stmt, 1, lane->number);
    int r = spool_result(spool, stmt_run(stmt));
    if (r != 0)
        return r;
    heir->accepted += counters->accepted;
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        heir->ended[i] += counters->ended[i];
    if (counters->last_id > heir->last_id)
        heir->last_id = counters->last_id;
    if (counters->last_seq > heir->last_seq)
        heir->last_seq = counters->last_seq;
    free(lane->name);
    return 0;
}

/* Lanes that nobody configures and of which neither a message nor a record is left. */
static int forget_lanes(struct spool *spool)
{
    uint64_t oldest_seq = 0;
    int r = first_seq(spool, &oldest_seq);
    size_t kept = spool->configured_count;
    for (size_t i = kept; i < spool->lane_count; i++) {
        struct lane *lane = &spool->lanes[i];
        bool is_used = lane->working.messages > 0 ||
                       (lane->working.last_seq > 0 && lane->working.last_seq >= oldest_seq);
        if (r != 0 || is_used)
            spool->lanes[kept++] = *lane;
        else if ((r = forget_lane(spool, lane)) != 0)
            spool->lanes[kept++] = *lane;
    }
    spool->lane_count = kept;
    return r;
}

/* ---- the lanes of the configuration ---- */

static int add_configured(struct spool *spool, const struct spool_lane *lanes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct lane *lane;
        int r = add_lane(spool, lanes[i].name, &lane);
        if (r != 0)
            return r;
        lane->priority = lanes[i].priority;
        lane->limits = lanes[i].limits;
    }
    spool->configured_count = count;
    return 0;
}

/* In the transaction of the open. */
static int settle_lanes(struct spool *spool)
{
    int r = forget_lanes(spool);
    if (r != 0)
        return r;
    if (spool->lane_count > SPOOL_LANES_KNOWN_MAX ||
        number_lanes(spool->lanes, spool->lane_count) != 0)
        return too_many_lanes(spool);
    model_lanes(spool->lanes, spool->lane_count, spool->configured_count);
    if (turns_new(spool->lanes, spool->lane_count, &spool->turns) != 0)
        return spool_fail(spool, -ENOMEM, "out of memory");
    return ledger_write(spool);
}

int ledger_load(struct spool *spool, const struct spool_options *options)
{
    int r = add_configured(spool, options->lanes, options->lane_count);
    if (r == 0)
        r = ledger_refresh(spool);
    if (r == 0)
        r = verify(spool);
    if (r == 0)
        r = spool_begin(spool);
    if (r == 0)
        r = settle_lanes(spool);
    if (r != 0)
        return r;
    spool->is_committing = true;
    r = spool_result(spool, stmt_run(spool_stmt(spool, STMT_COMMIT)));
    spool->is_committing = false;
    if (r != 0)
        return r;
    spool->in_transaction = false;
    ledger_commit(spool);
    return 0;
}

/* All lanes in their new order; the plans move with them. Names of new ones are copied. */
static size_t arrange_lanes(const struct spool *spool,
                            const struct spool_lane *wanted,
                            size_t count,
                            struct lane *ret)
{
    size_t used = count;
    for (size_t i = 0; i < count; i++) {
        const struct lane *known = find_lane(spool, wanted[i].name);
        ret[i] = known ? *known : (struct lane){.number = SPOOL_LANE_MAX + 1};
        ret[i].priority = wanted[i].priority;
        ret[i].limits = wanted[i].limits;
    }
    for (size_t i = 0; i < spool->lane_count; i++) {
        bool is_wanted = false;
        for (size_t j = 0; j < count && !is_wanted; j++)
            is_wanted = strcmp(spool->lanes[i].name, wanted[j].name) == 0;
        if (!is_wanted)
            ret[used++] = spool->lanes[i];
    }
    return used;
}

/* Only when nothing can fail any more. */
static void replace_lanes(struct spool *spool,
                          struct lane *lanes,
                          size_t count,
                          size_t configured,
                          struct turns *turns)
{
    free(spool->lanes);
    turns_done(&spool->turns);
    spool->lanes = lanes;
    spool->lane_count = count;
    spool->configured_count = configured;
    spool->turns = *turns;
    spool->expiry_due_ms = INT64_MIN;
    for (size_t i = 0; i < count; i++)
        spool->has_new_lane |= !lanes[i].is_stored;
}

static int name_lanes(struct lane *lanes, const struct spool_lane *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!lanes[i].name && !(lanes[i].name = strdup(wanted[i].name)))
            return -ENOMEM;
    }
    return 0;
}

static void unname_lanes(const struct spool *spool, struct lane *lanes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (lanes[i].name && !find_lane(spool, lanes[i].name))
            free(lanes[i].name);
    }
    free(lanes);
}

int spool_set_lanes(struct spool *spool, const struct spool_lane *lanes, size_t count)
{
    assert(count >= 1 && count <= SPOOL_LANES_MAX);
    assert(strcmp(lanes[0].name, spool->lanes[0].name) == 0);
    if (spool->failed < 0)
        return spool->failed;
    spool_end_scan(spool);
    struct lane *fresh = calloc(count + spool->lane_count, sizeof *fresh);
    if (!fresh)
        return spool_fail(spool, -ENOMEM, "out of memory");
    struct turns turns;
    size_t known = arrange_lanes(spool, lanes, count, fresh);
    int r = known <= SPOOL_LANES_KNOWN_MAX ? number_lanes(fresh, known) : SPOOL_E_LANES;
    if (r == 0)
        r = name_lanes(fresh, lanes, count);
    if (r == 0 && turns_new(fresh, known, &turns) != 0)
        r = -ENOMEM;
    if (r != 0) {
        unname_lanes(spool, fresh, count);
        return r == SPOOL_E_LANES ? too_many_lanes(spool)
                                  : spool_fail(spool, r, "out of memory");
    }
    model_lanes(fresh, known, count);
    replace_lanes(spool, fresh, known, count, &turns);
    return 0;
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
    struct spool_bytes boot_id = stmt_bytes(stmt, 0);
    if (boot_id.size > 0 && boot_id.size < sizeof state.boot_id)
        memcpy(state.boot_id, boot_id.data, boot_id.size);
    state.boot_ms = stmt_int(stmt, 1);
    state.clock_ms = stmt_int(stmt, 2);
    state.has_wall = !stmt_is_null(stmt, 3);
    state.wall_ms = stmt_int(stmt, 3);
    state.wall_clock_ms = stmt_int(stmt, 4);
    state.is_absent = !stmt_is_null(stmt, 5);
    state.absent_after = (uint64_t)stmt_int(stmt, 5);
    spool->progress.exported_seq = (uint64_t)stmt_int(stmt, 6);
    spool->progress.pruned_seq = (uint64_t)stmt_int(stmt, 7);
    spool->progress.failures_pruned = (uint64_t)stmt_int(stmt, 8);
    spool->committed_progress = spool->progress;
    stmt_reset(stmt);
    *ret = state;
    return 0;
}

static int store_lane(struct spool *spool, const struct lane *lane)
{
    struct stmt *stmt = spool_stmt(spool, STMT_LANE_ADD);
    stmt_bind_int(stmt, 1, lane->number);
    stmt_bind_text(stmt, 2, (struct spool_bytes){lane->name, strlen(lane->name)});
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
    int r = spool_result(spool, stmt_run(stmt));
    if (r == 0 && sqlite3_changes(spool->db) != 1)
        return spool_fail(spool, -EBADMSG, "lane \"%s\" is gone from the database", lane->name);
    return r;
}

int ledger_write(struct spool *spool)
{
    for (size_t i = 0; i < spool->lane_count; i++) {
        const struct lane *lane = &spool->lanes[i];
        assert(counters_balance(&lane->working));
        int r = lane->is_stored ? 0 : store_lane(spool, lane);
        if (r == 0 && memcmp(&lane->working, &lane->committed, sizeof lane->working) != 0)
            r = write_lane(spool, lane);
        if (r != 0)
            return r;
    }
    return 0;
}

void ledger_commit(struct spool *spool)
{
    for (size_t i = 0; i < spool->lane_count; i++) {
        spool->lanes[i].committed = spool->lanes[i].working;
        spool->lanes[i].is_stored = true;
    }
    spool->has_new_lane = false;
    spool->committed_last_seq = spool->last_seq;
    spool->committed_progress = spool->progress;
}

void ledger_rollback(struct spool *spool)
{
    for (size_t i = 0; i < spool->lane_count; i++)
        spool->lanes[i].working = spool->lanes[i].committed;
    spool->last_seq = spool->committed_last_seq;
    uint64_t exported_seq = spool->progress.exported_seq; /* is noted until it is written */
    spool->progress = spool->committed_progress;
    spool->progress.exported_seq = exported_seq;
}

/* A reader looks again; a writer knows. */
static int look_again(struct spool *spool)
{
    if (spool->failed < 0)
        return spool->failed;
    spool_end_scan(spool);
    if (!spool->is_reader)
        return 0;
    int r = ledger_refresh(spool);
    return r == 0 ? ledger_load_state(spool, &spool->clock.state) : r;
}

int spool_get_ledger(struct spool *spool, struct spool_ledger *ret)
{
    int r = look_again(spool);
    if (r != 0)
        return r;
    struct spool_ledger ledger = {0};
    for (size_t i = 0; i < spool->lane_count; i++) {
        const struct spool_counters *counters = &spool->lanes[i].committed;
        ledger.accepted += counters->accepted;
        ledger.spooled += counters->messages;
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            ledger.ended[j] += counters->ended[j];
    }
    *ret = ledger;
    return 0;
}

static int oldest_age(struct spool *spool,
                      const struct lane *lane,
                      const struct spool_time *now,
                      int64_t *ret)
{
    *ret = 0;
    if (lane->committed.messages == 0)
        return 0;
    struct stmt *stmt = spool_stmt(spool, STMT_OLDEST);
    stmt_bind_int(stmt, 1, lane_first_key(lane));
    stmt_bind_int(stmt, 2, lane_last_key(lane));
    int rc = stmt_step(stmt);
    if (rc == SQLITE_ROW) {
        int64_t clock_ms = spool->is_reader ? spool_clock_guess(&spool->clock.state, now)
                                            : spool_clock_ms(spool, now);
        int64_t age_ms = clock_ms - stmt_int(stmt, 1);
        *ret = age_ms > 0 ? age_ms : 0;
    }
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

static uint64_t file_bytes(const struct spool *spool, const char *name)
{
    struct stat status;
    if (fstatat(spool->directory_fd, name, &status, 0) < 0)
        return 0; /* the WAL of a spool that was closed may be gone */
    return (uint64_t)status.st_size;
}

int spool_get_stats(struct spool *spool, const struct spool_time *now, struct spool_stats *ret)
{
    int r = look_again(spool);
    if (r != 0)
        return r;
    struct spool_stats stats = {
        .disk_bytes = file_bytes(spool, "spool.db") + file_bytes(spool, "spool.db-wal"),
        .damaged_files = salvage_count_damaged(spool->directory_fd),
        .in_flight = spool->in_flight,
        .in_flight_peak = spool->in_flight_peak,
        .last_seq = spool->committed_last_seq,
        .exported_seq = spool->committed_progress.exported_seq,
    };
    for (size_t i = 0; i < spool->lane_count; i++) {
        const struct lane *lane = &spool->lanes[i];
        int64_t age_ms;
        r = oldest_age(spool, lane, now, &age_ms);
        if (r != 0)
            return r;
        stats.messages += lane->committed.messages;
        stats.bytes += lane->committed.bytes;
        if (age_ms > stats.oldest_age_ms)
            stats.oldest_age_ms = age_ms;
        if (lane->committed.last_id > stats.last_id)
            stats.last_id = lane->committed.last_id;
    }
    struct statvfs disk;
    if (fstatvfs(spool->directory_fd, &disk) == 0)
        stats.disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
    *ret = stats;
    return 0;
}

size_t spool_lane_count(const struct spool *spool)
{
    return spool->lane_count;
}

int spool_get_lane_stats(struct spool *spool,
                         unsigned lane,
                         const struct spool_time *now,
                         struct spool_lane_stats *ret)
{
    assert(lane < spool->lane_count);
    int r = look_again(spool);
    if (r != 0)
        return r;
    const struct lane *found = &spool->lanes[lane];
    int64_t age_ms;
    r = oldest_age(spool, found, now, &age_ms);
    if (r != 0)
        return r;
    *ret = (struct spool_lane_stats){
        .name = found->name,
        .messages = found->committed.messages,
        .bytes = found->committed.bytes,
        .oldest_age_ms = age_ms,
        .ledger = ledger_of(&found->committed),
    };
    return 0;
}
