/* SPDX-License-Identifier: MIT */
/*
 * connection_subscribe.c - SUBSCRIBE and UNSUBSCRIBE of a producer
 *
 * Each filter is offered to the owner, and its answer is a code of the SUBACK. Shared
 * subscriptions and subscription identifiers are not offered, as the CONNACK says: a
 * filter with either gets the code for it, and the connection stays.
 *
 * The answer may have to wait for a commit: then nothing behind it is read.
 *
 * Invariant: the owner is called only if the answer has its room in the output, so
 * what was granted is also reported. What it sends because of a subscription leaves
 * behind the SUBACK.
 */
#include "base/cursor.h"
#include "base/view.h"
#include "daemon/ingress/connection-private.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static uint8_t subscribe_one(struct connection *connection,
                             const struct packet_subscribe *packet,
                             struct view filter,
                             uint8_t options)
{
    struct connection_subscribe subscribe = {
        .filter = filter,
        .qos = (uint8_t)(options & PACKET_OPTION_QOS),
        .retain_handling = (uint8_t)((options & PACKET_OPTION_RETAIN_HANDLING) >>
                                     PACKET_OPTION_RETAIN_HANDLING_SHIFT),
    };

    if (packet_filter_is_shared(filter))
        return MQTT_SHARED_NOT_SUPPORTED;
    if (packet->has_subscription_id)
        return MQTT_SUBSCRIPTION_ID_NOT_SUPPORTED;
    if (!connection->ops->subscribe)
        return MQTT_NOT_AUTHORIZED;
    return connection->ops->subscribe(connection->userdata, connection, &subscribe);
}

static uint8_t unsubscribe_one(struct connection *connection, struct view filter)
{
    if (!connection->ops->unsubscribe)
        return MQTT_NO_SUBSCRIPTION_EXISTED;
    return connection->ops->unsubscribe(connection->userdata, connection, filter);
}

/* @filters: a copy. */
static size_t filters_count(struct reader filters, enum packet_type answer)
{
    struct view filter;
    uint8_t options;
    size_t count = 0;

    while (packet_filter_next(&filters, &filter, answer == PACKET_SUBACK ? &options : NULL))
        count++;
    return count;
}

/* Return: false: no memory. */
static bool
answer_keep(struct connection *connection, enum packet_type type, const struct writer *writer)
{
    struct connection_answer *answer = &connection->output.answer;

    answer->memory = malloc(writer_used(writer));
    if (!answer->memory)
        return false;
    answer->size = writer_used(writer);
    answer->type = type;
    memcpy(answer->memory, writer->start, answer->size);
    connection->pause.is_confirming = true;
    return true;
}

static void
answer_send(struct connection *connection, enum packet_type type, const struct writer *writer)
{
    if (connection_out_end(connection, writer) && type == PACKET_SUBACK)
        connection->output.window.is_owner_ready = true;
}

void connection_answer_done(struct connection *connection)
{
    free(connection->output.answer.memory);
    connection->output.answer = (struct connection_answer){0};
}

bool connection_release_answer(struct connection *connection)
{
    const struct connection_answer *answer = &connection->output.answer;
    struct writer writer;

    if (!connection->pause.is_confirming || connection->state != CONNECTION_OPEN)
        return false;
    connection->pause.is_confirming = false;
    if (connection_out_begin(connection, answer->size, &writer)) {
        writer_bytes(&writer, answer->memory, answer->size);
        answer_send(connection, answer->type, &writer);
    }
    connection_answer_done(connection);
    return true;
}

static void subscribe_answer(struct connection *connection,
                             enum packet_type answer,
                             struct packet_subscribe *packet)
{
    uint8_t codes[CONNECTION_FILTERS_MAX];
    struct writer writer;
    struct view filter;
    uint8_t options = 0;
    size_t count = filters_count(packet->filters, answer);

    if (count > CONNECTION_FILTERS_MAX) {
        connection_refuse(connection, MQTT_QUOTA_EXCEEDED, "too many filters in one packet",
                          NULL);
        return;
    }
    if (!connection_out_begin(connection, PACKET_ACK_MAX + count, &writer))
        return;
    for (size_t i = 0; i < count; i++) {
        (void)packet_filter_next(&packet->filters, &filter,
                                 answer == PACKET_SUBACK ? &options : NULL);
        codes[i] = answer == PACKET_SUBACK ? subscribe_one(connection, packet, filter, options)
                                           : unsubscribe_one(connection, filter);
        if (connection->state != CONNECTION_OPEN)
            return; /* its owner closed it from inside the call */
    }
    packet_encode_suback(&writer, connection->client.version, answer, packet->packet_id, codes,
                         count);
    bool must_wait = connection->ops->subscribed &&
                     connection->ops->subscribed(connection->userdata, connection);
    if (!must_wait || !answer_keep(connection, answer, &writer))
        answer_send(connection, answer, &writer);
}

void connection_on_subscribe(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_subscribe packet;
    int r = packet_decode_subscribe(frame, connection->client.version, &packet);

    if (r != 0)
        connection_end_on_condition(connection, "bad SUBSCRIBE", r);
    else
        subscribe_answer(connection, PACKET_SUBACK, &packet);
}

void connection_on_unsubscribe(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_subscribe packet;
    int r = packet_decode_unsubscribe(frame, connection->client.version, &packet);

    if (r != 0)
        connection_end_on_condition(connection, "bad UNSUBSCRIBE", r);
    else
        subscribe_answer(connection, PACKET_UNSUBACK, &packet);
}
