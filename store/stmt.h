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
    STMT_FREE_PAGES,
    STMT_PAGES,
    STMT_LANES,
    STMT_LANE_ADD,
    STMT_LANE_DROP,
    STMT_LANE_WRITE,
    STMT_STATE,
    STMT_STATE_WRITE,
    STMT_REPORTED_SEQ,
    STMT_RECORD_BYTES,
    STMT_KEPT,
    STMT_APPEND,
    STMT_SCAN,
    STMT_FETCH,
    STMT_RECORD,
    STMT_DELETE,
    STMT_OLDEST,
    STMT_EXPIRED,
    STMT_NEXT_EXPIRY,
    STMT_SHIFT,
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
    STMT_KEEP,
    STMT_KEPT_OLDEST,
    STMT_KEPT_PRUNE,
    STMT_SHIFT_KEPT,
    STMT_CUT_LIVES,
    STMT_SUSPECTS,
    STMT_SUSPECT_WRITE,
    STMT_SUSPECT_DROP,
    STMT_COUNT
};

/* The columns of table message in their order: of a row on disk, of what STMT_SCAN and
 * STMT_FETCH return, and, counted from 1, of what STMT_APPEND binds. */
#define MESSAGE_COLUMNS                                                                           \
    "key, accepted, accepted_at, expires_at, charge, uid, flags, client, topic, properties, ref," \
    " payload, sum"
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
    MESSAGE_SUM, /* the first schema ends before it */
};

struct stmt {
    sqlite3_stmt *handle;
    int error; /* of a bind, sticky until the statement is reset */
};

struct stmt_table {
    struct stmt all[STMT_COUNT];
};

/* The columns of table rejected in their order. */
#define KEPT_COLUMNS                                                                           \
    "seq, client, topic, ref, key, time, ended_at, reason, code, attempts, accepted,"          \
    " age_ms, expiry_ms, charge, uid, flags, properties, payload, sum"
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
    KEPT_FIELDS
};
enum { KEPT_OVERHEAD = 32 }; /* its charge, above that of the message */

/* Prepares all; that also proves that the tables and columns are there. For a reader not those
 * that need more than the first schema, unless @version has it: the daemon may not have
 * migrated the database yet. */
MUST_CHECK int stmt_prepare(struct stmt_table *table, sqlite3 *db, bool is_reader, int version);
void stmt_finalize(struct stmt_table *table);

/* Bound bytes are borrowed until the statement is reset. */
void stmt_bind_int(struct stmt *stmt, int index, int64_t value);
void stmt_bind_null(struct stmt *stmt, int index);
void stmt_bind_text(struct stmt *stmt, int index, struct view text);
void stmt_bind_blob(struct stmt *stmt, int index, struct view blob);

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
