/* SPDX-License-Identifier: MIT */
/*
 * sessions.c - the sessions of producers that outlive their connections
 *
 * All of them are in memory, found by user and client id in a hash table; a change
 * is noted there and written by the next commit. So a batch that is lost leaves
 * nothing to undo: the change stays noted. A commit that may hold nothing new,
 * because the last one had no room, writes only which sessions are dropped.
 *
 * The packet ids of QoS 2 that a client has not released are on disk only. A row is
 * written with its message, by spool_append(), and so is lost with it. What was
 * released is noted like a change and executed before the next of these rows is
 * written, or by the commit.
 *
 * Invariants: a row of table unreleased or outbox has its session. What
 * spool_session_durable() has reached is on disk.
 */
#include "store/spool-private.h"

#include <stdlib.h>
#include <string.h>

#include "base/view.h"

enum {
    BUCKETS_FIRST = 64,     /* a power of two */
    PACKET_ID_BITS = 16,    /* of the key of table unreleased */
    RELEASES_FIRST = 256,   /* as capacity */
    EXPIRE_WORK_MAX = 8192, /* rows of sessions that expired, which one commit drops, */
    EXPIRE_WORK = 8,        /* if a session counts as so many */
};
#define EXPIRE_NEVER INT64_MAX

/* ---- in memory ---- */

static uint32_t hash_of(uint32_t uid, struct view client)
{
    const unsigned char *bytes = client.data;
    uint32_t hash = UINT32_C(2166136261) ^ uid;

    for (size_t i = 0; i < client.size; i++)
        hash = (hash ^ bytes[i]) * UINT32_C(16777619);
    return hash ^ hash >> 15;
}

static struct spool_session **
bucket_of(const struct sessions *sessions, uint32_t uid, struct view client)
{
    return &sessions->buckets[hash_of(uid, client) & (sessions->bucket_count - 1)];
}

static void link_session(const struct sessions *sessions, struct spool_session *session)
{
    struct spool_session **bucket = bucket_of(sessions, session->uid, session->client);

    session->next = *bucket;
    *bucket = session;
}

static void unlink_session(struct sessions *sessions, struct spool_session *session)
{
    struct spool_session **place = bucket_of(sessions, session->uid, session->client);

    while (*place != session)
        place = &(*place)->next;
    *place = session->next;
    sessions->count--;
}

/* Return: 0; -ENOMEM, if there is no table at all. */
static int reserve_bucket(struct sessions *sessions)
{
    struct sessions grown = *sessions;

    if (sessions->count < sessions->bucket_count)
        return 0;
    grown.bucket_count =
        sessions->bucket_count > 0 ? 2 * sessions->bucket_count : BUCKETS_FIRST;
    grown.buckets = calloc(grown.bucket_count, sizeof(struct spool_session *));
    if (!grown.buckets)
        return sessions->buckets ? 0 : -ENOMEM;
    for (size_t i = 0; i < sessions->bucket_count; i++) {
        struct spool_session *session = sessions->buckets[i];
        while (session) {
            struct spool_session *next = session->next;
            link_session(&grown, session);
            session = next;
        }
    }
    free(sessions->buckets);
    *sessions = grown;
    return 0;
}

static void free_session(struct spool_session *session)
{
    free(session->subscriptions_memory);
    free(session);
}

/* NULL: out of memory. */
static struct spool_session *
add_session(struct sessions *sessions, uint64_t id, uint32_t uid, struct view client)
{
    if (reserve_bucket(sessions) != 0)
        return NULL;
    struct spool_session *session = calloc(1, sizeof(*session) + client.size);
    if (!session)
        return NULL;
    char *copy = (char *)(session + 1);
    if (client.size > 0)
        memcpy(copy, client.data, client.size);
    session->id = id;
    session->uid = uid;
    session->client = view_of(copy, client.size);
    session->left_at = SPOOL_SESSION_CONNECTED;
    link_session(sessions, session);
    sessions->count++;
    if (id > sessions->last_id)
        sessions->last_id = id;
    return session;
}

static int copy_subscriptions(struct spool_session *session, struct view subscriptions)
{
    uint8_t *copy = NULL;

    if (subscriptions.size > 0) {
        copy = malloc(subscriptions.size);
        if (!copy)
            return -ENOMEM;
        memcpy(copy, subscriptions.data, subscriptions.size);
    }
    free(session->subscriptions_memory);
    session->subscriptions_memory = copy;
    session->subscriptions = view_of(copy, subscriptions.size);
    return 0;
}

void sessions_note_change(struct sessions *sessions, struct spool_session *session)
{
    sessions->changes++;
    if (session->is_changed)
        return;
    session->is_changed = true;
    session->next_changed = sessions->changed;
    sessions->changed = session;
}

void sessions_done(struct sessions *sessions)
{
    struct spool_session *session, *next;

    for (session = sessions->changed; session; session = next) {
        next = session->next_changed;
        if (session->is_dropped)
            free_session(session);
    }
    for (size_t i = 0; i < sessions->bucket_count; i++) {
        for (session = sessions->buckets[i]; session; session = next) {
            next = session->next;
            free_session(session);
        }
    }
    free(sessions->buckets);
    free(sessions->releases);
}

/* ---- from the database ---- */

static int load_one(struct spool *spool, const struct stmt *stmt, int64_t *newest_left_ms)
{
    enum { ID, UID, CLIENT, EXPIRY, LEFT_AT, MISSED, SUBSCRIPTIONS };
    struct sessions *sessions = &spool->sessions;
    struct spool_session *session =
        add_session(sessions, (uint64_t)stmt_int(stmt, ID), (uint32_t)stmt_int(stmt, UID),
                    stmt_bytes(stmt, CLIENT));
    if (!session || copy_subscriptions(session, stmt_bytes(stmt, SUBSCRIPTIONS)) != 0)
        return spool_fail_memory(spool);
    session->expiry_s = (uint32_t)stmt_int(stmt, EXPIRY);
    session->missed = (uint64_t)stmt_int(stmt, MISSED);
    session->is_stored = true;
    if (stmt_is_null(stmt, LEFT_AT))
        return 0;
    session->left_at = stmt_int(stmt, LEFT_AT);
    if (session->left_at > *newest_left_ms)
        *newest_left_ms = session->left_at;
    return 0;
}

int sessions_load(struct spool *spool, int64_t *newest_left_ms)
{
    struct stmt *stmt = spool_stmt(spool, STMT_SESSIONS);
    int rc = SQLITE_DONE;
    int r = 0;
    while (r == 0 && (rc = stmt_step(stmt)) == SQLITE_ROW)
        r = load_one(spool, stmt, newest_left_ms);
    if (r == 0)
        r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

/* @session->left_at is behind a later jump of the clock. */
static void leave_at(struct spool *spool, struct spool_session *session, int64_t clock_ms)
{
    session->left_at = clock_ms;
    spool->time.clock.last_ended_ms = clock_ms;
    spool->sessions.due_ms = INT64_MIN;
    sessions_note_change(&spool->sessions, session);
}

void sessions_start(struct spool *spool)
{
    for (struct spool_session *session = spool_session_next(spool, NULL); session;
         session = spool_session_next(spool, session)) {
        session->outbox.tried_seq = spool->committed.last_seq;
        if (session->left_at == SPOOL_SESSION_CONNECTED)
            leave_at(spool, session, spool->time.clock.state.clock_ms);
    }
}

/* ---- to the database ---- */

static int run_with_key(struct spool *spool, enum stmt_id id, int64_t key)
{
    struct stmt *stmt = spool_stmt(spool, id);
    stmt_bind_int(stmt, 1, key);
    return spool_result(spool, stmt_run(stmt));
}

static int write_dropped(struct spool *spool, const struct spool_session *session)
{
    int r = run_with_key(spool, STMT_SESSION_DROP, (int64_t)session->id);
    if (r == 0)
        r = run_with_key(spool, STMT_SESSION_DROP_UNRELEASED, (int64_t)session->id);
    return r == 0 ? run_with_key(spool, STMT_SESSION_DROP_OUTBOX, (int64_t)session->id) : r;
}

static int write_session(struct spool *spool, const struct spool_session *session)
{
    struct stmt *stmt = spool_stmt(spool, STMT_SESSION_WRITE);
    stmt_bind_int(stmt, 1, (int64_t)session->id);
    stmt_bind_int(stmt, 2, session->uid);
    stmt_bind_text(stmt, 3, session->client);
    stmt_bind_int(stmt, 4, session->expiry_s);
    if (session->left_at != SPOOL_SESSION_CONNECTED)
        stmt_bind_int(stmt, 5, session->left_at);
    else
        stmt_bind_null(stmt, 5);
    stmt_bind_int(stmt, 6, (int64_t)session->missed);
    if (session->subscriptions.size > 0)
        stmt_bind_blob(stmt, 7, session->subscriptions);
    else
        stmt_bind_null(stmt, 7);
    return spool_result(spool, stmt_run(stmt));
}

/* One with the same client may follow in the same commit. */
static int write_all_dropped(struct spool *spool)
{
    int r = 0;
    for (struct spool_session *session = spool->sessions.changed; session && r == 0;
         session = session->next_changed) {
        if (session->is_dropped && session->is_stored)
            r = write_dropped(spool, session);
    }
    return r;
}

int sessions_write_releases(struct spool *spool)
{
    struct sessions *sessions = &spool->sessions;
    int r = 0;
    while (sessions->released < sessions->release_count && r == 0) {
        r = run_with_key(spool, STMT_UNRELEASED_DROP, sessions->releases[sessions->released]);
        sessions->released += r == 0;
    }
    return r;
}

int sessions_write(struct spool *spool)
{
    struct sessions *sessions = &spool->sessions;
    int r = sessions_write_releases(spool);
    if (r == 0)
        r = write_all_dropped(spool);
    sessions->is_written_whole = spool->batch.commit_state != SPOOL_COMMIT_REFUSED;
    for (struct spool_session *session = sessions->changed;
         session && r == 0 && sessions->is_written_whole; session = session->next_changed) {
        if (!session->is_dropped)
            r = write_session(spool, session);
    }
    return r;
}

void sessions_commit(struct sessions *sessions)
{
    struct spool_session *session = sessions->changed;

    sessions->release_count = sessions->released = 0;
    sessions->expired_work = 0;
    if (sessions->is_written_whole)
        sessions->durable = sessions->changes;
    sessions->changed = NULL;
    while (session) {
        struct spool_session *next = session->next_changed;
        if (session->is_dropped) {
            free_session(session);
        } else if (sessions->is_written_whole) {
            session->is_stored = true;
            session->is_changed = false;
        } else {
            session->next_changed = sessions->changed;
            sessions->changed = session;
        }
        session = next;
    }
}

bool sessions_have_work(const struct sessions *sessions)
{
    return sessions->changed || sessions->touched || sessions->release_count > 0;
}

void sessions_shift(struct spool *spool)
{
    const struct spool_clock *clock = &spool->time.clock;
    for (struct spool_session *session = spool_session_next(spool, NULL); session;
         session = spool_session_next(spool, session)) {
        if (session->left_at > clock->state.wall_clock_ms)
            session->left_at += clock->jump_ms;
    }
    spool->sessions.due_ms = INT64_MIN;
}

/* ---- for the owner ---- */

struct spool_session *
spool_session_find(const struct spool *spool, uint32_t uid, struct view client)
{
    if (!spool->sessions.buckets)
        return NULL;
    struct spool_session *session = *bucket_of(&spool->sessions, uid, client);
    while (session && (session->uid != uid || !view_equals(session->client, client)))
        session = session->next;
    return session;
}

struct spool_session *spool_session_next(const struct spool *spool,
                                         const struct spool_session *session)
{
    const struct sessions *sessions = &spool->sessions;
    size_t i = 0;
    if (session && session->next)
        return session->next;
    if (session)
        i = (size_t)(bucket_of(sessions, session->uid, session->client) - sessions->buckets) +
            1;
    while (i < sessions->bucket_count && !sessions->buckets[i])
        i++;
    return i < sessions->bucket_count ? sessions->buckets[i] : NULL;
}

size_t spool_session_count(const struct spool *spool)
{
    return spool->sessions.count;
}

int spool_session_create(struct spool *spool,
                         uint32_t uid,
                         struct view client,
                         uint32_t expiry_s,
                         struct spool_session **ret)
{
    struct sessions *sessions = &spool->sessions;
    struct spool_session *session = add_session(sessions, sessions->last_id + 1, uid, client);
    if (!session)
        return -ENOMEM;
    session->expiry_s = expiry_s;
    sessions_note_change(sessions, session);
    *ret = session;
    return 0;
}

void spool_session_connect(struct spool *spool,
                           struct spool_session *session,
                           uint32_t expiry_s)
{
    if (session->left_at == SPOOL_SESSION_CONNECTED && session->expiry_s == expiry_s)
        return;
    session->left_at = SPOOL_SESSION_CONNECTED;
    session->expiry_s = expiry_s;
    sessions_note_change(&spool->sessions, session);
}

void spool_session_leave(struct spool *spool,
                         struct spool_session *session,
                         const struct spool_time *now)
{
    leave_at(spool, session, spool_clock_ms(spool, now));
}

int spool_session_set_subscriptions(struct spool *spool,
                                    struct spool_session *session,
                                    struct view subscriptions)
{
    int r = copy_subscriptions(session, subscriptions);
    if (r == 0)
        sessions_note_change(&spool->sessions, session);
    return r;
}

void spool_session_set_missed(struct spool *spool,
                              struct spool_session *session,
                              uint64_t missed)
{
    session->missed = missed;
    sessions_note_change(&spool->sessions, session);
}

/* Its rows go with it. */
static void untouch_outbox(struct sessions *sessions, struct spool_session *session)
{
    struct spool_session **place = &sessions->touched;

    if (!session->outbox.is_touched)
        return;
    while (*place != session)
        place = &(*place)->outbox.next_touched;
    *place = session->outbox.next_touched;
}

void spool_session_drop(struct spool *spool, struct spool_session *session)
{
    unlink_session(&spool->sessions, session);
    untouch_outbox(&spool->sessions, session);
    for (unsigned kind = 0; kind < SPOOL_OUTBOX_KINDS; kind++)
        spool->sessions.wanting[kind] -= session->wanted >> kind & 1;
    session->is_dropped = true;
    sessions_note_change(&spool->sessions, session);
}

uint64_t spool_session_changes(const struct spool *spool)
{
    return spool->sessions.changes;
}

uint64_t spool_session_durable(const struct spool *spool)
{
    return spool->sessions.durable;
}

/* On the spool's clock. */
static int64_t ends_at(const struct spool_session *session, uint32_t limit_s)
{
    uint32_t kept_s = session->expiry_s < limit_s ? session->expiry_s : limit_s;
    if (session->left_at == SPOOL_SESSION_CONNECTED)
        return EXPIRE_NEVER;
    return session->left_at + (int64_t)kept_s * 1000;
}

bool spool_session_is_overdue(struct spool *spool,
                              const struct spool_session *session,
                              const struct spool_time *now,
                              uint32_t limit_s)
{
    return ends_at(session, limit_s) <= spool_clock_ms(spool, now);
}

static bool none_is_due(const struct sessions *sessions, int64_t clock_ms, uint32_t limit_s)
{
    return limit_s == sessions->limit_s && clock_ms < sessions->due_ms;
}

struct spool_session *
spool_session_find_overdue(struct spool *spool, const struct spool_time *now, uint32_t limit_s)
{
    int64_t clock_ms = spool_clock_ms(spool, now);
    struct spool_session *session;
    if (none_is_due(&spool->sessions, clock_ms, limit_s))
        return NULL;
    for (session = spool_session_next(spool, NULL); session;
         session = spool_session_next(spool, session)) {
        if (ends_at(session, limit_s) <= clock_ms)
            return session;
    }
    return NULL;
}

/* False: the next commit has enough to do, or its rows could not be counted. */
static bool expire_one(struct spool *spool, struct spool_session *session)
{
    struct sessions *sessions = &spool->sessions;
    struct stmt *stmt = spool_stmt(spool, STMT_SESSION_ROWS);
    uint64_t work = EXPIRE_WORK;
    if (spool->conn.failed < 0)
        return false;
    stmt_bind_int(stmt, 1, (int64_t)session->id);
    int rc = stmt_step(stmt);
    if (rc == SQLITE_ROW)
        work += (uint64_t)stmt_int(stmt, 0);
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r != 0 ||
        (sessions->expired_work > 0 && sessions->expired_work + work > EXPIRE_WORK_MAX))
        return false;
    sessions->expired_work += work;
    spool_session_drop(spool, session);
    return true;
}

unsigned
spool_session_expire(struct spool *spool, const struct spool_time *now, uint32_t limit_s)
{
    struct sessions *sessions = &spool->sessions;
    int64_t clock_ms = spool_clock_ms(spool, now);
    int64_t due_ms = EXPIRE_NEVER;
    unsigned ended = 0;
    struct spool_session *session, *next;
    if (none_is_due(sessions, clock_ms, limit_s))
        return 0;
    sessions->limit_s = limit_s;
    for (session = spool_session_next(spool, NULL); session; session = next) {
        int64_t end = ends_at(session, limit_s);
        next = spool_session_next(spool, session);
        if (end <= clock_ms && expire_one(spool, session)) {
            ended++;
            continue;
        }
        if (end < due_ms)
            due_ms = end;
        if (end <= clock_ms)
            break; /* the others are for a later call */
    }
    sessions->due_ms = due_ms;
    return ended;
}

/* ---- packet ids of QoS 2 ---- */

static int64_t packet_key(uint64_t session, uint16_t packet_id)
{
    return (int64_t)(session << PACKET_ID_BITS | packet_id);
}

int sessions_add_unreleased(struct spool *spool,
                            uint64_t session,
                            uint16_t packet_id,
                            uint64_t message)
{
    int r = sessions_write_releases(spool);
    if (r != 0)
        return r;
    struct stmt *stmt = spool_stmt(spool, STMT_UNRELEASED_ADD);
    stmt_bind_int(stmt, 1, packet_key(session, packet_id));
    stmt_bind_int(stmt, 2, (int64_t)message);
    return spool_result(spool, stmt_run(stmt));
}

int spool_release_packet(struct spool *spool,
                         const struct spool_session *session,
                         uint16_t packet_id)
{
    struct sessions *sessions = &spool->sessions;
    if (sessions->release_count == sessions->release_capacity) {
        size_t capacity =
            sessions->release_capacity > 0 ? 2 * sessions->release_capacity : RELEASES_FIRST;
        int64_t *grown = realloc(sessions->releases, capacity * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        sessions->releases = grown;
        sessions->release_capacity = capacity;
    }
    sessions->releases[sessions->release_count++] = packet_key(session->id, packet_id);
    return 0;
}

int spool_each_unreleased(struct spool *spool,
                          const struct spool_session *session,
                          spool_unreleased_fn *fn,
                          void *userdata)
{
    struct stmt *stmt = spool_stmt(spool, STMT_UNRELEASED);
    int rc;
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    stmt_bind_int(stmt, 1, packet_key(session->id, 0));
    stmt_bind_int(stmt, 2, packet_key(session->id, UINT16_MAX));
    while ((rc = stmt_step(stmt)) == SQLITE_ROW)
        fn(userdata, (uint16_t)stmt_int(stmt, 0), (uint64_t)stmt_int(stmt, 1));
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

int spool_find_unreleased(struct spool *spool,
                          const struct spool_session *session,
                          uint16_t packet_id,
                          uint64_t *ret_message)
{
    struct stmt *stmt = spool_stmt(spool, STMT_UNRELEASED);
    if (spool->conn.failed < 0)
        return spool->conn.failed;
    stmt_bind_int(stmt, 1, packet_key(session->id, packet_id));
    stmt_bind_int(stmt, 2, packet_key(session->id, packet_id));
    int rc = stmt_step(stmt);
    int r = spool_result(spool, rc);
    if (r == 0)
        *ret_message = rc == SQLITE_ROW ? (uint64_t)stmt_int(stmt, 1) : 0;
    stmt_reset(stmt);
    return r;
}
