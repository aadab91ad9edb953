/*
 * gateway_settings.c - from the configuration to each part's settings
 *
 * The parts do not know the configuration, and not each other; only the
 * gateway knows both sides. Everything is borrowed from the configuration.
 */
#include "gateway-private.h"

static struct spool_limits spool_limits(const struct config_limits *limits)
{
    static const enum spool_policy policies[] = {
        [CONFIG_EVICT_OLDEST] = SPOOL_EVICT_OLDEST,
        [CONFIG_REFUSE] = SPOOL_REFUSE,
        [CONFIG_BLOCK] = SPOOL_BLOCK,
    };

    return (struct spool_limits){
        .max_messages = limits->max_messages,
        .max_bytes = limits->max_bytes,
        .max_age_ms = limits->max_age_ms,
        .when_full = policies[limits->when_full],
    };
}

const struct config_limits *gateway_lane_limits(const struct config *config, unsigned lane)
{
    return lane == 0 ? &config->retention : &config->lanes[lane - 1].limits;
}

const char *gateway_lane_name(const struct config *config, unsigned lane)
{
    return lane == 0 ? "default" : config->lanes[lane - 1].name;
}

size_t gateway_spool_lanes(const struct config *config, struct spool_lane ret[SPOOL_LANES_MAX])
{
    for (unsigned lane = 0; lane <= config->lane_count; lane++)
        ret[lane] = (struct spool_lane){
            .name = gateway_lane_name(config, lane),
            .priority = lane == 0 ? 0 : config->lanes[lane - 1].priority,
            .limits = spool_limits(gateway_lane_limits(config, lane)),
        };
    return config->lane_count + 1;
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
