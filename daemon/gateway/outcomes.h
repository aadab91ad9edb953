/* SPDX-License-Identifier: MIT */
/*
 * outcomes.h - producers are sent how their messages ended
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_OUTCOMES_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_OUTCOMES_H

#include <stdbool.h>
#include <sys/queue.h>

#include "daemon/config/config.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/outcome_topic.h"
#include "daemon/gateway/record_queue.h"
#include "daemon/gateway/replay.h"
#include "daemon/gateway/turn.h"
#include "store/spool.h"

#define OUTCOMES_BUCKETS 256

/* Of a client that has subscribed to outcomes. */
struct outcome_subscriber {
    LIST_ENTRY(outcome_subscriber) link; /* of its bucket, or of the wide ones */
    TAILQ_ENTRY(outcome_subscriber) touched_link;
    struct client *client; /* borrowed */
    bool is_touched;
    bool is_counted[OUTCOME_KINDS]; /* among those that are to be sent them */
    int own_qos[OUTCOME_KINDS];     /* granted for its own; SUBSCRIPTIONS_NONE */
    struct record_queue queue;      /* of what is not kept */
    struct replay replay;
};
LIST_HEAD(outcome_list, outcome_subscriber);

struct outcomes {
    struct turn *turn; /* borrowed, all four; the spool is set before a client subscribes */
    const struct config *config;
    struct spool *spool;
    struct edge_timer *edge_timer;
    struct record_budget budget;
    struct outcome_list buckets[OUTCOMES_BUCKETS];
    struct outcome_list wide;                 /* also of others' messages */
    TAILQ_HEAD(, outcome_subscriber) touched; /* with records of the open batch */
    unsigned subscribers[OUTCOME_KINDS];
};

/* The borrowed parts are set already, or later. */
void outcomes_init(struct outcomes *outcomes);
/* What the sessions have subscribed to, after the open of the spool. */
void outcomes_load(struct outcomes *outcomes);

/* The subscriptions of the client have changed. Return: 0; -ENOMEM: it is not a subscriber. */
int outcomes_update(struct outcomes *outcomes, struct client *client);
/* The client has left. May be called again. */
void outcomes_forget(struct outcomes *outcomes, struct client *client);

/* The batch is committed: its records are sent. Or it is lost: they are void. */
void outcomes_release(struct outcomes *outcomes);
void outcomes_discard(struct outcomes *outcomes);

/* The client has room again; what is sent still has to be flushed. */
void outcomes_send(struct outcomes *outcomes, struct client *client);
/* As ops->acknowledged of a connection. */
void outcomes_acknowledge(struct outcomes *outcomes, struct client *client, uint64_t tag);

#endif
