/* SPDX-License-Identifier: MIT */
/*
 * commit.c - the one commit of a batch
 *
 * The order in a commit: what was settled, which the watcher is passed, what was moved
 * in time, what can be pruned, the ledger, the clock and the export cursor, then COMMIT
 * with its fsync. Memory follows only after it succeeded. Killed before, nothing of the
 * batch was acknowledged or reported; killed after, the next opening finds all of it.
 *
 * A checkpoint follows a commit when it is due: checkpoint.c.
 *
 * A commit that has no room is rolled back, and the next one holds what ended and
 * nothing new, because that is smaller and may fit. Until one succeeds nothing is
 * handed out: its end could not be recorded.
 *
 * Invariant: memory never holds as committed what a COMMIT has not made durable.
 *
 * After a COMMIT, once a second, the files at the configured path are compared with
 * those that are open; where they differ the commit does not succeed. What was
 * acknowledged earlier in that second is in the open files, like all before it. At
 * each commit the comparison would cost a fifth of a small one.
 */
#include "base/failpoint.h"
#include "base/view.h"
#include "store/plan.h"
#include "store/salvage/mark.h"
#include "store/salvage/reads.h"
#include "store/spool-private.h"

#include <string.h>

enum {
    CLOCK_WRITE_MS = 10 * 1000,
    CLOCK_FIRST_WRITE_MS = 60 * 1000,
    VERIFY_MS = 1000,
};

/* ---- is there anything to commit? ---- */

uint64_t spool_settled_bytes(const struct spool *spool)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < spool->lanes.count; i++)
        bytes += spool->lanes.all[i].plan.settled_charge;
    return bytes;
}

static bool has_settled(const struct spool *spool)
{
    for (size_t i = 0; i < spool->lanes.count; i++) {
        if (spool->lanes.all[i].plan.in_state[PLAN_SETTLED] > 0)
            return true;
    }
    return false;
}

void spool_request_clock_write(struct spool *spool)
{
    spool->time.is_write_wanted = true;
}

/* Without traffic the clock is written now and then, because it ages the messages; the
 * first time soon, so that short days with power count, too. */
static bool is_clock_due(const struct spool *spool)
{
    uint64_t messages = 0;
    for (size_t i = 0; i < spool->lanes.count; i++)
        messages += spool->lanes.all[i].committed.messages;
    if (messages == 0)
        return false;
    if (!spool->time.is_written &&
        spool->time.clock.state.clock_ms >= spool->time.opened_ms + CLOCK_FIRST_WRITE_MS)
        return true;
    return spool_clock_is_worth_writing(&spool->time.clock, &spool->time.written);
}

static bool has_other_work(const struct spool *spool)
{
    return spool->batch.is_open || spool->batch.is_lost || spool->time.clock.jump_ms > 0 ||
           spool->batch.commit_state != SPOOL_COMMIT_SUCCEEDED || spool->time.is_write_wanted ||
           is_clock_due(spool) || outcome_has_surplus(spool) || kept_has_surplus(spool) ||
           spool->suspects.has_changed || sessions_have_work(&spool->sessions) ||
           spool->working.progress.cut_lives != spool->committed.progress.cut_lives ||
           spool->lanes.has_new || hold_is_unwritten(spool) ||
           spool->pruning.exported_seq != spool->committed.progress.exported_seq ||
           spool->working.progress.reported_seq != spool->committed.progress.reported_seq;
}

bool spool_has_work(const struct spool *spool)
{
    return has_other_work(spool) || has_settled(spool);
}

bool spool_has_settled_alone(const struct spool *spool)
{
    return has_settled(spool) && !has_other_work(spool);
}

/* ---- the commit ---- */

/* The clock is worth a page only now and then; the cursor whenever it moved. */
static bool is_state_due(const struct spool *spool)
{
    return !spool->time.is_written || spool->time.is_write_wanted ||
           spool->time.clock.jump_ms > 0 ||
           spool->batch.commit_state != SPOOL_COMMIT_SUCCEEDED ||
           spool->time.clock.state.clock_ms >= spool->time.written.clock_ms + CLOCK_WRITE_MS ||
           spool_clock_is_worth_writing(&spool->time.clock, &spool->time.written) ||
           memcmp(&spool->working.progress, &spool->committed.progress,
                  sizeof(spool->working.progress)) != 0;
}

static int write_state(struct spool *spool)
{
    struct spool_clock clock = spool->time.clock;
    if (clock.jump_ms > 0)
        shift_clock(spool, &clock);
    const struct spool_clock_state *state = &clock.state;
    struct stmt *stmt = spool_stmt(spool, STMT_STATE_WRITE);
    stmt_bind_text(stmt, 1, view_of_text(state->boot_id));
    stmt_bind_int(stmt, 2, state->boot_ms);
    stmt_bind_int(stmt, 3, state->clock_ms);
    if (state->has_wall)
        stmt_bind_int(stmt, 4, state->wall_ms);
    else
        stmt_bind_null(stmt, 4);
    stmt_bind_int(stmt, 5, state->wall_clock_ms);
    if (state->is_absent)
        stmt_bind_int(stmt, 6, (int64_t)state->absent_after);
    else
        stmt_bind_null(stmt, 6);
    stmt_bind_int(stmt, 7, (int64_t)spool->working.progress.exported_seq);
    stmt_bind_int(stmt, 8, (int64_t)spool->working.progress.pruned_seq);
    stmt_bind_int(stmt, 9, (int64_t)spool->working.progress.failures_pruned);
    stmt_bind_int(stmt, 10, (int64_t)spool->working.progress.record_bytes);
    stmt_bind_int(stmt, 11, (int64_t)spool->working.progress.kept_messages);
    stmt_bind_int(stmt, 12, (int64_t)spool->working.progress.kept_bytes);
    if (spool->working.progress.reported_seq != SPOOL_NOT_REPORTED)
        stmt_bind_int(stmt, 13, spool->working.progress.reported_seq);
    else
        stmt_bind_null(stmt, 13);
    stmt_bind_int(stmt, 14, (int64_t)spool->working.progress.cut_lives);
    return spool_result(spool, stmt_run(stmt));
}

static int write_batch(struct spool *spool, const struct spool_time *now, bool *ret_state)
{
    int r = spool_begin(spool);
    if (r == 0)
        r = room_measure_for_batch(spool); /* kept.c stores nothing while it is short */
    if (r == 0)
        r = ending_write_settled(spool, now);
    if (r == 0)
        r = outbox_write(spool); /* makes room for what the watcher adds */
    if (r == 0)
        r = walk_batch(spool);
    if (r == 0)
        r = sessions_write(spool);
    if (r == 0)
        r = shift_new_messages(spool);
    if (r == 0)
        r = outcome_prune(spool, now);
    if (r == 0)
        r = segments_empty(spool);
    if (r == 0)
        r = segments_unpin(spool);
    if (r == 0)
        r = kept_prune(spool, spool_clock_ms(spool, now));
    if (r == 0)
        r = origin_prune(spool, spool_clock_ms(spool, now));
    if (r == 0)
        r = suspects_write(spool);
    if (r == 0)
        r = hold_write(spool);
    if (r == 0)
        r = ledger_write(spool);
    *ret_state = is_state_due(spool);
    if (r == 0 && *ret_state)
        r = write_state(spool);
    if (r == 0)
        r = room_allocate(spool);
    if (r != 0)
        return r;
    FAILPOINT("commit.before");
    spool->batch.is_committing = true;
    r = spool_result(spool, stmt_run(spool_stmt(spool, STMT_COMMIT)));
    spool->batch.is_committing = false;
    FAILPOINT("commit.after");
    return r;
}

static void after_commit(struct spool *spool, bool state_written)
{
    ledger_commit(spool);
    checkpoint_note_commit(&spool->lanes);
    suspects_commit(&spool->suspects);
    hold_commit(spool);
    outbox_commit(&spool->sessions);
    sessions_commit(&spool->sessions);
    for (size_t i = 0; i < spool->lanes.count; i++)
        plan_drop_ended(&spool->lanes.all[i].plan);
    segments_commit(spool);
    if (spool->time.clock.jump_ms > 0) {
        shift_plans(spool);
        shift_clock(spool, &spool->time.clock);
        lane_set_reset_due_times(&spool->lanes);
        spool->pruning.keep_due_ms = INT64_MIN;
        spool->kept.due_ms = INT64_MIN;
    }
    spool->time.is_written |= state_written;
    if (state_written) {
        spool->time.written = spool->time.clock.state;
        spool->time.is_write_wanted = false;
    }
    spool->batch.commit_state = SPOOL_COMMIT_SUCCEEDED;
    spool->room.committed_pages = spool->room.batch_pages;
    spool_end_batch(spool);
}

static int give_batch_up(struct spool *spool, int condition)
{
    char errmsg[SPOOL_ERRMSG_MAX];
    memcpy(errmsg, spool->conn.errmsg, sizeof(errmsg));
    int r = spool_rollback(spool);
    if (r == 0 && condition == SPOOL_E_DISK) {
        spool->batch.commit_state = SPOOL_COMMIT_REFUSED;
        spool->room.is_low = true;
        r = checkpoint_passive(spool);
        if (r == 0)
            r = room_retry(spool);
    }
    if (r < 0)
        return r;
    memcpy(spool->conn.errmsg, errmsg, sizeof(errmsg));
    return condition;
}

/* The batch is durable. Is it also at the configured path, which the next open reads? */
static int finish_commit(struct spool *spool, const struct spool_time *now, bool state_written)
{
    after_commit(spool, state_written);
    int r = spool_note_mark(spool);
    if (r < 0)
        return spool_fail(spool, r, MARK_NAME ": %s", strerror(-r));
    if (now->boot_ms >= spool->files.verify_due_ms) {
        spool->files.verify_due_ms = now->boot_ms + VERIFY_MS;
        r = spool_verify_files(spool);
    }
    if (r != 0)
        return r;
    return checkpoint_after_commit(spool);
}

int spool_commit(struct spool *spool, const struct spool_time *now)
{
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    if (spool->files.is_moved)
        return SPOOL_E_MOVED;
    (void)spool_clock_ms(spool, now);
    if (spool->batch.is_lost)
        return give_batch_up(spool, spool_note_full(spool, reads_full_error()));
    if (!spool_has_work(spool))
        return 0;

    spool_end_scan(spool);
    bool state_written = false;
    int r = write_batch(spool, now, &state_written);
    if (r == 0)
        return finish_commit(spool, now, state_written);
    return r < 0 ? r : give_batch_up(spool, r);
}
