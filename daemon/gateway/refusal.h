/* SPDX-License-Identifier: MIT */
/*
 * refusal.h - when the broker refuses everything, and how it is then tried
 *
 * While the link is refused one message at a time is tried, a few in each round: first
 * the oldest, then others, because the oldest may be the one that no broker takes. A
 * pause follows that doubles from round to round. Nothing here sends or ends anything.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_REFUSAL_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_REFUSAL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    REFUSAL_IN_A_ROW = 8, /* without an acceptance between them: the link is refused */
    REFUSAL_TRIES = 3,    /* in each round */
};

struct refusal {
    unsigned in_a_row;
    uint64_t tag;      /* of the newest one: see shape_tag() */
    bool is_varied;    /* those in a row are of more than one topic */
    bool is_refused;   /* the link is */
    uint64_t taken[2]; /* topics accepted on this connection, the newest first */
    int code;          /* of the newest one */
    unsigned rounds;   /* that have begun */
    unsigned tries_left;
    int64_t due_boot_ms; /* of the next round */
    uint64_t head_id;    /* the oldest that was tried: each round begins with it; 0: none */
};

/* A new connection: nothing is known of what its broker accepts. */
void refusal_begin_connection(struct refusal *refusal);
/* A refusal of a topic. Return: does the link become refused by it? One topic is not enough if
 * the broker accepted another one on this connection. */
bool refusal_count(struct refusal *refusal, uint64_t tag, int code);
/* An acceptance of a topic. Return: was the link refused? */
bool refusal_clear(struct refusal *refusal, uint64_t tag);
/* While the link is refused and nothing is in flight: may a message be tried? Begins a round
 * that is due. */
bool refusal_may_try(struct refusal *refusal,
                     int64_t boot_ms,
                     uint64_t min_ms,
                     uint64_t max_ms);
/* The message to try, by its id; 0: any that is due. */
uint64_t refusal_choose(const struct refusal *refusal);
/* Of the round. */
bool refusal_is_first_try(const struct refusal *refusal);
void refusal_note_try(struct refusal *refusal, uint64_t id);
/* There is no other message to try in this round. */
void refusal_end_round(struct refusal *refusal);
/* @min_ms doubled @times times, at most @max_ms. */
uint64_t refusal_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned times);

#endif
