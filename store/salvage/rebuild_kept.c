/* SPDX-License-Identifier: MIT */
/*
 * rebuild_kept.c - rejected messages that were kept with their payload
 *
 * They have ended, so no count depends on them. A row whose page certainly belongs to
 * its tree is kept; one from an old image of a page, or from a page that no tree
 * reaches, may have been removed since: such rows are taken, the newest first, only
 * while fewer are found than the state counts, or all of them if the state is lost.
 * The place of the table is not fixed, because a migration created it.
 */
#include "store/salvage/rebuild-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/spool-private.h"
#include "store/stmt.h"
#include "store/sum.h"

static bool is_word(const struct pages_row *row, size_t field, const char *word)
{
    return rebuild_is_text(row, field) && rebuild_bytes(row, field).size == strlen(word) &&
           memcmp(rebuild_bytes(row, field).data, word, strlen(word)) == 0;
}

struct table {
    const char *name;
    uint32_t root;
};

static int take_root(void *userdata, const struct pages_row *row)
{
    struct table *table = userdata;
    enum { TYPE = 0, NAME = 1, ROOT = 3, FIELDS = 5 };
    if (row->field_count == FIELDS && is_word(row, TYPE, "table") &&
        is_word(row, NAME, table->name) && row->fields[ROOT].kind == PAGES_NUMBER &&
        rebuild_number(row, ROOT) > ROOT_SPOOL && rebuild_number(row, ROOT) < UINT32_MAX)
        table->root = (uint32_t)rebuild_number(row, ROOT);
    return 0;
}

int rebuild_find_table(struct pages *pages, const char *name, uint32_t *ret_root)
{
    struct table table = {.name = name};
    pages_restart(pages);
    int r = pages_walk(pages, 1, take_root, &table);
    *ret_root = table.root;
    return r;
}

int rebuild_find_segments(struct pages *pages, uint32_t roots[static TABLE_SEGMENTS])
{
    int r = 0;
    for (unsigned i = 0; i < TABLE_SEGMENTS && r == 0; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "segment%u", i);
        r = rebuild_find_table(pages, name, &roots[i]);
    }
    return r;
}

/* ---- plausibility ---- */

static bool is_number(const struct pages_row *row, size_t field, int64_t least, int64_t most)
{
    return row->fields[field].kind == PAGES_NUMBER && rebuild_number(row, field) >= least &&
           rebuild_number(row, field) <= most;
}

static bool is_number_or_null(const struct pages_row *row, size_t field)
{
    return row->fields[field].kind == PAGES_NULL || row->fields[field].kind == PAGES_NUMBER;
}

static uint64_t kept_id(const struct pages_row *row)
{
    return (uint64_t)rebuild_number(row, KEPT_KEY) & SPOOL_ID_MAX;
}

static unsigned kept_lane(const struct pages_row *row)
{
    return (unsigned)((uint64_t)rebuild_number(row, KEPT_KEY) >> SPOOL_ID_BITS);
}

static bool sum_fits(const struct pages_row *row)
{
    const struct sum_facts facts = {
        .key = rebuild_number(row, KEPT_KEY),
        .accepted = rebuild_number(row, KEPT_ACCEPTED),
        .uid = rebuild_number(row, KEPT_UID),
        .flags = rebuild_number(row, KEPT_FLAGS),
        .number = rebuild_message_number(row, rebuild_number(row, KEPT_KEY), KEPT_BEHIND),
        .client = rebuild_bytes(row, KEPT_CLIENT),
        .topic = rebuild_bytes(row, KEPT_TOPIC),
        .properties = rebuild_bytes(row, KEPT_PROPERTIES),
        .ref = rebuild_bytes(row, KEPT_REF),
        .payload = rebuild_bytes(row, KEPT_PAYLOAD),
    };
    return row->fields[KEPT_SUM].kind == PAGES_NULL ||
           rebuild_number(row, KEPT_SUM) == (int64_t)sum_of(&facts);
}

static bool has_numbers(const struct pages_row *row)
{
    return is_number(row, KEPT_KEY, 1, INT64_MAX) &&
           is_number(row, KEPT_TIME, INT64_MIN, INT64_MAX) &&
           is_number(row, KEPT_ENDED_AT, INT64_MIN, INT64_MAX) &&
           is_number(row, KEPT_REASON, 0, SPOOL_REASONS - 1) &&
           spool_reason_fits(SPOOL_REJECTED,
                             (enum spool_reason)rebuild_number(row, KEPT_REASON)) &&
           (row->fields[KEPT_CODE].kind == PAGES_NULL || is_number(row, KEPT_CODE, 0, 255)) &&
           is_number(row, KEPT_ATTEMPTS, 0, UINT32_MAX) &&
           is_number(row, KEPT_ACCEPTED, INT64_MIN, INT64_MAX) &&
           is_number(row, KEPT_AGE, 0, INT64_MAX) && is_number_or_null(row, KEPT_EXPIRY) &&
           is_number(row, KEPT_UID, 0, UINT32_MAX) &&
           is_number(row, KEPT_FLAGS, 0, FLAGS_MAX) &&
           (rebuild_number(row, KEPT_FLAGS) & FLAGS_QOS) < 3 &&
           is_number_or_null(row, KEPT_SUM);
}

static bool is_kept_row(const struct rebuild *rebuild, const struct pages_row *row)
{
    if (row->field_count < KEPT_BEHIND || row->fields[KEPT_SEQ].kind != PAGES_NULL ||
        row->rowid < 1 || (uint64_t)row->rowid > rebuild->ends.last_seq || !has_numbers(row))
        return false;
    return kept_lane(row) <= SPOOL_LANE_MAX && kept_id(row) > 0 &&
           kept_id(row) <= rebuild->ends.last_id && rebuild_is_text(row, KEPT_CLIENT) &&
           rebuild_is_text(row, KEPT_TOPIC) && rebuild_bytes(row, KEPT_TOPIC).size > 0 &&
           (row->fields[KEPT_REF].kind == PAGES_NULL || rebuild_is_text(row, KEPT_REF)) &&
           (row->fields[KEPT_PROPERTIES].kind == PAGES_NULL ||
            row->fields[KEPT_PROPERTIES].kind == PAGES_BLOB) &&
           row->fields[KEPT_PAYLOAD].kind == PAGES_BLOB &&
           (row->field_count == KEPT_BEHIND || is_number_or_null(row, KEPT_BEHIND)) &&
           sum_fits(row);
}

/* ---- what is kept ---- */

static uint64_t charge_of(const struct pages_row *row)
{
    const struct spool_message message = {
        .client = rebuild_bytes(row, KEPT_CLIENT),
        .topic = rebuild_bytes(row, KEPT_TOPIC),
        .properties = rebuild_bytes(row, KEPT_PROPERTIES),
        .ref = rebuild_bytes(row, KEPT_REF),
        .payload = rebuild_bytes(row, KEPT_PAYLOAD),
    };
    return spool_charge(&message) + KEPT_OVERHEAD;
}

/* Not twice, and not what is spooled. */
static int keep_row(struct rebuild *rebuild, const struct pages_row *row)
{
    struct kept_lane *lane = rebuild_ensure_lane(rebuild, kept_lane(row));
    sqlite3_stmt *stmt = rebuild->insert.kept;
    uint64_t seq = (uint64_t)row->rowid;
    if (!lane || numbers_has(&rebuild->kept.ids, kept_id(row)))
        return 0;
    int rc = sqlite3_bind_int64(stmt, 1 + KEPT_SEQ, row->rowid);
    if (rc == SQLITE_OK)
        rc = rebuild_bind_fields(stmt, row, KEPT_FIELDS);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, 1 + KEPT_CHARGE, (int64_t)charge_of(row));
    if (rc == SQLITE_OK)
        rc = rebuild_run(stmt);
    if (rc != 0 || sqlite3_changes(rebuild->task->db) == 0)
        return rc;
    numbers_add(&rebuild->kept.ids, kept_id(row));
    rebuild->kept.found++;
    if (seq > lane->counters.last_seq) /* so the lane is not forgotten */
        lane->counters.last_seq = seq;
    return 0;
}

/* Its id has ended, whatever else was read of it. */
static int take_certain(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    if (!is_kept_row(rebuild, row))
        return 0;
    if (row->is_uncertain)
        return rebuild_add_candidate(&rebuild->kept.candidates, row, (uint64_t)row->rowid);
    numbers_add(&rebuild->seen.ids, kept_id(row));
    return keep_row(rebuild, row);
}

int rebuild_read_kept(struct rebuild *rebuild)
{
    struct pages *pages = rebuild->task->pages;
    uint32_t root;
    int r = rebuild_find_table(pages, "rejected", &root);
    pages_restart(pages);
    if (r == 0 && root > 0)
        r = pages_walk(pages, root, take_certain, rebuild);
    return r == 0 ? pages_orphans(pages, take_certain, rebuild) : r;
}

static int take_uncertain(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    return is_kept_row(rebuild, row) ? keep_row(rebuild, row) : 0;
}

int rebuild_choose_kept(struct rebuild *rebuild)
{
    struct rebuild_candidates *candidates = &rebuild->kept.candidates;
    bool is_counted = rebuild->state.is_read;
    rebuild_sort_candidates(candidates);
    for (size_t i = 0; i < candidates->count; i++) {
        const struct candidate *candidate = &candidates->all[i];
        if (is_counted && rebuild->kept.found >= rebuild->state.kept)
            break;
        int r = pages_one(rebuild->task->pages, candidate->page, candidate->cell,
                          take_uncertain, rebuild);
        if (r != 0)
            return r;
    }
    rebuild->task->kept_lost =
        rebuild->state.kept - rebuild_lower(rebuild->state.kept, rebuild->kept.found);
    return 0;
}
