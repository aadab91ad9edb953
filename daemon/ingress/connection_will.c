/* SPDX-License-Identifier: MIT */
/*
 * connection_will.c - the message that is published if a client does not disconnect orderly
 *
 * It is copied from the CONNECT before the owner is asked, which may reject the client for it.
 * A DISCONNECT with success discards it, and so does the end of a connection that was never
 * accepted. After every other end the owner takes it, in ops->closed or before.
 */
#include "base/view.h"
#include "daemon/ingress/connection-private.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Return: the copy, at *@at, which moves behind it. */
static struct view copy_view(uint8_t **at, struct view from)
{
    struct view copy = view_of(*at, from.size);

    if (from.size > 0)
        memcpy(*at, from.data, from.size);
    *at += from.size;
    return copy;
}

bool connection_will_keep(struct connection *connection, const struct packet_connect *connect)
{
    const struct packet_publish *from = &connect->will;
    struct connection_will *will;
    uint8_t *at;

    if (!connect->has_will || connection->will)
        return true;
    will = malloc(sizeof(*will) + from->topic.size + from->payload.size + from->ref.size +
                  from->properties.size);
    if (!will)
        return false;
    at = will->memory;
    *will = (struct connection_will){.packet = *from, .delay_s = connect->will_delay_s};
    will->packet.topic = copy_view(&at, from->topic);
    will->packet.payload = copy_view(&at, from->payload);
    will->packet.ref = copy_view(&at, from->ref);
    will->packet.properties = (struct view){0};
    will->kept_properties = view_of(at, packet_keep_properties(from, at));
    connection->will = will;
    return true;
}

void connection_will_discard(struct connection *connection)
{
    free(connection->will);
    connection->will = NULL;
}

const struct connection_will *connection_will(const struct connection *connection)
{
    return connection->will;
}

struct connection_will *connection_take_will(struct connection *connection)
{
    struct connection_will *will = connection->will;

    connection->will = NULL;
    return will;
}
