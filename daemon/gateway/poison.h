/* SPDX-License-Identifier: MIT */
/*
 * poison.h - which message the broker closes at, found without blaming another
 *
 * A message at which the broker closed POISON_CLOSINGS times is suspected. From then on one
 * message at a time is sent: some others, and if the broker answers these, the suspect, on the
 * same connection. If the broker closes at the suspect and answers others again on the next
 * connection, that is a proof. Two proofs condemn the suspect, an answer to it acquits it.
 * Nothing here sends or ends anything.
 *
 * A broker that closes on its own gives proofs, too, by chance. So each closing that was at a
 * message which it answered later counts as innocent, and the more of these there were in the
 * last hour, compared with what was answered, the more proofs are needed. If the broker closes
 * at another message that is sent alone, four are: that one may be innocent, or as bad.
 *
 * Once one was condemned, the broker is known to close at single messages: for a while the
 * first closing suspects a message and one proof is enough, so that each of a burst costs two
 * connections. That ends with the first innocent closing, with POISON_BURST_ANSWERS answers, or
 * after POISON_BURST_MS.
 *
 * What one broker did condemns nothing at another.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_POISON_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_POISON_H

#include <stdbool.h>
#include <stdint.h>

enum {
    POISON_CLOSINGS = 2, /* so many, and it is suspected */
    POISON_ALONE = 8,    /* the process died when it was sent alone; closings are fewer */
    /* The same once more, after another one was answered. A restart may have mended the cause,
     * so what was before it condemns only with these. */
    POISON_CERTAIN = POISON_ALONE + 2,
    POISON_OTHERS_MIN = 4,  /* others before the suspect; some more, so that no quota of the
                             * broker ends at the suspect each time */
    POISON_UNEXPLAINED = 3, /* closings in a full window that may be another message's */
    POISON_EXPLAINED = 2,   /* of these, by one that is condemned */
    POISON_BURST_ANSWERS = 128,
    POISON_BURST_MS = 5 * 60 * 1000,
    POISON_MEMORY_MS =
        60 * 60 * 1000, /* without another one, innocent closings are forgotten */
    POISON_BROKERS = 32,
    POISON_DOUBTS = 64,
};

enum poison_step {
    POISON_NONE,    /* no message is suspected */
    POISON_SUSPECT, /* the suspect is to be sent alone */
    POISON_OTHER,   /* another one is to be sent alone */
};

/* What one broker did. */
struct poison_broker {
    /* Forgotten after POISON_MEMORY_MS without an innocent closing: */
    unsigned answers;
    unsigned innocent;        /* closings at a message that was alone and is no cause */
    unsigned unexplained;     /* the same in a full window, or for a reason of the connection */
    bool closes_at_innocent;  /* any of these */
    int64_t innocent_boot_ms; /* the last of these */
    /* Of the suspect: */
    unsigned proofs;  /* twice the number; with few others there are halves */
    unsigned pending; /* of its last closing, once others are answered */
};

/* A message that the broker closed at and has not answered. */
struct poison_doubt {
    uint64_t id;        /* 0: none */
    unsigned in_window; /* closings in a full window */
    unsigned alone;
};

struct poison {
    enum poison_step step;
    uint64_t suspect_id;
    uint64_t other_id; /* sent in step POISON_OTHER; 0: none */
    unsigned left;     /* others to be answered before the suspect's turn */
    unsigned answered; /* others, in a row on this connection */
    unsigned turns;    /* of the suspect */
    bool is_owed_turn; /* the broker closed at another one: the suspect first, without proof */
    bool is_process;   /* the process died at it, see careful.h: one other is enough */
    bool is_certain;   /* by the deaths before this start alone */
    unsigned broker;   /* in use */
    bool has_condemned;
    int64_t condemned_boot_ms;
    unsigned condemned_answers; /* since */
    struct poison_broker brokers[POISON_BROKERS];
    struct poison_doubt doubts[POISON_DOUBTS];
    unsigned next_doubt;
    unsigned doubt_count; /* with an id */
};

/* What follows for which message. */
enum poison_verdict {
    POISON_CONTINUES,
    POISON_BEGINS,   /* the message is suspected from now on */
    POISON_ACQUITS,  /* the suspect: its closings are to be forgotten */
    POISON_WAITS,    /* the other one: the suspect, or a third, is to be sent alone */
    POISON_RETRIES,  /* the suspect, alone: others were answered */
    POISON_CONDEMNS, /* the suspect */
};

/* A new connection to this broker of the list. */
void poison_set_broker(struct poison *poison, unsigned broker);
/* A message that has so many closings is to be sent. From POISON_ALONE on they are
 * deaths of the process. Return: does it become the suspect? Then see the step. */
bool poison_begin(struct poison *poison, uint64_t id, unsigned closings);
/* The broker closed at the message, for the @closings-th time. */
enum poison_verdict poison_on_closing(struct poison *poison, uint64_t id, unsigned closings);
/* The broker closed for a reason of the connection. */
void poison_on_end(struct poison *poison, int64_t boot_ms);
/* The broker answered the message. */
enum poison_verdict poison_on_answer(struct poison *poison, uint64_t id, int64_t boot_ms);
/* No suspect any more; after POISON_ACQUITS and _CONDEMNS. */
void poison_end(struct poison *poison);

#endif
