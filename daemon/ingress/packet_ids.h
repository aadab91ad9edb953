/* SPDX-License-Identifier: MIT */
/*
 * packet_ids.h - the set of packet ids of QoS 2 that a client has not released
 *
 * 8 KiB once there was one, whatever the client does.
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_INGRESS_PACKET_IDS_H
#define MQTT_SPOOLD_DAEMON_INGRESS_PACKET_IDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

/* All zero: empty. */
struct packet_ids {
    uint8_t *bits; /* NULL: there was none yet */
    unsigned count;
};

/* So that packet_ids_add() cannot fail. Return: 0; -ENOMEM. */
MUST_CHECK int packet_ids_reserve(struct packet_ids *ids);
void packet_ids_add(struct packet_ids *ids, uint16_t id);
void packet_ids_remove(struct packet_ids *ids, uint16_t id);
bool packet_ids_has(const struct packet_ids *ids, uint16_t id);
void packet_ids_clear(struct packet_ids *ids);
void packet_ids_done(struct packet_ids *ids);

#endif
