/* SPDX-License-Identifier: MIT */
/*
 * suspects.c - at which messages the broker closed the connection, over restarts
 *
 * A message at which a broker closes again and again may be why it does, and one at
 * which the process dies would be sent first after each restart. So the count is kept in
 * table suspect: written by the commit that follows, read at the open, removed with the
 * message. Few messages have a row. A salvage drops the table: a count from a damaged page
 * could end a message for the fault of another one, and without it the count only starts again.
 */
#include "store/spool-private.h"

#include <stdlib.h>

void suspects_done(struct suspects *suspects)
{
    free(suspects->all);
    *suspects = (struct suspects){0};
}

static struct suspect *find(const struct suspects *suspects, int64_t key)
{
    for (size_t i = 0; i < suspects->count; i++) {
        if (suspects->all[i].key == key)
            return &suspects->all[i];
    }
    return NULL;
}

static struct suspect *add(struct suspects *suspects, int64_t key)
{
    if (suspects->count == suspects->capacity) {
        size_t capacity = suspects->capacity * 2 + 16;
        struct suspect *all = realloc(suspects->all, capacity * sizeof(*all));
        if (!all)
            return NULL;
        suspects->all = all;
        suspects->capacity = capacity;
    }
    suspects->all[suspects->count] = (struct suspect){.key = key};
    return &suspects->all[suspects->count++];
}

void spool_note_sending(struct spool *spool)
{
    spool->working.progress.cut_lives++;
    spool_require_commit(spool);
}

void spool_note_orderly_end(struct spool *spool)
{
    spool->working.progress.cut_lives = 0;
}

uint64_t spool_cut_lives(const struct spool *spool)
{
    return spool->committed.progress.cut_lives;
}

bool spool_closings_are_durable(const struct spool *spool)
{
    return !spool->suspects.has_changed;
}

int spool_forget_all_closings(struct spool *spool)
{
    int r = 0;

    for (size_t i = 0; i < spool->suspects.count && r == 0; i++)
        r = suspects_set(spool, spool->suspects.all[i].key, 0);
    return r;
}

size_t spool_count_suspects(const struct spool *spool, unsigned closings)
{
    size_t count = 0;

    for (size_t i = 0; i < spool->suspects.count; i++)
        count += spool->suspects.all[i].closings >= closings;
    return count;
}

int suspects_load(struct spool *spool)
{
    struct stmt *stmt = spool_stmt(spool, STMT_SUSPECTS);
    int r = spool_read_number(spool, STMT_CUT_LIVES, &spool->working.progress.cut_lives);
    spool->committed.progress.cut_lives = spool->working.progress.cut_lives;
    int rc = SQLITE_DONE;
    while (r == 0 && (rc = stmt_step(stmt)) == SQLITE_ROW) {
        struct suspect *suspect = add(&spool->suspects, stmt_int(stmt, 0));
        if (suspect)
            suspect->closings = (unsigned)stmt_int(stmt, 1);
        else
            r = spool_fail_memory(spool);
    }
    if (r == 0)
        r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

unsigned suspects_closings(const struct suspects *suspects, int64_t key)
{
    const struct suspect *suspect = find(suspects, key);

    return suspect ? suspect->closings : 0;
}

/* The oldest is evicted: a broker that closes at whatever comes makes many. */
static void make_room(struct suspects *suspects)
{
    if (suspects->count < SUSPECTS_MAX)
        return;
    suspects->all[0].closings = 0;
    suspects->all[0].is_changed = true;
    suspects->has_changed = true;
}

int suspects_set(struct spool *spool, int64_t key, unsigned closings)
{
    struct suspects *suspects = &spool->suspects;
    struct suspect *suspect = find(suspects, key);
    if (!suspect && closings == 0)
        return 0;
    if (!suspect) {
        make_room(suspects);
        suspect = add(suspects, key);
    }
    if (!suspect)
        return spool_fail_memory(spool);
    suspect->closings = closings;
    suspect->is_changed = true;
    suspects->has_changed = true;
    return 0;
}

static bool suspect_goes(const struct suspect *suspect)
{
    return suspect->closings == 0 || suspect->has_ended;
}

static int write_one(struct spool *spool, const struct suspect *suspect)
{
    bool goes = suspect_goes(suspect);
    struct stmt *stmt = spool_stmt(spool, goes ? STMT_SUSPECT_DROP : STMT_SUSPECT_WRITE);
    stmt_bind_int(stmt, 1, suspect->key);
    if (!goes)
        stmt_bind_int(stmt, 2, suspect->closings);
    return spool_result(spool, stmt_run(stmt));
}

int suspects_write(struct spool *spool)
{
    int r = 0;
    for (size_t i = 0; i < spool->suspects.count && spool->suspects.has_changed && r == 0;
         i++) {
        if (spool->suspects.all[i].is_changed)
            r = write_one(spool, &spool->suspects.all[i]);
    }
    return r;
}

void suspects_commit(struct suspects *suspects)
{
    size_t kept = 0;
    if (!suspects->has_changed)
        return;
    for (size_t i = 0; i < suspects->count; i++) {
        suspects->all[i].is_changed = false;
        if (!suspect_goes(&suspects->all[i]))
            suspects->all[kept++] = suspects->all[i];
    }
    suspects->count = kept;
    suspects->has_changed = false;
}

void suspects_end(struct suspects *suspects, int64_t first_key, int64_t last_key)
{
    for (size_t i = 0; i < suspects->count; i++) {
        if (suspects->all[i].key < first_key || suspects->all[i].key > last_key)
            continue;
        suspects->all[i].has_ended = true;
        suspects->all[i].is_changed = true;
        suspects->has_changed = true;
    }
}
