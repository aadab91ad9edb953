/* SPDX-License-Identifier: MIT */
/*
 * user.c - the user that the daemon runs as, and what that user may do
 */
#include "cli/doctor/user.h"

#include "cli/cli.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNIT_USER "mqtt-spoold"

static void set_name(struct doctor_user *user)
{
    const struct passwd *entry = getpwuid(user->uid);

    if (entry)
        (void)snprintf(user->name, sizeof(user->name), "%s", entry->pw_name);
    else
        (void)snprintf(user->name, sizeof(user->name), "%u", (unsigned)user->uid);
}

void doctor_user_find(struct doctor_user *ret)
{
    const struct passwd *entry = getpwnam(UNIT_USER);
    pid_t pid = cli_daemon_pid();
    char process[32];
    struct stat st;

    *ret = (struct doctor_user){.uid = geteuid(), .gid = getegid()};
    (void)snprintf(process, sizeof(process), "/proc/%d", (int)pid);
    if (pid > 0 && stat(process, &st) == 0) {
        ret->uid = st.st_uid;
        ret->gid = st.st_gid;
        ret->is_daemons = true;
    } else if (entry) {
        ret->uid = entry->pw_uid;
        ret->gid = entry->pw_gid;
        ret->is_daemons = true;
    }
    set_name(ret);
}

static bool take_groups(const struct doctor_user *user)
{
    gid_t groups[DOCTOR_USER_GROUPS_MAX] = {user->gid};
    int count = DOCTOR_USER_GROUPS_MAX;

    if (getgrouplist(user->name, user->gid, groups, &count) < 0)
        count = 1;
    return setgroups((size_t)count, groups) == 0;
}

bool doctor_user_borrow(struct doctor_user *user)
{
    if (geteuid() != 0 || user->uid == 0)
        return user->uid == geteuid();
    user->own_group_count = getgroups(DOCTOR_USER_GROUPS_MAX, user->own_groups);
    if (user->own_group_count < 0)
        return false;
    user->is_borrowed = true;
    if (take_groups(user) && setegid(user->gid) == 0 && seteuid(user->uid) == 0)
        return true;
    doctor_user_return(user);
    return false;
}

void doctor_user_return(struct doctor_user *user)
{
    if (!user->is_borrowed)
        return;
    user->is_borrowed = false;
    if (seteuid(0) < 0 || setegid(getgid()) < 0 ||
        setgroups((size_t)user->own_group_count, user->own_groups) < 0)
        _exit(EXIT_FAILURE);
}
