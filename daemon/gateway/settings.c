/* SPDX-License-Identifier: MIT */
/*
 * settings.c - from the configuration to each part's settings
 *
 * The parts do not know the configuration, and not each other; only the
 * gateway knows both sides. Everything is borrowed from the configuration.
 */
#include "daemon/gateway/settings.h"

#include "daemon/gateway/limits.h"

uint64_t gateway_records_max(const struct config *config)
{
    uint64_t records = config->audit.max_waiting;

    if (records < GATEWAY_FAILURES_KEPT)
        records = GATEWAY_FAILURES_KEPT;
    return records * GATEWAY_RECORD_BYTES;
}

struct audit_settings gateway_audit_settings(const struct config *config)
{
    return (struct audit_settings){
        .file = config->audit.file,
        .deliveries = config->audit.deliveries,
    };
}

struct listener_settings
gateway_listener_settings(const struct config *config, const int *passed, size_t passed_count)
{
    return (struct listener_settings){
        .path = config->listen.socket,
        .mode = config->listen.mode,
        .group = config->listen.group,
        .passed = passed,
        .passed_count = passed_count,
    };
}

struct uplink_settings gateway_uplink_settings(const struct config *config)
{
    return (struct uplink_settings){
        .brokers = (const char *const *)config->uplink.brokers,
        .broker_count = config->uplink.broker_count,
        .client_id = config->uplink.client_id,
        .protocol = config->uplink.protocol,
        .username = config->uplink.username,
        .password_file = config->uplink.password_file,
        .keepalive_ms = config->uplink.keepalive_ms,
        .connect_timeout_ms = config->uplink.connect_timeout_ms,
        .ack_timeout_ms = config->uplink.ack_timeout_ms,
        .backoff_min_ms = config->uplink.backoff_min_ms,
        .backoff_max_ms = config->uplink.backoff_max_ms,
        .window = config->uplink.window,
        .window_bytes = config->uplink.window_bytes,
        .max_qos = config->uplink.max_qos,
        .topic_prefix = config->uplink.topic_prefix,
        .ca_file = config->uplink.tls.ca_file,
        .cert_file = config->uplink.tls.cert_file,
        .key_file = config->uplink.tls.key_file,
        .key_password_file = config->uplink.tls.key_password_file,
        .verify = config->uplink.tls.verify,
    };
}
