/* SPDX-License-Identifier: MIT */
/*
 * version.c - which version of MQTT a broker is spoken to in, with uplink.protocol = "auto"
 *
 * Some brokers of 3.1.1 refuse a CONNECT of version 5 by a code, which is certain. Others
 * close the connection without an answer, and so does a broker that is overloaded, or a load
 * balancer without a backend. After such an end the next attempt is with 3.1.1, and after an
 * end of that one with 5 again. A 3.1.1 that was accepted is not used before a CONNECT of
 * version 5 was closed once more, right after it.
 *
 * Invariant: 3.1.1 is used only with a broker that has accepted it, or that has refused 5 by
 * a code; a version that was found without a code is not kept for ever: 5 is tried again
 * after VERSION_TRIAL_MIN_MS, and each time that this is without effect after twice the time.
 *
 * Diagnostics: link_protocol.
 */
#include <string.h>

#include "base/log.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/paho/paho_handshake.h"
#include "daemon/uplink/uplink-private.h"

#define VERSION_TRIAL_MIN_MS 3600000
#define VERSION_TRIAL_MAX_MS 86400000
/* The kernel counts a FIN as a byte that was received. */
#define FIN_BYTES 1

static struct uplink_version *version_of_broker(struct uplink *uplink)
{
    return &uplink->brokers.list[uplink->brokers.current].version;
}

unsigned uplink_choose_protocol(const struct uplink_settings *settings,
                                const struct uplink_broker *broker)
{
    const struct uplink_version *version = &broker->version;

    if (settings->protocol != 0)
        return settings->protocol;
    if (version->is_5_refused)
        return MQTTVERSION_3_1_1;
    if (!version->closes_at_5 || uplink_needs_protocol_5(settings))
        return MQTTVERSION_5;
    return uplink_now_ms() < version->trial_ms ? MQTTVERSION_3_1_1 : MQTTVERSION_5;
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

    version_of_broker(uplink)->is_5_refused = true;
    uplink->connection.reconnects_at_once = true;
    log_warning(
        "link_protocol broker=%s protocol=3.1.1 reason=\"it refuses MQTT 5 with code "
        "0x%02X\" costs=\"properties, message expiry, reported refusals\" remedy=\"use a broker "
        "that speaks MQTT 5, or accept it: set uplink.protocol = 4\"",
        log_quote(quoted, sizeof(quoted), uri, strlen(uri)), (unsigned)event->code);
}

void uplink_log_protocol(const struct uplink_settings *settings)
{
    if (settings->protocol == MQTTVERSION_3_1_1)
        log_warning("link_protocol protocol=3.1.1 reason=\"uplink.protocol is 4\" "
                    "costs=\"properties, message expiry, reported refusals\" remedy=\"remove "
                    "uplink.protocol: MQTT 5 is used with a broker that speaks it\"");
}

/* --- a broker that closes without an answer -------------------------------- */

static void log_silence(struct uplink *uplink)
{
    const char *uri = uplink_broker_uri(uplink);
    char quoted[UPLINK_TEXT_MAX];

    version_of_broker(uplink)->is_logged = true;
    log_warning(
        "link_protocol broker=%s protocol=3.1.1 reason=\"it does not answer a CONNECT of "
        "MQTT 5, and accepts 3.1.1\" costs=\"properties, message expiry, reported refusals\" "
        "remedy=\"use a broker that speaks MQTT 5, or accept it: set uplink.protocol = 4; "
        "until then MQTT 5 is tried again at least once a day\"",
        log_quote(quoted, sizeof(quoted), uri, strlen(uri)));
}

/* The peer has the CONNECT, or a part of it, and sent nothing. Of a handshake of TLS the bytes
 * that were received do not differ from those of an answer. */
static bool is_unanswered(const struct uplink *uplink)
{
    struct paho_link_traffic traffic;

    return uplink->state == LINK_CONNECTING && uplink->connection.connack_code < 0 &&
           !paho_link_violation() && paho_link_get_traffic(&traffic) && traffic.taken > 0 &&
           (uplink->client.is_tls || traffic.received <= FIN_BYTES);
}

/* A close_notify, for which Paho closes before the FIN comes; not an alert. */
static bool is_closed_by_tls(const struct uplink *uplink)
{
    struct paho_handshake_failure failure;

    return uplink->client.is_tls && uplink->connection.is_broken &&
           paho_handshake_is_complete() && !paho_handshake_get_failure(&failure);
}

bool uplink_is_closed_unanswered(const struct uplink *uplink)
{
    return is_unanswered(uplink) &&
           (paho_link_get_end() == PAHO_LINK_CLOSED_BY_PEER || is_closed_by_tls(uplink));
}

/* It does not answer 5, and is known to accept 3.1.1. */
static void plan_trial(struct uplink *uplink)
{
    struct uplink_version *version = version_of_broker(uplink);

    version->trial_ms = uplink_now_ms() + (int64_t)uplink_backoff_limit_ms(VERSION_TRIAL_MIN_MS,
                                                                           VERSION_TRIAL_MAX_MS,
                                                                           version->trials++);
    uplink->connection.reconnects_at_once = true;
    if (!version->is_logged)
        log_silence(uplink);
}

static void judge_end_at_5(struct uplink *uplink)
{
    struct uplink_version *version = version_of_broker(uplink);

    if (uplink->connection.connack_code >= 0) {
        uplink_forget_version(version, version->is_5_refused);
        return;
    }
    if (uplink_needs_protocol_5(uplink->settings))
        return;
    if (version->accepts_3_1_1 && is_unanswered(uplink)) {
        plan_trial(uplink);
    } else if (uplink_is_closed_unanswered(uplink)) {
        version->closes_at_5 = true;
        version->trial_ms = INT64_MAX;
    }
}

/* 3.1.1 fares no better: nothing is known of the broker. */
static void judge_end_at_3_1_1(struct uplink *uplink)
{
    struct uplink_version *version = version_of_broker(uplink);
    bool is_refused = uplink->connection.connack_code >= 0 && !version->accepts_3_1_1;

    if (is_refused || uplink_is_closed_unanswered(uplink)) {
        version->closes_at_5 = false;
        version->accepts_3_1_1 = false;
    }
}

void uplink_judge_version(struct uplink *uplink)
{
    if (uplink->state != LINK_CONNECTING || uplink->settings->protocol != 0)
        return;
    if (uplink->client.protocol == MQTTVERSION_5)
        judge_end_at_5(uplink);
    else
        judge_end_at_3_1_1(uplink);
}

bool uplink_accept_version(struct uplink *uplink)
{
    struct uplink_version *version = version_of_broker(uplink);

    if (uplink->client.protocol == MQTTVERSION_5) {
        uplink_forget_version(version, false);
        return true;
    }
    if (!version->closes_at_5 || version->accepts_3_1_1)
        return true;
    version->accepts_3_1_1 = true;
    version->trials = 0;
    version->trial_ms = 0;
    return false;
}

void uplink_forget_version(struct uplink_version *version, bool is_5_refused)
{
    *version = (struct uplink_version){.is_5_refused = is_5_refused};
}

int64_t uplink_trial_due_ms(const struct uplink *uplink)
{
    const struct uplink_version *version =
        &uplink->brokers.list[uplink->brokers.current].version;
    bool is_found = uplink->settings->protocol == 0 && !version->is_5_refused &&
                    version->accepts_3_1_1 && !uplink_needs_protocol_5(uplink->settings);

    return is_found ? version->trial_ms : INT64_MAX;
}
