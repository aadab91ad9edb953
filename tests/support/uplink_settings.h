/* SPDX-License-Identifier: MIT */
/*
 * uplink_settings.h - settings for an uplink under test
 *
 * Short pauses, one broker, nothing optional; a case changes what it is about.
 */
#ifndef MQTT_SPOOLD_TESTS_UPLINK_SETTINGS_H
#define MQTT_SPOOLD_TESTS_UPLINK_SETTINGS_H

#include "daemon/uplink/uplink.h"

/* @brokers: borrowed, the first of them counts. */
static inline struct uplink_settings uplink_test_settings(const char *const *brokers)
{
    return (struct uplink_settings){
        .brokers = brokers,
        .broker_count = 1,
        .client_id = "gateway",
        .protocol = 4,
        .username = "",
        .password_file = "",
        .keepalive_ms = 60000,
        .connect_timeout_ms = 10000,
        .ack_timeout_ms = 30000,
        .backoff_min_ms = 10,
        .backoff_max_ms = 100,
        .window = 10,
        .window_bytes = 1 << 20,
        .max_qos = 2,
        .topic_prefix = "",
        .ca_file = "",
        .cert_file = "",
        .key_file = "",
        .key_password_file = "",
        .verify = true,
    };
}

#endif
