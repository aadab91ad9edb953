/* SPDX-License-Identifier: MIT */
/*
 * presence.c - what the broker publishes about this gateway: the will, and answers of birth.c
 *
 * Each connection begins with the online message. The will, which the broker publishes when
 * the gateway vanishes, is the offline message; before an orderly DISCONNECT the gateway
 * publishes it itself, because that DISCONNECT removes the will.
 *
 * With MQTT 5 the will is delayed, and the session outlives the connection for as long, so
 * that a new connection within that time prevents it. Such a connection resumes the session
 * (Clean Start 0). Not if a QoS 2 message was without an answer at the end of the last one: the
 * broker would take a new message with its packet id for the old one.
 *
 * Invariant: it never keeps messages from being sent: a broker that closes at it gets neither
 * message nor will any more.
 *
 * Diagnostics: presence_refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink-private.h"

/* Longer than the pause of a reconnect that succeeds, shorter than a reader's patience. */
#define WILL_DELAY_S 30
/* So many connections in a row that ended at the online message: it is not sent any more. */
#define CLOSED_MAX 3

bool uplink_has_presence(const struct uplink *uplink)
{
    return uplink->presence.topic && uplink->presence.closed < CLOSED_MAX;
}

static bool is_delayed(const struct uplink *uplink)
{
    return uplink_has_presence(uplink) && uplink->client.protocol == MQTTVERSION_5;
}

int uplink_presence_init(struct uplink *uplink)
{
    const struct uplink_settings *settings = uplink->settings;

    if (settings->presence.topic[0] == '\0')
        return 0;
    if (asprintf(&uplink->presence.topic, "%s%s", settings->topic_prefix,
                 settings->presence.topic) < 0) {
        uplink->presence.topic = NULL;
        return -ENOMEM;
    }
    uplink->presence.warnings = (struct log_limit){.interval_ms = 60000, .burst = 1};
    return 0;
}

void uplink_presence_done(struct uplink *uplink)
{
    free(uplink->presence.topic);
}

/* --- the attempt ---------------------------------------------------------- */

bool uplink_presence_resumes(const struct uplink *uplink)
{
    return is_delayed(uplink) && uplink->brokers.list[uplink->brokers.current].has_session;
}

void uplink_presence_set_will(const struct uplink *uplink,
                              MQTTAsync_willOptions *will,
                              MQTTAsync_connectOptions *options)
{
    const struct uplink_presence *settings = &uplink->settings->presence;

    if (!uplink_has_presence(uplink))
        return;
    *will = (MQTTAsync_willOptions)MQTTAsync_willOptions_initializer;
    will->topicName = uplink->presence.topic;
    will->payload.data = settings->offline;
    will->payload.len = (int)strlen(settings->offline);
    will->qos = (int)settings->qos;
    will->retained = settings->is_retained;
    options->will = will;
}

int uplink_presence_add_properties(const struct uplink *uplink,
                                   MQTTProperties *connect,
                                   MQTTProperties *will)
{
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                           .value.integer4 = WILL_DELAY_S};
    MQTTProperty delay = {.identifier = MQTTPROPERTY_CODE_WILL_DELAY_INTERVAL,
                          .value.integer4 = WILL_DELAY_S};

    if (!is_delayed(uplink))
        return 0;
    int rc = MQTTProperties_add(connect, &expiry);
    return rc == 0 ? MQTTProperties_add(will, &delay) : rc;
}

/* --- the connection ------------------------------------------------------- */

bool uplink_presence_is_unfinished(const struct uplink *uplink)
{
    return uplink_has_presence(uplink) && uplink->connection.online_ms > 0 &&
           !uplink->presence.has_left;
}

bool uplink_presence_wants_will(const struct uplink *uplink)
{
    return is_delayed(uplink) && uplink_presence_is_unfinished(uplink);
}

static void note_refused(struct uplink *uplink, const char *reason)
{
    const char *topic = uplink->presence.topic;
    char quoted[UPLINK_TEXT_MAX];
    char why[UPLINK_TEXT_MAX];
    uint64_t suppressed = 0;

    (void)snprintf(uplink->presence.error, sizeof(uplink->presence.error), "%s", reason);
    if (log_limit_pass(&uplink->presence.warnings, uplink_now_ms(), &suppressed))
        log_warning(
            "presence_refused topic=%s reason=%s suppressed=%" PRIu64
            " messages=unaffected remedy=\"allow this client id to publish to the topic, "
            "or change uplink.presence\"",
            log_quote(quoted, sizeof(quoted), topic, strlen(topic)),
            log_quote(why, sizeof(why), reason, strlen(reason)), suppressed);
}

static void note_closed(struct uplink *uplink, const struct uplink_answer *answer)
{
    struct uplink_presence_state *presence = &uplink->presence;

    if (!answer->was_oldest || answer->cause != UPLINK_CAUSE_BROKER_CLOSED)
        return;
    if (++presence->closed == CLOSED_MAX)
        note_refused(uplink, "the broker closes the connection at it");
}

void uplink_presence_on_answer(struct uplink *uplink, const struct uplink_answer *answer)
{
    struct uplink_presence_state *presence = &uplink->presence;
    char reason[UPLINK_TEXT_MAX];

    presence->in_flight--;
    switch (answer->kind) {
    case UPLINK_DELIVERED:
        presence->closed = 0;
        presence->error[0] = '\0';
        presence->has_left = presence->is_leaving && presence->in_flight == 0;
        break;
    case UPLINK_REFUSED:
        (void)snprintf(reason, sizeof(reason), "%s (code 0x%02X)",
                       packet_reason_text(answer->code), (unsigned)answer->code);
        note_refused(uplink, reason);
        break;
    case UPLINK_UNKNOWN:
        note_closed(uplink, answer);
        break;
    }
}
