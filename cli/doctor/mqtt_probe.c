/* SPDX-License-Identifier: MIT */
/*
 * mqtt_probe.c - the few packets with which a broker is asked what it is
 *
 * Invariant: nothing is read beyond a packet's own bytes, and no length of the other side is
 * believed before it was compared with the memory.
 */
#include "cli/doctor/mqtt_probe.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/text.h"
#include "base/view.h"
#include "cli/doctor/stream.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECT = 0x10,
    CONNACK = 0x20,
    PUBLISH_QOS_1 = 0x32,
    PUBACK = 0x40,
    DISCONNECT = 0xE0,
    PACKET_ID = 1,
    KEEPALIVE_S = 60,
    HEADER_MAX = 5,
    CLEAN_START = 0x02,
    HAS_PASSWORD = 0x40,
    HAS_USERNAME = 0x80,
};

/* Properties of CONNACK, PUBACK and DISCONNECT (MQTT 5, 2.2.2.2). */
enum {
    SESSION_EXPIRY = 0x11,
    ASSIGNED_CLIENT_ID = 0x12,
    SERVER_KEEPALIVE = 0x13,
    AUTH_METHOD = 0x15,
    AUTH_DATA = 0x16,
    RESPONSE_INFORMATION = 0x1A,
    SERVER_REFERENCE = 0x1C,
    REASON_STRING = 0x1F,
    RECEIVE_MAXIMUM = 0x21,
    ALIAS_MAXIMUM = 0x22,
    MAXIMUM_QOS = 0x24,
    RETAIN_AVAILABLE = 0x25,
    USER_PROPERTY = 0x26,
    MAXIMUM_PACKET = 0x27,
    WILDCARD_AVAILABLE = 0x28,
    IDENTIFIER_AVAILABLE = 0x29,
    SHARED_AVAILABLE = 0x2A,
};

static int
send_packet(struct stream *stream, uint8_t first, const struct writer *body, int64_t give_up_ms)
{
    uint8_t memory[HEADER_MAX];
    struct writer header;
    int result;

    if (body->failed)
        return -EMSGSIZE;
    writer_init(&header, memory, sizeof(memory));
    writer_u8(&header, first);
    writer_varint(&header, (uint32_t)writer_used(body));
    result = stream_write(stream, memory, writer_used(&header), give_up_ms);
    return result < 0 ? result
                      : stream_write(stream, body->start, writer_used(body), give_up_ms);
}

/* What follows the first byte of a packet. Return: 0, and @memory has the body; as
 * mqtt_probe_connect(). */
static int receive_body(struct stream *stream,
                        uint8_t memory[static MQTT_PROBE_PACKET_MAX],
                        int64_t give_up_ms,
                        struct reader *ret)
{
    uint32_t size = 0;
    uint8_t byte = 0;
    int result;

    for (unsigned shift = 0; shift < 28; shift += 7) {
        result = stream_read(stream, &byte, 1, give_up_ms);
        if (result < 0)
            return result;
        size |= (uint32_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            break;
    }
    if (byte & 0x80 || size > MQTT_PROBE_PACKET_MAX)
        return -EBADMSG;
    result = stream_read(stream, memory, size, give_up_ms);
    reader_init(ret, memory, size);
    return result;
}

static void write_connect(struct writer *body, const struct mqtt_probe_connect *connect)
{
    bool has_password = connect->password.data;
    bool has_username = connect->username[0] != '\0';

    writer_block(body, "MQTT", 4);
    writer_u8(body, (uint8_t)connect->version);
    writer_u8(body, (uint8_t)(CLEAN_START | (has_password ? HAS_PASSWORD : 0) |
                              (has_username ? HAS_USERNAME : 0)));
    writer_u16(body, KEEPALIVE_S);
    if (connect->version == 5)
        writer_varint(body, 0);
    writer_block(body, connect->client_id, strlen(connect->client_id));
    if (has_username)
        writer_block(body, connect->username, strlen(connect->username));
    if (has_password)
        writer_block(body, connect->password.data, connect->password.size);
}

static void copy_text(struct view view, char text[static MQTT_PROBE_TEXT_MAX])
{
    text_format(text, MQTT_PROBE_TEXT_MAX, "%.*s", (int)view.size, view_chars(view));
}

/* Those that are only passed over. Return: is @id known? */
static bool skip_property(struct reader *reader, uint8_t id)
{
    switch (id) {
    case SESSION_EXPIRY:
        (void)reader_u32(reader);
        return true;
    case AUTH_METHOD:
    case AUTH_DATA:
    case RESPONSE_INFORMATION:
        (void)reader_block(reader);
        return true;
    case USER_PROPERTY:
        (void)reader_block(reader);
        (void)reader_block(reader);
        return true;
    case WILDCARD_AVAILABLE:
    case IDENTIFIER_AVAILABLE:
    case SHARED_AVAILABLE:
        (void)reader_u8(reader);
        return true;
    default:
        return false;
    }
}

static bool take_property(struct reader *reader, uint8_t id, struct mqtt_probe_connack *connack)
{
    switch (id) {
    case ASSIGNED_CLIENT_ID:
        copy_text(reader_block(reader), connack->client_id);
        return true;
    case REASON_STRING:
        copy_text(reader_block(reader), connack->words.reason);
        return true;
    case SERVER_REFERENCE:
        copy_text(reader_block(reader), connack->words.reference);
        return true;
    case SERVER_KEEPALIVE:
        connack->has_keepalive = true;
        connack->keepalive_s = reader_u16(reader);
        return true;
    case RECEIVE_MAXIMUM:
        connack->receive_maximum = reader_u16(reader);
        return true;
    case ALIAS_MAXIMUM:
        connack->alias_maximum = reader_u16(reader);
        return true;
    case MAXIMUM_QOS:
        connack->maximum_qos = reader_u8(reader);
        return true;
    case RETAIN_AVAILABLE:
        connack->has_retain = reader_u8(reader) != 0;
        return true;
    case MAXIMUM_PACKET:
        connack->maximum_packet = reader_u32(reader);
        return true;
    default:
        return skip_property(reader, id);
    }
}

static int take_properties(struct reader *body, struct mqtt_probe_connack *connack)
{
    uint32_t size = reader_left(body) > 0 ? reader_varint(body) : 0;
    struct view view = reader_bytes(body, size);
    struct reader properties;

    reader_init(&properties, view.data, view.size);
    while (!properties.failed && reader_left(&properties) > 0) {
        if (!take_property(&properties, reader_u8(&properties), connack))
            return -EBADMSG;
    }
    return body->failed || properties.failed ? -EBADMSG : 0;
}

int mqtt_probe_connect(struct stream *stream,
                       const struct mqtt_probe_connect *connect,
                       int64_t give_up_ms,
                       struct mqtt_probe_connack *ret)
{
    AUTO_FREE uint8_t *memory = malloc((size_t)4 * MQTT_PROBE_PACKET_MAX);
    struct writer body;
    struct reader answer;
    uint8_t first = 0;
    int result;

    if (!memory)
        return -ENOMEM;
    *ret = (struct mqtt_probe_connack){
        .receive_maximum = UINT16_MAX, .maximum_qos = 2, .has_retain = true};
    writer_init(&body, memory, (size_t)4 * MQTT_PROBE_PACKET_MAX);
    write_connect(&body, connect);
    result = send_packet(stream, CONNECT, &body, give_up_ms);
    explicit_bzero(memory, (size_t)4 * MQTT_PROBE_PACKET_MAX);
    if (result == 0)
        result = stream_read(stream, &first, 1, give_up_ms);
    if (result == 0)
        result =
            first == CONNACK ? receive_body(stream, memory, give_up_ms, &answer) : -EBADMSG;
    if (result < 0)
        return result;
    ret->has_session = reader_u8(&answer) & 1;
    ret->code = reader_u8(&answer);
    if (answer.failed)
        return -EBADMSG;
    return connect->version == 5 ? take_properties(&answer, ret) : 0;
}

/* A PUBACK, or a DISCONNECT, whose code comes first. */
static int take_puback(struct reader *body, unsigned version, struct mqtt_probe_puback *puback)
{
    struct mqtt_probe_connack properties = {.code = 0};
    int result;

    if (!puback->is_disconnect && reader_u16(body) != PACKET_ID)
        return -EBADMSG;
    if (body->failed)
        return -EBADMSG;
    if (version != 5 || reader_left(body) == 0)
        return 0;
    puback->code = reader_u8(body);
    result = take_properties(body, &properties);
    puback->words = properties.words;
    return result;
}

int mqtt_probe_publish(struct stream *stream,
                       unsigned version,
                       const char *topic,
                       const char *payload,
                       int64_t give_up_ms,
                       struct mqtt_probe_puback *ret)
{
    AUTO_FREE uint8_t *memory = malloc((size_t)2 * MQTT_PROBE_PACKET_MAX);
    struct writer body;
    struct reader answer;
    uint8_t first = 0;
    int result;

    if (!memory)
        return -ENOMEM;
    writer_init(&body, memory, (size_t)2 * MQTT_PROBE_PACKET_MAX);
    writer_block(&body, topic, strlen(topic));
    writer_u16(&body, PACKET_ID);
    if (version == 5)
        writer_varint(&body, 0);
    writer_bytes(&body, payload, strlen(payload));
    result = send_packet(stream, PUBLISH_QOS_1, &body, give_up_ms);
    if (result == 0)
        result = stream_read(stream, &first, 1, give_up_ms);
    if (result < 0)
        return result;
    *ret = (struct mqtt_probe_puback){.is_disconnect = version == 5 && first == DISCONNECT};
    if (first != PUBACK && !ret->is_disconnect)
        return -EBADMSG;
    result = receive_body(stream, memory, give_up_ms, &answer);
    return result < 0 ? result : take_puback(&answer, version, ret);
}

void mqtt_probe_disconnect(struct stream *stream, int64_t give_up_ms)
{
    static const uint8_t packet[] = {DISCONNECT, 0};

    if (stream_write(stream, packet, sizeof(packet), give_up_ms) < 0)
        return; /* it is closed by now */
}
