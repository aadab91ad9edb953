/* SPDX-License-Identifier: MIT */
/*
 * connection_alias.c - topics that a client names by a number
 *
 * An alias is set by a PUBLISH that has both, and from then on stands for its topic, until it
 * is set again or the connection ends (3.3.2.3.4). What the owner is offered always has the
 * whole topic. A PUBLISH that is refused sets its alias, too: the client continues with it.
 *
 * Invariant: CONNECTION_ALIAS_BYTES_MAX bounds the topics of a client.
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

/* Return: false: the connection was ended. */
static bool aliases_reserve(struct connection *connection)
{
    struct connection_aliases *aliases = &connection->aliases;

    if (!aliases->entries)
        aliases->entries = calloc(CONNECTION_ALIAS_MAX, sizeof(*aliases->entries));
    if (!aliases->entries)
        connection_refuse(connection, MQTT_UNSPECIFIED_ERROR, "no memory for topic aliases",
                          NULL);
    return aliases->entries != NULL;
}

/* @topic: not empty. Return: false: the connection was ended. */
static bool
alias_set(struct connection *connection, struct connection_alias *alias, struct view topic)
{
    struct connection_aliases *aliases = &connection->aliases;
    uint8_t *copy;

    if (view_equals(view_of(alias->topic, alias->size), topic))
        return true;
    if (aliases->bytes - alias->size + topic.size > CONNECTION_ALIAS_BYTES_MAX) {
        connection_refuse(connection, MQTT_QUOTA_EXCEEDED,
                          "topics of topic aliases are too long in all", NULL);
        return false;
    }
    copy = malloc(topic.size);
    if (!copy) {
        connection_refuse(connection, MQTT_UNSPECIFIED_ERROR, "no memory for topic aliases",
                          NULL);
        return false;
    }
    memcpy(copy, topic.data, topic.size);
    aliases->bytes = aliases->bytes - alias->size + topic.size;
    free(alias->topic);
    *alias = (struct connection_alias){.topic = copy, .size = topic.size};
    return true;
}

bool connection_alias_apply(struct connection *connection, struct packet_publish *publish)
{
    struct connection_alias *alias;

    if (publish->topic_alias == 0 || publish->topic_alias > CONNECTION_ALIAS_MAX) {
        connection_refuse(connection, MQTT_TOPIC_ALIAS_INVALID,
                          "PUBLISH with a topic alias that is 0 or above the maximum", NULL);
        return false;
    }
    if (!aliases_reserve(connection))
        return false;
    alias = &connection->aliases.entries[publish->topic_alias - 1];
    if (publish->topic.size > 0)
        return alias_set(connection, alias, publish->topic);
    if (!alias->topic) {
        connection_refuse(connection, MQTT_PROTOCOL_ERROR,
                          "PUBLISH with a topic alias that was not set", NULL);
        return false;
    }
    publish->topic = view_of(alias->topic, alias->size);
    return true;
}

void connection_aliases_done(struct connection *connection)
{
    struct connection_aliases *aliases = &connection->aliases;

    for (size_t i = 0; aliases->entries && i < CONNECTION_ALIAS_MAX; i++)
        free(aliases->entries[i].topic);
    free(aliases->entries);
    *aliases = (struct connection_aliases){0};
}
