/* SPDX-License-Identifier: MIT */
/*
 * users.h - a user for each uid that has clients: what its clients share
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_USERS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_USERS_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/log.h"
#include "daemon/uplink/pacer.h"

/* Of the open batch. */
struct share {
    unsigned messages;
    uint64_t bytes; /* charges */
};

struct user {
    TAILQ_ENTRY(user) link;
    uid_t uid;
    unsigned clients;          /* connected */
    unsigned silent;           /* of these, they have sent no CONNECT */
    unsigned admitted;         /* their CONNECT was accepted */
    unsigned active;           /* of these, in the open batch or waiting */
    struct share share;        /* of all of them */
    uint64_t turn;             /* of the waiting list, the last one that it was given */
    struct log_limit warnings; /* lines about its clients */
    struct log_limit notices;  /* lines about its rate */
    struct pacer pacer;        /* of its rate */
    /* Of throttle.c: its clients that wait for the rate. */
    TAILQ_HEAD(throttled_list, throttled) throttled;
    TAILQ_ENTRY(user) throttled_link;
    bool is_throttled; /* in the list of these users */
};
TAILQ_HEAD(user_list, user);

struct users {
    struct user_list list; /* the one that was needed last is the last */
    unsigned idle;         /* without a client */
    unsigned active;       /* with active clients */
    struct user others;    /* for all that no memory is left for */
};

void users_init(struct users *users);
void users_finish(struct users *users);

/* Valid until the next call that may forget a user, if it has no client. Never NULL. */
struct user *users_find(struct users *users, uid_t uid);
/* The one whose silent connections are the most; NULL: there are none. */
const struct user *users_find_most_silent(const struct users *users);
/* A client of @user connects, or has left; then @user may be forgotten. */
void users_add_client(struct users *users, struct user *user);
void users_remove_client(struct users *users, struct user *user);
/* One of its clients is in the open batch or waits, or is and does no longer. */
void users_add_active(struct users *users, struct user *user);
void users_remove_active(struct users *users, struct user *user);

#endif
