/* SPDX-License-Identifier: MIT */
/*
 * shape.c - how a message looks at the broker: its topic and its QoS, by its lane
 *
 * Invariant: shape_admits() and shape_message() make the same topic of the same message, so
 * what was accepted can be sent unless a HUP changed the configuration in between.
 */
#include "daemon/gateway/shape.h"

#include "daemon/mqtt/packet.h"

/* NULL: that of all topics without a lane, or one that is not configured any more. */
static const struct config_lane *shape_lane(const struct config *config, unsigned lane)
{
    return lane == 0 ? NULL : &config->lanes[lane - 1];
}

static struct view shape_prefix(const struct config *config, unsigned lane)
{
    const struct config_lane *own = shape_lane(config, lane);

    return view_of_text(own && own->prefix ? own->prefix : config->uplink.topic_prefix);
}

static uint8_t shape_qos(const struct config *config, const struct spool_message *message)
{
    const struct config_lane *own = shape_lane(config, message->lane);

    return own && own->max_qos < message->qos ? (uint8_t)own->max_qos : message->qos;
}

bool shape_admits(const struct config *config, unsigned lane, struct view topic)
{
    return shape_prefix(config, lane).size + topic.size <= MQTT_TEXT_MAX;
}

struct uplink_message shape_message(const struct config *config,
                                    const struct spool_message *message)
{
    return (struct uplink_message){
        .id = message->id,
        .prefix = shape_prefix(config, message->lane),
        .topic = message->topic,
        .payload = message->payload,
        .properties = message->properties,
        .qos = shape_qos(config, message),
        .retain = message->retain,
        .expiry_ms = message->expiry_ms,
    };
}
