/* SPDX-License-Identifier: MIT */
/*
 * turns.h - whose message goes out next
 *
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_TURNS_H
#define MQTT_SPOOLD_STORE_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum { TURNS_PLACES = 8 }; /* docs/design.md and the manual say eight of nine */

struct lane;

struct turns {
    struct lane **by_priority; /* highest first; of one priority, whose turn it is */
    struct lane **by_wait;     /* the one that had the ninth place longest ago first */
    size_t count;
    unsigned places;    /* in a row that went to the front */
    int priority;       /* of the lane that had the newest of them */
    struct lane *taker; /* of the newest message; NULL: it is counted, or came back */
    uint64_t taker_id;
    unsigned taker_live_places; /* its live_places before it got that message */
    bool is_ninth;              /* was it a place for those below? */
};

/* @lanes: borrowed until turns_done(). Return: 0; -ENOMEM. */
MUST_CHECK int turns_new(struct lane *lanes, size_t count, struct turns *ret);
void turns_done(struct turns *turns);
/* Counts the place of the newest message, which was kept. */
void turns_count_place(struct turns *turns);
/* The message came back: its place does not count if it was the newest. */
void turns_give_back(struct turns *turns, uint64_t id);

#endif
