/* SPDX-License-Identifier: MIT */
/*
 * config.c - reads libconfig files into struct config
 *
 * The files (sources.c) are read one after the other. Each is scanned for what libconfig
 * misreads without an error (scan.c), parsed by libconfig, and walked setting by setting
 * against the table (table.c, loader.c). All is then checked as a whole (check.c), after the
 * lists of lanes and of access (lanes.c, access.c, unused.c). The walk is over the settings of
 * the files, not over the table, so that an unknown key cannot be missed.
 *
 * The defaults are set first and in the same way: each is parsed as a line of a
 * file. The values of the files then replace them, and those of a later file those of an
 * earlier one: key by key, a list as a whole.
 *
 * The first error ends the reading.
 */
#include "daemon/config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/config/loader.h"
#include "daemon/config/sources.h"
#include "daemon/config/table.h"

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config_key_count; i++) {
        if (config_keys[i].kind == CONFIG_KIND_STRING &&
            (config_keys[i].flags & CONFIG_NOT_YET) == 0)
            free(*(char **)config_member(config, &config_keys[i]));
    }
    config_free_texts(config->uplink.brokers, config->uplink.broker_count);
    config_free_lanes(config);
    config_free_access(config);
    free(config->warnings);
    config_free_unread(&config->unread);
    if (config->origins)
        config_free_texts(config->origins, config_key_count + 1);
    free(config);
}

static bool config_has_same_brokers(const struct config *a, const struct config *b)
{
    if (a->uplink.broker_count != b->uplink.broker_count)
        return false;
    for (size_t i = 0; i < a->uplink.broker_count; i++) {
        if (strcmp(a->uplink.brokers[i], b->uplink.brokers[i]) != 0)
            return false;
    }
    return true;
}

static bool config_has_same_value(const struct config_key *key,
                                  const struct config *a,
                                  const struct config *b)
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
        return config_has_same_brokers(a, b);
    case CONFIG_KIND_GROUPS:
        break;
    }
    return true;
}

size_t config_needs_restart(const struct config *running,
                            const struct config *fresh,
                            char ret_keys[static CONFIG_RESTARTS_MAX])
{
    size_t count = 0;

    ret_keys[0] = '\0';
    for (size_t i = 0; i < config_key_count; i++) {
        if ((config_keys[i].flags & (CONFIG_RELOADS | CONFIG_NOT_YET)) != 0 ||
            config_has_same_value(&config_keys[i], running, fresh))
            continue;
        text_append(ret_keys, CONFIG_RESTARTS_MAX, "%s%s", count > 0 ? "," : "",
                    config_keys[i].path);
        count++;
    }
    return count;
}

/* 0: it has no member of its own. */
static size_t config_member_size(const struct config_key *key)
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

static void config_swap(void *a, void *b, size_t size)
{
    char kept[sizeof(uint64_t)];

    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}

void config_take_reloadable(struct config *running, struct config *fresh)
{
    struct config_access *access = running->access;
    size_t access_count = running->access_count;

    running->access = fresh->access;
    running->access_count = fresh->access_count;
    fresh->access = access;
    fresh->access_count = access_count;
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];

        if ((key->flags & CONFIG_RELOADS) == 0)
            continue;
        config_swap(config_member(running, key), config_member(fresh, key),
                    config_member_size(key));
        if (key->kind == CONFIG_KIND_STRINGS)
            config_swap((char *)running + key->count_offset, (char *)fresh + key->count_offset,
                        sizeof(size_t));
    }
}

/* Is @path the key @needed, or a group that it is in? */
static bool config_has_needed(const char *path, const char *needed)
{
    return strcmp(path, needed) == 0 || config_key_is_in(needed, path);
}

/* Does @path have what is needed, or is it perhaps a misspelling of what has? */
static bool config_is_needed(const char *const *needed, const char *path)
{
    char near[CONFIG_PATH_MAX];
    bool has_near = config_key_nearest(path, near);

    for (; *needed; needed++) {
        if (config_has_needed(path, *needed) || (has_near && config_has_needed(near, *needed)))
            return true;
    }
    return false;
}

/* Return: 0, or @result if it cannot be passed over. */
static int config_pass_over(struct config_loader *loader, int result, const char *path)
{
    if (result != -EINVAL || !loader->needed || config_is_needed(loader->needed, path))
        return result;
    if (loader->passed_over[0] == '\0')
        (void)snprintf(loader->passed_over, sizeof(loader->passed_over), "%s", loader->error);
    loader->config->is_partial = true;
    return 0;
}

/* The recursion is bounded by the table: an unknown group is refused. */
static int
config_walk(struct config_loader *loader, const config_setting_t *group, const char *prefix)
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
            char inner[2 * CONFIG_PATH_MAX + 1];

            (void)snprintf(inner, sizeof(inner), "%s.", path);
            result = config_walk(loader, setting, inner);
        }
        result = config_pass_over(loader, result, path);
        if (result != 0)
            return result;
    }
    return 0;
}

/* NULL: no file sets the key. */
static const config_setting_t *config_setting_of(const struct config_loader *loader,
                                                 const char *path)
{
    return loader->found[config_key_index(config_key_find(path))];
}

/* The group of a key in the last file that has it; NULL: none has. */
static const config_setting_t *config_group_of(const struct config_loader *loader,
                                               const char *path)
{
    const config_setting_t *setting = NULL;
    char group[CONFIG_PATH_MAX];
    char *dot;

    (void)snprintf(group, sizeof(group), "%s", path);
    dot = strrchr(group, '.');
    if (!dot)
        return NULL;
    *dot = '\0';
    for (size_t i = loader->source_count; i > 0 && !setting; i--)
        setting = config_lookup(&loader->sources[i - 1].parsed, group);
    return setting;
}

/* The last one is the main file. */
static int config_keep_origins(const struct config_loader *loader)
{
    char **origins = calloc(config_key_count + 1, sizeof(*origins));
    bool has_memory = origins != NULL;

    loader->config->origins = origins;
    for (size_t i = 0; i < config_key_count && has_memory; i++) {
        char place[CONFIG_ERROR_MAX];

        if (!loader->found[i])
            continue;
        config_put_place(loader, loader->found[i], place);
        origins[i] = strdup(place);
        has_memory = origins[i] != NULL;
    }
    if (has_memory)
        origins[config_key_count] = strdup(loader->path);
    return has_memory && origins[config_key_count] ? 0 : -ENOMEM;
}

const char *config_origin(const struct config *config, const char *key)
{
    const struct config_key *row = config_key_find(key);
    const char *origin = row ? config->origins[config_key_index(row)] : NULL;

    return origin ? origin : config->origins[config_key_count];
}

/* Of struct config_errors. */
static int config_refuse(void *userdata, const char *key, const char *other, const char *why)
{
    struct config_loader *loader = userdata;
    const config_setting_t *at = config_setting_of(loader, key);
    int result;

    if (!at && other)
        at = config_setting_of(loader, other);
    result = config_fail(loader, at ? at : config_group_of(loader, key), key, "%s", why);

    return config_pass_over(loader, result, key);
}

static int config_check_required(const struct config_loader *loader,
                                 const struct config_errors *errors)
{
    for (size_t i = 0; i < config_key_count; i++) {
        int result = 0;

        if ((config_keys[i].flags & CONFIG_REQUIRED) != 0 && !loader->found[i])
            result = errors->refuse(
                errors->userdata, config_keys[i].path, NULL,
                "missing, and it has no default; mqtt-spoold.conf(5) has examples");
        if (result != 0)
            return result;
    }
    return 0;
}

/* Checks all that needs more than one setting. What was passed over has its default. */
static int config_check_whole(struct config_loader *loader)
{
    const struct config_errors errors = {.refuse = config_refuse, .userdata = loader};
    int result = config_check_required(loader, &errors);

    config_lower_schemes(loader->config);
    if (result == 0)
        result = config_check_all(loader->config, &errors);
    if (result == 0)
        result = config_expand_credentials(loader->config);
    if (result == 0)
        result = config_check_paths(loader->config, loader->paths.paths, loader->paths.count,
                                    &errors);
    if (result == 0)
        result = config_expand_all(loader->config, &errors);
    if (result == 0 && loader->is_test)
        result = config_check_system(loader->config, &errors);
    return result;
}

static int config_fail_syntax(const struct config_loader *loader,
                              const struct config_source *source)
{
    const config_t *parsed = &source->parsed;
    const char *why = config_error_text(parsed);

    if (strcmp(why, "duplicate setting name") == 0)
        why = "a key is set twice; keep one of the two";
    else if (strcmp(why, "syntax error") == 0)
        why = "syntax error here or in a line before; look for a missing semicolon, an open "
              "bracket, or a text without quotes";
    config_put_file(loader, source->path, config_error_file(parsed), loader->error);
    text_append(loader->error, CONFIG_ERROR_MAX, ":%d: %s", config_error_line(parsed), why);
    return -EINVAL;
}

/* Of a list that is passed over nothing is left: its first elements alone would be another list
 * than the one that is meant. */
static int config_read_lists(struct config_loader *loader)
{
    struct config *config = loader->config;
    int result = config_take_lanes(loader);

    if (result == -EINVAL) {
        result = config_pass_over(loader, result, "lanes");
        config_free_lanes(config);
    }
    if (result != 0)
        return result;
    result = config_take_access(loader);
    if (result == -EINVAL) {
        result = config_pass_over(loader, result, "access");
        config_free_access(config);
    }
    return result;
}

/* The source belongs to the loader also after a failure. */
static int config_parse(struct config_loader *loader, char *path, const char *text)
{
    struct config_source *source = &loader->sources[loader->source_count];
    config_setting_t *root;
    int result = config_scan(path, loader->folder, text, loader->error);

    if (result != 0)
        return result;
    loader->source_count++;
    source->path = path;
    config_init(&source->parsed);
    config_set_include_dir(&source->parsed, loader->folder);
    if (config_read_string(&source->parsed, text) != CONFIG_TRUE)
        return config_fail_syntax(loader, source);
    root = config_root_setting(&source->parsed);
    config_setting_set_hook(root, path);
    return config_walk(loader, root, "");
}

/* What it takes to have the main file is not in its error. */
static const char *config_file_remedy(bool is_main, const char *why)
{
    if (is_main && strcmp(why, strerror(ENOENT)) == 0)
        return "; name another file with -c, or write one, beginning with the sample in "
               "/usr/share/mqtt-spoold";
    return strcmp(why, strerror(EACCES)) == 0 ? "; let the user that runs this read it" : "";
}

static int config_load_source(struct config_loader *loader, char *path)
{
    AUTO_FREE char *text = NULL;
    const char *why = config_read_text(path, &text);

    if (why == config_no_memory)
        return -ENOMEM;
    if (why) {
        text_format(loader->error, CONFIG_ERROR_MAX, "%s: %s%s", path, why,
                    config_file_remedy(path == loader->paths.paths[0], why));
        return -EINVAL;
    }
    loader->bytes += strlen(text);
    if (loader->bytes > CONFIG_SOURCES_BYTES_MAX) {
        text_format(loader->error, CONFIG_ERROR_MAX,
                    "%s: with this file the configuration is larger than 4 MiB", path);
        return -EINVAL;
    }
    return config_parse(loader, path, text);
}

static int config_take_defaults(const struct config_loader *loader, struct config *config)
{
    int result = 0;

    for (size_t i = 0; i < config_key_count && result == 0; i++)
        result = config_take_default(loader, config, &config_keys[i]);
    return result;
}

/* Of struct config_errors: what is in use was checked before. */
static int config_accept(void *userdata, const char *key, const char *other, const char *why)
{
    (void)userdata;
    (void)key;
    (void)other;
    (void)why;
    return 0;
}

static int config_print_all(const struct config_loader *loader)
{
    static const struct config_errors none = {.refuse = config_accept};
    struct config *defaults = calloc(1, sizeof(*defaults));
    int result = defaults ? config_take_defaults(loader, defaults) : -ENOMEM;

    if (result == 0)
        result = config_expand_all(defaults, &none);
    if (result == 0)
        result = config_put_all(loader, defaults, loader->ret_text);
    config_free(defaults);
    return result;
}

static int config_load_all(struct config_loader *loader)
{
    int result = config_list_paths(loader->path, loader->folder, &loader->paths,
                                   &loader->config->unread, loader->error);

    if (result == 0)
        result = config_take_defaults(loader, loader->config);
    for (size_t i = 0; i < loader->paths.count && result == 0; i++)
        result = config_load_source(loader, loader->paths.paths[i]);
    if (result == 0)
        result = config_read_lists(loader);
    if (result == 0 && !loader->needed)
        result = config_find_unused(loader);
    if (result == 0)
        result = config_check_whole(loader);
    if (result == 0 && loader->is_test)
        result = config_keep_origins(loader);
    if (result == 0 && loader->ret_text)
        result = config_print_all(loader);
    return result;
}

static void config_set_folder(struct config_loader *loader)
{
    const char *slash = strrchr(loader->path, '/');
    size_t size = slash ? (size_t)(slash - loader->path) : 0;

    if (slash == loader->path)
        size = 1;
    if (size == 0 || size >= sizeof(loader->folder)) /* too long: it cannot be opened */
        (void)snprintf(loader->folder, sizeof(loader->folder), ".");
    else
        (void)snprintf(loader->folder, sizeof(loader->folder), "%.*s", (int)size, loader->path);
}

static int config_load_sources(struct config_loader *loader, struct config **ret)
{
    int result = -ENOMEM;

    loader->error[0] = '\0';
    config_set_folder(loader);
    loader->config = calloc(1, sizeof(*loader->config));
    loader->sources = calloc(CONFIG_SOURCES_MAX, sizeof(*loader->sources));
    if (loader->config && loader->sources)
        result = config_load_all(loader);
    for (size_t i = 0; i < loader->source_count; i++)
        config_destroy(&loader->sources[i].parsed);
    free(loader->sources);
    config_free_paths(&loader->paths);
    if (result == 0)
        *ret = loader->config;
    else
        config_free(loader->config);
    return result;
}

static int config_run(struct config_loader *loader, struct config **ret)
{
    int result = config_load_sources(loader, ret);

    if (result == -ENOMEM)
        text_format(loader->error, CONFIG_ERROR_MAX, "%s: out of memory", loader->path);
    else if (result == 0)
        (void)snprintf(loader->error, CONFIG_ERROR_MAX, "%s", loader->passed_over);
    return result;
}

int config_load(const char *path, struct config **ret, char error[static CONFIG_ERROR_MAX])
{
    struct config_loader loader = {.path = path, .error = error};

    return config_run(&loader, ret);
}

int config_test(const char *path, struct config **ret, char error[static CONFIG_ERROR_MAX])
{
    struct config_loader loader = {.path = path, .error = error, .is_test = true};

    return config_run(&loader, ret);
}

int config_print(const char *path, char **ret_text, char error[static CONFIG_ERROR_MAX])
{
    struct config_loader loader = {
        .path = path, .error = error, .is_test = true, .ret_text = ret_text};
    struct config *config;
    int r = config_run(&loader, &config);

    if (r == 0)
        config_free(config);
    return r;
}

int config_load_needed(const char *path,
                       const char *const *needed,
                       struct config **ret,
                       char error[static CONFIG_ERROR_MAX])
{
    struct config_loader loader = {.path = path, .error = error, .needed = needed};

    return config_run(&loader, ret);
}
