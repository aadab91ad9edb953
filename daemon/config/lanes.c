/* SPDX-License-Identifier: MIT */
/*
 * lanes.c - the list of lanes
 *
 * Each lane is a group of keys with a table of its own. The list is read last,
 * because a limit that a lane does not set is that of retention. The order of the
 * file is kept: the first lane whose topics match a message takes it. The lane
 * "default" is not in the list.
 *
 * Invariant: names of lanes are unique.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "daemon/config/config.h"
#include "daemon/config/loader.h"
#include "daemon/config/table.h"
#include "daemon/mqtt/rewrite.h"

void config_free_lanes(struct config *config)
{
    for (size_t i = 0; i < config->lane_count; i++) {
        struct config_lane *lane = &config->lanes[i];

        free(lane->name);
        free(lane->prefix);
        config_free_texts(lane->topics, lane->topic_count);
        config_free_texts(lane->map, lane->map_count);
    }
    free(config->lanes);
    config->lanes = NULL;
    config->lane_count = 0;
}

/* The first lane with the name of @lane, which may be @lane itself. */
static size_t config_find_lane(const struct config *config, const struct config_lane *lane)
{
    size_t at = 0;

    while (strcmp(config->lanes[at].name, lane->name) != 0)
        at++;
    return at;
}

static int config_check_lane(const struct config_loader *loader,
                             const config_setting_t *list,
                             const config_setting_t *group,
                             const struct config_lane *lane)
{
    const struct config *config = loader->config;
    size_t first;

    if (!lane->name)
        return config_fail(loader, group, "lanes.name",
                           "missing; each lane needs a name, such as name = \"alarms\"");
    if (!lane->topics)
        return config_fail(loader, group, "lanes.topics",
                           "missing; a lane needs filters that say which messages it takes, "
                           "such as topics = ( \"+/alarm/#\" )");
    first = config_find_lane(config, lane);
    if (&config->lanes[first] == lane)
        return 0;
    return config_fail(
        loader, config_setting_get_member(group, "name"), "lanes.name",
        "\"%s\" is the name of the lane in line %u already; each lane needs its own",
        lane->name, config_setting_source_line(config_setting_get_elem(list, (unsigned)first)));
}

static int config_expand_prefix(const struct config_loader *loader,
                                const config_setting_t *group,
                                struct config_lane *lane)
{
    char why[CONFIG_ERROR_MAX];
    int result = lane->prefix ? config_expand(&lane->prefix, config_check_prefix, why) : 0;

    if (result != -EINVAL)
        return result;
    return config_fail(loader, config_setting_get_member(group, "prefix"), "lanes.prefix", "%s",
                       why);
}

/* No topic leads to it. */
static int config_add_report_lane(const struct config_loader *loader)
{
    struct config *config = loader->config;
    struct config_lane *lane = &config->lanes[config->lane_count];
    const char *key =
        config->uplink.report_topic[0] != '\0' ? "uplink.report.topic" : "audit.seal_topic";
    int result = 0;

    if (config->lane_count == CONFIG_LANES_MAX)
        return config_fail(
            loader, loader->found[config_key_index(config_key_find(key))], key,
            "needs a lane besides those of lanes, which may have %d at most then",
            CONFIG_LANES_MAX - 1);
    for (size_t i = 0; i < config_lane_key_count && result == 0; i++)
        result = config_take_default(loader, lane, &config_lane_keys[i]);
    if (result != 0)
        return result;
    lane->name = strdup(CONFIG_REPORT_LANE);
    lane->limits = (struct config_limits){
        .max_messages = CONFIG_REPORT_MAX_MESSAGES,
        .max_bytes = CONFIG_REPORT_MAX_BYTES,
        .max_age_ms = config->retention.max_age_ms,
        .when_full = CONFIG_EVICT_OLDEST,
    };
    config->lane_count++;
    return lane->name ? 0 : -ENOMEM;
}

static int config_check_map(const struct config_loader *loader,
                            const config_setting_t *group,
                            const struct config_lane *lane)
{
    const config_setting_t *list = config_setting_get_member(group, "map");

    if (lane->map_count % 2 != 0)
        return config_fail(loader, list, "lanes.map",
                           "must be pairs of a filter and a topic, such as ( \"+/temp\", "
                           "\"t/{1}\" ); the last filter has no topic");
    for (size_t i = 0; i < lane->map_count; i += 2) {
        const char *wrong = config_check_filter(lane->map[i]);
        size_t at = i;

        if (!wrong) {
            wrong = rewrite_check(lane->map[i], lane->map[i + 1]);
            at = i + 1;
        }
        if (wrong)
            return config_fail(loader, config_setting_get_elem(list, (unsigned)at), "lanes.map",
                               "\"%.*s\" %s", text_prefix_size(lane->map[at], CONFIG_SHOWN_MAX),
                               lane->map[at], wrong);
    }
    return 0;
}

int config_take_lanes(const struct config_loader *loader)
{
    struct config *config = loader->config;
    const config_setting_t *list = loader->found[config_key_index(config_key_find("lanes"))];
    int count = list ? config_setting_length(list) : 0;
    bool has_reports =
        config->uplink.report_topic[0] != '\0' || config->audit.seal_topic[0] != '\0';
    int result = 0;

    if (count == 0 && !has_reports)
        return 0;
    config->lanes = calloc((size_t)count + has_reports, sizeof(*config->lanes));
    if (!config->lanes)
        return -ENOMEM;
    for (int i = 0; i < count && result == 0; i++) {
        const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);
        struct config_lane *lane = &config->lanes[i];

        if (!config_setting_is_group(group))
            return config_fail(loader, group, "lanes",
                               "each lane must be a group such as { name = \"alarms\"; topics "
                               "= ( \"+/alarm/#\" ); }");
        config->lane_count++;
        lane->limits = config->retention;
        result = config_take_keys(loader, group, lane, config_lane_keys, config_lane_key_count);
        if (result == 0)
            result = config_check_lane(loader, list, group, lane);
        if (result == 0)
            result = config_expand_prefix(loader, group, lane);
        if (result == 0)
            result = config_check_map(loader, group, lane);
    }
    return result == 0 && has_reports ? config_add_report_lane(loader) : result;
}
