/* SPDX-License-Identifier: MIT */
/*
 * examine.c - is a database sound, and did it come as far as its mark?
 *
 * Called before anything is written into it, or before it takes the place of
 * another one. Reads only.
 */
#include "store/spool-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_PAGES = 16384 }; /* a database up to this size is checked as a whole */

/* Errors of the file's content are a condition at open, not the end of the process. */
int examine_result(struct spool *spool, int sqlite_rc)
{
    switch (sqlite_rc & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return spool_fail(spool, SPOOL_E_DAMAGED, "%s is not a sound spool database: %s",
                          spool->files.path, sqlite3_errmsg(spool->conn.db));
    default:
        return spool_result(spool, sqlite_rc);
    }
}

static int query(struct spool *spool, const char *sql, sqlite3_stmt **ret)
{
    int rc = sqlite3_prepare_v2(spool->conn.db, sql, -1, ret, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(*ret);
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

/* A database that is behind its mark has lost commits. The mark may be behind, but ids are no
 * further ahead of it than messages were accepted, and a few that lost batches left unused. */
static int compare_with_mark(struct spool *spool, const struct mark *mark)
{
    sqlite3_stmt *stmt = NULL;
    int rc = query(spool, "SELECT max(last_id), max(last_seq), sum(accepted) FROM lane", &stmt);
    if (rc != SQLITE_ROW) {
        (void)sqlite3_finalize(stmt); /* repeats the error of the step */
        return examine_result(spool, rc);
    }
    uint64_t last_id = (uint64_t)sqlite3_column_int64(stmt, 0);
    uint64_t last_seq = (uint64_t)sqlite3_column_int64(stmt, 1);
    uint64_t accepted = (uint64_t)sqlite3_column_int64(stmt, 2);
    (void)sqlite3_finalize(stmt); /* it succeeded */
    if (mark->is_known && last_id > mark->last_id + accepted + SPOOL_IDS_LEFT_OUT)
        return spool_fail(spool, SPOOL_E_DAMAGED, "no message has the last id %llu",
                          (unsigned long long)last_id);
    if (last_id >= mark->last_id && last_seq >= mark->last_seq)
        return 0;
    return spool_fail(spool, SPOOL_E_DAMAGED,
                      "the newest commits are missing: the database ends at id %llu and seq "
                      "%llu, it was at id %llu and seq %llu",
                      (unsigned long long)last_id, (unsigned long long)last_seq,
                      (unsigned long long)mark->last_id, (unsigned long long)mark->last_seq);
}

/* To check a large database would take seconds at each start. Damage there is found while the
 * daemon runs, and the start after that salvages. */
static bool is_small(struct spool *spool, int *ret)
{
    sqlite3_stmt *stmt = NULL;
    int rc = query(spool, "PRAGMA page_count", &stmt);
    int pages = rc == SQLITE_ROW ? sqlite3_column_int(stmt, 0) : 0;
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    if (rc != SQLITE_ROW)
        *ret = examine_result(spool, rc);
    return rc == SQLITE_ROW && pages <= SMALL_PAGES;
}

/* SQLite's check of pages reports a page for which it had no memory as a fault of that page. */
static bool is_out_of_memory(const char *fault)
{
    const char *code = strstr(fault, "error code=");

    return code && strtol(code + strlen("error code="), NULL, 10) == SQLITE_NOMEM;
}

/* A question that is answered by "ok" or by what is wrong. */
static int query_expect_ok(struct spool *spool, const char *question)
{
    sqlite3_stmt *stmt = NULL;
    int rc = query(spool, question, &stmt);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    int r = rc == SQLITE_ROW ? 0 : examine_result(spool, rc);
    if (r == 0 && (!text || is_out_of_memory(text)))
        r = spool_fail_memory(spool);
    else if (r == 0 && strcmp(text, "ok") != 0)
        r = spool_fail(spool, SPOOL_E_DAMAGED, "%.200s", text);
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    return r;
}

static int check_counts(struct spool *spool, int version)
{
    char question[512];
    (void)snprintf(
        question, sizeof(question),
        "SELECT coalesce((SELECT 'lane ' || name || ' counts other messages than it holds'"
        " FROM lane LEFT JOIN (SELECT key >> 48 AS l, count(*) AS n, sum(charge) AS b"
        " FROM %s GROUP BY 1) ON l = number"
        " WHERE messages <> coalesce(n, 0) OR bytes <> coalesce(b, 0) LIMIT 1), 'ok')",
        schema_pending_table(version));
    return query_expect_ok(spool, question);
}

static int check_outcomes(struct spool *spool, int version)
{
    char question[512];
    (void)snprintf(
        question, sizeof(question),
        "SELECT CASE (SELECT count(*) FROM outcome WHERE seq > max(exported_seq, pruned_seq))"
        " + (%s) WHEN (SELECT max(last_seq) FROM lane) - max(exported_seq, pruned_seq)"
        " THEN 'ok' ELSE 'outcomes that were not exported are missing' END FROM spool"
        " WHERE EXISTS (SELECT 1 FROM lane) UNION ALL SELECT 'ok' LIMIT 1",
        schema_runs_behind_sql(version));
    return query_expect_ok(spool, question);
}

/* Pages by SQLite, then the counts. */
static int check_contents(struct spool *spool)
{
    int version = 0;
    int r = examine_result(spool, schema_check(spool->conn.db, &version));
    if (r == 0)
        r = query_expect_ok(spool, "PRAGMA quick_check(1)");
    if (r == 0)
        r = check_counts(spool, version);
    return r == 0 ? check_outcomes(spool, version) : r;
}

/* A cursor that no export can have left would have records removed that were never exported. */
static int check_cursor(struct spool *spool)
{
    return query_expect_ok(
        spool, "SELECT CASE WHEN exported_seq BETWEEN 0 AND last AND pruned_seq BETWEEN 0"
               " AND last AND failures_pruned BETWEEN 0 AND last THEN 'ok'"
               " ELSE 'the cursor of the export is not within the outcomes' END"
               " FROM spool, (SELECT coalesce(max(last_seq), 0) AS last FROM lane)");
}

int examine(struct spool *spool, const struct mark *mark)
{
    int r = compare_with_mark(spool, mark);
    if (r == 0)
        r = check_cursor(spool);
    return r == 0 && is_small(spool, &r) ? check_contents(spool) : r;
}
