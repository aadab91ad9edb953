/* SPDX-License-Identifier: MIT */
/*
 * uplink_settings.h - settings for an uplink under test
 *
 * Short pauses, one broker, nothing optional; a case changes what it is about.
 */
#ifndef MQTT_SPOOLD_TESTS_UPLINK_SETTINGS_H
#define MQTT_SPOOLD_TESTS_UPLINK_SETTINGS_H

#include "daemon/uplink/settings.h"

/* The settings are the configuration's, which frees its texts; the uplink only reads them. */
static inline char *uplink_test_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* @brokers: borrowed, the first of them counts. */
static inline struct uplink_settings uplink_test_settings(char **brokers)
{
    char *none = uplink_test_text("");

    return (struct uplink_settings){
        .brokers = brokers,
        .broker_count = 1,
        .client_id = uplink_test_text("gateway"),
        .protocol = 4,
        .username = none,
        .password_file = none,
        .keepalive_ms = 60000,
        .connect_timeout_ms = 10000,
        .ack_timeout_ms = 30000,
        .backoff_min_ms = 10,
        .backoff_max_ms = 100,
        .failback_ms = 600000,
        .window = 10,
        .window_bytes = 1 << 20,
        .max_qos = 2,
        .topic_prefix = none,
        .presence = {.topic = none, .online = none, .offline = none},
        .report_topic = none,
        .tls = {.ca_file = none,
                .cert_file = none,
                .key_file = none,
                .key_password_file = none,
                .verify = true,
                .min_version = UPLINK_TLS_1_2,
                .alpn = none},
    };
}

#endif
