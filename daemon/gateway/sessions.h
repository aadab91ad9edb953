/* SPDX-License-Identifier: MIT */
/*
 * sessions.h - which sessions of producers outlive their connections, and for how long
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_SESSIONS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_SESSIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/log.h"
#include "daemon/config/config.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/connection.h"
#include "store/spool.h"

/* Of a client whose answer waits until what has changed of the spool's sessions is durable. */
struct session_wait {
    TAILQ_ENTRY(session_wait) link;
    struct connection *connection; /* borrowed */
    uint64_t change;               /* 0: it waits for none any more */
    bool is_pending;
};
TAILQ_HEAD(session_waits, session_wait);

/* What a client has of its session. All zero but the connection: before its CONNECT. */
struct client_session {
    struct connection *connection; /* borrowed */
    struct spool_session *kept;    /* NULL: it ends with the connection */
    struct connection_admission admission;
    struct session_wait wait; /* of its CONNACK */
    bool has_begun;
    bool is_refused; /* it cannot be kept: there is no room on the disk */
};

struct client_sessions {
    struct turn *turn; /* borrowed, all four */
    const struct config *config;
    struct spool *spool;
    struct edge_timer *edge_timer;
    struct session_waits waiting;
    struct log_limit warnings;
    unsigned expired; /* dropped since it was last logged */
};

/* For what has changed up to now; the commit is for the caller to arm. */
void session_wait_begin(struct session_waits *waits,
                        struct session_wait *wait,
                        struct connection *connection,
                        const struct spool *spool);
/* Does nothing if it does not wait. */
void session_wait_end(struct session_waits *waits, struct session_wait *wait);
/* At the end of the batch edge: @answer is called for those whose change is durable. */
void session_waits_answer(struct session_waits *waits,
                          const struct spool *spool,
                          void (*answer)(struct connection *connection));

/* The borrowed parts are set already. */
void client_sessions_init(struct client_sessions *sessions);

/* As ops->connected of a connection, of a client that may connect; after the connection that
 * had the session was left. */
uint8_t client_session_connect(struct client_sessions *sessions,
                               struct client_session *session,
                               const struct connection_connect *connect,
                               struct connection_admission *ret);
void client_session_set_expiry(struct client_sessions *sessions,
                               struct client_session *session,
                               uint32_t expiry_s);
/* How long it would still live if its client left now, in seconds; 0: it ends with the
 * connection. */
uint32_t client_session_life_s(const struct client_sessions *sessions,
                               const struct client_session *session);
/* Its client has left, or another connection takes the session over. */
void client_session_leave(struct client_sessions *sessions, struct client_session *session);

/* As ops->repeated and ops->released; without waking the batch edge. */
uint64_t client_session_find_message(struct client_sessions *sessions,
                                     const struct client_session *session,
                                     uint16_t packet_id);
bool client_session_release(struct client_sessions *sessions,
                            struct client_session *session,
                            uint16_t packet_id);

/* At the end of the batch edge: those whose change is durable get their CONNACK. */
void client_sessions_confirm(struct client_sessions *sessions);
/* The batch is lost: new sessions are rejected, because they may need room that there is
 * not. */
void client_sessions_refuse(struct client_sessions *sessions);
/* The same for the packet ids of one that is connected: as the spool has them. */
void client_session_reload(struct client_sessions *sessions, struct client_session *session);

/* Every second. */
void client_sessions_expire(struct client_sessions *sessions);

#endif
