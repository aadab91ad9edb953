/* SPDX-License-Identifier: MIT */
/*
 * silence.h - topics and messages that a broker does not answer, while it answers others
 *
 * MQTT has no negative answer for "not now": such a message occupies its place in the window
 * until the connection is dropped, and is then sent again. A window full of them would stop all
 * others. So their topic, or the message alone if the broker answered others of the topic on
 * that connection, gets a pause that grows with each such connection, and together they get
 * only a share of the window, after others. An answer to the topic ends that for the topic, so
 * that its messages are still sent in their order.
 *
 * The blame needs proof that the broker answers at all. Either it answered a message that was
 * sent later; or, of a message that is suspected already, another one on the same connection.
 * Suspected is what ended two connections in a row on which nothing was answered: on the next
 * one others go first, if there are others.
 *
 * Nothing here sends or ends anything. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_SILENCE_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SILENCE_PLACES = 256, /* so many topics, and messages, are remembered */
    SILENCE_STALLS = 2,   /* connections in a row without an answer: all of it is suspected */
    SILENCE_SHARE = 4,    /* one of so many places in the window, and at least one place */
    SILENCE_IN_FLIGHT_MAX = 64,
};

struct silence_place {
    uint64_t key;    /* of the topic or of the message; 0: the place is free */
    unsigned rounds; /* connections that ended so; 0: it is only suspected */
    int64_t due_boot_ms;
    uint64_t connection; /* the newest that was counted */
};

struct silence {
    unsigned count; /* of places in use */
    struct silence_place topics[SILENCE_PLACES];
    struct silence_place messages[SILENCE_PLACES];
    uint64_t answered[SILENCE_PLACES];         /* topics, on this connection */
    uint64_t in_flight[SILENCE_IN_FLIGHT_MAX]; /* ids of those that are remembered */
    unsigned in_flight_count;
    unsigned stalls;             /* connections in a row that ended without an answer */
    uint64_t stalled_connection; /* the newest of them */
    uint64_t blamed_connection;  /* the newest at whose end a message was blamed */
    bool has_answered;           /* the broker, on this connection */
    bool waits_for_answer;       /* what is remembered does: others go first */
};

/* A message that the peer has whole was not answered in time. */
struct silence_event {
    uint64_t id;
    uint64_t tag;        /* its topic; 0: a report */
    bool was_passed;     /* one that was sent later was answered */
    uint64_t connection; /* its number, from 1 on */
    int64_t boot_ms;
    uint64_t min_ms; /* the pause doubles from this */
    uint64_t max_ms; /* to this */
};

/* Another broker: nothing is known of it. */
void silence_forget(struct silence *silence);
/* What is remembered may be sent now, in its share of the window. */
void silence_hasten(struct silence *silence);
/* A connection begins. */
void silence_begin(struct silence *silence);
/* Return: boot time of the next attempt, 0: at once. @ret_is_first: the first message that is
 * blamed at the end of this connection; @ret_is_new: its topic was not blamed before,
 * or no message on this connection. */
int64_t silence_note(struct silence *silence,
                     const struct silence_event *event,
                     bool *ret_is_first,
                     bool *ret_is_new);
/* May the message be sent? Return: 0: yes; else the boot time at which it may be, INT64_MAX:
 * not before all that waits is released. @window: messages. */
int64_t silence_hold_until(
    const struct silence *silence, uint64_t tag, uint64_t id, int64_t boot_ms, unsigned window);
void silence_note_sent(struct silence *silence, uint64_t tag, uint64_t id);
/* Its attempt has ended in any way. */
void silence_note_ended(struct silence *silence, uint64_t id);
/* The broker answered it. Return: is what waits to be released? */
bool silence_note_answer(struct silence *silence, uint64_t tag, uint64_t id);
/* There is nothing else to send. Return: as above. */
bool silence_end_wait(struct silence *silence);

#endif
