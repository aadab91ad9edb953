/* SPDX-License-Identifier: MIT */
/*
 * spool_lanes.c - converts the lanes of the configuration to those of the store
 */
#include "daemon/config/spool_lanes.h"

#include <string.h>

_Static_assert(CONFIG_LANES_MAX + 1 == SPOOL_LANES_MAX, "the lanes of a file and \"default\"");

static struct spool_limits config_spool_limits(const struct config_limits *limits)
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

const struct config_limits *config_lane_limits(const struct config *config, unsigned lane)
{
    return lane == 0 ? &config->retention : &config->lanes[lane - 1].limits;
}

const char *config_lane_name(const struct config *config, unsigned lane)
{
    return lane == 0 ? "default" : config->lanes[lane - 1].name;
}

unsigned config_report_lane(const struct config *config)
{
    unsigned last = (unsigned)config->lane_count;

    return strcmp(config_lane_name(config, last), CONFIG_REPORT_LANE) == 0 ? last : 0;
}

size_t config_spool_lanes(const struct config *config,
                          struct spool_lane ret[static SPOOL_LANES_MAX])
{
    for (unsigned lane = 0; lane <= config->lane_count; lane++)
        ret[lane] = (struct spool_lane){
            .name = config_lane_name(config, lane),
            .priority = lane == 0 ? 0 : config->lanes[lane - 1].priority,
            .drain = lane > 0 && config->lanes[lane - 1].drain == CONFIG_LIVE_FIRST
                         ? SPOOL_LIVE_FIRST
                         : SPOOL_FIFO,
            .limits = config_spool_limits(config_lane_limits(config, lane)),
        };
    return config->lane_count + 1;
}
