/* SPDX-License-Identifier: MIT */
/*
 * rebuild_rows.c - which row of a page is plausible, and what it holds
 *
 * Rows of lanes and of the state are taken as they are read; a row of a message
 * or of an outcome is judged only: rebuild.c decides whether it is kept.
 */
#include "base/utf8.h"
#include "store/salvage/rebuild-private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/view.h"
#include "store/lane_set.h"
#include "store/salvage/pages.h"
#include "store/spool-private.h"
#include "store/spool.h"
#include "store/spool_clock.h"
#include "store/stmt.h"
#include "store/sum.h"
#include "store/tallies.h"

/* ---- plausibility ---- */

/* Without the NUL, which no text of a message has. */
static bool is_utf8(struct view text)
{
    const unsigned char *at = text.data;
    const unsigned char *end = at + text.size;
    while (at < end) {
        size_t size = *at == '\0' ? 0 : utf8_character_size(at, (size_t)(end - at));
        if (size == 0)
            return false;
        at += size;
    }
    return true;
}

static bool is_number(const struct pages_row *row, size_t field, int64_t least, int64_t most)
{
    const struct pages_field *found = &row->fields[field];
    return found->kind == PAGES_NUMBER && found->number >= least && found->number <= most;
}

static bool is_null(const struct pages_row *row, size_t field)
{
    return row->fields[field].kind == PAGES_NULL;
}

bool rebuild_is_text(const struct pages_row *row, size_t field)
{
    return row->fields[field].kind == PAGES_TEXT && is_utf8(row->fields[field].bytes);
}

/* ---- lanes ---- */

struct kept_lane *rebuild_find_lane(const struct rebuild_lanes *lanes, unsigned number)
{
    for (size_t i = 0; i < lanes->count; i++) {
        if (lanes->all[i].number == number)
            return &lanes->all[i];
    }
    return NULL;
}

struct kept_lane *rebuild_find_lane_by_name(const struct rebuild_lanes *lanes, const char *name)
{
    for (size_t i = 0; i < lanes->count; i++) {
        if (strcmp(lanes->all[i].name, name) == 0)
            return &lanes->all[i];
    }
    return NULL;
}

/* A lane whose row is lost. Lanes get their numbers in the order of the configuration. */
struct kept_lane *rebuild_ensure_lane(struct rebuild *rebuild, unsigned number)
{
    const struct spool_options *options = rebuild->task->options;
    struct kept_lane *lane = rebuild_find_lane(&rebuild->lanes, number);
    if (lane || number > SPOOL_LANE_MAX || rebuild->lanes.count == SPOOL_LANES_KNOWN_MAX)
        return lane;
    lane = &rebuild->lanes.all[rebuild->lanes.count];
    *lane = (struct kept_lane){.number = number};
    if (number < options->lane_count &&
        !rebuild_find_lane_by_name(&rebuild->lanes, options->lanes[number].name))
        (void)snprintf(lane->name, sizeof(lane->name), "%s", options->lanes[number].name);
    else
        (void)snprintf(lane->name, sizeof(lane->name), "recovered-%u", number);
    rebuild->lanes.count++;
    return lane;
}

/* Of table lane; an older program's row ends before it. */
enum { LANE_UNNUMBERED = 13, LANE_TALLIES = 16 };

/* The counts confirm each other; the last id and seq do not, see limit_lane_counters(). */
static bool is_lane_row(const struct pages_row *row)
{
    enum { NAME = 1, FIRST = 2, BYTES = 10, FIELDS = 13 };
    if (row->field_count < FIELDS || row->rowid < 0 || row->rowid > SPOOL_LANE_MAX ||
        !rebuild_is_text(row, NAME) || rebuild_bytes(row, NAME).size == 0 ||
        rebuild_bytes(row, NAME).size > 255)
        return false;
    for (size_t i = FIRST; i < FIELDS; i++) {
        if (!is_number(row, i, 0, i < BYTES ? (int64_t)SPOOL_LAST_MAX : INT64_MAX))
            return false;
    }
    int64_t sum = rebuild_number(row, FIRST + 1 + SPOOL_OUTCOMES);
    for (size_t i = 0; i < SPOOL_OUTCOMES; i++)
        sum += rebuild_number(row, FIRST + 1 + i);
    return sum == rebuild_number(row, FIRST);
}

int rebuild_take_lane(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    int r =
        row->field_count > 1 && rebuild_is_text(row, 1) ? rebuild_take_runs(rebuild, row) : 0;
    if (r < 0)
        return r;
    if (!is_lane_row(row) || rebuild_find_lane(&rebuild->lanes, (unsigned)row->rowid) ||
        rebuild->lanes.count == SPOOL_LANES_KNOWN_MAX)
        return 0;
    struct kept_lane *lane = &rebuild->lanes.all[rebuild->lanes.count];
    struct view name = rebuild_bytes(row, 1);
    *lane = (struct kept_lane){.number = (unsigned)row->rowid};
    memcpy(lane->name, name.data, name.size);
    if (rebuild_find_lane_by_name(&rebuild->lanes, lane->name))
        return 0;
    struct spool_counters *counters = &lane->counters;
    counters->accepted = (uint64_t)rebuild_number(row, 2);
    for (size_t i = 0; i < SPOOL_OUTCOMES; i++)
        counters->ended[i] = (uint64_t)rebuild_number(row, 3 + i);
    lane->counted_messages = (uint64_t)rebuild_number(row, 9);
    counters->last_id = (uint64_t)rebuild_number(row, 11);
    counters->last_seq = (uint64_t)rebuild_number(row, 12);
    counters->numbered = counters->accepted;
    lane->is_numbered = row->field_count <= LANE_UNNUMBERED ||
                        is_number(row, LANE_UNNUMBERED, INT64_MIN, INT64_MAX);
    if (row->field_count > LANE_UNNUMBERED && lane->is_numbered)
        counters->numbered -= (uint64_t)rebuild_number(row, LANE_UNNUMBERED);
    lane->is_numbered = lane->is_numbered && counters->numbered <= SPOOL_LAST_MAX;
    if (row->field_count > LANE_TALLIES)
        (void)tallies_decode(rebuild_bytes(row, LANE_TALLIES), &counters->tallies);
    rebuild->lanes.count++;
    rebuild->lanes.is_uncertain |= row->is_uncertain;
    rebuild->counted.accepted += counters->accepted;
    if (counters->last_id > rebuild->counted.id)
        rebuild->counted.id = counters->last_id;
    if (counters->last_seq > rebuild->counted.seq)
        rebuild->counted.seq = counters->last_seq;
    return 0;
}

uint64_t rebuild_sum_ended(const struct rebuild_lanes *lanes)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < lanes->count; i++) {
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            sum += lanes->all[i].counters.ended[j];
    }
    return sum;
}

int rebuild_reach(struct pages *pages, struct rebuild_reach *ret)
{
    struct rebuild rebuild = {0};
    rebuild.lanes.all = calloc(SPOOL_LANES_KNOWN_MAX, sizeof(*rebuild.lanes.all));
    if (!rebuild.lanes.all)
        return -ENOMEM;
    pages_restart(pages);
    int r = pages_walk(pages, ROOT_LANE, rebuild_take_lane, &rebuild);
    *ret = (struct rebuild_reach){.counted = rebuild.counted.accepted +
                                             rebuild_sum_ended(&rebuild.lanes),
                                  .last_id = rebuild.counted.id,
                                  .last_seq = rebuild.counted.seq};
    free(rebuild.lanes.all);
    return r;
}

struct foreign {
    unsigned tables;
    unsigned ours;
};

static int count_table(void *userdata, const struct pages_row *row)
{
    static const char *const names[] = {"lane", "message", "outcome", "spool", "rejected"};
    struct foreign *foreign = userdata;
    if (row->field_count != 5 || !rebuild_is_text(row, 0) || !rebuild_is_text(row, 1) ||
        rebuild_bytes(row, 0).size != 5 || memcmp(rebuild_bytes(row, 0).data, "table", 5) != 0)
        return 0;
    foreign->tables++;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (rebuild_bytes(row, 1).size == strlen(names[i]) &&
            memcmp(rebuild_bytes(row, 1).data, names[i], strlen(names[i])) == 0)
            foreign->ours++;
    }
    return 0;
}

int rebuild_is_foreign(struct pages *pages, bool *ret)
{
    struct foreign foreign = {0};
    uint32_t application_id;
    *ret = false;
    if (!pages_application_id(pages, &application_id) || application_id == SPOOL_APPLICATION_ID)
        return pages->error;
    pages_restart(pages);
    int r = pages_walk(pages, 1, count_table, &foreign);
    *ret = foreign.tables > 0 && foreign.ours == 0;
    return r;
}

/* ---- the clock and the cursor ---- */

/* Of table spool; an older program's row ends before it. */
enum { STATE_REPORTED = 13 };

int rebuild_take_state(void *userdata, const struct pages_row *row)
{
    struct rebuild *rebuild = userdata;
    struct spool_clock_state *clock = &rebuild->state.clock;
    if (row->rowid != 1 || row->field_count < 10 || !rebuild_is_text(row, 1) ||
        rebuild_bytes(row, 1).size >= sizeof(clock->boot_id) ||
        !is_number(row, 2, 0, INT64_MAX / 4) || !is_number(row, 3, 0, INT64_MAX / 4) ||
        !is_number(row, 7, 0, INT64_MAX / 4))
        return 0;
    bool has_wall = is_number(row, 4, 0, INT64_MAX / 4);
    bool is_absent = is_number(row, 6, 0, INT64_MAX / 4);
    *clock = (struct spool_clock_state){
        .boot_ms = rebuild_number(row, 2),
        .clock_ms = rebuild_number(row, 3),
        .has_wall = has_wall,
        .wall_ms = has_wall ? rebuild_number(row, 4) : 0,
        .wall_clock_ms = is_number(row, 5, 0, INT64_MAX / 4) ? rebuild_number(row, 5) : 0,
        .is_absent = is_absent,
        .absent_after = is_absent ? (uint64_t)rebuild_number(row, 6) : 0,
    };
    memcpy(clock->boot_id, rebuild_bytes(row, 1).data, rebuild_bytes(row, 1).size);
    rebuild->state.exported = (uint64_t)rebuild_number(row, 7);
    rebuild->state.pruned =
        is_number(row, 8, 0, INT64_MAX / 4) ? (uint64_t)rebuild_number(row, 8) : 0;
    rebuild->state.failures_pruned =
        is_number(row, 9, 0, (int64_t)SPOOL_LAST_MAX) ? (uint64_t)rebuild_number(row, 9) : 0;
    rebuild->state.kept = row->field_count > 11 && is_number(row, 11, 0, INT64_MAX / 4)
                              ? (uint64_t)rebuild_number(row, 11)
                              : 0;
    rebuild->state.reported = SPOOL_NOT_REPORTED;
    if (is_number(row, STATE_REPORTED, 0, INT64_MAX / 4))
        rebuild->state.reported = rebuild_number(row, STATE_REPORTED);
    rebuild->state.is_read = rebuild->state.has_cursor = true;
    return 0;
}

/* ---- messages ---- */

static bool has_message_shape(const struct rebuild *rebuild, const struct pages_row *row)
{
    if (row->field_count < MESSAGE_SUM || !is_null(row, MESSAGE_KEY) || row->rowid <= 0 ||
        rebuild_lane_of(row) > SPOOL_LANE_MAX || rebuild_id_of(row) == 0 ||
        rebuild_id_of(row) > rebuild->limits.id)
        return false;
    return is_number(row, MESSAGE_ACCEPTED, INT64_MIN, INT64_MAX) &&
           is_number(row, MESSAGE_ACCEPTED_AT, INT64_MIN, INT64_MAX) &&
           is_number(row, MESSAGE_CHARGE, 0, UINT32_MAX) &&
           is_number(row, MESSAGE_UID, 0, UINT32_MAX) &&
           is_number(row, MESSAGE_FLAGS, 0, FLAGS_MAX) &&
           (rebuild_number(row, MESSAGE_FLAGS) & FLAGS_QOS) < 3;
}

static bool has_message_sum(const struct pages_row *row)
{
    return row->field_count > MESSAGE_SUM && row->fields[MESSAGE_SUM].kind == PAGES_NUMBER;
}

static bool sum_fits(const struct pages_row *row)
{
    const struct sum_facts facts = {
        .key = row->rowid,
        .accepted = rebuild_number(row, MESSAGE_ACCEPTED),
        .uid = rebuild_number(row, MESSAGE_UID),
        .flags = rebuild_number(row, MESSAGE_FLAGS),
        .number = rebuild_message_number(row, row->rowid, MESSAGE_BEHIND),
        .client = rebuild_bytes(row, MESSAGE_CLIENT),
        .topic = rebuild_bytes(row, MESSAGE_TOPIC),
        .properties = rebuild_bytes(row, MESSAGE_PROPERTIES),
        .ref = rebuild_bytes(row, MESSAGE_REF),
        .payload = rebuild_bytes(row, MESSAGE_PAYLOAD),
    };
    return rebuild_number(row, MESSAGE_SUM) == (int64_t)sum_of(&facts);
}

/* Earlier programs counted otherwise; all of them the sizes, and never many pages more. */
static bool charge_fits(const struct pages_row *row, uint64_t sizes)
{
    return is_number(row, MESSAGE_CHARGE, (int64_t)sizes,
                     (int64_t)(2 * sizes + UINT64_C(4) * SPOOL_PAGE_BYTES));
}

/* As stored, if that is plausible; else as it would be counted now. */
uint64_t rebuild_charge_of(const struct pages_row *row)
{
    const struct spool_message message = {
        .client = rebuild_bytes(row, MESSAGE_CLIENT),
        .topic = rebuild_bytes(row, MESSAGE_TOPIC),
        .properties = rebuild_bytes(row, MESSAGE_PROPERTIES),
        .ref = rebuild_bytes(row, MESSAGE_REF),
        .payload = rebuild_bytes(row, MESSAGE_PAYLOAD),
    };
    uint64_t sizes = message.client.size + message.topic.size + message.properties.size +
                     message.ref.size + message.payload.size;
    return charge_fits(row, sizes) ? (uint64_t)rebuild_number(row, MESSAGE_CHARGE)
                                   : spool_charge(&message);
}

/* No column of numbers takes another kind; a row that lacks the newest ones is an older
 * program's. */
static bool is_number_or_absent(const struct pages_row *row, size_t field)
{
    return field >= row->field_count || is_null(row, field) ||
           row->fields[field].kind == PAGES_NUMBER;
}

uint64_t rebuild_message_number(const struct pages_row *row, int64_t key, size_t behind)
{
    uint64_t id = (uint64_t)key & SPOOL_ID_MAX;
    if (behind >= row->field_count || row->fields[behind].kind != PAGES_NUMBER)
        return 0;
    return id - (uint64_t)rebuild_number(row, behind);
}

enum judgement rebuild_judge(struct rebuild *rebuild, const struct pages_row *row)
{
    if (!has_message_shape(rebuild, row))
        return NO_MESSAGE;
    bool is_whole =
        rebuild_is_text(row, MESSAGE_CLIENT) && rebuild_is_text(row, MESSAGE_TOPIC) &&
        rebuild_bytes(row, MESSAGE_TOPIC).size > 0 &&
        (is_null(row, MESSAGE_PROPERTIES) ||
         row->fields[MESSAGE_PROPERTIES].kind == PAGES_BLOB) &&
        (is_null(row, MESSAGE_REF) || rebuild_is_text(row, MESSAGE_REF)) &&
        row->fields[MESSAGE_PAYLOAD].kind == PAGES_BLOB &&
        is_number_or_absent(row, MESSAGE_EXPIRES_AT) && is_number_or_absent(row, MESSAGE_SUM) &&
        is_number_or_absent(row, MESSAGE_BEHIND) &&
        rebuild_message_number(row, row->rowid, MESSAGE_BEHIND) <= rebuild_id_of(row);
    if (is_whole && has_message_sum(row))
        is_whole = sum_fits(row);
    else if (is_whole)
        is_whole = rebuild_charge_of(row) == (uint64_t)rebuild_number(row, MESSAGE_CHARGE) &&
                   (rebuild_find_lane(&rebuild->lanes, rebuild_lane_of(row)) ||
                    rebuild->lanes.count == 0);
    return is_whole ? SOUND_MESSAGE : BROKEN_MESSAGE;
}

/* ---- rows that are kept ---- */

static int bind_field(sqlite3_stmt *stmt, int index, const struct pages_field *field)
{
    switch (field->kind) {
    case PAGES_NUMBER:
        return sqlite3_bind_int64(stmt, index, field->number);
    case PAGES_TEXT:
        return sqlite3_bind_text64(stmt, index, view_chars(field->bytes), field->bytes.size,
                                   SQLITE_STATIC, SQLITE_UTF8);
    case PAGES_BLOB:
        return sqlite3_bind_blob64(stmt, index, field->bytes.data, field->bytes.size,
                                   SQLITE_STATIC);
    case PAGES_LOST:
    case PAGES_NULL:
    case PAGES_REAL:
        break;
    }
    return sqlite3_bind_null(stmt, index);
}

int rebuild_bind_fields(sqlite3_stmt *stmt, const struct pages_row *row, size_t count)
{
    static const struct pages_field nothing = {.kind = PAGES_NULL};
    int rc = SQLITE_OK;
    for (size_t i = 1; i < count && rc == SQLITE_OK; i++)
        rc = bind_field(stmt, 1 + (int)i, i < row->field_count ? &row->fields[i] : &nothing);
    return rc;
}

int rebuild_run(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    (void)sqlite3_reset(stmt); /* repeats the error of the step */
    return rc == SQLITE_DONE ? 0 : rc;
}

int rebuild_add_candidate(struct rebuild_candidates *candidates,
                          const struct pages_row *row,
                          uint64_t number)
{
    if (candidates->count == candidates->capacity) {
        size_t room = candidates->capacity * 2 + 1024;
        struct candidate *grown = realloc(candidates->all, room * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        candidates->all = grown;
        candidates->capacity = room;
    }
    candidates->all[candidates->count++] = (struct candidate){number, row->page, row->cell};
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct candidate *left = a;
    const struct candidate *right = b;
    return (left->number < right->number) - (left->number > right->number);
}

void rebuild_sort_candidates(struct rebuild_candidates *candidates)
{
    if (candidates->count > 0)
        qsort(candidates->all, candidates->count, sizeof(*candidates->all), newest_first);
}

/* ---- outcome records ---- */

bool rebuild_is_outcome_row(const struct rebuild *rebuild, const struct pages_row *row)
{
    if (row->field_count < 17 || !is_null(row, 0) || row->rowid < 1 ||
        (uint64_t)row->rowid > rebuild->limits.seq ||
        !is_number(row, 1, 1, (int64_t)rebuild->limits.ended_id) ||
        !is_number(row, 2, 0, SPOOL_LANE_MAX) || !is_number(row, 3, INT64_MIN, INT64_MAX) ||
        !is_number(row, 4, INT64_MIN, INT64_MAX) || !is_number(row, 5, 0, SPOOL_OUTCOMES - 1) ||
        !is_number(row, 6, 0, SPOOL_REASONS - 1))
        return false;
    return (is_null(row, 7) || is_number(row, 7, 0, 255)) && is_number(row, 8, 0, UINT32_MAX) &&
           is_number(row, 9, 0, UINT32_MAX) && is_number(row, 10, 0, 2) &&
           is_number(row, 11, 0, UINT32_MAX) && is_number(row, 12, INT64_MIN, INT64_MAX) &&
           is_number(row, 13, 0, INT64_MAX) && rebuild_is_text(row, 14) &&
           rebuild_is_text(row, 15) && (is_null(row, 16) || rebuild_is_text(row, 16)) &&
           spool_reason_fits((enum spool_outcome)rebuild_number(row, 5),
                             (enum spool_reason)rebuild_number(row, 6));
}
