/* SPDX-License-Identifier: MIT */
/*
 * fuzz_packet.c - fuzz target of the packet codec
 *
 * The input is what a client might send: packets one after the other. Each is
 * framed and decoded as both versions, and then must keep what packet.h promises:
 * views lie inside of the packet, a frame that is cut returns PACKET_E_MORE, kept
 * properties decode again to the same message, and what the encoders write can be
 * decoded.
 *
 * Built twice: with libFuzzer, and with replay.c as a regression test over the
 * corpus. A broken promise aborts in both.
 */
#include "tests/fuzz/promise.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

enum { MAX_PACKET = 1 << 20 };

static void view_lies_inside(struct view view, struct view outer)
{
    if (view.size == 0)
        return;
    PROMISE(view.data >= outer.data);
    PROMISE(view.size <= outer.size);
    PROMISE(view.data - outer.data <= (ptrdiff_t)(outer.size - view.size));
}

static bool views_are_equal(struct view a, struct view b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static void topic_matches_itself(struct view topic)
{
    AUTO_FREE char *filter = calloc(1, topic.size + 3);

    PROMISE(filter);
    memcpy(filter, topic.data, topic.size);
    PROMISE(packet_topic_is_valid(topic));
    PROMISE(packet_filter_is_valid(topic));
    PROMISE(packet_topic_matches(filter, topic));
    PROMISE(packet_topic_matches("#", topic) == (topic.data[0] != '$'));
    filter[topic.size] = '/';
    PROMISE(!packet_topic_matches(filter, topic));
    filter[topic.size + 1] = '#';
    PROMISE(packet_topic_matches(filter, topic));
}

/* Encodes the message as a PUBLISH with only the properties that were kept. */
static size_t
write_kept(const struct packet_publish *publish, struct view kept, uint8_t *memory)
{
    struct writer writer;
    size_t length = 2 + publish->topic.size + (publish->qos > 0 ? 2 : 0) +
                    varint_size((uint32_t)kept.size) + kept.size + publish->payload.size;

    writer_init(&writer, memory, length + 5);
    writer_u8(&writer, (uint8_t)(PACKET_PUBLISH << 4 | publish->qos << 1));
    writer_varint(&writer, (uint32_t)length);
    writer_block(&writer, publish->topic.data, publish->topic.size);
    if (publish->qos > 0)
        writer_u16(&writer, publish->packet_id);
    writer_varint(&writer, (uint32_t)kept.size);
    writer_bytes(&writer, kept.data, kept.size);
    writer_bytes(&writer, publish->payload.data, publish->payload.size);
    PROMISE(!writer.failed);
    return writer_used(&writer);
}

static void kept_properties_decode_again(const struct packet_publish *publish,
                                         size_t frame_size)
{
    /* Exactly the size that is promised to be enough, so that a sanitizer sees one byte more.
     */
    size_t room = publish->properties.size;
    AUTO_FREE uint8_t *kept = malloc(room > 0 ? room : 1);
    AUTO_FREE uint8_t *again = malloc(room > 0 ? room : 1);
    AUTO_FREE uint8_t *packet = malloc(frame_size + 16);
    PROMISE(kept && again && packet);
    struct view properties = {.data = kept, .size = packet_keep_properties(publish, kept)};
    PROMISE(properties.size <= room);
    size_t size = write_kept(publish, properties, packet);
    struct packet_frame frame;
    struct packet_publish decoded;
    PROMISE(packet_next(packet, size, MAX_PACKET + 16, &frame) == 0);
    int r = packet_decode_publish(&frame, MQTT_5, &decoded);
    if (publish->topic.size == 0) {
        PROMISE(r == PACKET_E_PROTOCOL); /* the alias was its only topic and is not kept */
        return;
    }
    PROMISE(r == 0);
    PROMISE(!decoded.has_expiry && !decoded.has_topic_alias);
    PROMISE(views_are_equal(decoded.topic, publish->topic));
    PROMISE(views_are_equal(decoded.payload, publish->payload));
    PROMISE(views_are_equal(decoded.ref, publish->ref));
    PROMISE(views_are_equal(decoded.properties, properties));
    PROMISE(packet_keep_properties(&decoded, again) == properties.size);
    PROMISE(properties.size == 0 || memcmp(again, kept, properties.size) == 0);
}

static void check_publish(const struct packet_frame *frame, enum packet_version version)
{
    struct packet_publish publish;
    int r = packet_decode_publish(frame, version, &publish);

    PROMISE(r == 0 || r == PACKET_E_MALFORMED || r == PACKET_E_PROTOCOL ||
            r == PACKET_E_TOPIC || r == PACKET_E_FORMAT);
    if (r == PACKET_E_MALFORMED || r == PACKET_E_PROTOCOL)
        return;
    view_lies_inside(publish.topic, frame->body);
    view_lies_inside(publish.payload, frame->body);
    view_lies_inside(publish.properties, frame->body);
    view_lies_inside(publish.ref, publish.properties);
    PROMISE(publish.qos <= 2 && (publish.qos == 0) == (publish.packet_id == 0));
    PROMISE(version == MQTT_5 ||
            (publish.properties.size == 0 && !publish.has_expiry && !publish.has_topic_alias));
    if (r != 0)
        return;
    PROMISE(publish.topic.size > 0 || publish.has_topic_alias);
    if (publish.topic.size > 0)
        topic_matches_itself(publish.topic);
    kept_properties_decode_again(&publish, frame->size);
}

static void check_connect(const struct packet_frame *frame)
{
    struct packet_connect connect;
    int r = packet_decode_connect(frame, &connect);

    PROMISE(r == 0 || r == PACKET_E_MALFORMED || r == PACKET_E_PROTOCOL ||
            r == PACKET_E_VERSION || r == PACKET_E_TOPIC || r == PACKET_E_FORMAT);
    if (r != 0 && r != PACKET_E_TOPIC && r != PACKET_E_FORMAT)
        return;
    view_lies_inside(connect.client_id, frame->body);
    PROMISE(r == 0 || connect.has_will); /* it is the will's */
    if (connect.has_will) {
        view_lies_inside(connect.will.topic, frame->body);
        view_lies_inside(connect.will.payload, frame->body);
        PROMISE(connect.will.qos <= 2);
        PROMISE(packet_topic_is_valid(connect.will.topic) == (r != PACKET_E_TOPIC));
    }
    PROMISE(packet_utf8_is_valid(connect.client_id));
    PROMISE(connect.version == MQTT_3_1_1 || connect.version == MQTT_5);
    PROMISE(connect.receive_maximum > 0 && connect.maximum_packet_size > 0);
    PROMISE(connect.version == MQTT_5 || !connect.has_auth);
}

static void check_filters(const struct packet_frame *frame, enum packet_version version)
{
    struct packet_subscribe subscribe;
    bool has_options = frame->type == PACKET_SUBSCRIBE;
    int r = has_options ? packet_decode_subscribe(frame, version, &subscribe)
                        : packet_decode_unsubscribe(frame, version, &subscribe);

    PROMISE(r == 0 || r == PACKET_E_MALFORMED || r == PACKET_E_PROTOCOL);
    if (r != 0)
        return;
    size_t count = 0;
    struct view filter;
    uint8_t options;
    while (packet_filter_next(&subscribe.filters, &filter, has_options ? &options : NULL)) {
        view_lies_inside(filter, frame->body);
        PROMISE(packet_filter_is_valid(filter));
        count++;
    }
    PROMISE(count > 0 && !subscribe.filters.failed && reader_left(&subscribe.filters) == 0);
}

static void check_reason(const struct packet_frame *frame, enum packet_version version)
{
    struct packet_reason reason;
    int r = frame->type == PACKET_DISCONNECT ? packet_decode_disconnect(frame, version, &reason)
                                             : packet_decode_ack(frame, version, &reason);

    PROMISE(r == 0 || r == PACKET_E_MALFORMED || r == PACKET_E_PROTOCOL);
    if (r != 0)
        return;
    PROMISE((reason.packet_id == 0) == (frame->type == PACKET_DISCONNECT));
    PROMISE(strcmp(packet_reason_text(reason.code), "unknown") != 0);
    if (frame->type == PACKET_DISCONNECT)
        return;
    uint8_t memory[PACKET_ACK_MAX];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    packet_encode_ack(&writer, version, frame->type, reason.packet_id, reason.code, UINT64_MAX);
    PROMISE(!writer.failed);
    struct packet_frame written;
    struct packet_reason read;
    PROMISE(packet_next(memory, writer_used(&writer), MAX_PACKET, &written) == 0);
    PROMISE(packet_decode_ack(&written, version, &read) == 0);
    PROMISE(read.packet_id == reason.packet_id);
    PROMISE(version != MQTT_5 || read.code == reason.code);
}

static void check_frame(const struct packet_frame *frame, enum packet_version version)
{
    if (frame->type == PACKET_CONNECT)
        check_connect(frame);
    else if (frame->type == PACKET_PUBLISH)
        check_publish(frame, version);
    else if (frame->type == PACKET_SUBSCRIBE || frame->type == PACKET_UNSUBSCRIBE)
        check_filters(frame, version);
    else if (frame->type == PACKET_DISCONNECT ||
             (frame->type >= PACKET_PUBACK && frame->type <= PACKET_PUBCOMP))
        check_reason(frame, version);
}

static void check_framing(struct view left, const struct packet_frame *frame)
{
    PROMISE(frame->size >= 2 && frame->size <= left.size && frame->size <= MAX_PACKET);
    view_lies_inside(frame->body, left);
    struct packet_frame other;
    PROMISE(packet_next(left.data, frame->size - 1, MAX_PACKET, &other) == PACKET_E_MORE);
    PROMISE(packet_next(left.data, left.size, frame->size - 1, &other) == PACKET_E_TOO_LARGE);
}

/* The same bytes as properties, and as the reason of a DISCONNECT. */
static void check_loose_ends(const uint8_t *data, size_t size)
{
    struct view all = {.data = data, .size = size};
    struct reader reader;

    reader_init(&reader, data, size);
    for (struct packet_property property; packet_property_next(&reader, &property);) {
        view_lies_inside(property.name, all);
        view_lies_inside(property.value, all);
    }
    PROMISE(reader_left(&reader) == 0 || reader.failed);
    if (!packet_utf8_is_valid(all))
        return;
    AUTO_FREE char *text = calloc(1, size + 1);
    PROMISE(text);
    if (size > 0)
        memcpy(text, data, size);
    uint8_t memory[PACKET_DISCONNECT_MAX];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    packet_encode_disconnect(&writer, MQTT_PROTOCOL_ERROR, text);
    PROMISE(!writer.failed);
    struct packet_frame frame;
    struct packet_reason reason;
    PROMISE(packet_next(memory, writer_used(&writer), MAX_PACKET, &frame) == 0);
    PROMISE(packet_decode_disconnect(&frame, MQTT_5, &reason) == 0);
    PROMISE(reason.code == MQTT_PROTOCOL_ERROR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_loose_ends(data, size);
    struct packet_frame frame;
    while (packet_next(data, size, MAX_PACKET, &frame) == 0) {
        check_framing(view_of(data, size), &frame);
        check_frame(&frame, MQTT_3_1_1);
        check_frame(&frame, MQTT_5);
        data += frame.size;
        size -= frame.size;
    }
    return 0;
}
