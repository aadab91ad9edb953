/* SPDX-License-Identifier: MIT */
/*
 * connection_receive.c - what bounds and remembers the PUBLISH packets of a client
 *
 * Each of QoS 1 and 2 is in flight until its answer ends it: PUBACK, PUBCOMP, or a
 * PUBREC that refuses. A v5 client knows from CONNACK how many may be; a 3.1.1 client
 * cannot know: it is not read from while too many answers are owed.
 *
 * A packet id of QoS 2 is unreleased from the PUBLISH that the owner accepted until
 * its PUBREL. A PUBLISH with it is a repetition: it is not offered, and gets its
 * PUBREC again, after a commit like the first one, which may still wait for it. The
 * owner of a session that is kept has the ids on disk and sets them when the client
 * resumes it.
 *
 * A client that never releases has CONNECTION_UNRELEASED_MAX ids: further messages are
 * refused, because each id takes place in the store.
 *
 * Invariant: a message of QoS 2 is offered to the owner once, until it is refused or
 * its packet id was released.
 */
#include "base/cursor.h"
#include "daemon/ingress/connection-private.h"
#include "daemon/ingress/connection.h"
#include "daemon/ingress/packet_ids.h"
#include "daemon/mqtt/packet.h"

#include <stdbool.h>
#include <stdint.h>

static bool owed_reserve(struct connection *connection)
{
    if (connection_owed_reserve(connection) == 0)
        return true;
    connection_refuse(connection, MQTT_UNSPECIFIED_ERROR, "no memory for acknowledgements",
                      NULL);
    return false;
}

/* Return: false: it was ended, or it is not read from until there is room. */
static bool has_room_for_answer(struct connection *connection)
{
    if (connection_owed_is_full(connection)) {
        connection->pause.is_throttled = true;
        return false;
    }
    return owed_reserve(connection);
}

bool connection_receive_begin(struct connection *connection,
                              const struct packet_publish *publish)
{
    if (publish->qos == 0)
        return true;
    if (connection->client.version == MQTT_5 &&
        connection->in_flight >= CONNECTION_RECEIVE_MAXIMUM) { /* [MQTT-3.3.4-7] */
        connection_refuse(connection, MQTT_RECEIVE_MAXIMUM_EXCEEDED,
                          "more PUBLISH than the receive maximum", NULL);
        return false;
    }
    if (!has_room_for_answer(connection))
        return false;
    if (publish->qos == 1 || packet_ids_reserve(&connection->unreleased) == 0)
        return true;
    connection_refuse(connection, MQTT_UNSPECIFIED_ERROR, "no memory for packet ids", NULL);
    return false;
}

void connection_receive_owe(struct connection *connection,
                            const struct packet_publish *publish,
                            const struct connection_debt *debt)
{
    struct connection_debt owed = *debt;

    owed.type = publish->qos == 2 ? PACKET_PUBREC : PACKET_PUBACK;
    owed.packet_id = publish->packet_id;
    connection->in_flight++;
    if (publish->qos == 2 && debt->code == MQTT_SUCCESS)
        packet_ids_add(&connection->unreleased, publish->packet_id);
    connection_owed_push(connection, &owed);
}

bool connection_receive_again(struct connection *connection,
                              const struct packet_publish *publish)
{
    struct connection_debt debt = {.code = MQTT_SUCCESS, .is_repeated = true};

    if (publish->qos != 2 || !packet_ids_has(&connection->unreleased, publish->packet_id))
        return false;
    if (connection->ops->repeated)
        debt.spool_id =
            connection->ops->repeated(connection->userdata, connection, publish->packet_id);
    if (connection->state == CONNECTION_OPEN)
        connection_receive_owe(connection, publish, &debt);
    return true;
}

static void send_pubcomp(struct connection *connection, uint16_t packet_id, uint8_t code)
{
    struct writer writer;

    if (!connection_out_begin(connection, PACKET_ACK_MAX, &writer))
        return;
    packet_encode_ack(&writer, connection->client.version, PACKET_PUBCOMP, packet_id, code, 0);
    (void)connection_out_end(connection,
                             &writer); /* the connection has ended then, nothing to undo */
}

static void connection_release(struct connection *connection, uint16_t packet_id)
{
    struct connection_debt debt = {
        .type = PACKET_PUBCOMP, .packet_id = packet_id, .code = MQTT_SUCCESS};
    bool awaits_commit = connection->ops->released &&
                         connection->ops->released(connection->userdata, connection, packet_id);

    if (connection->state != CONNECTION_OPEN)
        return; /* its owner closed it from inside the call */
    packet_ids_remove(&connection->unreleased, packet_id);
    if (awaits_commit) {
        connection_owed_push(connection, &debt);
        return;
    }
    send_pubcomp(connection, packet_id, MQTT_SUCCESS);
    connection_receive_end(connection);
}

/* A release of what is not known gets a PUBCOMP, too: it may be a repetition, whose first
 * PUBCOMP was lost with a connection. v5 has a code for that. */
bool connection_on_pubrel(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_reason reason;
    int r = packet_decode_ack(frame, connection->client.version, &reason);

    if (r != 0) {
        connection_end_on_condition(connection, "bad PUBREL", r);
        return true;
    }
    if (!packet_ids_has(&connection->unreleased, reason.packet_id)) {
        send_pubcomp(connection, reason.packet_id, MQTT_PACKET_ID_NOT_FOUND);
        return true;
    }
    if (!has_room_for_answer(connection))
        return !connection->pause.is_throttled;
    connection_release(connection, reason.packet_id);
    return true;
}
