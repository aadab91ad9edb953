/*
 * rebuild.c - which messages there still are, and what became of the others
 *
 * Known are: the lanes' counters as they stood at some commit; the mark beside
 * the database and the audit file, which may know of later ones; the outcome
 * rows and messages that can be read. Ids and seqs rise by one, and each
 * outcome has one seq, so
 *
 *   accepted = counted ones + ids given out since the counters were written
 *   missing  = accepted - seqs given out - messages that were read
 *
 * A message that was read from a page which its tree surely holds is in the
 * spool. One from an older image of a page, or from a page that no tree
 * reaches, may have been deleted since: such ones are taken only where the
 * above says that messages are missing, the newest first, and never one whose
 * end is recorded. What is then still missing is recorded as damaged: under its
 * id where the rest of its row tells it; else under the newest ids that are
 * neither spooled nor known to have ended; where there are not enough of these,
 * under ids made for it. So the ledger balances, each seq is there once, and no
 * id is given out again.
 *
 * Outcome rows that had not reached the audit file and cannot be read leave a
 * hole in its numbering. It is closed in the same way, by a record of a message
 * whose end is no longer known; the counters say of what kind it was, for they have
 * more of that than was read.
 *
 * Memory is bounded by what there is to read, not by how far ids lie apart: 16
 * bytes for each message in doubt, and the ids and seqs that were met (numbers.h),
 * about a byte for each line of the audit file and some hundred bytes for a row
 * that has no neighbour among 512 ids.
 */
#include "rebuild.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numbers.h"
#include "spool-private.h"
#include "sum.h"

/* Tables never move: auto_vacuum is off and nothing ever vacuums. schema.sql makes them in this
 * order. */
enum root { ROOT_LANE = 2, ROOT_MESSAGE = 4, ROOT_OUTCOME = 6, ROOT_SPOOL = 7 };

enum {
    FLAGS_QOS = 3,
    FLAGS_MAX = 7,
    /* Numbers above what is known by so much are no numbers of ours: a mark that survived a
     * power cut lags. Where there is no mark, ids go on behind this gap. */
    SLACK = SPOOL_IDS_LEFT_OUT,
    GAP_MAX = 4096, /* between two rows side by side: some pages of rows may be lost */
};

#define PROVISIONAL_SEQ (INT64_C(1) << 61)

struct kept_lane {
    unsigned number;
    char name[256];
    struct spool_counters counters; /* as read; messages and bytes: as salvaged */
    uint64_t counted_messages;
    uint64_t known[SPOOL_OUTCOMES]; /* of those counted: whose record was read */
    uint64_t later[SPOOL_OUTCOMES]; /* not counted yet */
};

struct candidate {
    uint64_t id;
    uint32_t page;
    uint32_t cell;
};

struct rebuild {
    struct rebuild_task *task;
    struct mark mark;
    struct kept_lane *lanes;
    size_t lane_count;
    struct kept_lane *home; /* lane "default": gets what is of no lane that is known */
    bool has_all_lanes;     /* their counters add up */
    bool is_lane_in_doubt;  /* they may be older than what else was read */
    struct spool_clock_state clock;
    bool has_state;
    bool has_cursor;
    uint64_t counted_accepted;
    uint64_t counted_id; /* up to here the lanes' counters reach */
    uint64_t counted_seq;
    uint64_t history_seq;
    uint64_t history_id; /* of that line */
    uint64_t id_limit;   /* rows beyond are garbage */
    uint64_t ended_id_limit; /* the same of outcome rows, which have no checksum */
    uint64_t seq_limit;
    uint64_t lowest_id; /* of the messages that were read */
    uint64_t last_id;
    uint64_t last_seq;
    uint64_t exported;
    uint64_t pruned;   /* deliveries up to here are missing on purpose, also beyond exported */
    uint64_t spare_failures;  /* lost ones may be so many of the counted failures */
    uint64_t failures_pruned; /* so many of the counted failures have no row any more */
    int64_t newest_ms; /* on the spool's clock */
    struct numbers ids;
    struct numbers seqs;
    struct numbers beyond; /* seqs of rows that are newer than anything else tells */
    struct candidate *candidates;
    size_t candidate_count;
    size_t candidate_room;
    uint64_t found;
    uint64_t broken;
    int64_t walked_key; /* of the last sound message, when the tree is walked once more */
    sqlite3_stmt *message_in;
    sqlite3_stmt *outcome_in;
};

/* ---- plausibility ---- */

static bool is_utf8(struct spool_bytes text)
{
    const unsigned char *at = text.data;
    const unsigned char *end = at + text.size;
    while (at < end) {
        unsigned char lead = *at++;
        unsigned more = lead < 0x80   ? 0
                        : lead < 0xc2 ? 9
                        : lead < 0xe0 ? 1
                        : lead < 0xf0 ? 2
                                      : 3;
        if (lead == 0 || lead > 0xf4 || more > (size_t)(end - at))
            return false;
        uint32_t value = lead & (0x3fU >> more);
        for (unsigned i = 0; i < more; i++, at++) {
            if ((*at & 0xc0) != 0x80)
                return false;
            value = value << 6 | (*at & 0x3f);
        }
        if (more > 0 && (value < (more == 1   ? 0x80U
                                  : more == 2 ? 0x800U
                                              : 0x10000U) ||
                         value > 0x10ffff || (value >= 0xd800 && value < 0xe000)))
            return false;
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

static bool is_text(const struct pages_row *row, size_t field)
{
    return row->fields[field].kind == PAGES_TEXT && is_utf8(row->fields[field].bytes);
}

static int64_t number(const struct pages_row *row, size_t field)
{
    return row->fields[field].number;
}

static struct spool_bytes bytes(const struct pages_row *row, size_t field)
{
    const struct pages_field *found = &row->fields[field];
    bool has_bytes = found->kind == PAGES_TEXT || found->kind == PAGES_BLOB;
    return has_bytes ? found->bytes : (struct spool_bytes){"", 0};
}

static uint64_t id_of(const struct pages_row *row)
{
    return (uint64_t)row->rowid & SPOOL_ID_MAX;
}

static unsigned lane_of(const struct pages_row *row)
{
    return (unsigned)((uint64_t)row->rowid >> SPOOL_ID_BITS);
}

/* ---- lanes ---- */

static struct kept_lane *find_lane(struct rebuild *rebuild, unsigned number)
{
    for (size_t i = 0; i < rebuild->lane_count; i++) {
        if (rebuild->lanes[i].number == number)
            return &rebuild->lanes[i];
    }
    return NULL;
}

static struct kept_lane *find_lane_by_name(struct rebuild *rebuild, const char *name)
{
    for (size_t i = 0; i < rebuild->lane_count; i++) {
        if (strcmp(rebuild->lanes[i].name, name) == 0)
            return &rebuild->lanes[i];
    }
    return NULL;
}

/* A lane whose row is lost. Lanes get their numbers in the order of the configuration. */
static struct kept_lane *need_lane(struct rebuild *rebuild, unsigned number)
{
    const struct spool_options *options = rebuild->task->options;
    struct kept_lane *lane = find_lane(rebuild, number);
    if (lane || number > SPOOL_LANE_MAX || rebuild->lane_count == SPOOL_LANES_KNOWN_MAX)
        return lane;
    lane = &rebuild->lanes[rebuild->lane_count];
    *lane = (struct kept_lane){.number = number};
    if (number < options->lane_count &&
        !find_lane_by_name(rebuild, options->lanes[number].name))
        (void)snprintf(lane->name, sizeof lane->name, "%s", options->lanes[number].name);
    else
        (void)snprintf(lane->name, sizeof lane->name, "recovered-%u", number);
    rebuild->lane_count++;
    return lane;
}

/* The counts vouch for each other; the last id and seq stand alone, see believe_lanes(). */
static bool is_lane_row(const struct pages_row *row)
{
    enum { NAME = 1, FIRST = 2, BYTES = 10, FIELDS = 13 };
    if (row->field_count < FIELDS || row->rowid < 0 || row->rowid > SPOOL_LANE_MAX ||
        !is_text(row, NAME) || bytes(row, NAME).size == 0 || bytes(row, NAME).size > 255)
        return false;
    for (size_t i = FIRST; i < FIELDS; i++) {
        if (!is_number(row, i, 0, i < BYTES ? (int64_t)SPOOL_LAST_MAX : INT64_MAX))
            return false;
    }
    int64_t sum = number(row, FIRST + 1 + SPOOL_OUTCOMES);
    for (size_t i = 0; i < SPOOL_OUTCOMES; i++)
        sum += number(row, FIRST + 1 + i);
    return sum == number(row, FIRST);
}

static int take_lane(void *context, const struct pages_row *row)
{
    struct rebuild *rebuild = context;
    if (!is_lane_row(row) || find_lane(rebuild, (unsigned)row->rowid) ||
        rebuild->lane_count == SPOOL_LANES_KNOWN_MAX)
        return 0;
    struct kept_lane *lane = &rebuild->lanes[rebuild->lane_count];
    struct spool_bytes name = bytes(row, 1);
    *lane = (struct kept_lane){.number = (unsigned)row->rowid};
    memcpy(lane->name, name.data, name.size);
    if (find_lane_by_name(rebuild, lane->name))
        return 0;
    struct spool_counters *counters = &lane->counters;
    counters->accepted = (uint64_t)number(row, 2);
    for (size_t i = 0; i < SPOOL_OUTCOMES; i++)
        counters->ended[i] = (uint64_t)number(row, 3 + i);
    lane->counted_messages = (uint64_t)number(row, 9);
    counters->last_id = (uint64_t)number(row, 11);
    counters->last_seq = (uint64_t)number(row, 12);
    rebuild->lane_count++;
    rebuild->is_lane_in_doubt |= row->in_doubt;
    rebuild->counted_accepted += counters->accepted;
    if (counters->last_id > rebuild->counted_id)
        rebuild->counted_id = counters->last_id;
    if (counters->last_seq > rebuild->counted_seq)
        rebuild->counted_seq = counters->last_seq;
    return 0;
}

static uint64_t sum_ended(const struct rebuild *rebuild)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < rebuild->lane_count; i++) {
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            sum += rebuild->lanes[i].counters.ended[j];
    }
    return sum;
}

int rebuild_reach(struct pages *pages, struct rebuild_reach *ret)
{
    struct rebuild rebuild = {.lanes = calloc(SPOOL_LANES_KNOWN_MAX, sizeof *rebuild.lanes)};
    if (!rebuild.lanes)
        return -ENOMEM;
    pages_restart(pages);
    int r = pages_walk(pages, ROOT_LANE, take_lane, &rebuild);
    *ret = (struct rebuild_reach){.counted = rebuild.counted_accepted + sum_ended(&rebuild),
                                  .last_id = rebuild.counted_id,
                                  .last_seq = rebuild.counted_seq};
    free(rebuild.lanes);
    return r;
}

struct foreign {
    unsigned tables;
    unsigned ours;
};

static int look_at_table(void *context, const struct pages_row *row)
{
    static const char *const names[] = {"lane", "message", "outcome", "spool"};
    struct foreign *foreign = context;
    if (row->field_count != 5 || !is_text(row, 0) || !is_text(row, 1) ||
        bytes(row, 0).size != 5 || memcmp(bytes(row, 0).data, "table", 5) != 0)
        return 0;
    foreign->tables++;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (bytes(row, 1).size == strlen(names[i]) &&
            memcmp(bytes(row, 1).data, names[i], strlen(names[i])) == 0)
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
    int r = pages_walk(pages, 1, look_at_table, &foreign);
    *ret = foreign.tables > 0 && foreign.ours == 0;
    return r;
}

/* ---- the clock and the cursor ---- */

static int take_state(void *context, const struct pages_row *row)
{
    struct rebuild *rebuild = context;
    struct spool_clock_state *clock = &rebuild->clock;
    if (row->rowid != 1 || row->field_count < 10 || !is_text(row, 1) ||
        bytes(row, 1).size >= sizeof clock->boot_id || !is_number(row, 2, 0, INT64_MAX / 4) ||
        !is_number(row, 3, 0, INT64_MAX / 4) || !is_number(row, 7, 0, INT64_MAX / 4))
        return 0;
    bool has_wall = is_number(row, 4, 0, INT64_MAX / 4);
    bool is_absent = is_number(row, 6, 0, INT64_MAX / 4);
    *clock = (struct spool_clock_state){
        .boot_ms = number(row, 2),
        .clock_ms = number(row, 3),
        .has_wall = has_wall,
        .wall_ms = has_wall ? number(row, 4) : 0,
        .wall_clock_ms = is_number(row, 5, 0, INT64_MAX / 4) ? number(row, 5) : 0,
        .is_absent = is_absent,
        .absent_after = is_absent ? (uint64_t)number(row, 6) : 0,
    };
    memcpy(clock->boot_id, bytes(row, 1).data, bytes(row, 1).size);
    rebuild->exported = (uint64_t)number(row, 7);
    rebuild->pruned = is_number(row, 8, 0, INT64_MAX / 4) ? (uint64_t)number(row, 8) : 0;
    rebuild->failures_pruned =
        is_number(row, 9, 0, (int64_t)SPOOL_LAST_MAX) ? (uint64_t)number(row, 9) : 0;
    rebuild->has_state = rebuild->has_cursor = true;
    return 0;
}

/* ---- messages ---- */

enum judgement { NO_MESSAGE, BROKEN_MESSAGE, SOUND_MESSAGE };

static bool has_message_shape(const struct rebuild *rebuild, const struct pages_row *row)
{
    if (row->field_count < MESSAGE_SUM || !is_null(row, MESSAGE_KEY) || row->rowid <= 0 ||
        lane_of(row) > SPOOL_LANE_MAX || id_of(row) == 0 || id_of(row) > rebuild->id_limit)
        return false;
    return is_number(row, MESSAGE_ACCEPTED, INT64_MIN, INT64_MAX) &&
           is_number(row, MESSAGE_ACCEPTED_AT, INT64_MIN, INT64_MAX) &&
           is_number(row, MESSAGE_CHARGE, 0, UINT32_MAX) &&
           is_number(row, MESSAGE_UID, 0, UINT32_MAX) &&
           is_number(row, MESSAGE_FLAGS, 0, FLAGS_MAX) &&
           (number(row, MESSAGE_FLAGS) & FLAGS_QOS) < 3;
}

static bool has_message_sum(const struct pages_row *row)
{
    return row->field_count > MESSAGE_SUM && row->fields[MESSAGE_SUM].kind == PAGES_NUMBER;
}

static bool sum_fits(const struct pages_row *row)
{
    const struct sum_facts facts = {
        .key = row->rowid,
        .accepted = number(row, MESSAGE_ACCEPTED),
        .uid = number(row, MESSAGE_UID),
        .flags = number(row, MESSAGE_FLAGS),
        .client = bytes(row, MESSAGE_CLIENT),
        .topic = bytes(row, MESSAGE_TOPIC),
        .properties = bytes(row, MESSAGE_PROPERTIES),
        .ref = bytes(row, MESSAGE_REF),
        .payload = bytes(row, MESSAGE_PAYLOAD),
    };
    return number(row, MESSAGE_SUM) == (int64_t)sum_of(&facts);
}

/* Earlier programs counted otherwise; all of them the sizes, and never many pages more. */
static bool charge_fits(const struct pages_row *row, uint64_t sizes)
{
    return is_number(row, MESSAGE_CHARGE, (int64_t)sizes,
                     (int64_t)(2 * sizes + 4 * SPOOL_PAGE_BYTES));
}

/* As stored, where that can be; else as it would be counted now. */
static uint64_t charge_of(const struct pages_row *row)
{
    const struct spool_message message = {
        .client = bytes(row, MESSAGE_CLIENT),
        .topic = bytes(row, MESSAGE_TOPIC),
        .properties = bytes(row, MESSAGE_PROPERTIES),
        .ref = bytes(row, MESSAGE_REF),
        .payload = bytes(row, MESSAGE_PAYLOAD),
    };
    uint64_t sizes = message.client.size + message.topic.size + message.properties.size +
                     message.ref.size + message.payload.size;
    return charge_fits(row, sizes) ? (uint64_t)number(row, MESSAGE_CHARGE) : spool_charge(&message);
}

static enum judgement judge(struct rebuild *rebuild, const struct pages_row *row)
{
    if (!has_message_shape(rebuild, row))
        return NO_MESSAGE;
    bool is_whole = is_text(row, MESSAGE_CLIENT) && is_text(row, MESSAGE_TOPIC) &&
                    bytes(row, MESSAGE_TOPIC).size > 0 &&
                    (is_null(row, MESSAGE_PROPERTIES) ||
                     row->fields[MESSAGE_PROPERTIES].kind == PAGES_BLOB) &&
                    (is_null(row, MESSAGE_REF) || is_text(row, MESSAGE_REF)) &&
                    row->fields[MESSAGE_PAYLOAD].kind == PAGES_BLOB;
    if (is_whole && has_message_sum(row))
        is_whole = sum_fits(row);
    else if (is_whole)
        is_whole = charge_of(row) == (uint64_t)number(row, MESSAGE_CHARGE) &&
                   (find_lane(rebuild, lane_of(row)) || rebuild->lane_count == 0);
    return is_whole ? SOUND_MESSAGE : BROKEN_MESSAGE;
}

static int bind_field(sqlite3_stmt *stmt, int index, const struct pages_field *field)
{
    switch (field->kind) {
    case PAGES_NUMBER:
        return sqlite3_bind_int64(stmt, index, field->number);
    case PAGES_TEXT:
        return sqlite3_bind_text64(stmt, index, field->bytes.data, field->bytes.size,
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

static int run(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    (void)sqlite3_reset(stmt); /* repeats the error of the step */
    return rc == SQLITE_DONE ? 0 : rc;
}

static int keep_message(struct rebuild *rebuild, const struct pages_row *row)
{
    struct kept_lane *lane = need_lane(rebuild, lane_of(row));
    if (!lane || numbers_has(&rebuild->ids, id_of(row)))
        return 0;
    int rc = sqlite3_bind_int64(rebuild->message_in, 1 + MESSAGE_KEY, row->rowid);
    for (int i = MESSAGE_KEY + 1; i <= MESSAGE_SUM && rc == SQLITE_OK; i++) {
        static const struct pages_field nothing = {.kind = PAGES_NULL};
        bool is_there = (size_t)i < row->field_count;
        rc = bind_field(rebuild->message_in, 1 + i, is_there ? &row->fields[i] : &nothing);
    }
    uint64_t charge = charge_of(row);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(rebuild->message_in, 1 + MESSAGE_CHARGE, (int64_t)charge);
    if (rc == SQLITE_OK)
        rc = run(rebuild->message_in);
    if (rc != 0)
        return rc;
    numbers_add(&rebuild->ids, id_of(row));
    lane->counters.messages++;
    lane->counters.bytes += charge;
    if (id_of(row) > lane->counters.last_id)
        lane->counters.last_id = id_of(row);
    rebuild->found++;
    return 0;
}

/* ---- outcome records ---- */

static bool is_outcome_row(const struct rebuild *rebuild, const struct pages_row *row)
{
    if (row->field_count < 17 || !is_null(row, 0) || row->rowid < 1 ||
        (uint64_t)row->rowid > rebuild->seq_limit ||
        !is_number(row, 1, 1, (int64_t)rebuild->ended_id_limit) ||
        !is_number(row, 2, 0, SPOOL_LANE_MAX) || !is_number(row, 3, INT64_MIN, INT64_MAX) ||
        !is_number(row, 4, INT64_MIN, INT64_MAX) || !is_number(row, 5, 0, SPOOL_OUTCOMES - 1) ||
        !is_number(row, 6, 0, SPOOL_REASONS - 1))
        return false;
    return (is_null(row, 7) || is_number(row, 7, 0, 255)) && is_number(row, 8, 0, UINT32_MAX) &&
           is_number(row, 9, 0, UINT32_MAX) && is_number(row, 10, 0, 2) &&
           is_number(row, 11, 0, UINT32_MAX) && is_number(row, 12, INT64_MIN, INT64_MAX) &&
           is_number(row, 13, 0, INT64_MAX) && is_text(row, 14) && is_text(row, 15) &&
           (is_null(row, 16) || is_text(row, 16)) &&
           spool_reason_fits((enum spool_outcome)number(row, 5),
                             (enum spool_reason)number(row, 6));
}

/* The lanes' counters have it already, unless they are older. */
static void count_ended(struct rebuild *rebuild,
                        struct kept_lane *lane,
                        uint64_t seq,
                        enum spool_outcome outcome)
{
    numbers_add(&rebuild->seqs, seq);
    if (seq > rebuild->counted_seq)
        lane->later[outcome]++;
    else
        lane->known[outcome]++;
    if (seq > lane->counters.last_seq)
        lane->counters.last_seq = seq;
}

/* Of what is exported the failures stay, and the newest row, from which the numbers go on. */
static int keep_outcome(void *context, const struct pages_row *row)
{
    struct rebuild *rebuild = context;
    uint64_t seq = (uint64_t)row->rowid;
    uint64_t id = (uint64_t)row->fields[1].number;
    if (!is_outcome_row(rebuild, row) || numbers_has(&rebuild->seqs, seq) ||
        numbers_has(&rebuild->ids, id))
        return 0;
    struct kept_lane *lane = need_lane(rebuild, (unsigned)number(row, 2));
    if (!lane)
        return 0;
    numbers_add(&rebuild->ids, id);
    count_ended(rebuild, lane, seq, (enum spool_outcome)number(row, 5));
    if (seq <= rebuild->exported && seq != rebuild->last_seq &&
        number(row, 5) == SPOOL_DELIVERED)
        return 0;
    int rc = sqlite3_bind_int64(rebuild->outcome_in, 1, row->rowid);
    for (int i = 1; i <= 16 && rc == SQLITE_OK; i++)
        rc = bind_field(rebuild->outcome_in, i + 1, &row->fields[i]);
    return rc == SQLITE_OK ? run(rebuild->outcome_in) : rc;
}

/* What a record of a message tells of which little or nothing is known. */
struct obituary {
    int64_t seq;
    uint64_t id;
    const struct kept_lane *lane;
    enum spool_outcome outcome;
    const struct pages_row *row; /* what is left of it; NULL: nothing */
};

static int write_obituary(struct rebuild *rebuild, const struct obituary *of)
{
    static const struct pages_row nothing = {0};
    const struct pages_row *row = of->row ? of->row : &nothing;
    bool has_topic = of->row && is_text(row, MESSAGE_CLIENT) && is_text(row, MESSAGE_TOPIC);
    bool is_damaged = of->outcome == SPOOL_DAMAGED;
    const int64_t numbers[] = {
        of->seq,
        (int64_t)of->id,
        of->lane->number,
        rebuild->task->options->now.wall_ms,
        rebuild->clock.clock_ms,
        of->outcome,
        is_damaged ? SPOOL_REASON_CORRUPT : SPOOL_REASON_NONE,
        -1, /* no code */
        0,
        of->row ? number(row, MESSAGE_UID) : 0,
        of->row ? number(row, MESSAGE_FLAGS) & FLAGS_QOS : 0,
        (int64_t)bytes(row, MESSAGE_PAYLOAD).size,
        of->row ? number(row, MESSAGE_ACCEPTED) : 0,
        0,
    };
    enum { NUMBERS = sizeof numbers / sizeof *numbers, CODE = 7 };
    const struct spool_bytes none = {"", 0};
    struct spool_bytes client = has_topic ? bytes(row, MESSAGE_CLIENT) : none;
    struct spool_bytes topic = has_topic ? bytes(row, MESSAGE_TOPIC) : none;
    sqlite3_stmt *stmt = rebuild->outcome_in;
    int rc = SQLITE_OK;
    for (int i = 0; i < NUMBERS && rc == SQLITE_OK; i++)
        rc = i == CODE ? sqlite3_bind_null(stmt, i + 1)
                       : sqlite3_bind_int64(stmt, i + 1, numbers[i]);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text64(stmt, NUMBERS + 1, client.data, client.size, SQLITE_STATIC,
                                 SQLITE_UTF8);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text64(stmt, NUMBERS + 2, topic.data, topic.size, SQLITE_STATIC,
                                 SQLITE_UTF8);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_null(stmt, NUMBERS + 3);
    return rc == SQLITE_OK ? run(stmt) : rc;
}

/* ---- what is known at all ---- */

static uint64_t higher(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void see_id(struct rebuild *rebuild, uint64_t id, int64_t clock_ms)
{
    if (id > rebuild->last_id)
        rebuild->last_id = id;
    if (clock_ms > rebuild->newest_ms)
        rebuild->newest_ms = clock_ms;
}

static int measure_row(void *context, const struct pages_row *row)
{
    struct rebuild *rebuild = context;
    if (is_outcome_row(rebuild, row)) {
        see_id(rebuild, (uint64_t)number(row, 1), number(row, 4));
        if ((uint64_t)row->rowid > rebuild->last_seq)
            rebuild->last_seq = (uint64_t)row->rowid;
    } else if (judge(rebuild, row) == SOUND_MESSAGE) {
        see_id(rebuild, id_of(row), number(row, MESSAGE_ACCEPTED_AT));
        if (rebuild->lowest_id == 0 || id_of(row) < rebuild->lowest_id)
            rebuild->lowest_id = id_of(row);
    }
    return 0;
}

static int measure_history(void *context, const struct spool_ended *ended)
{
    struct rebuild *rebuild = context;
    if (ended->id > SPOOL_LAST_MAX || ended->seq > SPOOL_LAST_MAX)
        return 0;
    see_id(rebuild, ended->id, 0);
    if (ended->seq > rebuild->history_seq) {
        rebuild->history_seq = ended->seq;
        rebuild->history_id = ended->id;
    }
    return 0;
}

static int each_ended(struct rebuild *rebuild, spool_ended_fn *fn)
{
    const struct spool_history *history = rebuild->task->history;
    return history ? history->each(history->owner, fn, rebuild) : 0;
}

/* What the rows say of how far ids and seqs have come. */
struct witness {
    struct rebuild *rebuild;
    uint64_t id;
    uint64_t seq;
};

static int hear_row(void *context, const struct pages_row *row)
{
    struct witness *witness = context;
    if (is_outcome_row(witness->rebuild, row)) {
        witness->id = higher(witness->id, (uint64_t)number(row, 1));
        witness->seq = higher(witness->seq, (uint64_t)row->rowid);
    } else if (judge(witness->rebuild, row) == SOUND_MESSAGE) {
        witness->id = higher(witness->id, id_of(row));
    }
    return 0;
}

/*
 * One flipped bit in a lane's last id or last seq must not make up millions of
 * messages. Each end has one seq, so all lanes' ends add up to the last seq, and
 * ids are no fewer than what was accepted; beyond that only the mark, the audit
 * file or a row can say so. The newest row of the outcomes is always there.
 */
static int believe_lanes(struct rebuild *rebuild)
{
    const struct mark *mark = &rebuild->mark;
    uint64_t ended = sum_ended(rebuild);
    uint64_t seq = rebuild->counted_seq;
    uint64_t id = rebuild->counted_id;
    uint64_t seq_reach = higher(ended, higher(mark->last_seq, rebuild->history_seq));
    uint64_t id_reach =
        higher(rebuild->counted_accepted, higher(mark->last_id, rebuild->last_id));
    if (seq > seq_reach || id > id_reach) {
        struct witness witness = {.rebuild = rebuild};
        pages_restart(rebuild->task->pages);
        rebuild->seq_limit = seq;
        rebuild->id_limit = rebuild->ended_id_limit = lower(id, SPOOL_LAST_MAX);
        int r = pages_walk(rebuild->task->pages, ROOT_OUTCOME, hear_row, &witness);
        if (r == 0)
            r = pages_walk(rebuild->task->pages, ROOT_MESSAGE, hear_row, &witness);
        if (r != 0)
            return r;
        seq_reach = higher(seq_reach, witness.seq);
        id_reach = higher(id_reach, witness.id);
    }
    rebuild->counted_seq = higher(ended, lower(seq, seq_reach));
    rebuild->counted_id = higher(rebuild->counted_accepted, lower(id, id_reach));
    rebuild->has_all_lanes = rebuild->lane_count > 0 && rebuild->counted_seq == ended;
    return 0;
}

/*
 * Rows that are newer than all else are believed where the lanes' counters may
 * be old, or are lost: a commit writes both. What lies further away from the
 * others than some lost pages would explain is garbage all the same.
 */
static int collect_beyond(void *context, const struct pages_row *row)
{
    struct rebuild *rebuild = context;
    if (is_outcome_row(rebuild, row) && (uint64_t)row->rowid > rebuild->last_seq)
        numbers_add(&rebuild->beyond, (uint64_t)row->rowid);
    return 0;
}

static int reach_beyond(struct rebuild *rebuild)
{
    pages_restart(rebuild->task->pages);
    int r = pages_walk(rebuild->task->pages, ROOT_OUTCOME, collect_beyond, rebuild);
    if (r == 0)
        r = pages_orphans(rebuild->task->pages, collect_beyond, rebuild);
    uint64_t seq = rebuild->last_seq;
    for (uint64_t next = seq + 1; next <= seq + GAP_MAX && next <= rebuild->seq_limit; next++) {
        if (numbers_has(&rebuild->beyond, next))
            seq = next;
    }
    rebuild->seq_limit = seq;
    numbers_done(&rebuild->beyond);
    rebuild->beyond = (struct numbers){0};
    return r;
}

/* Beyond what anybody knows lies garbage; where nobody knows anything all is believed that is
 * plausible by itself. A message is vouched for by its checksum. */
static int set_limits(struct rebuild *rebuild)
{
    const struct mark *mark = &rebuild->mark;
    rebuild->last_id = higher(rebuild->last_id, higher(rebuild->counted_id, mark->last_id));
    rebuild->last_seq =
        higher(rebuild->history_seq, higher(rebuild->counted_seq, mark->last_seq));
    bool is_known = rebuild->lane_count > 0 || mark->is_known || rebuild->history_seq > 0;
    bool is_newest = rebuild->has_all_lanes && !rebuild->is_lane_in_doubt;
    rebuild->id_limit = is_known ? rebuild->last_id + SLACK : SPOOL_LAST_MAX;
    rebuild->ended_id_limit = is_newest ? rebuild->last_id : rebuild->id_limit;
    rebuild->seq_limit = !is_known   ? SPOOL_LAST_MAX
                         : is_newest ? rebuild->last_seq
                                     : rebuild->last_seq + SLACK;
    return is_known && !is_newest ? reach_beyond(rebuild) : 0;
}

static int measure(struct rebuild *rebuild)
{
    struct pages *pages = rebuild->task->pages;
    pages_restart(pages);
    int r = pages_walk(pages, ROOT_LANE, take_lane, rebuild);
    if (r == 0)
        r = pages_walk(pages, ROOT_SPOOL, take_state, rebuild);
    if (r == 0)
        r = each_ended(rebuild, measure_history);
    if (r == 0)
        r = believe_lanes(rebuild);
    if (r == 0)
        r = set_limits(rebuild);
    if (r != 0)
        return r;
    pages_restart(pages);
    r = pages_walk(pages, ROOT_OUTCOME, measure_row, rebuild);
    if (r == 0)
        r = pages_walk(pages, ROOT_MESSAGE, measure_row, rebuild);
    if (r == 0)
        r = pages_orphans(pages, measure_row, rebuild);
    return r;
}

static int read_outcomes(struct rebuild *rebuild)
{
    struct pages *pages = rebuild->task->pages;
    pages_restart(pages);
    int r = pages_walk(pages, ROOT_OUTCOME, keep_outcome, rebuild);
    return r == 0 ? pages_orphans(pages, keep_outcome, rebuild) : r;
}

static int count_history(void *context, const struct spool_ended *ended)
{
    struct rebuild *rebuild = context;
    struct kept_lane *lane = find_lane_by_name(rebuild, ended->lane);
    numbers_add(&rebuild->ids, ended->id);
    if (ended->seq > rebuild->last_seq || numbers_has(&rebuild->seqs, ended->seq))
        return 0;
    count_ended(rebuild, lane ? lane : rebuild->home, ended->seq, ended->outcome);
    if (ended->outcome != SPOOL_DELIVERED && rebuild->failures_pruned > 0)
        rebuild->failures_pruned--; /* it is known all the same */
    return 0;
}

/* What the audit file holds is exported, whatever the cursor says. A cursor that is ahead of
 * all there is was damaged; how far rows are pruned is nearly the same. */
static void learn_export(struct rebuild *rebuild)
{
    if (rebuild->exported > rebuild->last_seq) {
        rebuild->exported = rebuild->pruned <= rebuild->last_seq ? rebuild->pruned : 0;
        rebuild->has_cursor = rebuild->exported > 0;
    }
    rebuild->exported = higher(rebuild->exported, rebuild->history_seq);
    if (rebuild->pruned >= rebuild->last_seq)
        rebuild->pruned = rebuild->exported;
}

/* The cursor is lost and no audit file tells: what waits for its export lies side by side at
 * the end. */
static int guess_export(struct rebuild *rebuild)
{
    uint64_t seq = rebuild->last_seq;
    char sql[128];
    if (rebuild->has_cursor || rebuild->history_seq > 0)
        return 0;
    while (seq > 0 && numbers_has(&rebuild->seqs, seq))
        seq--;
    rebuild->exported = seq;
    (void)snprintf(sql, sizeof sql,
                   "DELETE FROM outcome WHERE seq <= %llu AND seq <> %llu AND outcome = %d",
                   (unsigned long long)seq, (unsigned long long)rebuild->last_seq,
                   SPOOL_DELIVERED);
    return sqlite3_exec(rebuild->task->db, sql, NULL, NULL, NULL);
}

/*
 * How far deliveries gave way, beyond what is exported. Where more of them are
 * there than not that number was damaged; where few are, these were.
 */
static int doubt_pruned(struct rebuild *rebuild)
{
    uint64_t from = rebuild->exported;
    char sql[128];
    sqlite3_stmt *stmt;
    if (rebuild->pruned <= from)
        return 0;
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*), min(seq) FROM outcome WHERE outcome = %d AND seq <= %llu",
                   SPOOL_DELIVERED, (unsigned long long)rebuild->pruned);
    int rc = sqlite3_prepare_v2(rebuild->task->db, sql, -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(stmt);
    uint64_t there = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    uint64_t first = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 1) : 0;
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    if (rc != SQLITE_ROW || there == 0)
        return rc == SQLITE_ROW ? 0 : rc;
    if (2 * there >= rebuild->pruned - from) {
        rebuild->pruned = first - 1;
        return 0;
    }
    (void)snprintf(sql, sizeof sql, "DELETE FROM outcome WHERE outcome = %d AND seq <= %llu",
                   SPOOL_DELIVERED, (unsigned long long)rebuild->pruned);
    return sqlite3_exec(rebuild->task->db, sql, NULL, NULL, NULL);
}

/* ---- which messages ---- */

static int add_candidate(struct rebuild *rebuild, const struct pages_row *row)
{
    if (rebuild->candidate_count == rebuild->candidate_room) {
        size_t room = rebuild->candidate_room * 2 + 1024;
        struct candidate *grown = realloc(rebuild->candidates, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        rebuild->candidates = grown;
        rebuild->candidate_room = room;
    }
    rebuild->candidates[rebuild->candidate_count++] =
        (struct candidate){id_of(row), row->page, row->cell};
    return 0;
}

static int record_broken(struct rebuild *rebuild, const struct pages_row *row)
{
    struct kept_lane *lane = find_lane(rebuild, lane_of(row));
    if (!lane || id_of(row) > rebuild->last_id || numbers_has(&rebuild->ids, id_of(row)))
        return 0;
    const struct obituary obituary = {.seq = PROVISIONAL_SEQ + (int64_t)rebuild->broken,
                                      .id = id_of(row),
                                      .lane = lane,
                                      .outcome = SPOOL_DAMAGED,
                                      .row = row};
    int r = write_obituary(rebuild, &obituary);
    if (r != 0)
        return r;
    numbers_add(&rebuild->ids, id_of(row));
    lane->later[SPOOL_DAMAGED]++;
    rebuild->broken++;
    return 0;
}

static int take_sound(void *context, const struct pages_row *row)
{
    struct rebuild *rebuild = context;
    if (judge(rebuild, row) != SOUND_MESSAGE)
        return 0;
    return row->in_doubt ? add_candidate(rebuild, row) : keep_message(rebuild, row);
}

/* A tree is in order: where a row is not, it is its key that was damaged. */
static int take_broken(void *context, const struct pages_row *row)
{
    struct rebuild *rebuild = context;
    if (row->in_doubt)
        return 0;
    switch (judge(rebuild, row)) {
    case NO_MESSAGE:
        return 0;
    case SOUND_MESSAGE:
        rebuild->walked_key = row->rowid;
        return 0;
    case BROKEN_MESSAGE:
        break;
    }
    return row->rowid > rebuild->walked_key ? record_broken(rebuild, row) : 0;
}

static int take_candidate(void *context, const struct pages_row *row)
{
    struct rebuild *rebuild = context;
    return judge(rebuild, row) == SOUND_MESSAGE ? keep_message(rebuild, row) : 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct candidate *left = a;
    const struct candidate *right = b;
    return (left->id < right->id) - (left->id > right->id);
}

/* How many messages there must be besides those found. */
static uint64_t count_missing(const struct rebuild *rebuild)
{
    uint64_t gone = rebuild->last_seq + rebuild->found;
    uint64_t accepted = rebuild->counted_accepted + (rebuild->last_id - rebuild->counted_id);
    if (!rebuild->has_all_lanes)
        accepted = rebuild->last_id;
    if (rebuild->counted_id == 0 && rebuild->last_seq == 0 && !rebuild->mark.is_known)
        accepted = rebuild->lowest_id > 0 ? rebuild->last_id - rebuild->lowest_id + 1 : 0;
    return accepted > gone ? accepted - gone : 0;
}

/*
 * No spool holds more than the limits of its lanes, or what its lanes counted.
 * Ids that were never used make no messages beyond that, if nothing is left but
 * the mark.
 */
static uint64_t most_missing(const struct rebuild *rebuild)
{
    const struct spool_options *options = rebuild->task->options;
    uint64_t limit = SLACK;
    for (size_t i = 0; i < options->lane_count; i++)
        limit += lower(options->lanes[i].limits.max_messages, SPOOL_LAST_MAX);
    for (size_t i = 0; i < rebuild->lane_count; i++)
        limit += rebuild->lanes[i].counted_messages;
    return limit;
}

/* Ids of which nothing is known, newest ones, in rising order; then ids made for the purpose.
 */
struct pool {
    uint64_t next;
};

static struct pool open_pool(const struct rebuild *rebuild, uint64_t wanted)
{
    uint64_t id = rebuild->last_id;
    struct pool pool = {.next = rebuild->last_id + 1};
    for (; wanted > 0 && id > 0; id--) {
        if (numbers_has(&rebuild->ids, id))
            continue;
        pool.next = id;
        wanted--;
    }
    return pool;
}

/* Newest first, while any are missing. */
static int take_candidates(struct rebuild *rebuild, uint64_t from, uint64_t to)
{
    for (size_t i = 0; i < rebuild->candidate_count && count_missing(rebuild) > 0; i++) {
        const struct candidate *candidate = &rebuild->candidates[i];
        if (candidate->id < from || candidate->id > to)
            continue;
        int r = pages_one(rebuild->task->pages, candidate->page, candidate->cell,
                          take_candidate, rebuild);
        if (r != 0)
            return r;
    }
    return 0;
}

/*
 * Those whose ids are among the newest of which nothing is known: just so many are missing. An
 * older one is likelier to have ended long ago, beyond what the audit file reaches back; only
 * where there is no such file, and lanes may have overtaken each other, it is sent rather than
 * given up.
 */
static int choose_candidates(struct rebuild *rebuild)
{
    uint64_t missing = lower(count_missing(rebuild), most_missing(rebuild));
    uint64_t oldest = open_pool(rebuild, missing).next;
    int r = take_candidates(rebuild, oldest, UINT64_MAX);
    if (r == 0 && rebuild->history_seq == 0 && rebuild->lane_count > 1)
        r = take_candidates(rebuild, 0, oldest);
    return r;
}

static int read_messages(struct rebuild *rebuild)
{
    struct pages *pages = rebuild->task->pages;
    pages_restart(pages);
    int r = pages_walk(pages, ROOT_MESSAGE, take_sound, rebuild);
    if (r == 0)
        r = pages_walk(pages, ROOT_OUTCOME, take_sound, rebuild); /* none: it is reached */
    if (r == 0)
        r = pages_orphans(pages, take_sound, rebuild);
    if (r != 0)
        return r;
    if (rebuild->candidate_count > 0)
        qsort(rebuild->candidates, rebuild->candidate_count, sizeof *rebuild->candidates,
              newest_first);
    r = choose_candidates(rebuild);
    if (r != 0)
        return r;
    pages_restart(pages);
    return pages_walk(pages, ROOT_MESSAGE, take_broken, rebuild);
}

/* ---- what became of the others ---- */

static uint64_t take_id(struct rebuild *rebuild, struct pool *pool)
{
    while (pool->next <= rebuild->last_id && numbers_has(&rebuild->ids, pool->next))
        pool->next++;
    uint64_t id = pool->next++;
    numbers_add(&rebuild->ids, id);
    if (id > rebuild->last_id)
        rebuild->last_id = id;
    return id;
}

/*
 * The counter of which one is taken whose record is lost. A failure, as long as
 * there are more of them than the kept and the pruned ones: deliveries are
 * exported and pruned all the time. There always is one, see level_counters().
 */
static struct kept_lane *take_from_counters(struct rebuild *rebuild)
{
    bool is_failure = rebuild->spare_failures > 0;
    for (int pass = 0; pass < 2; pass++, is_failure = !is_failure) {
        for (size_t i = 0; i < rebuild->lane_count; i++) {
            struct kept_lane *lane = &rebuild->lanes[i];
            int end = is_failure ? SPOOL_OUTCOMES : SPOOL_DELIVERED + 1;
            for (int j = is_failure ? SPOOL_DELIVERED + 1 : SPOOL_DELIVERED; j < end; j++) {
                if (lane->counters.ended[j] == lane->known[j])
                    continue;
                lane->counters.ended[j]--;
                rebuild->spare_failures -= is_failure && rebuild->spare_failures > 0;
                return lane;
            }
        }
    }
    return rebuild->home;
}

static uint64_t count_holes(const struct rebuild *rebuild)
{
    uint64_t holes = 0;
    for (uint64_t seq = higher(rebuild->exported, rebuild->pruned) + 1;
         seq <= rebuild->last_seq; seq++)
        holes += !numbers_has(&rebuild->seqs, seq);
    return holes;
}

static int close_holes(struct rebuild *rebuild, struct pool *pool)
{
    for (uint64_t seq = higher(rebuild->exported, rebuild->pruned) + 1;
         seq <= rebuild->last_seq; seq++) {
        if (numbers_has(&rebuild->seqs, seq))
            continue;
        bool is_counted = seq <= rebuild->counted_seq;
        struct kept_lane *lane = is_counted ? take_from_counters(rebuild) : rebuild->home;
        const struct obituary obituary = {.seq = (int64_t)seq,
                                          .id = take_id(rebuild, pool),
                                          .lane = lane,
                                          .outcome = SPOOL_DAMAGED};
        int r = write_obituary(rebuild, &obituary);
        if (r != 0)
            return r;
        lane->later[SPOOL_DAMAGED]++;
        if (seq > lane->counters.last_seq)
            lane->counters.last_seq = seq;
        rebuild->task->damaged++;
    }
    return 0;
}

static int place_broken(struct rebuild *rebuild)
{
    char sql[128];
    if (rebuild->broken == 0)
        return 0;
    (void)snprintf(sql, sizeof sql, "UPDATE outcome SET seq = seq - %lld WHERE seq >= %lld",
                   (long long)(PROVISIONAL_SEQ - (int64_t)rebuild->last_seq - 1),
                   (long long)PROVISIONAL_SEQ);
    int rc = sqlite3_exec(rebuild->task->db, sql, NULL, NULL, NULL);
    rebuild->last_seq += rebuild->broken;
    rebuild->task->damaged += rebuild->broken;
    return rc;
}

/* The lane that counts more messages than were found; else "default". */
static struct kept_lane *lane_in_want(struct rebuild *rebuild)
{
    for (size_t i = 0; i < rebuild->lane_count; i++) {
        struct kept_lane *lane = &rebuild->lanes[i];
        if (lane->counted_messages > lane->counters.messages) {
            lane->counted_messages--;
            return lane;
        }
    }
    return rebuild->home;
}

static int record_missing(struct rebuild *rebuild, uint64_t missing, struct pool *pool)
{
    for (uint64_t i = 0; i < missing; i++) {
        struct kept_lane *lane = lane_in_want(rebuild);
        const struct obituary obituary = {.seq = (int64_t)rebuild->last_seq + 1,
                                          .id = take_id(rebuild, pool),
                                          .lane = lane,
                                          .outcome = SPOOL_DAMAGED};
        int r = write_obituary(rebuild, &obituary);
        if (r != 0)
            return r;
        rebuild->last_seq++;
        lane->counters.ended[SPOOL_DAMAGED]++;
        lane->counters.last_seq = rebuild->last_seq;
        rebuild->task->damaged++;
    }
    return 0;
}

/* The row of the newest seq is where SQLite goes on from; it may be in the audit file only. */
static int write_newest_row(struct rebuild *rebuild)
{
    if (rebuild->last_seq == 0 || rebuild->last_seq > rebuild->exported)
        return 0;
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(rebuild->task->db, "SELECT 1 FROM outcome WHERE seq = ?1", -1,
                                &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_bind_int64(stmt, 1, (int64_t)rebuild->last_seq);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    if (rc != SQLITE_DONE)
        return rc == SQLITE_ROW ? 0 : rc;
    struct pool pool = open_pool(rebuild, 1);
    bool is_in_file = rebuild->history_seq == rebuild->last_seq;
    const struct obituary obituary = {.seq = (int64_t)rebuild->last_seq,
                                      .id = is_in_file ? rebuild->history_id
                                                       : take_id(rebuild, &pool),
                                      .lane = rebuild->home,
                                      .outcome = SPOOL_DELIVERED};
    return write_obituary(rebuild, &obituary);
}

/* ---- the small tables ---- */

/* A line of a lane that was forgotten, and is there anew: "default" took its counters over. */
static void hand_to_home(struct rebuild *rebuild)
{
    uint64_t *home = rebuild->home->known;
    for (size_t i = 0; i < rebuild->lane_count && rebuild->has_all_lanes; i++) {
        struct kept_lane *lane = &rebuild->lanes[i];
        for (int j = 0; j < SPOOL_OUTCOMES && lane != rebuild->home; j++) {
            uint64_t counted = lower(lane->known[j], lane->counters.ended[j]);
            home[j] += lane->known[j] - counted;
            lane->known[j] = counted;
        }
    }
}

/*
 * The counters say of what kinds the ends up to counted_seq are, the records
 * that were read say it of most. So no counter is below what was read; and all
 * of them together are as many as there are seqs, so that each whose record is
 * lost is in one of them. Where a lane's counters are lost, what nobody knows
 * was exported: it counts as delivered.
 */
static void level_counters(struct rebuild *rebuild)
{
    uint64_t failures = 0;
    hand_to_home(rebuild);
    for (size_t i = 0; i < rebuild->lane_count; i++) {
        struct kept_lane *lane = &rebuild->lanes[i];
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            lane->counters.ended[j] = higher(lane->counters.ended[j], lane->known[j]);
    }
    uint64_t ended = sum_ended(rebuild);
    if (ended < rebuild->counted_seq)
        rebuild->home->counters.ended[SPOOL_DELIVERED] += rebuild->counted_seq - ended;
    for (int j = 0; j < SPOOL_OUTCOMES; j++) {
        for (size_t i = 0; i < rebuild->lane_count; i++) {
            struct kept_lane *lane = &rebuild->lanes[i];
            uint64_t excess = ended - lower(ended, rebuild->counted_seq);
            uint64_t part = lower(excess, lane->counters.ended[j] - lane->known[j]);
            lane->counters.ended[j] -= part;
            ended -= part;
            failures += j == SPOOL_DELIVERED ? 0 : lane->counters.ended[j] - lane->known[j];
        }
    }
    rebuild->spare_failures = failures - lower(failures, rebuild->failures_pruned);
}

/* What is newer than the counters joins them. Of that, too, what nobody knows was exported. */
static void level_ended(struct rebuild *rebuild)
{
    for (size_t i = 0; i < rebuild->lane_count; i++) {
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            rebuild->lanes[i].counters.ended[j] += rebuild->lanes[i].later[j];
    }
    uint64_t ended = sum_ended(rebuild) - rebuild->broken;
    if (ended < rebuild->last_seq)
        rebuild->home->counters.ended[SPOOL_DELIVERED] += rebuild->last_seq - ended;
}

static int write_lane(struct rebuild *rebuild, const struct kept_lane *lane, sqlite3_stmt *stmt)
{
    const struct spool_counters *counters = &lane->counters;
    bool is_home = lane == rebuild->home;
    uint64_t ended = 0;
    for (int i = 0; i < SPOOL_OUTCOMES; i++)
        ended += counters->ended[i];
    int rc = sqlite3_bind_int64(stmt, 1, lane->number);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 2, lane->name, -1, SQLITE_STATIC);
    const uint64_t numbers[] = {
        counters->messages,
        counters->bytes,
        is_home ? rebuild->last_id : lower(counters->last_id, rebuild->last_id),
        is_home ? rebuild->last_seq : lower(counters->last_seq, rebuild->last_seq),
    };
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, 3, (int64_t)(ended + counters->messages));
    for (int i = 0; i < SPOOL_OUTCOMES && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_int64(stmt, 4 + i, (int64_t)counters->ended[i]);
    for (int i = 0; i < 4 && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_int64(stmt, 4 + SPOOL_OUTCOMES + i, (int64_t)numbers[i]);
    return rc == SQLITE_OK ? run(stmt) : rc;
}

static int write_lanes(struct rebuild *rebuild)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(
        rebuild->task->db,
        "INSERT INTO lane (number, name, accepted, delivered, evicted, expired, rejected,"
        " dropped, damaged, messages, bytes, last_id, last_seq)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    for (size_t i = 0; i < rebuild->lane_count && rc == SQLITE_OK; i++)
        rc = write_lane(rebuild, &rebuild->lanes[i], stmt);
    (void)sqlite3_finalize(stmt); /* repeats the error of the last step */
    return rc;
}

static int write_state(struct rebuild *rebuild, uint64_t pruned_seq)
{
    const struct spool_clock_state *clock = &rebuild->clock;
    uint64_t failed = 0;
    for (size_t i = 0; i < rebuild->lane_count; i++) {
        for (int j = SPOOL_DELIVERED + 1; j < SPOOL_OUTCOMES; j++)
            failed += rebuild->lanes[i].counters.ended[j];
    }
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(
        rebuild->task->db,
        "UPDATE spool SET boot_id = ?1, boot_ms = ?2, clock_ms = ?3, wall_ms = ?4,"
        " wall_clock_ms = ?5, absent_after = ?6, exported_seq = ?7, pruned_seq = ?8,"
        " failures_pruned = max(0, ?9 - (SELECT count(*) FROM outcome WHERE outcome > 0))",
        -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    const int64_t numbers[] = {clock->boot_ms,
                               clock->clock_ms,
                               clock->wall_ms,
                               clock->wall_clock_ms,
                               (int64_t)clock->absent_after,
                               (int64_t)rebuild->exported,
                               (int64_t)pruned_seq,
                               (int64_t)failed};
    const bool is_there[] = {true, true, clock->has_wall, true, clock->is_absent, true,
                             true, true};
    rc = sqlite3_bind_text(stmt, 1, clock->boot_id, -1, SQLITE_STATIC);
    for (int i = 0; i < 8 && rc == SQLITE_OK; i++)
        rc = is_there[i] ? sqlite3_bind_int64(stmt, 2 + i, numbers[i])
                         : sqlite3_bind_null(stmt, 2 + i);
    if (rc == SQLITE_OK)
        rc = run(stmt);
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    return rc;
}

/* ---- all of it ---- */

static int write_rest(struct rebuild *rebuild)
{
    uint64_t pruned_seq = higher(rebuild->exported, rebuild->pruned);
    if (pruned_seq > 0 && pruned_seq >= rebuild->last_seq)
        pruned_seq = rebuild->last_seq - 1;
    /* Counted before anything is added to the history. */
    uint64_t missing = count_missing(rebuild);
    missing -= lower(missing, rebuild->broken);
    rebuild->task->is_count_unknown |= missing > most_missing(rebuild);
    missing = lower(missing, most_missing(rebuild));
    uint64_t last_id = rebuild->last_id;
    struct pool pool = open_pool(rebuild, count_holes(rebuild) + missing);
    int r = close_holes(rebuild, &pool);
    if (r != 0)
        return r;
    level_ended(rebuild);
    r = place_broken(rebuild);
    if (r == 0)
        r = record_missing(rebuild, missing, &pool);
    if (r == 0)
        r = write_newest_row(rebuild);
    if (r != 0)
        return r;
    if (!rebuild->mark.is_known && rebuild->last_id < last_id + SLACK)
        rebuild->last_id = last_id + SLACK;
    r = write_lanes(rebuild);
    return r == 0 ? write_state(rebuild, pruned_seq) : r;
}

static int read_all(struct rebuild *rebuild)
{
    int r = measure(rebuild);
    if (r != 0)
        return r;
    rebuild->task->is_count_unknown = rebuild->lane_count == 0 && !rebuild->mark.is_known;
    rebuild->home = find_lane_by_name(rebuild, rebuild->task->options->lanes[0].name);
    if (!rebuild->home)
        rebuild->home = need_lane(rebuild, 0);
    if (!rebuild->home)
        rebuild->home = rebuild->lanes; /* there are too many others */
    learn_export(rebuild);
    if (!rebuild->has_state || rebuild->clock.clock_ms < rebuild->newest_ms)
        rebuild->clock.clock_ms = rebuild->newest_ms;
    r = read_outcomes(rebuild);
    if (r == 0)
        r = guess_export(rebuild);
    if (r == 0)
        r = doubt_pruned(rebuild);
    if (r == 0)
        r = each_ended(rebuild, count_history);
    if (r != 0)
        return r;
    level_counters(rebuild);
    return read_messages(rebuild);
}

static int prepare(struct rebuild *rebuild)
{
    sqlite3 *db = rebuild->task->db;
    int rc = sqlite3_prepare_v2(
        db,
        "INSERT INTO message (" MESSAGE_COLUMNS ")"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        -1, &rebuild->message_in, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(
            db,
            "INSERT INTO outcome (seq, id, lane, time, ended_at, outcome, reason, code,"
            " attempts, uid, qos, bytes, accepted, age_ms, client, topic, ref)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,"
            " ?17)",
            -1, &rebuild->outcome_in, NULL);
    return rc;
}

int rebuild(struct rebuild_task *task)
{
    struct rebuild rebuild = {.task = task};
    if (task->mark->last_id <= SPOOL_LAST_MAX && task->mark->last_seq <= SPOOL_LAST_MAX)
        rebuild.mark = *task->mark;
    rebuild.lanes = calloc(SPOOL_LANES_KNOWN_MAX, sizeof *rebuild.lanes);
    int r = rebuild.lanes ? prepare(&rebuild) : -ENOMEM;
    if (r == 0)
        r = read_all(&rebuild);
    if (r == 0)
        r = write_rest(&rebuild);
    if (r == 0 && (rebuild.ids.is_short || rebuild.seqs.is_short))
        r = -ENOMEM;
    task->salvaged = rebuild.found;
    task->last_id = rebuild.last_id;
    task->last_seq = rebuild.last_seq;
    (void)sqlite3_finalize(rebuild.message_in);
    (void)sqlite3_finalize(rebuild.outcome_in);
    free(rebuild.candidates);
    free(rebuild.lanes);
    numbers_done(&rebuild.ids);
    numbers_done(&rebuild.seqs);
    return r;
}
