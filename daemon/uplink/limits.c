/* SPDX-License-Identifier: MIT */
/*
 * limits.c - what a broker announced: may it be used, and for which messages
 *
 * Invariant: a message of QoS 1 or 2 is never sent with QoS 0 unless the settings ask for it,
 * because then it could be lost and be recorded as delivered. A message that the broker in use
 * cannot take is given up only if each other broker of the list cannot take it either; one
 * that has not been connected to yet may.
 *
 * Diagnostics: link_limits.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink-private.h"

#define LIMIT_TEXT_MAX 48

static bool are_equal(const struct uplink_limits *a, const struct uplink_limits *b)
{
    return a->receive_maximum == b->receive_maximum && a->maximum_qos == b->maximum_qos &&
           a->maximum_packet == b->maximum_packet &&
           a->retain_available == b->retain_available && a->keepalive_s == b->keepalive_s &&
           a->alias_maximum == b->alias_maximum && strcmp(a->client_id, b->client_id) == 0;
}

/* @text: " key=number" if @number is not what holds without an announcement, else "". */
static const char *
format_limit(char text[static LIMIT_TEXT_MAX], const char *key, uint64_t number, uint64_t none)
{
    text[0] = '\0';
    if (number != none)
        (void)snprintf(text, LIMIT_TEXT_MAX, " %s=%" PRIu64, key, number);
    return text;
}

/* Only what was announced. */
static void log_limits(const struct uplink_limits *limits, const char *uri)
{
    struct uplink_limits none = uplink_no_limits();
    char receive[LIMIT_TEXT_MAX], packet[LIMIT_TEXT_MAX], qos[LIMIT_TEXT_MAX];
    char keepalive[LIMIT_TEXT_MAX], aliases[LIMIT_TEXT_MAX];
    char quoted[UPLINK_TEXT_MAX], client_id[UPLINK_TEXT_MAX];
    const char *id = limits->client_id;

    log_info(
        "link_limits broker=%s%s%s%s%s%s%s%s%s%s",
        log_quote(quoted, sizeof(quoted), uri, strlen(uri)),
        format_limit(receive, "receive_maximum", limits->receive_maximum, none.receive_maximum),
        format_limit(packet, "maximum_packet", limits->maximum_packet, none.maximum_packet),
        format_limit(qos, "maximum_qos", limits->maximum_qos, none.maximum_qos),
        limits->retain_available ? "" : " retain=no",
        format_limit(keepalive, "keepalive_s", limits->keepalive_s, none.keepalive_s),
        format_limit(aliases, "topic_aliases", limits->alias_maximum, none.alias_maximum),
        id[0] != '\0' ? " client_id=" : "",
        id[0] != '\0' ? log_quote(client_id, sizeof(client_id), id, strlen(id)) : "",
        are_equal(limits, &none) ? " announced=nothing" : "");
}

/* Return: NULL: the broker may be used; else the remedy, and @reason and @ret_code are set. */
static const char *check_usable(const struct uplink_settings *settings,
                                const struct uplink_limits *limits,
                                char reason[static UPLINK_TEXT_MAX],
                                int *ret_code)
{
    bool is_zero = limits->receive_maximum == 0 || limits->maximum_packet == 0;

    *ret_code = is_zero ? MQTT_PROTOCOL_ERROR : MQTT_SUCCESS;
    if (is_zero) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "the broker announced %s 0, a protocol error",
                       limits->receive_maximum == 0 ? "Receive Maximum"
                                                    : "Maximum Packet Size");
        return limits->receive_maximum == 0
                   ? "raise the broker's limit of messages in flight for this client id above "
                     "0, or name another broker in uplink.brokers"
                   : "raise the broker's limit of the packet size for this client id above 0, "
                     "or name another broker in uplink.brokers";
    }
    if (limits->maximum_qos > 0 || settings->max_qos == 0)
        return NULL;
    (void)snprintf(reason, UPLINK_TEXT_MAX,
                   "the broker takes QoS 0 alone, which it does not acknowledge: set "
                   "uplink.max_qos = 0 to use it");
    return "let the broker allow QoS 1 to this client id; or set uplink.max_qos = 0, and accept "
           "that what is lost on the way is recorded as delivered";
}

const char *uplink_take_limits(struct uplink *uplink,
                               const struct uplink_limits *limits,
                               char reason[static UPLINK_TEXT_MAX],
                               int *ret_code)
{
    const char *remedy = check_usable(uplink->settings, limits, reason, ret_code);
    struct uplink_broker *broker = uplink_broker(uplink);
    struct uplink_limits none = uplink_no_limits();

    if (!are_equal(limits, broker->has_limits ? &broker->limits : &none))
        log_limits(limits, uplink_broker_uri(uplink));
    broker->limits = *limits;
    broker->has_limits = true;
    broker->is_usable = !remedy;
    return remedy;
}

const char *uplink_recheck_limits(const struct uplink *uplink,
                                  char reason[static UPLINK_TEXT_MAX],
                                  int *ret_code)
{
    return check_usable(uplink->settings, &uplink->connection.limits, reason, ret_code);
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
