/* SPDX-License-Identifier: MIT */
/*
 * paths.c - do two keys name one file, of which the daemon writes at least one?
 *
 * An audit file that is status.json, too, would be replaced each few seconds; one
 * that is the configuration would be appended to. Two names are one file if they
 * lead to the same inode, so through links as well; where one of them does not
 * exist yet, if the folder is the same and the last part is equal. A folder that
 * does not exist either is compared as text, without "//", "." and "..".
 *
 * Files that are only read may be the same: a PEM file can hold certificate and key.
 */
#include "daemon/config/table.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NAMED_MAX 24

struct named {
    const char *key;  /* of a file that is written: to be named in the error */
    const char *what; /* in words */
    char path[PATH_MAX];
};

struct names {
    size_t count;
    size_t written; /* so many of them, the first */
    struct named list[NAMED_MAX];
};

/* A path that is longer than the kernel takes is no file. */
static void PRINTF_LIKE(4, 5)
    add(struct names *names, const char *key, const char *what, const char *format, ...)
{
    struct named *named = &names->list[names->count];
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(named->path, sizeof(named->path), format, arguments);
    va_end(arguments);
    if (size <= 0 || (size_t)size >= sizeof(named->path))
        return;
    named->key = key;
    named->what = what;
    names->count++;
}

/* How much of a path is its folder, without the slash. */
static int folder_size(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (int)(slash - path) : 0;
}

static void add_written(struct names *names, const struct config *config)
{
    const char *audit = config->audit.file;
    const char *socket = config->listen.socket;
    int folder = folder_size(socket);

    if (audit[0] != '\0') {
        add(names, "audit.file", "audit.file", "%s", audit);
        add(names, "audit.file", "the file that was rotated from audit.file", "%s.1", audit);
    }
    add(names, "listen.socket", "listen.socket", "%s", socket);
    add(names, "listen.socket", "status.json beside listen.socket", "%.*s/status.json", folder,
        socket);
    add(names, "listen.socket", "status.json.new beside listen.socket", "%.*s/status.json.new",
        folder, socket);
    names->written = names->count;
}

static void add_spool(struct names *names, const struct config *config)
{
    static const char *const files[] = {"spool.db", "spool.db-wal", "spool.db-shm",
                                        "spool.mark", "lock"};

    add(names, NULL, "spool.directory", "%s", config->spool.directory);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        add(names, NULL, "a file of the spool", "%s/%s", config->spool.directory, files[i]);
}

static void add_read(struct names *names, const struct config *config, const char *main_path)
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

    add(names, NULL, "the configuration file", "%s", main_path);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (files[i].path[0] != '\0')
            add(names, NULL, files[i].key, "%s", files[i].path);
}

/* @text becomes the path without empty parts, "." and "..", as far as that can be said without a
 * look at the disk. */
static void normalize(const char *path, int size, char text[static PATH_MAX])
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

static bool is_same_inode(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_same_folder(const char *a, const char *b)
{
    char first[PATH_MAX], second[PATH_MAX];
    struct stat first_st, second_st;

    normalize(a, folder_size(a), first);
    normalize(b, folder_size(b), second);
    if (strcmp(first, second) == 0)
        return true;
    return stat(first[0] != '\0' ? first : "/", &first_st) == 0 &&
           stat(second[0] != '\0' ? second : "/", &second_st) == 0 &&
           is_same_inode(&first_st, &second_st);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat first, second;
    bool is_there = stat(a, &first) == 0;

    if (is_there != (stat(b, &second) == 0))
        return false;
    if (is_there)
        return is_same_inode(&first, &second);
    return strcmp(last_part(a), last_part(b)) == 0 && is_same_folder(a, b);
}

/* Also those that the spool makes at times: spool.db.damaged-..., spool.db.new and the like. */
static bool is_of_spool(const struct named *named, const struct config *config)
{
    const char *name = last_part(named->path);
    char inside[PATH_MAX];

    if (strncmp(name, "spool.db", 8) != 0 && strncmp(name, "spool.mark", 10) != 0)
        return false;
    int size = snprintf(inside, sizeof(inside), "%s/x", config->spool.directory);
    return size > 0 && size < (int)sizeof(inside) && is_same_folder(named->path, inside);
}

/* Return: the key at fault. */
static const char *
refuse(const struct named *named, const char *other, char why[static CONFIG_ERROR_MAX])
{
    (void)snprintf(
        why, CONFIG_ERROR_MAX,
        "must be another path: %s and %s would be one file, and the daemon writes it",
        named->what, other);
    return named->key;
}

static const char *find_collision(const struct names *names,
                                  const struct config *config,
                                  char why[static CONFIG_ERROR_MAX])
{
    for (size_t i = 0; i < names->written; i++) {
        const struct named *named = &names->list[i];

        if (is_of_spool(named, config))
            return refuse(named, "a file of the spool", why);
        for (size_t j = i + 1; j < names->count; j++)
            if (is_same_file(named->path, names->list[j].path))
                return refuse(named, names->list[j].what, why);
    }
    return NULL;
}

const char *config_check_paths(const struct config *config,
                               const char *main_path,
                               char why[static CONFIG_ERROR_MAX])
{
    AUTO_FREE struct names *names = calloc(1, sizeof(*names));

    if (!names) {
        (void)snprintf(why, CONFIG_ERROR_MAX, "%s", config_no_memory);
        return "audit.file";
    }
    add_written(names, config);
    add_spool(names, config);
    add_read(names, config, main_path);
    return find_collision(names, config, why);
}
