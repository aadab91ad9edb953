/* SPDX-License-Identifier: MIT */
/*
 * shape.c - how a message looks at the broker: its topic and its QoS, by its lane
 *
 * Invariant: shape_admits() and shape_message() make the same topic of the same message, so
 * what was accepted can be sent unless a HUP changed the configuration in between.
 */
#include "daemon/gateway/shape.h"

#include "daemon/config/spool_lanes.h"
#include "daemon/mqtt/rewrite.h"

/* NULL: that of all topics without a lane, or one that is not configured any more. */
static const struct config_lane *shape_lane(const struct shape *shape, unsigned lane)
{
    return lane == 0 ? NULL : &shape->config->lanes[lane - 1];
}

/* The filter that the topic matches, and behind it its target; NULL: none. */
static char *const *shape_find_pair(const struct config_lane *lane, struct view topic)
{
    for (size_t i = 0; i + 1 < lane->map_count; i += 2) {
        if (packet_topic_matches(lane->map[i], topic))
            return &lane->map[i];
    }
    return NULL;
}

/* No level that a producer wrote may become the $ of a topic that is the broker's own. */
static bool is_forged(struct view prefix, const char *target, struct view topic)
{
    return prefix.size == 0 && topic.size > 0 && topic.data[0] == '$' && target[0] != '$';
}

/* Prefix and topic at the broker. False: they are no topic name. */
static bool shape_topic(struct shape *shape,
                        unsigned number,
                        struct view topic,
                        struct view *ret_prefix,
                        struct view *ret_topic)
{
    const struct config_lane *lane = shape_lane(shape, number);
    char *const *pair = lane ? shape_find_pair(lane, topic) : NULL;

    *ret_prefix =
        view_of_text(lane && lane->prefix ? lane->prefix : shape->config->uplink.topic_prefix);
    *ret_topic = topic;
    if (pair) {
        size_t size =
            rewrite_topic(pair[0], pair[1], topic, shape->topic, sizeof(shape->topic));

        *ret_topic = view_of(shape->topic, size);
        if (size == 0 || is_forged(*ret_prefix, pair[1], *ret_topic))
            return false;
    }
    return ret_prefix->size + ret_topic->size <= MQTT_TEXT_MAX;
}

static uint8_t shape_qos(const struct shape *shape, const struct spool_message *message)
{
    const struct config_lane *lane = shape_lane(shape, message->lane);

    return lane && lane->max_qos < message->qos ? (uint8_t)lane->max_qos : message->qos;
}

bool shape_admits(struct shape *shape, unsigned lane, struct view topic)
{
    struct view prefix;
    struct view mapped;

    return shape_topic(shape, lane, topic, &prefix, &mapped);
}

/* FNV-1a. */
uint64_t shape_tag(const struct shape *shape, const struct spool_message *message)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    if (message->lane != 0 && message->lane == config_report_lane(shape->config))
        return 0;
    for (size_t i = 0; i < message->topic.size; i++)
        hash = (hash ^ message->topic.data[i]) * UINT64_C(0x100000001b3);
    return hash != 0 ? hash : 1;
}

bool shape_message(struct shape *shape,
                   const struct spool_message *message,
                   struct uplink_message *ret)
{
    *ret = (struct uplink_message){
        .id = message->id,
        .payload = message->payload,
        .properties = message->properties,
        .qos = shape_qos(shape, message),
        .retain = message->retain && shape->config->uplink.has_retain,
        .tag = shape_tag(shape, message),
        .expiry_ms = message->expiry_ms,
    };
    return shape_topic(shape, message->lane, message->topic, &ret->prefix, &ret->topic);
}
