/* SPDX-License-Identifier: MIT */
/*
 * loader.c - reads settings by the table
 *
 * A row of the table has the kind, the range and the member of a value; no key
 * has code of its own here. An error is one line "file:line: key: why" that also
 * says what to write instead.
 */
#include "daemon/config/loader.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/text.h"
#include "daemon/config/config.h"

#define NUMBER_MAX 32
#define DEMAND_MAX 160

/* A value read but not yet stored. */
struct value {
    uint64_t number; /* of all kinds but the two below; the length of a list */
    const char *text;
    const config_setting_t *list;
    char digits[NUMBER_MAX]; /* of a number that stands for a text */
};

void config_put_file(const struct config_loader *loader,
                     const char *source,
                     const char *included,
                     char text[static CONFIG_ERROR_MAX])
{
    size_t size = strlen(loader->folder);
    bool bare =
        included && (strncmp(included, loader->folder, size) != 0 || included[size] != '/');

    if (!source)
        source = loader->path;
    text_format(text, CONFIG_ERROR_MAX, "%s%s%s", bare ? loader->folder : "", bare ? "/" : "",
                included ? included : source);
}

/* NULL: of a default. */
static const char *config_source_of(const config_setting_t *setting)
{
    while (setting->parent)
        setting = setting->parent;
    return config_setting_get_hook(setting);
}

void config_put_place(const struct config_loader *loader,
                      const config_setting_t *at,
                      char text[static CONFIG_ERROR_MAX])
{
    config_put_file(loader, config_source_of(at), config_setting_source_file(at), text);
    text_append(text, CONFIG_ERROR_MAX, ":%u", config_setting_source_line(at));
}

int config_fail(const struct config_loader *loader,
                const config_setting_t *at,
                const char *key,
                const char *format,
                ...)
{
    char why[CONFIG_ERROR_MAX];
    va_list arguments;

    va_start(arguments, format);
    text_vformat(why, sizeof(why), format, arguments);
    va_end(arguments);
    if (at && config_setting_source_line(at) > 0)
        config_put_place(loader, at, loader->error);
    else
        config_put_file(loader, NULL, NULL, loader->error);
    text_append(loader->error, CONFIG_ERROR_MAX, ": %s: %s", key, why);
    return -EINVAL;
}

void *config_member(void *target, const struct config_key *key)
{
    return (char *)target + key->offset;
}

void config_free_texts(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

static bool config_is_integer(const config_setting_t *setting)
{
    return config_setting_type(setting) == CONFIG_TYPE_INT ||
           config_setting_type(setting) == CONFIG_TYPE_INT64;
}

static bool config_parse_mode(const char *text, uint64_t *ret)
{
    size_t digits = strspn(text, "01234567");

    if (digits < 3 || digits > 5 || text[digits] != '\0')
        return false;
    *ret = strtoul(text, NULL, 8);
    return true;
}

/* Parses the text of a setting as a value of @key. False: malformed. */
static bool config_parse_text(const struct config_key *key, const char *text, struct value *ret)
{
    int choice;

    ret->text = text;
    switch (key->kind) {
    case CONFIG_KIND_SIZE:
        return config_parse_size(text, &ret->number);
    case CONFIG_KIND_TIME:
        return config_parse_time(text, &ret->number);
    case CONFIG_KIND_MODE:
        return config_parse_mode(text, &ret->number);
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

static bool config_takes_integer(const struct config_key *key)
{
    return key->kind == CONFIG_KIND_COUNT || key->kind == CONFIG_KIND_UINT ||
           key->kind == CONFIG_KIND_INT || key->kind == CONFIG_KIND_SIZE;
}

static bool config_takes_list(const struct config_key *key, const config_setting_t *setting)
{
    if (key->kind == CONFIG_KIND_STRINGS)
        return config_setting_is_list(setting) || config_setting_is_array(setting);
    return key->kind == CONFIG_KIND_GROUPS && config_setting_is_list(setting);
}

/* @text: of a size or time. */
static int config_refuse_zero(const struct config_loader *loader,
                              const struct config_key *key,
                              const config_setting_t *setting,
                              const char *text)
{
    const char *meant = text + strspn(text, "0");

    meant -= *meant < '1' || *meant > '9'; /* all digits are 0 */
    return config_fail(loader, setting, key->path,
                       "\"%.*s\" has a leading zero; write \"%.*s\"",
                       text_prefix_size(text, CONFIG_SHOWN_MAX), text,
                       text_prefix_size(meant, CONFIG_SHOWN_MAX), meant);
}

static int config_refuse_form(const struct config_loader *loader,
                              const struct config_key *key,
                              const config_setting_t *setting)
{
    char demand[DEMAND_MAX];

    config_key_demand(key, demand, sizeof(demand));
    if (config_setting_type(setting) == CONFIG_TYPE_STRING) {
        const char *text = config_setting_get_string(setting);

        if ((key->kind == CONFIG_KIND_SIZE || key->kind == CONFIG_KIND_TIME) &&
            config_has_leading_zero(text))
            return config_refuse_zero(loader, key, setting, text);
        return config_fail(loader, setting, key->path, "\"%.*s\" %s",
                           text_prefix_size(text, CONFIG_SHOWN_MAX), text, demand);
    }
    /* Of a mode without quotes it is not known whether it was meant as octal. */
    if (config_is_integer(setting) && key->kind != CONFIG_KIND_MODE)
        return config_fail(loader, setting, key->path, "%lld %s",
                           config_setting_get_int64(setting), demand);
    if (config_setting_type(setting) == CONFIG_TYPE_FLOAT)
        return config_fail(loader, setting, key->path, "%g %s",
                           config_setting_get_float(setting), demand);
    return config_fail(loader, setting, key->path, "%s", demand);
}

/* @ret: all zero before. */
static int config_read_value(const struct config_loader *loader,
                             const struct config_key *key,
                             const config_setting_t *setting,
                             struct value *ret)
{
    long long number;

    if (config_setting_type(setting) == CONFIG_TYPE_STRING) {
        const char *text = config_setting_get_string(setting);

        if (!text) /* libconfig ran out of memory without an error */
            return -ENOMEM;
        if (!config_parse_text(key, text, ret))
            return config_refuse_form(loader, key, setting);
    } else if (config_is_integer(setting) && key->kind == CONFIG_KIND_CHOICE) {
        char word[NUMBER_MAX];
        int choice;

        (void)snprintf(word, sizeof(word), "%lld", config_setting_get_int64(setting));
        if (!config_key_choice(key, word, &choice))
            return config_refuse_form(loader, key, setting);
        ret->number = (uint64_t)choice;
    } else if (config_is_integer(setting) && (key->flags & CONFIG_OR_NUMBER) != 0) {
        (void)snprintf(ret->digits, sizeof(ret->digits), "%lld",
                       config_setting_get_int64(setting));
        (void)config_parse_text(key, ret->digits, ret);
    } else if (config_is_integer(setting) && config_takes_integer(key)) {
        number = config_setting_get_int64(setting);
        if (number < 0 && key->kind != CONFIG_KIND_INT)
            return config_fail(loader, setting, key->path, "%lld must not be negative", number);
        ret->number = (uint64_t)number;
    } else if (config_setting_type(setting) == CONFIG_TYPE_BOOL &&
               key->kind == CONFIG_KIND_BOOL) {
        ret->number = config_setting_get_bool(setting) != 0;
    } else if (config_takes_list(key, setting)) {
        ret->list = setting;
        ret->number = (uint64_t)config_setting_length(setting);
    } else {
        return config_refuse_form(loader, key, setting);
    }
    return 0;
}

static int config_refuse_range(const struct config_loader *loader,
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
    if ((key->flags & CONFIG_OR_ZERO) != 0)
        return config_fail(loader, setting, key->path, "%s is out of range, %s to %s, or 0%s",
                           is, min, max, key->kind == CONFIG_KIND_TIME ? "s" : "");
    return config_fail(loader, setting, key->path, "%s is out of range, %s to %s", is, min,
                       max);
}

static int config_check_text(const struct config_loader *loader,
                             const struct config_key *key,
                             const config_setting_t *at,
                             const char *text)
{
    const char *wrong = key->check ? key->check(text) : NULL;
    const char *secret;

    if (!wrong)
        return 0;
    assert(text); /* only texts have checks */
    secret = strchr(text, '@');
    if ((key->flags & CONFIG_HIDES_USER) != 0 && secret) /* before it may be a password */
        return config_fail(loader, at, key->path, "\"...%.*s\" %s",
                           text_prefix_size(secret, CONFIG_SHOWN_MAX), secret, wrong);
    return config_fail(loader, at, key->path, "\"%.*s\" %s",
                       text_prefix_size(text, CONFIG_SHOWN_MAX), text, wrong);
}

static bool config_is_in_range(const struct config_key *key, uint64_t number)
{
    if (key->kind == CONFIG_KIND_BOOL || key->kind == CONFIG_KIND_CHOICE)
        return true;
    if (key->kind == CONFIG_KIND_INT)
        return (int64_t)number >= (int64_t)key->min && (int64_t)number <= (int64_t)key->max;
    if ((key->flags & CONFIG_OR_ZERO) != 0 && number == 0)
        return true;
    return number >= key->min && number <= key->max;
}

static int config_check_value(const struct config_loader *loader,
                              const struct config_key *key,
                              const config_setting_t *setting,
                              const struct value *value)
{
    if ((key->flags & CONFIG_NOT_YET) != 0) {
        /* The default of each such key is the zero of its kind: none, off, no limit. */
        if (value->number == 0)
            return 0;
        if (key->check)
            return config_check_text(loader, key, setting, value->text);
        return config_fail(loader, setting, key->path,
                           "not yet supported; leave it out or set it to %s", key->value);
    }
    if (!config_is_in_range(key, value->number))
        return config_refuse_range(loader, key, setting, value->number);
    return key->kind == CONFIG_KIND_STRING
               ? config_check_text(loader, key, setting, value->text)
               : 0;
}

/* The list of the target is whole afterwards, also after a failure. */
static int config_store_texts(const struct config_loader *loader,
                              void *target,
                              const struct config_key *key,
                              const config_setting_t *list)
{
    size_t length = (size_t)config_setting_length(list);
    char ***texts = config_member(target, key);
    size_t *count = (size_t *)(void *)((char *)target + key->count_offset);

    config_free_texts(*texts, *count);
    *count = 0;
    *texts = calloc(length, sizeof(**texts));
    if (!*texts)
        return -ENOMEM;
    for (size_t i = 0; i < length; i++) {
        const config_setting_t *element = config_setting_get_elem(list, (unsigned)i);
        const char *text = config_setting_get_string(element);
        int result;

        if (!text && config_setting_type(element) == CONFIG_TYPE_STRING)
            return -ENOMEM; /* as in config_read_value() */
        if (!text)
            return config_refuse_form(loader, key, element);
        result = config_check_text(loader, key, element, text);
        if (result != 0)
            return result;
        (*texts)[i] = strdup(text);
        if ((*texts)[i] == NULL)
            return -ENOMEM;
        *count = i + 1;
    }
    return 0;
}

static int config_store_string(char **target, const char *text)
{
    assert(text); /* the table allows no other setting for a string */
    char *copy = strdup(text);

    if (!copy)
        return -ENOMEM;
    free(*target);
    *target = copy;
    return 0;
}

static int config_store_value(const struct config_loader *loader,
                              void *base,
                              const struct config_key *key,
                              const struct value *value)
{
    void *target = config_member(base, key);

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
        return config_store_string(target, value->text);
    case CONFIG_KIND_STRINGS:
        return config_store_texts(loader, base, key, value->list);
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
    int result = config_read_value(loader, key, setting, &value);

    if (result == 0)
        result = config_check_value(loader, key, setting, &value);
    if (result == 0 && (key->flags & CONFIG_NOT_YET) == 0)
        result = config_store_value(loader, target, key, &value);
    return result;
}

int config_take_default(const struct config_loader *loader,
                        void *target,
                        const struct config_key *key)
{
    char line[CONFIG_ERROR_MAX];
    config_t parsed;
    int result = -ENOMEM; /* a default is well formed: a test reads them all */

    if (!key->value)
        return 0;
    (void)snprintf(line, sizeof(line), "default = %s;", key->value);
    config_init(&parsed);
    if (config_read_string(&parsed, line) == CONFIG_TRUE && config_lookup(&parsed, "default"))
        result = config_take(loader, target, key, config_lookup(&parsed, "default"));
    config_destroy(&parsed);
    return result;
}

int config_take_keys(const struct config_loader *loader,
                     const config_setting_t *group,
                     void *target,
                     const struct config_key *keys,
                     size_t key_count)
{
    int list_size = (int)strcspn(keys[0].path, "."); /* of the name of the list */
    int count = config_setting_length(group);
    int result = 0;

    for (size_t i = 0; i < key_count && result == 0; i++)
        result = config_take_default(loader, target, &keys[i]);
    for (int i = 0; i < count && result == 0; i++) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
        const struct config_key *key;
        char path[2 * CONFIG_PATH_MAX];

        (void)snprintf(path, sizeof(path), "%.*s.%s", list_size, keys[0].path,
                       config_setting_name(setting));
        key = config_key_find_in(keys, key_count, path);
        result = key ? config_take(loader, target, key, setting)
                     : config_refuse_unknown(loader, setting, path);
    }
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
