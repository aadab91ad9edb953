/* SPDX-License-Identifier: MIT */
/*
 * origin.c - from which rejected message a requeued one comes
 *
 * The record of a requeued message names the one that it was. That is kept in table requeued,
 * by the key of the new message, from its acceptance until its record is gone: written in
 * the transaction that accepts it, read with each record. Few messages have a row, and while
 * there is none nothing is read. A salvage drops the table.
 *
 * When a message ends its row gets the seq of the record, or that of a later one of the same
 * run. Rows whose record is gone are removed with some commits, a bounded number each.
 */
#include "store/spool-private.h"

enum {
    ORIGIN_PRUNE_MS = 1000,  /* between two commits that remove some */
    ORIGIN_PRUNE_ROWS = 256, /* that one of them examines */
};

int origin_load(struct spool *spool)
{
    uint64_t rows = 0;
    int r = spool_read_number(spool, STMT_REQUEUED_ROWS, &rows);

    spool->working.progress.requeued = rows;
    spool->committed.progress.requeued = rows;
    return r;
}

int origin_add(struct spool *spool, int64_t key, uint64_t origin)
{
    struct stmt *stmt = spool_stmt(spool, STMT_REQUEUED_ADD);

    stmt_bind_int(stmt, 1, key);
    stmt_bind_int(stmt, 2, (int64_t)origin);
    int r = spool_result(spool, stmt_run(stmt));
    if (r == 0)
        spool->working.progress.requeued++;
    return r;
}

int origin_end(struct spool *spool, int64_t first_key, int64_t last_key, uint64_t last_seq)
{
    if (spool->working.progress.requeued == 0)
        return 0;
    struct stmt *stmt = spool_stmt(spool, STMT_REQUEUED_END);
    stmt_bind_int(stmt, 1, first_key);
    stmt_bind_int(stmt, 2, last_key);
    stmt_bind_int(stmt, 3, (int64_t)last_seq);
    return spool_result(spool, stmt_run(stmt));
}

int origin_find(struct spool *spool, int64_t key, uint64_t *ret)
{
    struct stmt *stmt = spool_stmt(spool, STMT_REQUEUED);

    *ret = 0;
    /* A reader does not count them; one of an earlier schema has none. */
    if (!stmt->handle || (!spool->conn.is_reader && spool->working.progress.requeued == 0))
        return 0;
    stmt_bind_int(stmt, 1, key);
    int rc = stmt_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = (uint64_t)stmt_int(stmt, 0);
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

/* The last of the rows that this commit examines; INT64_MAX: the rest. */
static int find_prune_end(struct spool *spool, int64_t *ret)
{
    struct stmt *stmt = spool_stmt(spool, STMT_REQUEUED_PRUNE_TO);

    stmt_bind_int(stmt, 1, spool->pruning.origin_after);
    stmt_bind_int(stmt, 2, ORIGIN_PRUNE_ROWS - 1);
    int rc = stmt_step(stmt);
    *ret = rc == SQLITE_ROW ? stmt_int(stmt, 0) : INT64_MAX;
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

int origin_prune(struct spool *spool, int64_t clock_ms)
{
    struct spool_progress *progress = &spool->working.progress;
    int64_t end = INT64_MAX;

    if (progress->requeued == 0 || clock_ms < spool->pruning.origin_due_ms)
        return 0;
    int r = find_prune_end(spool, &end);
    if (r != 0)
        return r;
    struct stmt *stmt = spool_stmt(spool, STMT_REQUEUED_PRUNE);
    stmt_bind_int(stmt, 1, spool->pruning.origin_after);
    stmt_bind_int(stmt, 2, end);
    stmt_bind_int(stmt, 3, (int64_t)progress->exported_seq);
    r = spool_result(spool, stmt_run(stmt));
    if (r != 0)
        return r;
    uint64_t gone = (uint64_t)sqlite3_changes(spool->conn.db);
    progress->requeued -= gone < progress->requeued ? gone : progress->requeued;
    spool->pruning.origin_due_ms = clock_ms + ORIGIN_PRUNE_MS;
    spool->pruning.origin_after = end == INT64_MAX ? 0 : end;
    return 0;
}
