/*
 * publish.c - in: a producer's PUBLISH
 *
 * May it, does it fit, append. What cannot be taken now is refused, or held back
 * unread, and the log says once that it is so and once that it is over. Nothing
 * is acknowledged here: that is the batch edge's, after the commit.
 */
#include <inttypes.h>
#include <string.h>

#include "base/failpoint.h"
#include "daemon/gateway/gateway-private.h"

static bool batch_is_full(const struct gateway *gateway)
{
    return spool_batch_messages(gateway->spool) >= GATEWAY_BATCH_MESSAGES ||
           spool_batch_bytes(gateway->spool) >= GATEWAY_BATCH_BYTES;
}

static struct session_verdict refuse(struct gateway *gateway, uint8_t code)
{
    gateway->counters.refused++;
    return (struct session_verdict){.kind = SESSION_REFUSE, .code = code};
}

const char *gateway_full_name(enum gateway_full why)
{
    static const char *const names[] = {
        [GATEWAY_HAS_ROOM] = "",
        [GATEWAY_FULL_DISK] = "disk",
        [GATEWAY_FULL_AUDIT] = "audit_waiting",
        [GATEWAY_FULL_LOCKED] = "database_locked",
        [GATEWAY_FULL_MOVED] = "spool_moved",
    };

    return names[why];
}

void gateway_note_full(struct gateway *gateway, enum gateway_full why)
{
    if (!condition_hold(&gateway->full, gateway->now.boot_ms))
        return;
    gateway->full_why = why;
    log_warning("spool_full reason=%s new_messages=refused", gateway_full_name(why));
}

void gateway_note_short_disk(struct gateway *gateway)
{
    char text[GATEWAY_ERROR_QUOTED_MAX];

    if (!gateway->full.reported)
        log_warning(
            "disk_short detail=%s remedy=\"see what else fills that disk (df, du); where "
            "detail says EDQUOT or EFBIG, raise the quota or the limit of the file "
            "size\"",
            gateway_quote_error(spool_error(gateway->spool), text));
    gateway_note_full(gateway, GATEWAY_FULL_DISK);
}

static void note_room(struct gateway *gateway)
{
    if (condition_clear(&gateway->full, gateway->now.boot_ms))
        log_notice("spool_room new_messages=accepted");
}

enum gateway_full gateway_is_full(const struct gateway *gateway)
{
    return condition_stands(&gateway->full, gateway->now.boot_ms) ? gateway->full_why
                                                                  : GATEWAY_HAS_ROOM;
}

static void note_lane_full(struct gateway *gateway, unsigned lane)
{
    const struct config *config = gateway->config;

    if (condition_hold(&gateway->lane_full[lane], gateway->now.boot_ms))
        log_warning(
            "spool_full reason=limits lane=%s new_messages=%s", lanes_name(config, lane),
            lanes_limits(config, lane)->when_full == CONFIG_BLOCK ? "blocked" : "refused");
}

static void note_lane_room(struct gateway *gateway, unsigned lane)
{
    if (condition_clear(&gateway->lane_full[lane], gateway->now.boot_ms))
        log_notice("spool_room lane=%s new_messages=accepted",
                   lanes_name(gateway->config, lane));
}

bool gateway_lane_is_full(const struct gateway *gateway, unsigned lane)
{
    return condition_stands(&gateway->lane_full[lane], gateway->now.boot_ms);
}

/* Whether a disk has room is known only when a message was accepted. */
static bool is_still_full(const struct gateway *gateway)
{
    if (gateway->full_why == GATEWAY_FULL_AUDIT)
        return gateway_audit_is_full(gateway);
    if (gateway->full_why == GATEWAY_FULL_LOCKED)
        return gateway->locked;
    return !gateway->full.clearing;
}

void gateway_look_for_room(struct gateway *gateway)
{
    if (!is_still_full(gateway))
        note_room(gateway);
    if (!gateway->locked)
        gateway_note_unlocked(gateway);
    for (unsigned lane = 0; lane <= gateway->config->lane_count; lane++) {
        if (spool_has_room(gateway->spool, lane, 0))
            note_lane_room(gateway, lane);
    }
}

static unsigned find_lane(const struct config *config, const char *name)
{
    unsigned lane = 1;

    while (lane <= config->lane_count && strcmp(config->lanes[lane - 1].name, name) != 0)
        lane++;
    return lane;
}

void gateway_keep_lane_conditions(struct gateway *gateway,
                                  const struct config_lane *lanes,
                                  size_t count)
{
    struct condition kept[SPOOL_LANES_MAX] = {gateway->lane_full[0]};

    for (size_t i = 0; i < count; i++) {
        unsigned lane = find_lane(gateway->config, lanes[i].name);

        if (lane <= gateway->config->lane_count)
            kept[lane] = gateway->lane_full[i + 1];
    }
    memcpy(gateway->lane_full, kept, sizeof kept);
}

static struct spool_bytes bytes_of(struct view view)
{
    return (struct spool_bytes){.data = view.data, .size = view.size};
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
        .client = bytes_of(session_client_id(client->session)),
        .topic = bytes_of(packet->topic),
        .properties = bytes_of(publish->kept_properties),
        .ref = bytes_of(packet->ref),
        .payload = bytes_of(packet->payload),
    };
}

static struct session_verdict hold(struct client *client, enum session_verdict_kind kind)
{
    gateway_note_waiting(client);
    return (struct session_verdict){.kind = kind};
}

/* A message that could never fit is refused under every policy: blocking its producer would
 * block it for ever. */
static bool is_hopeless(const struct gateway *gateway, const struct spool_message *message)
{
    return spool_charge(message) > lanes_limits(gateway->config, message->lane)->max_bytes;
}

/* By the policy of its lane, whatever is full. */
static struct session_verdict refuse_or_block(struct gateway *gateway,
                                              struct client *client,
                                              const struct spool_message *message)
{
    const struct config_limits *limits = lanes_limits(gateway->config, message->lane);

    if (limits->when_full != CONFIG_BLOCK || is_hopeless(gateway, message))
        return refuse(gateway, MQTT_QUOTA_EXCEEDED);
    return hold(client, SESSION_BLOCK);
}

static struct session_verdict
on_full(struct gateway *gateway, struct client *client, const struct spool_message *message)
{
    if (!is_hopeless(gateway, message))
        note_lane_full(gateway, message->lane);
    return refuse_or_block(gateway, client, message);
}

void gateway_note_locked(struct gateway *gateway)
{
    int64_t now_ms = gateway->now.boot_ms;

    gateway->locked_try_ms = now_ms + GATEWAY_LOCKED_RETRY_MS;
    if (!gateway->locked)
        gateway->locked_since_ms = now_ms;
    gateway->locked = true;
    if (!condition_hold(&gateway->locking, now_ms))
        return;
    log_warning("database_locked by=\"another program\" new_messages=waiting "
                "refused_after_ms=%d "
                "remedy=\"end its transaction: fuser -v spool.db names it\"",
                GATEWAY_LOCKED_PATIENCE_MS);
}

void gateway_note_unlocked(struct gateway *gateway)
{
    gateway->locked = false;
    if (condition_clear(&gateway->locking, gateway->now.boot_ms))
        log_notice("database_unlocked after_ms=%" PRId64, condition_held_ms(&gateway->locking));
}

/* Most such locks are short, so nobody is refused at once; and one try in so long, whoever asks,
 * for each of them may keep the loop waiting. */
static struct session_verdict
on_locked(struct gateway *gateway, struct client *client, unsigned lane)
{
    bool is_patient =
        gateway->now.boot_ms - gateway->locked_since_ms < GATEWAY_LOCKED_PATIENCE_MS;

    if (!is_patient && lanes_limits(gateway->config, lane)->when_full != CONFIG_BLOCK) {
        gateway_note_full(gateway, GATEWAY_FULL_LOCKED);
        return refuse(gateway, MQTT_QUOTA_EXCEEDED);
    }
    gateway_arm_edge_later(gateway, GATEWAY_LOCKED_RETRY_MS);
    return hold(client, is_patient ? SESSION_WAIT : SESSION_BLOCK);
}

static bool is_taken_for_locked(const struct gateway *gateway)
{
    return gateway->locked && gateway->now.boot_ms < gateway->locked_try_ms;
}

/* The batch may hold evictions. Not at once: that would be a commit for each message that is refused. */
static struct session_verdict on_short_disk(struct gateway *gateway,
                                            struct client *client,
                                            const struct spool_message *message)
{
    gateway_note_short_disk(gateway);
    if (spool_has_work(gateway->spool))
        gateway_arm_edge_later(gateway, GATEWAY_FULL_RETRY_MS);
    return refuse_or_block(gateway, client, message);
}

/* A producer that is held back is offered again at the edge after the export that made room. */
static struct session_verdict on_full_audit(struct gateway *gateway,
                                            struct client *client,
                                            const struct spool_message *message)
{
    gateway_note_full(gateway, GATEWAY_FULL_AUDIT);
    return refuse_or_block(gateway, client, message);
}

static struct session_verdict
append(struct gateway *gateway, struct client *client, const struct spool_message *message)
{
    struct spool_time now = gateway_spool_time(gateway);
    uint64_t id = 0;

    if (is_taken_for_locked(gateway))
        return on_locked(gateway, client, message->lane);
    int r = spool_append(gateway->spool, message, &now, &id);

    if (r == SPOOL_E_FULL)
        return on_full(gateway, client, message);
    if (r == SPOOL_E_DISK)
        return on_short_disk(gateway, client, message);
    if (r == SPOOL_E_BUSY) {
        gateway_note_locked(gateway);
        return on_locked(gateway, client, message->lane);
    }
    if (r == SPOOL_E_MOVED) {
        gateway_arm_edge(gateway); /* its commit says so, too */
        return refuse(gateway, MQTT_QUOTA_EXCEEDED);
    }
    if (r != 0) {
        gateway_fail(gateway, r, "append");
        return (struct session_verdict){.kind = SESSION_STOP};
    }
    gateway_note_unlocked(gateway);
    note_room(gateway);
    note_lane_room(gateway, message->lane);
    gateway->appended++;
    FAILPOINT("append.after");
    gateway_note_owing(client);
    gateway_arm_edge(gateway);
    if (batch_is_full(gateway))
        gateway_hasten_edge(gateway);
    return (struct session_verdict){.kind = SESSION_ACCEPT, .spool_id = id};
}

struct session_verdict
gateway_on_publish(void *owner, struct session *session, const struct session_publish *publish)
{
    struct client *client = owner;
    struct gateway *gateway = client->gateway;

    (void)session;
    /* No PUBACK tells of a daemon that stops [MQTT-3.4.2, table 3-4]: the DISCONNECT does, and
     * the producer sends it again. */
    if (gateway->failed || gateway->phase != GATEWAY_SERVING)
        return (struct session_verdict){.kind = SESSION_STOP};
    if (gateway->moved)
        return refuse(gateway, MQTT_QUOTA_EXCEEDED);
    if (publish->packet->topic.data[0] == '$')
        return refuse(gateway, MQTT_NOT_AUTHORIZED);
    if (batch_is_full(gateway))
        return hold(client, SESSION_WAIT);
    gateway_read_clock(gateway);
    struct spool_message message = message_of(gateway->config, client, publish);
    if (gateway_audit_is_full(gateway))
        return on_full_audit(gateway, client, &message);
    FAILPOINT("receive.before_append");
    return append(gateway, client, &message);
}
