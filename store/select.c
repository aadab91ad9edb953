/* SPDX-License-Identifier: MIT */
/*
 * select.c - a walk over the messages that an operator selects, in bounded steps
 *
 * Each step takes a window of neighbouring ids, reads of each lane what lies in it, whatever
 * table that is in, and notes where the matching ones are. Ids that no message has any more
 * cost nothing: the window begins at the lowest id that there is. Rejected ones that are kept
 * are read in the order of seq.
 *
 * Between two steps a walk holds nothing but the id at which it continues. So the daemon can
 * commit, hand out and evict in between, and a tool does not keep the daemon's log from being
 * used again while its page is read.
 *
 * Invariant: a message that stays is found once, however many end meanwhile.
 */
#include "store/select.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/view.h"
#include "store/plan.h"
#include "store/row.h"
#include "store/spool-private.h"
#include "store/stmt.h"

/* ---- what is wanted ---- */

static int compare_ids(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

size_t spool_sort_ids(uint64_t *ids, size_t count)
{
    size_t kept = 0;

    if (count > 0)
        qsort(ids, count, sizeof(*ids), compare_ids);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || ids[i] != ids[kept - 1])
            ids[kept++] = ids[i];
    }
    return kept;
}

static bool select_wants_id(const struct spool_selection *wanted, uint64_t id)
{
    return !wanted->ids ||
           bsearch(&id, wanted->ids, wanted->id_count, sizeof(*wanted->ids), compare_ids);
}

static bool select_wants_lane(const struct spool_selection *wanted, const struct lane *lane)
{
    return !wanted->lane || (lane && strcmp(wanted->lane, lane->name) == 0);
}

static bool select_wants_row(const struct spool_selection *wanted,
                             const struct stmt *stmt,
                             uint64_t id,
                             int64_t clock_ms)
{
    uint64_t age_ms = wanted->older_than_ms < INT64_MAX ? wanted->older_than_ms : INT64_MAX;

    return select_wants_id(wanted, id) &&
           (!wanted->has_uid || stmt_int(stmt, SELECT_UID) == wanted->uid) &&
           (age_ms == 0 || clock_ms - stmt_int(stmt, SELECT_ACCEPTED_AT) >= (int64_t)age_ms) &&
           (!wanted->client ||
            view_equals(stmt_bytes(stmt, SELECT_CLIENT), view_of_text(wanted->client))) &&
           (!wanted->topic ||
            wanted->topic_matches(wanted->topic, stmt_bytes(stmt, SELECT_TOPIC)));
}

static void note_found(struct spool_select *select, const struct stmt *stmt, bool is_neighbour)
{
    select->found[select->count++] = (struct select_found){
        .position = stmt_int(stmt, SELECT_POSITION),
        .charge = (uint64_t)stmt_int(stmt, SELECT_CHARGE),
        .table = select->place == SPOOL_PLACE_SPOOLED ? (unsigned)stmt_int(stmt, SELECT_TABLE)
                                                      : TABLES,
        .is_neighbour = is_neighbour,
    };
}

/* ---- what is spooled ---- */

static uint64_t id_of(const struct select_found *found)
{
    return (uint64_t)found->position & SPOOL_ID_MAX;
}

static int by_id(const void *a, const void *b)
{
    const uint64_t left = id_of(a);
    const uint64_t right = id_of(b);

    return (left > right) - (left < right);
}

static int by_position(const void *a, const void *b)
{
    const struct select_found *left = a;
    const struct select_found *right = b;

    return (left->position > right->position) - (left->position < right->position);
}

static bool lane_is_searched(const struct spool_select *select, const struct lane *lane)
{
    return lane->number <= SPOOL_LANE_MAX && lane->working.messages > 0 &&
           select_wants_lane(&select->wanted, lane);
}

/* From @first_id to @last_id, in the order of keys. */
static struct stmt *
start_lane(struct spool *spool, const struct lane *lane, uint64_t first_id, uint64_t last_id)
{
    struct stmt *stmt = spool_stmt(spool, STMT_SELECT);
    int64_t first_key = lane_first_key(lane) + (int64_t)first_id;

    stmt_bind_int(stmt, 1, first_key);
    stmt_bind_int(stmt, 2, lane_first_key(lane) + (int64_t)last_id);
    stmt_bind_int(stmt, 3, lane_pending_from(lane, first_key));
    return stmt;
}

/* The lowest id from select->next on; above select->last: there is none. */
static int find_lowest_id(const struct spool_select *select, uint64_t *ret)
{
    struct spool *spool = select->spool;
    uint64_t lowest = UINT64_MAX;

    for (size_t i = 0; i < spool->lanes.count; i++) {
        const struct lane *lane = &spool->lanes.all[i];
        if (!lane_is_searched(select, lane))
            continue;
        struct stmt *stmt = start_lane(spool, lane, select->next, select->last);
        int rc = stmt_step(stmt);
        if (rc == SQLITE_ROW) {
            uint64_t id = (uint64_t)stmt_int(stmt, SELECT_POSITION) & SPOOL_ID_MAX;
            lowest = id < lowest ? id : lowest;
        }
        int r = spool_result(spool, rc);
        stmt_reset(stmt);
        if (r != 0)
            return r;
    }
    *ret = lowest;
    return 0;
}

/* The lowest wanted id from select->next on; UINT64_MAX: there is none. */
static uint64_t lowest_wanted_id(const struct spool_select *select)
{
    const uint64_t *ids = select->wanted.ids;
    size_t low = 0;
    size_t high = select->wanted.id_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ids[middle] < select->next)
            low = middle + 1;
        else
            high = middle;
    }
    return low < select->wanted.id_count ? ids[low] : UINT64_MAX;
}

static int find_in_lane(struct spool_select *select,
                        const struct lane *lane,
                        uint64_t first_id,
                        uint64_t last_id,
                        int64_t clock_ms)
{
    struct stmt *stmt = start_lane(select->spool, lane, first_id, last_id);
    unsigned table = TABLES; /* of the row before, if that was found */
    int rc = SQLITE_DONE;

    while (select->count < SELECT_ROWS && (rc = stmt_step(stmt)) == SQLITE_ROW) {
        uint64_t id = (uint64_t)stmt_int(stmt, SELECT_POSITION) & SPOOL_ID_MAX;
        if (!select_wants_row(&select->wanted, stmt, id, clock_ms)) {
            table = TABLES;
            continue;
        }
        note_found(select, stmt, table == (unsigned)stmt_int(stmt, SELECT_TABLE));
        table = (unsigned)stmt_int(stmt, SELECT_TABLE);
    }
    int r = spool_result(select->spool, rc);
    stmt_reset(stmt);
    return r;
}

/* So much of what was found that it fits in a step. Return: the last id of the step. */
static uint64_t bound_bytes(struct spool_select *select, uint64_t last_id)
{
    uint64_t bytes = 0;
    size_t count = 0;

    for (size_t i = 0; i < select->count; i++)
        bytes += select->found[i].charge;
    if (bytes <= SELECT_BYTES)
        return last_id;
    qsort(select->found, select->count, sizeof(*select->found), by_id);
    for (bytes = 0; count < select->count && bytes < SELECT_BYTES; count++)
        bytes += select->found[count].charge;
    if (count < select->count)
        last_id = id_of(&select->found[count - 1]);
    select->count = count;
    qsort(select->found, select->count, sizeof(*select->found), by_position);
    return last_id;
}

static int fill_from_lanes(struct spool_select *select, int64_t clock_ms)
{
    struct spool *spool = select->spool;
    uint64_t first_id = lowest_wanted_id(select);
    int r = select->wanted.ids ? 0 : find_lowest_id(select, &first_id);

    if (r != 0)
        return r;
    if (first_id > select->last)
        return SPOOL_E_EMPTY;
    uint64_t last_id = first_id + SELECT_ROWS - 1;
    if (last_id > select->last)
        last_id = select->last;
    for (size_t i = 0; i < spool->lanes.count && r == 0; i++) {
        const struct lane *lane = &spool->lanes.all[i];
        if (lane_is_searched(select, lane))
            r = find_in_lane(select, lane, first_id, last_id, clock_ms);
    }
    if (r == 0)
        select->next = bound_bytes(select, last_id) + 1;
    return r;
}

/* ---- what is kept ---- */

static int fill_from_kept(struct spool_select *select, int64_t clock_ms)
{
    struct spool *spool = select->spool;
    struct stmt *stmt = spool_stmt(spool, STMT_KEPT_SELECT);
    uint64_t bytes = 0;
    unsigned rows = 0;
    int rc = SQLITE_DONE;

    stmt_bind_int(stmt, 1, (int64_t)select->next);
    stmt_bind_int(stmt, 2, (int64_t)select->last);
    while (rows++ < SELECT_ROWS && bytes < SELECT_BYTES &&
           (rc = stmt_step(stmt)) == SQLITE_ROW) {
        int64_t key = stmt_int(stmt, SELECT_TABLE);
        const struct lane *lane = lane_set_find_number(&spool->lanes, key >> SPOOL_ID_BITS);
        select->next = (uint64_t)stmt_int(stmt, SELECT_POSITION) + 1;
        if (!select_wants_lane(&select->wanted, lane) ||
            !select_wants_row(&select->wanted, stmt, (uint64_t)key & SPOOL_ID_MAX, clock_ms))
            continue;
        note_found(select, stmt, false);
        bytes += (uint64_t)stmt_int(stmt, SELECT_CHARGE);
    }
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r == 0 && rc == SQLITE_DONE && select->count == 0 ? SPOOL_E_EMPTY : r;
}

/* ---- a step ---- */

int select_fill(struct spool_select *select, const struct spool_time *now)
{
    select->count = 0;
    select->taken = 0;
    if (select->next > select->last)
        return SPOOL_E_EMPTY;
    int r = ledger_refresh_reader(select->spool);
    if (r != 0)
        return r;
    int64_t clock_ms = spool_clock_guess_ms(select->spool, now);
    r = select->place == SPOOL_PLACE_SPOOLED ? fill_from_lanes(select, clock_ms)
                                             : fill_from_kept(select, clock_ms);
    if (r != 0)
        select->count = 0;
    return r;
}

int spool_select_new(struct spool *spool,
                     enum spool_place place,
                     const struct spool_selection *selection,
                     struct spool_select **ret)
{
    int r = ledger_refresh_reader(spool);
    if (r != 0)
        return r;
    if (!spool_stmt(spool, STMT_SELECT)->handle)
        return spool_fail(spool, SPOOL_E_OLDER,
                          "an older version of the program wrote the spool; the daemon "
                          "migrates it when it starts");
    struct spool_select *select = calloc(1, sizeof(*select));
    if (!select)
        return -ENOMEM;
    select->spool = spool;
    select->wanted = *selection;
    select->place = place;
    select->next = 1;
    select->last = place == SPOOL_PLACE_SPOOLED ? lane_set_committed_id(&spool->lanes)
                                                : spool->committed.last_seq;
    *ret = select;
    return 0;
}

void spool_select_free(struct spool_select *select)
{
    if (!select)
        return;
    free(select->copy);
    free(select);
}

/* ---- the message of a row ---- */

/* Copies what @view borrows behind what is there already. */
static void copy_view(struct spool_select *select, size_t *used, struct view *view)
{
    if (view->size > 0)
        memcpy(select->copy + *used, view->data, view->size);
    view->data = select->copy + *used;
    *used += view->size;
}

/* So that no row stays open until the next call. */
static int copy_message(struct spool_select *select, struct spool_message *message)
{
    enum { PARTS = 5 };
    struct view *const parts[PARTS] = {&message->client, &message->topic, &message->properties,
                                       &message->ref, &message->payload};
    size_t size = 1;
    size_t used = 0;

    for (size_t i = 0; i < PARTS; i++)
        size += parts[i]->size;
    if (size > select->copy_size) {
        uint8_t *copy = realloc(select->copy, size);
        if (!copy)
            return -ENOMEM;
        select->copy = copy;
        select->copy_size = size;
    }
    for (size_t i = 0; i < PARTS; i++)
        copy_view(select, &used, parts[i]);
    return 0;
}

/* What the plan knows of a message of a writer. Return: has it not ended? */
static bool read_plan(const struct lane *lane, int64_t key, struct spool_selected *ret)
{
    const struct plan_entry *entry = plan_find(&lane->plan, key);

    if (!entry)
        return true;
    ret->message.attempts = entry->attempts;
    ret->state = entry->state == PLAN_IN_FLIGHT ? SPOOL_IN_FLIGHT : SPOOL_PENDING;
    return entry->state == PLAN_IN_FLIGHT || entry->state == PLAN_RETURNED;
}

/* Return: 0; SPOOL_E_AGAIN: it is not to be returned. */
static int read_spooled_row(struct spool_select *select,
                            const struct select_found *found,
                            const struct stmt *stmt,
                            int64_t clock_ms,
                            bool with_payload,
                            struct spool_selected *ret)
{
    const struct lane *lane =
        lane_set_find_number(&select->spool->lanes, found->position >> SPOOL_ID_BITS);
    uint64_t length = with_payload ? 0 : (uint64_t)stmt_int(stmt, MESSAGE_PAYLOAD);

    *ret = (struct spool_selected){.state = SPOOL_PENDING, .code = SPOOL_NO_CODE};
    if (!lane || !row_read(select->spool, stmt, lane, clock_ms, &ret->message))
        return SPOOL_E_AGAIN;
    if (!with_payload)
        ret->message.payload = view_of("", 0);
    if (!stmt_is_null(stmt, MESSAGE_EXPIRES_AT))
        ret->message.expiry_ms = row_not_negative(ret->message.expiry_ms);
    ret->bytes = with_payload ? ret->message.payload.size : length;
    ret->age_ms = row_not_negative(clock_ms - stmt_int(stmt, MESSAGE_ACCEPTED_AT));
    if (!read_plan(lane, found->position, ret))
        return SPOOL_E_AGAIN;
    return copy_message(select, &ret->message);
}

/* The row may have moved from its segment to table message since it was found. */
static int read_spooled(struct spool_select *select,
                        const struct select_found *found,
                        int64_t clock_ms,
                        bool with_payload,
                        struct spool_selected *ret)
{
    const unsigned tables[] = {found->table, TABLE_MESSAGE};
    int rc = SQLITE_DONE;
    int r = SPOOL_E_AGAIN;

    for (size_t i = 0; i < 2 && rc == SQLITE_DONE; i++) {
        struct stmt *stmt =
            spool_table_stmt(select->spool, tables[i], with_payload ? TABLE_FETCH : TABLE_HEAD);
        stmt_bind_int(stmt, 1, found->position);
        rc = stmt_step(stmt);
        if (rc == SQLITE_ROW)
            r = read_spooled_row(select, found, stmt, clock_ms, with_payload, ret);
        else if (rc != SQLITE_DONE)
            r = spool_result(select->spool, rc);
        stmt_reset(stmt);
    }
    return r;
}

int select_read_kept(struct spool_select *select,
                     const struct select_found *found,
                     int64_t clock_ms,
                     bool with_payload,
                     struct spool_selected *ret)
{
    struct stmt *stmt =
        spool_stmt(select->spool, with_payload ? STMT_KEPT_FETCH : STMT_KEPT_HEAD);
    stmt_bind_int(stmt, 1, found->position);
    int rc = stmt_step(stmt);
    int r = rc == SQLITE_DONE ? SPOOL_E_AGAIN : spool_result(select->spool, rc);

    if (rc == SQLITE_ROW) {
        uint64_t length = with_payload ? 0 : (uint64_t)stmt_int(stmt, KEPT_PAYLOAD);
        bool is_sound = row_read_kept(select->spool, stmt, clock_ms, ret);
        if (!with_payload)
            ret->message.payload = view_of("", 0);
        ret->bytes = with_payload ? ret->message.payload.size : length;
        r = is_sound ? copy_message(select, &ret->message) : SPOOL_E_AGAIN;
    }
    stmt_reset(stmt);
    return r;
}

int spool_select_next(struct spool_select *select,
                      const struct spool_time *now,
                      bool with_payload,
                      struct spool_selected *ret)
{
    struct spool *spool = select->spool;
    int r = spool->conn.failed;

    if (r == 0 && select->taken == select->count) {
        r = select_fill(select, now);
        if (r == 0 && select->place == SPOOL_PLACE_SPOOLED)
            qsort(select->found, select->count, sizeof(*select->found), by_id);
    }
    if (r != 0)
        return r;
    spool_end_scan(spool);
    int64_t clock_ms = spool_clock_guess_ms(spool, now);
    while (select->taken < select->count) {
        const struct select_found *found = &select->found[select->taken];
        r = select->place == SPOOL_PLACE_SPOOLED
                ? read_spooled(select, found, clock_ms, with_payload, ret)
                : select_read_kept(select, found, clock_ms, with_payload, ret);
        select->taken += r != SPOOL_E_BUSY;
        if (r != SPOOL_E_AGAIN)
            return r;
    }
    return SPOOL_E_AGAIN;
}
