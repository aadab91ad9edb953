/* SPDX-License-Identifier: MIT */
/*
 * packet_encode.c - encodes what the gateway sends to a producer, and the texts of reason codes
 *
 * An encoder knows the length of its packet before the first byte, because the
 * remaining length is of variable size and comes first. Properties are written
 * to a small buffer on the stack for that; only the assigned client id can be
 * long, and its size is known.
 *
 * 3.1.1 has no place for a reason: its CONNACK has five codes, its PUBACK none
 * at all. The connection decides when to close instead of answering.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

/* Return codes of 3.1.1, section 3.2.2.3. */
enum {
    RETURN_ACCEPTED,
    RETURN_VERSION,
    RETURN_CLIENT_ID,
    RETURN_UNAVAILABLE,
    RETURN_CREDENTIALS,
    RETURN_NOT_AUTHORIZED
};

enum {
    FLAGS_PUBREL = 0x02,
    FLAGS_PUBLISH_DUP = 0x08,
    FLAGS_PUBLISH_QOS_SHIFT = 1,
    PROPERTIES_MAX = 48,  /* of CONNACK without a client id, or of an acknowledgement */
    REASON_TEXT_MAX = 240 /* so that a DISCONNECT fits into PACKET_DISCONNECT_MAX */
};

static const struct reason_text {
    int code;
    const char *text;
} reason_texts[] = {
    {0x00, "success"},
    {0x01, "granted QoS 1"},
    {0x02, "granted QoS 2"},
    {0x04, "disconnect with will message"},
    {0x10, "no matching subscribers"},
    {0x11, "no subscription existed"},
    {0x18, "continue authentication"},
    {0x19, "re-authenticate"},
    {0x80, "unspecified error"},
    {0x81, "malformed packet"},
    {0x82, "protocol error"},
    {0x83, "implementation specific error"},
    {0x84, "unsupported protocol version"},
    {0x85, "client identifier not valid"},
    {0x86, "bad user name or password"},
    {0x87, "not authorized"},
    {0x88, "server unavailable"},
    {0x89, "server busy"},
    {0x8A, "banned"},
    {0x8B, "server shutting down"},
    {0x8C, "bad authentication method"},
    {0x8D, "keep alive timeout"},
    {0x8E, "session taken over"},
    {0x8F, "topic filter invalid"},
    {0x90, "topic name invalid"},
    {0x91, "packet identifier in use"},
    {0x92, "packet identifier not found"},
    {0x93, "receive maximum exceeded"},
    {0x94, "topic alias invalid"},
    {0x95, "packet too large"},
    {0x96, "message rate too high"},
    {0x97, "quota exceeded"},
    {0x98, "administrative action"},
    {0x99, "payload format invalid"},
    {0x9A, "retain not supported"},
    {0x9B, "QoS not supported"},
    {0x9C, "use another server"},
    {0x9D, "server moved"},
    {0x9E, "shared subscriptions not supported"},
    {0x9F, "connection rate exceeded"},
    {0xA0, "maximum connect time"},
    {0xA1, "subscription identifiers not supported"},
    {0xA2, "wildcard subscriptions not supported"},
};

const char *packet_reason_text(int code)
{
    for (size_t i = 0; i < sizeof(reason_texts) / sizeof(reason_texts[0]); i++) {
        if (reason_texts[i].code == code)
            return reason_texts[i].text;
    }
    return "unknown";
}

static void
packet_write_header(struct writer *writer, enum packet_type type, uint8_t flags, size_t length)
{
    writer_u8(writer, (uint8_t)(((unsigned)type << 4) | flags));
    writer_varint(writer, length <= UINT32_MAX ? (uint32_t)length : UINT32_MAX);
}

static void
packet_write_byte_property(struct writer *writer, enum packet_property_id id, uint8_t value)
{
    writer_u8(writer, (uint8_t)id);
    writer_u8(writer, value);
}

static uint8_t packet_return_code(uint8_t code)
{
    switch (code) {
    case MQTT_SUCCESS:
        return RETURN_ACCEPTED;
    case MQTT_UNSUPPORTED_VERSION:
        return RETURN_VERSION;
    case MQTT_CLIENT_ID_NOT_VALID:
        return RETURN_CLIENT_ID;
    case MQTT_BAD_AUTHENTICATION_METHOD:
        return RETURN_CREDENTIALS;
    case MQTT_NOT_AUTHORIZED:
        return RETURN_NOT_AUTHORIZED;
    default:
        return RETURN_UNAVAILABLE;
    }
}

/* All but the assigned client id. */
static void connack_write_limits(struct writer *writer, const struct packet_connack *connack)
{
    if (connack->has_session_expiry) {
        writer_u8(writer, PROPERTY_SESSION_EXPIRY);
        writer_u32(writer, connack->session_expiry_s);
    }
    if (connack->receive_maximum > 0) {
        writer_u8(writer, PROPERTY_RECEIVE_MAXIMUM);
        writer_u16(writer, connack->receive_maximum);
    }
    if (connack->topic_alias_maximum > 0) {
        writer_u8(writer, PROPERTY_TOPIC_ALIAS_MAXIMUM);
        writer_u16(writer, connack->topic_alias_maximum);
    }
    if (connack->maximum_qos < 2)
        packet_write_byte_property(writer, PROPERTY_MAXIMUM_QOS, connack->maximum_qos);
    if (connack->maximum_packet_size > 0) {
        writer_u8(writer, PROPERTY_MAXIMUM_PACKET_SIZE);
        writer_u32(writer, connack->maximum_packet_size);
    }
    packet_write_byte_property(writer, PROPERTY_SUBSCRIPTION_ID_AVAILABLE, 0);
    packet_write_byte_property(writer, PROPERTY_SHARED_AVAILABLE, 0);
}

static void connack_write_v5(struct writer *writer, const struct packet_connack *connack)
{
    uint8_t memory[PROPERTIES_MAX];
    struct writer limits;

    writer_init(&limits, memory, sizeof(memory));
    struct view id = {0};
    if (connack->code == MQTT_SUCCESS) {
        connack_write_limits(&limits, connack);
        id = connack->assigned_client_id;
    }
    assert(!limits.failed);
    size_t size = writer_used(&limits) + (id.size > 0 ? 1 + 2 + id.size : 0);
    bool session_present = connack->session_present && connack->code == MQTT_SUCCESS;
    packet_write_header(writer, PACKET_CONNACK, 0, 2 + varint_size((uint32_t)size) + size);
    writer_u8(writer, session_present);
    writer_u8(writer, connack->code);
    writer_varint(writer, (uint32_t)size);
    writer_bytes(writer, memory, writer_used(&limits));
    if (id.size > 0) {
        writer_u8(writer, PROPERTY_ASSIGNED_CLIENT_ID);
        writer_block(writer, id.data, id.size);
    }
}

void packet_encode_connack(struct writer *writer,
                           enum packet_version version,
                           const struct packet_connack *connack)
{
    if (version == MQTT_5) {
        connack_write_v5(writer, connack);
        return;
    }
    uint8_t code = packet_return_code(connack->code);
    packet_write_header(writer, PACKET_CONNACK, 0, 2);
    /* A refusal has no session, whatever the caller sets [MQTT-3.2.2-6]. */
    writer_u8(writer, connack->session_present && code == RETURN_ACCEPTED);
    writer_u8(writer, code);
}

static void packet_write_spool_id(struct writer *writer, uint64_t spool_id)
{
    static const char name[] = "spool-id";
    char digits[sizeof("18446744073709551615")];
    int size = snprintf(digits, sizeof(digits), "%" PRIu64, spool_id);

    writer_u8(writer, PROPERTY_USER);
    writer_block(writer, name, sizeof(name) - 1);
    writer_block(writer, digits, (size_t)size);
}

/* @properties: without their length. */
static void packet_write_ack(struct writer *writer,
                             enum packet_version version,
                             enum packet_type type,
                             uint16_t packet_id,
                             uint8_t code,
                             const struct writer *properties)
{
    assert(packet_ack_allows_code(type, code));
    assert(!properties->failed);
    size_t size = writer_used(properties);
    bool has_code = version == MQTT_5 && (code != MQTT_SUCCESS || size > 0);
    size_t length = 2 + (has_code ? 1U : 0U) + (size > 0 ? 1 + size : 0);
    packet_write_header(writer, type, type == PACKET_PUBREL ? FLAGS_PUBREL : 0, length);
    writer_u16(writer, packet_id);
    if (has_code)
        writer_u8(writer, code);
    if (size > 0) {
        writer_varint(writer, (uint32_t)size);
        writer_bytes(writer, properties->start, size);
    }
}

void packet_encode_ack(struct writer *writer,
                       enum packet_version version,
                       enum packet_type type,
                       uint16_t packet_id,
                       uint8_t code,
                       uint64_t spool_id)
{
    uint8_t memory[PROPERTIES_MAX];
    struct writer properties;

    writer_init(&properties, memory, sizeof(memory));
    if (version == MQTT_5 && spool_id != 0)
        packet_write_spool_id(&properties, spool_id);
    packet_write_ack(writer, version, type, packet_id, code, &properties);
}

void packet_encode_too_large(struct writer *writer,
                             enum packet_type type,
                             uint16_t packet_id,
                             uint8_t code)
{
    uint8_t memory[PROPERTIES_MAX];
    struct writer properties;

    writer_init(&properties, memory, sizeof(memory));
    writer_u8(&properties, PROPERTY_USER);
    writer_block(&properties, PACKET_REFUSED_NAME, sizeof(PACKET_REFUSED_NAME) - 1);
    writer_block(&properties, PACKET_REFUSED_TOO_LARGE, sizeof(PACKET_REFUSED_TOO_LARGE) - 1);
    packet_write_ack(writer, MQTT_5, type, packet_id, code, &properties);
}

void packet_encode_suback(struct writer *writer,
                          enum packet_version version,
                          enum packet_type type,
                          uint16_t packet_id,
                          const uint8_t *codes,
                          size_t count)
{
    bool has_codes = version == MQTT_5 || type == PACKET_SUBACK;
    size_t size = has_codes ? count : 0;

    if (size > (size_t)(writer->end - writer->at)) {
        writer->failed = true;
        return;
    }
    packet_write_header(writer, type, 0, 2 + (version == MQTT_5 ? 1U : 0U) + size);
    writer_u16(writer, packet_id);
    if (version == MQTT_5)
        writer_varint(writer, 0);
    for (size_t i = 0; i < size; i++) {
        bool is_cut = version != MQTT_5 && codes[i] > MQTT_FIRST_FAILURE;

        /* 3.1.1 knows one failure only. */
        writer_u8(writer, is_cut ? MQTT_FIRST_FAILURE : codes[i]);
    }
}

/* Without their length. */
static size_t delivery_properties_size(enum packet_version version,
                                       const struct packet_delivery *delivery)
{
    return version == MQTT_5 && delivery->has_correlation ? 1 + 2 + delivery->correlation.size
                                                          : 0;
}

/* What follows the fixed header. */
static size_t delivery_length(enum packet_version version,
                              const struct packet_delivery *delivery)
{
    size_t properties = delivery_properties_size(version, delivery);

    return 2 + delivery->topic.size + (delivery->qos > 0 ? 2 : 0) +
           (version == MQTT_5 ? varint_size((uint32_t)properties) + properties : 0) +
           delivery->payload.size;
}

size_t packet_delivery_size(enum packet_version version, const struct packet_delivery *delivery)
{
    if (delivery->topic.size > MQTT_TEXT_MAX || delivery->correlation.size > MQTT_TEXT_MAX ||
        delivery->payload.size > MQTT_VARINT_MAX)
        return 0;
    size_t length = delivery_length(version, delivery);
    if (length > MQTT_VARINT_MAX)
        return 0;
    return 1 + varint_size((uint32_t)length) + length;
}

void packet_encode_delivery(struct writer *writer,
                            enum packet_version version,
                            const struct packet_delivery *delivery)
{
    uint8_t flags = (uint8_t)((unsigned)delivery->qos << FLAGS_PUBLISH_QOS_SHIFT);

    if (delivery->is_repeated)
        flags |= FLAGS_PUBLISH_DUP;
    packet_write_header(writer, PACKET_PUBLISH, flags, delivery_length(version, delivery));
    writer_block(writer, delivery->topic.data, delivery->topic.size);
    if (delivery->qos > 0)
        writer_u16(writer, delivery->packet_id);
    if (version == MQTT_5) {
        writer_varint(writer, (uint32_t)delivery_properties_size(version, delivery));
        if (delivery->has_correlation) {
            writer_u8(writer, PROPERTY_CORRELATION_DATA);
            writer_block(writer, delivery->correlation.data, delivery->correlation.size);
        }
    }
    writer_bytes(writer, delivery->payload.data, delivery->payload.size);
}

void packet_encode_pingresp(struct writer *writer)
{
    packet_write_header(writer, PACKET_PINGRESP, 0, 0);
}

/* How many bytes of a text fit, without a partial character at the end. */
static size_t packet_reason_text_size(const char *reason)
{
    size_t size = strnlen(reason, REASON_TEXT_MAX + 1);

    if (size <= REASON_TEXT_MAX)
        return size;
    size = REASON_TEXT_MAX;
    while (size > 0 && ((uint8_t)reason[size] & 0xC0) == 0x80)
        size--;
    return size;
}

void packet_encode_disconnect(struct writer *writer, uint8_t code, const char *reason)
{
    size_t text = reason ? packet_reason_text_size(reason) : 0;
    size_t size = text > 0 ? 1 + 2 + text : 0;
    size_t length = 1 + (size > 0 ? varint_size((uint32_t)size) + size : 0);

    packet_write_header(writer, PACKET_DISCONNECT, 0, length);
    writer_u8(writer, code);
    if (size == 0)
        return;
    writer_varint(writer, (uint32_t)size);
    writer_u8(writer, PROPERTY_REASON_STRING);
    writer_block(writer, reason, text);
}
