/* SPDX-License-Identifier: MIT */
/*
 * packet-private.h - what the sources of the packet module share
 *
 * Only packet*.c and topic.c include it.
 */
#ifndef MQTT_SPOOLD_DAEMON_MQTT_PACKET_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_MQTT_PACKET_PRIVATE_H

#include "base/attr.h"
#include "base/cursor.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

enum { PACKET_PROPERTY_LIMIT = PROPERTY_SHARED_AVAILABLE + 1 };

/* Where properties occur: a packet type, or this for the will in a CONNECT. */
enum { PACKET_WILL = 0 };

/* A property section that was checked. A number is valid only if its bit in seen is set. */
struct packet_properties {
    struct view encoded;
    uint64_t seen; /* one bit an id */
    uint32_t numbers[PACKET_PROPERTY_LIMIT];
    struct view ref; /* value of the first user property "spool-ref" */
};

/*
 * packet_read_properties() - read a property length and check all properties after it
 * @place: the type of packet, or PACKET_WILL
 *
 * Return: 0; PACKET_E_MALFORMED: cut, unknown, of another packet, bad UTF-8, or of a
 * PUBLISH and not forwardable; PACKET_E_PROTOCOL: repeated or out of range. Unless
 * 0 is returned, *ret is undefined.
 */
MUST_CHECK int
packet_read_properties(struct reader *body, unsigned place, struct packet_properties *ret);
bool packet_has_property(const struct packet_properties *properties,
                         enum packet_property_id id);
uint32_t packet_property_number(const struct packet_properties *properties,
                                enum packet_property_id id,
                                uint32_t absent);

/* A UTF-8 encoded string [MQTT-1.5.4]; the reader fails if it is malformed. */
struct view packet_read_text(struct reader *reader);
/* @text: valid UTF-8. Does it have a character and no wildcard? */
bool packet_text_is_topic(struct view text);

#endif
