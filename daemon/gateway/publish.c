/* SPDX-License-Identifier: MIT */
/*
 * publish.c - in: a producer's PUBLISH
 *
 * Is it allowed, is there room, append. What cannot be accepted now is refused, or
 * held back unread; the reason is noted in intake.c, which logs it.
 *
 * Invariant: nothing is acknowledged here, but by the batch edge after the commit.
 */
#include "base/failpoint.h"
#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/shape.h"
#include "daemon/gateway/waiting.h"
#include "daemon/ingress/session.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

static struct session_verdict publish_refuse(struct gateway *gateway, uint8_t code)
{
    gateway->counters.refused++;
    return (struct session_verdict){.kind = SESSION_REFUSE, .code = code};
}

/* The first lane that has a matching filter takes the message. */
static unsigned lane_of(const struct config *config, struct view topic)
{
    for (size_t i = 0; i < config->lane_count; i++) {
        const struct config_lane *lane = &config->lanes[i];

        for (size_t j = 0; j < lane->topic_count; j++) {
            if (packet_topic_matches(lane->topics[j], topic))
                return (unsigned)i + 1;
        }
    }
    return 0;
}

static struct spool_message message_of(const struct config *config,
                                       const struct client *client,
                                       const struct session_publish *publish)
{
    const struct packet_publish *packet = publish->packet;

    return (struct spool_message){
        .lane = lane_of(config, packet->topic),
        .uid = session_peer(client->session)->uid,
        .qos = packet->qos,
        .retain = packet->retain,
        .expiry_ms = packet->has_expiry ? (int64_t)packet->expiry_s * 1000 : SPOOL_NO_EXPIRY,
        .client = session_client_id(client->session),
        .topic = packet->topic,
        .properties = publish->kept_properties,
        .ref = packet->ref,
        .payload = packet->payload,
    };
}

static struct session_verdict publish_hold(struct client *client,
                                           enum session_verdict_kind kind)
{
    clients_note_waiting(client, WAITING_ANY, 0);
    return (struct session_verdict){.kind = kind};
}

/* It is not offered again, and so not decoded, until the lane has room for it. */
static struct session_verdict publish_hold_for_lane(struct client *client,
                                                    const struct spool_message *message)
{
    clients_note_waiting(client, message->lane, spool_charge(message));
    return (struct session_verdict){.kind = SESSION_BLOCK};
}

/* A message that could never fit is refused under every policy: blocking its producer would
 * block it for ever. */
static bool can_never_fit(const struct gateway *gateway, const struct spool_message *message)
{
    return spool_charge(message) >
           config_lane_limits(gateway->config, message->lane)->max_bytes;
}

/* Refuse it, or hold it back? By the policy of its lane, whatever is full. */
static bool refuses_when_full(const struct gateway *gateway,
                              const struct spool_message *message)
{
    const struct config_limits *limits = config_lane_limits(gateway->config, message->lane);

    return limits->when_full != CONFIG_BLOCK || can_never_fit(gateway, message);
}

static struct session_verdict publish_refuse_or_hold(struct gateway *gateway,
                                                     struct client *client,
                                                     const struct spool_message *message)
{
    if (refuses_when_full(gateway, message))
        return publish_refuse(gateway, MQTT_QUOTA_EXCEEDED);
    return publish_hold(client, SESSION_BLOCK);
}

static struct session_verdict on_full_lane(struct gateway *gateway,
                                           struct client *client,
                                           const struct spool_message *message)
{
    if (!can_never_fit(gateway, message))
        intake_note_lane_full(&gateway->intake, message->lane);
    if (refuses_when_full(gateway, message))
        return publish_refuse(gateway, MQTT_QUOTA_EXCEEDED);
    return publish_hold_for_lane(client, message);
}

/* Most such locks are short, so nothing is refused at once. All producers together make one
 * attempt in GATEWAY_LOCKED_RETRY_MS, because each may keep the loop waiting. */
static struct session_verdict
on_locked(struct gateway *gateway, struct client *client, unsigned lane)
{
    bool is_patient = intake_awaits_unlock(&gateway->intake);

    if (!is_patient && config_lane_limits(gateway->config, lane)->when_full != CONFIG_BLOCK) {
        intake_note_full(&gateway->intake, INTAKE_FULL_LOCKED);
        return publish_refuse(gateway, MQTT_QUOTA_EXCEEDED);
    }
    edge_timer_arm_later(&gateway->edge_timer, GATEWAY_LOCKED_RETRY_MS);
    return publish_hold(client, is_patient ? SESSION_WAIT : SESSION_BLOCK);
}

/* The batch may hold evictions, which a commit makes durable; later, so that not each message
 * that is refused costs a commit. */
static struct session_verdict on_short_disk(struct gateway *gateway,
                                            struct client *client,
                                            const struct spool_message *message)
{
    intake_note_short_disk(&gateway->intake);
    if (spool_has_work(gateway->spool))
        edge_timer_arm_later(&gateway->edge_timer, GATEWAY_FULL_RETRY_MS);
    return publish_refuse_or_hold(gateway, client, message);
}

/* A producer that is held back is offered again at the edge after the export that made room. */
static struct session_verdict on_full_audit(struct gateway *gateway,
                                            struct client *client,
                                            const struct spool_message *message)
{
    intake_note_full(&gateway->intake, INTAKE_FULL_AUDIT);
    return publish_refuse_or_hold(gateway, client, message);
}

static struct session_verdict publish_append(struct gateway *gateway,
                                             struct client *client,
                                             const struct spool_message *message)
{
    struct spool_time now = turn_spool_time(&gateway->turn);
    uint64_t id = 0;

    if (intake_expects_lock(&gateway->intake))
        return on_locked(gateway, client, message->lane);
    batch_note_append(&gateway->batch);
    int r = spool_append(gateway->spool, message, &now, &id);

    if (r == SPOOL_E_FULL)
        return on_full_lane(gateway, client, message);
    if (r == SPOOL_E_DISK)
        return on_short_disk(gateway, client, message);
    if (r == SPOOL_E_BUSY) {
        intake_note_locked(&gateway->intake);
        return on_locked(gateway, client, message->lane);
    }
    if (r == SPOOL_E_MOVED) {
        edge_timer_arm(&gateway->edge_timer); /* its commit finds it, too */
        return publish_refuse(gateway, MQTT_QUOTA_EXCEEDED);
    }
    if (r != 0) {
        turn_fail(&gateway->turn, r, "append");
        return (struct session_verdict){.kind = SESSION_STOP};
    }
    intake_note_unlocked(&gateway->intake);
    intake_note_room(&gateway->intake);
    intake_note_lane_room(&gateway->intake, message->lane);
    gateway->edge.appended++;
    FAILPOINT("append.after");
    clients_note_owing(client, spool_charge(message));
    edge_timer_arm(&gateway->edge_timer);
    return (struct session_verdict){.kind = SESSION_ACCEPT, .spool_id = id};
}

struct session_verdict
gateway_on_publish(void *userdata, struct client *client, const struct session_publish *publish)
{
    struct gateway *gateway = userdata;
    bool has_turn = client->waiter.has_turn;

    client->waiter.has_turn = false;
    /* No reason code of a PUBACK means that the server stops [MQTT-3.4.2, table 3-4]: that of
     * the DISCONNECT does, and the producer sends the message again. */
    if (gateway->turn.has_failed || stop_has_begun(&gateway->stop))
        return (struct session_verdict){.kind = SESSION_STOP};
    if (gateway->turn.has_moved)
        return publish_refuse(gateway, MQTT_QUOTA_EXCEEDED);
    if (publish->packet->topic.data[0] == '$')
        return publish_refuse(gateway, MQTT_NOT_AUTHORIZED);
    if (!batch_admits(&gateway->batch, client->user, &client->share, client->is_active))
        return publish_hold(client, SESSION_WAIT);
    turn_read_clock(&gateway->turn);
    struct spool_message message = message_of(gateway->config, client, publish);
    if (!shape_admits(&gateway->shape, message.lane, message.topic))
        return publish_refuse(gateway, MQTT_TOPIC_NAME_INVALID);
    if (intake_audit_is_full(&gateway->intake))
        return on_full_audit(gateway, client, &message);
    if (!has_turn && waiting_has_lane(&gateway->clients.waiting, message.lane))
        return on_full_lane(gateway, client, &message);
    FAILPOINT("receive.before_append");
    return publish_append(gateway, client, &message);
}
