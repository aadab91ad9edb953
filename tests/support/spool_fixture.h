/* SPDX-License-Identifier: MIT */
/*
 * spool_fixture.h - a spool in a temporary folder under a clock of the test
 *
 * For the tests of store/ and cli/; each test program includes it once.
 */
#ifndef MQTT_SPOOLD_TESTS_SPOOL_FIXTURE_H
#define MQTT_SPOOLD_TESTS_SPOOL_FIXTURE_H

#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/view.h"
#include "store/spool.h"

#define BOOT_A "aaaaaaaa-0000-0000-0000-000000000001"
#define BOOT_B "bbbbbbbb-0000-0000-0000-000000000002"
#define HOUR   INT64_C(3600000)

/* SQL that removes what later versions of the schema added. Segments must be empty: see
 * use_no_segments(). */
#define TO_ELEVENTH_SCHEMA "ALTER TABLE lane DROP COLUMN tallies;"
#define TO_TENTH_SCHEMA    TO_ELEVENTH_SCHEMA "DROP TABLE requeued;"
#define TO_NINTH_SCHEMA                                                                        \
    TO_TENTH_SCHEMA                                                                            \
    "DROP TABLE session; DROP TABLE unreleased; DROP TABLE outbox; DROP TABLE hold;"
#define TO_EIGHTH_SCHEMA                                                                       \
    TO_NINTH_SCHEMA                                                                            \
    "DROP VIEW spooled; DROP TABLE segment0; DROP TABLE segment1; DROP TABLE segment2;"        \
    "DROP TABLE segment3; DROP TABLE segment4; DROP TABLE segment5; DROP TABLE segment6;"      \
    "DROP TABLE segment7; ALTER TABLE lane DROP COLUMN ended_id;"                              \
    "ALTER TABLE lane DROP COLUMN runs;"
#define TO_SEVENTH_SCHEMA                                                                      \
    TO_EIGHTH_SCHEMA                                                                           \
    "UPDATE message SET sum = NULL; UPDATE rejected SET sum = NULL;" /* of the number, too */  \
    "ALTER TABLE message DROP COLUMN behind; ALTER TABLE rejected DROP COLUMN behind;"         \
    "ALTER TABLE lane DROP COLUMN unnumbered;"
#define TO_SIXTH_SCHEMA  TO_SEVENTH_SCHEMA "ALTER TABLE spool DROP COLUMN cut_lives;"
#define TO_FIFTH_SCHEMA  TO_SIXTH_SCHEMA "ALTER TABLE spool DROP COLUMN reported_seq;"
#define TO_FOURTH_SCHEMA TO_FIFTH_SCHEMA "DROP TABLE suspect;"
#define TO_THIRD_SCHEMA                                                                        \
    TO_FOURTH_SCHEMA                                                                           \
    "DROP TABLE rejected; ALTER TABLE spool DROP COLUMN rejected_messages;"                    \
    "ALTER TABLE spool DROP COLUMN rejected_bytes;"
#define TO_SECOND_SCHEMA TO_THIRD_SCHEMA "ALTER TABLE spool DROP COLUMN record_bytes;"

struct fixture {
    char directory[64];
    struct spool_lane lane;
    struct spool_options options;
    struct spool_time now;
    struct spool *spool;
};

/* From the next open on all messages lie in table message, and each end has an outcome row. For
 * what a test does with these tables by SQL. */
static inline void use_no_segments(struct fixture *f)
{
    f->options.segment_backlog = SPOOL_NO_SEGMENTS;
}

static inline void use_segments(struct fixture *f)
{
    f->options.segment_backlog = 0;
}

static inline void open_spool(struct fixture *f)
{
    f->options.now = f->now;
    int r = spool_open(&f->options, &f->spool);
    if (r != 0)
        print_error("spool_open: %d %s\n", r, spool_open_error());
    assert_int_equal(r, 0);
}

static inline void close_spool(struct fixture *f)
{
    spool_close(f->spool);
    f->spool = NULL;
}

static inline void reopen_spool(struct fixture *f)
{
    close_spool(f);
    open_spool(f);
}

/* Of lane "default", the only one. */
static inline void set_limits(struct fixture *f, struct spool_limits limits)
{
    const struct spool_lane lane = {.name = "default", .limits = limits};
    assert_int_equal(spool_set_lanes(f->spool, &lane, 1), 0);
}

static inline int setup_closed(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    *state = f;
    strcpy(f->directory, "/tmp/spool-test-XXXXXX");
    if (!mkdtemp(f->directory))
        return -1;
    f->lane = (struct spool_lane){
        .name = "default",
        .limits = {.max_messages = 1000000,
                   .max_bytes = UINT64_C(1) << 30,
                   .max_age_ms = 1000 * (uint64_t)HOUR,
                   .when_full = SPOOL_EVICT_OLDEST},
    };
    f->now = (struct spool_time){
        .wall_ms = INT64_C(1700000000000), .boot_ms = 50000, .wall_credible = true};
    f->options = (struct spool_options){
        .directory = f->directory,
        .keep_failures_ms = 1000 * (uint64_t)HOUR,
        .keep_failures_count = 1000000,
        .lanes = &f->lane,
        .lane_count = 1,
        .boot_id = BOOT_A,
    };
    return 0;
}

static inline int setup(void **state)
{
    if (setup_closed(state) != 0)
        return -1;
    open_spool(*state);
    return 0;
}

/* In memory where that is possible: sweeps sync ten thousand times. */
static inline int setup_fast(void **state)
{
    if (setup_closed(state) != 0)
        return -1;
    struct fixture *f = *state;
    char directory[] = "/dev/shm/spool-test-XXXXXX";
    if (mkdtemp(directory)) {
        (void)rmdir(f->directory);
        strcpy(f->directory, directory);
    }
    return 0;
}

static inline int
remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    spool_close(f->spool);
    int r = nftw(f->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return r;
}

static inline void pass_time(struct fixture *f, int64_t ms)
{
    f->now.boot_ms += ms;
    f->now.wall_ms += ms;
}

static inline struct spool_message make_message(const char *payload)
{
    return (struct spool_message){
        .uid = 1000,
        .qos = 1,
        .expiry_ms = SPOOL_NO_EXPIRY,
        .client = view_of_text("client"),
        .topic = view_of_text("plant/1"),
        .payload = view_of_text(payload),
    };
}

static inline uint64_t append(struct fixture *f, const char *payload)
{
    struct spool_message message = make_message(payload);
    uint64_t id = 0;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    return id;
}

static inline uint64_t append_to_lane(struct fixture *f, unsigned lane)
{
    struct spool_message message = make_message("payload");
    uint64_t id = 0;

    message.lane = lane;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    return id;
}

static inline void commit(struct fixture *f)
{
    assert_int_equal(spool_commit(f->spool, &f->now), 0);
}

static inline void append_many(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        append(f, "payload");
    commit(f);
}

static inline uint64_t next_id(struct fixture *f)
{
    struct spool_message message;
    int r = spool_next(f->spool, &f->now, &message);
    if (r == SPOOL_E_EMPTY)
        return 0;
    assert_int_equal(r, 0);
    return message.id;
}

static inline void deliver(struct fixture *f, uint64_t id)
{
    const struct spool_verdict verdict = {SPOOL_DELIVERED, SPOOL_REASON_NONE, SPOOL_NO_CODE};
    assert_int_equal(spool_settle(f->spool, id, &verdict, f->now.boot_ms), 0);
}

static inline unsigned deliver_all(struct fixture *f)
{
    unsigned count = 0;
    for (uint64_t id; (id = next_id(f)) != 0; count++)
        deliver(f, id);
    commit(f);
    return count;
}

static inline struct spool_ledger ledger_of(struct fixture *f)
{
    struct spool_ledger ledger;
    assert_int_equal(spool_get_ledger(f->spool, &ledger), 0);
    assert_true(spool_ledger_balances(&ledger));
    return ledger;
}

static inline struct spool_stats stats_of(struct fixture *f)
{
    struct spool_stats stats;
    assert_int_equal(spool_get_stats(f->spool, &f->now, &stats), 0);
    return stats;
}

/* The row of the id, how many it has (one at most, it should be), and how many there are at
 * all. */
struct found {
    uint64_t id;
    unsigned count;
    unsigned all;
    uint64_t last_seq;
    struct spool_record record;
};

static inline int find_record(void *context, const struct spool_record *record)
{
    struct found *found = context;
    assert_true(record->seq > found->last_seq);
    found->last_seq = record->seq;
    found->all++;
    if (record->id == found->id) {
        found->count++;
        found->record = *record;
    }
    return 0;
}

static inline struct found records_of(struct fixture *f, uint64_t id)
{
    struct found found = {.id = id};
    assert_int_equal(spool_each_record(f->spool, 0, false, 0, find_record, &found), 0);
    return found;
}

/* A program that reads the first row that @sql finds, and then waits for a key press. */
static inline sqlite3 *hold_row(const struct fixture *f, const char *sql, sqlite3_stmt **ret)
{
    char path[128];
    sqlite3 *db;

    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, ret, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(*ret), SQLITE_ROW);
    return db;
}

static inline sqlite3 *hold_snapshot(const struct fixture *f, sqlite3_stmt **ret)
{
    return hold_row(f, "SELECT number FROM lane", ret);
}

static inline void release_snapshot(sqlite3 *db, sqlite3_stmt *stmt)
{
    assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The one number that @sql finds, read behind the back of the spool. */
static inline int64_t query_number(const struct fixture *f, const char *sql)
{
    sqlite3_stmt *stmt;
    sqlite3 *db = hold_row(f, sql, &stmt);
    int64_t number = sqlite3_column_int64(stmt, 0);

    release_snapshot(db, stmt);
    return number;
}

/* SQL behind the back of the spool. */
static inline void tamper(struct fixture *f, const char *sql)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        print_error("%s: %s\n", sql, sqlite3_errmsg(db));
    assert_int_equal(rc, SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* For spool_check(): there must be no finding; and @userdata counts them, an unsigned. */
static inline void fail_on_finding(void *userdata, enum spool_part part, const char *text)
{
    (void)userdata;
    print_error("part %d: %s\n", part, text);
    fail();
}

/* spool_check() of a reader finds nothing, whether the spool is open or not. */
static inline void check_sound(const struct fixture *f)
{
    struct spool *reader;

    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_check(reader, fail_on_finding, NULL), 0);
    spool_close(reader);
}

static inline void count_finding(void *userdata, enum spool_part part, const char *text)
{
    (void)part, (void)text;
    ++*(unsigned *)userdata;
}

#endif
