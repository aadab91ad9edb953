/* SPDX-License-Identifier: MIT */
/*
 * settings.h - from the configuration to each part's settings
 *
 * Everything is borrowed from the configuration.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_SETTINGS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_SETTINGS_H

#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/ingress/listener.h"
#include "store/spool.h"

/* How many bytes all outcome rows together may take. */
uint64_t gateway_records_max(const struct config *config);
struct spool_kept_limits gateway_kept_limits(const struct config *config);
struct audit_settings gateway_audit_settings(const struct config *config);
struct listener_settings
gateway_listener_settings(const struct config *config, const int *passed, size_t passed_count);

#endif
