/* SPDX-License-Identifier: MIT */
/*
 * spool_lanes.h - the lanes of the configuration as the store knows them
 *
 * For the daemon and the tool: the configuration knows no store and the store
 * no configuration. Lane 0 is "default", whose limits are those of retention,
 * lane n the n-th of the configuration. Everything is borrowed from it.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONFIG_SPOOL_LANES_H
#define MQTT_SPOOLD_DAEMON_CONFIG_SPOOL_LANES_H

#include <stddef.h>

#include "daemon/config/config.h"
#include "store/spool.h"

/* Return: how many there are. */
size_t config_spool_lanes(const struct config *config,
                          struct spool_lane ret[static SPOOL_LANES_MAX]);
const struct config_limits *config_lane_limits(const struct config *config, unsigned lane);
const char *config_lane_name(const struct config *config, unsigned lane);

#endif
