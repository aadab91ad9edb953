/* SPDX-License-Identifier: MIT */
/*
 * subscriptions.c - what a producer has subscribed to, and who may
 *
 * Besides the status, a producer may subscribe to what is of its own: outcomes and
 * deliveries under its client id, and the answers to its control requests; an
 * administrator to the outcomes and deliveries of all. A wildcard may stand only
 * behind that part.
 *
 * A client id with a wildcard character has no outcomes to subscribe to: as a filter,
 * its topic would be that of others.
 *
 * Invariant: the number of filters and their size are bounded.
 */
#include "daemon/gateway/subscriptions.h"

#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "daemon/mqtt/packet.h"

void subscriptions_init(struct subscriptions *subscriptions)
{
    TAILQ_INIT(&subscriptions->list);
    subscriptions->count = 0;
}

void subscriptions_done(struct subscriptions *subscriptions)
{
    struct subscription *subscription;

    while ((subscription = TAILQ_FIRST(&subscriptions->list))) {
        TAILQ_REMOVE(&subscriptions->list, subscription, link);
        free(subscription);
    }
    subscriptions->count = 0;
}

/* Takes @prefix off @filter. Return: did it begin so? */
static bool filter_skip(struct view *filter, struct view prefix)
{
    if (filter->size < prefix.size || memcmp(filter->data, prefix.data, prefix.size) != 0)
        return false;
    filter->data += prefix.size;
    filter->size -= prefix.size;
    return true;
}

/* Has the last level of the part that was skipped ended here? */
static bool filter_is_below(struct view rest)
{
    return rest.size == 0 || rest.data[0] == '/';
}

static bool may_hear_of(struct view rest, struct view client_id, bool is_admin)
{
    if (is_admin)
        return true;
    if (memchr(client_id.data, '+', client_id.size) ||
        memchr(client_id.data, '#', client_id.size))
        return false;
    return filter_skip(&rest, client_id) && filter_is_below(rest);
}

bool subscriptions_is_response(struct view filter)
{
    return filter_skip(&filter, view_of_text(SUBSCRIPTIONS_RESPONSE)) &&
           filter_is_below(filter);
}

bool subscriptions_may(struct view filter, struct view client_id, bool is_admin)
{
    struct view rest = filter;

    if (filter_skip(&rest, view_of_text(SUBSCRIPTIONS_OUTCOME)) ||
        filter_skip(&rest, view_of_text(SUBSCRIPTIONS_DELIVERED)))
        return may_hear_of(rest, client_id, is_admin);
    if (filter_skip(&rest, view_of_text(SUBSCRIPTIONS_STATUS)))
        return rest.size == 0;
    return subscriptions_is_response(filter);
}

static struct subscription *find(const struct subscriptions *subscriptions, struct view filter)
{
    struct subscription *subscription;

    TAILQ_FOREACH(subscription, &subscriptions->list, link) {
        if (view_is(filter, subscription->filter))
            break;
    }
    return subscription;
}

uint8_t subscriptions_add(struct subscriptions *subscriptions,
                          struct view filter,
                          uint8_t qos,
                          bool *ret_is_new)
{
    struct subscription *subscription = find(subscriptions, filter);

    *ret_is_new = !subscription;
    if (!subscription) {
        if (subscriptions->count >= SUBSCRIPTIONS_MAX || filter.size > SUBSCRIPTIONS_FILTER_MAX)
            return MQTT_QUOTA_EXCEEDED;
        subscription = calloc(1, sizeof(*subscription) + filter.size + 1);
        if (!subscription)
            return MQTT_UNSPECIFIED_ERROR;
        memcpy(subscription->filter, filter.data, filter.size);
        TAILQ_INSERT_TAIL(&subscriptions->list, subscription, link);
        subscriptions->count++;
    }
    subscription->qos = qos < 1 ? qos : 1;
    return subscription->qos;
}

static void subscription_free(struct subscriptions *subscriptions,
                              struct subscription *subscription)
{
    TAILQ_REMOVE(&subscriptions->list, subscription, link);
    subscriptions->count--;
    free(subscription);
}

bool subscriptions_remove(struct subscriptions *subscriptions, struct view filter)
{
    struct subscription *subscription = find(subscriptions, filter);

    if (!subscription)
        return false;
    subscription_free(subscriptions, subscription);
    return true;
}

bool subscriptions_remove_forbidden(struct subscriptions *subscriptions,
                                    struct view client_id,
                                    bool is_admin)
{
    struct subscription *subscription, *next;
    unsigned before = subscriptions->count;

    for (subscription = TAILQ_FIRST(&subscriptions->list); subscription; subscription = next) {
        next = TAILQ_NEXT(subscription, link);
        if (!subscriptions_may(view_of_text(subscription->filter), client_id, is_admin))
            subscription_free(subscriptions, subscription);
    }
    return subscriptions->count < before;
}

int subscriptions_qos(const struct subscriptions *subscriptions, struct view topic)
{
    const struct subscription *subscription;
    int qos = SUBSCRIPTIONS_NONE;

    TAILQ_FOREACH(subscription, &subscriptions->list, link) {
        if (subscription->qos > qos && packet_topic_matches(subscription->filter, topic))
            qos = subscription->qos;
    }
    return qos;
}

size_t subscriptions_store(const struct subscriptions *subscriptions,
                           uint8_t memory[static SUBSCRIPTIONS_STORED_MAX])
{
    const struct subscription *subscription;
    struct writer writer;

    writer_init(&writer, memory, SUBSCRIPTIONS_STORED_MAX);
    TAILQ_FOREACH(subscription, &subscriptions->list, link) {
        writer_block(&writer, subscription->filter, strlen(subscription->filter));
        writer_u8(&writer, subscription->qos);
    }
    return writer_used(&writer);
}

void subscriptions_load(struct subscriptions *subscriptions,
                        struct view stored,
                        struct view client_id,
                        bool is_admin)
{
    struct reader reader;

    reader_init(&reader, stored.data, stored.size);
    while (reader_left(&reader) > 0) {
        struct view filter = reader_block(&reader);
        uint8_t qos = reader_u8(&reader);
        bool is_new;

        if (reader.failed || !packet_filter_is_valid(filter))
            return;
        if (subscriptions_may(filter, client_id, is_admin))
            (void)subscriptions_add(subscriptions, filter, qos, &is_new);
    }
}

static bool filter_begins(const struct subscription *subscription, const char *prefix)
{
    return strncmp(subscription->filter, prefix, strlen(prefix)) == 0;
}

bool subscriptions_have_prefix(const struct subscriptions *subscriptions, const char *prefix)
{
    const struct subscription *subscription;

    TAILQ_FOREACH(subscription, &subscriptions->list, link) {
        if (filter_begins(subscription, prefix))
            return true;
    }
    return false;
}

bool subscriptions_reach_others(const struct subscriptions *subscriptions,
                                const char *prefix,
                                struct view client_id)
{
    const struct subscription *subscription;

    TAILQ_FOREACH(subscription, &subscriptions->list, link) {
        if (filter_begins(subscription, prefix) &&
            !subscriptions_may(view_of_text(subscription->filter), client_id, false))
            return true;
    }
    return false;
}
