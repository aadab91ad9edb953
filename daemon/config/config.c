/*
 * config.c - from a libconfig file to struct config
 *
 * The only source that knows libconfig. A file is read in four steps: scanned
 * for what libconfig gets wrong in silence (scan.c), parsed by it,
 * walked setting by setting against the table (table.c), and checked as
 * a whole (check.c), the list of lanes last (lanes.c). The walk goes over what
 * the file holds, not over the table, so a key that nobody knows cannot be passed over.
 *
 * The defaults go first and by the same way: each is parsed as a line of a
 * file. What the file says then takes their place.
 *
 * The first error ends the reading, with one line "file:line: key: why" that
 * also says what to write instead.
 */
#include "daemon/config/config.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "daemon/config/loader.h"

#define SHOWN_MAX  96 /* bytes of a wrong value that an error repeats */
#define NUMBER_MAX 32
#define DEMAND_MAX 160

/* A value read but not yet stored. */
struct value {
    uint64_t number; /* of all kinds but the two below; the length of a list */
    const char *text;
    const config_setting_t *list;
};

/*
 * Writes the file's name to the front of the error. @included: as libconfig
 * has it, NULL for the main file; version 1.5 leaves the folder out, others
 * put it in front.
 */
static size_t put_file(const struct config_loader *loader, const char *included)
{
    size_t size = strlen(loader->folder);
    bool bare = included != NULL &&
                (strncmp(included, loader->folder, size) != 0 || included[size] != '/');
    int used = snprintf(loader->error, CONFIG_ERROR_MAX, "%s%s%s:", bare ? loader->folder : "",
                        bare ? "/" : "", included != NULL ? included : loader->path);

    return used < CONFIG_ERROR_MAX ? (size_t)used : CONFIG_ERROR_MAX - 1;
}

int config_fail(const struct config_loader *loader,
                const config_setting_t *at,
                const char *key,
                const char *format,
                ...)
{
    size_t used = put_file(loader, at != NULL ? config_setting_source_file(at) : NULL);
    unsigned line = at != NULL ? config_setting_source_line(at) : 0;
    char place[NUMBER_MAX] = "";
    va_list arguments;

    if (line > 0)
        (void)snprintf(place, sizeof(place), "%u:", line);
    used +=
        (size_t)snprintf(loader->error + used, CONFIG_ERROR_MAX - used, "%s %s: ", place, key);
    if (used < CONFIG_ERROR_MAX) {
        va_start(arguments, format);
        (void)vsnprintf(loader->error + used, CONFIG_ERROR_MAX - used, format, arguments);
        va_end(arguments);
    }
    return -EINVAL;
}

static void *member(void *target, const struct config_key *key)
{
    return (char *)target + key->offset;
}

void config_free_texts(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config_key_count; i++) {
        if (config_keys[i].kind == CONFIG_KIND_STRING)
            free(*(char **)member(config, &config_keys[i]));
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
        swap(member(running, key), member(fresh, key), member_size(key));
        if (key->kind == CONFIG_KIND_STRINGS)
            swap((char *)running + key->count_offset, (char *)fresh + key->count_offset,
                 sizeof(size_t));
    }
}

static bool is_integer(const config_setting_t *setting)
{
    return config_setting_type(setting) == CONFIG_TYPE_INT ||
           config_setting_type(setting) == CONFIG_TYPE_INT64;
}

static bool parse_mode(const char *text, uint64_t *ret)
{
    size_t digits = strspn(text, "01234567");

    if (digits < 3 || digits > 5 || text[digits] != '\0')
        return false;
    *ret = strtoul(text, NULL, 8);
    return true;
}

/* The text of a setting as a value of @key; false: it is none. */
static bool parse_text(const struct config_key *key, const char *text, struct value *ret)
{
    int choice;

    ret->text = text;
    switch (key->kind) {
    case CONFIG_KIND_SIZE:
        return config_parse_size(text, &ret->number);
    case CONFIG_KIND_TIME:
        return config_parse_time(text, &ret->number);
    case CONFIG_KIND_MODE:
        return parse_mode(text, &ret->number);
    case CONFIG_KIND_CHOICE:
        if (!config_key_choice(key, text, &choice))
            return false;
        ret->number = (uint64_t)choice;
        return true;
    case CONFIG_KIND_STRING:
        ret->number = strlen(text);
        return true;
    case CONFIG_KIND_COUNT:
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_INT:
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_STRINGS:
    case CONFIG_KIND_GROUPS:
        break;
    }
    return false;
}

static bool takes_integer(const struct config_key *key)
{
    return key->kind == CONFIG_KIND_COUNT || key->kind == CONFIG_KIND_UINT ||
           key->kind == CONFIG_KIND_INT || key->kind == CONFIG_KIND_SIZE;
}

static bool takes_list(const struct config_key *key, const config_setting_t *setting)
{
    if (key->kind == CONFIG_KIND_STRINGS)
        return config_setting_is_list(setting) || config_setting_is_array(setting);
    return key->kind == CONFIG_KIND_GROUPS && config_setting_is_list(setting);
}

static int refuse_form(const struct config_loader *loader,
                       const struct config_key *key,
                       const config_setting_t *setting)
{
    char demand[DEMAND_MAX];

    config_key_demand(key, demand, sizeof(demand));
    if (config_setting_type(setting) == CONFIG_TYPE_STRING)
        return config_fail(loader, setting, key->path, "\"%.*s\" %s",
                           text_at_most(config_setting_get_string(setting), SHOWN_MAX),
                           config_setting_get_string(setting), demand);
    if (is_integer(setting))
        return config_fail(loader, setting, key->path, "%lld %s",
                           config_setting_get_int64(setting), demand);
    return config_fail(loader, setting, key->path, "%s", demand);
}

/* @ret: all zero before. */
static int read_value(const struct config_loader *loader,
                      const struct config_key *key,
                      const config_setting_t *setting,
                      struct value *ret)
{
    long long number;

    if (config_setting_type(setting) == CONFIG_TYPE_STRING) {
        const char *text = config_setting_get_string(setting);

        if (text == NULL) /* libconfig ran out of memory and did not say so */
            return -ENOMEM;
        if (!parse_text(key, text, ret))
            return refuse_form(loader, key, setting);
    } else if (is_integer(setting) && takes_integer(key)) {
        number = config_setting_get_int64(setting);
        if (number < 0 && key->kind != CONFIG_KIND_INT)
            return config_fail(loader, setting, key->path, "%lld must not be negative", number);
        ret->number = (uint64_t)number;
    } else if (config_setting_type(setting) == CONFIG_TYPE_BOOL &&
               key->kind == CONFIG_KIND_BOOL) {
        ret->number = config_setting_get_bool(setting) != 0;
    } else if (takes_list(key, setting)) {
        ret->list = setting;
        ret->number = (uint64_t)config_setting_length(setting);
    } else {
        return refuse_form(loader, key, setting);
    }
    return 0;
}

static int refuse_range(const struct config_loader *loader,
                        const struct config_key *key,
                        const config_setting_t *setting,
                        uint64_t number)
{
    char is[NUMBER_MAX];
    char min[NUMBER_MAX];
    char max[NUMBER_MAX];

    config_key_number(key, number, is, sizeof(is));
    config_key_number(key, key->min, min, sizeof(min));
    config_key_number(key, key->max, max, sizeof(max));
    switch (key->kind) {
    case CONFIG_KIND_STRING:
        if (number == 0)
            return config_fail(loader, setting, key->path, "must not be empty");
        return config_fail(loader, setting, key->path, "must not be longer than %s bytes", max);
    case CONFIG_KIND_STRINGS:
    case CONFIG_KIND_GROUPS:
        return config_fail(loader, setting, key->path, "must have %s to %s elements", min, max);
    case CONFIG_KIND_SIZE:
    case CONFIG_KIND_TIME:
    case CONFIG_KIND_COUNT:
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_INT:
    case CONFIG_KIND_MODE:
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_CHOICE:
        break;
    }
    return config_fail(loader, setting, key->path, "%s is out of range, %s to %s", is, min,
                       max);
}

static int check_text(const struct config_loader *loader,
                      const struct config_key *key,
                      const config_setting_t *at,
                      const char *text)
{
    const char *wrong = key->check != NULL ? key->check(text) : NULL;

    if (wrong == NULL)
        return 0;
    return config_fail(loader, at, key->path, "\"%.*s\" %s", text_at_most(text, SHOWN_MAX),
                       text, wrong);
}

static bool is_in_range(const struct config_key *key, uint64_t number)
{
    if (key->kind == CONFIG_KIND_BOOL || key->kind == CONFIG_KIND_CHOICE)
        return true;
    if (key->kind == CONFIG_KIND_INT)
        return (int64_t)number >= (int64_t)key->min && (int64_t)number <= (int64_t)key->max;
    return number >= key->min && number <= key->max;
}

static int check_value(const struct config_loader *loader,
                       const struct config_key *key,
                       const config_setting_t *setting,
                       const struct value *value)
{
    if ((key->flags & CONFIG_NOT_YET) != 0) {
        /* The default of each such key is the zero of its kind: none, off, no limit. */
        if (value->number == 0)
            return 0;
        return config_fail(loader, setting, key->path,
                           "not yet supported; leave it out or set it to %s", key->value);
    }
    if (!is_in_range(key, value->number))
        return refuse_range(loader, key, setting, value->number);
    return key->kind == CONFIG_KIND_STRING ? check_text(loader, key, setting, value->text) : 0;
}

/* What the target holds afterwards is whole, whether or not all went well. */
static int store_texts(const struct config_loader *loader,
                       void *target,
                       const struct config_key *key,
                       const config_setting_t *list)
{
    size_t length = (size_t)config_setting_length(list);
    char ***texts = member(target, key);
    size_t *count = (size_t *)(void *)((char *)target + key->count_offset);

    config_free_texts(*texts, *count);
    *count = 0;
    *texts = calloc(length, sizeof(**texts));
    if (*texts == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < length; i++) {
        const config_setting_t *element = config_setting_get_elem(list, (unsigned)i);
        const char *text = config_setting_get_string(element);
        int result;

        if (text == NULL && config_setting_type(element) == CONFIG_TYPE_STRING)
            return -ENOMEM; /* as in read_value() */
        if (text == NULL)
            return refuse_form(loader, key, element);
        result = check_text(loader, key, element, text);
        if (result != 0)
            return result;
        (*texts)[i] = strdup(text);
        if ((*texts)[i] == NULL)
            return -ENOMEM;
        *count = i + 1;
    }
    return 0;
}

static int store_string(char **target, const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL)
        return -ENOMEM;
    free(*target);
    *target = copy;
    return 0;
}

static int store_value(const struct config_loader *loader,
                       void *base,
                       const struct config_key *key,
                       const struct value *value)
{
    void *target = member(base, key);

    switch (key->kind) {
    case CONFIG_KIND_SIZE:
    case CONFIG_KIND_TIME:
    case CONFIG_KIND_COUNT:
        *(uint64_t *)target = value->number;
        return 0;
    case CONFIG_KIND_UINT:
        *(unsigned *)target = (unsigned)value->number;
        return 0;
    case CONFIG_KIND_INT:
        *(int *)target = (int)value->number;
        return 0;
    case CONFIG_KIND_MODE:
        *(mode_t *)target = (mode_t)value->number;
        return 0;
    case CONFIG_KIND_BOOL:
        *(bool *)target = value->number != 0;
        return 0;
    case CONFIG_KIND_CHOICE:
        *(int *)target = (int)value->number;
        return 0;
    case CONFIG_KIND_STRING:
        return store_string(target, value->text);
    case CONFIG_KIND_STRINGS:
        return store_texts(loader, base, key, value->list);
    case CONFIG_KIND_GROUPS:
        break;
    }
    return 0;
}

int config_take(const struct config_loader *loader,
                void *target,
                const struct config_key *key,
                const config_setting_t *setting)
{
    struct value value = {0};
    int result = read_value(loader, key, setting, &value);

    if (result == 0)
        result = check_value(loader, key, setting, &value);
    if (result == 0 && (key->flags & CONFIG_NOT_YET) == 0)
        result = store_value(loader, target, key, &value);
    return result;
}

int config_take_default(const struct config_loader *loader,
                        void *target,
                        const struct config_key *key)
{
    char line[CONFIG_ERROR_MAX];
    config_t parsed;
    int result = -ENOMEM; /* a default is well formed: a test reads them all */

    if (key->value == NULL)
        return 0;
    (void)snprintf(line, sizeof(line), "default = %s;", key->value);
    config_init(&parsed);
    if (config_read_string(&parsed, line) == CONFIG_TRUE && config_lookup(&parsed, "default"))
        result = config_take(loader, target, key, config_lookup(&parsed, "default"));
    config_destroy(&parsed);
    return result;
}

int config_refuse_unknown(const struct config_loader *loader,
                          const config_setting_t *setting,
                          const char *path)
{
    char near[CONFIG_PATH_MAX];

    if (config_key_nearest(path, near))
        return config_fail(loader, setting, path, "unknown key; did you mean \"%s\"?", near);
    return config_fail(loader, setting, path,
                       "unknown key; mqtt-spoold.conf(5) lists all keys");
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
        if (key != NULL) {
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
    if (setting != NULL || dot == NULL)
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
        if ((config_keys[i].flags & CONFIG_REQUIRED) != 0 && loader->found[i] == NULL)
            return config_fail(
                loader, place_of(loader, parsed, key), key,
                "missing, and it has no default; mqtt-spoold.conf(5) has examples");
    }
    config_lower_schemes(loader->config);
    key = config_check_all(loader->config, why);
    if (key == NULL)
        key = config_expand_client_id(loader->config, why);
    if (key == NULL)
        return 0;
    return config_fail(loader, place_of(loader, parsed, key), key, "%s", why);
}

static int fail_syntax(const struct config_loader *loader, const config_t *parsed)
{
    size_t used = put_file(loader, config_error_file(parsed));
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

    if (!config_scan(loader->path, loader->folder, text, loader->error))
        return -EINVAL;
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
    if (folder == NULL)
        return -ENOMEM;
    slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder] = '\0';
    loader.folder = slash != NULL ? folder : ".";
    why = config_read_text(path, &text);
    if (why != NULL) {
        (void)snprintf(error, CONFIG_ERROR_MAX, "%s: %s", path, why);
        return -EINVAL;
    }
    loader.config = calloc(1, sizeof(*loader.config));
    if (loader.config == NULL)
        return -ENOMEM;
    result = load_text(&loader, text);
    if (result != 0) {
        if (strlen(error) == CONFIG_ERROR_MAX - 1)
            error[text_whole(error, CONFIG_ERROR_MAX - 1)] = '\0'; /* it was cut */
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
