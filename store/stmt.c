/* SPDX-License-Identifier: MIT */
/*
 * stmt.c - the SQL of the spool in one table, and the calls that use it
 *
 * Parameters are numbered, and each use binds all of them, so nothing is ever
 * cleared between two uses. Only TABLE_APPEND keeps numbers bound that are the same
 * in the next row. Bytes are bound without a copy: every statement that borrows is
 * reset before its caller returns, and binds them anew at its next use.
 *
 * Ranges of keys are closed at both ends. The ranges of TABLE_RECORD and
 * TABLE_DELETE are the same by construction, and the caller compares what they
 * touched with what it expects.
 */
#include "store/stmt.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/view.h"

/* With SPOOL_OUTBOX_OVERHEAD. */
#define SQL_OUTBOX_CHARGE "length(CAST(record AS BLOB)) + 32"
#define SQL_OLDEST        "SELECT key, accepted_at, charge, 8 FROM message WHERE key BETWEEN ?1 AND ?2"
#define ARM_OLDEST(N)                                                                          \
    " UNION ALL SELECT key, accepted_at, charge, " N " FROM segment" N                         \
    " WHERE key BETWEEN ?3 AND ?2"
#define SQL_EXPIRED "SELECT key, charge, 8, expires_at FROM message WHERE expires_at <= ?1"
#define ARM_EXPIRED(N)                                                                         \
    " UNION ALL SELECT key, charge, " N                                                        \
    ", expires_at" PENDING_IN_SEGMENT(N) " AND expires_at <= ?1"
#define SQL_NEXT_EXPIRY                                                                        \
    "SELECT min(expires_at) AS expires_at FROM message WHERE expires_at > ?1"
#define ARM_NEXT_EXPIRY(N)                                                                     \
    " UNION ALL SELECT min(expires_at)" PENDING_IN_SEGMENT(N) " AND expires_at > ?1"

/* Without what is after the topic, which may take pages of its own. */
#define ARM_SELECT(N)                                                                          \
    " UNION ALL SELECT key, accepted_at, charge, " N ", uid, client, topic FROM segment" N     \
    " WHERE key BETWEEN ?3 AND ?2"
/* A message without its properties and its payload. */
#define HEAD_COLUMNS                                                                           \
    "key, accepted, accepted_at, expires_at, charge, uid, flags, client, topic, NULL, ref,"    \
    " length(payload), NULL, behind"

static const char *const stmt_sql[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
    [STMT_SNAPSHOT] = "BEGIN", /* of a reader */
    [STMT_FREE_PAGES] = "PRAGMA freelist_count",
    [STMT_PAGES] = "PRAGMA page_count",
    [STMT_LANES] =
        "SELECT number, name, accepted, delivered, evicted, expired, rejected, dropped,"
        " damaged, messages, bytes, last_id, last_seq FROM lane ORDER BY number",
    [STMT_LANE_ADD] = "INSERT INTO lane (number, name) VALUES (?1, ?2)",
    [STMT_LANE_DROP] = "DELETE FROM lane WHERE number = ?1",
    [STMT_LANE_WRITE] =
        "UPDATE lane SET accepted = ?2, delivered = ?3, evicted = ?4,"
        " expired = ?5, rejected = ?6, dropped = ?7, damaged = ?8, messages = ?9,"
        " bytes = ?10, last_id = ?11, last_seq = ?12, unnumbered = ?13, ended_id = ?14,"
        " runs = ?15, tallies = ?16 WHERE number = ?1",
    [STMT_LANES_OF_9] =
        "SELECT number, accepted - unnumbered, ended_id, runs FROM lane ORDER BY number",
    [STMT_LANES_OF_12] = "SELECT number, tallies FROM lane ORDER BY number",
    [STMT_STATE] = "SELECT boot_id, boot_ms, clock_ms, wall_ms, wall_clock_ms, absent_after,"
                   " exported_seq, pruned_seq, failures_pruned FROM spool WHERE one = 1",
    [STMT_STATE_WRITE] =
        "UPDATE spool SET boot_id = ?1, boot_ms = ?2, clock_ms = ?3,"
        " wall_ms = ?4, wall_clock_ms = ?5, absent_after = ?6,"
        " exported_seq = ?7, pruned_seq = ?8, failures_pruned = ?9,"
        " record_bytes = ?10, rejected_messages = ?11,"
        " rejected_bytes = ?12, reported_seq = ?13, cut_lives = ?14 WHERE one = 1",
    [STMT_REPORTED_SEQ] = "SELECT coalesce(reported_seq, -1) FROM spool WHERE one = 1",
    [STMT_RECORD_BYTES] = "SELECT record_bytes FROM spool WHERE one = 1",
    [STMT_KEPT] = "SELECT rejected_messages, rejected_bytes FROM spool WHERE one = 1",
    /* Column 3 is the number of the table. Of segments only what has not ended: the caller
     * binds from which key of the lane on, or the lane's row has it. */
    [STMT_OLDEST] = SQL_OLDEST,
    [STMT_SELECT] = "SELECT key, accepted_at, charge, 8, uid, client, topic FROM message"
                    " WHERE key BETWEEN ?1 AND ?2" EACH_SEGMENT(ARM_SELECT) " ORDER BY key",
    [STMT_KEPT_SELECT] =
        "SELECT seq, ended_at - age_ms, charge, key, uid, client, topic FROM rejected"
        " WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
    [STMT_KEPT_FETCH] = "SELECT " KEPT_COLUMNS " FROM rejected WHERE seq = ?1",
    [STMT_KEPT_HEAD] = "SELECT seq, client, topic, ref, key, time, ended_at, reason, code,"
                       " attempts, accepted, age_ms, expiry_ms, charge, uid, flags, NULL,"
                       " length(payload), NULL, behind FROM rejected WHERE seq = ?1",
    [STMT_OLDEST_OF_ALL] = SQL_OLDEST EACH_SEGMENT(ARM_OLDEST) " ORDER BY key",
    [STMT_EXPIRED] = SQL_EXPIRED " ORDER BY expires_at",
    [STMT_EXPIRED_OF_ALL] = SQL_EXPIRED EACH_SEGMENT(ARM_EXPIRED) " ORDER BY expires_at",
    [STMT_NEXT_EXPIRY] = SQL_NEXT_EXPIRY,
    [STMT_NEXT_EXPIRY_OF_ALL] =
        "SELECT min(expires_at) FROM (" SQL_NEXT_EXPIRY EACH_SEGMENT(ARM_NEXT_EXPIRY) ")",
    /* "Or fail": to take a statement back SQLite would keep its pages, above 64 KiB in a
     * temporary file of a folder that may be full. Here a failure ends the whole
     * transaction. */
    [STMT_SHIFT_RECORDS] =
        "UPDATE OR FAIL outcome SET ended_at = ended_at + ?2 WHERE outcome > 0 AND seq >"
        " coalesce((SELECT seq FROM outcome WHERE ended_at <= ?1 ORDER BY seq DESC LIMIT 1), "
        "0)",
    [STMT_LAST_KEY] = "SELECT key, behind FROM message WHERE key BETWEEN ?1 AND ?2"
                      " ORDER BY key DESC LIMIT 1",
    [STMT_FIRST_SEQ] = "SELECT min(seq) FROM (SELECT min(seq) AS seq FROM outcome"
                       " UNION ALL SELECT min(seq) FROM rejected)",
    [STMT_LAST_SEQ] = "SELECT max(seq) FROM outcome",
    [STMT_LAST_ENDED] = "SELECT ended_at, seq FROM outcome ORDER BY seq DESC LIMIT 1",
    [STMT_OUTCOMES] = "SELECT seq, id, lane, time, outcome, reason, code, attempts, uid, qos,"
                      " bytes, accepted, age_ms, client, topic, ref FROM outcome"
                      " WHERE seq > ?1 AND seq <= ?2 AND outcome >= ?3 ORDER BY seq",
    [STMT_COUNT_OUTCOMES] = "SELECT count(*) FROM outcome WHERE seq > ?1 AND seq <= ?2",
    [STMT_PRUNE_DELIVERED] =
        "DELETE FROM outcome WHERE seq BETWEEN ?1 AND ?2"
        " AND CASE WHEN outcome = 0 THEN record_charge(client, topic, ref) END",
    [STMT_OLDEST_OUTCOMES] = "SELECT seq, ended_at, record_charge(client, topic, ref)"
                             " FROM outcome WHERE seq <= ?1 ORDER BY seq",
    [STMT_PRUNE_ALL] = "DELETE FROM outcome WHERE seq <= ?1",
    [STMT_KEPT_OLDEST] = "SELECT seq, ended_at, charge FROM rejected ORDER BY seq",
    [STMT_KEPT_NEWEST] = "SELECT seq, key, time, reason, code, topic FROM rejected"
                         " ORDER BY seq DESC LIMIT 1",
    [STMT_KEPT_PRUNE] = "DELETE FROM rejected WHERE seq <= ?1",
    [STMT_CUT_LIVES] = "SELECT cut_lives FROM spool WHERE one = 1",
    [STMT_SUSPECTS] = "SELECT key, closings FROM suspect ORDER BY key",
    [STMT_SUSPECT_WRITE] = "INSERT OR REPLACE INTO suspect (key, closings) VALUES (?1, ?2)",
    [STMT_SUSPECT_DROP] = "DELETE FROM suspect WHERE key = ?1",
    [STMT_HOLDS] = "SELECT lane FROM hold",
    [STMT_HOLD_ADD] = "INSERT INTO hold (lane) VALUES (?1)",
    [STMT_HOLD_DROP] = "DELETE FROM hold WHERE lane = ?1",
    [STMT_KEPT_TAKE] = "DELETE FROM rejected WHERE seq = ?1",
    [STMT_REQUEUED] = "SELECT origin FROM requeued WHERE key = ?1",
    [STMT_REQUEUED_ROWS] = "SELECT count(*) FROM requeued",
    [STMT_REQUEUED_ADD] = "INSERT INTO requeued (key, origin) VALUES (?1, ?2)",
    [STMT_REQUEUED_END] = "UPDATE OR FAIL requeued SET seq = ?3 WHERE key BETWEEN ?1 AND ?2",
    [STMT_REQUEUED_PRUNE_TO] =
        "SELECT key FROM requeued WHERE key > ?1 ORDER BY key LIMIT 1 OFFSET ?2",
    [STMT_REQUEUED_PRUNE] =
        "DELETE FROM requeued WHERE key > ?1 AND key <= ?2 AND seq <= ?3"
        " AND NOT EXISTS (SELECT 1 FROM outcome WHERE outcome.seq = requeued.seq)",
    [STMT_SESSIONS] = "SELECT id, uid, client, expiry_s, left_at, missed, subscriptions"
                      " FROM session ORDER BY id",
    [STMT_SESSION_WRITE] =
        "INSERT INTO session (id, uid, client, expiry_s, left_at, missed, subscriptions)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET"
        " expiry_s = ?4, left_at = ?5, missed = ?6, subscriptions = ?7",
    [STMT_SESSION_ROWS] =
        "SELECT (SELECT count(*) FROM unreleased WHERE key BETWEEN ?1 << 16 AND ?1 << 16 | "
        "0xffff) + (SELECT count(*) FROM outbox WHERE session = ?1)",
    [STMT_SESSION_DROP] = "DELETE FROM session WHERE id = ?1",
    [STMT_SESSION_DROP_UNRELEASED] =
        "DELETE FROM unreleased WHERE key BETWEEN ?1 << 16 AND ?1 << 16 | 0xffff",
    [STMT_SESSION_DROP_OUTBOX] = "DELETE FROM outbox WHERE session = ?1",
    [STMT_SHIFT_SESSIONS] =
        "UPDATE OR FAIL session SET left_at = left_at + ?2 WHERE left_at > ?1",
    [STMT_UNRELEASED] =
        "SELECT key & 0xffff, id FROM unreleased WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
    [STMT_UNRELEASED_ADD] = "INSERT OR REPLACE INTO unreleased (key, id) VALUES (?1, ?2)",
    [STMT_UNRELEASED_DROP] = "DELETE FROM unreleased WHERE key = ?1",
    [STMT_OUTBOX_SIZE] = "SELECT coalesce(sum(" SQL_OUTBOX_CHARGE "), 0) FROM outbox"
                         " WHERE session = ?1",
    [STMT_OUTBOX_ADD] =
        "INSERT INTO outbox (session, seq, kind, record) VALUES (?1, ?2, ?3, ?4)",
    [STMT_OUTBOX_READ] = "SELECT seq, kind, record FROM outbox"
                         " WHERE session = ?1 AND seq > ?2 ORDER BY seq",
    [STMT_OUTBOX_DROP] = "DELETE FROM outbox WHERE session = ?1 AND seq <= ?2"
                         " RETURNING " SQL_OUTBOX_CHARGE,
    [STMT_OUTBOX_DROP_OLDEST] = "DELETE FROM outbox WHERE session = ?1 AND seq ="
                                " (SELECT min(seq) FROM outbox WHERE session = ?1 AND seq > ?2)"
                                " RETURNING " SQL_OUTBOX_CHARGE,
    [STMT_SHIFT_KEPT] =
        "UPDATE OR FAIL rejected SET ended_at = ended_at + ?2 WHERE seq >"
        " coalesce((SELECT seq FROM rejected WHERE ended_at <= ?1 ORDER BY seq DESC LIMIT 1), "
        "0)",
};

/* With the name of the table in the place of each %s. */
static const char *const table_sql[TABLE_STMT_COUNT] = {
    [TABLE_APPEND] = "INSERT INTO %s (" MESSAGE_COLUMNS ")"
                     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
                     " ?14)",
    [TABLE_SCAN] = "SELECT " MESSAGE_COLUMNS " FROM %s"
                   " WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
    [TABLE_FETCH] = "SELECT " MESSAGE_COLUMNS " FROM %s WHERE key = ?1",
    [TABLE_HEAD] = "SELECT " HEAD_COLUMNS " FROM %s WHERE key = ?1",
    /* "Or fail": as above. */
    [TABLE_RECORD] =
        "INSERT OR FAIL INTO outcome (seq, id, lane, time, ended_at, outcome, reason, code,"
        " attempts, uid, qos, bytes, accepted, age_ms, client, topic, ref)"
        " SELECT record_seq(), key & 0xffffffffffff, ?3, ?4, ?5, ?6, ?7, ?8, ?9, uid, flags & 3,"
        " length(payload), accepted, max(0, ?5 - accepted_at), client, topic, ref"
        " FROM %s WHERE key BETWEEN ?1 AND ?2"
        " AND record_charge(client, topic, ref) ORDER BY key",
    [TABLE_DELETE] = "DELETE FROM %s WHERE key BETWEEN ?1 AND ?2",
    [TABLE_KEEP] = "INSERT INTO rejected (" KEPT_COLUMNS ")"
                   " SELECT o.seq, m.client, m.topic, m.ref, m.key, o.time, o.ended_at,"
                   " o.reason, o.code, o.attempts, m.accepted, o.age_ms,"
                   " max(0, m.expires_at - o.ended_at), m.charge + ?4, m.uid, m.flags,"
                   " m.properties, m.payload, m.sum, m.behind"
                   " FROM outcome AS o CROSS JOIN %s AS m ON m.key = (o.lane << 48 | o.id)"
                   " WHERE o.seq BETWEEN ?1 AND ?2 AND m.charge + ?4 <= ?3 ORDER BY o.seq"
                   " RETURNING charge",
    [TABLE_SHIFT] = "UPDATE OR FAIL %s SET accepted_at = accepted_at + ?3,"
                    " expires_at = expires_at + ?3 WHERE key BETWEEN ?1 AND ?2",
    [TABLE_COUNT] = "SELECT count(*) FROM %s WHERE key BETWEEN ?1 AND ?2",
    [TABLE_ROWS] = "SELECT key, charge, expires_at FROM %s ORDER BY key",
    [TABLE_RECORDS] = "SELECT key, uid, flags, length(payload), accepted, accepted_at,"
                      " client, topic, ref FROM %s WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
    [TABLE_MOVE] = "INSERT OR FAIL INTO message (" MESSAGE_COLUMNS ") SELECT " MESSAGE_COLUMNS
                   " FROM %s WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
    [TABLE_EMPTY] = "DELETE FROM %s", /* without WHERE: no leaf is written */
};

/* Those are of no use to a reader. */
static bool is_of_writer(int id)
{
    switch (id) {
    case STMT_KEPT_TAKE:
    case STMT_REQUEUED_ROWS:
    case STMT_REQUEUED_ADD:
    case STMT_REQUEUED_END:
    case STMT_REQUEUED_PRUNE_TO:
    case STMT_REQUEUED_PRUNE:
    case STMT_EXPIRED_OF_ALL:
    case STMT_NEXT_EXPIRY_OF_ALL:
    case STMT_LANE_WRITE:
    case STMT_LAST_KEY:
    case STMT_STATE_WRITE:
    case STMT_REPORTED_SEQ:
    case STMT_RECORD_BYTES:
    case STMT_FIRST_SEQ:
    case STMT_KEPT_OLDEST:
    case STMT_KEPT_PRUNE:
    case STMT_SHIFT_KEPT:
    case STMT_CUT_LIVES:
    case STMT_SUSPECTS:
    case STMT_SUSPECT_WRITE:
    case STMT_SUSPECT_DROP:
    case STMT_HOLD_ADD:
    case STMT_HOLD_DROP:
    case STMT_SESSIONS:
    case STMT_SESSION_WRITE:
    case STMT_SESSION_ROWS:
    case STMT_SESSION_DROP:
    case STMT_SESSION_DROP_UNRELEASED:
    case STMT_SESSION_DROP_OUTBOX:
    case STMT_SHIFT_SESSIONS:
    case STMT_UNRELEASED:
    case STMT_UNRELEASED_ADD:
    case STMT_UNRELEASED_DROP:
    case STMT_OUTBOX_SIZE:
    case STMT_OUTBOX_ADD:
    case STMT_OUTBOX_READ:
    case STMT_OUTBOX_DROP:
    case STMT_OUTBOX_DROP_OLDEST:
        return true;
    default:
        return false;
    }
}

/* A reader may find an earlier schema. */
static bool is_for_reader(int id, int version)
{
    switch (id) {
    case STMT_KEPT:
    case STMT_KEPT_NEWEST:
        return version >= 4;
    case STMT_LANES_OF_9:
    case STMT_OLDEST_OF_ALL:
    case STMT_SELECT:
    case STMT_KEPT_SELECT:
    case STMT_KEPT_FETCH:
    case STMT_KEPT_HEAD:
        return version >= 9;
    case STMT_HOLDS:
        return version >= 10;
    case STMT_REQUEUED:
        return version >= 11;
    case STMT_LANES_OF_12:
        return version >= 12;
    default:
        return !is_of_writer(id);
    }
}

static int prepare_of_table(sqlite3 *db, unsigned of, enum table_stmt_id id, struct stmt *ret)
{
    char name[16] = "message";
    if (of != TABLE_MESSAGE)
        (void)snprintf(name, sizeof(name), "segment%u", of);
    char *sql = sqlite3_mprintf(table_sql[id], name);
    if (!sql)
        return SQLITE_NOMEM;
    int rc = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &ret->handle, NULL);
    sqlite3_free(sql);
    return rc;
}

struct stmt *stmt_of_table(struct stmt_table *table, unsigned of, enum table_stmt_id id)
{
    struct stmt *stmt = &table->of_table[of][id];
    assert(of < TABLES && id < TABLE_STMT_COUNT);
    if (!stmt->handle && stmt->error == SQLITE_OK) /* else it sticks, as that of a bind */
        stmt->error = prepare_of_table(table->db, of, id, stmt);
    return stmt;
}

/* All of table message; of a segment the one that names all columns. */
static int prepare_tables(struct stmt_table *table)
{
    for (unsigned i = 0; i < TABLES; i++) {
        int count = i == TABLE_MESSAGE ? TABLE_COUNT : TABLE_APPEND + 1;
        for (int j = 0; j < count; j++) {
            const struct stmt *stmt = stmt_of_table(table, i, (enum table_stmt_id)j);
            if (stmt->error != SQLITE_OK)
                return stmt->error;
        }
    }
    return SQLITE_OK;
}

int stmt_prepare(struct stmt_table *table, sqlite3 *db, bool is_reader, int version)
{
    table->db = db;
    for (int i = 0; i < STMT_COUNT; i++) {
        if (is_reader && !is_for_reader(i, version))
            continue;
        int rc = sqlite3_prepare_v3(db, stmt_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &table->all[i].handle, NULL);
        if (rc != SQLITE_OK)
            return rc;
    }
    return is_reader ? SQLITE_OK : prepare_tables(table);
}

void stmt_finalize(struct stmt_table *table)
{
    for (unsigned i = 0; i < TABLES; i++) {
        for (int j = 0; j < TABLE_STMT_COUNT; j++)
            (void)sqlite3_finalize(table->of_table[i][j].handle);
    }
    for (int i = 0; i < STMT_COUNT; i++) {
        (void)sqlite3_finalize(table->all[i].handle); /* repeats the error of the last step */
        table->all[i] = (struct stmt){0};
    }
    memset(table->of_table, 0, sizeof(table->of_table));
    memset(table->appended, 0, sizeof(table->appended));
}

static void stmt_note(struct stmt *stmt, int rc)
{
    if (stmt->error == SQLITE_OK)
        stmt->error = rc;
}

void stmt_bind_int(struct stmt *stmt, int index, int64_t value)
{
    stmt_note(stmt, sqlite3_bind_int64(stmt->handle, index, value));
}

void stmt_bind_null(struct stmt *stmt, int index)
{
    stmt_note(stmt, sqlite3_bind_null(stmt->handle, index));
}

/* A NULL pointer would bind NULL; what is empty is still a value. */
static const void *not_null(struct view bytes)
{
    return bytes.size > 0 ? (const void *)bytes.data : "";
}

void stmt_bind_text(struct stmt *stmt, int index, struct view text)
{
    stmt_note(stmt, sqlite3_bind_text64(stmt->handle, index, not_null(text), text.size,
                                        SQLITE_STATIC, SQLITE_UTF8));
}

void stmt_bind_blob(struct stmt *stmt, int index, struct view blob)
{
    stmt_note(stmt, sqlite3_bind_blob64(stmt->handle, index, not_null(blob), blob.size,
                                        SQLITE_STATIC));
}

void stmt_keep_int(struct stmt *stmt,
                   struct stmt_numbers *numbers,
                   enum message_column column,
                   int64_t value)
{
    if (numbers->columns[column].bound == BOUND_NUMBER &&
        numbers->columns[column].value == value)
        return;
    stmt_bind_int(stmt, 1 + (int)column, value);
    numbers->columns[column].bound = stmt->error == SQLITE_OK ? BOUND_NUMBER : BOUND_OTHERWISE;
    numbers->columns[column].value = value;
}

void stmt_keep_null(struct stmt *stmt, struct stmt_numbers *numbers, enum message_column column)
{
    if (numbers->columns[column].bound == BOUND_NULL)
        return;
    stmt_bind_null(stmt, 1 + (int)column);
    numbers->columns[column].bound = stmt->error == SQLITE_OK ? BOUND_NULL : BOUND_OTHERWISE;
}

void stmt_forget_number(struct stmt_numbers *numbers, enum message_column column)
{
    numbers->columns[column].bound = BOUND_OTHERWISE;
}

int stmt_step(struct stmt *stmt)
{
    if (stmt->error != SQLITE_OK)
        return stmt->error;
    return sqlite3_step(stmt->handle);
}

void stmt_reset(struct stmt *stmt)
{
    (void)sqlite3_reset(stmt->handle); /* repeats the error of the last step */
    stmt->error = SQLITE_OK;
}

int stmt_run(struct stmt *stmt)
{
    int rc = stmt_step(stmt);
    assert(rc != SQLITE_ROW);
    stmt_reset(stmt);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}
