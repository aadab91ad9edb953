/* SPDX-License-Identifier: MIT */
/*
 * wills.h - messages that clients leave when they do not disconnect orderly
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_WILLS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_WILLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/ingress/connection.h"

/* Of all wills whose clients have gone, in bytes of memory; a user has half of it. A client
 * with a will is rejected while they have more. */
#define WILLS_BYTES_MAX ((size_t)8 * 1024 * 1024)

struct will {
    TAILQ_ENTRY(will) link;
    struct connection_will *message; /* owned */
    int64_t due_ms;                  /* boot time, of a delayed one */
    uint32_t uid;
    unsigned rate; /* messages a second of its user; 0: no limit */
    size_t size;   /* of its memory */
    size_t client_size;
    uint8_t client[]; /* its id */
};
TAILQ_HEAD(will_list, will);

struct wills {
    struct will_list due;
    struct will_list batched; /* in the open batch */
    struct will_list delayed; /* until their time comes, or their sessions end */
    unsigned delayed_count;
    size_t bytes;   /* of all */
    size_t untried; /* of those that are due, about */
};

void wills_init(struct wills *wills);
/* Logs what was not stored. */
void wills_finish(struct wills *wills);

#endif
