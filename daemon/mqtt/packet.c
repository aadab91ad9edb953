/* SPDX-License-Identifier: MIT */
/*
 * packet.c - framing and decoding of what a producer sends, MQTT 3.1.1 and 5
 *
 * Each decoder reads its packet front to back with one reader: first the fields,
 * then one check of reader.failed, then the rules that span fields. So a packet
 * that is cut or has trailing bytes is malformed, whatever else is wrong with it,
 * and the answer does not depend on the order of the rules.
 *
 * No decoder writes its output before the packet has passed all checks, except as
 * documented in the header: the version of a CONNECT (the CONNACK must be written
 * in some version) and a PUBLISH that can be refused by its id.
 *
 * 3.1.1 has no reason codes, so that a server can only close; the conditions are
 * the same in both versions anyway, for the log.
 */
#include "base/cursor.h"
#include "base/utf8.h"
#include "base/view.h"
#include "daemon/mqtt/packet-private.h"

#include <assert.h>
#include <string.h>

enum { LEVEL_OF_A_BRIDGE = 0x80 }; /* of the protocol version */

/* Flags of CONNECT, section 3.1.2.3. */
enum {
    CONNECT_RESERVED = 0x01,
    CONNECT_CLEAN_START = 0x02,
    CONNECT_WILL = 0x04,
    CONNECT_WILL_QOS = 0x18,
    CONNECT_WILL_QOS_SHIFT = 3,
    CONNECT_WILL_RETAIN = 0x20,
    CONNECT_PASSWORD = 0x40,
    CONNECT_USER_NAME = 0x80
};

/* Flags of PUBLISH, section 3.3.1. */
enum { PUBLISH_RETAIN = 0x01, PUBLISH_QOS = 0x06, PUBLISH_DUP = 0x08 };

/* Options of a subscription, section 3.8.3.1. */
enum { OPTION_NO_LOCAL = 0x04, OPTION_RESERVED = 0xC0, OPTION_RESERVED_3_1_1 = 0xFC };

enum { LENGTH_MAX_BYTES = 4 };

/* What a client may send in DISCONNECT (table 3-10) and in its acknowledgements. */
static const uint8_t disconnect_codes[] = {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90,
                                           0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99};
static const uint8_t received_codes[] = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
static const uint8_t release_codes[] = {0x00, 0x92};

uint8_t packet_condition_code(int condition)
{
    switch (condition) {
    case PACKET_E_TOO_LARGE:
        return MQTT_PACKET_TOO_LARGE;
    case PACKET_E_MALFORMED:
        return MQTT_MALFORMED_PACKET;
    case PACKET_E_PROTOCOL:
        return MQTT_PROTOCOL_ERROR;
    case PACKET_E_VERSION:
        return MQTT_UNSUPPORTED_VERSION;
    case PACKET_E_TOPIC:
        return MQTT_TOPIC_NAME_INVALID;
    case PACKET_E_FORMAT:
        return MQTT_PAYLOAD_FORMAT_INVALID;
    default:
        return MQTT_UNSPECIFIED_ERROR;
    }
}

static unsigned publish_qos(uint8_t flags)
{
    return (unsigned)(flags & PUBLISH_QOS) >> 1;
}

/* [MQTT-2.1.3-1], and for PUBLISH [MQTT-3.3.1-2] and [MQTT-3.3.1-4]. */
static bool packet_flags_are_valid(unsigned type, uint8_t flags)
{
    switch (type) {
    case 0:
        return false;
    case PACKET_PUBLISH:
        return publish_qos(flags) <= 2 &&
               (publish_qos(flags) > 0 || (flags & PUBLISH_DUP) == 0);
    case PACKET_PUBREL:
    case PACKET_SUBSCRIBE:
    case PACKET_UNSUBSCRIBE:
        return flags == 0x02;
    default:
        return flags == 0;
    }
}

/* Return: 0; PACKET_E_MORE; PACKET_E_MALFORMED. */
static int packet_read_length(struct reader *reader, uint32_t *ret)
{
    size_t left = reader_left(reader);
    size_t known = left < LENGTH_MAX_BYTES ? left : LENGTH_MAX_BYTES;
    size_t more = 0;

    while (more < known && (reader->at[more] & 0x80) != 0)
        more++;
    if (more == left && more < LENGTH_MAX_BYTES)
        return PACKET_E_MORE;
    *ret = reader_varint(reader);
    return reader->failed ? PACKET_E_MALFORMED : 0;
}

int packet_next(const void *data, size_t size, size_t max_packet, struct packet_frame *ret)
{
    if (size == 0)
        return PACKET_E_MORE;
    struct reader reader;
    reader_init(&reader, data, size);
    uint8_t first = reader_u8(&reader);
    unsigned type = first >> 4;
    uint8_t flags = first & 0x0F;
    if (!packet_flags_are_valid(type, flags))
        return PACKET_E_MALFORMED;
    uint32_t length = 0;
    int r = packet_read_length(&reader, &length);
    if (r != 0)
        return r;
    if ((type == PACKET_PINGREQ || type == PACKET_PINGRESP) && length > 0)
        return PACKET_E_MALFORMED;
    size_t whole = (size - reader_left(&reader)) + length;
    ret->size = whole;
    if (whole > max_packet)
        return PACKET_E_TOO_LARGE;
    if (length > reader_left(&reader))
        return PACKET_E_MORE;
    ret->type = (enum packet_type)type;
    ret->flags = flags;
    ret->body = reader_bytes(&reader, length);
    return 0;
}

static struct reader packet_body_reader(const struct packet_frame *frame)
{
    struct reader body;

    reader_init(&body, frame->body.data, frame->body.size);
    return body;
}

/* Was everything read, without a failure? */
static bool packet_body_is_done(const struct reader *reader)
{
    return !reader->failed && reader_left(reader) == 0;
}

/* *ret_version is set for PACKET_E_VERSION as well. */
static int connect_read_version(struct reader *body, enum packet_version *ret_version)
{
    static const char name[] = "MQTT";
    struct view protocol = reader_block(body);
    /* The bridge of a mosquitto sets the bit, to be recognized by another mosquitto. */
    uint8_t level = reader_u8(body) & (uint8_t)~LEVEL_OF_A_BRIDGE;

    if (body->failed)
        return PACKET_E_MALFORMED;
    bool named =
        protocol.size == sizeof(name) - 1 && memcmp(protocol.data, name, sizeof(name) - 1) == 0;
    *ret_version = named ? (enum packet_version)level : MQTT_3_1_1;
    return named && (level == MQTT_3_1_1 || level == MQTT_5) ? 0 : PACKET_E_VERSION;
}

bool packet_peek_version(const void *data, size_t size, enum packet_version *ret)
{
    struct reader reader;

    reader_init(&reader, data, size);
    if (reader_u8(&reader) >> 4 != PACKET_CONNECT) /* its flags may be what is wrong */
        return false;
    (void)reader_varint(&reader);
    return connect_read_version(&reader, ret) == 0;
}

/* What can be answered by its id, or by a CONNACK if it is a will. */
static int publish_check(const struct packet_publish *publish)
{
    if (!packet_topic_is_valid(publish->topic) &&
        !(publish->topic.size == 0 && publish->has_topic_alias))
        return PACKET_E_TOPIC; /* [MQTT-3.3.2-2], 1.5.4 */
    return publish->is_text && !utf8_is_well_formed(publish->payload) ? PACKET_E_FORMAT : 0;
}

static bool connect_flags_are_valid(uint8_t flags, enum packet_version version)
{
    if (flags & CONNECT_RESERVED)
        return false; /* [MQTT-3.1.2-3] */
    if ((flags & CONNECT_WILL) == 0 && (flags & (CONNECT_WILL_QOS | CONNECT_WILL_RETAIN)) != 0)
        return false; /* [MQTT-3.1.2-11], [MQTT-3.1.2-13] */
    if ((flags & CONNECT_WILL_QOS) == CONNECT_WILL_QOS)
        return false; /* [MQTT-3.1.2-12] */
    /* 3.1.1 [MQTT-3.1.2-22]; version 5 lets a password come alone. */
    return version == MQTT_5 || (flags & CONNECT_USER_NAME) != 0 ||
           (flags & CONNECT_PASSWORD) == 0;
}

static int connect_read_properties(struct reader *body, struct packet_connect *connect)
{
    struct packet_properties properties;
    int r = packet_read_properties(body, PACKET_CONNECT, &properties);

    if (r != 0)
        return r;
    connect->has_auth = packet_has_property(&properties, PROPERTY_AUTH_METHOD);
    if (packet_has_property(&properties, PROPERTY_AUTH_DATA) && !connect->has_auth)
        return PACKET_E_PROTOCOL;
    connect->session_expiry_s = packet_property_number(&properties, PROPERTY_SESSION_EXPIRY, 0);
    connect->receive_maximum =
        (uint16_t)packet_property_number(&properties, PROPERTY_RECEIVE_MAXIMUM, UINT16_MAX);
    connect->maximum_packet_size =
        packet_property_number(&properties, PROPERTY_MAXIMUM_PACKET_SIZE, UINT32_MAX);
    connect->is_problem_info_off =
        packet_property_number(&properties, PROPERTY_REQUEST_PROBLEM_INFO, 1) == 0;
    return 0;
}

/* What a PUBLISH and a will have. */
static void publish_set_properties(struct packet_publish *publish,
                                   const struct packet_properties *properties)
{
    publish->properties = properties->encoded;
    publish->ref = properties->ref;
    publish->has_expiry = packet_has_property(properties, PROPERTY_MESSAGE_EXPIRY);
    publish->expiry_s = packet_property_number(properties, PROPERTY_MESSAGE_EXPIRY, 0);
    publish->is_text = packet_property_number(properties, PROPERTY_PAYLOAD_FORMAT, 0) == 1;
}

static int connect_read_will_properties(struct reader *body, struct packet_connect *connect)
{
    struct packet_properties properties;
    int r = packet_read_properties(body, PACKET_WILL, &properties);

    if (r != 0)
        return r;
    connect->will_delay_s = packet_property_number(&properties, PROPERTY_WILL_DELAY, 0);
    publish_set_properties(&connect->will, &properties);
    return 0;
}

static int connect_read_will(struct reader *body, uint8_t flags, struct packet_connect *connect)
{
    struct packet_publish *will = &connect->will;
    int r = connect->version == MQTT_5 ? connect_read_will_properties(body, connect) : 0;

    if (r != 0)
        return r;
    will->qos = (uint8_t)((flags & CONNECT_WILL_QOS) >> CONNECT_WILL_QOS_SHIFT);
    will->retain = (flags & CONNECT_WILL_RETAIN) != 0;
    will->topic = packet_read_text(body);
    will->payload = reader_block(body);
    if (body->failed)
        return PACKET_E_MALFORMED;
    return packet_text_is_topic(will->topic) ? 0 : PACKET_E_PROTOCOL;
}

/* What follows the variable header: client id, will, user name and password. */
static int
connect_read_payload(struct reader *body, uint8_t flags, struct packet_connect *connect)
{
    connect->client_id = packet_read_text(body);
    if (connect->has_will) {
        int r = connect_read_will(body, flags, connect);

        if (r != 0)
            return r;
    }
    if (flags & CONNECT_USER_NAME)
        (void)packet_read_text(body); /* the kernel reports who the client is */
    if (flags & CONNECT_PASSWORD)
        (void)reader_block(body);
    return packet_body_is_done(body) ? 0 : PACKET_E_MALFORMED;
}

int packet_decode_connect(const struct packet_frame *frame, struct packet_connect *ret)
{
    assert(frame->type == PACKET_CONNECT);
    struct reader body = packet_body_reader(frame);
    struct packet_connect connect = {.receive_maximum = UINT16_MAX,
                                     .maximum_packet_size = UINT32_MAX};
    int r = connect_read_version(&body, &connect.version);
    if (r == 0 || r == PACKET_E_VERSION)
        ret->version = connect.version;
    if (r != 0)
        return r;
    uint8_t flags = reader_u8(&body);
    connect.keep_alive_s = reader_u16(&body);
    if (body.failed || !connect_flags_are_valid(flags, connect.version))
        return PACKET_E_MALFORMED;
    connect.clean_start = (flags & CONNECT_CLEAN_START) != 0;
    connect.has_will = (flags & CONNECT_WILL) != 0;
    if (connect.version == MQTT_5) {
        r = connect_read_properties(&body, &connect);
        if (r != 0)
            return r;
    }
    r = connect_read_payload(&body, flags, &connect);
    if (r != 0)
        return r;
    *ret = connect;
    return connect.has_will ? publish_check(&connect.will) : 0;
}

/* Return: as packet_read_properties(); PACKET_E_PROTOCOL also for a subscription identifier. */
static int publish_read_properties(struct reader *body, struct packet_publish *publish)
{
    struct packet_properties properties;
    int r = packet_read_properties(body, PACKET_PUBLISH, &properties);

    if (r != 0)
        return r;
    if (packet_has_property(&properties, PROPERTY_SUBSCRIPTION_ID))
        return PACKET_E_PROTOCOL; /* [MQTT-3.3.4-6] */
    publish_set_properties(publish, &properties);
    publish->has_topic_alias = packet_has_property(&properties, PROPERTY_TOPIC_ALIAS);
    publish->topic_alias =
        (uint16_t)packet_property_number(&properties, PROPERTY_TOPIC_ALIAS, 0);
    return 0;
}

int packet_decode_publish(const struct packet_frame *frame,
                          enum packet_version version,
                          struct packet_publish *ret)
{
    assert(frame->type == PACKET_PUBLISH);
    struct reader body = packet_body_reader(frame);
    struct packet_publish publish = {.qos = (uint8_t)publish_qos(frame->flags),
                                     .dup = (frame->flags & PUBLISH_DUP) != 0,
                                     .retain = (frame->flags & PUBLISH_RETAIN) != 0};
    publish.topic = packet_read_text(&body);
    if (publish.qos > 0)
        publish.packet_id = reader_u16(&body);
    if (version == MQTT_5) {
        int r = publish_read_properties(&body, &publish);

        if (r != 0)
            return r;
    }
    publish.payload = reader_bytes(&body, reader_left(&body));
    if (body.failed)
        return PACKET_E_MALFORMED;
    if (publish.qos > 0 && publish.packet_id == 0)
        return PACKET_E_PROTOCOL; /* [MQTT-2.2.1-3] */
    if (version == MQTT_5 && publish.topic.size == 0 && !publish.has_topic_alias)
        return PACKET_E_PROTOCOL;
    *ret = publish;
    return publish_check(&publish);
}

bool packet_filter_next(struct reader *filters, struct view *ret_filter, uint8_t *ret_options)
{
    if (reader_left(filters) == 0)
        return false;
    struct view filter = packet_read_text(filters);
    uint8_t options = ret_options ? reader_u8(filters) : 0;
    if (filters->failed)
        return false;
    *ret_filter = filter;
    if (ret_options)
        *ret_options = options;
    return true;
}

bool packet_filter_is_shared(struct view filter)
{
    static const char prefix[] = "$share/";

    return filter.size >= sizeof(prefix) - 1 &&
           memcmp(filter.data, prefix, sizeof(prefix) - 1) == 0;
}

static int options_check(enum packet_version version, struct view filter, uint8_t options)
{
    bool above_2 = (options & PACKET_OPTION_QOS) == PACKET_OPTION_QOS;

    if (version != MQTT_5) /* 3.1.1 [MQTT-3-8.3-4] */
        return above_2 || (options & OPTION_RESERVED_3_1_1) != 0 ? PACKET_E_MALFORMED : 0;
    if (options & OPTION_RESERVED)
        return PACKET_E_MALFORMED; /* [MQTT-3.8.3-5] */
    if (above_2 || (options & PACKET_OPTION_RETAIN_HANDLING) == PACKET_OPTION_RETAIN_HANDLING)
        return PACKET_E_PROTOCOL;
    bool no_local = (options & OPTION_NO_LOCAL) != 0;
    return no_local && packet_filter_is_shared(filter) ? PACKET_E_PROTOCOL
                                                       : 0; /* [MQTT-3.8.3-4] */
}

/* @filters: a copy, so that the reader of the caller stays at the first filter. */
static int
filters_check(struct reader filters, enum packet_type type, enum packet_version version)
{
    if (reader_left(&filters) == 0)
        return PACKET_E_PROTOCOL; /* [MQTT-3.8.3-2], [MQTT-3.10.3-2] */
    uint8_t options = 0;
    uint8_t *ret_options = type == PACKET_SUBSCRIBE ? &options : NULL;
    for (struct view filter; packet_filter_next(&filters, &filter, ret_options);) {
        if (!packet_filter_is_valid(filter))
            return PACKET_E_MALFORMED;
        int r = options_check(version, filter, options);
        if (r != 0)
            return r;
    }
    return filters.failed ? PACKET_E_MALFORMED : 0;
}

static int packet_decode_filters(const struct packet_frame *frame,
                                 enum packet_version version,
                                 struct packet_subscribe *ret)
{
    struct reader body = packet_body_reader(frame);
    uint16_t packet_id = reader_u16(&body);
    bool has_id = false;

    if (version == MQTT_5) {
        struct packet_properties properties;
        int r = packet_read_properties(&body, frame->type, &properties);

        if (r != 0)
            return r;
        has_id = packet_has_property(&properties, PROPERTY_SUBSCRIPTION_ID);
    }
    if (body.failed)
        return PACKET_E_MALFORMED;
    int r = packet_id == 0 ? PACKET_E_PROTOCOL : filters_check(body, frame->type, version);
    if (r != 0)
        return r;
    ret->packet_id = packet_id;
    ret->has_subscription_id = has_id;
    ret->filters = body;
    return 0;
}

int packet_decode_subscribe(const struct packet_frame *frame,
                            enum packet_version version,
                            struct packet_subscribe *ret)
{
    assert(frame->type == PACKET_SUBSCRIBE);
    return packet_decode_filters(frame, version, ret);
}

int packet_decode_unsubscribe(const struct packet_frame *frame,
                              enum packet_version version,
                              struct packet_subscribe *ret)
{
    assert(frame->type == PACKET_UNSUBSCRIBE);
    return packet_decode_filters(frame, version, ret);
}

bool packet_ack_allows_code(enum packet_type type, uint8_t code)
{
    if (type == PACKET_PUBACK || type == PACKET_PUBREC)
        return memchr(received_codes, code, sizeof(received_codes)) != NULL;
    return memchr(release_codes, code, sizeof(release_codes)) != NULL;
}

static bool packet_code_is_allowed(enum packet_type type, uint8_t code)
{
    if (type == PACKET_DISCONNECT)
        return memchr(disconnect_codes, code, sizeof(disconnect_codes)) != NULL;
    return packet_ack_allows_code(type, code);
}

/*
 * Reason code and properties of version 5. A sender may leave out both when the code is 0, and
 * the property length when there are no properties.
 */
static int
packet_read_reason(struct reader *body, enum packet_type type, struct packet_reason *reason)
{
    if (reader_left(body) == 0)
        return 0;
    reason->code = reader_u8(body);
    if (reader_left(body) > 0) {
        struct packet_properties properties;
        int r = packet_read_properties(body, type, &properties);

        if (r != 0)
            return r;
        reason->has_session_expiry = packet_has_property(&properties, PROPERTY_SESSION_EXPIRY);
        reason->session_expiry_s =
            packet_property_number(&properties, PROPERTY_SESSION_EXPIRY, 0);
    }
    return packet_code_is_allowed(type, reason->code) ? 0 : PACKET_E_PROTOCOL;
}

/* All that follows in a DISCONNECT or behind the packet id of an acknowledgement. */
static int packet_read_rest(struct reader *body,
                            enum packet_type type,
                            enum packet_version version,
                            struct packet_reason *reason)
{
    if (version == MQTT_5) {
        int r = packet_read_reason(body, type, reason);

        if (r != 0)
            return r;
    }
    return packet_body_is_done(body) ? 0 : PACKET_E_MALFORMED;
}

int packet_decode_disconnect(const struct packet_frame *frame,
                             enum packet_version version,
                             struct packet_reason *ret)
{
    assert(frame->type == PACKET_DISCONNECT);
    struct reader body = packet_body_reader(frame);
    struct packet_reason reason = {0};
    int r = packet_read_rest(&body, frame->type, version, &reason);
    if (r != 0)
        return r;
    *ret = reason;
    return 0;
}

int packet_decode_ack(const struct packet_frame *frame,
                      enum packet_version version,
                      struct packet_reason *ret)
{
    assert(frame->type >= PACKET_PUBACK && frame->type <= PACKET_PUBCOMP);
    struct reader body = packet_body_reader(frame);
    struct packet_reason reason = {.packet_id = reader_u16(&body)};
    int r = packet_read_rest(&body, frame->type, version, &reason);
    if (r != 0)
        return r;
    if (reason.packet_id == 0)
        return PACKET_E_PROTOCOL; /* [MQTT-2.2.1-3] */
    *ret = reason;
    return 0;
}
