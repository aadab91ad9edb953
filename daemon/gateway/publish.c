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
#include "base/text.h"
#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/config/spool_lanes.h"
#include "daemon/gateway/access.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/shape.h"
#include "daemon/gateway/waiting.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

#define CORRECT_MESSAGE                                                                        \
    "correct the program or the configuration: this message is refused at every try"
#define SET_ADMIN                                                                               \
    "if this user may give commands, set admin in the entry of access that fits it; otherwise " \
    "correct the program"
#define BE_ROOT                                                                                \
    "give commands as root (sudo); an access list can allow this user, too, but has to name "  \
    "root and every user that publishes"

static const char *control_remedy(const struct client *client)
{
    return client->access.entry ? SET_ADMIN : BE_ROOT;
}

/* @reason: for the status, and for the log if the connection ends. */
static struct connection_verdict
publish_refuse(struct gateway *gateway, uint8_t code, const char *reason)
{
    counters_note_refused(&gateway->counters, 1, reason, gateway->turn.now.boot_ms);
    return (struct connection_verdict){
        .kind = CONNECTION_REFUSE, .code = code, .why = gateway->counters.refused_reason};
}

/* The topic comes last, because it may be cut. */
static void describe_refused(const struct connection_publish *publish,
                             const char *cause,
                             char reason[static COUNTERS_REASON_MAX])
{
    struct view topic = publish->packet->topic;

    text_format(reason, COUNTERS_REASON_MAX, "%s (%zu bytes, topic %.*s)", cause,
                publish->packet->payload.size, (int)topic.size, (const char *)topic.data);
}

/* What is wrong is the message itself, so another try is refused, too. */
static struct connection_verdict
publish_refuse_forever(struct gateway *gateway,
                       const struct client *client,
                       const struct connection_publish *publish,
                       uint8_t code,
                       const char *cause)
{
    char reason[COUNTERS_REASON_MAX];

    describe_refused(publish, cause, reason);
    turn_read_clock(&gateway->turn);
    if (publish->has_answer)
        clients_log_refused(client, reason, CORRECT_MESSAGE);
    return publish_refuse(gateway, code, reason);
}

/* It is no message that a program wanted to have sent, so it is not counted as one. @why: a
 * literal. */
static struct connection_verdict command_refuse(uint8_t code, const char *why)
{
    return (struct connection_verdict){.kind = CONNECTION_REFUSE, .code = code, .why = why};
}

static struct connection_verdict refuse_no_admin(const struct client *client,
                                                 const struct connection_publish *publish)
{
    static const char cause[] = "not an administrator";
    char reason[COUNTERS_REASON_MAX];

    describe_refused(publish, cause, reason);
    if (publish->has_answer)
        clients_log_refused(client, reason, control_remedy(client));
    return command_refuse(MQTT_NOT_AUTHORIZED, cause);
}

static struct connection_verdict refuse_moved(struct gateway *gateway, bool is_command)
{
    const char *why = intake_full_name(INTAKE_FULL_MOVED);

    return is_command ? command_refuse(MQTT_QUOTA_EXCEEDED, why)
                      : publish_refuse(gateway, MQTT_QUOTA_EXCEEDED, why);
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

struct spool_message gateway_message_of(const struct config *config,
                                        const struct packet_publish *packet,
                                        struct view kept_properties,
                                        struct view client,
                                        uint32_t uid)
{
    return (struct spool_message){
        .lane = lane_of(config, packet->topic),
        .uid = uid,
        .qos = packet->qos,
        .retain = packet->retain,
        .expiry_ms = packet->has_expiry ? (int64_t)packet->expiry_s * 1000 : SPOOL_NO_EXPIRY,
        .client = client,
        .topic = packet->topic,
        .properties = kept_properties,
        .ref = packet->ref,
        .payload = packet->payload,
    };
}

static struct spool_message message_of(const struct config *config,
                                       const struct client *client,
                                       const struct connection_publish *publish)
{
    const struct packet_publish *packet = publish->packet;
    bool is_kept = packet->qos == 2 && client->session.kept;
    struct spool_message message = gateway_message_of(config, packet, publish->kept_properties,
                                                      connection_client_id(client->connection),
                                                      connection_peer(client->connection)->uid);

    message.session = is_kept ? client->session.kept->id : 0;
    message.packet_id = packet->packet_id;
    return message;
}

static struct connection_verdict publish_hold(struct client *client,
                                              enum connection_verdict_kind kind)
{
    clients_note_waiting(client, WAITING_ANY, 0);
    return (struct connection_verdict){.kind = kind};
}

/* For the next batch, which therefore begins soon. */
static struct connection_verdict publish_hold_for_batch(struct gateway *gateway,
                                                        struct client *client)
{
    edge_timer_arm_urgent(&gateway->edge_timer);
    return publish_hold(client, CONNECTION_WAIT);
}

/* It is not offered again, and so not decoded, until the lane has room for it. */
static struct connection_verdict publish_hold_for_lane(struct client *client,
                                                       const struct spool_message *message)
{
    clients_note_waiting(client, message->lane, spool_charge(message));
    return (struct connection_verdict){.kind = CONNECTION_BLOCK};
}

/* Such a message is refused under every policy: blocking its producer would block it for
 * ever. */
static bool can_never_fit(const struct gateway *gateway, const struct spool_message *message)
{
    return spool_charge(message) >
           config_lane_limits(gateway->config, message->lane)->max_bytes;
}

static struct connection_verdict refuse_too_large(struct gateway *gateway,
                                                  const struct client *client,
                                                  const struct connection_publish *publish,
                                                  unsigned lane)
{
    char cause[COUNTERS_REASON_MAX];
    struct connection_verdict verdict;

    (void)snprintf(cause, sizeof(cause), "larger than max_bytes of lane %s",
                   config_lane_name(gateway->config, lane));
    verdict = publish_refuse_forever(gateway, client, publish, MQTT_QUOTA_EXCEEDED, cause);
    verdict.is_too_large = true;
    return verdict;
}

/* Refuse it, or hold it back? By the policy of its lane, whatever is full. */
static bool refuses_when_full(const struct gateway *gateway, unsigned lane)
{
    return config_lane_limits(gateway->config, lane)->when_full != CONFIG_BLOCK;
}

static struct connection_verdict publish_refuse_or_hold(struct gateway *gateway,
                                                        struct client *client,
                                                        const struct spool_message *message,
                                                        enum intake_full why)
{
    if (refuses_when_full(gateway, message->lane))
        return publish_refuse(gateway, MQTT_QUOTA_EXCEEDED, intake_full_name(why));
    return publish_hold(client, CONNECTION_BLOCK);
}

static struct connection_verdict on_full_lane(struct gateway *gateway,
                                              struct client *client,
                                              const struct spool_message *message)
{
    char reason[COUNTERS_REASON_MAX];

    intake_note_lane_full(&gateway->intake, message->lane);
    if (!refuses_when_full(gateway, message->lane))
        return publish_hold_for_lane(client, message);
    (void)snprintf(reason, sizeof(reason), "limits of lane %s",
                   config_lane_name(gateway->config, message->lane));
    return publish_refuse(gateway, MQTT_QUOTA_EXCEEDED, reason);
}

/* Most such locks are short, so nothing is refused at once. All producers together make one
 * attempt in GATEWAY_LOCKED_RETRY_MS, because each may keep the loop waiting. */
static struct connection_verdict
on_locked(struct gateway *gateway, struct client *client, unsigned lane)
{
    bool is_patient = intake_awaits_unlock(&gateway->intake);

    if (!is_patient)
        intake_note_full(&gateway->intake, INTAKE_FULL_LOCKED);
    if (!is_patient && refuses_when_full(gateway, lane))
        return publish_refuse(gateway, MQTT_QUOTA_EXCEEDED,
                              intake_full_name(INTAKE_FULL_LOCKED));
    edge_timer_arm_later(&gateway->edge_timer, GATEWAY_LOCKED_RETRY_MS);
    return publish_hold(client, is_patient ? CONNECTION_WAIT : CONNECTION_BLOCK);
}

/* The batch may hold evictions, which a commit makes durable; later, so that not each message
 * that is refused costs a commit. */
static struct connection_verdict on_short_disk(struct gateway *gateway,
                                               struct client *client,
                                               const struct spool_message *message)
{
    intake_note_short_disk(&gateway->intake);
    if (spool_has_work(gateway->spool))
        edge_timer_arm_later(&gateway->edge_timer, GATEWAY_FULL_RETRY_MS);
    return publish_refuse_or_hold(gateway, client, message, INTAKE_FULL_DISK);
}

/* A producer that is held back is offered again at the edge after the export that made room. */
static struct connection_verdict on_full_audit(struct gateway *gateway,
                                               struct client *client,
                                               const struct spool_message *message)
{
    intake_note_full(&gateway->intake, INTAKE_FULL_AUDIT);
    return publish_refuse_or_hold(gateway, client, message, INTAKE_FULL_AUDIT);
}

int gateway_append(struct gateway *gateway, const struct spool_message *message, uint64_t *ret)
{
    struct spool_time now = turn_spool_time(&gateway->turn);

    if (intake_expects_lock(&gateway->intake))
        return SPOOL_E_BUSY;
    batch_note_append(&gateway->batch);
    int r = spool_append(gateway->spool, message, &now, ret);
    if (r == SPOOL_E_BUSY)
        intake_note_locked(&gateway->intake);
    if (r != 0)
        return r;
    intake_note_unlocked(&gateway->intake);
    intake_note_room(&gateway->intake);
    intake_note_lane_room(&gateway->intake, message->lane);
    gateway->edge.appended++;
    return 0;
}

static struct connection_verdict publish_append(struct gateway *gateway,
                                                struct client *client,
                                                const struct spool_message *message)
{
    uint64_t id = 0;
    int r = gateway_append(gateway, message, &id);

    if (r == SPOOL_E_FULL)
        return on_full_lane(gateway, client, message);
    if (r == SPOOL_E_DISK)
        return on_short_disk(gateway, client, message);
    if (r == SPOOL_E_BUSY)
        return on_locked(gateway, client, message->lane);
    if (r == SPOOL_E_MOVED) {
        edge_timer_arm_urgent(&gateway->edge_timer); /* its commit finds it, too */
        return refuse_moved(gateway, false);
    }
    if (r != 0) {
        turn_fail(&gateway->turn, r, "append");
        return (struct connection_verdict){.kind = CONNECTION_STOP};
    }
    FAILPOINT("append.after");
    clients_note_owing(client, spool_charge(message));
    edge_timer_arm(&gateway->edge_timer);
    return (struct connection_verdict){.kind = CONNECTION_ACCEPT, .spool_id = id};
}

bool gateway_is_bridge_notification(struct view topic)
{
    static const char start[] = "$SYS/broker/connection/";
    size_t size = sizeof(start) - 1;

    return topic.size > size && memcmp(topic.data, start, size) == 0;
}

/* A refusal closes the connection of a bridge of 3.1.1, which would repeat it forever. It is
 * not stored, because it concerns no other broker. */
static struct connection_verdict drop_bridge_notification(struct gateway *gateway,
                                                          struct client *client)
{
    gateway->counters.bridge_notifications++;
    clients_note_owing(client, 0);
    edge_timer_arm(&gateway->edge_timer);
    return (struct connection_verdict){.kind = CONNECTION_ACCEPT};
}

struct connection_verdict gateway_on_publish(void *userdata,
                                             struct client *client,
                                             const struct connection_publish *publish)
{
    struct gateway *gateway = userdata;
    bool has_turn = client->waiter.has_turn;
    bool is_notification = gateway_is_bridge_notification(publish->packet->topic);
    bool is_command = view_is(publish->packet->topic, CONTROL_TOPIC);

    client->waiter.has_turn = false;
    if (publish->is_first) /* no commit comes between those that were read together */
        turn_read_clock(&gateway->turn);
    /* No reason code of a PUBACK means that the server stops [MQTT-3.4.2, table 3-4]: that of
     * the DISCONNECT does, and the producer sends the message again. */
    if (gateway->turn.has_failed || stop_has_begun(&gateway->stop))
        return (struct connection_verdict){.kind = CONNECTION_STOP};
    if (gateway->turn.has_moved)
        return refuse_moved(gateway, is_command);
    if (is_command && (client_is_admin(client) || control_is_awaited(gateway, client)))
        return control_on_publish(gateway, client, publish);
    if (!has_turn && !clients_admit_rate(client))
        return (struct connection_verdict){.kind = CONNECTION_THROTTLE};
    if (is_command)
        return refuse_no_admin(client, publish);
    if (publish->packet->topic.data[0] == '$' && !is_notification)
        return publish_refuse_forever(gateway, client, publish, MQTT_NOT_AUTHORIZED,
                                      "a topic that begins with $");
    if (!is_notification && !access_may_publish(&client->access, publish->packet->topic))
        return publish_refuse_forever(gateway, client, publish, MQTT_NOT_AUTHORIZED,
                                      "a topic that access does not allow");
    if (!batch_admits(&gateway->batch, client->user, &client->share, client->is_active))
        return publish_hold_for_batch(gateway, client);
    if (is_notification)
        return drop_bridge_notification(gateway, client);
    struct spool_message message = message_of(gateway->config, client, publish);
    if (!shape_admits(&gateway->shape, message.lane, message.topic))
        return publish_refuse_forever(gateway, client, publish, MQTT_TOPIC_NAME_INVALID,
                                      "a topic that is too long or empty with prefix or map of "
                                      "its lane");
    if (can_never_fit(gateway, &message))
        return refuse_too_large(gateway, client, publish, message.lane);
    if (intake_audit_is_full(&gateway->intake))
        return on_full_audit(gateway, client, &message);
    if (!has_turn && waiting_has_lane(&gateway->clients.waiting, message.lane))
        return on_full_lane(gateway, client, &message);
    FAILPOINT("receive.before_append");
    return publish_append(gateway, client, &message);
}
