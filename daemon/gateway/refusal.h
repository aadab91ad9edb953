/* SPDX-License-Identifier: MIT */
/*
 * refusal.h - when a broker refuses everything, and how it is then tried
 *
 * A refusal may be the fault of its message, or of a broker whose rights or quota are
 * wrong. Topics that the broker has accepted before decide: if these are refused, or if
 * nothing is accepted for a while, the link is refused. Until then it is in doubt, as it is
 * before the first acceptance, and a message is not rejected before something was accepted
 * between two of its refusals.
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
    REFUSAL_IN_A_ROW = 8, /* without an acceptance between them: it may be the broker */
    REFUSAL_TRIES = 3,    /* in each round */
    REFUSAL_TOPICS = 256, /* of each kind are remembered, by their tags */
    REFUSAL_UNSENT = 256, /* messages of a round that CONNACK excludes cost one try together */
    /* In doubt and without an acceptance for so long, the link is refused; the longer one if
     * the broker has accepted topics, and the answers are about the messages. */
    REFUSAL_DOUBT_MS = 10000,
    REFUSAL_PATIENCE_MS = 60000,
    /* If the link is refused for so long, no message waits for this broker any more. */
    REFUSAL_LASTING_MS = 600000,
};

/* Refusals since the last acceptance. */
struct refusal_row {
    unsigned count;
    unsigned topics;       /* that were not refused before */
    unsigned lost;         /* of them, those that were accepted before */
    unsigned repeats;      /* of topics that were refused before, each message once */
    int64_t began_boot_ms; /* the first one */
};

/* While the link is refused. */
struct refusal_rounds {
    unsigned begun;
    unsigned tries_left;
    unsigned unsent;     /* messages of these rounds that CONNACK excludes */
    int64_t due_boot_ms; /* of the next round */
    uint64_t head_id;    /* the oldest that was tried: each round begins with it; 0: none */
};

/* What is known of one broker. */
struct refusal {
    struct refusal_row row;
    struct refusal_rounds rounds;
    bool is_refused;         /* the link is */
    int64_t refused_boot_ms; /* since when */
    int64_t resumed_boot_ms; /* when it was the last time; 0: it never was */
    int code;                /* of the newest refusal */
    int64_t code_boot_ms;
    bool has_accepted;
    int64_t accepted_boot_ms; /* the newest acceptance */
    unsigned taken_count;
    uint64_t taken[REFUSAL_TOPICS];  /* accepted, and not refused since; 0: none */
    uint64_t denied[REFUSAL_TOPICS]; /* refused, and not accepted since */
    bool is_final[REFUSAL_TOPICS];   /* of these: no repetition can change it */
};

/* One refusal of a message. */
struct refusal_event {
    uint64_t tag; /* its topic: see shape_tag() */
    int code;
    bool is_permanent; /* no repetition can change it */
    bool is_first;     /* of this message */
    bool is_announced; /* by CONNACK, and not sent: it shows nothing of its topic */
    int64_t boot_ms;
};

/* Return: does the link become refused by it? */
bool refusal_count(struct refusal *refusal, const struct refusal_event *event);
/* So many in a row, or nothing accepted yet: a refusal alone does not end its message. */
bool refusal_is_in_doubt(const struct refusal *refusal);
/* An acceptance of a topic. Return: was the link refused? */
bool refusal_clear(struct refusal *refusal, uint64_t tag, int64_t boot_ms);
/* It may send again, though nothing was accepted. Return: was the link refused? */
bool refusal_resume(struct refusal *refusal, int64_t boot_ms);
/* What the broker did last with the topic, as far as that is remembered. */
bool refusal_was_taken(const struct refusal *refusal, uint64_t tag);
bool refusal_was_denied(const struct refusal *refusal, uint64_t tag);
/* The same, by a refusal that no repetition can change. */
bool refusal_was_denied_finally(const struct refusal *refusal, uint64_t tag);
/* The link was refused for REFUSAL_LASTING_MS, as far as its answers show. */
bool refusal_has_lasted(const struct refusal *refusal);
/* The broker is connected to after another one: if it refused everything, a first round of
 * tries follows soon. */
void refusal_begin_visit(struct refusal *refusal);
/* While the link is refused and nothing is in flight: may a message be tried? Begins a round
 * that is due. */
bool refusal_may_try(struct refusal *refusal,
                     int64_t boot_ms,
                     uint64_t min_ms,
                     uint64_t max_ms);
/* The next round is due now. */
void refusal_hasten(struct refusal *refusal, int64_t boot_ms);
/* The message to try, by its id; 0: any that is due. */
uint64_t refusal_choose(const struct refusal *refusal);
/* Of the round. */
bool refusal_is_first_try(const struct refusal *refusal);
void refusal_note_try(struct refusal *refusal, uint64_t id);
/* The message of that try was not sent, because CONNACK excludes it: another one may be. */
void refusal_return_try(struct refusal *refusal);
/* There is no other message to try in this round. */
void refusal_end_round(struct refusal *refusal);
/* @min_ms doubled @times times, at most @max_ms. */
uint64_t refusal_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned times);

#endif
