/* SPDX-License-Identifier: MIT */
/*
 * sources.c - which files a configuration is made of
 *
 * A folder that does not exist has no files. One that exists and cannot be read is an error:
 * without its files the daemon would run with other settings than those that are meant.
 */
#include "daemon/config/sources.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"

#define DROPIN_FOLDER "conf.d"
#define DROPIN_ENDING ".conf"

void config_free_paths(struct config_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->paths[i]);
    paths->count = 0;
}

void config_free_unread(struct config_unread *unread)
{
    for (size_t i = 0; i < unread->count; i++)
        free(unread->paths[i]);
    unread->count = 0;
}

static int config_add_path(struct config_paths *paths, const char *folder, const char *name)
{
    char *path;

    if (asprintf(&path, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", name) < 0)
        return -ENOMEM;
    paths->paths[paths->count++] = path;
    return 0;
}

static bool config_is_dropin(const char *name)
{
    size_t size = strlen(name);
    size_t ending = sizeof(DROPIN_ENDING) - 1;

    return name[0] != '.' && size > ending && strcmp(name + size - ending, DROPIN_ENDING) == 0;
}

static int
config_note_unread(struct config_unread *unread, const char *folder, const char *name)
{
    size_t at = unread->count;
    char *path;

    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return -ENOMEM;
    if (at < CONFIG_UNREAD_MAX) {
        unread->count++;
    } else {
        unread->left_out++;
        if (strcmp(path, unread->paths[--at]) > 0) {
            free(path);
            return 0;
        }
        free(unread->paths[at]);
    }
    for (; at > 0 && strcmp(unread->paths[at - 1], path) > 0; at--)
        unread->paths[at] = unread->paths[at - 1];
    unread->paths[at] = path;
    return 0;
}

void config_describe_unread(const struct config_unread *unread,
                            size_t at,
                            char text[static CONFIG_ERROR_MAX])
{
    text_format(text, CONFIG_ERROR_MAX,
                "%s: not read, because its name does not end in " DROPIN_ENDING,
                unread->paths[at]);
    if (at + 1 == unread->count && unread->left_out > 0)
        text_append(text, CONFIG_ERROR_MAX, "; %zu more are not, either", unread->left_out);
}

static int config_compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A link that leads nowhere is there, too. What keeps its name from being looked up keeps the
 * main file from being opened, and is reported of that. */
static bool config_is_absent(const char *folder)
{
    struct stat status;

    return lstat(folder, &status) < 0;
}

static int config_refuse_folder(char *error, const char *folder, const char *why)
{
    text_format(error, CONFIG_ERROR_MAX, "%s: %s", folder, why);
    return -EINVAL;
}

static int config_read_folder(DIR *directory,
                              const char *folder,
                              struct config_paths *paths,
                              struct config_unread *unread,
                              char error[static CONFIG_ERROR_MAX])
{
    const struct dirent *entry;
    unsigned seen = 0;
    int r = 0;

    for (errno = 0; r == 0 && (entry = readdir(directory)); errno = 0) {
        if (++seen > CONFIG_DROPIN_ENTRIES)
            return config_refuse_folder(
                error, folder, "has more than 1000 names; keep other files in another folder");
        if (!config_is_dropin(entry->d_name)) {
            if (entry->d_name[0] != '.')
                r = config_note_unread(unread, folder, entry->d_name);
            continue;
        }
        if (paths->count == CONFIG_SOURCES_MAX)
            return config_refuse_folder(
                error, folder,
                "has more than 64 files *.conf; join some of them, or rename "
                "those that are not used");
        r = config_add_path(paths, folder, entry->d_name);
    }
    return r == 0 && errno != 0 ? config_refuse_folder(error, folder, strerror(errno)) : r;
}

int config_list_paths(const char *path,
                      const char *folder,
                      struct config_paths *ret,
                      struct config_unread *unread,
                      char error[static CONFIG_ERROR_MAX])
{
    char *dropins;
    DIR *directory;
    int r = config_add_path(ret, "", path);

    if (r < 0 || asprintf(&dropins, "%s/" DROPIN_FOLDER, folder) < 0)
        return -ENOMEM;
    directory = opendir(dropins);
    if (directory) {
        r = config_read_folder(directory, dropins, ret, unread, error);
        (void)closedir(directory); /* only read from */
        qsort(ret->paths + 1, ret->count - 1, sizeof(ret->paths[0]), config_compare_paths);
    } else {
        int reason = errno;

        if (!config_is_absent(dropins))
            r = config_refuse_folder(error, dropins, strerror(reason));
    }
    free(dropins);
    return r;
}
