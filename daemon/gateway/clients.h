/* SPDX-License-Identifier: MIT */
/*
 * clients.h - producers connect, are admitted, and leave
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_CLIENTS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/gateway/access.h"
#include "daemon/gateway/batch.h"
#include "daemon/gateway/counters.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/sessions.h"
#include "daemon/gateway/stop.h"
#include "daemon/gateway/subscriptions.h"
#include "daemon/gateway/throttle.h"
#include "daemon/gateway/turn.h"
#include "daemon/gateway/users.h"
#include "daemon/gateway/waiting.h"
#include "daemon/gateway/wills.h"
#include "daemon/ingress/connection.h"

struct outcome_subscriber;

/* A connection and what the gateway notes about it. Owned by its list: open or closed. */
struct client {
    TAILQ_ENTRY(client) link;
    TAILQ_ENTRY(client) owing_link;
    struct waiter waiter;
    struct throttled throttled;
    struct clients *clients; /* borrowed, both */
    struct user *user;
    struct connection *connection;
    struct access access;
    struct share share;  /* of the open batch */
    int64_t accepted_ms; /* boot time */
    struct subscriptions subscriptions;
    struct session_wait confirm; /* of its SUBACK */
    bool has_new_subscriptions;  /* that its session does not have */
    struct client_session session;
    struct outcome_subscriber *outcomes; /* owned by outcomes.c; NULL: it is none */
    int64_t answered_boot_ms;            /* there was room for an answer of control.c */
    bool is_status_due;                  /* it is sent the status when it has room */
    bool is_status_awaited;              /* but only one that is composed from now on */
    bool has_connected;                  /* its CONNECT was read */
    bool is_admitted;                    /* and accepted */
    bool is_owing;
    bool is_active;         /* counted in that of its user */
    bool is_surplus;        /* above the limit: its CONNECT is rejected */
    bool is_refusal_logged; /* why it is rejected */
};
TAILQ_HEAD(client_list, client);

/* What becomes of a PUBLISH: gateway_on_publish() decides, which is above this part. */
typedef struct connection_verdict clients_publish_fn(void *userdata,
                                                     struct client *client,
                                                     const struct connection_publish *publish);

/* What is sent to clients: feed.c, which is above this part. As connection_ops has them. */
struct clients_feed_ops {
    /* Its CONNECT is accepted. */
    void (*connected)(void *userdata, struct client *client);
    uint8_t (*subscribe)(void *userdata,
                         struct client *client,
                         const struct connection_subscribe *subscribe);
    uint8_t (*unsubscribe)(void *userdata, struct client *client, struct view filter);
    bool (*subscribed)(void *userdata, struct client *client);
    void (*acknowledged)(void *userdata, struct client *client, uint64_t tag);
    void (*writable)(void *userdata, struct client *client);
    void (*closed)(void *userdata, struct client *client); /* may be called again */
};

/* What becomes of wills: wills.c, which is above this part. */
struct clients_will_ops {
    /* Of a client that may connect. Return: MQTT_SUCCESS, or why its will rejects it. */
    uint8_t (*check)(void *userdata, struct client *client, const struct connection_will *will);
    /* Its connection has ended or is closed, its session is still there:
     * connection_take_will(). */
    void (*left)(void *userdata, struct client *client);
    /* It may connect, and has resumed the session, or an older one has ended. */
    void (*connected)(void *userdata, struct client *client, bool is_resumed);
};

struct clients {
    struct turn *turn; /* borrowed, all six */
    const struct config *config;
    struct edge_timer *edge_timer;
    const struct stop *stop;
    struct counters *counters;
    struct batch *batch;
    clients_publish_fn *on_publish;
    const struct clients_feed_ops *feed_ops;
    const struct clients_will_ops *will_ops;
    void *userdata; /* of these three */
    struct client_list open;
    struct client_list owing;  /* with a message in the open batch */
    struct client_list closed; /* freed at the batch edge */
    struct wills wills;        /* of those that have gone */
    struct waiting waiting;    /* with a PUBLISH that was not accepted yet */
    struct throttle throttle;  /* with one that was read too soon for the rate of its user */
    struct users users;
    struct client_sessions sessions;
    unsigned max;           /* of the configuration, or less if descriptors are short */
    unsigned max_surplus;   /* of those above it that are answered */
    unsigned count;         /* without the surplus */
    unsigned surplus_count; /* above max, until their CONNECT is answered */
};

/* The borrowed parts are set already. */
void clients_init(struct clients *clients);
/* Makes the timer. Return: 0 or negative errno. */
MUST_CHECK int clients_start(struct clients *clients);
/* At the start and when listen.max_clients has changed. */
void clients_fit(struct clients *clients);
/* Takes @fd over, also on failure; @userdata: struct clients. As listener_ops has it. */
int clients_on_accept(void *userdata, int fd, const struct peer *peer);

/* clients_access.c: may it steer the spool, and see what is of others? */
bool client_is_admin(const struct client *client);

/* It has one more message in the open batch, of this charge, with or without an acknowledgement
 * to come. */
void clients_note_owing(struct client *client, uint64_t charge);
/* clients_access.c: the access list has changed, so each client has what it allows now. Those
 * are closed that lost their access, or a right that they have used to subscribe. Until then
 * the old list must exist. */
void clients_apply_access(struct clients *clients);
/* Why it is rejected or closed, after its CONNECT. @what: one word, or quoted. */
void clients_log_client_refused(struct client *client, const char *what, const char *remedy);
#define CLIENTS_ALLOW_USER                                                                     \
    "if this program may publish, add an entry to access that fits its user or one of its "    \
    "groups; otherwise end it"
/* A message of it is refused, and will be at every other try; the connection stays. */
void clients_log_refused(const struct client *client, const char *reason, const char *remedy);
/* clients_access.c: a PUBLISH of it was read. Return: false: it waits, because its user is
 * above its rate. */
bool clients_admit_rate(struct client *client);
/* As waiting_add(). */
void clients_note_waiting(struct client *client, unsigned queue, uint64_t charge);
void clients_acknowledge(struct clients *clients);
void clients_refuse_owed(struct clients *clients, uint8_t code);
/* Closes those that are owed an acknowledgement: whether their messages are stored is open. */
void clients_drop_owed(struct clients *clients, uint8_t code, const char *why);
/* By their turns, as far as there is room. */
void clients_resume_waiting(struct clients *clients);
void clients_free_closed(struct clients *clients);
/* Each gets a DISCONNECT: the daemon stops. */
void clients_close(struct clients *clients);
void clients_finish(struct clients *clients);

#endif
