/* SPDX-License-Identifier: MIT */
/*
 * outcome.c - the records of how messages ended: export, pruning
 *
 * The table is the truth; the audit file is an export of it. A row may go once
 * the export cursor, durable in the same commit, has passed it: deliveries at
 * once, failures after keep_failures_ms or when there are more than
 * keep_failures_count. Rows go by ranges from the old end, with a budget a
 * commit, and the newest row or run always stays: the open compares it with the
 * ledger. Deliveries without rows (runs.h) go with their segment, or are passed over when
 * pruned_seq passes them.
 *
 * How many failures are kept needs no counter of its own: it is the failures in
 * the ledger less failures_pruned. The size of all rows does, because they differ:
 * record_bytes. When it reaches records_max, exported failures go, and then
 * deliveries that wait, as below.
 *
 * Rows that are not exported stay, until the owner sets a number that may wait;
 * then the oldest deliveries go, and never a failure. pruned_seq runs ahead of
 * exported_seq in that time, and so explains the missing numbers:
 * the export writes a line for each run of them.
 */
#include "base/failpoint.h"
#include "store/runs.h"
#include "store/spool-private.h"

enum {
    PRUNE_BUDGET = 4096,
    PRUNE_BYTES = 4 << 20, /* of failures */
    FAILURES_KEPT_MIN = 1000,
    KEEP_AGAIN_MS = 1000,
};

/* ---- export ---- */

void spool_set_exported(struct spool *spool, uint64_t seq)
{
    if (seq > spool->committed.last_seq)
        seq = spool->committed.last_seq;
    if (seq > spool->pruning.exported_seq)
        spool->pruning.exported_seq = seq;
}

uint64_t spool_exported(const struct spool *spool)
{
    return spool->committed.progress.exported_seq;
}

uint64_t spool_last_seq(const struct spool *spool)
{
    return spool->committed.last_seq;
}

/* ---- reports ---- */

void spool_set_reported(struct spool *spool, int64_t seq)
{
    spool->working.progress.reported_seq = seq;
}

int64_t spool_reported(const struct spool *spool)
{
    return spool->committed.progress.reported_seq;
}

void spool_keep_unreported(struct spool *spool, uint64_t seq)
{
    spool->pruning.reported_seq = seq;
}

/* ---- waiting for the export ---- */

static uint64_t waiting_of(const struct spool_progress *progress, uint64_t last_seq)
{
    if (progress->pruned_seq > progress->exported_seq)
        return last_seq - progress->pruned_seq + progress->waiting_kept;
    return last_seq - progress->exported_seq;
}

void spool_set_waiting_max(struct spool *spool, uint64_t rows)
{
    spool->pruning.waiting_max = rows;
}

void spool_set_records_max(struct spool *spool, uint64_t bytes)
{
    spool->pruning.records_max = bytes;
}

void spool_set_keep(struct spool *spool, uint64_t keep_failures_ms)
{
    spool->pruning.keep_failures_ms = keep_failures_ms;
    spool->pruning.keep_due_ms = INT64_MIN;
}

uint64_t spool_record_bytes(const struct spool *spool)
{
    return spool->committed.progress.record_bytes;
}

/* Of these rows so much has to go. */
static uint64_t bytes_in_excess(const struct pruning *pruning,
                                const struct spool_progress *progress)
{
    if (pruning->records_max == 0 || progress->record_bytes < pruning->records_max)
        return 0;
    return progress->record_bytes - pruning->records_max + 1;
}

static bool too_much_waits(const struct pruning *pruning,
                           const struct spool_progress *progress,
                           uint64_t last_seq)
{
    return pruning->waiting_max > 0 &&
           (waiting_of(progress, last_seq) >= pruning->waiting_max ||
            bytes_in_excess(pruning, progress) > 0);
}

uint64_t spool_waiting(const struct spool *spool)
{
    return waiting_of(&spool->committed.progress, spool->committed.last_seq);
}

uint64_t spool_pruned_seq(const struct spool *spool)
{
    return spool->committed.progress.pruned_seq;
}

uint64_t spool_pruned_unexported(const struct spool *spool)
{
    return spool->committed.progress.pruned_unexported;
}

bool outcome_has_surplus(const struct spool *spool)
{
    const struct spool_progress *progress = &spool->committed.progress;
    if (progress->pruned_seq + 1 >= spool->committed.last_seq)
        return spool->pruning.has_more;
    return spool->pruning.has_more || progress->pruned_seq < progress->exported_seq ||
           too_much_waits(&spool->pruning, progress, spool->committed.last_seq);
}

/* The cursor has moved into the part that was pruned ahead of it. */
static int count_waiting_kept(struct spool *spool)
{
    struct spool_progress *progress = &spool->working.progress;
    if (progress->pruned_seq <= progress->exported_seq) {
        progress->waiting_kept = 0;
        return 0;
    }
    struct stmt *stmt = spool_stmt(spool, STMT_COUNT_OUTCOMES);
    stmt_bind_int(stmt, 1, (int64_t)progress->exported_seq);
    stmt_bind_int(stmt, 2, (int64_t)progress->pruned_seq);
    int rc = stmt_step(stmt);
    if (rc == SQLITE_ROW)
        progress->waiting_kept = (uint64_t)stmt_int(stmt, 0);
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

/* One that is ahead of all outcomes would leave some out: then all that are kept are reported
 * again. */
static int load_reported(struct spool *spool)
{
    struct spool_progress *progress = &spool->working.progress;
    uint64_t number = 0;
    int r = spool_read_number(spool, STMT_REPORTED_SEQ, &number);
    progress->reported_seq = (int64_t)number;
    if (progress->reported_seq > (int64_t)spool->committed.last_seq)
        progress->reported_seq = 0;
    return r;
}

int outcome_load(struct spool *spool)
{
    int r = spool_read_number(spool, STMT_RECORD_BYTES, &spool->working.progress.record_bytes);
    if (r == 0)
        r = load_reported(spool);
    if (r == 0)
        r = count_waiting_kept(spool);
    spool->committed.progress = spool->working.progress;
    spool->pruning.exported_seq = spool->working.progress.exported_seq;
    return r;
}

/* ---- pruning ---- */

/* A counter that is too small, as only damage could make it, is no reason to stop. */
static void uncount_bytes(struct spool_progress *progress, uint64_t bytes)
{
    progress->record_bytes -= bytes < progress->record_bytes ? bytes : progress->record_bytes;
}

/* From where they were pruned already. */
static int delete_delivered(struct spool *spool, uint64_t up_to)
{
    struct stmt *stmt = spool_stmt(spool, STMT_PRUNE_DELIVERED);
    spool->conn.record_tally = 0;
    stmt_bind_int(stmt, 1, (int64_t)spool->working.progress.pruned_seq + 1);
    stmt_bind_int(stmt, 2, (int64_t)up_to);
    int r = spool_result(spool, stmt_run(stmt));
    if (r == 0)
        uncount_bytes(&spool->working.progress, spool->conn.record_tally);
    return r;
}

static int prune_delivered(struct spool *spool, uint64_t up_to)
{
    struct spool_progress *progress = &spool->working.progress;
    if (up_to <= progress->pruned_seq)
        return 0;
    if (up_to - progress->pruned_seq > PRUNE_BUDGET)
        up_to = progress->pruned_seq + PRUNE_BUDGET;
    FAILPOINT("prune.before_delivered");
    int r = delete_delivered(spool, up_to);
    FAILPOINT("prune.after_delivered");
    if (r == 0)
        progress->pruned_seq = up_to;
    return r;
}

/* The next @seqs numbers lose their deliveries. */
static int prune_step(struct spool *spool, uint64_t seqs)
{
    struct spool_progress *progress = &spool->working.progress;
    int r = delete_delivered(spool, progress->pruned_seq + seqs);
    if (r != 0)
        return r;
    uint64_t gone = (uint64_t)sqlite3_changes(spool->conn.db);
    for (size_t i = 0; i < spool->lanes.count; i++)
        gone += runs_count(&spool->lanes.all[i].runs, progress->pruned_seq + 1,
                           progress->pruned_seq + seqs);
    progress->pruned_seq += seqs;
    progress->pruned_unexported += gone;
    progress->waiting_kept += seqs - gone;
    return 0;
}

/* How many numbers the next step takes: as many as are too many, or about as many as are too
 * large, because what they take shows only when they are gone. */
static uint64_t waiting_step(const struct spool *spool)
{
    uint64_t waiting = waiting_of(&spool->working.progress, spool->working.last_seq);
    if (waiting >= spool->pruning.waiting_max)
        return waiting - spool->pruning.waiting_max + 1;
    uint64_t average = spool->working.progress.record_bytes / (waiting > 0 ? waiting : 1) + 1;
    return bytes_in_excess(&spool->pruning, &spool->working.progress) / average + 1;
}

/* Too many wait, or too large ones: deliveries go, oldest first, until fewer than waiting_max
 * rows wait and all rows are below records_max. */
static int prune_waiting(struct spool *spool)
{
    struct spool_progress *progress = &spool->working.progress;
    uint64_t budget = PRUNE_BUDGET;
    if (spool->pruning.waiting_max == 0 || progress->pruned_seq < progress->exported_seq)
        return 0;
    for (;;) {
        uint64_t left = spool->working.last_seq - 1 - progress->pruned_seq;
        if (!too_much_waits(&spool->pruning, progress, spool->working.last_seq) || left == 0 ||
            budget == 0)
            return 0;
        uint64_t seqs = waiting_step(spool);
        if (seqs > left)
            seqs = left;
        if (seqs > budget)
            seqs = budget;
        int r = prune_step(spool, seqs);
        if (r != 0)
            return r;
        budget -= seqs;
    }
}

static uint64_t count_kept_failures(const struct spool *spool)
{
    uint64_t failed = 0;
    for (size_t i = 0; i < spool->lanes.count; i++) {
        for (int j = SPOOL_DELIVERED + 1; j < SPOOL_OUTCOMES; j++)
            failed += spool->lanes.all[i].working.ended[j];
    }
    return failed - spool->working.progress.failures_pruned;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* While the disk is short failures are replaced, not added: see room.c. */
static uint64_t failures_in_debt(const struct spool *spool, uint64_t kept)
{
    uint64_t spare = kept > FAILURES_KEPT_MIN ? kept - FAILURES_KEPT_MIN : 0;
    return spool->working.evicting.debt < spare ? spool->working.evicting.debt : spare;
}

/* Exported, and reported if they are to be. */
static uint64_t prunable_failures_till(const struct spool *spool)
{
    const struct spool_progress *progress = &spool->working.progress;
    uint64_t till = progress->pruned_seq < progress->exported_seq ? progress->pruned_seq
                                                                  : progress->exported_seq;
    return till < spool->pruning.reported_seq ? till : spool->pruning.reported_seq;
}

/* How many exported failures go, from the oldest on. */
struct prune {
    uint64_t up_to;
    uint64_t count;
    uint64_t bytes;
};

/*
 * Up to which seq failures are too old, too many or too large. All rows up to pruned_seq
 * are failures (and none goes unexported), so the oldest rows are the ones to look at.
 */
static int measure_failures(struct spool *spool, int64_t clock_ms, struct prune *ret)
{
    uint64_t kept = count_kept_failures(spool);
    uint64_t excess = kept > spool->pruning.keep_failures_count
                          ? kept - spool->pruning.keep_failures_count
                          : 0;
    excess = max_of(excess, failures_in_debt(spool, kept));
    uint64_t keep_ms = spool->pruning.keep_failures_ms < INT64_MAX / 2
                           ? spool->pruning.keep_failures_ms
                           : INT64_MAX / 2;
    struct stmt *stmt = spool_stmt(spool, STMT_OLDEST_OUTCOMES);
    stmt_bind_int(stmt, 1, (int64_t)prunable_failures_till(spool));
    uint64_t excess_bytes = bytes_in_excess(&spool->pruning, &spool->working.progress);
    struct prune prune = {0};
    int rc = SQLITE_DONE;
    spool->pruning.keep_due_ms = clock_ms + (int64_t)keep_ms;
    while (prune.count < PRUNE_BUDGET && prune.bytes < PRUNE_BYTES &&
           (rc = stmt_step(stmt)) == SQLITE_ROW) {
        int64_t due_ms = stmt_int(stmt, 1) + (int64_t)keep_ms;
        if (prune.count >= excess && prune.bytes >= excess_bytes && due_ms > clock_ms) {
            spool->pruning.keep_due_ms = due_ms;
            break;
        }
        prune.up_to = (uint64_t)stmt_int(stmt, 0);
        prune.bytes += (uint64_t)stmt_int(stmt, 2);
        prune.count++;
    }
    spool->pruning.has_more = prune.count == PRUNE_BUDGET || prune.bytes >= PRUNE_BYTES;
    if (spool->pruning.has_more)
        spool->pruning.keep_due_ms = INT64_MIN;
    else if (rc == SQLITE_DONE && keep_ms > KEEP_AGAIN_MS) /* others may be old when exported */
        spool->pruning.keep_due_ms = clock_ms + KEEP_AGAIN_MS;
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    *ret = prune;
    return r;
}

static int prune_failures(struct spool *spool, int64_t clock_ms)
{
    uint64_t kept = count_kept_failures(spool);
    if (clock_ms < spool->pruning.keep_due_ms && kept <= spool->pruning.keep_failures_count &&
        bytes_in_excess(&spool->pruning, &spool->working.progress) == 0 &&
        failures_in_debt(spool, kept) == 0)
        return 0;
    struct prune prune;
    int r = measure_failures(spool, clock_ms, &prune);
    if (r != 0 || prune.count == 0)
        return r;
    struct stmt *stmt = spool_stmt(spool, STMT_PRUNE_ALL);
    stmt_bind_int(stmt, 1, (int64_t)prune.up_to);
    r = spool_result(spool, stmt_run(stmt));
    FAILPOINT("prune.after_failures");
    if (r != 0)
        return r;
    if ((uint64_t)sqlite3_changes(spool->conn.db) != prune.count)
        return spool_fail(spool, -EBADMSG, "the outcome table holds rows it should not");
    spool->working.progress.failures_pruned += prune.count;
    uncount_bytes(&spool->working.progress, prune.bytes);
    spool->working.evicting.debt -=
        prune.count < spool->working.evicting.debt ? prune.count : spool->working.evicting.debt;
    return 0;
}

int outcome_prune(struct spool *spool, const struct spool_time *now)
{
    uint64_t up_to = spool->pruning.exported_seq;
    spool->working.progress.exported_seq = up_to;
    if (spool->working.last_seq == 0)
        return 0;
    if (up_to >= spool->working.last_seq)
        up_to = spool->working.last_seq - 1;
    int r = 0;
    if (spool->working.progress.exported_seq != spool->committed.progress.exported_seq)
        r = count_waiting_kept(spool);
    if (r == 0)
        r = prune_delivered(spool, up_to);
    if (r == 0)
        r = prune_failures(spool, spool_clock_ms(spool, now));
    return r == 0 ? prune_waiting(spool) : r;
}
