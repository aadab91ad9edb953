/* SPDX-License-Identifier: MIT */
/*
 * poison.h - which message the broker closes at, found without blaming another
 *
 * A message at which the broker closed POISON_CLOSINGS times is sent alone. If the
 * broker closes again, another message is sent alone: if that one gets an answer, the
 * first is condemned; if the broker closes at it, too, it closes at whatever comes, and
 * both are acquitted. Nothing here sends or ends anything.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_POISON_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_POISON_H

#include <stdbool.h>
#include <stdint.h>

enum {
    POISON_CLOSINGS = 3, /* so many, and it is sent alone */
    POISON_ALONE,        /* it was alone at the last one */
    /* The same once more, after another one was answered. A restart may have mended the cause,
     * so what was before it condemns only with these. */
    POISON_CERTAIN = POISON_ALONE + 2,
};

enum poison_step {
    POISON_NONE,    /* no message is suspected */
    POISON_SUSPECT, /* the suspect is to be sent alone */
    POISON_OTHER,   /* the broker closed at it: another one is to be sent alone */
};

struct poison {
    enum poison_step step;
    uint64_t suspect_id;
    uint64_t other_id; /* sent in step POISON_OTHER; 0: none yet */
    bool is_old;       /* what is known of the suspect is of before a restart */
};

/* What follows for which message. */
enum poison_verdict {
    POISON_CONTINUES,
    POISON_BEGINS,  /* the message is suspected from now on */
    POISON_ACQUITS, /* the suspect: its closings are to be forgotten */
    POISON_ACQUITS_BOTH,
    POISON_RETRIES,  /* the suspect, alone: another one was answered */
    POISON_CONDEMNS, /* the suspect */
};

/* A message that has so many closings is to be sent. Return: does it become the suspect? With
 * more than POISON_CLOSINGS another one is to be sent first. */
bool poison_begin(struct poison *poison, uint64_t id, unsigned closings);
/* The broker closed at the message, for the @closings-th time. */
enum poison_verdict poison_on_closing(struct poison *poison, uint64_t id, unsigned closings);
/* The broker answered the message. */
enum poison_verdict poison_on_answer(struct poison *poison, uint64_t id);
/* No suspect any more; after POISON_ACQUITS, _ACQUITS_BOTH and _CONDEMNS. */
void poison_end(struct poison *poison);

#endif
