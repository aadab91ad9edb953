/* SPDX-License-Identifier: MIT */
/*
 * socket_remedy.c - what a user does who may not open the daemon's socket
 *
 * Groups hold from a login on: who was added to one since then logs in again, and is not
 * to be added once more.
 */
#include "cli/verbs/socket_remedy.h"

#include "base/text.h"

#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { GROUPS_MAX = 1024 };

/* May the group of the socket open it, and is it one that users are added to? */
static bool is_for_group(const char *socket, struct stat *ret)
{
    return stat(socket, ret) == 0 && ret->st_gid != 0 && (ret->st_mode & S_IWGRP) != 0;
}

/* By the lists of users and groups; what this process has is from the last login. */
static bool is_listed(const struct passwd *user, gid_t group)
{
    gid_t groups[GROUPS_MAX];
    int count = GROUPS_MAX;
    bool is_found = false;

    if (getgrouplist(user->pw_name, user->pw_gid, groups, &count) < 0)
        return false;
    for (int i = 0; i < count; i++)
        is_found |= groups[i] == group;
    return is_found;
}

const char *socket_remedy(const char *socket, char text[static SOCKET_REMEDY_MAX])
{
    const struct passwd *user = getpwuid(geteuid());
    const struct group *group = NULL;
    struct stat st;

    if (user && is_for_group(socket, &st))
        group = getgrgid(st.st_gid);
    if (!group)
        text_format(text, SOCKET_REMEDY_MAX,
                    "run this as root (sudo), or as a user who may write to it (ls -l shows "
                    "who)");
    else if (is_listed(user, st.st_gid))
        text_format(text, SOCKET_REMEDY_MAX,
                    "log in again: since the last login this user is a member of its group, %s",
                    group->gr_name);
    else
        text_format(text, SOCKET_REMEDY_MAX,
                    "make this user a member of its group (sudo adduser %s %s), which holds "
                    "from the next login on",
                    user->pw_name, group->gr_name);
    return text;
}
