/* SPDX-License-Identifier: MIT */
/*
 * waiting.h - whose turn it is among the clients whose PUBLISH waits
 *
 * Turns go round by user, and among the clients of a user by how long they have
 * waited. A client that waits for room in its lane costs nothing until there is
 * room for its message.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_WAITING_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_WAITING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/gateway/batch.h"
#include "daemon/gateway/users.h"
#include "store/spool.h"

/* The queue of those that wait for anything but their lane: a share of a batch, the disk,
 * ... */
#define WAITING_ANY SPOOL_LANES_MAX

/* Part of a client. */
struct waiter {
    TAILQ_ENTRY(waiter) link;
    bool is_waiting;
    bool has_turn;   /* its next PUBLISH may pass those that wait for the same lane */
    unsigned queue;  /* a lane, or WAITING_ANY */
    uint64_t charge; /* in a lane */
    uint64_t turn;
    uint64_t pass; /* the last one in which it was offered again */
    struct user *user;
    const struct share *share;
};
TAILQ_HEAD(waiter_list, waiter);

struct waiting {
    struct waiter_list queues[SPOOL_LANES_MAX + 1];
    unsigned count;
    uint64_t turn; /* of the last one that had its turn */
    uint64_t pass;
};

void waiting_init(struct waiting *waiting);
/* At the end of its user's turns. @queue: a lane that has no room for @charge, or
 * WAITING_ANY. */
void waiting_add(struct waiting *waiting,
                 struct waiter *waiter,
                 unsigned queue,
                 uint64_t charge);
/* Does nothing if it does not wait. */
void waiting_remove(struct waiting *waiting, struct waiter *waiter);
bool waiting_has_lane(const struct waiting *waiting, unsigned lane);
/* Lanes have other limits or numbers now. */
void waiting_forget_lanes(struct waiting *waiting);

/* Before waiting_next() is called until it returns NULL. */
void waiting_begin_pass(struct waiting *waiting);
/* Takes the one whose turn it is, and that can be served, out of its queue; NULL: there is
 * none. */
struct waiter *waiting_next(struct waiting *waiting, const struct batch *batch);

#endif
