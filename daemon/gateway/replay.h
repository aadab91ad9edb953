/* SPDX-License-Identifier: MIT */
/*
 * replay.h - the records of a session's outbox, sent to its client
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_REPLAY_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"
#include "daemon/gateway/outcome_topic.h"
#include "daemon/ingress/connection.h"
#include "store/spool.h"

struct replay_row {
    uint64_t seq;
    bool is_acknowledged;
};

/* Of one connection. All zero: nothing is sent. */
struct replay {
    struct spool *spool;           /* borrowed, all four */
    struct spool_session *session; /* NULL: it is not kept */
    struct connection *connection;
    const int *qos; /* granted, of each kind; SUBSCRIPTIONS_NONE */
    bool has_more;  /* rows behind @read_seq */
    uint64_t read_seq;
    unsigned count; /* rows that were sent and stay until all before them are acknowledged */
    struct replay_row rows[CONNECTION_WINDOW_MAX];
    uint64_t missed; /* of the line about them that is not acknowledged; 0: there is none */
};

/* From the oldest row on. The borrowed parts are set already. */
void replay_begin(struct replay *replay);
/* There are new rows. */
void replay_note_row(struct replay *replay);

/* Sends what there is room for. Return: 0; negative errno. */
MUST_CHECK int replay_send(struct replay *replay);

/* As ops->acknowledged. Return: did rows go? Then a commit must follow, and there is room. */
bool replay_acknowledge(struct replay *replay, uint64_t tag);

/* The line that stands for records that were removed. */
#define REPLAY_MISSED_MAX 40
struct view replay_write_missed(uint64_t missed, char text[static REPLAY_MISSED_MAX]);
/* On which topic it is sent. @qos: granted, of each kind. */
enum outcome_kind replay_missed_kind(const int qos[static OUTCOME_KINDS]);

#endif
