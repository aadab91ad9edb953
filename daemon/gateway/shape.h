/* SPDX-License-Identifier: MIT */
/*
 * shape.h - how a message looks at the broker: its topic and its QoS, by its lane
 *
 * The spool keeps a message as it was published; it is shaped when it is sent, by the
 * configuration of then.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_SHAPE_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"

struct shape {
    const struct config *config;  /* borrowed */
    uint8_t topic[MQTT_TEXT_MAX]; /* the newest one that was mapped */
};

/* Can a message of @lane with this topic be sent? If not, no broker can ever get it. */
bool shape_admits(struct shape *shape, unsigned lane, struct view topic);

/* Equal for messages of one topic; 0: a report, which shows nothing about the broker, because
 * its topic may be the only one that the broker accepts. */
uint64_t shape_tag(const struct shape *shape, const struct spool_message *message);

/*
 * shape_message() - a message as it is to be sent
 * @ret: borrows from @message and, until the next call, from @shape
 *
 * Return: false: it has no topic that can be sent any more, because a HUP changed its lane.
 */
MUST_CHECK bool shape_message(struct shape *shape,
                              const struct spool_message *message,
                              struct uplink_message *ret);

#endif
