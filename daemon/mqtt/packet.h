/* SPDX-License-Identifier: MIT */
/*
 * packet.h - MQTT 3.1.1 and 5 packets, server side of an ingress for producers
 *
 * Pure functions over bounded memory: no I/O, no allocation, no state, no
 * logging. Decoded fields are views into the caller's buffer and valid as long
 * as that. Rules cite the OASIS standards: [MQTT-x.y.z-n] is a number of version
 * 5, "3.1.1 [..]" one of the older standard.
 *
 * Invariant: every decoder checks all of the packet before it returns 0: lengths,
 * reserved bits, UTF-8 (including U+0000, surrogates and overlong forms), property
 * ids, their repetition and their values, trailing bytes. The strings of a PUBLISH,
 * which are forwarded to a broker, must not hold control characters or
 * non-characters either. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_MQTT_PACKET_H
#define MQTT_SPOOLD_DAEMON_MQTT_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/cursor.h"
#include "base/view.h"

enum packet_version { MQTT_3_1_1 = 4, MQTT_5 = 5 };

#define MQTT_TEXT_MAX   65535u     /* bytes of a text, or of binary data */
#define MQTT_VARINT_MAX 268435455u /* of a variable byte integer, and so of a packet's rest */

enum packet_type {
    PACKET_CONNECT = 1,
    PACKET_CONNACK,
    PACKET_PUBLISH,
    PACKET_PUBACK,
    PACKET_PUBREC,
    PACKET_PUBREL,
    PACKET_PUBCOMP,
    PACKET_SUBSCRIBE,
    PACKET_SUBACK,
    PACKET_UNSUBSCRIBE,
    PACKET_UNSUBACK,
    PACKET_PINGREQ,
    PACKET_PINGRESP,
    PACKET_DISCONNECT,
    PACKET_AUTH
};

/* Reason codes of MQTT 5 that the gateway sends or reads (section 2.4). */
enum {
    MQTT_SUCCESS = 0x00,
    MQTT_NO_MATCHING_SUBSCRIBERS = 0x10,
    MQTT_NO_SUBSCRIPTION_EXISTED = 0x11,
    MQTT_FIRST_FAILURE = 0x80, /* codes from here on are failures */
    MQTT_UNSPECIFIED_ERROR = 0x80,
    MQTT_MALFORMED_PACKET = 0x81,
    MQTT_PROTOCOL_ERROR = 0x82,
    MQTT_IMPLEMENTATION_SPECIFIC = 0x83,
    MQTT_UNSUPPORTED_VERSION = 0x84,
    MQTT_CLIENT_ID_NOT_VALID = 0x85,
    MQTT_NOT_AUTHORIZED = 0x87,
    MQTT_SERVER_UNAVAILABLE = 0x88,
    MQTT_SERVER_BUSY = 0x89,
    MQTT_SERVER_SHUTTING_DOWN = 0x8B,
    MQTT_BAD_AUTHENTICATION_METHOD = 0x8C,
    MQTT_KEEP_ALIVE_TIMEOUT = 0x8D,
    MQTT_SESSION_TAKEN_OVER = 0x8E,
    MQTT_TOPIC_NAME_INVALID = 0x90,
    MQTT_PACKET_ID_NOT_FOUND = 0x92,
    MQTT_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
    MQTT_TOPIC_ALIAS_INVALID = 0x94,
    MQTT_PACKET_TOO_LARGE = 0x95,
    MQTT_QUOTA_EXCEEDED = 0x97,
    MQTT_ADMINISTRATIVE_ACTION = 0x98,
    MQTT_PAYLOAD_FORMAT_INVALID = 0x99,
    MQTT_RETAIN_NOT_SUPPORTED = 0x9A,
    MQTT_QOS_NOT_SUPPORTED = 0x9B,
    MQTT_USE_ANOTHER_SERVER = 0x9C,
    MQTT_SERVER_MOVED = 0x9D,
    MQTT_SHARED_NOT_SUPPORTED = 0x9E,
    MQTT_MAXIMUM_CONNECT_TIME = 0xA0,
    MQTT_SUBSCRIPTION_ID_NOT_SUPPORTED = 0xA1
};

/* A short text for a reason code ("quota exceeded"); "unknown" for others. */
const char *packet_reason_text(int code);

/* Properties of MQTT 5 (section 2.2.2.2). */
enum packet_property_id {
    PROPERTY_PAYLOAD_FORMAT = 0x01,
    PROPERTY_MESSAGE_EXPIRY = 0x02,
    PROPERTY_CONTENT_TYPE = 0x03,
    PROPERTY_RESPONSE_TOPIC = 0x08,
    PROPERTY_CORRELATION_DATA = 0x09,
    PROPERTY_SUBSCRIPTION_ID = 0x0B,
    PROPERTY_SESSION_EXPIRY = 0x11,
    PROPERTY_ASSIGNED_CLIENT_ID = 0x12,
    PROPERTY_SERVER_KEEP_ALIVE = 0x13,
    PROPERTY_AUTH_METHOD = 0x15,
    PROPERTY_AUTH_DATA = 0x16,
    PROPERTY_REQUEST_PROBLEM_INFO = 0x17,
    PROPERTY_WILL_DELAY = 0x18,
    PROPERTY_REQUEST_RESPONSE_INFO = 0x19,
    PROPERTY_RESPONSE_INFO = 0x1A,
    PROPERTY_SERVER_REFERENCE = 0x1C,
    PROPERTY_REASON_STRING = 0x1F,
    PROPERTY_RECEIVE_MAXIMUM = 0x21,
    PROPERTY_TOPIC_ALIAS_MAXIMUM = 0x22,
    PROPERTY_TOPIC_ALIAS = 0x23,
    PROPERTY_MAXIMUM_QOS = 0x24,
    PROPERTY_RETAIN_AVAILABLE = 0x25,
    PROPERTY_USER = 0x26,
    PROPERTY_MAXIMUM_PACKET_SIZE = 0x27,
    PROPERTY_WILDCARD_AVAILABLE = 0x28,
    PROPERTY_SUBSCRIPTION_ID_AVAILABLE = 0x29,
    PROPERTY_SHARED_AVAILABLE = 0x2A
};

/* One decoded property. number: of byte, two byte, four byte and variable byte integers. */
struct packet_property {
    enum packet_property_id id;
    uint32_t number;
    struct view name; /* of a user property */
    struct view value;
};

/*
 * packet_property_next() - read the next of the encoded properties
 * @reader: over the bytes between the property length and its end
 *
 * Return: true and a property; false at the end, or if reader->failed (unknown id,
 * cut value, bad UTF-8).
 */
bool packet_property_next(struct reader *reader, struct packet_property *ret);

/* Conditions that the direct caller handles. */
enum {
    PACKET_E_MORE = 1,  /* not yet a whole packet */
    PACKET_E_TOO_LARGE, /* longer than the limit; nothing was read beyond the header */
    PACKET_E_MALFORMED, /* 0x81 */
    PACKET_E_PROTOCOL,  /* 0x82 */
    PACKET_E_VERSION,   /* protocol name or level unknown: 0x84 */
    PACKET_E_TOPIC,     /* topic name invalid, or not forwardable: 0x90 */
    PACKET_E_FORMAT     /* payload is not UTF-8 despite its format indicator: 0x99 */
};
/* The MQTT 5 reason code for such a condition. */
uint8_t packet_condition_code(int condition);

struct packet_frame {
    enum packet_type type;
    uint8_t flags;    /* low four bits of the first byte, checked against the type */
    struct view body; /* after the fixed header */
    size_t size;      /* of the whole packet */
};

/*
 * packet_next() - find the first packet of a buffer
 * @max_packet: in bytes; larger packets are refused before they are read
 *
 * Return: 0; PACKET_E_MORE; PACKET_E_TOO_LARGE, with ret->size only; PACKET_E_MALFORMED
 * (reserved type or flags, bad length).
 */
MUST_CHECK int
packet_next(const void *data, size_t size, size_t max_packet, struct packet_frame *ret);

struct packet_publish {
    uint8_t qos;
    bool dup; /* implies no earlier one [MQTT-3.3.1-3]: each PUBLISH is a separate message */
    bool retain;
    uint16_t packet_id; /* 0 for QoS 0 */
    struct view topic;
    struct view payload;
    /* v5 only, empty or absent in 3.1.1: */
    struct view properties; /* all property bytes as received, without their length */
    bool has_expiry;
    uint32_t expiry_s;
    struct view ref; /* value of the first user property "spool-ref" */
    bool has_topic_alias;
    bool is_text;         /* its payload is declared as UTF-8 */
    uint16_t topic_alias; /* 0 is left to the caller, too [MQTT-3.3.2-8] */
};

struct packet_connect {
    enum packet_version version;
    bool clean_start;
    uint16_t keep_alive_s; /* 0: none */
    struct view client_id; /* may be empty */
    bool has_will;
    struct packet_publish will; /* if there is one; no dup, packet id or alias */
    uint32_t will_delay_s;
    bool has_auth; /* v5 authentication method present */
    uint32_t session_expiry_s;
    uint16_t receive_maximum;     /* of the client; 65,535 if absent */
    uint32_t maximum_packet_size; /* of the client; UINT32_MAX if absent */
    bool is_problem_info_off; /* v5: no user property on an acknowledgement [MQTT-3.1.2-29] */
};

/* Return: 0; PACKET_E_MALFORMED, _PROTOCOL, _VERSION; PACKET_E_TOPIC, _FORMAT, of the will:
 * *ret is set too. ret->version is also set on failure if
 * the packet is long enough: to the requested level if the name is "MQTT", else to
 * MQTT_3_1_1. */
MUST_CHECK int packet_decode_connect(const struct packet_frame *frame,
                                     struct packet_connect *ret);

/*
 * packet_peek_version() - the version of a CONNECT that is not decoded
 * @data: the first bytes of a packet
 *
 * Return: is it a CONNECT of a known version, and long enough to have one?
 */
bool packet_peek_version(const void *data, size_t size, enum packet_version *ret);

/*
 * packet_decode_publish() - decode a client's PUBLISH and check all of [MQTT-3.3]
 *
 * Return: 0; PACKET_E_MALFORMED, _PROTOCOL; PACKET_E_TOPIC and PACKET_E_FORMAT, for
 * which *ret is set too, so that the PUBLISH can be answered by its id.
 */
MUST_CHECK int packet_decode_publish(const struct packet_frame *frame,
                                     enum packet_version version,
                                     struct packet_publish *ret);

/*
 * packet_keep_properties() - copy the properties that are stored with a message or a will
 * @memory: of publish->properties.size bytes
 *
 * Copies payload format, content type, response topic, correlation data and user
 * properties in their order. Leaves out message expiry, which is stored as a time,
 * topic alias, which is of the connection, and will delay, which is of the session.
 *
 * Return: the number of bytes written.
 */
size_t packet_keep_properties(const struct packet_publish *publish, void *memory);

/* SUBSCRIBE and UNSUBSCRIBE: the id, and a reader over the filters for packet_filter_next(). */
struct packet_subscribe {
    uint16_t packet_id;
    bool has_subscription_id; /* v5 */
    struct reader filters;
};
MUST_CHECK int packet_decode_subscribe(const struct packet_frame *frame,
                                       enum packet_version version,
                                       struct packet_subscribe *ret);
MUST_CHECK int packet_decode_unsubscribe(const struct packet_frame *frame,
                                         enum packet_version version,
                                         struct packet_subscribe *ret);
/* Of the options of a filter in SUBSCRIBE (3.8.3.1); 3.1.1 has the QoS only. */
#define PACKET_OPTION_QOS                   0x03u
#define PACKET_OPTION_RETAIN_HANDLING       0x30u
#define PACKET_OPTION_RETAIN_HANDLING_SHIFT 4
/* @ret_options: NULL for UNSUBSCRIBE. Return: true and a filter, or false at the end; the
 * decoder has checked them all. */
bool packet_filter_next(struct reader *filters, struct view *ret_filter, uint8_t *ret_options);

/* DISCONNECT, and PUBACK, PUBREC, PUBREL, PUBCOMP of a client. */
struct packet_reason {
    uint16_t packet_id; /* 0 in DISCONNECT */
    uint8_t code;
    bool has_session_expiry; /* DISCONNECT only */
    uint32_t session_expiry_s;
};
MUST_CHECK int packet_decode_disconnect(const struct packet_frame *frame,
                                        enum packet_version version,
                                        struct packet_reason *ret);
MUST_CHECK int packet_decode_ack(const struct packet_frame *frame,
                                 enum packet_version version,
                                 struct packet_reason *ret);

/* Encoders. Each writes one whole packet; writer->failed: the memory was too small. */
struct packet_connack {
    bool session_present;
    uint8_t code; /* v5 reason code; converted to a return code for 3.1.1 */
    /* v5 properties, written only with MQTT_SUCCESS: */
    uint8_t maximum_qos;            /* 0 or 1 is announced, 2 is not */
    uint16_t receive_maximum;       /* 0: not announced */
    uint16_t topic_alias_maximum;   /* 0: not announced */
    uint32_t maximum_packet_size;   /* 0: not announced */
    struct view assigned_client_id; /* empty: not announced */
    bool has_session_expiry;
    uint32_t session_expiry_s;
    /* always announced in v5: no subscription identifiers or shared subscriptions */
};
void packet_encode_connack(struct writer *writer,
                           enum packet_version version,
                           const struct packet_connack *connack);

/* Is @code in the table of reason codes (3-4 to 3-7) of this acknowledgement? */
bool packet_ack_allows_code(enum packet_type type, uint8_t code);
/* PUBACK, PUBREC, PUBREL or PUBCOMP. @code: packet_ack_allows_code(), asserted. @spool_id: sent
 * in v5 as user property "spool-id"; 0: none. */
void packet_encode_ack(struct writer *writer,
                       enum packet_version version,
                       enum packet_type type,
                       uint16_t packet_id,
                       uint8_t code,
                       uint64_t spool_id);
/* PUBACK or PUBREC of v5 for a message that can never be accepted: with the user property
 * "spool-refused", whose value is "too_large". */
#define PACKET_REFUSED_NAME      "spool-refused"
#define PACKET_REFUSED_TOO_LARGE "too_large"
void packet_encode_too_large(struct writer *writer,
                             enum packet_type type,
                             uint16_t packet_id,
                             uint8_t code);
/* SUBACK or UNSUBACK with a code for each filter (3.1.1: 0x80 for any failure; its UNSUBACK has
 * none). */
void packet_encode_suback(struct writer *writer,
                          enum packet_version version,
                          enum packet_type type,
                          uint16_t packet_id,
                          const uint8_t *codes,
                          size_t count);

/* A PUBLISH to a client. */
struct packet_delivery {
    uint8_t qos;        /* 0 or 1 */
    bool is_repeated;   /* DUP, with QoS 1 only */
    uint16_t packet_id; /* with QoS 1 */
    struct view topic;  /* packet_topic_is_valid() */
    struct view payload;
    bool has_correlation; /* written in v5 only */
    struct view correlation;
};
/* Bytes of the whole packet; 0: longer than MQTT can express. */
size_t packet_delivery_size(enum packet_version version,
                            const struct packet_delivery *delivery);
void packet_encode_delivery(struct writer *writer,
                            enum packet_version version,
                            const struct packet_delivery *delivery);
void packet_encode_pingresp(struct writer *writer);
/* v5 only. @reason: a text for the log of the producer, or NULL; cut at 240 bytes. */
void packet_encode_disconnect(struct writer *writer, uint8_t code, const char *reason);

/* Sizes of the largest packets that the encoders write; @id_size: of the assigned client id. */
#define PACKET_ACK_MAX              64
#define PACKET_CONNACK_MAX(id_size) (64 + (id_size))
#define PACKET_DISCONNECT_MAX       256

/* Is it UTF-8 without U+0000 [MQTT-1.5.4-2]? */
bool packet_utf8_is_valid(struct view text);
/* Is it UTF-8 without the control characters and non-characters of 1.5.4, U+0000 among them?
 * Brokers may close the connection for any of these. */
bool packet_text_is_forwardable(struct view text);
/* Is it a topic name: 1 to 65,535 bytes of UTF-8 without wildcards [MQTT-4.7.3], control
 * characters and non-characters (1.5.4)? */
bool packet_topic_is_valid(struct view topic);
/* Is the topic, or all that begins with this prefix, below $SYS, where only a broker publishes?
 */
bool packet_topic_is_of_broker(const char *topic);
/* Does @topic match @filter (+ and #, and no wildcard at the front matches a leading $)
 * [MQTT-4.7]? Both must be valid. */
bool packet_topic_matches(const char *filter, struct view topic);
/* Is @filter one of a shared subscription (4.8.2)? */
bool packet_filter_is_shared(struct view filter);
/* Is @filter a valid topic filter [MQTT-4.7.1]? */
bool packet_filter_is_valid(struct view filter);
/* Is each topic that @filter matches also matched by one of @covers? All are valid filters; a
 * topic may be of any length here. */
bool packet_filter_is_covered(const char *filter, char *const *covers, size_t cover_count);
/* Is there a topic that both match? Both are valid filters. */
bool packet_filters_meet(const char *a, const char *b);

#endif
