/* SPDX-License-Identifier: MIT */
/*
 * reason.c - why an attempt failed or a connection ended, in words for the operator
 *
 * The library reports little: a code of the CONNACK, or only a failure. The rest comes
 * of the seam, which has the kernel's errno, of OpenSSL's line, and of the time that passed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink-private.h"

static const char *connack_text(unsigned protocol, int code)
{
    static const char *const texts[] = {"",
                                        "protocol version not accepted",
                                        "client id not accepted",
                                        "server unavailable",
                                        "bad user name or password",
                                        "not authorized"};

    if (protocol == MQTTVERSION_5 && code >= MQTT_FIRST_FAILURE)
        return packet_reason_text(code);
    return code < 6 ? texts[code] : "unknown";
}

static void describe_connack(const struct uplink *uplink,
                             const struct uplink_event *event,
                             char reason[static UPLINK_TEXT_MAX])
{
    unsigned protocol = uplink->client.protocol;
    const char *text = connack_text(protocol, event->code);

    if (event->code >= MQTT_FIRST_FAILURE && protocol == MQTTVERSION_5)
        text_format(reason, UPLINK_TEXT_MAX, "%s (code 0x%02X)%s", text, (unsigned)event->code,
                    event->words);
    else
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s (code %d)", text, event->code);
    if (!uplink_is_3_1_1_answer(uplink, event))
        return;
    size_t used = strlen(reason);
    (void)snprintf(reason + used, UPLINK_TEXT_MAX - used,
                   uplink->settings->protocol == MQTTVERSION_5
                       ? ": the broker speaks MQTT 3.1.1 only: set uplink.protocol to \"auto\""
                       : ": the broker speaks MQTT 3.1.1 only, where a password needs a user "
                         "name: set uplink.username");
}

void uplink_describe_timeout(const struct uplink *uplink, char reason[static UPLINK_TEXT_MAX])
{
    (void)snprintf(reason, UPLINK_TEXT_MAX, "no connection within %" PRIu64 " s",
                   (uplink->settings->connect_timeout_ms + 999) / 1000);
}

static void describe_silence(const struct uplink *uplink,
                             const struct uplink_event *event,
                             char reason[static UPLINK_TEXT_MAX])
{
    if (strstr(event->text, "timeout"))
        uplink_describe_timeout(uplink, reason);
    else if (uplink->client.is_tls)
        uplink_describe_tls_silence(uplink, reason);
    else
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s",
                       paho_link_limitations()
                           ? "connection refused or closed before an answer"
                           : "broker closed the connection before it answered");
}

void uplink_describe_failure(const struct uplink *uplink,
                             const struct uplink_event *event,
                             char reason[static UPLINK_TEXT_MAX])
{
    int error = paho_link_take_connect_error();

    if (event->is_connack) {
        describe_connack(uplink, event, reason);
    } else if (error != 0) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s", strerror(error));
        if (reason[0] >= 'A' && reason[0] <= 'Z')
            reason[0] = (char)(reason[0] - 'A' + 'a');
    } else if (uplink->client.is_tls && uplink_describe_tls(uplink, reason)) {
        return;
    } else if (uplink->connection.library_error[0] != '\0') {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s", uplink->connection.library_error);
    } else {
        describe_silence(uplink, event, reason);
    }
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
