/* SPDX-License-Identifier: MIT */
/*
 * unused.c - entries of the lists that never have an effect, because others decide before them
 *
 * That is no error: the configuration means what it says, and a daemon that did not start for
 * this would be worse. But such an entry is hardly what is meant.
 *
 * Not looked for: a filter that repeats another one of its own lane or entry of access, which
 * changes nothing, and a lane to whose topics the access list lets no program publish, because
 * many gateways may share their lanes.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "daemon/config/config.h"
#include "daemon/config/loader.h"
#include "daemon/config/table.h"
#include "daemon/mqtt/packet.h"

#define ORDER_LANES                                                                            \
    "the first lane that has a matching filter takes a message: put this lane before, or "     \
    "remove what is not used; a lane, once it holds no message"
#define ORDER_PAIRS "the first filter that matches decides: put this pair before, or remove it"
#define OTHER_TOPIC                                                                            \
    "correct it; or remove the pair, once no message that was spooled before a HUP needs it: " \
    "a pair is for messages that its lane takes only"
#define ORDER_ACCESS                                                                           \
    "the first entry that fits a program decides: put this one before, or remove it"

static const config_setting_t *config_list_of(const struct config_loader *loader,
                                              const char *key)
{
    return loader->found[config_key_index(config_key_find(key))];
}

/* @at: the setting of the entry; @text: what is not used, and why. */
static int PRINTF_LIKE(5, 6) config_warn(const struct config_loader *loader,
                                         const config_setting_t *at,
                                         const char *key,
                                         const char *remedy,
                                         const char *format,
                                         ...)
{
    struct config *config = loader->config;
    struct config_warning *warning;
    va_list arguments;

    if (!config->warnings) {
        config->warnings = calloc(CONFIG_WARNINGS_MAX, sizeof(*config->warnings));
        if (!config->warnings)
            return -ENOMEM;
    }
    if (config->warning_count == CONFIG_WARNINGS_MAX) {
        config->warnings_left_out++;
        return 0;
    }
    warning = &config->warnings[config->warning_count++];
    warning->key = key;
    warning->remedy = remedy;
    config_put_place(loader, at, warning->place);
    va_start(arguments, format);
    text_vformat(warning->text, sizeof(warning->text), format, arguments);
    va_end(arguments);
    return 0;
}

/* ---- lanes ---- */

/* The filters of all lanes in their order, and where those of each lane begin. */
struct config_filters {
    char **all; /* owned; the texts are borrowed */
    size_t first[CONFIG_LANES_MAX + 2];
};

static int config_gather_filters(const struct config *config, struct config_filters *ret)
{
    size_t count = 0;

    for (size_t i = 0; i < config->lane_count; i++) {
        ret->first[i] = count;
        count += config->lanes[i].topic_count;
    }
    ret->first[config->lane_count] = count;
    ret->all = calloc(count + 1, sizeof(*ret->all));
    if (!ret->all)
        return -ENOMEM;
    for (size_t i = 0; i < config->lane_count; i++) {
        if (config->lanes[i].topic_count > 0)
            memcpy(ret->all + ret->first[i], config->lanes[i].topics,
                   config->lanes[i].topic_count * sizeof(*ret->all));
    }
    return 0;
}

/* How many lanes, from the first on, it takes to match all of @filter, a filter of lane @own;
 * 0: those before @own do not. */
static size_t
config_lanes_before(const struct config_filters *filters, const char *filter, size_t own)
{
    size_t needed = own;

    if (!packet_filter_is_covered(filter, filters->all, filters->first[own]))
        return 0;
    while (packet_filter_is_covered(filter, filters->all, filters->first[needed - 1]))
        needed--;
    return needed;
}

/* @needed: of config_lanes_before(), of each filter of the lane. */
static int config_warn_of_lane(const struct config_loader *loader,
                               size_t index,
                               const size_t needed[static CONFIG_LANE_TOPICS_MAX])
{
    const config_setting_t *group =
        config_setting_get_elem(config_list_of(loader, "lanes"), (unsigned)index);
    const config_setting_t *list = config_setting_get_member(group, "topics");
    const struct config_lane *lanes = loader->config->lanes;
    const struct config_lane *lane = &lanes[index];
    size_t used = 0, most = 0;
    int result = 0;

    for (size_t i = 0; i < lane->topic_count; i++) {
        used += needed[i] == 0;
        most = needed[i] > most ? needed[i] : most;
    }
    if (used == 0)
        return config_warn(loader, list, "lanes.topics", ORDER_LANES,
                           "lane %s never takes a message: the lanes before it, up to %s, "
                           "match all of its topics",
                           lane->name, lanes[most - 1].name);
    for (size_t i = 0; i < lane->topic_count && result == 0; i++) {
        if (needed[i] > 0)
            result = config_warn(
                loader, config_setting_get_elem(list, (unsigned)i), "lanes.topics", ORDER_LANES,
                "\"%.*s\" brings lane %s no message: the lanes before it, up to %s, match all "
                "of its topics",
                text_prefix_size(lane->topics[i], CONFIG_SHOWN_MAX), lane->topics[i],
                lane->name, lanes[needed[i] - 1].name);
    }
    return result;
}

static bool config_lane_meets(const struct config_lane *lane, const char *filter)
{
    size_t i = 0;

    while (i < lane->topic_count && !packet_filters_meet(lane->topics[i], filter))
        i++;
    return i < lane->topic_count;
}

/* What the lane took while it had other topics, before a HUP, is still in it. */
#define NO_NEW_MESSAGE "is used by no new message: "

/* Return: why no message that lane @index takes comes to the pair @at of its map; NULL: some
 * may. */
static const char *config_pair_fault(const struct config *config,
                                     const struct config_filters *filters,
                                     size_t index,
                                     size_t at,
                                     const char **ret_remedy)
{
    const struct config_lane *lane = &config->lanes[index];
    const char *filter = lane->map[at];
    char *before[CONFIG_LANE_MAP_MAX / 2];

    for (size_t i = 0; i < at; i += 2)
        before[i / 2] = lane->map[i];
    *ret_remedy = ORDER_PAIRS;
    if (packet_filter_is_covered(filter, before, at / 2))
        return "is never used: pairs before it match all of its topics";
    *ret_remedy = OTHER_TOPIC;
    if (!config_lane_meets(lane, filter))
        return NO_NEW_MESSAGE "no topic of the lane matches it";
    return packet_filter_is_covered(filter, filters->all, filters->first[index])
               ? NO_NEW_MESSAGE "lanes before this one take all of its topics"
               : NULL;
}

static int config_find_unused_pairs(const struct config_loader *loader,
                                    const struct config_filters *filters,
                                    size_t index)
{
    const config_setting_t *group =
        config_setting_get_elem(config_list_of(loader, "lanes"), (unsigned)index);
    const config_setting_t *list = config_setting_get_member(group, "map");
    const struct config_lane *lane = &loader->config->lanes[index];
    int result = 0;

    for (size_t i = 0; i < lane->map_count && result == 0; i += 2) {
        const char *remedy;
        const char *fault = config_pair_fault(loader->config, filters, index, i, &remedy);

        if (fault)
            result = config_warn(loader, config_setting_get_elem(list, (unsigned)i),
                                 "lanes.map", remedy, "\"%.*s\" of lane %s %s",
                                 text_prefix_size(lane->map[i], CONFIG_SHOWN_MAX), lane->map[i],
                                 lane->name, fault);
    }
    return result;
}

/* Also of what is in a lane, unless no message comes there at all. */
static int config_find_unused_of_lane(const struct config_loader *loader,
                                      const struct config_filters *filters,
                                      size_t index)
{
    const struct config_lane *lane = &loader->config->lanes[index];
    size_t needed[CONFIG_LANE_TOPICS_MAX] = {0};
    size_t used = 0;
    int result = 0;

    for (size_t i = 0; i < lane->topic_count; i++) {
        needed[i] = config_lanes_before(filters, lane->topics[i], index);
        used += needed[i] == 0;
    }
    if (used < lane->topic_count)
        result = config_warn_of_lane(loader, index, needed);
    if (used > 0 && result == 0)
        result = config_find_unused_pairs(loader, filters, index);
    return result;
}

static int config_find_unused_lanes(const struct config_loader *loader)
{
    struct config_filters filters;
    int result = config_gather_filters(loader->config, &filters);

    for (size_t i = 0; i < loader->config->lane_count && result == 0; i++)
        result = config_find_unused_of_lane(loader, &filters, i);
    free(filters.all);
    return result;
}

/* ---- access ---- */

/* Does @first fit all programs that @entry does? Who is in which group is not asked. */
static bool config_access_is_covered(const struct config_access *first,
                                     const struct config_access *entry)
{
    return first->whom == CONFIG_ACCESS_ANY ||
           (first->whom == entry->whom && first->id == entry->id);
}

static int config_find_unused_access(const struct config_loader *loader)
{
    const struct config *config = loader->config;
    const config_setting_t *list = config_list_of(loader, "access");
    int result = 0;

    for (size_t i = 1; i < config->access_count && result == 0; i++) {
        const struct config_access *entry = &config->access[i];
        const char *name = entry->user ? entry->user : entry->group;
        size_t first = 0;

        while (first < i && !config_access_is_covered(&config->access[first], entry))
            first++;
        if (first == i)
            continue;
        result = config_warn(
            loader, config_setting_get_elem(list, (unsigned)i),
            entry->user ? "access.user" : "access.group", ORDER_ACCESS,
            "the entry of \"%.*s\" is never used: the one in line %u fits all of its programs",
            text_prefix_size(name, CONFIG_SHOWN_MAX), name,
            config_setting_source_line(config_setting_get_elem(list, (unsigned)first)));
    }
    return result;
}

int config_find_unused(const struct config_loader *loader)
{
    struct config *config = loader->config;
    int result = config_find_unused_lanes(loader);

    if (result == 0)
        result = config_find_unused_access(loader);
    if (result == 0 && config->warnings_left_out > 0) {
        struct config_warning *last = &config->warnings[config->warning_count - 1];

        text_append(last->text, sizeof(last->text), "; and %zu more entries are never used",
                    config->warnings_left_out);
    }
    return result;
}
