/* SPDX-License-Identifier: MIT */
/*
 * settings.c - from the configuration to each part's settings
 *
 * The parts do not know the configuration, and not each other; only the
 * gateway knows both sides. Everything is borrowed from the configuration.
 *
 * Invariant: pure functions of the configuration.
 */
#include "daemon/gateway/settings.h"

#include "daemon/gateway/limits.h"
#include "store/spool.h"

uint64_t gateway_records_max(const struct config *config)
{
    uint64_t records = config->audit.max_waiting;

    if (records < GATEWAY_FAILURES_KEPT)
        records = GATEWAY_FAILURES_KEPT;
    return records * GATEWAY_RECORD_BYTES;
}

struct spool_kept_limits gateway_kept_limits(const struct config *config)
{
    return (struct spool_kept_limits){
        .max_messages = config->rejected.max_messages,
        .max_bytes = config->rejected.max_bytes,
        .max_age_ms = config->rejected.max_age_ms,
    };
}

struct audit_settings gateway_audit_settings(const struct config *config)
{
    return (struct audit_settings){
        .file = config->audit.file,
        .has_deliveries = config->audit.has_deliveries,
        .seal_ms = (int64_t)config->audit.seal_ms,
        .publishes_seals = config->audit.seal_topic[0] != '\0',
        .own_lane = CONFIG_REPORT_LANE,
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
