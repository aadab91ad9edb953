/* SPDX-License-Identifier: MIT */
/*
 * rebuild_write.c - what goes into the new database
 *
 * Messages and outcome records that were read, records of messages that are
 * lost, and at the end the lanes and the state.
 */
#include "base/view.h"
#include "store/lane_set.h"
#include "store/salvage/pages.h"
#include "store/salvage/rebuild-private.h"
#include "store/spool-private.h"
#include "store/spool.h"
#include "store/spool_clock.h"
#include "store/stmt.h"
#include "store/tallies.h"

#include <stdio.h>

#define PROVISIONAL_SEQ (INT64_C(1) << 61)

int rebuild_prepare(struct rebuild *rebuild)
{
    sqlite3 *db = rebuild->task->db;
    int rc =
        sqlite3_prepare_v2(db,
                           "INSERT INTO message (" MESSAGE_COLUMNS ")"
                           " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
                           " ?14)",
                           -1, &rebuild->insert.message, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(
            db,
            "INSERT INTO outcome (seq, id, lane, time, ended_at, outcome, reason, code,"
            " attempts, uid, qos, bytes, accepted, age_ms, client, topic, ref)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,"
            " ?17)",
            -1, &rebuild->insert.outcome, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(
            db,
            "INSERT OR IGNORE INTO rejected (" KEPT_COLUMNS ")"
            " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,"
            " ?17, ?18, ?19, ?20 WHERE NOT EXISTS (SELECT 1 FROM message WHERE key = ?5)",
            -1, &rebuild->insert.kept, NULL);
    return rc;
}

/* ---- messages ---- */

int rebuild_keep_message(struct rebuild *rebuild, const struct pages_row *row)
{
    struct kept_lane *lane = rebuild_ensure_lane(rebuild, rebuild_lane_of(row));
    if (!lane || numbers_has(&rebuild->seen.ids, rebuild_id_of(row)))
        return 0;
    int rc = sqlite3_bind_int64(rebuild->insert.message, 1 + MESSAGE_KEY, row->rowid);
    if (rc == SQLITE_OK)
        rc = rebuild_bind_fields(rebuild->insert.message, row, MESSAGE_FIELDS);
    uint64_t charge = rebuild_charge_of(row);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(rebuild->insert.message, 1 + MESSAGE_CHARGE, (int64_t)charge);
    if (rc == SQLITE_OK)
        rc = rebuild_run(rebuild->insert.message);
    if (rc != 0)
        return rc;
    lane->counters.numbered = rebuild_higher(
        lane->counters.numbered, rebuild_message_number(row, row->rowid, MESSAGE_BEHIND));
    numbers_add(&rebuild->seen.ids, rebuild_id_of(row));
    lane->counters.messages++;
    lane->counters.bytes += charge;
    if (rebuild_id_of(row) > lane->counters.last_id)
        lane->counters.last_id = rebuild_id_of(row);
    rebuild->messages.found++;
    return 0;
}

/* ---- outcome records ---- */

/* Of what is exported the failures stay, and the newest row, from which the numbers
 * continue. */
int rebuild_keep_outcome(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    uint64_t seq = (uint64_t)row->rowid;
    uint64_t id = (uint64_t)row->fields[1].number;
    if (!rebuild_is_outcome_row(rebuild, row) || numbers_has(&rebuild->seen.seqs, seq) ||
        numbers_has(&rebuild->seen.ids, id))
        return 0;
    struct kept_lane *lane = rebuild_ensure_lane(rebuild, (unsigned)rebuild_number(row, 2));
    if (!lane)
        return 0;
    numbers_add(&rebuild->seen.ids, id);
    rebuild_count_ended(rebuild, lane, seq, (enum spool_outcome)rebuild_number(row, 5));
    if (seq <= rebuild->state.exported && seq != rebuild->ends.last_seq &&
        rebuild_number(row, 5) == SPOOL_DELIVERED)
        return 0;
    int rc = sqlite3_bind_int64(rebuild->insert.outcome, 1, row->rowid);
    if (rc == SQLITE_OK)
        rc = rebuild_bind_fields(rebuild->insert.outcome, row, 17);
    return rc == SQLITE_OK ? rebuild_run(rebuild->insert.outcome) : rc;
}

int rebuild_write_record(struct rebuild *rebuild, const struct rebuild_record *record)
{
    enum { CODE = 7, TEXTS = 3 };
    const struct view texts[TEXTS] = {record->client, record->topic, record->ref};
    sqlite3_stmt *stmt = rebuild->insert.outcome;
    int rc = SQLITE_OK;
    for (int i = 0; i < REBUILD_RECORD_NUMBERS && rc == SQLITE_OK; i++)
        rc = i == CODE && !record->has_code
                 ? sqlite3_bind_null(stmt, i + 1)
                 : sqlite3_bind_int64(stmt, i + 1, record->numbers[i]);
    for (int i = 0; i < TEXTS && rc == SQLITE_OK; i++) {
        int index = REBUILD_RECORD_NUMBERS + 1 + i;
        bool is_null = i == TEXTS - 1 && texts[i].size == 0;
        rc = is_null ? sqlite3_bind_null(stmt, index)
                     : sqlite3_bind_text64(stmt, index, view_chars(texts[i]), texts[i].size,
                                           SQLITE_STATIC, SQLITE_UTF8);
    }
    return rc == SQLITE_OK ? rebuild_run(stmt) : rc;
}

/* What is in the record of a message of which little or nothing is known. */
struct lost_record {
    int64_t seq;
    uint64_t id;
    const struct kept_lane *lane;
    enum spool_outcome outcome;
    const struct pages_row *row; /* what is left of it; NULL: nothing */
};

static int write_lost_record(struct rebuild *rebuild, const struct lost_record *of)
{
    static const struct pages_row nothing = {0};
    const struct pages_row *row = of->row ? of->row : &nothing;
    bool has_topic =
        of->row && rebuild_is_text(row, MESSAGE_CLIENT) && rebuild_is_text(row, MESSAGE_TOPIC);
    bool is_damaged = of->outcome == SPOOL_DAMAGED;
    const int64_t numbers[] = {
        of->seq,
        (int64_t)of->id,
        of->lane->number,
        rebuild->task->options->now.wall_ms,
        rebuild->state.clock.clock_ms,
        of->outcome,
        is_damaged ? SPOOL_REASON_CORRUPT : SPOOL_REASON_NONE,
        -1, /* no code */
        0,
        of->row ? rebuild_number(row, MESSAGE_UID) : 0,
        of->row ? rebuild_number(row, MESSAGE_FLAGS) & FLAGS_QOS : 0,
        (int64_t)rebuild_bytes(row, MESSAGE_PAYLOAD).size,
        of->row ? rebuild_number(row, MESSAGE_ACCEPTED) : 0,
        0,
    };
    const struct view none = view_of("", 0);
    const struct rebuild_record record = {
        .numbers = numbers,
        .client = has_topic ? rebuild_bytes(row, MESSAGE_CLIENT) : none,
        .topic = has_topic ? rebuild_bytes(row, MESSAGE_TOPIC) : none,
        .ref = none,
    };
    return rebuild_write_record(rebuild, &record);
}

int rebuild_record_broken(struct rebuild *rebuild, const struct pages_row *row)
{
    struct kept_lane *lane = rebuild_find_lane(&rebuild->lanes, rebuild_lane_of(row));
    if (!lane || rebuild_id_of(row) > rebuild->ends.last_id ||
        numbers_has(&rebuild->seen.ids, rebuild_id_of(row)))
        return 0;
    const struct lost_record lost = {.seq = PROVISIONAL_SEQ + (int64_t)rebuild->messages.broken,
                                     .id = rebuild_id_of(row),
                                     .lane = lane,
                                     .outcome = SPOOL_DAMAGED,
                                     .row = row};
    int r = write_lost_record(rebuild, &lost);
    if (r != 0)
        return r;
    numbers_add(&rebuild->seen.ids, rebuild_id_of(row));
    lane->later[SPOOL_DAMAGED]++;
    rebuild->messages.broken++;
    return 0;
}

/* ---- what became of the others ---- */

struct pool rebuild_open_pool(const struct rebuild *rebuild, uint64_t wanted)
{
    uint64_t id = rebuild->ends.last_id;
    struct pool pool = {.next = rebuild->ends.last_id + 1};
    for (; wanted > 0 && id > 0; id--) {
        if (numbers_has(&rebuild->seen.ids, id))
            continue;
        pool.next = id;
        wanted--;
    }
    return pool;
}

static uint64_t take_id(struct rebuild *rebuild, struct pool *pool)
{
    while (pool->next <= rebuild->ends.last_id && numbers_has(&rebuild->seen.ids, pool->next))
        pool->next++;
    uint64_t id = pool->next++;
    numbers_add(&rebuild->seen.ids, id);
    if (id > rebuild->ends.last_id)
        rebuild->ends.last_id = id;
    return id;
}

/*
 * The counter of which one is taken whose record is lost. A failure, as long as
 * there are more of them than the kept and the pruned ones: deliveries are
 * exported and pruned all the time. There always is one, see level_counters().
 */
static struct kept_lane *take_from_counters(struct rebuild *rebuild)
{
    bool is_failure = rebuild->messages.spare_failures > 0;
    for (int pass = 0; pass < 2; pass++, is_failure = !is_failure) {
        for (size_t i = 0; i < rebuild->lanes.count; i++) {
            struct kept_lane *lane = &rebuild->lanes.all[i];
            int end = is_failure ? SPOOL_OUTCOMES : SPOOL_DELIVERED + 1;
            for (int j = is_failure ? SPOOL_DELIVERED + 1 : SPOOL_DELIVERED; j < end; j++) {
                if (lane->counters.ended[j] == lane->recorded[j])
                    continue;
                lane->counters.ended[j]--;
                rebuild->messages.spare_failures -=
                    is_failure && rebuild->messages.spare_failures > 0;
                return lane;
            }
        }
    }
    return rebuild->lanes.fallback;
}

static uint64_t count_holes(const struct rebuild *rebuild)
{
    uint64_t holes = 0;
    for (uint64_t seq = rebuild_higher(rebuild->state.exported, rebuild->state.pruned) + 1;
         seq <= rebuild->ends.last_seq; seq++)
        holes += !numbers_has(&rebuild->seen.seqs, seq);
    return holes;
}

static int close_holes(struct rebuild *rebuild, struct pool *pool)
{
    for (uint64_t seq = rebuild_higher(rebuild->state.exported, rebuild->state.pruned) + 1;
         seq <= rebuild->ends.last_seq; seq++) {
        if (numbers_has(&rebuild->seen.seqs, seq))
            continue;
        bool is_counted = seq <= rebuild->counted.seq;
        struct kept_lane *lane =
            is_counted ? take_from_counters(rebuild) : rebuild->lanes.fallback;
        const struct lost_record lost = {.seq = (int64_t)seq,
                                         .id = take_id(rebuild, pool),
                                         .lane = lane,
                                         .outcome = SPOOL_DAMAGED};
        int r = write_lost_record(rebuild, &lost);
        if (r != 0)
            return r;
        lane->later[SPOOL_DAMAGED]++;
        if (seq > lane->counters.last_seq)
            lane->counters.last_seq = seq;
        rebuild->task->damaged++;
    }
    return 0;
}

static int place_broken(struct rebuild *rebuild)
{
    char sql[128];
    if (rebuild->messages.broken == 0)
        return 0;
    (void)snprintf(sql, sizeof(sql), "UPDATE outcome SET seq = seq - %lld WHERE seq >= %lld",
                   (long long)(PROVISIONAL_SEQ - (int64_t)rebuild->ends.last_seq - 1),
                   (long long)PROVISIONAL_SEQ);
    int rc = sqlite3_exec(rebuild->task->db, sql, NULL, NULL, NULL);
    rebuild->ends.last_seq += rebuild->messages.broken;
    rebuild->task->damaged += rebuild->messages.broken;
    return rc;
}

/* The lane that counts more messages than were found; else "default". */
static struct kept_lane *lane_in_want(struct rebuild *rebuild)
{
    for (size_t i = 0; i < rebuild->lanes.count; i++) {
        struct kept_lane *lane = &rebuild->lanes.all[i];
        if (lane->counted_messages > lane->counters.messages) {
            lane->counted_messages--;
            return lane;
        }
    }
    return rebuild->lanes.fallback;
}

static int record_missing(struct rebuild *rebuild, uint64_t missing, struct pool *pool)
{
    for (uint64_t i = 0; i < missing; i++) {
        struct kept_lane *lane = lane_in_want(rebuild);
        const struct lost_record lost = {.seq = (int64_t)rebuild->ends.last_seq + 1,
                                         .id = take_id(rebuild, pool),
                                         .lane = lane,
                                         .outcome = SPOOL_DAMAGED};
        int r = write_lost_record(rebuild, &lost);
        if (r != 0)
            return r;
        rebuild->ends.last_seq++;
        lane->counters.ended[SPOOL_DAMAGED]++;
        lane->counters.last_seq = rebuild->ends.last_seq;
        rebuild->task->damaged++;
    }
    return 0;
}

/* The row of the newest seq is where SQLite continues from; it may be in the audit file
 * only. */
static int write_newest_row(struct rebuild *rebuild)
{
    if (rebuild->ends.last_seq == 0 || rebuild->ends.last_seq > rebuild->state.exported)
        return 0;
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(rebuild->task->db, "SELECT 1 FROM outcome WHERE seq = ?1", -1,
                                &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_bind_int64(stmt, 1, (int64_t)rebuild->ends.last_seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    if (rc != SQLITE_DONE)
        return rc == SQLITE_ROW ? 0 : rc;
    struct pool pool = rebuild_open_pool(rebuild, 1);
    bool is_in_file = rebuild->history.seq == rebuild->ends.last_seq;
    const struct lost_record lost = {.seq = (int64_t)rebuild->ends.last_seq,
                                     .id = is_in_file ? rebuild->history.id
                                                      : take_id(rebuild, &pool),
                                     .lane = rebuild->lanes.fallback,
                                     .outcome = SPOOL_DELIVERED};
    return write_lost_record(rebuild, &lost);
}

/* ---- the small tables ---- */

/* What is newer than the counters joins them. Of that, too, what is unknown was exported. */
static void level_ended(struct rebuild *rebuild)
{
    for (size_t i = 0; i < rebuild->lanes.count; i++) {
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            rebuild->lanes.all[i].counters.ended[j] += rebuild->lanes.all[i].later[j];
    }
    uint64_t ended = rebuild_sum_ended(&rebuild->lanes) - rebuild->messages.broken;
    if (ended < rebuild->ends.last_seq)
        rebuild->lanes.fallback->counters.ended[SPOOL_DELIVERED] +=
            rebuild->ends.last_seq - ended;
}

/*
 * No number is assigned twice: of the ids that the counters do not know, each may have been
 * that of a message of this lane. A lane whose row is lost numbered as many at most as there
 * are ids.
 */
static uint64_t count_numbered(const struct rebuild *rebuild, const struct kept_lane *lane)
{
    uint64_t uncounted =
        rebuild->ends.last_id - rebuild_lower(rebuild->ends.last_id, rebuild->counted.id);
    uint64_t most =
        lane->is_numbered ? lane->counters.numbered + uncounted : rebuild->ends.last_id;
    return rebuild_lower(most, rebuild->ends.last_id);
}

static int write_lane(struct rebuild *rebuild, const struct kept_lane *lane, sqlite3_stmt *stmt)
{
    const struct spool_counters *counters = &lane->counters;
    bool is_home = lane == rebuild->lanes.fallback;
    uint64_t ended = 0;
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        ended += counters->ended[i];
    int rc = sqlite3_bind_int64(stmt, 1, lane->number);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 2, lane->name, -1, SQLITE_STATIC);
    uint64_t accepted = ended + counters->messages;
    const uint64_t numbers[] = {
        counters->messages,
        counters->bytes,
        is_home ? rebuild->ends.last_id
                : rebuild_lower(counters->last_id, rebuild->ends.last_id),
        is_home ? rebuild->ends.last_seq
                : rebuild_lower(counters->last_seq, rebuild->ends.last_seq),
        accepted - count_numbered(rebuild, lane),
    };
    enum { NUMBERS = sizeof(numbers) / sizeof(*numbers) };
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, 3, (int64_t)accepted);
    for (int i = 0; i < SPOOL_OUTCOMES && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_int64(stmt, 4 + i, (int64_t)counters->ended[i]);
    for (int i = 0; i < NUMBERS && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_int64(stmt, 4 + SPOOL_OUTCOMES + i, (int64_t)numbers[i]);
    uint8_t tallies[TALLIES_BYTES_MAX];
    if (rc == SQLITE_OK && tallies_fit(&counters->tallies, counters->ended))
        rc = sqlite3_bind_blob(stmt, 4 + SPOOL_OUTCOMES + NUMBERS, tallies,
                               (int)tallies_encode(&counters->tallies, tallies), SQLITE_STATIC);
    else if (rc == SQLITE_OK) /* the row was older than the rest, or damaged */
        rc = sqlite3_bind_null(stmt, 4 + SPOOL_OUTCOMES + NUMBERS);
    return rc == SQLITE_OK ? rebuild_run(stmt) : rc;
}

static int write_lanes(struct rebuild *rebuild)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(
        rebuild->task->db,
        "INSERT INTO lane (number, name, accepted, delivered, evicted, expired, rejected,"
        " dropped, damaged, messages, bytes, last_id, last_seq, unnumbered, tallies)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    for (size_t i = 0; i < rebuild->lanes.count && rc == SQLITE_OK; i++)
        rc = write_lane(rebuild, &rebuild->lanes.all[i], stmt);
    (void)sqlite3_finalize(stmt); /* repeats the error of the last step */
    return rc;
}

static int write_state(struct rebuild *rebuild, uint64_t pruned_seq)
{
    const struct spool_clock_state *clock = &rebuild->state.clock;
    uint64_t failed = 0;
    for (size_t i = 0; i < rebuild->lanes.count; i++) {
        for (int j = SPOOL_DELIVERED + 1; j < SPOOL_OUTCOMES; j++)
            failed += rebuild->lanes.all[i].counters.ended[j];
    }
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(
        rebuild->task->db,
        "UPDATE spool SET boot_id = ?1, boot_ms = ?2, clock_ms = ?3, wall_ms = ?4,"
        " wall_clock_ms = ?5, absent_after = ?6, exported_seq = ?7, pruned_seq = ?8,"
        " failures_pruned = max(0, ?9 - (SELECT count(*) FROM outcome WHERE outcome > 0)),"
        " record_bytes ="
        " (SELECT coalesce(sum(record_charge(client, topic, ref)), 0) FROM outcome),"
        " rejected_messages = (SELECT count(*) FROM rejected),"
        " rejected_bytes = (SELECT coalesce(sum(charge), 0) FROM rejected),"
        " reported_seq = CASE WHEN ?10 >= 0 THEN min(?10, ?11) END",
        -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    const int64_t numbers[] = {clock->boot_ms,
                               clock->clock_ms,
                               clock->wall_ms,
                               clock->wall_clock_ms,
                               (int64_t)clock->absent_after,
                               (int64_t)rebuild->state.exported,
                               (int64_t)pruned_seq,
                               (int64_t)failed,
                               rebuild->state.reported,
                               (int64_t)rebuild->ends.last_seq};
    const bool is_there[] = {
        true, true, clock->has_wall, true, clock->is_absent, true, true, true, true, true};
    enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };
    rc = sqlite3_bind_text(stmt, 1, clock->boot_id, -1, SQLITE_STATIC);
    for (int i = 0; i < NUMBERS && rc == SQLITE_OK; i++)
        rc = is_there[i] ? sqlite3_bind_int64(stmt, 2 + i, numbers[i])
                         : sqlite3_bind_null(stmt, 2 + i);
    if (rc == SQLITE_OK)
        rc = rebuild_run(stmt);
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    return rc;
}

/* ---- all of it ---- */

int rebuild_write_rest(struct rebuild *rebuild)
{
    uint64_t pruned_seq = rebuild_higher(rebuild->state.exported, rebuild->state.pruned);
    if (pruned_seq > 0 && pruned_seq >= rebuild->ends.last_seq)
        pruned_seq = rebuild->ends.last_seq - 1;
    /* Counted before anything is added to the history. */
    uint64_t missing = rebuild_count_missing(rebuild);
    missing -= rebuild_lower(missing, rebuild->messages.broken);
    rebuild->task->is_count_unknown |= missing > rebuild_most_missing(rebuild);
    missing = rebuild_lower(missing, rebuild_most_missing(rebuild));
    uint64_t last_id = rebuild->ends.last_id;
    struct pool pool = rebuild_open_pool(rebuild, count_holes(rebuild) + missing);
    int r = close_holes(rebuild, &pool);
    if (r != 0)
        return r;
    level_ended(rebuild);
    r = place_broken(rebuild);
    if (r == 0)
        r = record_missing(rebuild, missing, &pool);
    if (r == 0)
        r = write_newest_row(rebuild);
    if (r != 0)
        return r;
    if (!rebuild->mark.is_known && rebuild->ends.last_id < last_id + SLACK)
        rebuild->ends.last_id = last_id + SLACK;
    r = write_lanes(rebuild);
    return r == 0 ? write_state(rebuild, pruned_seq) : r;
}
