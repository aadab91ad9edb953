/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.c - when the log is moved to the database, and how
 *
 * The spool does this itself because SQLite's own automatism drops the errors.
 * While a checkpoint runs nothing is acknowledged. It copies each page that is in
 * the log once, so its cost is that of different pages, of which there are
 * two kinds of load:
 *
 * - Messages stay: the link is down, or the backlog grows or is drained. Each page is
 *   copied once, however many checkpoints there are. Small ones, at
 *   CHECKPOINT_STAYING_PAGES, make each PUBACK wait for a short time only.
 * - Messages are delivered at once: the same few pages are written again
 *   and again. A rare checkpoint copies each of them once for many commits, so
 *   it waits until the log has CHECKPOINT_LOG_PAGES.
 *
 * Which it is, is estimated from the charges: of what was appended since the last
 * checkpoint and still waits, and of what waited then and has ended. What
 * the newest batch appended counts only if it still waits at the next one, and
 * what is in flight does not count. In both cases one that is due soon is done
 * while nothing else is to do.
 *
 * Invariant: what is estimated decides when a checkpoint is done, and nothing else.
 */
#include "base/failpoint.h"
#include "store/plan.h"
#include "store/spool-private.h"

enum {
    CHECKPOINT_STAYING_PAGES = 64,
    /* A log of SPOOL_WAL_LARGE_PAGES is cut, so one that is due and a batch are less. */
    CHECKPOINT_LOG_PAGES = 3000,
    CHECKPOINT_IDLE_SHARE = 4, /* while nothing is to do: at this part of either */
};

/* ---- when ---- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Charges of what was handed out are those of the average message. */
static uint64_t waiting_bytes(const struct lane *lane)
{
    uint64_t messages = lane->committed.messages;
    uint64_t handed_out =
        lane->plan.in_state[PLAN_IN_FLIGHT] + lane->plan.in_state[PLAN_SETTLED];
    uint64_t in_flight = min_u64(handed_out, messages);
    return messages > 0 ? lane->committed.bytes / messages * (messages - in_flight) : 0;
}

/* Which pages of the database the messages of @lane have changed since the last checkpoint, in
 * bytes. What the newest batch appended is left out. The oldest end first. */
static uint64_t staying_bytes(const struct lane *lane)
{
    const struct lane_log *log = &lane->log;
    uint64_t waiting = waiting_bytes(lane);
    uint64_t sum = log->spooled + log->appended;
    uint64_t ended = sum > lane->committed.bytes ? sum - lane->committed.bytes : 0;
    uint64_t stays = min_u64(log->appended, waiting);
    stays = stays > log->newest ? stays - log->newest : 0;
    return max_u64(stays, min_u64(ended, log->waiting));
}

static uint64_t staying_pages(const struct spool *spool)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < spool->lanes.count; i++)
        bytes += staying_bytes(&spool->lanes.all[i]);
    return bytes / SPOOL_PAGE_BYTES;
}

void checkpoint_note_commit(struct lane_set *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->all[i];
        lane->log.newest = lane->batch_charge;
        lane->log.appended += lane->batch_charge;
    }
}

void checkpoint_note_moved(struct lane_set *lanes)
{
    for (size_t i = 0; i < lanes->count; i++) {
        struct lane *lane = &lanes->all[i];
        uint64_t waiting = waiting_bytes(lane);
        lane->log.waiting = waiting > lane->log.newest ? waiting - lane->log.newest : 0;
        lane->log.spooled = lane->committed.bytes;
        lane->log.appended = 0;
    }
}

/* @share: at this part of what makes it due. */
static bool is_due(const struct spool *spool, unsigned share)
{
    return spool->conn.wal_pages >= CHECKPOINT_LOG_PAGES / (int)share ||
           (spool->conn.wal_pages > 0 &&
            staying_pages(spool) >= CHECKPOINT_STAYING_PAGES / share);
}

/* ---- how ---- */

static void note_whole(struct spool *spool)
{
    spool->conn.wal_pages = 0;
    checkpoint_note_moved(&spool->lanes);
}

int checkpoint_passive(struct spool *spool)
{
    int in_log = 0, moved = 0;
    if (spool_verify_files(spool) != 0)
        return 0;
    FAILPOINT("checkpoint.before");
    int rc = sqlite3_wal_checkpoint_v2(spool->conn.db, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log,
                                       &moved);
    FAILPOINT("checkpoint.after");
    spool->room.allocated_pages = 0; /* it may cut off what lies behind the last page */
    if (rc == SQLITE_OK && moved == in_log)
        note_whole(spool);
    int r = spool_result(spool, rc);
    return r < 0 ? r : 0; /* no room or a reader in the way: the next commit tries again */
}

int spool_checkpoint(struct spool *spool)
{
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    if (spool_verify_files(spool) != 0)
        return 0;
    spool_end_scan(spool);
    (void)sqlite3_busy_timeout(spool->conn.db, 0); /* never fails; a reader is not waited for */
    int mode = spool->conn.wal_pages >= SPOOL_WAL_LARGE_PAGES ? SQLITE_CHECKPOINT_TRUNCATE
                                                              : SQLITE_CHECKPOINT_RESTART;
    int rc = sqlite3_wal_checkpoint_v2(spool->conn.db, NULL, mode, NULL, NULL);
    (void)sqlite3_busy_timeout(spool->conn.db, spool->conn.busy_wait_ms);
    if (rc == SQLITE_OK)
        note_whole(spool);
    spool->room.allocated_pages = 0;
    int r = spool_result(spool, rc);
    return r < 0 ? r : 0;
}

int checkpoint_after_commit(struct spool *spool)
{
    if (spool->conn.wal_pages >= SPOOL_WAL_LARGE_PAGES)
        return spool_checkpoint(spool);
    return spool->room.is_low || is_due(spool, 1) ? checkpoint_passive(spool) : 0;
}

int spool_checkpoint_idle(struct spool *spool)
{
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    if (spool->batch.is_open || !is_due(spool, CHECKPOINT_IDLE_SHARE))
        return 0;
    spool_end_scan(spool);
    return checkpoint_passive(spool);
}
