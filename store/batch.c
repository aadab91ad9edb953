/* SPDX-License-Identifier: MIT */
/*
 * batch.c - begins the open batch, and brings it to nothing
 *
 * A batch is a transaction that the first append or eviction opens and
 * spool_commit() ends (commit.c). A rollback brings all memory back to the last
 * commit. A batch that is lost in the middle is doomed: nothing more is appended
 * to it, and its commit reports the loss to the caller.
 */
#include "store/spool-private.h"

int spool_begin(struct spool *spool)
{
    if (spool->in_transaction)
        return 0;
    if (spool->is_moved)
        return spool_fail(spool, SPOOL_E_MOVED, "files of the spool are not where they were");
    spool_end_scan(spool);
    int r = spool_result(spool, stmt_run(spool_stmt(spool, STMT_BEGIN)));
    if (r == 0)
        spool->in_transaction = true;
    spool->disk_credit_before = spool->disk_credit;
    spool->disk_evictions_before = spool->disk_evictions;
    spool->disk_debt_before = spool->disk_debt;
    return r;
}

void spool_forget_due_times(struct spool *spool)
{
    spool->expiry_due_ms = INT64_MIN;
    for (size_t i = 0; i < spool->lane_count; i++)
        spool->lanes[i].age_due_ms = INT64_MIN;
}

void spool_end_batch(struct spool *spool)
{
    spool->in_transaction = false;
    spool->is_doomed = false;
    spool->batch_messages = 0;
    spool->batch_charge = 0;
    spool->disk_room_known = false;
    for (size_t i = 0; i < spool->lane_count; i++) {
        spool->lanes[i].batch_charge = 0;
        spool->lanes[i].is_cut = false;
    }
}

int spool_rollback(struct spool *spool)
{
    int r = 0;
    spool_end_scan(spool);
    if (!sqlite3_get_autocommit(spool->db))
        r = spool_result(spool, stmt_run(spool_stmt(spool, STMT_ROLLBACK)));
    ledger_rollback(spool);
    spool->disk_credit = spool->disk_credit_before;
    spool->disk_evictions = spool->disk_evictions_before;
    spool->disk_debt = spool->disk_debt_before;
    for (size_t i = 0; i < spool->lane_count; i++)
        plan_restore(&spool->lanes[i].plan);
    spool_forget_due_times(spool);
    spool->keep_due_ms = INT64_MIN;
    spool_end_batch(spool);
    return r;
}

static int lose_batch(struct spool *spool)
{
    unsigned messages = spool->batch_messages;
    uint64_t charge = spool->batch_charge;
    int r = spool_rollback(spool);
    if (r != 0 || messages == 0)
        return r;
    spool->is_doomed = true;
    spool->batch_messages = messages;
    spool->batch_charge = charge;
    return 0;
}

int spool_lose_batch_for(struct spool *spool, int condition)
{
    if (condition == SPOOL_E_DISK)
        spool->proof = SPOOL_REFUSED;
    int r = spool->in_transaction ? lose_batch(spool) : 0;
    return r < 0 ? r : condition;
}

unsigned spool_batch_messages(const struct spool *spool)
{
    return spool->batch_messages;
}

uint64_t spool_batch_bytes(const struct spool *spool)
{
    return spool->batch_charge;
}
