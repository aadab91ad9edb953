/* SPDX-License-Identifier: MIT */
/*
 * user.h - the user that the daemon runs as, and what that user may do
 *
 * Root may read everything, so a check with the caller's rights would show nothing.
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_USER_H
#define MQTT_SPOOLD_CLI_DOCTOR_USER_H

#include <stdbool.h>
#include <sys/types.h>

enum { DOCTOR_USER_NAME_MAX = 64, DOCTOR_USER_GROUPS_MAX = 256 };

struct doctor_user {
    uid_t uid;
    gid_t gid;
    char name[DOCTOR_USER_NAME_MAX]; /* or the number */
    bool is_daemons;                 /* else it is the caller, for want of a better one */
    bool is_borrowed;                /* between doctor_user_borrow() and _return() */
    gid_t own_groups[DOCTOR_USER_GROUPS_MAX];
    int own_group_count;
};

/* The user of the daemon's process, else that of the unit, else the caller. */
void doctor_user_find(struct doctor_user *ret);
/* Acts with that user's rights until doctor_user_return(). False: with the caller's own. */
bool doctor_user_borrow(struct doctor_user *user);
/* Ends the process if the own rights cannot be had again. */
void doctor_user_return(struct doctor_user *user);

#endif
