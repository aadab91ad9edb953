/* SPDX-License-Identifier: MIT */
/*
 * feed.h - what producers are sent for their subscriptions
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_FEED_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/view.h"
#include "daemon/gateway/clients.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/outcomes.h"
#include "daemon/gateway/sessions.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/connection.h"
#include "store/spool.h"

struct feed {
    struct clients *clients; /* borrowed */
    struct outcomes outcomes;
    struct spool *spool; /* borrowed; set before a client connects */
    struct edge_timer *edge_timer;
    struct session_waits confirming; /* whose SUBACK waits for a commit */
    struct turn *turn;               /* borrowed */
    char *status;                    /* the newest object; NULL: there is none yet */
    size_t status_size;
    sd_event_source *status_timer; /* while it is asked for: gateway_on_status_asked() */
    bool is_status_asked;          /* by a subscription since it was composed for one, */
    int64_t status_boot_ms;        /* which was then; boot time */
};

/* The borrowed parts are set already, or later. */
void feed_init(struct feed *feed);
void feed_finish(struct feed *feed);

/* The status is now this; those that have subscribed to it are sent it. */
void feed_set_status(struct feed *feed, const char *text, size_t size);

/* The status that new subscriptions wait for: it was composed after them. @text: NULL: it
 * cannot be; they are sent the one before. */
void feed_answer_status(struct feed *feed, const char *text, size_t size);

/* At the end of the batch edge: the subscriptions that are durable are answered. After a batch
 * that is lost all are: they are in effect, and durable with the next commit. */
void feed_confirm(struct feed *feed);
void feed_note_lost(struct feed *feed);

/* As clients_feed_ops has them. */
uint8_t feed_on_subscribe(struct feed *feed,
                          struct client *client,
                          const struct connection_subscribe *subscribe);
uint8_t feed_on_unsubscribe(struct feed *feed, struct client *client, struct view filter);
void feed_on_connected(struct feed *feed, struct client *client);
bool feed_on_subscribed(struct feed *feed, struct client *client);
void feed_on_acknowledged(struct feed *feed, struct client *client, uint64_t tag);
void feed_on_writable(struct feed *feed, struct client *client);
/* The client has left. */
void feed_on_closed(struct feed *feed, struct client *client);

#endif
