/* SPDX-License-Identifier: MIT */
/*
 * reason.c - why an attempt failed or a connection ended, in words for the operator
 *
 * The library reports little: a code of the CONNACK, or only a failure. The rest comes
 * of the seam, which has the kernel's errno, of OpenSSL's line, and of the time that passed.
 * A reason that needs another step than others of its kind has its remedy here (remedy.c has
 * those of the kinds).
 */
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/paho/paho_handshake.h"
#include "daemon/uplink/uplink-private.h"

/* A broker of 3.1.1 may answer with a code of MQTT 5. */
static const char *connack_text(int code)
{
    static const char *const texts[] = {"",
                                        "protocol version not accepted",
                                        "client id not accepted",
                                        "server unavailable",
                                        "bad user name or password",
                                        "not authorized"};

    if (code >= MQTT_FIRST_FAILURE)
        return packet_reason_text(code);
    return code < 6 ? texts[code] : "unknown";
}

/* Return: the remedy; NULL: that of its kind. */
static const char *describe_connack(const struct uplink *uplink,
                                    const struct uplink_event *event,
                                    char reason[static UPLINK_TEXT_MAX])
{
    unsigned protocol = uplink->client.protocol;
    const char *text = connack_text(event->code);

    if (event->code >= MQTT_FIRST_FAILURE && protocol == MQTTVERSION_5)
        text_format(reason, UPLINK_TEXT_MAX, "%s (code 0x%02X)%s", text, (unsigned)event->code,
                    event->words);
    else
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s (code 0x%02X)", text,
                       (unsigned)event->code);
    if (!uplink_is_3_1_1_answer(uplink, event))
        return NULL;
    bool is_version_set = uplink->settings->protocol == MQTTVERSION_5;
    size_t used = strlen(reason);
    (void)snprintf(reason + used, UPLINK_TEXT_MAX - used,
                   ": the broker speaks MQTT 3.1.1 only%s",
                   is_version_set ? "" : ", where a password needs a user name");
    return is_version_set ? "set uplink.protocol to auto" : "set uplink.username";
}

const char *uplink_describe_timeout(const struct uplink *uplink,
                                    char reason[static UPLINK_TEXT_MAX])
{
    bool is_connected = paho_link_is_established();
    bool is_handshake = is_connected && uplink->client.is_tls && !paho_handshake_is_complete();
    const char *what = "no connection";
    char span[CLOCK_SPAN_MAX];

    if (is_connected)
        what = is_handshake ? "connected, but the TLS handshake has not ended"
                            : "connected, but no CONNACK";
    clock_format_span((int64_t)uplink->settings->connect_timeout_ms, span);
    (void)snprintf(reason, UPLINK_TEXT_MAX, "%s within %s", what, span);
    if (is_handshake)
        return UPLINK_CHECK_TLS_PORT;
    return is_connected ? "check that this is a port for MQTT, and " UPLINK_LOOK_AT_BROKER
                          "; if it is only slow, raise uplink.connect_timeout"
                        : NULL;
}

bool uplink_is_timeout(const struct uplink_event *event)
{
    return strstr(event->text, "timeout");
}

/* Return: the remedy; NULL: that of its kind. */
static const char *describe_silence(const struct uplink *uplink,
                                    const struct uplink_event *event,
                                    char reason[static UPLINK_TEXT_MAX])
{
    if (uplink_is_timeout(event))
        return uplink_describe_timeout(uplink, reason);
    if (uplink->client.is_tls)
        return uplink_describe_tls_silence(uplink, reason);
    if (paho_link_limitations()) {
        (void)snprintf(reason, UPLINK_TEXT_MAX,
                       "connection refused or closed before an answer");
        return NULL;
    }
    (void)snprintf(reason, UPLINK_TEXT_MAX, "broker closed the connection before it answered");
    if (uplink->settings->protocol == MQTTVERSION_5 && uplink_is_closed_unanswered(uplink))
        return "set uplink.protocol to auto if the broker speaks MQTT 3.1.1 only; if this is a "
               "port for TLS, write ssl:// in uplink.brokers; otherwise " UPLINK_LOOK_AT_BROKER;
    return "if this is a port for TLS, write ssl:// in uplink.brokers; otherwise check that it "
           "is a port for MQTT, and " UPLINK_LOOK_AT_BROKER;
}

const char *uplink_describe_failure(const struct uplink *uplink,
                                    const struct uplink_event *event,
                                    char reason[static UPLINK_TEXT_MAX])
{
    int error = paho_link_take_connect_error();
    const char *remedy;

    if (event->is_connack) {
        return describe_connack(uplink, event, reason);
    }
    if (error != 0) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s", strerror(error));
        reason[0] = (char)tolower((unsigned char)reason[0]);
        return NULL;
    }
    remedy = uplink->client.is_tls ? uplink_describe_tls(uplink, reason) : NULL;
    if (remedy)
        return remedy;
    if (uplink->connection.library_error[0] == '\0')
        return describe_silence(uplink, event, reason);
    (void)snprintf(reason, UPLINK_TEXT_MAX, "%s", uplink->connection.library_error);
    return paho_handshake_is_complete() ? UPLINK_CHECK_TLS : UPLINK_CHECK_TLS_PORT;
}

/* Where the seam is missing, Paho's own keep-alive ends a connection without a report. */
static bool was_keepalive(const struct uplink *uplink)
{
    int64_t answer_ms = uplink->progress.answer_ms;
    int64_t online_ms = uplink->connection.online_ms;
    int64_t since_ms = answer_ms > online_ms ? answer_ms : online_ms;

    return paho_link_get_end() == PAHO_LINK_END_UNKNOWN && uplink->client.keepalive_s > 0 &&
           uplink_now_ms() - since_ms > (int64_t)uplink->client.keepalive_s * 2000;
}

enum uplink_cause uplink_cause_of_loss(const struct uplink *uplink)
{
    if (paho_link_violation())
        return UPLINK_CAUSE_DROPPED;
    if (paho_link_get_end() == PAHO_LINK_CUT)
        return UPLINK_CAUSE_CUT;
    return was_keepalive(uplink) ? UPLINK_CAUSE_KEEPALIVE : UPLINK_CAUSE_BROKER_CLOSED;
}

const char *uplink_describe_loss(const struct uplink *uplink)
{
    const struct uplink_connection *connection = &uplink->connection;

    if (connection->end_reason[0] != '\0')
        return connection->end_reason;
    if (paho_link_violation())
        return paho_link_violation();
    if (paho_link_get_end() == PAHO_LINK_CUT)
        return "the network broke the connection: what was sent did not arrive";
    if (was_keepalive(uplink))
        return "broker closed the connection or no longer answers";
    return "broker closed the connection";
}
