/* SPDX-License-Identifier: MIT */
/*
 * part_config.c - the configuration without its secrets, and the secrets to search for
 *
 * Files that a setting names (keys, passwords, certificates) are never included; what is in
 * them is read only to remove it elsewhere.
 */
#include "base/cleanup.h"
#include "base/view.h"
#include "cli/bundle/archive.h"
#include "cli/bundle/conf_scrub.h"
#include "cli/bundle/members.h"
#include "cli/bundle/scrub.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beside the configuration. */
#define SNIPPETS "conf.d"

static void add_lines(struct bundle *bundle, struct view text)
{
    while (text.size > 0) {
        const char *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - view_chars(text)) : text.size;
        size_t visible = size > 0 && text.data[size - 1] == '\r' ? size - 1 : size;

        if (size > 0 && text.data[0] != '-')
            scrub_add(&bundle->scrub, view_of(text.data, visible));
        text = view_skip(text, size < text.size ? size + 1 : size);
    }
}

typedef void config_file_fn(struct bundle *bundle, const char *path, const char *name);

static void add_file(struct bundle *bundle, const char *path, const char *name)
{
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *clean = NULL;
    size_t size = 0;
    size_t clean_size = 0;
    bool is_whole = false;
    FILE *to;

    text = bundle_read(bundle, path, &size);
    to = text ? open_memstream(&clean, &clean_size) : NULL;
    if (!to)
        return;
    is_whole = conf_scrub(&bundle->scrub, to, view_of(text, size));
    explicit_bzero(text, size);
    if (fclose(to) != 0) {
        bundle_note(bundle, path, "left out, out of memory");
        return;
    }
    if (!is_whole)
        bundle_note(bundle, path,
                    "its end is left out, from a text or comment that does not end");
    bundle_add_scrubbed(bundle, name, "configuration, without comments and secrets",
                        view_of(clean, clean_size));
}

/* What is secret in it by its name, and which files hold secrets. */
static void search_file(struct bundle *bundle, const char *path, const char *name)
{
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *clean = NULL;
    size_t size = 0;
    size_t clean_size = 0;
    FILE *to;

    (void)name;
    text = bundle_read(bundle, path, &size);
    to = text ? open_memstream(&clean, &clean_size) : NULL;
    if (!to)
        return;
    (void)conf_scrub(&bundle->scrub, to, view_of(text, size));
    explicit_bzero(text, size);
    (void)fclose(to);
}

static int is_snippet(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);

    return size > 5 && entry->d_name[0] != '.' &&
           strcmp(entry->d_name + size - 5, ".conf") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void each_snippet(struct bundle *bundle, config_file_fn *take)
{
    const char *slash = strrchr(bundle->config_path, '/');
    int folder_size = slash ? (int)(slash - bundle->config_path) + 1 : 0;
    struct dirent **entries = NULL;
    char folder[PATH_MAX];
    int count;

    (void)snprintf(folder, sizeof(folder), "%.*s" SNIPPETS, folder_size, bundle->config_path);
    count = scandir(folder, &entries, is_snippet, by_bytes);
    if (count < 0 && errno != ENOENT)
        bundle_note(bundle, folder, "left out, %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX + NAME_MAX + 2];
        char name[ARCHIVE_NAME_MAX + 1];
        int size;

        (void)snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        size = snprintf(name, sizeof(name), "config/" SNIPPETS "/%s", entries[i]->d_name);
        if (size > ARCHIVE_NAME_MAX)
            bundle_note(bundle, path, "left out, its name is too long");
        else
            take(bundle, path, name);
        free(entries[i]);
    }
    free(entries);
}

static void each_file(struct bundle *bundle, config_file_fn *take)
{
    take(bundle, bundle->config_path, "config/mqtt-spoold.conf");
    each_snippet(bundle, take);
}

/* Their names come from the text of the configuration, which may be one that cannot be parsed.
 * What is noted and counted meanwhile is so again when the configuration is added. */
void part_load_secrets(struct bundle *bundle)
{
    size_t notes = bundle->note_count;

    each_file(bundle, search_file);
    bundle->note_count = notes;
    bundle->scrub.removed = bundle->removed;
    for (size_t i = 0; i < bundle->scrub.file_count; i++) {
        const char *path = bundle->scrub.files[i];
        size_t size = 0;
        AUTO_FREE char *text = bundle_read(bundle, path, &size);

        if (!text)
            continue;
        add_lines(bundle, view_of(text, size));
        explicit_bzero(text, size);
    }
}

void part_add_config(struct bundle *bundle)
{
    each_file(bundle, add_file);
}
