/* SPDX-License-Identifier: MIT */
/*
 * packet_property.c - the properties of MQTT 5, by one table of their rules
 *
 * The table is table 2-4 of the standard with the rules from the sections of the
 * packets: whether a property may be repeated and which values it may have. A
 * property of another packet or an unreadable one is malformed [MQTT-2.2.2.2]; one
 * that is repeated or out of range is a protocol error.
 *
 * The rows cover the packets of both directions, because the table is easier
 * to compare with the standard as a whole than with holes in it.
 */
#include "base/cursor.h"
#include "base/view.h"
#include "daemon/mqtt/packet-private.h"

#include <string.h>

enum property_kind {
    KIND_NONE,
    KIND_BYTE,
    KIND_U16,
    KIND_U32,
    KIND_VARINT,
    KIND_TEXT,
    KIND_TOPIC,
    KIND_BINARY,
    KIND_PAIR
};

#define IN(type)   (1U << (type))
#define WILL       IN(PACKET_WILL)
#define CONNECT    IN(PACKET_CONNECT)
#define CONNACK    IN(PACKET_CONNACK)
#define PUBLISH    IN(PACKET_PUBLISH)
#define SUBSCRIBE  IN(PACKET_SUBSCRIBE)
#define DISCONNECT IN(PACKET_DISCONNECT)
#define AUTH       IN(PACKET_AUTH)
#define ACKS       (IN(PACKET_PUBACK) | IN(PACKET_PUBREC) | IN(PACKET_PUBREL) | IN(PACKET_PUBCOMP))
#define SUBACKS    (IN(PACKET_SUBACK) | IN(PACKET_UNSUBACK))
#define ANY                                                                                    \
    (CONNECT | CONNACK | PUBLISH | WILL | ACKS | SUBSCRIBE | SUBACKS |                         \
     IN(PACKET_UNSUBSCRIBE) | DISCONNECT | AUTH)

/* clang-format off */
static const struct property_rule {
    enum property_kind kind;
    bool repeats;
    uint32_t low; /* of numbers */
    uint32_t high;
    uint32_t places;
} rules[PACKET_PROPERTY_LIMIT] = {
    /*                                  kind         repeats low high            places */
    [PROPERTY_PAYLOAD_FORMAT]         = {KIND_BYTE,   false, 0, 1,               PUBLISH | WILL},
    [PROPERTY_MESSAGE_EXPIRY]         = {KIND_U32,    false, 0, UINT32_MAX,      PUBLISH | WILL},
    [PROPERTY_CONTENT_TYPE]           = {KIND_TEXT,   false, 0, 0,               PUBLISH | WILL},
    [PROPERTY_RESPONSE_TOPIC]         = {KIND_TOPIC,  false, 0, 0,               PUBLISH | WILL},
    [PROPERTY_CORRELATION_DATA]       = {KIND_BINARY, false, 0, 0,               PUBLISH | WILL},
    [PROPERTY_SUBSCRIPTION_ID]        = {KIND_VARINT, false, 1, MQTT_VARINT_MAX, PUBLISH | SUBSCRIBE},
    [PROPERTY_SESSION_EXPIRY]         = {KIND_U32,    false, 0, UINT32_MAX,      CONNECT | CONNACK | DISCONNECT},
    [PROPERTY_ASSIGNED_CLIENT_ID]     = {KIND_TEXT,   false, 0, 0,               CONNACK},
    [PROPERTY_SERVER_KEEP_ALIVE]      = {KIND_U16,    false, 0, UINT16_MAX,      CONNACK},
    [PROPERTY_AUTH_METHOD]            = {KIND_TEXT,   false, 0, 0,               CONNECT | CONNACK | AUTH},
    [PROPERTY_AUTH_DATA]              = {KIND_BINARY, false, 0, 0,               CONNECT | CONNACK | AUTH},
    [PROPERTY_REQUEST_PROBLEM_INFO]   = {KIND_BYTE,   false, 0, 1,               CONNECT},
    [PROPERTY_WILL_DELAY]             = {KIND_U32,    false, 0, UINT32_MAX,      WILL},
    [PROPERTY_REQUEST_RESPONSE_INFO]  = {KIND_BYTE,   false, 0, 1,               CONNECT},
    [PROPERTY_RESPONSE_INFO]          = {KIND_TEXT,   false, 0, 0,               CONNACK},
    [PROPERTY_SERVER_REFERENCE]       = {KIND_TEXT,   false, 0, 0,               CONNACK | DISCONNECT},
    [PROPERTY_REASON_STRING]          = {KIND_TEXT,   false, 0, 0,               CONNACK | ACKS | SUBACKS | DISCONNECT | AUTH},
    [PROPERTY_RECEIVE_MAXIMUM]        = {KIND_U16,    false, 1, UINT16_MAX,      CONNECT | CONNACK},
    [PROPERTY_TOPIC_ALIAS_MAXIMUM]    = {KIND_U16,    false, 0, UINT16_MAX,      CONNECT | CONNACK},
    [PROPERTY_TOPIC_ALIAS]            = {KIND_U16,    false, 0, UINT16_MAX,      PUBLISH},
    [PROPERTY_MAXIMUM_QOS]            = {KIND_BYTE,   false, 0, 1,               CONNACK},
    [PROPERTY_RETAIN_AVAILABLE]       = {KIND_BYTE,   false, 0, 1,               CONNACK},
    [PROPERTY_USER]                   = {KIND_PAIR,   true,  0, 0,               ANY},
    [PROPERTY_MAXIMUM_PACKET_SIZE]    = {KIND_U32,    false, 1, UINT32_MAX,      CONNECT | CONNACK},
    [PROPERTY_WILDCARD_AVAILABLE]     = {KIND_BYTE,   false, 0, 1,               CONNACK},
    [PROPERTY_SUBSCRIPTION_ID_AVAILABLE] = {KIND_BYTE, false, 0, 1,               CONNACK},
    [PROPERTY_SHARED_AVAILABLE]       = {KIND_BYTE,   false, 0, 1,               CONNACK},
};
/* clang-format on */

static const char ref_name[] = "spool-ref";

static void property_read_value(struct reader *reader, struct packet_property *property)
{
    switch (rules[property->id].kind) {
    case KIND_BYTE:
        property->number = reader_u8(reader);
        break;
    case KIND_U16:
        property->number = reader_u16(reader);
        break;
    case KIND_U32:
        property->number = reader_u32(reader);
        break;
    case KIND_VARINT:
        property->number = reader_varint(reader);
        break;
    case KIND_PAIR:
        property->name = packet_read_text(reader);
        property->value = packet_read_text(reader);
        break;
    case KIND_TEXT:
    case KIND_TOPIC:
        property->value = packet_read_text(reader);
        break;
    case KIND_BINARY:
        property->value = reader_block(reader);
        break;
    case KIND_NONE:
        reader->failed = true;
        break;
    }
}

bool packet_property_next(struct reader *reader, struct packet_property *ret)
{
    if (reader_left(reader) == 0)
        return false;
    uint32_t id = reader_varint(reader);
    if (id >= PACKET_PROPERTY_LIMIT)
        reader->failed = true;
    if (reader->failed)
        return false;
    struct packet_property property = {.id = (enum packet_property_id)id};
    property_read_value(reader, &property);
    if (reader->failed)
        return false;
    *ret = property;
    return true;
}

static bool property_has_text(const struct packet_property *property)
{
    enum property_kind kind = rules[property->id].kind;

    return kind == KIND_TEXT || kind == KIND_TOPIC || kind == KIND_PAIR;
}

/* Those of a PUBLISH or a will are forwarded to the broker. */
static bool property_is_forwardable(const struct packet_property *property, unsigned place)
{
    return (place != PACKET_PUBLISH && place != PACKET_WILL) || !property_has_text(property) ||
           (packet_text_is_forwardable(property->name) &&
            packet_text_is_forwardable(property->value));
}

static int property_check(const struct packet_property *property, unsigned place, uint64_t seen)
{
    const struct property_rule *rule = &rules[property->id];

    if ((rule->places & IN(place)) == 0 || !property_is_forwardable(property, place))
        return PACKET_E_MALFORMED;
    if (!rule->repeats && (seen >> property->id & 1) != 0)
        return PACKET_E_PROTOCOL;
    if (property->number < rule->low || property->number > rule->high)
        return PACKET_E_PROTOCOL;
    if (rule->kind == KIND_TOPIC && !packet_text_is_topic(property->value))
        return PACKET_E_PROTOCOL;
    return 0;
}

static bool property_is_ref(const struct packet_property *property)
{
    return property->id == PROPERTY_USER && property->name.size == sizeof(ref_name) - 1 &&
           memcmp(property->name.data, ref_name, sizeof(ref_name) - 1) == 0;
}

int packet_read_properties(struct reader *body, unsigned place, struct packet_properties *ret)
{
    ret->encoded = reader_bytes(body, reader_varint(body));
    ret->seen = 0;
    ret->ref = (struct view){0};
    if (body->failed)
        return PACKET_E_MALFORMED;
    struct reader reader;
    reader_init(&reader, ret->encoded.data, ret->encoded.size);
    struct packet_property property;
    while (packet_property_next(&reader, &property)) {
        int r = property_check(&property, place, ret->seen);

        if (r != 0)
            return r;
        ret->seen |= UINT64_C(1) << property.id;
        ret->numbers[property.id] = property.number;
        if (!ret->ref.data && property_is_ref(&property))
            ret->ref = property.value;
    }
    return reader.failed ? PACKET_E_MALFORMED : 0;
}

bool packet_has_property(const struct packet_properties *properties, enum packet_property_id id)
{
    return (properties->seen >> id & 1) != 0;
}

uint32_t packet_property_number(const struct packet_properties *properties,
                                enum packet_property_id id,
                                uint32_t absent)
{
    return packet_has_property(properties, id) ? properties->numbers[id] : absent;
}

static bool property_is_kept(enum packet_property_id id)
{
    return id == PROPERTY_PAYLOAD_FORMAT || id == PROPERTY_CONTENT_TYPE ||
           id == PROPERTY_RESPONSE_TOPIC || id == PROPERTY_CORRELATION_DATA ||
           id == PROPERTY_USER;
}

size_t packet_keep_properties(const struct packet_publish *publish, void *memory)
{
    struct reader reader;

    reader_init(&reader, publish->properties.data, publish->properties.size);
    struct writer writer;
    writer_init(&writer, memory, publish->properties.size);
    const uint8_t *start = reader.at;
    for (struct packet_property property; packet_property_next(&reader, &property);) {
        if (property_is_kept(property.id))
            writer_bytes(&writer, start, (size_t)(reader.at - start));
        start = reader.at;
    }
    return writer_used(&writer);
}
