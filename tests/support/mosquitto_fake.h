/* SPDX-License-Identifier: MIT */
/*
 * mosquitto_fake.h - a daemon as libmosquitto shows it, which answers what a case says
 *
 * Defines the functions of the library that do I/O; those for properties, texts
 * and topics stay the library's. One client at a time. Its socket is readable
 * while an answer waits, as the real one is, so that no poll waits without need.
 */
#ifndef MQTT_SPOOLD_TESTS_MOSQUITTO_FAKE_H
#define MQTT_SPOOLD_TESTS_MOSQUITTO_FAKE_H

#include <mosquitto.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOSQUITTO_FAKE_NO_ANSWER (-1)
#define MOSQUITTO_FAKE_SENT_MAX  512

struct mosquitto_fake {
    /* what the case says; all zero: everything is accepted */
    bool client_fails;
    int connect_result;
    int connect_errno;
    int connack;                            /* -1: none */
    uint32_t max_packet;                    /* of CONNACK; 0: none */
    int (*answer)(unsigned number);         /* reason for the message of that number, from 1 */
    int (*publish_result)(unsigned number); /* what the library says of it */
    const char *id_name;                    /* of the user property with the id; NULL: none */
    const char *id_value;                   /* its value; NULL: 100 and the number */
    unsigned lost_after;                    /* messages; then the connection ends; 0: never */
    int lost_reason;                        /* of DISCONNECT; 0: the library returns an error */
    bool is_silent; /* after CONNACK nothing comes; time passes quickly */
    bool is_late;   /* answers come once the client has sent nothing for a while */
    int suback;     /* to a SUBSCRIBE */
    /* Answers to a request of an operator, up to NULL; each comes before the PUBACK, with the
     * Correlation Data of the request. */
    const char *const *(*control)(const char *request);
    /* what was seen */
    char client_id[64];
    char socket[128];
    int version;
    int send_maximum;
    unsigned sent;
    unsigned in_flight;
    unsigned in_flight_peak;
    size_t in_flight_bytes;
    size_t in_flight_bytes_peak;
    char topic[128];
    char *payloads[MOSQUITTO_FAKE_SENT_MAX]; /* terminated; of the newest at most */
    size_t sizes[MOSQUITTO_FAKE_SENT_MAX];
    int qos;
    bool retain;
    mosquitto_property *properties; /* of the newest */
    char subscribed[128];
    bool is_disconnected; /* the client called mosquitto_disconnect() */
    bool is_destroyed;
};

extern struct mosquitto_fake mosquitto_fake;

/* Forgets all of it. */
void mosquitto_fake_reset(void);

#endif
