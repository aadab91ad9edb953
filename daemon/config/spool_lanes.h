/* SPDX-License-Identifier: MIT */
/*
 * spool_lanes.h - converts the lanes of the configuration to those of the store
 *
 * For the daemon and the tool, because the configuration does not use the store
 * nor the store the configuration. Lane 0 is "default", whose limits are those of
 * retention, lane n the n-th of the configuration. All texts are borrowed from
 * the configuration.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_SPOOL_LANES_H
#define MQTT_SPOOLD_DAEMON_CONFIG_SPOOL_LANES_H

#include <stddef.h>

#include "daemon/config/config.h"
#include "store/spool.h"

/* Return: how many lanes, with "default". */
size_t config_spool_lanes(const struct config *config,
                          struct spool_lane ret[static SPOOL_LANES_MAX]);
const struct config_limits *config_lane_limits(const struct config *config, unsigned lane);
const char *config_lane_name(const struct config *config, unsigned lane);
/* The number of CONFIG_REPORT_LANE; 0: there is none. */
unsigned config_report_lane(const struct config *config);

#endif
