/* SPDX-License-Identifier: MIT */
/*
 * broker.h - what the steps to one broker share
 *
 * Each returns whether the next one can be made; it has reported why not.
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_BROKER_H
#define MQTT_SPOOLD_CLI_DOCTOR_BROKER_H

#include <netdb.h>
#include <stdbool.h>

#include "cli/doctor/mqtt_probe.h"
#include "cli/doctor/net.h"
#include "cli/doctor/record.h"
#include "cli/doctor/stream.h"
#include "daemon/uplink/secret.h"

struct broker_walk {
    struct doctor_work *work;
    struct net_place place;
    struct addrinfo *addresses;    /* owned */
    const struct addrinfo *chosen; /* the one that accepts connections */
    struct stream stream;
    struct secret secret; /* of the key, then of the user */
    unsigned version;     /* 4 or 5 */
    struct mqtt_probe_connack connack;
};

/* Milliseconds for one wait: uplink.connect_timeout, within bounds. */
unsigned broker_timeout_ms(const struct broker_walk *walk);

bool broker_resolve(struct broker_walk *walk);
bool broker_connect_tcp(struct broker_walk *walk);
bool broker_make_tls(struct broker_walk *walk);
bool broker_connect_mqtt(struct broker_walk *walk);
void broker_report_announced(struct broker_walk *walk);
void broker_send_probe(struct broker_walk *walk);

#endif
