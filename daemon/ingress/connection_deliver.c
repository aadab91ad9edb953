/* SPDX-License-Identifier: MIT */
/*
 * connection_deliver.c - messages to a producer
 *
 * A message is encoded into the output when it is sent, or not taken. It has room
 * while at most CONNECTION_MESSAGES_MAX bytes wait there, which is less than what
 * stops the reading: a client that does not read its messages is still read from. A
 * larger message goes only into an empty output, of which it is the head.
 *
 * Those of QoS 1 stand in the window until their PUBACK. It is a short list in the
 * order of sending, in which clients acknowledge, so the one that is looked for is
 * mostly the first. Packet ids of the connection are in the upper half, so that they
 * never meet those that the owner of a session chooses.
 *
 * Invariant: the window holds no more than the client's Receive Maximum.
 */
#include "base/bytes.h"
#include "base/cursor.h"
#include "daemon/ingress/connection-private.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static unsigned window_size(const struct connection *connection)
{
    return connection->client.receive_maximum < CONNECTION_WINDOW_MAX
               ? connection->client.receive_maximum
               : CONNECTION_WINDOW_MAX;
}

static bool window_is_full(const struct connection *connection)
{
    return connection->output.window.count >= window_size(connection);
}

/* Return: its index; @count: none. */
static unsigned window_find(const struct connection_window *window, uint16_t packet_id)
{
    unsigned i = 0;

    while (i < window->count && window->sent[i].packet_id != packet_id)
        i++;
    return i;
}

static uint16_t window_choose_id(struct connection_window *window)
{
    do {
        window->last_id =
            window->last_id > CONNECTION_OWNER_ID_MAX && window->last_id < UINT16_MAX
                ? (uint16_t)(window->last_id + 1)
                : (uint16_t)(CONNECTION_OWNER_ID_MAX + 1);
    } while (window_find(window, window->last_id) < window->count);
    return window->last_id;
}

/* Return: false: no memory. */
static bool window_reserve(struct connection_window *window)
{
    if (!window->sent)
        window->sent = calloc(CONNECTION_WINDOW_MAX, sizeof(*window->sent));
    return window->sent != NULL;
}

void connection_window_done(struct connection *connection)
{
    free(connection->output.window.sent);
    connection->output.window = (struct connection_window){0};
}

static bool has_room_for(const struct connection *connection, size_t size)
{
    size_t used = bytes_used(&connection->output.bytes);

    return used == 0 ||
           (connection->output.large == 0 && used + size <= CONNECTION_MESSAGES_MAX);
}

/* The cap of the output is for everything else; a large message comes on top of it. */
static bool
deliver_reserve(struct connection *connection, size_t size, struct writer *ret_writer)
{
    struct connection_output *output = &connection->output;
    bool is_large = size > CONNECTION_MESSAGES_MAX;

    bytes_set_cap(&output->bytes, CONNECTION_OUTPUT_MAX + (is_large ? size : 0));
    if (!connection_out_begin(connection, size, ret_writer))
        return false;
    if (is_large)
        output->large = size;
    return true;
}

int connection_send(struct connection *connection, const struct connection_message *message)
{
    struct connection_window *window = &connection->output.window;
    struct packet_delivery delivery = {
        .qos = message->qos,
        .is_repeated = message->qos > 0 && message->is_repeated,
        .topic = message->topic,
        .payload = message->payload,
        .has_correlation = message->has_correlation,
        .correlation = message->correlation,
    };
    struct writer writer;

    if (connection->state != CONNECTION_OPEN || connection->output.is_lost)
        return CONNECTION_E_ENDED;
    size_t size = packet_delivery_size(connection->client.version, &delivery);
    if (size == 0 || size > CONNECTION_MESSAGE_MAX || size > connection->client.max_packet)
        return CONNECTION_E_TOO_LARGE;
    if (message->qos > 0 && message->packet_id > 0 &&
        window_find(window, message->packet_id) < window->count) {
        window->is_id_awaited = true;
        return CONNECTION_E_FULL;
    }
    if ((message->qos > 0 && window_is_full(connection)) || !has_room_for(connection, size)) {
        window->is_owner_ready = true;
        return CONNECTION_E_FULL;
    }
    if (message->qos > 0 && !window_reserve(window)) {
        connection_refuse(connection, MQTT_UNSPECIFIED_ERROR, "no memory for a message", NULL);
        return CONNECTION_E_ENDED;
    }
    if (!deliver_reserve(connection, size, &writer))
        return CONNECTION_E_ENDED;
    if (message->qos > 0) {
        assert(message->packet_id <= CONNECTION_OWNER_ID_MAX);
        delivery.packet_id =
            message->packet_id > 0 ? message->packet_id : window_choose_id(window);
        window->sent[window->count++] =
            (struct connection_sent){.tag = message->tag, .packet_id = delivery.packet_id};
    }
    packet_encode_delivery(&writer, connection->client.version, &delivery);
    return connection_out_end(connection, &writer) ? 0 : CONNECTION_E_ENDED;
}

void connection_await_room(struct connection *connection)
{
    connection->output.window.is_owner_ready = true;
}

void connection_on_puback(struct connection *connection, const struct packet_frame *frame)
{
    struct connection_window *window = &connection->output.window;
    struct packet_reason reason;
    int r = packet_decode_ack(frame, connection->client.version, &reason);

    if (r != 0) {
        connection_end_on_condition(connection, "bad PUBACK", r);
        return;
    }
    unsigned i = window_find(window, reason.packet_id);
    if (i == window->count)
        return; /* of an earlier connection, maybe */
    uint64_t tag = window->sent[i].tag;
    window->is_owner_ready |= window->is_id_awaited;
    window->is_id_awaited = false;
    window->count--;
    memmove(&window->sent[i], &window->sent[i + 1],
            (window->count - i) * sizeof(window->sent[0]));
    if (connection->ops->acknowledged)
        connection->ops->acknowledged(connection->userdata, connection, tag);
}

bool connection_wants_room(const struct connection *connection)
{
    return connection->state == CONNECTION_OPEN && !connection->output.is_lost &&
           connection->ops->writable && connection->output.window.is_owner_ready &&
           !window_is_full(connection);
}

bool connection_offer_room(struct connection *connection)
{
    if (!connection_wants_room(connection) ||
        bytes_used(&connection->output.bytes) > CONNECTION_MESSAGES_MAX / 2)
        return false;
    connection->output.window.is_owner_ready = false;
    connection->ops->writable(connection->userdata, connection);
    return true;
}
