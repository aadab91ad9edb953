/* SPDX-License-Identifier: MIT */
/*
 * rebuild-private.h - what the files of the rebuild share
 *
 * rebuild_rows.c says which row is plausible and reads it, rebuild_kept.c the same of
 * rejected messages; rebuild_holds.c copies what the operator holds; rebuild_runs.c and
 * rebuild_segments.c know what ended in segments;
 * rebuild_count.c counts;
 * rebuild_write.c writes the new database; rebuild.c, above them, says which
 * messages and records there are. No other file includes this.
 *
 * Functions here return 0; positive: a result of SQLite; negative errno.
 */
#ifndef MQTT_SPOOLD_STORE_SALVAGE_REBUILD_PRIVATE_H
#define MQTT_SPOOLD_STORE_SALVAGE_REBUILD_PRIVATE_H

#include "base/attr.h"
#include "base/view.h"
#include "store/lane_set.h"
#include "store/runs.h"
#include "store/salvage/mark.h"
#include "store/salvage/numbers.h"
#include "store/salvage/pages.h"
#include "store/salvage/rebuild.h"
#include "store/spool.h"
#include "store/spool_clock.h"
#include "store/stmt.h"

/* Tables never move: auto_vacuum is off and nothing ever vacuums. schema.sql makes them in this
 * order. */
enum root { ROOT_LANE = 2, ROOT_MESSAGE = 4, ROOT_OUTCOME = 6, ROOT_SPOOL = 7 };

enum {
    /* Numbers above what is known by so much are no numbers of ours: a mark that survived a
     * power cut lags. Where there is no mark, ids continue behind this gap. */
    SLACK = SPOOL_IDS_LEFT_OUT,
};

struct kept_lane {
    unsigned number;
    char name[256];
    struct spool_counters counters; /* as read; messages and bytes: as salvaged */
    uint64_t counted_messages;
    uint64_t recorded[SPOOL_OUTCOMES]; /* of those counted: whose record was read */
    uint64_t later[SPOOL_OUTCOMES];    /* not counted yet */
    bool is_numbered;                  /* its newest number was read */
};

struct candidate {
    uint64_t number; /* its id or seq: the newest come first */
    uint32_t page;
    uint32_t cell;
};

/* The lanes as their rows and the configuration have them. */
struct rebuild_lanes {
    struct kept_lane *all;
    size_t count;
    struct kept_lane *fallback; /* lane "default": gets what is of no lane that was read */
    bool is_complete;           /* their counters add up */
    bool is_uncertain;          /* they may be older than what else was read */
};

/* The row of table spool. */
struct rebuild_state {
    struct spool_clock_state clock;
    bool is_read;
    bool has_cursor;
    uint64_t exported;
    uint64_t pruned; /* deliveries up to here are missing on purpose, also beyond exported */
    uint64_t failures_pruned; /* so many of the counted failures have no row any more */
    uint64_t kept;            /* rejected messages that are kept */
    int64_t reported;         /* or SPOOL_NOT_REPORTED; 0 if it is unknown: reported again */
};

/* How far the lanes' counters reach. */
struct rebuild_counted {
    uint64_t accepted;
    uint64_t id;
    uint64_t seq;
};

/* The newest line of the audit file. */
struct rebuild_history {
    uint64_t seq;
    uint64_t id;
};

/* Rows beyond are garbage. */
struct rebuild_limits {
    uint64_t id;
    uint64_t ended_id; /* of outcome rows, which have no checksum */
    uint64_t seq;
};

/* The ends of what the new spool holds. */
struct rebuild_ends {
    uint64_t lowest_id; /* of the messages that were read */
    uint64_t last_id;
    uint64_t last_seq;
    int64_t newest_ms; /* on the spool's clock */
};

struct rebuild_seen {
    struct numbers ids;
    struct numbers seqs;
    struct numbers beyond; /* seqs of rows that are newer than anything else shows */
};

/* The highest id and seq of the rows. */
struct rebuild_max_seen {
    uint64_t id;
    uint64_t seq;
};

/* Messages of doubtful pages. */
struct rebuild_candidates {
    struct candidate *all;
    size_t count;
    size_t capacity;
    bool has_ended_last; /* those that may be delivered rows of a segment are left for later */
};

struct rebuild_messages {
    uint64_t found;
    uint64_t broken;
    uint64_t spare_failures; /* lost ones may be so many of the counted failures */
    int64_t walked_key;      /* of the last sound message, when the tree is walked once more */
};

/* Of a lane's row, also of one whose counters are damaged. */
struct kept_runs {
    unsigned number;
    bool has_runs; /* they were read */
    uint64_t ended_id;
    struct runs runs;
    uint64_t taken[RUNS_MAX]; /* rows of each run that were read */
};

/* The tables of messages besides table message. */
struct rebuild_segments {
    struct kept_runs *lanes; /* SPOOL_LANES_KNOWN_MAX, or NULL */
    size_t lane_count;
    uint32_t roots[TABLE_SEGMENTS]; /* 0: there is none */
    unsigned walked;                /* or TABLE_MESSAGE: pages of any table */
};

/* A row of table outcome. */
struct rebuild_record {
    const int64_t *numbers; /* the first REBUILD_RECORD_NUMBERS columns */
    bool has_code;
    struct view client;
    struct view topic;
    struct view ref; /* empty: NULL */
};
enum { REBUILD_RECORD_NUMBERS = 14 };

/* Rejected messages. */
struct rebuild_kept {
    struct numbers ids;
    struct rebuild_candidates candidates;
    uint64_t found;
};

/* Into the new database. */
struct rebuild_insert {
    sqlite3_stmt *message;
    sqlite3_stmt *kept;
    sqlite3_stmt *outcome;
};

struct rebuild {
    struct rebuild_task *task;
    struct mark mark;
    struct rebuild_lanes lanes;
    struct rebuild_state state;
    struct rebuild_counted counted;
    struct rebuild_history history;
    struct rebuild_limits limits;
    struct rebuild_ends ends;
    struct rebuild_max_seen max_seen;
    struct rebuild_seen seen;
    struct rebuild_candidates candidates;
    struct rebuild_messages messages;
    struct rebuild_segments segments;
    struct rebuild_kept kept;
    struct rebuild_insert insert;
};

enum judgement { NO_MESSAGE, BROKEN_MESSAGE, SOUND_MESSAGE };

/* Ids of which nothing is known, newest ones, in rising order; then ids made for the purpose.
 */
struct pool {
    uint64_t next;
};

static inline int64_t rebuild_number(const struct pages_row *row, size_t field)
{
    return row->fields[field].number;
}

static inline struct view rebuild_bytes(const struct pages_row *row, size_t field)
{
    const struct pages_field *found = &row->fields[field];
    bool has_bytes = found->kind == PAGES_TEXT || found->kind == PAGES_BLOB;
    return has_bytes ? found->bytes : view_of("", 0);
}

static inline uint64_t rebuild_id_of(const struct pages_row *row)
{
    return (uint64_t)row->rowid & SPOOL_ID_MAX;
}

static inline unsigned rebuild_lane_of(const struct pages_row *row)
{
    return (unsigned)((uint64_t)row->rowid >> SPOOL_ID_BITS);
}

static inline uint64_t rebuild_higher(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t rebuild_lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* rebuild_runs.c */
void rebuild_free_segments(struct rebuild_segments *segments);
/* Of a lane whose row was read; NULL: it was not. */
struct kept_runs *rebuild_find_runs(const struct rebuild *rebuild, unsigned number);
/* Of the lane's row. Return: 0; -ENOMEM. */
MUST_CHECK int rebuild_take_runs(struct rebuild *rebuild, const struct pages_row *row);
/* 0: there is no run. */
uint64_t rebuild_newest_run_seq(const struct rebuild *rebuild);
/* Only of a row of a segment. */
bool rebuild_has_ended(const struct rebuild *rebuild, const struct pages_row *row);

/* rebuild_rows.c */
bool rebuild_is_text(const struct pages_row *row, size_t field);
struct kept_lane *rebuild_find_lane(const struct rebuild_lanes *lanes, unsigned number);
struct kept_lane *rebuild_find_lane_by_name(const struct rebuild_lanes *lanes,
                                            const char *name);
struct kept_lane *rebuild_ensure_lane(struct rebuild *rebuild, unsigned number);
MUST_CHECK int rebuild_take_lane(void *userdata, const struct pages_row *row);
uint64_t rebuild_sum_ended(const struct rebuild_lanes *lanes);
MUST_CHECK int rebuild_take_state(void *userdata, const struct pages_row *row);
uint64_t rebuild_charge_of(const struct pages_row *row);
/* Of a message in its lane. @behind: the field; 0: an earlier schema did not number it. */
uint64_t rebuild_message_number(const struct pages_row *row, int64_t key, size_t behind);
enum judgement rebuild_judge(struct rebuild *rebuild, const struct pages_row *row);
bool rebuild_is_outcome_row(const struct rebuild *rebuild, const struct pages_row *row);
MUST_CHECK int rebuild_add_candidate(struct rebuild_candidates *candidates,
                                     const struct pages_row *row,
                                     uint64_t number);
void rebuild_sort_candidates(struct rebuild_candidates *candidates);
/* All but the rowid to the parameters from ?2 on; what an older row lacks is NULL. Borrows. */
MUST_CHECK int
rebuild_bind_fields(sqlite3_stmt *stmt, const struct pages_row *row, size_t count);
MUST_CHECK int rebuild_run(sqlite3_stmt *stmt);

/* rebuild_count.c */
/* For a walk that only marks the pages as reached. */
MUST_CHECK int rebuild_pass_row(void *userdata, const struct pages_row *row);
void rebuild_count_ended(struct rebuild *rebuild,
                         struct kept_lane *lane,
                         uint64_t seq,
                         enum spool_outcome outcome);
uint64_t rebuild_count_missing(const struct rebuild *rebuild);
uint64_t rebuild_most_missing(const struct rebuild *rebuild);

/* rebuild_kept.c */
/* The root page of a table that a migration made; 0: there is none. Forgets which pages the
 * walks have reached. */
MUST_CHECK int rebuild_find_table(struct pages *pages, const char *name, uint32_t *ret_root);
/* The same of each segment. */
MUST_CHECK int rebuild_find_segments(struct pages *pages,
                                     uint32_t roots[static TABLE_SEGMENTS]);
MUST_CHECK int rebuild_read_kept(struct rebuild *rebuild);
MUST_CHECK int rebuild_choose_kept(struct rebuild *rebuild);

/* rebuild_holds.c */
/* Lanes that the operator holds. */
MUST_CHECK int rebuild_copy_holds(struct rebuild *rebuild);

/* rebuild_segments.c */
MUST_CHECK int rebuild_prepare_segments(struct rebuild *rebuild);
/* Of each segment; forgets no pages. */
MUST_CHECK int rebuild_walk_segments(struct rebuild *rebuild, pages_row_fn *fn);
/* Writes the records of deliveries that have no rows. */
MUST_CHECK int rebuild_read_runs(struct rebuild *rebuild);

/* rebuild_write.c */
MUST_CHECK int rebuild_write_record(struct rebuild *rebuild,
                                    const struct rebuild_record *record);
MUST_CHECK int rebuild_prepare(struct rebuild *rebuild);
MUST_CHECK int rebuild_keep_message(struct rebuild *rebuild, const struct pages_row *row);
MUST_CHECK int rebuild_keep_outcome(void *userdata, const struct pages_row *row);
MUST_CHECK int rebuild_record_broken(struct rebuild *rebuild, const struct pages_row *row);
struct pool rebuild_open_pool(const struct rebuild *rebuild, uint64_t wanted);
MUST_CHECK int rebuild_write_rest(struct rebuild *rebuild);

#endif
