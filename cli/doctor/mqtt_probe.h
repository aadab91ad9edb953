/* SPDX-License-Identifier: MIT */
/*
 * mqtt_probe.h - the few packets with which a broker is asked what it is
 *
 * The tool's other client is libmosquitto, which makes its own connections; here the
 * connection is looked at on the way. Answers of at most MQTT_PROBE_PACKET_MAX bytes are read.
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_MQTT_PROBE_H
#define MQTT_SPOOLD_CLI_DOCTOR_MQTT_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"
#include "cli/doctor/stream.h"

enum { MQTT_PROBE_PACKET_MAX = 65536, MQTT_PROBE_TEXT_MAX = 256 };

struct mqtt_probe_connect {
    unsigned version; /* 4 or 5 */
    const char *client_id;
    const char *username; /* "": none */
    struct view password; /* no data: none */
};

/* In which a broker explains itself; "": it does not. A longer text is cut. */
struct mqtt_probe_words {
    char reason[MQTT_PROBE_TEXT_MAX];    /* Reason String */
    char reference[MQTT_PROBE_TEXT_MAX]; /* Server Reference: where to go instead */
};

/* What a CONNACK announces; where it says nothing, what the standard says then. */
struct mqtt_probe_connack {
    uint8_t code; /* of 5: a reason code; of 4: a return code */
    bool has_session;
    uint16_t receive_maximum;
    uint32_t maximum_packet; /* 0: no limit */
    uint8_t maximum_qos;
    bool has_retain;
    uint16_t alias_maximum;
    bool has_keepalive;
    uint16_t keepalive_s;
    char client_id[MQTT_PROBE_TEXT_MAX]; /* assigned; "": none */
    struct mqtt_probe_words words;
};

/* The answer to a PUBLISH. */
struct mqtt_probe_puback {
    bool is_disconnect; /* of 5: the broker answered with a DISCONNECT */
    uint8_t code;       /* of 5; else 0 */
    struct mqtt_probe_words words;
};

/* Each returns 0; -EBADMSG: the answer is not the packet that is expected; as stream_read(). */
MUST_CHECK int mqtt_probe_connect(struct stream *stream,
                                  const struct mqtt_probe_connect *connect,
                                  int64_t give_up_ms,
                                  struct mqtt_probe_connack *ret);
/* One message of QoS 1. @topic: valid. */
MUST_CHECK int mqtt_probe_publish(struct stream *stream,
                                  unsigned version,
                                  const char *topic,
                                  const char *payload,
                                  int64_t give_up_ms,
                                  struct mqtt_probe_puback *ret);
/* The broker then knows that this was no loss. */
void mqtt_probe_disconnect(struct stream *stream, int64_t give_up_ms);

#endif
