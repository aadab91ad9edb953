/* SPDX-License-Identifier: MIT */
/*
 * fake_session.h - a session of a producer in a fake store, for the fuzz target of connections
 *
 * It knows the packet ids of QoS 2 that are not released, and the messages to the client
 * that were not acknowledged, and checks with each call that the connection agrees. Like the
 * store, it has the rows of a lost batch again, and repeats its releases with the next commit.
 */
#ifndef MQTT_SPOOLD_TESTS_FUZZ_FAKE_SESSION_H
#define MQTT_SPOOLD_TESTS_FUZZ_FAKE_SESSION_H

#include "tests/fuzz/promise.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "daemon/ingress/connection.h"

#define FAKE_SESSION_IDS 65536

struct fake_delivery {
    uint64_t tag;
    uint16_t packet_id; /* 0: the connection chose it */
    bool is_unsent;     /* on this connection */
};

struct fake_session {
    bool is_kept; /* in the store: it is resumed, and releases wait for their commit */
    uint32_t expiry_s;
    bool is_changed; /* since the last commit */
    bool durable[FAKE_SESSION_IDS];
    bool now[FAKE_SESSION_IDS];      /* with the open batch */
    bool released[FAKE_SESSION_IDS]; /* since the last commit */
    bool is_used[FAKE_SESSION_IDS];  /* it is in the list */
    uint16_t used[FAKE_SESSION_IDS];
    unsigned used_count;

    struct fake_delivery deliveries[CONNECTION_WINDOW_MAX];
    unsigned delivery_count;
    uint64_t last_tag;
};

/* The large arrays hold nothing but of the ids that were used. */
static inline void fake_session_clear(struct fake_session *session)
{
    for (unsigned i = 0; i < session->used_count; i++) {
        uint16_t id = session->used[i];

        session->durable[id] = session->now[id] = session->released[id] = false;
        session->is_used[id] = false;
    }
    session->used_count = session->delivery_count = 0;
    session->is_kept = session->is_changed = false;
    session->expiry_s = 0;
}

static inline void fake_session_use(struct fake_session *session, uint16_t id)
{
    if (!session->is_used[id])
        session->used[session->used_count++] = id;
    session->is_used[id] = true;
}

/* ---- QoS 2 ---- */

static inline void fake_session_offered(struct fake_session *session, uint16_t packet_id)
{
    PROMISE(!session->now[packet_id]); /* else it is stored twice */
}

static inline void fake_session_add(struct fake_session *session, uint16_t packet_id)
{
    fake_session_offered(session, packet_id);
    fake_session_use(session, packet_id);
    session->now[packet_id] = true;
    session->is_changed = true;
}

static inline void fake_session_repeated(const struct fake_session *session, uint16_t packet_id)
{
    PROMISE(session->now[packet_id]); /* else it is lost */
}

/* Return: must its PUBCOMP wait for the commit? */
static inline bool fake_session_release(struct fake_session *session, uint16_t packet_id)
{
    PROMISE(session->now[packet_id]);
    session->now[packet_id] = false;
    if (!session->is_kept)
        session->durable[packet_id] = false;
    session->released[packet_id] = session->is_kept;
    session->is_changed = true;
    return session->is_kept;
}

static inline void fake_session_commit(struct fake_session *session)
{
    if (!session->is_changed)
        return;
    for (unsigned i = 0; i < session->used_count; i++) {
        uint16_t id = session->used[i];

        session->durable[id] = session->now[id];
        session->released[id] = false;
    }
    session->is_changed = false;
}

/* As the owner does with the rows that the store has. */
static inline void fake_session_load(const struct fake_session *session,
                                     struct connection *connection)
{
    connection_clear_unreleased(connection);
    for (unsigned i = 0; i < session->used_count; i++) {
        uint16_t id = session->used[i];

        if (session->durable[id])
            PROMISE(connection_set_unreleased(connection, id) == 0);
    }
}

static inline void fake_session_roll_back(struct fake_session *session,
                                          struct connection *connection)
{
    for (unsigned i = 0; i < session->used_count; i++) {
        uint16_t id = session->used[i];

        session->now[id] = session->durable[id] && !session->released[id];
    }
    if (session->is_kept)
        fake_session_load(session, connection);
}

/* ---- messages to the client ---- */

/* The one that is to be sent next: again, or a new one that the caller adds. NULL: no room. */
static inline struct fake_delivery *fake_session_next(struct fake_session *session)
{
    for (unsigned i = 0; i < session->delivery_count; i++) {
        if (session->deliveries[i].is_unsent)
            return &session->deliveries[i];
    }
    return session->delivery_count < CONNECTION_WINDOW_MAX
               ? &session->deliveries[session->delivery_count]
               : NULL;
}

static inline void fake_session_acknowledged(struct fake_session *session, uint64_t tag)
{
    unsigned i = 0;

    while (i < session->delivery_count && session->deliveries[i].tag != tag)
        i++;
    PROMISE(i < session->delivery_count);       /* each is acknowledged once */
    PROMISE(!session->deliveries[i].is_unsent); /* and not before it was sent */
    session->delivery_count--;
    memmove(&session->deliveries[i], &session->deliveries[i + 1],
            (session->delivery_count - i) * sizeof(session->deliveries[0]));
}

/* ---- connections ---- */

/* What it has of a client that resumes it. */
static inline void fake_session_resume(struct fake_session *session,
                                       struct connection *connection)
{
    unsigned kept = 0;

    fake_session_load(session, connection);
    for (unsigned i = 0; i < session->delivery_count; i++) {
        if (session->deliveries[i].packet_id == 0)
            continue; /* of no kept session */
        session->deliveries[kept] = session->deliveries[i];
        session->deliveries[kept++].is_unsent = true;
    }
    session->delivery_count = kept;
}

static inline void fake_session_leave(struct fake_session *session)
{
    if (!session->is_kept || session->expiry_s == 0)
        fake_session_clear(session);
}

#endif
