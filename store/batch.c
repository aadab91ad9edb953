/* SPDX-License-Identifier: MIT */
/*
 * batch.c - begins the open batch, and rolls it back
 *
 * A batch is a transaction that the first append or eviction opens and
 * spool_commit() ends (commit.c). A rollback brings all memory back to the last
 * commit. A batch that is lost in the middle stays open for the caller: nothing
 * more is appended to it, and its commit reports the loss.
 *
 * Invariant: after a rollback all counters in memory are those of the last commit.
 */
#include "store/plan.h"
#include "store/spool-private.h"

int spool_check_batch(const struct spool *spool)
{
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    if (spool->batch.is_lost || spool->batch.commit_state == SPOOL_COMMIT_REFUSED)
        return SPOOL_E_DISK;
    return 0;
}

int spool_begin(struct spool *spool)
{
    if (spool->batch.is_open)
        return 0;
    if (spool->files.is_moved)
        return spool_fail(spool, SPOOL_E_MOVED, "files of the spool are not where they were");
    spool_end_scan(spool);
    int r = spool_result(spool, stmt_run(spool_stmt(spool, STMT_BEGIN)));
    if (r == 0)
        spool->batch.is_open = true;
    /* What changed since the last commit without a batch stays, whatever becomes of this
     * one. */
    spool->committed.evicting = spool->working.evicting;
    return r;
}

void spool_end_batch(struct spool *spool)
{
    spool->batch.is_open = false;
    spool->batch.is_lost = false;
    spool->batch.messages = 0;
    spool->batch.charge = 0;
    spool->room.is_measured = false;
    for (size_t i = 0; i < spool->lanes.count; i++) {
        spool->lanes.all[i].batch_charge = 0;
        spool->lanes.all[i].is_cut = false;
    }
}

int spool_rollback(struct spool *spool)
{
    int r = 0;
    spool_end_scan(spool);
    if (!sqlite3_get_autocommit(spool->conn.db))
        r = spool_result(spool, stmt_run(spool_stmt(spool, STMT_ROLLBACK)));
    ledger_rollback(spool);
    suspects_rollback(&spool->suspects);
    sessions_rollback(&spool->sessions);
    outbox_rollback(&spool->sessions);
    for (size_t i = 0; i < spool->lanes.count; i++)
        plan_restore(&spool->lanes.all[i].plan);
    lane_set_reset_due_times(&spool->lanes);
    spool->pruning.keep_due_ms = INT64_MIN;
    spool->kept.due_ms = INT64_MIN;
    spool_end_batch(spool);
    return r;
}

static int batch_lose_open(struct spool *spool)
{
    unsigned messages = spool->batch.messages;
    uint64_t charge = spool->batch.charge;
    int r = spool_rollback(spool);
    if (r != 0 || messages == 0)
        return r;
    spool->batch.is_lost = true;
    spool->batch.messages = messages;
    spool->batch.charge = charge;
    return 0;
}

int spool_lose_batch(struct spool *spool, int condition)
{
    if (condition == SPOOL_E_DISK)
        spool->batch.commit_state = SPOOL_COMMIT_REFUSED;
    int r = spool->batch.is_open ? batch_lose_open(spool) : 0;
    return r < 0 ? r : condition;
}

void spool_require_commit(struct spool *spool)
{
    if (spool->batch.commit_state == SPOOL_COMMIT_SUCCEEDED)
        spool->batch.commit_state = SPOOL_COMMIT_REQUIRED;
}

unsigned spool_batch_messages(const struct spool *spool)
{
    return spool->batch.messages;
}

uint64_t spool_batch_bytes(const struct spool *spool)
{
    return spool->batch.charge;
}
