/* SPDX-License-Identifier: MIT */
/*
 * config.c - from a libconfig file to struct config
 *
 * A file is read in four steps: scanned for what libconfig gets wrong in
 * silence (scan.c), parsed by it, walked setting by setting against the table
 * (table.c, loader.c), and checked as a whole (check.c), the list of lanes last
 * (lanes.c). The walk goes over what the file holds, not over the table, so a
 * key that nobody knows cannot be passed over.
 *
 * The defaults go first and by the same way: each is parsed as a line of a
 * file. What the file says then takes their place.
 *
 * The first error ends the reading.
 */
#include "daemon/config/config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "daemon/config/loader.h"

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config_key_count; i++) {
        if (config_keys[i].kind == CONFIG_KIND_STRING)
            free(*(char **)config_member(config, &config_keys[i]));
    }
    config_free_texts(config->uplink.brokers, config->uplink.broker_count);
    config_free_lanes(config);
    free(config);
}

static bool same_brokers(const struct config *a, const struct config *b)
{
    if (a->uplink.broker_count != b->uplink.broker_count)
        return false;
    for (size_t i = 0; i < a->uplink.broker_count; i++) {
        if (strcmp(a->uplink.brokers[i], b->uplink.brokers[i]) != 0)
            return false;
    }
    return true;
}

static bool
same_value(const struct config_key *key, const struct config *a, const struct config *b)
{
    const void *left = (const char *)a + key->offset;
    const void *right = (const char *)b + key->offset;

    switch (key->kind) {
    case CONFIG_KIND_SIZE:
    case CONFIG_KIND_TIME:
    case CONFIG_KIND_COUNT:
        return *(const uint64_t *)left == *(const uint64_t *)right;
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_INT:
        return *(const unsigned *)left == *(const unsigned *)right;
    case CONFIG_KIND_MODE:
        return *(const mode_t *)left == *(const mode_t *)right;
    case CONFIG_KIND_BOOL:
        return *(const bool *)left == *(const bool *)right;
    case CONFIG_KIND_CHOICE:
        return *(const int *)left == *(const int *)right;
    case CONFIG_KIND_STRING:
        return strcmp(*(char *const *)left, *(char *const *)right) == 0;
    case CONFIG_KIND_STRINGS:
        return same_brokers(a, b);
    case CONFIG_KIND_GROUPS:
        break;
    }
    return true;
}

size_t config_needs_restart(const struct config *running,
                            const struct config *fresh,
                            char ret_keys[static CONFIG_RESTARTS_MAX])
{
    size_t count = 0, used = 0;

    ret_keys[0] = '\0';
    for (size_t i = 0; i < config_key_count && used < CONFIG_RESTARTS_MAX; i++) {
        if ((config_keys[i].flags & (CONFIG_RELOADS | CONFIG_NOT_YET)) != 0 ||
            same_value(&config_keys[i], running, fresh))
            continue;
        used += (size_t)snprintf(ret_keys + used, CONFIG_RESTARTS_MAX - used, "%s%s",
                                 count > 0 ? "," : "", config_keys[i].path);
        count++;
    }
    return count;
}

/* 0: it has no member of its own. */
static size_t member_size(const struct config_key *key)
{
    static const size_t sizes[] = {
        [CONFIG_KIND_SIZE] = sizeof(uint64_t),
        [CONFIG_KIND_TIME] = sizeof(uint64_t),
        [CONFIG_KIND_COUNT] = sizeof(uint64_t),
        [CONFIG_KIND_UINT] = sizeof(unsigned),
        [CONFIG_KIND_INT] = sizeof(int),
        [CONFIG_KIND_MODE] = sizeof(mode_t),
        [CONFIG_KIND_BOOL] = sizeof(bool),
        [CONFIG_KIND_CHOICE] = sizeof(int),
        [CONFIG_KIND_STRING] = sizeof(char *),
        [CONFIG_KIND_STRINGS] = sizeof(char **),
        [CONFIG_KIND_GROUPS] = 0,
    };

    return (key->flags & CONFIG_NOT_YET) != 0 ? 0 : sizes[key->kind];
}

static void swap(void *a, void *b, size_t size)
{
    char kept[sizeof(uint64_t)];

    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}

void config_take_reloadable(struct config *running, struct config *fresh)
{
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];

        if ((key->flags & CONFIG_RELOADS) == 0)
            continue;
        swap(config_member(running, key), config_member(fresh, key), member_size(key));
        if (key->kind == CONFIG_KIND_STRINGS)
            swap((char *)running + key->count_offset, (char *)fresh + key->count_offset,
                 sizeof(size_t));
    }
}

/* Recursion ends with the table: a group that it does not have is refused. */
static int walk(struct config_loader *loader, const config_setting_t *group, const char *prefix)
{
    int count = config_setting_length(group);

    for (int i = 0; i < count; i++) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
        const struct config_key *key;
        char path[2 * CONFIG_PATH_MAX];
        int result;

        (void)snprintf(path, sizeof(path), "%s%s", prefix, config_setting_name(setting));
        key = config_key_find(path);
        if (key) {
            loader->found[config_key_index(key)] = setting;
            result = config_take(loader, loader->config, key, setting);
        } else if (!config_key_is_group(path)) {
            result = config_refuse_unknown(loader, setting, path);
        } else if (!config_setting_is_group(setting)) {
            result = config_fail(loader, setting, path, "must be a group: %s: { ... };", path);
        } else {
            (void)strncat(path, ".", sizeof(path) - strlen(path) - 1);
            result = walk(loader, setting, path);
        }
        if (result != 0)
            return result;
    }
    return 0;
}

/* Where to point for @path: its setting, else the group it belongs to, else nothing. */
static const config_setting_t *
place_of(const struct config_loader *loader, const config_t *parsed, const char *path)
{
    const config_setting_t *setting = loader->found[config_key_index(config_key_find(path))];
    char group[CONFIG_PATH_MAX];
    char *dot;

    (void)snprintf(group, sizeof(group), "%s", path);
    dot = strrchr(group, '.');
    if (setting || !dot)
        return setting;
    *dot = '\0';
    return config_lookup(parsed, group);
}

static int check_whole(const struct config_loader *loader, const config_t *parsed)
{
    char why[CONFIG_ERROR_MAX];
    const char *key;

    for (size_t i = 0; i < config_key_count; i++) {
        key = config_keys[i].path;
        if ((config_keys[i].flags & CONFIG_REQUIRED) != 0 && !loader->found[i])
            return config_fail(
                loader, place_of(loader, parsed, key), key,
                "missing, and it has no default; mqtt-spoold.conf(5) has examples");
    }
    config_lower_schemes(loader->config);
    key = config_check_all(loader->config, why);
    if (!key)
        key = config_check_paths(loader->config, loader->path, why);
    if (!key)
        key = config_expand_client_id(loader->config, why);
    if (!key)
        return 0;
    if (strcmp(why, config_no_memory) == 0)
        return -ENOMEM;
    return config_fail(loader, place_of(loader, parsed, key), key, "%s", why);
}

static int fail_syntax(const struct config_loader *loader, const config_t *parsed)
{
    size_t used = config_put_file(loader, config_error_file(parsed));
    const char *why = config_error_text(parsed);

    if (strcmp(why, "duplicate setting name") == 0)
        why = "a key stands here for the second time; keep one of the two";
    (void)snprintf(loader->error + used, CONFIG_ERROR_MAX - used, "%d: %s",
                   config_error_line(parsed), why);
    return -EINVAL;
}

static int load_text(struct config_loader *loader, const char *text)
{
    config_t parsed;
    int result = 0;

    result = config_scan(loader->path, loader->folder, text, loader->error);
    if (result != 0)
        return result;
    for (size_t i = 0; i < config_key_count && result == 0; i++)
        result = config_take_default(loader, loader->config, &config_keys[i]);
    if (result != 0)
        return result;
    config_init(&parsed);
    config_set_include_dir(&parsed, loader->folder);
    if (config_read_string(&parsed, text) == CONFIG_TRUE)
        result = walk(loader, config_root_setting(&parsed), "");
    else
        result = fail_syntax(loader, &parsed);
    if (result == 0)
        result = config_take_lanes(loader);
    if (result == 0)
        result = check_whole(loader, &parsed);
    config_destroy(&parsed);
    return result;
}

static int load(const char *path, struct config **ret, char error[static CONFIG_ERROR_MAX])
{
    struct config_loader loader = {.path = path, .error = error};
    AUTO_FREE char *folder = strdup(path);
    AUTO_FREE char *text = NULL;
    const char *why;
    char *slash;
    int result;

    error[0] = '\0';
    if (!folder)
        return -ENOMEM;
    slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    loader.folder = slash ? folder : ".";
    why = config_read_text(path, &text);
    if (why == config_no_memory)
        return -ENOMEM;
    if (why) {
        (void)snprintf(error, CONFIG_ERROR_MAX, "%s: %s", path, why);
        return -EINVAL;
    }
    loader.config = calloc(1, sizeof(*loader.config));
    if (!loader.config)
        return -ENOMEM;
    result = load_text(&loader, text);
    if (result != 0) {
        if (strlen(error) == CONFIG_ERROR_MAX - 1)
            error[text_whole_size(error, CONFIG_ERROR_MAX - 1)] = '\0'; /* it was cut */
        config_free(loader.config);
        return result;
    }
    *ret = loader.config;
    return 0;
}

int config_load(const char *path, struct config **ret, char error[static CONFIG_ERROR_MAX])
{
    int result = load(path, ret, error);

    if (result == -ENOMEM)
        (void)snprintf(error, CONFIG_ERROR_MAX, "%s: out of memory", path);
    return result;
}
