/* SPDX-License-Identifier: MIT */
/*
 * aside.c - see aside.h
 */
#include "store/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "store/names.h"

enum { NAME_TRIES = 1000 };

static char set_aside[SPOOL_SET_ASIDE_MAX];

bool aside_is_there(int directory_fd, const char *name)
{
    struct stat status;
    return fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_taken(int directory_fd, const char *name)
{
    char log[SPOOL_NAME_MAX + 8];
    (void)snprintf(log, sizeof(log), "%s" LONE_LOG_SUFFIX, name);
    return aside_is_there(directory_fd, name) || aside_is_there(directory_fd, log);
}

int aside_choose_name(int directory_fd,
                      const char *of,
                      const char *prefix,
                      char name[static SPOOL_NAME_MAX])
{
    struct stat status;
    struct tm utc;
    char time[32];
    if (fstatat(directory_fd, of, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!gmtime_r(&status.st_mtime, &utc) ||
        strftime(time, sizeof(time), "%Y%m%dT%H%M%SZ", &utc) == 0)
        (void)snprintf(time, sizeof(time), "unknown");
    (void)snprintf(name, SPOOL_NAME_MAX, "%s%s", prefix, time);
    for (int i = 2; i < NAME_TRIES && is_taken(directory_fd, name); i++)
        (void)snprintf(name, SPOOL_NAME_MAX, "%s%s-%d", prefix, time, i);
    return is_taken(directory_fd, name) ? -EEXIST : 0;
}

int aside_rename(int directory_fd, const char *from, const char *to)
{
    if (renameat2(directory_fd, from, directory_fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EINVAL &&
        !aside_is_there(directory_fd, to) && /* not every file system knows it */
        renameat(directory_fd, from, directory_fd, to) == 0)
        return 0;
    return errno == ENOENT ? 0 : -errno;
}

int aside_move(int directory_fd, const char *name, const char *why)
{
    char to[SPOOL_NAME_MAX];
    int r = aside_choose_name(directory_fd, name, ASIDE_PREFIX, to);
    if (r == 0)
        r = aside_rename(directory_fd, name, to);
    if (r == 0 && fsync(directory_fd) < 0)
        r = -errno;
    if (r != 0)
        return r;
    text_append(set_aside, sizeof(set_aside), "%s%s (%.160s) is %s now",
                *set_aside != '\0' ? "; " : "", name, why, to);
    return 0;
}

bool spool_take_set_aside(char ret[static SPOOL_SET_ASIDE_MAX])
{
    memcpy(ret, set_aside, sizeof(set_aside));
    *set_aside = '\0';
    return *ret != '\0';
}
