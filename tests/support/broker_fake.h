/* SPDX-License-Identifier: MIT */
/*
 * broker_fake.h - a broker on loopback that misbehaves as a test wants
 *
 * Lives on the test's own event loop: no thread, no process, no sleep. A test
 * sets the fields of the first group before something connects, and may change
 * them while it runs; the second group has what was received.
 */
#ifndef MQTT_SPOOLD_TESTS_BROKER_FAKE_H
#define MQTT_SPOOLD_TESTS_BROKER_FAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/bytes.h"
#include "daemon/mqtt/packet.h"

#define BROKER_CONNECTIONS_MAX 4
#define BROKER_TEXT_MAX        512
#define BROKER_WITHHELD_MAX    8

struct broker_connection {
    struct broker_fake *broker;
    int fd;
    sd_event_source *source;
    struct bytes input;
    enum packet_version version;
    unsigned publishes;
    unsigned unanswered;                    /* QoS 1 and 2 */
    uint16_t withheld[BROKER_WITHHELD_MAX]; /* packet ids of QoS 1, the first ones */
    unsigned withheld_count;
};

struct broker_fake {
    bool is_silent; /* accepts connections and sends nothing */
    bool closes_after_connack;
    bool closes_at_3_1_1; /* at such a CONNECT, without an answer */
    bool closes_at_5;
    bool is_silent_at_5;
    bool withholds_acks;
    uint8_t connack_code;
    uint8_t connack_code5; /* of version 5 only, instead */
    uint8_t ack_code;      /* v5 PUBACK or PUBREC */
    const char *ack_text;  /* its Reason String, up to 100 bytes; NULL: none */
    unsigned reset_after;  /* publishes on one connection; 0: never */
    /* v5 CONNACK properties; 0: not announced */
    uint16_t receive_maximum;
    uint32_t maximum_packet;
    uint16_t keepalive_s;
    bool announces_qos;
    uint8_t maximum_qos;
    bool refuses_retain;

    unsigned accepted;
    unsigned connect_packets; /* answered or not */
    unsigned connect_packets_5;
    unsigned connects;
    unsigned disconnects;
    unsigned publishes;
    unsigned unanswered_max;
    uint16_t client_keepalive_s;
    bool clean_start;
    bool has_secret; /* the last CONNECT held "secret" as its last bytes */
    /* of the last PUBLISH */
    uint8_t qos;
    uint16_t packet_id;
    bool retain;
    bool has_expiry;
    uint32_t expiry_s;
    char topic[BROKER_TEXT_MAX];
    char payload[BROKER_TEXT_MAX];
    uint8_t properties[BROKER_TEXT_MAX]; /* those that are kept */
    size_t properties_size;

    sd_event *event;
    int fd;
    uint16_t port;
    char uri[64];
    sd_event_source *source;
    struct broker_connection connections[BROKER_CONNECTIONS_MAX];
};

/* Listens on a free port of loopback; the script is all zero: an honest broker. */
void broker_start(struct broker_fake *broker, sd_event *event);
void broker_stop(struct broker_fake *broker);
/* v5: DISCONNECT with a reason to all, then close. */
void broker_dismiss(struct broker_fake *broker, uint8_t code);
/* The acknowledgements that were withheld. */
void broker_acknowledge(struct broker_fake *broker);
/* An answer to all, v5, whatever is due. */
void broker_answer(struct broker_fake *broker,
                   enum packet_type type,
                   uint16_t id,
                   uint8_t code);
/* The connections that are open read no more. */
void broker_stop_reading(struct broker_fake *broker);
/* RST to all. */
void broker_reset(struct broker_fake *broker);

#endif
