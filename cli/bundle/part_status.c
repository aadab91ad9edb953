/* SPDX-License-Identifier: MIT */
/*
 * part_status.c - the status of the daemon, and which files the spool has
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "base/view.h"
#include "cli/bundle/members.h"
#include "cli/cli.h"
#include "cli/verbs/control.h"
#include "daemon/config/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

/* The daemon is asked if it can be; else its file is read. To be freed. */
static char *load_status(const struct bundle *bundle)
{
    json_t *root = NULL;
    char *text = NULL;
    int code;

    cli_silence_errors(true);
    code = control_get_status(bundle->socket, &root, NULL);
    cli_silence_errors(false);
    if (code == EX_OK)
        text = json_dumps(root, JSON_INDENT(1) | JSON_ENSURE_ASCII);
    json_decref(root);
    return text ? text : cli_read_status();
}

void part_add_status(struct bundle *bundle)
{
    AUTO_FREE char *text = bundle->socket ? load_status(bundle) : NULL;

    if (text)
        bundle_add(bundle, "status.json", "what the daemon reports, or did last",
                   view_of_text(text));
    else
        bundle_note(bundle, NULL,
                    "status.json: left out, the daemon does not run and left no status");
}

static int is_listed(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void list_entry(FILE *to, const char *folder, const char *name)
{
    AUTO_CLOSE int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char changed[CLOCK_TEXT_MAX];
    struct stat st;

    if (fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    clock_format((int64_t)st.st_mtim.tv_sec * 1000, changed);
    fprintf(to, "%06o %u:%u %14" PRId64 " %s ", (unsigned)st.st_mode, (unsigned)st.st_uid,
            (unsigned)st.st_gid, (int64_t)st.st_size, changed);
    text_put(to, name);
    fputc('\n', to);
}

static void list_folder(struct bundle *bundle, FILE *to, const char *folder)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_listed, by_bytes);

    fprintf(to, "%s\n", folder);
    if (count < 0)
        bundle_note(bundle, folder, "not listed, %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        list_entry(to, folder, entries[i]->d_name);
        free(entries[i]);
    }
    fputc('\n', to);
    free(entries);
}

static void list_folder_of(struct bundle *bundle, FILE *to, const char *file)
{
    const char *slash = strrchr(file, '/');
    char folder[PATH_MAX];

    if (!slash)
        return;
    (void)snprintf(folder, sizeof(folder), "%.*s", slash > file ? (int)(slash - file) : 1,
                   file);
    list_folder(bundle, to, folder);
}

void part_add_files(struct bundle *bundle)
{
    AUTO_FREE char *text = NULL;
    size_t size = 0;
    FILE *to;

    if (!bundle->config)
        return;
    to = open_memstream(&text, &size);
    if (!to)
        return;
    list_folder(bundle, to, bundle->config->spool.directory);
    list_folder_of(bundle, to, bundle->config->listen.socket);
    list_folder_of(bundle, to, bundle->config->audit.file);
    if (fclose(to) == 0)
        bundle_add(bundle, "files.txt", "names, sizes and times; nothing of their content",
                   view_of(text, size));
}
