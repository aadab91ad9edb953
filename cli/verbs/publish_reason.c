/* SPDX-License-Identifier: MIT */
/*
 * publish_reason.c - what an MQTT reason code means to the caller of the tool
 *
 * One table of exit codes and texts: for answers of the daemon, for its
 * CONNACK, also that of MQTT 3.1.1, and for what libmosquitto refuses before it
 * is sent.
 */
#include "cli/verbs/publish-private.h"

#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stddef.h>
#include <sysexits.h>

static const struct {
    int reason;
    int code;
    const char *text;
} reasons[] = {
    {MQTT_RC_QUOTA_EXCEEDED, EX_TEMPFAIL, "quota exceeded; mqtt-spool status says why"},
    {MQTT_RC_SERVER_BUSY, EX_TEMPFAIL, "the daemon is busy; try again"},
    {MQTT_RC_SERVER_UNAVAILABLE, EX_TEMPFAIL,
     "it has as many clients as it takes (listen.max_clients), or is stopping; try again"},
    {MQTT_RC_SERVER_SHUTTING_DOWN, EX_TEMPFAIL, "the daemon is shutting down; try again"},
    {MQTT_RC_NOT_AUTHORIZED, EX_NOPERM, "this user may not do that"},
    {MQTT_RC_TOPIC_NAME_INVALID, EX_DATAERR,
     "the topic name is not valid, alone or with prefix or map of its lane"},
    {MQTT_RC_PACKET_TOO_LARGE, EX_DATAERR,
     "the message is larger than the daemon takes (listen.max_packet)"},
    {MQTT_RC_PAYLOAD_FORMAT_INVALID, EX_DATAERR,
     "the payload is not the UTF-8 it claims to be"},
    {MQTT_RC_QOS_NOT_SUPPORTED, EX_DATAERR, "the daemon does not take this QoS"},
    {MQTT_RC_RETAIN_NOT_SUPPORTED, EX_UNAVAILABLE, "the daemon takes no retained messages"},
    {MQTT_RC_CLIENTID_NOT_VALID, EX_UNAVAILABLE, "the client id (-i) is not valid"},
    {MQTT_RC_SESSION_TAKEN_OVER, EX_UNAVAILABLE, "another client came with the same id (-i)"},
    {MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION, EX_UNAVAILABLE, "the MQTT version is not supported"},
    {MQTT_RC_UNSPECIFIED, EX_UNAVAILABLE, "it gave no reason; see the daemon's journal"},
};

int publish_exit_code(int reason)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].reason == reason)
            return reasons[i].code;
    }
    return EX_UNAVAILABLE;
}

const char *publish_reason_text(int reason)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].reason == reason)
            return reasons[i].text;
    }
    return mosquitto_reason_string(reason);
}

/* The one thing that no producer may publish. */
const char *publish_puback_text(const struct publish_message *message, int reason)
{
    return reason == MQTT_RC_NOT_AUTHORIZED && message->is_system_topic
               ? "topics that begin with $ cannot be published"
               : publish_reason_text(reason);
}

/* At CONNECT it is the number of clients that has a quota, and the user that has a right. */
const char *publish_connack_text(int reason)
{
    if (reason == MQTT_RC_NOT_AUTHORIZED)
        return "access has no entry for this user (in the daemon's configuration)";
    return reason == MQTT_RC_QUOTA_EXCEEDED
               ? "it has as many clients as it takes (listen.max_clients); try again"
               : publish_reason_text(reason);
}

/* The return codes of 3.1.1 in terms of version 5. */
int publish_connack_reason(const struct publisher *publisher, int code)
{
    static const int older[] = {0,
                                MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION,
                                MQTT_RC_CLIENTID_NOT_VALID,
                                MQTT_RC_SERVER_UNAVAILABLE,
                                MQTT_RC_BAD_USERNAME_OR_PASSWORD,
                                MQTT_RC_NOT_AUTHORIZED};

    if (publisher->options->version == 5 || code < 0 ||
        code >= (int)(sizeof(older) / sizeof(older[0])))
        return code;
    return older[code];
}

/* What the library itself would not send, as the daemon would have refused it. */
int publish_library_reason(int result)
{
    switch (result) {
    case MOSQ_ERR_OVERSIZE_PACKET:
    case MOSQ_ERR_PAYLOAD_SIZE:
        return MQTT_RC_PACKET_TOO_LARGE;
    case MOSQ_ERR_QOS_NOT_SUPPORTED:
        return MQTT_RC_QOS_NOT_SUPPORTED;
    case MOSQ_ERR_RETAIN_NOT_SUPPORTED:
        return MQTT_RC_RETAIN_NOT_SUPPORTED;
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_MALFORMED_UTF8:
        return MQTT_RC_TOPIC_NAME_INVALID;
    default:
        return MQTT_RC_UNSPECIFIED;
    }
}
