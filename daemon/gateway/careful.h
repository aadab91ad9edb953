/* SPDX-License-Identifier: MIT */
/*
 * careful.h - which message the process dies at, after lives that ended so
 *
 * If CAREFUL_LIVES lives in a row sent something and ended before any message did, one
 * message at a time is sent, and before each a commit marks it as suspected. A life that
 * ends then leaves the mark: poison.c finds it after the next start, as if the broker had
 * closed at it. Once a window of messages was answered all are sent as always.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_CAREFUL_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_CAREFUL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "store/spool.h"

enum { CAREFUL_LIVES = 3 };

struct careful {
    bool has_begun; /* this life is noted */
    bool is_on;
    unsigned left;      /* answers until it is over */
    uint64_t marked_id; /* may be sent once the mark is committed; 0: none */
};

/* Before the first message of this life. Nothing is handed out before the next commit.
 * @window: how many answers end it. Return: 0; negative errno. */
MUST_CHECK int careful_begin(struct careful *careful, struct spool *spool, unsigned window);
/* Is the message marked, and the mark committed? Marks it if not: then it is not to be sent. */
MUST_CHECK int careful_admit(struct careful *careful,
                             struct spool *spool,
                             const struct spool_message *message,
                             bool *ret_is_admitted);
/* The broker closed at the message: its mark stays, another one may be sent. */
void careful_leave_mark(struct careful *careful, uint64_t id);
/* What else became of a message. @is_answered: by the broker. Return: 0; negative errno. */
MUST_CHECK int
careful_end(struct careful *careful, struct spool *spool, uint64_t id, bool is_answered);

#endif
