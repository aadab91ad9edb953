/* SPDX-License-Identifier: MIT */
/*
 * remedy.c - what the operator can do about an attempt or a connection that ended
 *
 * The reason is the cause (reason.c); this is the step that helps, in one line of the log with
 * it. What the file that ended the connection knows comes first, then the broker's code, then
 * the way in which it ended.
 */
#include <stddef.h>

#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink-private.h"

#define WAIT "none is needed: it is tried again; look at the broker if it lasts"

struct remedy {
    int code;
    const char *text;
};

/* CONNACK of 3.1.1, as the code of version 5 that means the same. */
static int connack_code(const struct uplink *uplink)
{
    static const int codes[] = {-1, 0x84, 0x85, 0x88, 0x86, 0x87};
    int code = uplink->connection.connack_code;

    if (code <= 0 || code >= MQTT_FIRST_FAILURE)
        return code;
    return code < (int)(sizeof(codes) / sizeof(codes[0])) ? codes[code] : -1;
}

static const char *find(const struct remedy *remedies, size_t count, int code)
{
    for (size_t i = 0; i < count; i++) {
        if (remedies[i].code == code)
            return remedies[i].text;
    }
    return UPLINK_LOOK_AT_BROKER;
}

static const char *remedy_of_connack(int code)
{
    static const struct remedy remedies[] = {
        {0x84, "set uplink.protocol to the version that the broker speaks"},
        {0x85, "set another uplink.client_id: the broker does not accept this one"},
        {0x86, "correct uplink.username and uplink.password_file"},
        {0x87,
         "correct uplink.username, uplink.password_file or the client certificate, or let "
         "the broker allow this client id and the topic of uplink.presence"},
        {0x88, WAIT},
        {0x89, WAIT},
        {0x8A, "let the broker unban this client id"},
        {0x90, "correct uplink.presence.topic"},
        {0x97, WAIT},
        {0x9A, "set uplink.presence.retain = false: the broker keeps no retained messages"},
        {0x9B, "lower uplink.presence.qos to what the broker supports"},
        {0x9C, "set uplink.brokers to the server that the broker names"},
        {0x9D, "set uplink.brokers to the server that the broker names"},
        {0x9F, WAIT},
    };

    return find(remedies, sizeof(remedies) / sizeof(remedies[0]), code);
}

static const char *remedy_of_disconnect(int code)
{
    static const struct remedy remedies[] = {
        {0x87, "let the broker allow this client id"},
        {0x89, WAIT},
        {0x8B, WAIT},
        {0x8D, "lower uplink.keepalive, and look at the line"},
        {0x8E, "give each gateway an uplink.client_id of its own"},
        {0x95, "raise the packet size that the broker takes, or lower listen.max_packet"},
        {0x96, "set uplink.rate to what the broker takes"},
        {0x97, "set uplink.rate to what the broker takes, or raise its quota"},
        {0x98, WAIT},
        {0x9C, "set uplink.brokers to the server that the broker names"},
        {0x9D, "set uplink.brokers to the server that the broker names"},
        {0x9F, WAIT},
    };

    return find(remedies, sizeof(remedies) / sizeof(remedies[0]), code);
}

static const char *remedy_of_loss(const struct uplink *uplink)
{
    const struct uplink_connection *connection = &uplink->connection;

    if (connection->end_code >= 0)
        return remedy_of_disconnect(connection->end_code);
    switch (connection->cause) {
    case UPLINK_CAUSE_CUT:
    case UPLINK_CAUSE_KEEPALIVE:
        return "look at the line and at the broker; what was not acknowledged is sent again";
    case UPLINK_CAUSE_STALLED:
    case UPLINK_CAUSE_DROPPED:
        return "look at the broker: it does not do what MQTT asks for; if it is only slow, "
               "raise uplink.ack_timeout";
    case UPLINK_CAUSE_NONE:
    case UPLINK_CAUSE_BROKER_CLOSED:
        break;
    }
    return UPLINK_LOOK_AT_BROKER
        "; two gateways with one uplink.client_id disconnect each other";
}

const char *uplink_remedy(const struct uplink *uplink)
{
    if (uplink->connection.remedy)
        return uplink->connection.remedy;
    if (uplink->connection.online_ms > 0)
        return remedy_of_loss(uplink);
    if (uplink->connection.connack_code > 0)
        return remedy_of_connack(connack_code(uplink));
    if (uplink->connection.is_unprepared)
        return "correct what the reason names; it is read again at each attempt";
    return "check that uplink.brokers names the right host and port, that the broker runs, and "
           "that network, name service and firewall let the gateway reach it";
}
