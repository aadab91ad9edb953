/* SPDX-License-Identifier: MIT */
/*
 * requeue.c - sends selected messages again that were rejected and kept
 *
 * A message that has ended stays ended. What it said is accepted once more, as if it had been
 * published again: under a new id, at the end of its lane, under the limits of that. Its row
 * in table rejected is removed in the same transaction, so that nothing is sent twice.
 */
#include <errno.h>

#include "store/select.h"
#include "store/spool-private.h"

/* Removes the kept row. */
static int requeue_take(struct spool *spool, const struct select_found *found)
{
    struct spool_progress *progress = &spool->working.progress;
    struct stmt *stmt = spool_stmt(spool, STMT_KEPT_TAKE);

    stmt_bind_int(stmt, 1, found->position);
    int r = spool_result(spool, stmt_run(stmt));
    if (r != 0)
        return r;
    if (sqlite3_changes(spool->conn.db) != 1 || progress->kept_messages == 0 ||
        progress->kept_bytes < found->charge)
        return spool_fail(spool, -EBADMSG, "table rejected does not hold what is counted");
    progress->kept_messages--;
    progress->kept_bytes -= found->charge;
    return 0;
}

static int requeue_message(struct spool *spool,
                           const struct select_found *found,
                           const struct spool_message *message,
                           const struct spool_time *now)
{
    uint64_t id = 0;
    int r = spool_append(spool, message, now, &id);

    if (r != 0)
        return r;
    r = requeue_take(spool, found);
    if (r == 0)
        r = origin_add(spool, lane_first_key(&spool->lanes.all[message->lane]) + (int64_t)id,
                       message->id);
    return r > 0 ? spool_lose_batch(spool, r) : r;
}

/* Return: 0, also if it stays where it is, because it has expired or is not what was stored. */
static int requeue_found(struct spool_select *select,
                         const struct select_found *found,
                         const struct spool_time *now,
                         bool is_dry_run,
                         struct spool_changes *changes)
{
    struct spool *spool = select->spool;
    struct spool_selected selected;
    int r = select_read_kept(select, found, spool_clock_ms(spool, now), true, &selected);

    if (r == SPOOL_E_AGAIN || (r == 0 && selected.message.expiry_ms == 0)) {
        changes->matched++;
        return 0;
    }
    if (r == 0 && !is_dry_run)
        r = requeue_message(spool, found, &selected.message, now);
    if (r != 0)
        return r;
    changes->matched++;
    changes->changed++;
    return 0;
}

int spool_select_requeue(struct spool_select *select,
                         const struct spool_time *now,
                         bool is_dry_run,
                         struct spool_changes *changes)
{
    struct spool *spool = select->spool;
    int r = spool_check_batch(spool);

    if (r == 0 && !is_dry_run)
        r = spool_begin(spool);
    if (r == 0)
        r = select_fill(select, now);
    if (r != 0)
        return r;
    while (select->taken < select->count) {
        const struct select_found *found = &select->found[select->taken];
        r = requeue_found(select, found, now, is_dry_run, changes);
        if (r != 0) {
            select->next = (uint64_t)found->position;
            return r;
        }
        select->taken++;
    }
    return SPOOL_E_AGAIN;
}
