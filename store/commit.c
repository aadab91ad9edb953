/* SPDX-License-Identifier: MIT */
/*
 * commit.c - the one commit of a batch
 *
 * The order in a commit: what was settled, what was moved in time, what can be
 * pruned, the ledger, the clock and the export cursor, then COMMIT with its
 * fsync. Memory follows only after it succeeded. Killed before, nothing of the
 * batch was told to anybody; killed after, the next opening finds all of it.
 *
 * A checkpoint follows a commit when the WAL has grown to WAL_PAGES.
 *
 * A commit that has no room is rolled back, and the next one holds what ended and
 * nothing new, because that is smaller and may fit. Until one succeeds nothing is
 * handed out: its end could not be recorded.
 *
 * After a COMMIT, once a second, the files at the configured path are compared with
 * those that are open; where they differ the commit does not succeed. What was
 * acknowledged earlier in that second is in the open files, like all before it. At
 * each commit the look would cost a fifth of a small one.
 */
#include "base/failpoint.h"
#include "store/salvage/mark.h"
#include "store/salvage/reads.h"
#include "store/spool-private.h"

#include <string.h>

enum {
    CLOCK_WRITE_MS = 1000,
    CLOCK_FIRST_WRITE_MS = 60 * 1000,
    WAL_PAGES = 1000, /* a checkpoint is due */
    VERIFY_MS = 1000,
};

/* ---- is there anything to commit? ---- */

uint64_t spool_settled_bytes(const struct spool *spool)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < spool->lane_count; i++)
        bytes += spool->lanes[i].plan.settled_charge;
    return bytes;
}

static bool has_settled(const struct spool *spool)
{
    for (size_t i = 0; i < spool->lane_count; i++) {
        if (spool->lanes[i].plan.in_state[PLAN_SETTLED] > 0)
            return true;
    }
    return false;
}

void spool_require_proof(struct spool *spool)
{
    if (spool->proof == SPOOL_PROVEN)
        spool->proof = SPOOL_UNPROVEN;
}

void spool_keep_time(struct spool *spool)
{
    spool->is_clock_wanted = true;
}

/* Without traffic the clock is written now and then, for it is what ages the messages; the
 * first time soon, so that short days with power count, too. */
static bool is_clock_due(const struct spool *spool)
{
    uint64_t messages = 0;
    for (size_t i = 0; i < spool->lane_count; i++)
        messages += spool->lanes[i].committed.messages;
    if (messages == 0)
        return false;
    if (!spool->is_clock_written &&
        spool->clock.state.clock_ms >= spool->opened_clock_ms + CLOCK_FIRST_WRITE_MS)
        return true;
    return spool_clock_is_worth_writing(&spool->clock, &spool->written_clock);
}

bool spool_has_work(const struct spool *spool)
{
    return spool->in_transaction || spool->is_doomed || spool->clock.jump_ms > 0 ||
           spool->proof != SPOOL_PROVEN || spool->is_clock_wanted || is_clock_due(spool) ||
           outcome_has_surplus(spool) || spool->has_new_lane ||
           spool->progress.exported_seq != spool->committed_progress.exported_seq ||
           has_settled(spool);
}

/* ---- the commit ---- */

/* The clock is worth a page only now and then; the cursor whenever it moved. */
static bool is_state_due(const struct spool *spool)
{
    return !spool->is_clock_written || spool->is_clock_wanted || spool->clock.jump_ms > 0 ||
           spool->proof != SPOOL_PROVEN ||
           spool->clock.state.clock_ms >= spool->written_clock.clock_ms + CLOCK_WRITE_MS ||
           spool_clock_is_worth_writing(&spool->clock, &spool->written_clock) ||
           memcmp(&spool->progress, &spool->committed_progress, sizeof(spool->progress)) != 0;
}

static int write_state(struct spool *spool)
{
    struct spool_clock clock = spool->clock;
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
    stmt_bind_int(stmt, 7, (int64_t)spool->progress.exported_seq);
    stmt_bind_int(stmt, 8, (int64_t)spool->progress.pruned_seq);
    stmt_bind_int(stmt, 9, (int64_t)spool->progress.failures_pruned);
    stmt_bind_int(stmt, 10, (int64_t)spool->progress.record_bytes);
    return spool_result(spool, stmt_run(stmt));
}

static int write_batch(struct spool *spool, const struct spool_time *now, bool *ret_state)
{
    int r = spool_begin(spool);
    if (r == 0)
        r = ending_write_settled(spool, now);
    if (r == 0)
        r = shift_new_messages(spool);
    if (r == 0)
        r = outcome_prune(spool, now);
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
    spool->is_committing = true;
    r = spool_result(spool, stmt_run(spool_stmt(spool, STMT_COMMIT)));
    spool->is_committing = false;
    FAILPOINT("commit.after");
    return r;
}

static void after_commit(struct spool *spool, bool state_written)
{
    ledger_commit(spool);
    for (size_t i = 0; i < spool->lane_count; i++)
        plan_drop_ended(&spool->lanes[i].plan);
    if (spool->clock.jump_ms > 0) {
        shift_plans(spool);
        shift_clock(spool, &spool->clock);
        spool_forget_due_times(spool);
        spool->keep_due_ms = INT64_MIN;
    }
    spool->is_clock_written |= state_written;
    if (state_written) {
        spool->written_clock = spool->clock.state;
        spool->is_clock_wanted = false;
    }
    spool->proof = SPOOL_PROVEN;
    spool->committed_pages = spool->batch_pages;
    spool_end_batch(spool);
}

static int give_batch_up(struct spool *spool, int condition)
{
    char words[SPOOL_WORDS_MAX];
    memcpy(words, spool->words, sizeof(words));
    int r = spool_rollback(spool);
    if (r == 0 && condition == SPOOL_E_DISK) {
        spool->proof = SPOOL_REFUSED;
        spool->disk_is_low = true;
        r = spool_checkpoint_passive(spool);
        if (r == 0)
            r = room_try(spool);
    }
    if (r < 0)
        return r;
    memcpy(spool->words, words, sizeof(words));
    return condition;
}

/* The batch is durable. Is it at the configured path, too, where the next opening looks for it? */
static int finish_commit(struct spool *spool, const struct spool_time *now, bool state_written)
{
    after_commit(spool, state_written);
    int r = spool_note_mark(spool);
    if (r < 0)
        return spool_fail(spool, r, MARK_NAME ": %s", strerror(-r));
    if (now->boot_ms >= spool->verify_due_ms) {
        spool->verify_due_ms = now->boot_ms + VERIFY_MS;
        r = spool_verify_files(spool);
    }
    if (r != 0)
        return r;
    if (spool->wal_pages >= SPOOL_WAL_LARGE_PAGES)
        return spool_checkpoint(spool);
    bool is_due = spool->wal_pages >= WAL_PAGES || spool->disk_is_low;
    return is_due ? spool_checkpoint_passive(spool) : 0;
}

int spool_commit(struct spool *spool, const struct spool_time *now)
{
    if (spool->failed < 0)
        return spool->failed;
    if (spool->is_moved)
        return SPOOL_E_MOVED;
    (void)spool_clock_ms(spool, now);
    if (spool->is_doomed)
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
