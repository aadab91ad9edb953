/* SPDX-License-Identifier: MIT */
/*
 * limits.c - what a broker announced: may it be used, and for which messages
 *
 * Invariant: a message of QoS 1 or 2 is never sent with QoS 0 unless the settings ask for it,
 * because then it could be lost and be recorded as delivered. A message that the broker in use
 * cannot take is given up only if each other broker of the list cannot take it either; one
 * that has not been connected to yet may.
 *
 * Diagnostics: link_limits, link_protocol.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink-private.h"

unsigned uplink_choose_protocol(const struct uplink_settings *settings,
                                const struct uplink_broker *broker)
{
    if (settings->protocol != 0)
        return settings->protocol;
    return broker->speaks_3_1_1_only ? MQTTVERSION_3_1_1 : MQTTVERSION_5;
}

/* A CONNACK of 3.1.1 has codes up to 5, and no broker of version 5 sends these. */
bool uplink_is_3_1_1_answer(const struct uplink *uplink, const struct uplink_event *event)
{
    return uplink->client.protocol == MQTTVERSION_5 && event->is_connack &&
           (event->code < MQTT_FIRST_FAILURE || event->code == MQTT_UNSUPPORTED_VERSION);
}

bool uplink_needs_protocol_5(const struct uplink_settings *settings)
{
    return settings->protocol == MQTTVERSION_5 ||
           (settings->password_file[0] != '\0' && settings->username[0] == '\0');
}

void uplink_fall_back(struct uplink *uplink, const struct uplink_event *event)
{
    const char *uri = uplink_broker_uri(uplink);
    char quoted[UPLINK_TEXT_MAX];

    uplink_broker(uplink)->speaks_3_1_1_only = true;
    uplink->connection.reconnects_at_once = true;
    log_warning(
        "link_protocol broker=%s protocol=3.1.1 reason=\"it refuses MQTT 5 with code "
        "%d\" costs=\"properties, message expiry, reported refusals\" remedy=\"use a broker "
        "that speaks MQTT 5, or accept it: set uplink.protocol = 4\"",
        log_quote(quoted, sizeof(quoted), uri, strlen(uri)), event->code);
}

void uplink_log_protocol(const struct uplink_settings *settings)
{
    if (settings->protocol == MQTTVERSION_3_1_1)
        log_warning("link_protocol protocol=3.1.1 reason=\"uplink.protocol is 4\" "
                    "costs=\"properties, message expiry, reported refusals\" remedy=\"remove "
                    "uplink.protocol: MQTT 5 is used with a broker that speaks it\"");
}

static bool are_equal(const struct uplink_limits *a, const struct uplink_limits *b)
{
    return a->receive_maximum == b->receive_maximum && a->maximum_qos == b->maximum_qos &&
           a->maximum_packet == b->maximum_packet &&
           a->retain_available == b->retain_available && a->keepalive_s == b->keepalive_s &&
           a->alias_maximum == b->alias_maximum && strcmp(a->client_id, b->client_id) == 0;
}

static void log_limits(const struct uplink_limits *limits, const char *uri)
{
    char quoted[UPLINK_TEXT_MAX];
    char client_id[UPLINK_TEXT_MAX];

    log_info(
        "link_limits broker=%s receive_maximum=%u maximum_packet=%" PRIu64
        " maximum_qos=%u retain=%s keepalive_s=%u topic_aliases=%u client_id=%s",
        log_quote(quoted, sizeof(quoted), uri, strlen(uri)), limits->receive_maximum,
        limits->maximum_packet, limits->maximum_qos, limits->retain_available ? "yes" : "no",
        limits->keepalive_s, limits->alias_maximum,
        log_quote(client_id, sizeof(client_id), limits->client_id, strlen(limits->client_id)));
}

static bool is_usable(const struct uplink_settings *settings,
                      const struct uplink_limits *limits,
                      char reason[static UPLINK_TEXT_MAX],
                      int *ret_code)
{
    bool is_zero = limits->receive_maximum == 0 || limits->maximum_packet == 0;

    *ret_code = is_zero ? MQTT_PROTOCOL_ERROR : MQTT_SUCCESS;
    if (is_zero)
        (void)snprintf(reason, UPLINK_TEXT_MAX, "the broker announced %s 0, a protocol error",
                       limits->receive_maximum == 0 ? "Receive Maximum"
                                                    : "Maximum Packet Size");
    else if (limits->maximum_qos == 0 && settings->max_qos > 0)
        (void)snprintf(reason, UPLINK_TEXT_MAX,
                       "the broker takes QoS 0 alone, which it does not acknowledge: set "
                       "uplink.max_qos = 0 to use it");
    else
        return true;
    return false;
}

bool uplink_take_limits(struct uplink *uplink,
                        const struct uplink_limits *limits,
                        char reason[static UPLINK_TEXT_MAX],
                        int *ret_code)
{
    struct uplink_broker *broker = uplink_broker(uplink);
    struct uplink_limits none = uplink_no_limits();

    if (!are_equal(limits, broker->has_limits ? &broker->limits : &none))
        log_limits(limits, uplink_broker_uri(uplink));
    broker->limits = *limits;
    broker->has_limits = true;
    broker->is_usable = is_usable(uplink->settings, limits, reason, ret_code);
    return broker->is_usable;
}

bool uplink_is_still_usable(const struct uplink *uplink,
                            char reason[static UPLINK_TEXT_MAX],
                            int *ret_code)
{
    return is_usable(uplink->settings, &uplink->connection.limits, reason, ret_code);
}

/* --- the keep-alive ------------------------------------------------------- */

/* The lowest that was demanded counts: some brokers announce it only to those that ask for
 * more. After a change of the setting it is tried again with that. */
unsigned uplink_keepalive_s(const struct uplink_settings *settings,
                            const struct uplink_broker *broker)
{
    unsigned set_s = (unsigned)((settings->keepalive_ms + 999) / 1000);

    if (broker->keepalive_s > 0 && broker->keepalive_set_ms == settings->keepalive_ms)
        return broker->keepalive_s;
    return set_s;
}

/* --- which message -------------------------------------------------------- */

static bool takes(const struct uplink_limits *limits, uint64_t packet, bool has_retain)
{
    return packet <= limits->maximum_packet && (limits->retain_available || !has_retain);
}

int uplink_check_limits(const struct uplink *uplink,
                        uint64_t packet,
                        bool has_retain,
                        size_t *ret_other)
{
    const struct uplink_brokers *brokers = &uplink->brokers;
    const struct uplink_limits *limits = &uplink->connection.limits;

    if (takes(limits, packet, has_retain))
        return 0;
    for (size_t i = 0; i < brokers->count; i++) {
        const struct uplink_broker *other = &brokers->list[i];
        bool is_possible = !other->has_limits ||
                           (other->is_usable && takes(&other->limits, packet, has_retain));

        if (i == brokers->current || !is_possible)
            continue;
        *ret_other = i;
        return UPLINK_E_OTHER_BROKER;
    }
    return packet > limits->maximum_packet ? UPLINK_E_TOO_LARGE : UPLINK_E_RETAIN;
}
