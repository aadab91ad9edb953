/* SPDX-License-Identifier: MIT */
/*
 * outbox.c - records of outcomes that a session's client has not acknowledged
 *
 * A row is written by the commit that ends the message: the watcher of the records
 * adds it, inside of that transaction. It goes by the commit after its client has
 * acknowledged it, with all before it. A session has so many bytes; then its oldest
 * rows go, of those that were not sent yet, and its count of missed records rises in
 * the same transaction. While the disk is short no row is added, but counted: the end
 * of a message must find room.
 *
 * What the rows of a session take is known once it is needed, and unknown again after
 * a batch that is lost.
 *
 * Invariant: a record that a session wants is in its outbox, acknowledged or counted.
 */
#include "base/failpoint.h"
#include "base/view.h"
#include "store/spool-private.h"

enum { DROP_SESSION = 1, DROP_LIMIT = 2 };

static void outbox_touch(struct sessions *sessions, struct spool_session *session)
{
    if (session->outbox.is_touched)
        return;
    session->outbox.is_touched = true;
    session->outbox.next_touched = sessions->touched;
    sessions->touched = session;
}

/* ---- wanted kinds ---- */

void spool_session_set_wanted(struct spool *spool,
                              struct spool_session *session,
                              unsigned kinds)
{
    for (unsigned kind = 0; kind < SPOOL_OUTBOX_KINDS; kind++) {
        spool->sessions.wanting[kind] -= session->wanted >> kind & 1;
        spool->sessions.wanting[kind] += kinds >> kind & 1;
    }
    session->wanted = kinds;
}

size_t spool_sessions_wanting(const struct spool *spool, unsigned kind)
{
    return spool->sessions.wanting[kind];
}

/* ---- rows ---- */

static int outbox_measure(struct spool *spool, struct spool_session *session)
{
    struct stmt *stmt = spool_stmt(spool, STMT_OUTBOX_SIZE);
    if (session->outbox.is_known)
        return 0;
    stmt_bind_int(stmt, 1, (int64_t)session->id);
    int rc = stmt_step(stmt);
    if (rc == SQLITE_ROW) {
        session->outbox.bytes = (uint64_t)stmt_int(stmt, 0);
        session->outbox.is_known = true;
    }
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

/* @ret_rows: how many went. */
static int outbox_delete(struct spool *spool,
                         struct spool_session *session,
                         enum stmt_id id,
                         uint64_t limit_seq,
                         unsigned *ret_rows)
{
    struct stmt *stmt = spool_stmt(spool, id);
    struct spool_outbox *outbox = &session->outbox;
    int rc;
    *ret_rows = 0;
    stmt_bind_int(stmt, DROP_SESSION, (int64_t)session->id);
    stmt_bind_int(stmt, DROP_LIMIT, (int64_t)limit_seq);
    while ((rc = stmt_step(stmt)) == SQLITE_ROW) {
        uint64_t size = (uint64_t)stmt_int(stmt, 0);
        outbox->bytes -= size < outbox->bytes ? size : outbox->bytes;
        ++*ret_rows;
    }
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

static void outbox_count_missed(struct spool *spool, struct spool_session *session)
{
    session->outbox.batch_missed++;
    session->missed++;
    sessions_note_change(&spool->sessions, session);
}

static int outbox_insert(struct spool *spool,
                         const struct spool_session *session,
                         uint64_t seq,
                         unsigned kind,
                         struct view record)
{
    struct stmt *stmt = spool_stmt(spool, STMT_OUTBOX_ADD);
    stmt_bind_int(stmt, 1, (int64_t)session->id);
    stmt_bind_int(stmt, 2, (int64_t)seq);
    stmt_bind_int(stmt, 3, kind);
    stmt_bind_text(stmt, 4, record);
    return spool_result(spool, stmt_run(stmt));
}

int spool_outbox_add(struct spool *spool,
                     struct spool_session *session,
                     uint64_t seq,
                     unsigned kind,
                     struct view record,
                     uint64_t max_bytes)
{
    struct spool_outbox *outbox = &session->outbox;
    uint64_t size = record.size + SPOOL_OUTBOX_OVERHEAD;
    unsigned rows = 1;
    int r = outbox_measure(spool, session);
    if (r != 0)
        return r;
    outbox_touch(&spool->sessions, session);
    while (rows > 0 && outbox->bytes + size > max_bytes) {
        r = outbox_delete(spool, session, STMT_OUTBOX_DROP_OLDEST, outbox->sent_seq, &rows);
        if (r != 0)
            return r;
        if (rows > 0)
            outbox_count_missed(spool, session);
    }
    if (outbox->bytes + size > max_bytes || spool->room.is_low || !session->is_stored) {
        outbox_count_missed(spool, session);
        return 0;
    }
    FAILPOINT("outbox.before_add");
    r = outbox_insert(spool, session, seq, kind, record);
    if (r == 0)
        outbox->bytes += size;
    return r;
}

int spool_outbox_read(struct spool *spool,
                      const struct spool_session *session,
                      uint64_t after,
                      spool_outbox_fn *fn,
                      void *userdata,
                      bool *ret_more)
{
    struct stmt *stmt = spool_stmt(spool, STMT_OUTBOX_READ);
    bool is_ended = false;
    int rc = SQLITE_DONE;
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    if (after < session->outbox.acknowledged_seq)
        after = session->outbox.acknowledged_seq;
    stmt_bind_int(stmt, 1, (int64_t)session->id);
    stmt_bind_int(stmt, 2, (int64_t)after);
    while (!is_ended && (rc = stmt_step(stmt)) == SQLITE_ROW)
        is_ended = !fn(userdata, (uint64_t)stmt_int(stmt, 0), (unsigned)stmt_int(stmt, 1),
                       stmt_bytes(stmt, 2));
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r == 0)
        *ret_more = is_ended;
    return r;
}

void spool_outbox_set_sent(struct spool_session *session, uint64_t seq)
{
    session->outbox.sent_seq = seq;
    if (seq > session->outbox.tried_seq)
        session->outbox.tried_seq = seq;
}

void spool_outbox_acknowledge(struct spool *spool, struct spool_session *session, uint64_t seq)
{
    if (seq <= session->outbox.acknowledged_seq)
        return;
    session->outbox.acknowledged_seq = seq;
    outbox_touch(&spool->sessions, session);
}

int outbox_write(struct spool *spool)
{
    int r = 0;
    for (struct spool_session *session = spool->sessions.touched; session && r == 0;
         session = session->outbox.next_touched) {
        unsigned rows;
        if (session->outbox.acknowledged_seq > session->outbox.dropped_seq)
            r = outbox_delete(spool, session, STMT_OUTBOX_DROP,
                              session->outbox.acknowledged_seq, &rows);
    }
    return r;
}

void outbox_commit(struct sessions *sessions)
{
    struct spool_session *session;
    while ((session = sessions->touched)) {
        sessions->touched = session->outbox.next_touched;
        session->outbox.is_touched = false;
        session->outbox.batch_missed = 0;
        session->outbox.dropped_seq = session->outbox.acknowledged_seq;
    }
}
