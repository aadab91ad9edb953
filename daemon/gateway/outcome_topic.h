/* SPDX-License-Identifier: MIT */
/*
 * outcome_topic.h - the topics of outcomes
 *
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_OUTCOME_TOPIC_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_OUTCOME_TOPIC_H

#include "base/view.h"
#include "daemon/gateway/subscriptions.h"
#include "store/spool.h"

/* As the outbox of a session has them. */
enum outcome_kind {
    OUTCOME_FAILURE = SPOOL_OUTBOX_FAILURE,
    OUTCOME_DELIVERY = SPOOL_OUTBOX_DELIVERY,
    OUTCOME_KINDS = SPOOL_OUTBOX_KINDS
};

/* The longest client id of a connection, and some: that of a record may be of an older one. */
#define OUTCOME_TOPIC_MAX (sizeof(SUBSCRIPTIONS_DELIVERED) + 2048)

/* Which outcomes are sent on which topic. */
enum outcome_kind outcome_kind_of(const struct spool_record *record);
/* What stands before the client id. */
const char *outcome_prefix(enum outcome_kind kind);
/* The topic of a client, in @text. */
struct view outcome_topic(enum outcome_kind kind,
                          struct view client_id,
                          char text[static OUTCOME_TOPIC_MAX]);

#endif
