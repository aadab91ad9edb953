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

#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"

/* Is what a message of @lane with this topic is sent under a topic name? If not, no broker can
 * ever get it. */
bool shape_admits(const struct config *config, unsigned lane, struct view topic);

/* As it is to be sent. Borrows from both arguments. */
struct uplink_message shape_message(const struct config *config,
                                    const struct spool_message *message);

#endif
