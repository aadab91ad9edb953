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

    if (protocol == MQTTVERSION_5)
        return packet_reason_text(code);
    return code < 6 ? texts[code] : "unknown";
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
        (void)snprintf(reason, UPLINK_TEXT_MAX,
                       "TLS connection failed: is this a TLS port, and is the broker's "
                       "certificate for this host name?");
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
    unsigned protocol = uplink->settings->protocol;
    int error = paho_link_take_connect_error();

    if (event->is_connack) {
        (void)snprintf(reason, UPLINK_TEXT_MAX,
                       protocol == MQTTVERSION_5 ? "%s (code 0x%02X)" : "%s (code %u)",
                       connack_text(protocol, event->code), (unsigned)event->code);
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

/* Paho's own keep-alive ends a connection without a report, hence the second text. */
const char *uplink_describe_loss(const struct uplink *uplink)
{
    const struct uplink_connection *connection = &uplink->connection;
    int64_t progress_ms = uplink->slots.progress_ms;
    int64_t since_ms =
        progress_ms > connection->online_ms ? progress_ms : connection->online_ms;
    unsigned keepalive_s = uplink->client.keepalive_s;

    if (connection->end_reason[0] != '\0')
        return connection->end_reason;
    if (keepalive_s > 0 && uplink_now_ms() - since_ms > (int64_t)keepalive_s * 2000)
        return "broker closed the connection or no longer answers";
    return "broker closed the connection";
}
