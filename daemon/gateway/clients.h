/* SPDX-License-Identifier: MIT */
/*
 * clients.h - producers connect, are admitted, and leave
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_CLIENTS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_CLIENTS_H

#include <sys/queue.h>

#include "base/peer.h"
#include "daemon/config/config.h"
#include "daemon/gateway/batch.h"
#include "daemon/gateway/counters.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/stop.h"
#include "daemon/gateway/turn.h"
#include "daemon/gateway/users.h"
#include "daemon/gateway/waiting.h"
#include "daemon/ingress/session.h"

/* A session and what the gateway notes about it. Owned by the list it is in: open or closed. */
struct client {
    TAILQ_ENTRY(client) link;
    TAILQ_ENTRY(client) owing_link;
    struct waiter waiter;
    struct clients *clients; /* borrowed, both */
    struct user *user;
    struct session *session;
    struct share share; /* of the open batch */
    bool is_owing;
    bool is_active;         /* counted in that of its user */
    bool is_surplus;        /* above the limit: its CONNECT is rejected */
    bool is_refusal_logged; /* why it is rejected */
};
TAILQ_HEAD(client_list, client);

/* What becomes of a PUBLISH: gateway_on_publish() decides, which is above this part. */
typedef struct session_verdict clients_publish_fn(void *userdata,
                                                  struct client *client,
                                                  const struct session_publish *publish);

struct clients {
    struct turn *turn; /* borrowed, all six */
    const struct config *config;
    struct edge_timer *edge_timer;
    const struct stop *stop;
    struct counters *counters;
    struct batch *batch;
    clients_publish_fn *on_publish;
    void *userdata;
    struct client_list open;
    struct client_list owing;  /* with a message in the open batch */
    struct client_list closed; /* freed at the batch edge */
    struct waiting waiting;    /* with a PUBLISH that was not accepted yet */
    struct users users;
    unsigned max;           /* of the configuration, or less if descriptors are short */
    unsigned max_surplus;   /* of those above it that are answered */
    unsigned count;         /* without the surplus */
    unsigned surplus_count; /* above max, until their CONNECT is answered */
};

/* The borrowed parts are set already. */
void clients_init(struct clients *clients);
/* At the start and when listen.max_clients has changed. */
void clients_fit(struct clients *clients);
/* Takes @fd over, also on failure; @userdata: struct clients. As listener_ops has it. */
int clients_on_accept(void *userdata, int fd, const struct peer *peer);

/* It has one more message in the open batch, of this charge, with or without an acknowledgement
 * to come. */
void clients_note_owing(struct client *client, uint64_t charge);
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
