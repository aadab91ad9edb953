/* SPDX-License-Identifier: MIT */
/*
 * test_sqlite.c - what the spool takes for granted of SQLite, held by tests
 *
 * When one of these fails on a new version, store/ has to be thought over, even
 * if its own tests pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <sys/stat.h>

#include "store/spool.h"
#include "tests/support/spool_fixture.h"

static uint64_t file_size(const struct fixture *f, const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", f->directory, name);
    struct stat status;
    return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static sqlite3 *open_plain(const struct fixture *f)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/plain.db", f->directory);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

static void run(sqlite3 *db, const char *sql)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        print_error("%s: %s\n", sql, sqlite3_errmsg(db));
    assert_int_equal(rc, SQLITE_OK);
}

static void the_version_knows_strict_tables(void **state)
{
    (void)state;
    assert_true(sqlite3_libversion_number() >= 3037000);
}

static void the_library_is_built_for_threads(void **state)
{
    (void)state;
    assert_true(sqlite3_threadsafe() != 0);
    assert_true(sqlite3_compileoption_used("THREADSAFE"));
    assert_false(sqlite3_compileoption_used("OMIT_WAL"));
}

/* It would take a lock at each allocation. */
static void sqlite_counts_no_memory(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    append_many(f, 10);
    assert_int_equal(sqlite3_memory_used(), 0);
}

static void changes_of_a_range_delete_and_of_an_insert_from_select_are_exact(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db = open_plain(f);
    run(db, "CREATE TABLE m (key INTEGER PRIMARY KEY, e INTEGER) STRICT;"
            "CREATE INDEX x ON m (e) WHERE e IS NOT NULL;"
            "CREATE TABLE o (seq INTEGER PRIMARY KEY, id INTEGER) STRICT;"
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
            " INSERT INTO m SELECT i * 2, nullif(i % 3, 0) FROM n");
    run(db, "INSERT INTO o (id) SELECT key FROM m WHERE key BETWEEN 100 AND 3000 ORDER BY key");
    assert_int_equal(sqlite3_changes(db), 1451);
    assert_int_equal(sqlite3_last_insert_rowid(db), 1451);
    run(db, "DELETE FROM m WHERE key BETWEEN 100 AND 3000");
    assert_int_equal(sqlite3_changes(db), 1451);
    run(db, "DELETE FROM m WHERE key BETWEEN 100 AND 3000");
    assert_int_equal(sqlite3_changes(db), 0);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int read_seq(void *context, int columns, char **values, char **names)
{
    (void)columns, (void)names;
    *(long *)context = strtol(values[0], NULL, 10);
    return 0;
}

static void a_row_number_follows_the_newest_row_that_is_left(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db = open_plain(f);
    run(db, "CREATE TABLE o (seq INTEGER PRIMARY KEY, a INTEGER) STRICT;"
            "INSERT INTO o (a) VALUES (1), (2), (3), (4);"
            "DELETE FROM o WHERE seq < 4;"
            "INSERT INTO o (a) VALUES (5)");
    long seq = 0;
    assert_int_equal(sqlite3_exec(db, "SELECT max(seq) FROM o", read_seq, &seq, NULL),
                     SQLITE_OK);
    assert_int_equal(seq, 5);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int uses_index(void *context, int columns, char **values, char **names)
{
    (void)names;
    if (strstr(values[columns - 1], "message_expiry"))
        (*(int *)context)++;
    return 0;
}

static void expiry_is_found_by_its_partial_index(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    close_spool(f);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    static const char *const queries[] = {
        "EXPLAIN QUERY PLAN SELECT key, charge FROM message WHERE expires_at <= 5"
        " ORDER BY expires_at",
        "EXPLAIN QUERY PLAN SELECT min(expires_at) FROM message WHERE expires_at > 5",
    };
    for (size_t i = 0; i < 2; i++) {
        int found = 0;
        assert_int_equal(sqlite3_exec(db, queries[i], uses_index, &found, NULL), SQLITE_OK);
        assert_int_equal(found, 1);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int refuse(void *context)
{
    (*(int *)context)++;
    return 1;
}

static void a_commit_hook_refuses_what_writes_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db = open_plain(f);
    run(db, "CREATE TABLE t (a INTEGER)");
    int calls = 0;
    (void)sqlite3_commit_hook(db, refuse, &calls);
    run(db, "BEGIN; SELECT * FROM t; COMMIT");
    assert_int_equal(calls, 0);
    assert_int_equal(sqlite3_exec(db, "INSERT INTO t VALUES (1)", NULL, NULL, NULL),
                     SQLITE_CONSTRAINT);
    assert_int_equal(calls, 1);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* A FIFO of constant length: what is freed is used again. */
static void freed_pages_are_used_again(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    append_many(f, 1000);
    uint64_t settled = 0;
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 500; i++) {
            append(f, "a payload that is some tens of bytes long, so that pages fill");
        }
        commit(f);
        for (int i = 0; i < 500; i++)
            deliver(f, next_id(f));
        commit(f);
        spool_set_exported(f->spool, spool_last_seq(f->spool));
        commit(f);
        if (round == 20 || round == 59)
            assert_int_equal(spool_checkpoint(f->spool), 0);
        if (round == 20)
            settled = file_size(f, "spool.db");
    }
    assert_true(settled > 0);
    assert_true(file_size(f, "spool.db") <= settled + 256 * 1024);
}

static void the_wal_stays_bounded_under_sustained_load(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    struct spool *reader; /* short reads in between do not change that */
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    static char payload[2048];
    memset(payload, 'x', sizeof(payload) - 1);
    uint64_t largest = 0;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 100; i++)
            append(f, payload);
        commit(f);
        struct spool_ledger ledger;
        assert_int_equal(spool_get_ledger(reader, &ledger), 0);
        uint64_t size = file_size(f, "spool.db-wal");
        largest = size > largest ? size : largest;
    }
    spool_close(reader);
    assert_true(file_size(f, "spool.db") > 30000000);
    assert_in_range(largest, 1, 8 << 20);
}

static void the_wal_file_stays_at_close_and_holds_nothing_that_is_missed(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    append_many(f, 10);
    close_spool(f);
    assert_true(file_size(f, "spool.db-wal") > 0);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/spool.db-wal", f->directory);
    assert_int_equal(unlink(path), 0);
    open_spool(f);
    assert_int_equal(ledger_of(f).spooled, 10);
}

#define ON_FOLDER(name) cmocka_unit_test_setup_teardown(name, setup_closed, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_knows_strict_tables),
        cmocka_unit_test(the_library_is_built_for_threads),
        ON_FOLDER(sqlite_counts_no_memory), /* the first one that uses a database */
        ON_FOLDER(changes_of_a_range_delete_and_of_an_insert_from_select_are_exact),
        ON_FOLDER(a_row_number_follows_the_newest_row_that_is_left),
        ON_FOLDER(expiry_is_found_by_its_partial_index),
        ON_FOLDER(a_commit_hook_refuses_what_writes_and_nothing_else),
        ON_FOLDER(freed_pages_are_used_again),
        ON_FOLDER(the_wal_stays_bounded_under_sustained_load),
        ON_FOLDER(the_wal_file_stays_at_close_and_holds_nothing_that_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
