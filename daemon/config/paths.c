/* SPDX-License-Identifier: MIT */
/*
 * paths.c - rejects two keys that name one file which the daemon writes
 *
 * An audit file that is also status.json would be replaced every few seconds; one
 * that is the configuration would be appended to. Two names are one file if they
 * lead to the same inode, also through links; if one of them does not exist yet,
 * if the folder and the last part are the same. A folder that does not exist
 * either is compared as text, without "//", "." and "..".
 *
 * Files that are only read may be the same: a PEM file can hold certificate and key.
 */
#include "base/cleanup.h"
#include "base/same_file.h"
#include "daemon/config/config.h"
#include "daemon/config/sources.h"
#include "daemon/config/table.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATHS_ENTRIES_MAX (24 + CONFIG_SOURCES_MAX)
#define SPOOL_KEY         "spool.directory"

struct paths_entry {
    const char *key;  /* for the error; NULL: none */
    const char *what; /* its description in the error */
    char path[PATH_MAX];
};

struct paths_list {
    size_t count;
    size_t written; /* that number of them, at the front */
    struct paths_entry entries[PATHS_ENTRIES_MAX];
};

/* A path that is longer than the kernel allows is no file. */
static void PRINTF_LIKE(4, 5) paths_add(
    struct paths_list *list, const char *key, const char *what, const char *format, ...)
{
    struct paths_entry *entry = &list->entries[list->count];
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(entry->path, sizeof(entry->path), format, arguments);
    va_end(arguments);
    if (size <= 0 || (size_t)size >= sizeof(entry->path))
        return;
    entry->key = key;
    entry->what = what;
    list->count++;
}

/* The length of the folder of a path, without the slash. */
static int paths_folder_size(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (int)(slash - path) : 0;
}

static void paths_add_written(struct paths_list *list, const struct config *config)
{
    const char *audit = config->audit.file;
    const char *socket = config->listen.socket;
    int folder = paths_folder_size(socket);

    if (audit[0] != '\0') {
        paths_add(list, "audit.file", "audit.file", "%s", audit);
        paths_add(list, "audit.file", "the file that was rotated from audit.file", "%s.1",
                  audit);
    }
    paths_add(list, "listen.socket", "listen.socket", "%s", socket);
    paths_add(list, "listen.socket", "status.json beside listen.socket", "%.*s/status.json",
              folder, socket);
    paths_add(list, "listen.socket", "status.json.new beside listen.socket",
              "%.*s/status.json.new", folder, socket);
    list->written = list->count;
}

static void paths_add_spool(struct paths_list *list, const struct config *config)
{
    static const char *const files[] = {"spool.db", "spool.db-wal", "spool.db-shm",
                                        "spool.mark", "lock"};

    paths_add(list, SPOOL_KEY, SPOOL_KEY, "%s", config->spool.directory);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        paths_add(list, SPOOL_KEY, "a file of the spool", "%s/%s", config->spool.directory,
                  files[i]);
}

static void paths_add_sources(struct paths_list *list, char *const *sources, size_t count)
{
    for (size_t i = 0; i < count; i++)
        paths_add(list, NULL, i == 0 ? "the configuration file" : "a file of conf.d", "%s",
                  sources[i]);
}

static void paths_add_read(struct paths_list *list, const struct config *config)
{
    const struct {
        const char *key;
        const char *path;
    } files[] = {
        {"uplink.password_file", config->uplink.password_file},
        {"uplink.tls.ca_file", config->uplink.tls.ca_file},
        {"uplink.tls.cert_file", config->uplink.tls.cert_file},
        {"uplink.tls.key_file", config->uplink.tls.key_file},
        {"uplink.tls.key_password_file", config->uplink.tls.key_password_file},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (files[i].path[0] != '\0')
            paths_add(list, files[i].key, files[i].key, "%s", files[i].path);
}

/* Writes the path to @text without empty parts, "." and "..", by its text alone. */
static void paths_normalize(const char *path, int size, char text[static PATH_MAX])
{
    const char *end = path + size;
    size_t used = 0;

    while (path < end) {
        size_t part = strcspn(path, "/");

        if (part > (size_t)(end - path))
            part = (size_t)(end - path);
        if (part == 2 && memcmp(path, "..", 2) == 0) {
            while (used > 0 && text[--used] != '/')
                ;
        } else if (part > 0 && !(part == 1 && *path == '.')) {
            text[used++] = '/';
            memcpy(text + used, path, part);
            used += part;
        }
        path += part < (size_t)(end - path) ? part + 1 : part;
    }
    text[used] = '\0';
}

static bool paths_is_same_folder(const char *a, const char *b)
{
    char first[PATH_MAX], second[PATH_MAX];
    struct stat first_st, second_st;

    paths_normalize(a, paths_folder_size(a), first);
    paths_normalize(b, paths_folder_size(b), second);
    if (strcmp(first, second) == 0)
        return true;
    return stat(first[0] != '\0' ? first : "/", &first_st) == 0 &&
           stat(second[0] != '\0' ? second : "/", &second_st) == 0 &&
           same_file(&first_st, &second_st);
}

static const char *paths_last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static bool paths_is_same_file(const char *a, const char *b)
{
    struct stat first, second;
    bool is_there = stat(a, &first) == 0;

    if (is_there != (stat(b, &second) == 0))
        return false;
    if (is_there)
        return same_file(&first, &second);
    return strcmp(paths_last_part(a), paths_last_part(b)) == 0 && paths_is_same_folder(a, b);
}

/* Includes the files that the spool creates at times: spool.db.damaged-..., spool.db.new. */
static bool paths_is_of_spool(const struct paths_entry *entry, const struct config *config)
{
    const char *name = paths_last_part(entry->path);
    char inside[PATH_MAX];

    if (strncmp(name, "spool.db", 8) != 0 && strncmp(name, "spool.mark", 10) != 0)
        return false;
    int size = snprintf(inside, sizeof(inside), "%s/x", config->spool.directory);
    return size > 0 && size < (int)sizeof(inside) && paths_is_same_folder(entry->path, inside);
}

/* What else the file number @at is; NULL: nothing. */
static const struct paths_entry *
paths_find_collision(const struct paths_list *list, size_t at, const struct config *config)
{
    static const struct paths_entry of_spool = {.key = SPOOL_KEY,
                                                .what = "a file of the spool"};
    const struct paths_entry *entry = &list->entries[at];

    if (paths_is_of_spool(entry, config))
        return &of_spool;
    for (size_t i = at + 1; i < list->count; i++)
        if (paths_is_same_file(entry->path, list->entries[i].path))
            return &list->entries[i];
    return NULL;
}

int config_check_paths(const struct config *config,
                       char *const *sources,
                       size_t source_count,
                       const struct config_errors *errors)
{
    AUTO_FREE struct paths_list *list = calloc(1, sizeof(*list));

    if (!list)
        return -ENOMEM;
    paths_add_written(list, config);
    paths_add_spool(list, config);
    paths_add_sources(list, sources, source_count);
    paths_add_read(list, config);
    for (size_t i = 0; i < list->written; i++) {
        const struct paths_entry *entry = &list->entries[i];
        const struct paths_entry *other = paths_find_collision(list, i, config);
        char why[CONFIG_ERROR_MAX];
        int r;

        if (!other)
            continue;
        (void)snprintf(
            why, sizeof(why),
            "must be another path: %s and %s would be one file, and the daemon writes it",
            entry->what, other->what);
        r = errors->refuse(errors->userdata, entry->key, other->key, why);
        if (r != 0)
            return r;
    }
    return 0;
}
