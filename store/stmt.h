/* SPDX-License-Identifier: MIT */
/*
 * stmt.h - every SQL statement of the spool, prepared once
 *
 * Binding and stepping go through here, so that no result of SQLite stays
 * unread: a failed bind sticks to the statement and comes out of its next step.
 * Results are SQLite's; spool_result() makes results of the spool of them.
 */
#ifndef MQTT_SPOOLD_STORE_STMT_H
#define MQTT_SPOOLD_STORE_STMT_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"

enum stmt_id {
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_SNAPSHOT,
    STMT_FREE_PAGES,
    STMT_PAGES,
    STMT_LANES,
    STMT_LANES_OF_9, /* what later schemas added */
    STMT_LANES_OF_12,
    STMT_LANE_ADD,
    STMT_LANE_DROP,
    STMT_LANE_WRITE,
    STMT_STATE,
    STMT_STATE_WRITE,
    STMT_REPORTED_SEQ,
    STMT_RECORD_BYTES,
    STMT_KEPT,
    STMT_SELECT,
    STMT_KEPT_SELECT,
    STMT_KEPT_FETCH,
    STMT_KEPT_HEAD,
    STMT_OLDEST,
    STMT_OLDEST_OF_ALL,
    STMT_EXPIRED,
    STMT_EXPIRED_OF_ALL,
    STMT_NEXT_EXPIRY,
    STMT_NEXT_EXPIRY_OF_ALL,
    STMT_SHIFT_RECORDS,
    STMT_LAST_KEY,
    STMT_FIRST_SEQ,
    STMT_LAST_SEQ,
    STMT_LAST_ENDED,
    STMT_OUTCOMES,
    STMT_COUNT_OUTCOMES,
    STMT_PRUNE_DELIVERED,
    STMT_OLDEST_OUTCOMES,
    STMT_PRUNE_ALL,
    STMT_KEPT_OLDEST,
    STMT_KEPT_NEWEST,
    STMT_KEPT_PRUNE,
    STMT_SHIFT_KEPT,
    STMT_CUT_LIVES,
    STMT_SUSPECTS,
    STMT_SUSPECT_WRITE,
    STMT_SUSPECT_DROP,
    STMT_HOLDS,
    STMT_HOLD_ADD,
    STMT_HOLD_DROP,
    STMT_KEPT_TAKE,
    STMT_REQUEUED,
    STMT_REQUEUED_ROWS,
    STMT_REQUEUED_ADD,
    STMT_REQUEUED_END,
    STMT_REQUEUED_PRUNE_TO,
    STMT_REQUEUED_PRUNE,
    STMT_SESSIONS,
    STMT_SESSION_WRITE,
    STMT_SESSION_ROWS,
    STMT_SESSION_DROP,
    STMT_SESSION_DROP_UNRELEASED,
    STMT_SESSION_DROP_OUTBOX,
    STMT_SHIFT_SESSIONS,
    STMT_UNRELEASED,
    STMT_UNRELEASED_ADD,
    STMT_UNRELEASED_DROP,
    STMT_OUTBOX_SIZE,
    STMT_OUTBOX_ADD,
    STMT_OUTBOX_READ,
    STMT_OUTBOX_DROP,
    STMT_OUTBOX_DROP_OLDEST,
    STMT_COUNT
};

/* The tables of messages: the segments, and table message. */
enum { TABLE_SEGMENTS = 8, TABLE_MESSAGE = TABLE_SEGMENTS, TABLES };

/* SQL for each segment: PART with its number. */
#define EACH_SEGMENT(PART)                                                                     \
    PART("0") PART("1") PART("2") PART("3") PART("4") PART("5") PART("6") PART("7")

/* A row of a segment is pending if its id is above ended_id of its lane: segments.c. */
#define PENDING_IN_SEGMENT(N)                                                                  \
    " FROM segment" N " WHERE key & 0xffffffffffff >"                                          \
    " coalesce((SELECT ended_id FROM lane WHERE number = key >> 48), 0)"

/* Statements that each of these tables has; those from TABLE_COUNT on, the segments only. They
 * are prepared when they are first used, unless stmt_prepare() does. */
enum table_stmt_id {
    TABLE_APPEND,
    TABLE_SCAN,
    TABLE_FETCH,
    TABLE_HEAD,
    TABLE_RECORD,
    TABLE_DELETE,
    TABLE_KEEP,
    TABLE_SHIFT,
    TABLE_COUNT,
    TABLE_ROWS,
    TABLE_RECORDS,
    TABLE_MOVE,
    TABLE_EMPTY,
    TABLE_STMT_COUNT
};

/* The columns of table message in their order: of a row on disk, of what TABLE_SCAN and
 * TABLE_FETCH return, and, counted from 1, of what TABLE_APPEND binds. */
#define MESSAGE_COLUMNS_OF_2                                                                      \
    "key, accepted, accepted_at, expires_at, charge, uid, flags, client, topic, properties, ref," \
    " payload, sum"
#define MESSAGE_COLUMNS MESSAGE_COLUMNS_OF_2 ", behind"
enum message_column {
    MESSAGE_KEY,
    MESSAGE_ACCEPTED,
    MESSAGE_ACCEPTED_AT,
    MESSAGE_EXPIRES_AT,
    MESSAGE_CHARGE,
    MESSAGE_UID,
    MESSAGE_FLAGS,
    MESSAGE_CLIENT,
    MESSAGE_TOPIC,
    MESSAGE_PROPERTIES,
    MESSAGE_REF,
    MESSAGE_PAYLOAD,
    MESSAGE_SUM,    /* the first schema ends before it */
    MESSAGE_BEHIND, /* the seventh one before it */
    MESSAGE_FIELDS
};

/* The columns of STMT_SELECT and STMT_KEPT_SELECT. */
enum select_column {
    SELECT_POSITION, /* key; of kept ones seq */
    SELECT_ACCEPTED_AT,
    SELECT_CHARGE,
    SELECT_TABLE, /* of kept ones: their key */
    SELECT_UID,
    SELECT_CLIENT,
    SELECT_TOPIC,
};

struct stmt {
    sqlite3_stmt *handle;
    int error; /* of a bind, sticky until the statement is reset */
};

/* The numbers and NULLs that are bound to a TABLE_APPEND, by column. */
struct stmt_numbers {
    struct {
        int64_t value;
        enum { BOUND_OTHERWISE, BOUND_NUMBER, BOUND_NULL } bound;
    } columns[MESSAGE_FIELDS];
};

struct stmt_table {
    sqlite3 *db;
    struct stmt all[STMT_COUNT];
    struct stmt of_table[TABLES][TABLE_STMT_COUNT];
    struct stmt_numbers appended[TABLES];
};

/* The columns of table rejected in their order. */
#define KEPT_COLUMNS_OF_4                                                                      \
    "seq, client, topic, ref, key, time, ended_at, reason, code, attempts, accepted,"          \
    " age_ms, expiry_ms, charge, uid, flags, properties, payload, sum"
#define KEPT_COLUMNS KEPT_COLUMNS_OF_4 ", behind"
enum kept_column {
    KEPT_SEQ,
    KEPT_CLIENT,
    KEPT_TOPIC,
    KEPT_REF,
    KEPT_KEY,
    KEPT_TIME,
    KEPT_ENDED_AT,
    KEPT_REASON,
    KEPT_CODE,
    KEPT_ATTEMPTS,
    KEPT_ACCEPTED,
    KEPT_AGE,
    KEPT_EXPIRY,
    KEPT_CHARGE,
    KEPT_UID,
    KEPT_FLAGS,
    KEPT_PROPERTIES,
    KEPT_PAYLOAD,
    KEPT_SUM,
    KEPT_BEHIND, /* the seventh schema ends before it */
    KEPT_FIELDS
};
enum { KEPT_OVERHEAD = 32 }; /* its charge, above that of the message */

/* Prepares all; that also proves that the tables and columns are there. For a reader not those
 * that need more than the first schema, unless @version has it: the daemon may not have
 * migrated the database yet. */
MUST_CHECK int stmt_prepare(struct stmt_table *table, sqlite3 *db, bool is_reader, int version);
void stmt_finalize(struct stmt_table *table);

/* Of table @table. An error of its preparation is returned by its next step. */
struct stmt *stmt_of_table(struct stmt_table *table, unsigned of, enum table_stmt_id id);

/* Bound bytes are borrowed until the statement is reset. */
void stmt_bind_int(struct stmt *stmt, int index, int64_t value);
void stmt_bind_null(struct stmt *stmt, int index);
void stmt_bind_text(struct stmt *stmt, int index, struct view text);
void stmt_bind_blob(struct stmt *stmt, int index, struct view blob);

/*
 * stmt_keep_int(), stmt_keep_null() - bind a column of TABLE_APPEND
 *
 * Numbers and NULLs stay bound from one row to the next, and most are the same again: then
 * nothing is done. @numbers are those of the statement; stmt_forget_number() comes before
 * something else is bound to such a column.
 */
void stmt_keep_int(struct stmt *stmt,
                   struct stmt_numbers *numbers,
                   enum message_column column,
                   int64_t value);
void stmt_keep_null(struct stmt *stmt,
                    struct stmt_numbers *numbers,
                    enum message_column column);
void stmt_forget_number(struct stmt_numbers *numbers, enum message_column column);

/* SQLITE_ROW, SQLITE_DONE or an error. */
MUST_CHECK int stmt_step(struct stmt *stmt);
/* Ends a statement that returned a row; the error was returned by the step. */
void stmt_reset(struct stmt *stmt);
/* Steps a statement without rows to its end and resets it: SQLITE_OK or an error. */
MUST_CHECK int stmt_run(struct stmt *stmt);

static inline int64_t stmt_int(const struct stmt *stmt, int column)
{
    return sqlite3_column_int64(stmt->handle, column);
}

static inline bool stmt_is_null(const struct stmt *stmt, int column)
{
    return sqlite3_column_type(stmt->handle, column) == SQLITE_NULL;
}

/* Text or blob, borrowed until the next step or reset. */
static inline struct view stmt_bytes(const struct stmt *stmt, int column)
{
    const void *data = sqlite3_column_blob(stmt->handle, column);
    return view_of(data, (size_t)sqlite3_column_bytes(stmt->handle, column));
}

/* NULL for NULL; else ends with NUL. */
static inline const char *stmt_string(const struct stmt *stmt, int column)
{
    return (const char *)sqlite3_column_text(stmt->handle, column);
}

#endif
