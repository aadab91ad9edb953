/* SPDX-License-Identifier: MIT */
/*
 * pauses.h - when did the broker answer nothing although messages waited?
 *
 * Audit files do not record the state of the link. What they show is derived: the time
 * between two answers of the broker (a delivery, or a rejection of what was sent), as far
 * as a message waited in it. A message waited from its acceptance to its end; its age is by
 * the spool's own clock, so a wall clock that was set makes no pause.
 *
 * Memory is fixed: of the candidates the PAUSES_MAX longest are kept.
 */
#ifndef MQTT_SPOOLD_CLI_REPORT_PAUSES_H
#define MQTT_SPOOLD_CLI_REPORT_PAUSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAUSES_MAX = 1024, PAUSES_HOLDS_MAX = 64 };
#define PAUSES_LEAST_MS INT64_C(60000) /* shorter ones are none */

struct pause {
    int64_t start_ms;       /* the last answer before it */
    int64_t end_ms;         /* the first one after it */
    int64_t waited_from_ms; /* the earliest acceptance of what ended after it */
    bool is_open;           /* it lasts: no answer has come */
};

struct hold {
    int64_t start_ms;
    int64_t end_ms; /* INT64_MAX: not released */
};

/* All zero: nothing was added. */
struct pauses {
    bool has_answer;
    int64_t answer_ms;      /* the newest */
    int64_t waited_from_ms; /* of what ended without an answer since then */
    size_t count;
    uint64_t left_out;           /* candidates that were not kept */
    struct pause at[PAUSES_MAX]; /* by time */
    size_t hold_count;
    struct hold holds[PAUSES_HOLDS_MAX]; /* of operators, by time; the newest */
};

/* The answers before @time_ms are not known. */
void pauses_start(struct pauses *pauses, int64_t time_ms);
/* A message ended. @is_answer: because of an answer of the broker. */
void pauses_add(struct pauses *pauses, int64_t time_ms, int64_t age_ms, bool is_answer);
/* Messages wait at @now_ms, the oldest since @oldest_ms. */
void pauses_end(struct pauses *pauses, int64_t now_ms, int64_t oldest_ms);
void pauses_hold(struct pauses *pauses, int64_t time_ms);
void pauses_release(struct pauses *pauses, int64_t time_ms);

/* Since when messages waited in it. */
int64_t pauses_begin_ms(const struct pause *pause);
/* Is it as long as PAUSES_LEAST_MS? The others are only candidates. */
bool pauses_counts(const struct pause *pause);
/* Did an operator hold messages for a part of it? */
bool pauses_is_held(const struct pauses *pauses, const struct pause *pause);

#endif
