/* SPDX-License-Identifier: MIT */
/*
 * hold.c - lanes that the operator holds: nothing of them is handed out
 *
 * A change is noted in memory and written by the next commit, so that a batch that is lost
 * loses none. A hold counts at once, a release once it is durable: what is held after a crash
 * was not sent before it.
 *
 * All lanes together are held by a row of their own, besides those of single lanes.
 */
#include "base/view.h"
#include "store/spool-private.h"

#define HOLD_ALL "" /* no lane has this name */

static bool hold_is_effective(const struct hold *hold)
{
    return hold->is_wanted || hold->is_stored;
}

bool hold_of_lane(const struct spool *spool, const struct lane *lane)
{
    return hold_is_effective(&spool->hold) || hold_is_effective(&lane->hold);
}

bool spool_is_held(const struct spool *spool, const char *lane)
{
    const struct lane *found = lane ? lane_set_find(&spool->lanes, lane) : NULL;

    return hold_is_effective(&spool->hold) || (found && hold_is_effective(&found->hold));
}

int spool_set_hold(struct spool *spool, const char *lane, bool is_held)
{
    struct lane *found = lane ? lane_set_find(&spool->lanes, lane) : NULL;

    if (lane && !found)
        return SPOOL_E_UNKNOWN;
    if (found) {
        found->hold.is_wanted = is_held;
        return 0;
    }
    spool->hold.is_wanted = is_held;
    for (size_t i = 0; i < spool->lanes.count && !is_held; i++)
        spool->lanes.all[i].hold.is_wanted = false;
    return 0;
}

static bool hold_has_changed(const struct hold *hold)
{
    return hold->is_wanted != hold->is_stored;
}

bool hold_is_unwritten(const struct spool *spool)
{
    bool has_changed = hold_has_changed(&spool->hold);

    for (size_t i = 0; i < spool->lanes.count && !has_changed; i++)
        has_changed = hold_has_changed(&spool->lanes.all[i].hold);
    return has_changed;
}

static int hold_write_one(struct spool *spool, const struct hold *hold, const char *name)
{
    struct stmt *stmt = spool_stmt(spool, hold->is_wanted ? STMT_HOLD_ADD : STMT_HOLD_DROP);

    if (!hold_has_changed(hold))
        return 0;
    stmt_bind_text(stmt, 1, view_of_text(name));
    return spool_result(spool, stmt_run(stmt));
}

int hold_write(struct spool *spool)
{
    int r = hold_write_one(spool, &spool->hold, HOLD_ALL);

    for (size_t i = 0; i < spool->lanes.count && r == 0; i++)
        r = hold_write_one(spool, &spool->lanes.all[i].hold, spool->lanes.all[i].name);
    return r;
}

void hold_commit(struct spool *spool)
{
    spool->hold.is_stored = spool->hold.is_wanted;
    for (size_t i = 0; i < spool->lanes.count; i++)
        spool->lanes.all[i].hold.is_stored = spool->lanes.all[i].hold.is_wanted;
}

int hold_load(struct spool *spool)
{
    static const struct hold held = {.is_wanted = true, .is_stored = true};
    struct stmt *stmt = spool_stmt(spool, STMT_HOLDS);
    int rc = SQLITE_DONE;

    if (!stmt->handle) /* a reader of an earlier schema */
        return 0;
    while ((rc = stmt_step(stmt)) == SQLITE_ROW) {
        struct view name = stmt_bytes(stmt, 0);
        struct lane *lane = NULL;

        if (name.size > 0)
            lane = lane_set_find(&spool->lanes, stmt_string(stmt, 0));
        else
            spool->hold = held;
        if (lane)
            lane->hold = held;
    }
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}
