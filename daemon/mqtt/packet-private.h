/* SPDX-License-Identifier: MIT */
/*
 * packet-private.h - what the sources of the packet module share among themselves
 *
 * Not an interface: nothing outside of packet*.c and topic.c includes it.
 */
#ifndef MQTT_SPOOLD_DAEMON_MQTT_PACKET_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_MQTT_PACKET_PRIVATE_H

#include "daemon/mqtt/packet.h"

enum { PACKET_PROPERTY_LIMIT = PROPERTY_SHARED_AVAILABLE + 1 };

/* Where properties stand: a packet type, or this for the will inside of CONNECT. */
enum { PACKET_WILL = 0 };

/* A property section that was checked. A number has a meaning only where its bit in seen is
 * set. */
struct packet_properties {
    struct view encoded;
    uint64_t seen; /* one bit for each id */
    uint32_t numbers[PACKET_PROPERTY_LIMIT];
    struct view ref; /* value of the first user property "spool-ref" */
};

/*
 * packet_read_properties() - read a property length and check all properties behind it
 * @place: the type of packet, or PACKET_WILL
 *
 * Return: 0; PACKET_E_MALFORMED: cut, unknown, of another packet, bad UTF-8, or of a
 * PUBLISH and not to be forwarded;
 * PACKET_E_PROTOCOL: repeated or out of range. *ret holds no meaning then.
 */
MUST_CHECK int
packet_read_properties(struct reader *body, unsigned place, struct packet_properties *ret);
bool packet_has_property(const struct packet_properties *properties,
                         enum packet_property_id id);
uint32_t packet_property_number(const struct packet_properties *properties,
                                enum packet_property_id id,
                                uint32_t absent);

/* A UTF-8 encoded string [MQTT-1.5.4]; the reader fails when it is none. */
struct view packet_read_text(struct reader *reader);
/* UTF-8 of RFC 3629; unlike in a string, U+0000 is as good as any other character. */
bool packet_utf8_is_well_formed(struct view text);
/* UTF-8 without the control characters and non-characters that 1.5.4 tells of, U+0000 among
 * them: brokers may close the connection for any of these. */
bool packet_text_is_forwardable(struct view text);
/* For text that is valid UTF-8 already: does it have a character and no wildcard? */
bool packet_text_is_topic(struct view text);

#endif
