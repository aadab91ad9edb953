/* SPDX-License-Identifier: MIT */
/*
 * connection_out.c - what goes out to a producer
 *
 * Two stages, both capped. The list of owed acknowledgements holds at most
 * CONNECTION_RECEIVE_MAXIMUM entries in the order of their PUBLISH packets; an
 * accepted one is released by the commit, a refusal as soon as nothing accepted
 * stands before it. Released ones are encoded into the byte queue while it has
 * room, so a client that reads slowly holds up its own acknowledgements and
 * costs no more memory.
 *
 * When the other side has closed, the queue discards what is written: the packets
 * that it sent before are still to be read, and their answers reach no client.
 */
#include "daemon/ingress/connection-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/cursor.h"
#include "base/failpoint.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

#define OWED_SIZE_FIRST 16
/* A ring up to this size is kept when it runs empty. */
#define OWED_SIZE_KEPT 64

bool connection_out_begin(struct connection *connection, size_t size, struct writer *ret_writer)
{
    uint8_t *memory;

    if (bytes_reserve(&connection->output.bytes, size, &memory) != 0) {
        connection_refuse(connection, MQTT_UNSPECIFIED_ERROR, "no memory for an answer", NULL);
        return false;
    }
    writer_init(ret_writer, memory, size);
    return true;
}

bool connection_out_end(struct connection *connection, const struct writer *writer)
{
    assert(!writer->failed);
    size_t used = writer_used(writer);
    /* [MQTT-3.1.2-24] forbids to send it, and without it the client would wait forever. */
    if (used > connection->client.max_packet) {
        connection_refuse(connection, MQTT_PACKET_TOO_LARGE,
                          "client's maximum packet size is below our answer", NULL);
        return false;
    }
    bytes_commit(&connection->output.bytes, used);
    return true;
}

void connection_out_consume(struct connection *connection, size_t size)
{
    struct connection_output *output = &connection->output;

    output->large -= size < output->large ? size : output->large;
    bytes_consume(&output->bytes, size);
}

void connection_out_flush(struct connection *connection)
{
    while (bytes_used(&connection->output.bytes) > 0) {
        struct view waiting = bytes_view(&connection->output.bytes);

        if (connection->output.is_lost) {
            connection_out_consume(connection, waiting.size);
            return;
        }
        FAILPOINT_TORN("acknowledge.torn", connection->fd, waiting.data, waiting.size);
        ssize_t sent =
            send(connection->fd, waiting.data, waiting.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            connection_out_consume(connection, (size_t)sent);
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            connection->output.is_lost = true;
    }
}

/* A large message does not count: the owner sends none before it has left. */
static size_t out_used(const struct connection *connection)
{
    return bytes_used(&connection->output.bytes) - connection->output.large;
}

bool connection_out_is_congested(const struct connection *connection)
{
    return out_used(connection) > CONNECTION_OUTPUT_MAX / 2;
}

static struct connection_debt *owed_at(const struct connection_owed *owed, size_t index)
{
    assert(index < owed->size);
    return &owed->ring[(owed->head + index) & (owed->size - 1)];
}

int connection_owed_reserve(struct connection *connection)
{
    struct connection_owed *owed = &connection->output.owed;

    if (owed->count < owed->size)
        return 0;
    size_t size = owed->size == 0 ? OWED_SIZE_FIRST : owed->size * 2;
    struct connection_debt *ring = calloc(size, sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    for (size_t i = 0; i < owed->count; i++)
        ring[i] = *owed_at(owed, i);
    free(owed->ring);
    owed->ring = ring;
    owed->size = size;
    owed->head = 0;
    return 0;
}

void connection_owed_push(struct connection *connection, const struct connection_debt *debt)
{
    struct connection_owed *owed = &connection->output.owed;

    assert(owed->count < owed->size);
    owed->count++;
    *owed_at(owed, owed->count - 1) = *debt;
}

bool connection_owed_is_full(const struct connection *connection)
{
    return connection->output.owed.count >= CONNECTION_RECEIVE_MAXIMUM;
}

void connection_owed_release_refusals(struct connection *connection)
{
    struct connection_owed *owed = &connection->output.owed;

    while (owed->released < owed->count && owed_at(owed, owed->released)->code != MQTT_SUCCESS)
        owed->released++;
}

/* What is on disk whatever becomes of the batch: a release is repeated by the owner, and a
 * repetition is of an earlier batch, unless its first PUBREC was refused just now. */
static bool is_of_batch(const struct connection *connection, const struct connection_debt *debt)
{
    if (debt->code != MQTT_SUCCESS || debt->type == PACKET_PUBCOMP)
        return false;
    return !debt->is_repeated || !packet_ids_has(&connection->unreleased, debt->packet_id);
}

bool connection_owed_refuse(struct connection *connection, uint8_t code)
{
    struct connection_owed *owed = &connection->output.owed;
    bool has_refused = false;

    for (size_t i = owed->released; i < owed->count; i++) {
        struct connection_debt *debt = owed_at(owed, i);

        bool is_refused = is_of_batch(connection, debt);

        /* An owner that read its ids again has set those whose release is not executed yet. */
        if (debt->type == PACKET_PUBCOMP || (is_refused && debt->type == PACKET_PUBREC))
            packet_ids_remove(&connection->unreleased, debt->packet_id);
        if (!is_refused)
            continue;
        debt->code = code;
        debt->spool_id = 0;
        has_refused = true;
    }
    if (has_refused && connection->client.version != MQTT_5)
        owed->count = owed->released;
    return has_refused;
}

static void encode_debt(const struct connection *connection,
                        const struct connection_debt *debt,
                        bool is_bare,
                        struct writer *writer)
{
    enum packet_type type = (enum packet_type)debt->type;

    if (debt->is_too_large && !is_bare)
        packet_encode_too_large(writer, type, debt->packet_id, debt->code);
    else
        packet_encode_ack(writer, connection->client.version, type, debt->packet_id, debt->code,
                          is_bare ? 0 : debt->spool_id);
}

/* A client may not want properties, or take so small packets that only the bare
 * acknowledgement fits. */
static bool send_debt(struct connection *connection, const struct connection_debt *debt)
{
    struct writer writer;

    if (!connection_out_begin(connection, PACKET_ACK_MAX, &writer))
        return false;
    struct writer bare = writer;
    encode_debt(connection, debt, connection->client.no_problem_info, &writer);
    if (writer_used(&writer) <= connection->client.max_packet)
        return connection_out_end(connection, &writer);
    encode_debt(connection, debt, true, &bare);
    return connection_out_end(connection, &bare);
}

/* A closing connection keeps its ring: it may be closed from inside its owner's call, which
 * then still accepts what was offered. */
static void owed_shift(struct connection *connection)
{
    struct connection_owed *owed = &connection->output.owed;

    owed->head = (owed->head + 1) & (owed->size - 1);
    owed->count--;
    owed->released--;
    if (owed->count == 0 && owed->size > OWED_SIZE_KEPT &&
        connection->state == CONNECTION_OPEN) {
        free(owed->ring);
        *owed = (struct connection_owed){0};
    }
}

void connection_owed_pump(struct connection *connection)
{
    struct connection_owed *owed = &connection->output.owed;
    size_t limit = CONNECTION_OUTPUT_MAX - CONNECTION_OUTPUT_RESERVE - PACKET_ACK_MAX;

    while (owed->released > 0 && out_used(connection) <= limit) {
        const struct connection_debt *debt = owed_at(owed, 0);

        if (debt->type != PACKET_PUBREC || debt->code != MQTT_SUCCESS)
            connection_receive_end(connection);
        if (!send_debt(connection, debt)) {
            connection_owed_done(connection); /* it would wait forever */
            return;
        }
        owed_shift(connection);
    }
    if (!connection_owed_is_full(connection))
        connection->pause.is_throttled = false;
}

void connection_owed_done(struct connection *connection)
{
    free(connection->output.owed.ring);
    connection->output.owed = (struct connection_owed){0};
}
