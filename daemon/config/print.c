/* SPDX-License-Identifier: MIT */
/*
 * print.c - writes the effective configuration in the form of a file
 *
 * Each key has its value, and behind it as a comment where that is from: a file and line, or
 * the default. A value that is not the default has that, too, behind "default:".
 *
 * Invariant: what is written can be read as a configuration, and is then the same one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/config/config.h"
#include "daemon/config/loader.h"
#include "daemon/config/sources.h"
#include "daemon/config/table.h"

#define NUMBER_MAX 32

struct config_printer {
    const struct config_loader *loader;
    FILE *out;
    char group[CONFIG_PATH_MAX]; /* that is open, "" or with a dot at its end */
};

/* What a terminal would obey is an escape of libconfig, byte by byte. */
static void print_text(FILE *out, const char *text, bool is_expanded)
{
    size_t left = strlen(text);

    (void)fputc('"', out);
    while (left > 0) {
        const struct text_character next = text_next((const uint8_t *)text, left);

        if (*text == '"' || *text == '\\')
            (void)fprintf(out, "\\%c", *text);
        else if (*text == '%' && is_expanded)
            (void)fputs("%%", out);
        else if (next.is_shown)
            (void)fwrite(text, 1, next.size, out);
        else
            for (size_t i = 0; i < next.size; i++)
                (void)fprintf(out, "\\x%02X", (unsigned)(unsigned char)text[i]);
        text += next.size;
        left -= next.size;
    }
    (void)fputc('"', out);
}

static void print_texts(FILE *out, char *const *texts, size_t count)
{
    (void)fputs("( ", out);
    for (size_t i = 0; i < count; i++) {
        (void)fputs(i > 0 ? ", " : "", out);
        print_text(out, texts[i], false);
    }
    (void)fputs(count > 0 ? " )" : ")", out);
}

static uint64_t print_number_of(const struct config_key *key, const void *at)
{
    switch (key->kind) {
    case CONFIG_KIND_SIZE:
    case CONFIG_KIND_TIME:
    case CONFIG_KIND_COUNT:
        return *(const uint64_t *)at;
    case CONFIG_KIND_UINT:
        return *(const unsigned *)at;
    case CONFIG_KIND_INT:
    case CONFIG_KIND_CHOICE:
        return (uint64_t) * (const int *)at;
    case CONFIG_KIND_MODE:
        return *(const mode_t *)at;
    case CONFIG_KIND_BOOL:
    case CONFIG_KIND_STRING:
    case CONFIG_KIND_STRINGS:
    case CONFIG_KIND_GROUPS:
        break;
    }
    return 0;
}

static const char *print_word_of(const struct config_key *key, int value)
{
    const struct config_choice *choice = key->choices;

    while (choice->value != value)
        choice++;
    return choice->word;
}

static const char *print_string(const struct config_key *key, const void *target)
{
    return *(char *const *)(const void *)((const char *)target + key->offset);
}

static void print_value(FILE *out, const struct config_key *key, const void *target)
{
    const void *at = (const char *)target + key->offset;
    uint64_t number = print_number_of(key, at);
    char text[NUMBER_MAX];

    if ((key->flags & CONFIG_NOT_YET) != 0) {
        (void)fputs(key->value, out);
        return;
    }
    config_key_number(key, number, text, sizeof(text));
    switch (key->kind) {
    case CONFIG_KIND_TIME:
        (void)fprintf(out, "\"%s\"", number == 0 ? "0" : text);
        break;
    case CONFIG_KIND_SIZE:
    case CONFIG_KIND_MODE:
        (void)fprintf(out, "\"%s\"", text);
        break;
    case CONFIG_KIND_COUNT:
    case CONFIG_KIND_UINT:
    case CONFIG_KIND_INT:
        (void)fputs(text, out);
        break;
    case CONFIG_KIND_BOOL:
        (void)fputs(*(const bool *)at ? "true" : "false", out);
        break;
    case CONFIG_KIND_CHOICE:
        (void)fprintf(out, "\"%s\"", print_word_of(key, (int)number));
        break;
    case CONFIG_KIND_STRING:
        print_text(out, print_string(key, target), (key->flags & CONFIG_EXPANDS) != 0);
        break;
    case CONFIG_KIND_STRINGS:
        print_texts(out, *(char *const *const *)at,
                    *(const size_t *)(const void *)((const char *)target + key->count_offset));
        break;
    case CONFIG_KIND_GROUPS:
        break;
    }
}

/* The name of a file may have a line break. */
static void print_place(const struct config_printer *printer, const config_setting_t *at)
{
    char place[CONFIG_ERROR_MAX];

    config_put_place(printer->loader, at, place);
    text_put(printer->out, place);
}

/* The value in the form of a file; the caller frees it. NULL: out of memory. */
static char *print_to_text(const struct config_key *key, const void *target)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    print_value(out, key, target);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

/* The text as it was written, if it is not the one in @value. */
static void print_written(const struct config_printer *printer,
                          const struct config_key *key,
                          const config_setting_t *setting,
                          const char *value)
{
    const char *written =
        (key->flags & CONFIG_EXPANDS) != 0 ? config_setting_get_string(setting) : NULL;
    size_t size = strlen(value) - 2; /* between the quotes */

    if (!written || (strlen(written) == size && strncmp(written, value + 1, size) == 0))
        return;
    (void)fputs(", written ", printer->out);
    print_text(printer->out, written, false);
}

/* Behind a value: where it is from. @usual: the default in the form of print_to_text(), NULL:
 * none. */
static int print_origin(const struct config_printer *printer,
                        const struct config_key *key,
                        const config_setting_t *setting,
                        const void *target,
                        const char *usual)
{
    AUTO_FREE char *value = print_to_text(key, target);

    if (!value)
        return -ENOMEM;
    (void)fputs(" # ", printer->out);
    print_place(printer, setting);
    print_written(printer, key, setting, value);
    if (usual && strcmp(value, usual) != 0)
        (void)fprintf(printer->out, ", default: %s", key->value);
    return 0;
}

static const char *print_last_part(const char *path)
{
    const char *dot = strrchr(path, '.');

    return dot ? dot + 1 : path;
}

static unsigned print_depth(const char *group)
{
    unsigned depth = 0;

    for (; *group != '\0'; group++)
        depth += *group == '.';
    return depth;
}

static void print_indent(const struct config_printer *printer, unsigned depth)
{
    (void)fprintf(printer->out, "%*s", (int)(4 * depth), "");
}

/* Closes the groups that @path is not in, and opens those that it is in. */
static void print_enter(struct config_printer *printer, const char *path)
{
    char *group = printer->group;

    while (strncmp(group, path, strlen(group)) != 0) {
        group[strlen(group) - 1] = '\0';
        group[print_last_part(group) == group ? 0 : print_last_part(group) - group] = '\0';
        print_indent(printer, print_depth(group));
        (void)fputs("};\n", printer->out);
    }
    while (strchr(path + strlen(group), '.')) {
        size_t size = strlen(group) + strcspn(path + strlen(group), ".");
        unsigned depth = print_depth(group);

        print_indent(printer, depth);
        (void)fprintf(printer->out, "%.*s:\n", (int)(size - strlen(group)),
                      path + strlen(group));
        print_indent(printer, depth);
        (void)fputs("{\n", printer->out);
        (void)snprintf(group, sizeof(printer->group), "%.*s.", (int)size, path);
    }
}

/* A key of one of the lists is a line of the group @group, and is left out if it is not there
 * and has no value of its own. */
static int print_list_key(const struct config_printer *printer,
                          const struct config_key *key,
                          const config_setting_t *group,
                          const void *target)
{
    const char *name = print_last_part(key->path);
    const config_setting_t *setting = config_setting_get_member(group, name);

    if (key->kind == CONFIG_KIND_STRING && !print_string(key, target))
        return 0;
    (void)fprintf(printer->out, "        %s = ", name);
    print_value(printer->out, key, target);
    (void)fputs(";", printer->out);
    if (setting) {
        int r = print_origin(printer, key, setting, target, key->value);
        if (r != 0)
            return r;
    } else {
        (void)fputs(key->value ? " # default" : " # as retention", printer->out);
    }
    (void)fputs("\n", printer->out);
    return 0;
}

struct config_list {
    const char *name;
    const struct config_key *keys;
    size_t key_count;
    const char *elements; /* borrowed */
    size_t element_size;
};

static int print_list(const struct config_printer *printer, const struct config_list *list)
{
    const config_setting_t *setting =
        printer->loader->found[config_key_index(config_key_find(list->name))];
    int count = setting ? config_setting_length(setting) : 0;

    (void)fprintf(printer->out, "%s = (", list->name);
    for (int i = 0; i < count; i++) {
        const config_setting_t *group = config_setting_get_elem(setting, (unsigned)i);

        (void)fputs(i > 0 ? ",\n    { # " : "\n    { # ", printer->out);
        print_place(printer, group);
        (void)fputs("\n", printer->out);
        for (size_t k = 0; k < list->key_count; k++) {
            int r = print_list_key(printer, &list->keys[k], group,
                                   list->elements + (size_t)i * list->element_size);
            if (r != 0)
                return r;
        }
        (void)fputs("    }", printer->out);
    }
    (void)fputs(count > 0 ? "\n); # " : " ); # ", printer->out);
    if (setting)
        print_place(printer, setting);
    else
        (void)fputs("default", printer->out);
    (void)fputs("\n", printer->out);
    return 0;
}

static int print_lists(const struct config_printer *printer, const char *path)
{
    const struct config *config = printer->loader->config;
    const struct config_list lanes = {
        .name = "lanes",
        .keys = config_lane_keys,
        .key_count = config_lane_key_count,
        .elements = (const char *)config->lanes,
        .element_size = sizeof(struct config_lane),
    };
    const struct config_list entries = {
        .name = "access",
        .keys = config_access_keys,
        .key_count = config_access_key_count,
        .elements = (const char *)config->access,
        .element_size = sizeof(struct config_access),
    };

    return print_list(printer, strcmp(path, lanes.name) == 0 ? &lanes : &entries);
}

static int print_key(struct config_printer *printer,
                     const struct config_key *key,
                     const struct config *defaults)
{
    const struct config_loader *loader = printer->loader;
    const config_setting_t *setting = loader->found[config_key_index(key)];
    AUTO_FREE char *usual = NULL;
    int r = 0;

    print_enter(printer, key->path);
    if (key->kind == CONFIG_KIND_GROUPS)
        return print_lists(printer, key->path);
    print_indent(printer, print_depth(printer->group));
    (void)fprintf(printer->out, "%s = ", print_last_part(key->path));
    print_value(printer->out, key, loader->config);
    (void)fputs(";", printer->out);
    if (setting && key->value) {
        usual = print_to_text(key, defaults);
        r = usual ? 0 : -ENOMEM;
    }
    if (setting && r == 0)
        r = print_origin(printer, key, setting, loader->config, usual);
    else
        (void)fputs(" # default", printer->out);
    (void)fputs("\n", printer->out);
    return r;
}

static void print_paths(FILE *out, char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)fputs("#     ", out);
        text_put(out, paths[i]);
        (void)fputs("\n", out);
    }
}

static void print_head(const struct config_printer *printer)
{
    const struct config_paths *paths = &printer->loader->paths;
    const struct config_unread *unread = &printer->loader->config->unread;

    (void)fputs("# The effective configuration, of\n", printer->out);
    print_paths(printer->out, paths->paths, paths->count);
    if (unread->count > 0)
        (void)fputs("# Not read, because the names do not end in .conf:\n", printer->out);
    print_paths(printer->out, unread->paths, unread->count);
    if (unread->left_out > 0)
        (void)fprintf(printer->out, "#     and %zu more\n", unread->left_out);
    (void)fputs("# Behind each value: where it is from; and the default, if it is another.\n\n",
                printer->out);
}

int config_put_all(const struct config_loader *loader,
                   const struct config *defaults,
                   char **ret)
{
    struct config_printer printer = {.loader = loader};
    char *text = NULL;
    size_t size;
    int r = 0;

    printer.out = open_memstream(&text, &size);
    if (!printer.out)
        return -ENOMEM;
    print_head(&printer);
    for (size_t i = 0; i < config_key_count && r == 0; i++)
        r = print_key(&printer, &config_keys[i], defaults);
    print_enter(&printer, "");
    if (fclose(printer.out) != 0)
        r = -ENOMEM;
    if (r == 0)
        *ret = text;
    else
        free(text);
    return r;
}
