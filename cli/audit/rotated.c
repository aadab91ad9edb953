/* SPDX-License-Identifier: MIT */
/*
 * rotated.c - the files that were rotated away from an audit file, under the names that
 * logrotate gives
 */
#include "cli/audit/check.h"

#include "base/cleanup.h"
#include "base/regular.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool audit_find_rotated(const char *file, char ret[static PATH_MAX])
{
    return audit_find_numbered(file, 1, ret);
}

bool audit_find_numbered(const char *file, unsigned number, char ret[static PATH_MAX])
{
    char magic[2] = "";

    if (snprintf(ret, PATH_MAX, "%s.%u", file, number) >= PATH_MAX)
        return false;
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, ret, O_RDONLY, 0);

    return fd >= 0 && read(fd, magic, sizeof(magic)) >= 0 &&
           memcmp(magic, AUDIT_GZIP_MAGIC, sizeof(magic)) != 0;
}

bool audit_is_rotated(const char *file)
{
    char name[PATH_MAX], folder[PATH_MAX];
    const char *base;
    size_t length;
    bool found = false;
    DIR *dir;

    (void)snprintf(name, sizeof(name), "%s", file);
    (void)snprintf(folder, sizeof(folder), "%s", file);
    base = basename(name);
    length = strlen(base);
    dir = opendir(dirname(folder));
    for (struct dirent *entry; !found && dir && (entry = readdir(dir));) {
        const char *rest = entry->d_name + length;

        found = strncmp(entry->d_name, base, length) == 0 && (*rest == '.' || *rest == '-') &&
                rest[1] >= '0' && rest[1] <= '9';
    }
    if (dir)
        (void)closedir(dir);
    return found;
}
