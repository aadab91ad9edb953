/* SPDX-License-Identifier: MIT */
/*
 * rotated.c - the files that were rotated away from an audit file, under the names that
 * logrotate gives
 */
#include "cli/audit/check.h"

#include "base/cleanup.h"
#include "base/regular.h"
#include "base/same_file.h"
#include "cli/audit/files.h"

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

static bool is_same_file(int a, int b)
{
    struct stat left, right;

    return a >= 0 && b >= 0 && fstat(a, &left) == 0 && fstat(b, &right) == 0 &&
           same_file(&left, &right);
}

/* A rotation meanwhile gives a file the next name, so that it may be met twice. But what is met
 * just before @fd is behind it: a file that moved in between would have hidden @fd. */
static int find_once(int fd, const char *file, int *ret)
{
    AUTO_CLOSE int newer = -1;
    char name[PATH_MAX];

    (void)snprintf(name, sizeof(name), "%s", file);
    for (unsigned i = 1; i <= AUDIT_ROTATED_MAX + 1; i++) {
        int found = regular_openat(AT_FDCWD, name, O_RDONLY, 0);

        if (found < 0 && i > 1) /* the newest is missing between a rename and a HUP */
            break;
        if (is_same_file(found, fd)) {
            (void)close(found);
            *ret = cleanup_take_fd(&newer);
            return 0;
        }
        if (newer >= 0)
            (void)close(newer);
        newer = found;
        if (snprintf(name, sizeof(name), "%s.%u", file, i) >= (int)sizeof(name))
            break;
    }
    return -ESTALE;
}

int audit_find_successor(int fd, const char *file, int *ret)
{
    int result = -ESTALE;

    for (int tries = 0; result < 0 && tries < AUDIT_RENAME_TRIES; tries++)
        result = find_once(fd, file, ret);
    return result;
}
