/* SPDX-License-Identifier: MIT */
/*
 * stmt.c - the SQL of the spool in one table, and the calls that use it
 *
 * Parameters are numbered, and each use binds all of them, so nothing is ever
 * cleared between two uses. Bytes are bound without a copy: every statement
 * that borrows is reset before its caller returns.
 *
 * Ranges of keys are closed at both ends. The ranges of STMT_RECORD and
 * STMT_DELETE are the same by construction, and the caller compares what they
 * touched with what it expects.
 */
#include "store/stmt.h"

#include <assert.h>
#include <stddef.h>

#include "base/view.h"

static const char *const stmt_sql[STMT_COUNT] = {
    [STMT_BEGIN] = "BEGIN IMMEDIATE",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
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
        " bytes = ?10, last_id = ?11, last_seq = ?12 WHERE number = ?1",
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
    [STMT_APPEND] = "INSERT INTO message (" MESSAGE_COLUMNS ")"
                    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [STMT_SCAN] = "SELECT " MESSAGE_COLUMNS " FROM message"
                  " WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
    [STMT_FETCH] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE key = ?1",
    [STMT_RECORD] = "INSERT INTO outcome (id, lane, time, ended_at, outcome, reason, code,"
                    " attempts, uid, qos, bytes, accepted, age_ms, client, topic, ref)"
                    " SELECT key & 0xffffffffffff, ?3, ?4, ?5, ?6, ?7, ?8, ?9, uid, flags & 3,"
                    " length(payload), accepted, max(0, ?5 - accepted_at), client, topic, ref"
                    " FROM message WHERE key BETWEEN ?1 AND ?2"
                    " AND record_charge(client, topic, ref) ORDER BY key",
    [STMT_DELETE] = "DELETE FROM message WHERE key BETWEEN ?1 AND ?2",
    [STMT_OLDEST] = "SELECT key, accepted_at, charge FROM message"
                    " WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
    [STMT_EXPIRED] =
        "SELECT key, charge FROM message WHERE expires_at <= ?1 ORDER BY expires_at",
    [STMT_NEXT_EXPIRY] = "SELECT min(expires_at) FROM message WHERE expires_at > ?1",
    /* Both "or fail": to take a statement back SQLite would keep its pages, above 64 KiB in a
     * temporary file of a folder that may be full. Here a failure ends the whole
     * transaction. */
    [STMT_SHIFT] = "UPDATE OR FAIL message SET accepted_at = accepted_at + ?3,"
                   " expires_at = expires_at + ?3 WHERE key BETWEEN ?1 AND ?2",
    [STMT_SHIFT_RECORDS] =
        "UPDATE OR FAIL outcome SET ended_at = ended_at + ?2 WHERE outcome > 0 AND seq >"
        " coalesce((SELECT seq FROM outcome WHERE ended_at <= ?1 ORDER BY seq DESC LIMIT 1), "
        "0)",
    [STMT_LAST_KEY] = "SELECT max(key) FROM message WHERE key BETWEEN ?1 AND ?2",
    [STMT_FIRST_SEQ] = "SELECT min(seq) FROM (SELECT min(seq) AS seq FROM outcome"
                       " UNION ALL SELECT min(seq) FROM rejected)",
    [STMT_LAST_SEQ] = "SELECT max(seq) FROM outcome",
    [STMT_LAST_ENDED] = "SELECT ended_at FROM outcome ORDER BY seq DESC LIMIT 1",
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
    [STMT_KEEP] = "INSERT INTO rejected (" KEPT_COLUMNS ")"
                  " SELECT o.seq, m.client, m.topic, m.ref, m.key, o.time, o.ended_at,"
                  " o.reason, o.code, o.attempts, m.accepted, o.age_ms,"
                  " max(0, m.expires_at - o.ended_at), m.charge + ?4, m.uid, m.flags,"
                  " m.properties, m.payload, m.sum"
                  " FROM outcome AS o CROSS JOIN message AS m ON m.key = (o.lane << 48 | o.id)"
                  " WHERE o.seq BETWEEN ?1 AND ?2 AND m.charge + ?4 <= ?3 ORDER BY o.seq"
                  " RETURNING charge",
    [STMT_KEPT_OLDEST] = "SELECT seq, ended_at, charge FROM rejected ORDER BY seq",
    [STMT_KEPT_PRUNE] = "DELETE FROM rejected WHERE seq <= ?1",
    [STMT_CUT_LIVES] = "SELECT cut_lives FROM spool WHERE one = 1",
    [STMT_SUSPECTS] = "SELECT key, closings FROM suspect ORDER BY key",
    [STMT_SUSPECT_WRITE] = "INSERT OR REPLACE INTO suspect (key, closings) VALUES (?1, ?2)",
    [STMT_SUSPECT_DROP] = "DELETE FROM suspect WHERE key = ?1",
    [STMT_SHIFT_KEPT] =
        "UPDATE OR FAIL rejected SET ended_at = ended_at + ?2 WHERE seq >"
        " coalesce((SELECT seq FROM rejected WHERE ended_at <= ?1 ORDER BY seq DESC LIMIT 1), "
        "0)",
};

/* A reader may find an earlier schema. */
static bool is_for_reader(int id, int version)
{
    switch (id) {
    case STMT_KEPT:
        return version >= 4;
    case STMT_APPEND:
    case STMT_SCAN:
    case STMT_FETCH:
    case STMT_STATE_WRITE:
    case STMT_REPORTED_SEQ:
    case STMT_RECORD_BYTES:
    case STMT_FIRST_SEQ:
    case STMT_KEEP:
    case STMT_KEPT_OLDEST:
    case STMT_KEPT_PRUNE:
    case STMT_SHIFT_KEPT:
    case STMT_CUT_LIVES:
    case STMT_SUSPECTS:
    case STMT_SUSPECT_WRITE:
    case STMT_SUSPECT_DROP:
        return false;
    default:
        return true;
    }
}

int stmt_prepare(struct stmt_table *table, sqlite3 *db, bool is_reader, int version)
{
    for (int i = 0; i < STMT_COUNT; i++) {
        if (is_reader && !is_for_reader(i, version))
            continue;
        int rc = sqlite3_prepare_v3(db, stmt_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &table->all[i].handle, NULL);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

void stmt_finalize(struct stmt_table *table)
{
    for (int i = 0; i < STMT_COUNT; i++) {
        (void)sqlite3_finalize(table->all[i].handle); /* repeats the error of the last step */
        table->all[i] = (struct stmt){0};
    }
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
