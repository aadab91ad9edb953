/* SPDX-License-Identifier: MIT */
/*
 * question.h - was every message that was accepted delivered, or is it explained?
 *
 * Of the messages that the options name: accepted from --since to --until by the wall
 * clock of the gateway, of a client, a topic, a ref, or one id. Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_AUDIT_QUESTION_H
#define MQTT_SPOOLD_CLI_AUDIT_QUESTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/view.h"
#include "store/spool.h"

/* Records that are shown of the messages with an id or a ref; more are only counted. */
#define QUESTION_LIVES_MAX 16

/* A record, and where it is. */
struct question_life {
    json_t *record;   /* owned */
    const char *file; /* NULL: in the database */
    uint64_t line;
};

struct question {
    /* the options; NULL or 0: not given */
    const char *since;
    const char *until;
    const char *client;
    const char *topic;
    const char *ref;
    uint64_t id;
    /* found out */
    bool is_asked;
    bool wants_lives; /* an id or a ref was given */
    int64_t since_ms;
    int64_t until_ms;
    uint64_t ended[SPOOL_OUTCOMES];
    uint64_t spooled;         /* not ended */
    uint64_t kept;            /* rejected, and their payload is kept aside */
    bool is_spool_known;      /* the database was looked at */
    int64_t first_spooled_ms; /* when the oldest of these was accepted */
    uint64_t life_count;
    struct question_life lives[QUESTION_LIVES_MAX];
};

/* What the options compare. */
struct question_subject {
    uint64_t id;
    int64_t accepted_ms;
    struct view client;
    struct view topic;
    struct view ref;
};

/* question.c */
bool question_matches(const struct question *question, const struct question_subject *subject);
/* If lives are wanted. @file NULL: @record is of the database. */
void question_add_life(struct question *question,
                       json_t *record,
                       const char *file,
                       uint64_t line);

#endif
