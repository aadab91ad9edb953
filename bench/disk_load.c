/* SPDX-License-Identifier: MIT */
/*
 * disk_load.c - the speed of the disk and of SQLite without a gateway
 *
 *   disk_load sync   FOLDER COUNT            one fdatasync of 4 KiB after each append
 *   disk_load insert FOLDER COUNT SIZE BATCH plain inserts, WAL, synchronous=FULL
 *
 * Prints one JSON object with the rate and the latencies of a sync or commit.
 */
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"

#define BLOCK_SIZE 4096

static _Noreturn void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "disk_load: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static void report(uint64_t units, int64_t total_ns, int64_t *each_ns, size_t count)
{
    (void)printf("{\"rate\":%.0f", (double)units * 1e9 / (double)total_ns);
    bench_print_percentiles(each_ns, count);
    (void)puts("}");
}

static void measure_sync(const char *path, size_t count)
{
    static const uint8_t block[BLOCK_SIZE] = {1};
    int64_t *each_ns = calloc(count, sizeof(*each_ns));
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || !each_ns)
        bench_die(path);
    int64_t start = bench_now_ns();
    for (size_t i = 0; i < count; i++) {
        int64_t before = bench_now_ns();

        if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block) || fdatasync(fd) < 0)
            bench_die(path);
        each_ns[i] = bench_now_ns() - before;
    }
    report(count, bench_now_ns() - start, each_ns, count);
    (void)close(fd);
    free(each_ns);
}

static void run_sql(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        die(sql, sqlite3_errmsg(db));
}

static void
insert_batch(sqlite3 *db, sqlite3_stmt *insert, size_t batch, const void *payload, int size)
{
    run_sql(db, "BEGIN IMMEDIATE");
    for (size_t i = 0; i < batch; i++) {
        if (sqlite3_bind_int64(insert, 1, 1) != SQLITE_OK ||
            sqlite3_bind_text(insert, 2, "bench/plant/line/7/temperature", -1, SQLITE_STATIC) !=
                SQLITE_OK ||
            sqlite3_bind_blob(insert, 3, payload, size, SQLITE_STATIC) != SQLITE_OK ||
            sqlite3_step(insert) != SQLITE_DONE || sqlite3_reset(insert) != SQLITE_OK)
            die("insert", sqlite3_errmsg(db));
    }
    run_sql(db, "COMMIT");
}

static void measure_insert(const char *path, size_t count, int size, size_t batch)
{
    size_t commits = count / batch;
    int64_t *each_ns = calloc(commits, sizeof(*each_ns));
    uint8_t *payload = calloc(1, (size_t)size);

    sqlite3 *db = NULL;
    sqlite3_stmt *insert = NULL;

    if (!each_ns || !payload)
        bench_die("memory");
    if (sqlite3_open(path, &db) != SQLITE_OK)
        die(path, sqlite3_errmsg(db));
    run_sql(db,
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            "CREATE TABLE m (id INTEGER PRIMARY KEY, at INTEGER, topic TEXT, payload BLOB)");
    if (sqlite3_prepare_v2(db, "INSERT INTO m (at, topic, payload) VALUES (?, ?, ?)", -1,
                           &insert, NULL) != SQLITE_OK)
        die("prepare", sqlite3_errmsg(db));
    int64_t start = bench_now_ns();
    for (size_t i = 0; i < commits; i++) {
        int64_t before = bench_now_ns();

        insert_batch(db, insert, batch, payload, size);
        each_ns[i] = bench_now_ns() - before;
    }
    report(commits * batch, bench_now_ns() - start, each_ns, commits);
    (void)sqlite3_finalize(insert);
    (void)sqlite3_close(db);
    free(each_ns);
    free(payload);
}

int main(int argc, char **argv)
{
    char path[PATH_MAX];

    if (argc >= 4)
        (void)snprintf(path, sizeof(path), "%s/%s", argv[2], argv[1]);
    if (argc == 4 && strcmp(argv[1], "sync") == 0)
        measure_sync(path, strtoul(argv[3], NULL, 10));
    else if (argc == 6 && strcmp(argv[1], "insert") == 0)
        measure_insert(path, strtoul(argv[3], NULL, 10), atoi(argv[4]),
                       strtoul(argv[5], NULL, 10));
    else
        die("usage", "disk_load sync FOLDER COUNT | insert FOLDER COUNT SIZE BATCH");
    return EXIT_SUCCESS;
}
