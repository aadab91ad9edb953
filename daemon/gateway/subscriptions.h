/* SPDX-License-Identifier: MIT */
/*
 * subscriptions.h - what a producer has subscribed to, and who may
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_SUBSCRIPTIONS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_SUBSCRIPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/view.h"

#define SUBSCRIPTIONS_STATUS    "$SYS/spool/status"
#define SUBSCRIPTIONS_OUTCOME   "$SYS/spool/outcome/"
#define SUBSCRIPTIONS_DELIVERED "$SYS/spool/delivered/"
#define SUBSCRIPTIONS_RESPONSE  "$CONTROL/spool/v1/response"

/* Of one client, so that it costs a bounded amount. */
#define SUBSCRIPTIONS_MAX        16
#define SUBSCRIPTIONS_FILTER_MAX 1280 /* bytes: that of the longest client id, and some */

#define SUBSCRIPTIONS_NONE (-1)

/* Bytes of all of one client, as a session keeps them. */
#define SUBSCRIPTIONS_STORED_MAX ((size_t)SUBSCRIPTIONS_MAX * (SUBSCRIPTIONS_FILTER_MAX + 3))

struct subscription {
    TAILQ_ENTRY(subscription) link;
    uint8_t qos; /* granted */
    char filter[];
};

/* All zero is not empty: subscriptions_init(). */
struct subscriptions {
    TAILQ_HEAD(, subscription) list;
    unsigned count;
};

void subscriptions_init(struct subscriptions *subscriptions);
void subscriptions_done(struct subscriptions *subscriptions);

/* Is the filter or topic SUBSCRIPTIONS_RESPONSE, or below it? */
bool subscriptions_is_response(struct view filter);
/* May the client with this id subscribe to @filter, which is valid? */
bool subscriptions_may(struct view filter, struct view client_id, bool is_admin);

/*
 * subscriptions_add() - subscribe, or change the QoS of a subscription
 * @qos: requested
 *
 * Return: the granted QoS, 0 or 1; MQTT_QUOTA_EXCEEDED: there are too many, or the filter is
 * too long; MQTT_UNSPECIFIED_ERROR: no memory.
 */
uint8_t subscriptions_add(struct subscriptions *subscriptions,
                          struct view filter,
                          uint8_t qos,
                          bool *ret_is_new);
/* Return: was there one? */
bool subscriptions_remove(struct subscriptions *subscriptions, struct view filter);
/* Removes those that subscriptions_may() does not allow. Return: were there any? */
bool subscriptions_remove_forbidden(struct subscriptions *subscriptions,
                                    struct view client_id,
                                    bool is_admin);
/* The highest granted QoS of those that match the topic; SUBSCRIPTIONS_NONE: none does. */
int subscriptions_qos(const struct subscriptions *subscriptions, struct view topic);
/* As a session keeps them, in @memory. Return: the size. */
size_t subscriptions_store(const struct subscriptions *subscriptions,
                           uint8_t memory[static SUBSCRIPTIONS_STORED_MAX]);
/* Adds what was stored, except what subscriptions_may() does not allow now. */
void subscriptions_load(struct subscriptions *subscriptions,
                        struct view stored,
                        struct view client_id,
                        bool is_admin);

/* Does a filter begin so? */
bool subscriptions_have_prefix(const struct subscriptions *subscriptions, const char *prefix);
/* Does one that begins so match topics of others than the client with this id? */
bool subscriptions_reach_others(const struct subscriptions *subscriptions,
                                const char *prefix,
                                struct view client_id);

#endif
