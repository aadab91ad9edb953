/* SPDX-License-Identifier: MIT */
/*
 * kept.c - rejected messages, kept with their payload under limits of their own
 *
 * A message that ends as rejected is copied to table rejected in the transaction that
 * ends it, under the seq of its outcome: so the operator can send it again once the
 * cause is mended. It has ended anyway, and no counter of its lane knows of the
 * copy; how many there are, and what they take, is kept with the state.
 *
 * Rows come at the end and go at the old end: when there are too many, too large
 * ones or too old ones, each commit removes them, what it added and some more. While the
 * disk is short nothing is kept, because the end of a message must always find room.
 */
#include "store/spool-private.h"

enum {
    KEPT_PRUNE_MESSAGES = 1000, /* besides as many as the batch has added; */
    KEPT_PRUNE_BYTES = 4 << 20, /* or so many bytes, and as many as it has added */
};

static bool keeps_any(const struct spool_kept_limits *limits)
{
    return limits->max_messages > 0 && limits->max_bytes > 0 && limits->max_age_ms > 0;
}

static int64_t max_age_of(const struct spool_kept_limits *limits)
{
    return limits->max_age_ms < INT64_MAX / 2 ? (int64_t)limits->max_age_ms : INT64_MAX / 2;
}

void spool_set_kept(struct spool *spool, const struct spool_kept_limits *limits)
{
    spool->kept.limits = *limits;
    spool->kept.due_ms = INT64_MIN;
}

int kept_load(struct spool *spool)
{
    struct stmt *stmt = spool_stmt(spool, STMT_KEPT);
    struct spool_progress *progress = &spool->working.progress;
    if (!stmt->handle) /* a reader of an earlier schema */
        return 0;
    int rc = stmt_step(stmt);
    if (rc == SQLITE_ROW) {
        progress->kept_messages = (uint64_t)stmt_int(stmt, 0);
        progress->kept_bytes = (uint64_t)stmt_int(stmt, 1);
    }
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    spool->committed.progress.kept_messages = progress->kept_messages;
    spool->committed.progress.kept_bytes = progress->kept_bytes;
    return r;
}

int kept_store(struct spool *spool, unsigned table, uint64_t first_seq, uint64_t last_seq)
{
    struct spool_progress *progress = &spool->working.progress;
    const struct spool_kept_limits *limits = &spool->kept.limits;
    if (!keeps_any(limits) || spool->room.is_low ||
        spool->batch.commit_state == SPOOL_COMMIT_REFUSED)
        return 0;
    struct stmt *stmt = spool_table_stmt(spool, table, TABLE_KEEP);
    stmt_bind_int(stmt, 1, (int64_t)first_seq);
    stmt_bind_int(stmt, 2, (int64_t)last_seq);
    stmt_bind_int(stmt, 3,
                  limits->max_bytes < INT64_MAX ? (int64_t)limits->max_bytes : INT64_MAX);
    stmt_bind_int(stmt, 4, KEPT_OVERHEAD);
    int64_t due_ms = spool->time.clock.last_ended_ms + max_age_of(limits);
    if (due_ms < spool->kept.due_ms)
        spool->kept.due_ms = due_ms;
    int rc;
    while ((rc = stmt_step(stmt)) == SQLITE_ROW) {
        progress->kept_messages++;
        progress->kept_bytes += (uint64_t)stmt_int(stmt, 0);
    }
    stmt_reset(stmt);
    return spool_result(spool, rc);
}

int spool_read_newest_kept(struct spool *spool, spool_record_fn *fn, void *userdata)
{
    struct stmt *stmt = spool_stmt(spool, STMT_KEPT_NEWEST);
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    if (!stmt->handle) /* a reader of an earlier schema */
        return 0;
    spool_end_scan(spool);
    int rc = stmt_step(stmt);
    int r = spool_result(spool, rc);
    if (rc == SQLITE_ROW) {
        const struct spool_record record = {
            .seq = (uint64_t)stmt_int(stmt, 0),
            .id = (uint64_t)stmt_int(stmt, 1) & SPOOL_ID_MAX,
            .time_ms = stmt_int(stmt, 2),
            .outcome = SPOOL_REJECTED,
            .reason = (enum spool_reason)stmt_int(stmt, 3),
            .code = stmt_is_null(stmt, 4) ? SPOOL_NO_CODE : (int)stmt_int(stmt, 4),
            .topic = stmt_string(stmt, 5),
        };
        r = record.topic ? fn(userdata, &record) : spool_fail_memory(spool);
    }
    stmt_reset(stmt);
    return r;
}

/* ---- what goes ---- */

static bool is_over(const struct spool_kept_limits *limits, uint64_t messages, uint64_t bytes)
{
    return messages > 0 &&
           (!keeps_any(limits) || messages > limits->max_messages || bytes > limits->max_bytes);
}

bool kept_has_surplus(const struct spool *spool)
{
    const struct spool_progress *progress = &spool->committed.progress;
    return progress->kept_messages > 0 &&
           (spool->time.clock.state.clock_ms >= spool->kept.due_ms ||
            is_over(&spool->kept.limits, progress->kept_messages, progress->kept_bytes));
}

/* From the oldest on. */
struct surplus {
    uint64_t up_to;
    uint64_t messages;
    uint64_t bytes;
};

static bool is_budget_spent(const struct spool *spool, const struct surplus *surplus)
{
    const struct spool_progress *working = &spool->working.progress;
    const struct spool_progress *committed = &spool->committed.progress;
    return surplus->messages >=
               working->kept_messages - committed->kept_messages + KEPT_PRUNE_MESSAGES ||
           surplus->bytes >= working->kept_bytes - committed->kept_bytes + KEPT_PRUNE_BYTES;
}

/* A counter that is too small, as only damage could make it, is no reason to stop. */
static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int measure_surplus(struct spool *spool, int64_t clock_ms, struct surplus *ret)
{
    const struct spool_progress *progress = &spool->working.progress;
    int64_t max_age_ms = max_age_of(&spool->kept.limits);
    struct stmt *stmt = spool_stmt(spool, STMT_KEPT_OLDEST);
    struct surplus surplus = {0};
    int rc;
    spool->kept.due_ms = INT64_MAX;
    while ((rc = stmt_step(stmt)) == SQLITE_ROW) {
        int64_t due_ms = stmt_int(stmt, 1) + max_age_ms;
        spool->kept.due_ms = due_ms;
        if (due_ms > clock_ms &&
            !is_over(&spool->kept.limits,
                     progress->kept_messages -
                         min_of(surplus.messages, progress->kept_messages),
                     progress->kept_bytes - min_of(surplus.bytes, progress->kept_bytes)))
            break;
        if (is_budget_spent(spool, &surplus)) {
            spool->kept.due_ms = INT64_MIN;
            break;
        }
        surplus.up_to = (uint64_t)stmt_int(stmt, 0);
        surplus.bytes += (uint64_t)stmt_int(stmt, 2);
        surplus.messages++;
    }
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    *ret = surplus;
    return r;
}

int kept_prune(struct spool *spool, int64_t clock_ms)
{
    struct spool_progress *progress = &spool->working.progress;
    if (progress->kept_messages == 0 ||
        (clock_ms < spool->kept.due_ms &&
         !is_over(&spool->kept.limits, progress->kept_messages, progress->kept_bytes)))
        return 0;
    struct surplus surplus;
    int r = measure_surplus(spool, clock_ms, &surplus);
    if (r != 0 || surplus.messages == 0)
        return r;
    struct stmt *stmt = spool_stmt(spool, STMT_KEPT_PRUNE);
    stmt_bind_int(stmt, 1, (int64_t)surplus.up_to);
    r = spool_result(spool, stmt_run(stmt));
    if (r != 0)
        return r;
    progress->kept_messages -= min_of(surplus.messages, progress->kept_messages);
    progress->kept_bytes -= min_of(surplus.bytes, progress->kept_bytes);
    return 0;
}
