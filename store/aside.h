/* SPDX-License-Identifier: MIT */
/*
 * aside.h - what is in the way in the folder of a spool gets another name
 *
 * Nothing that this program did not make is deleted or opened: a file, a folder or
 * a FIFO that has a name which the spool needs is renamed to
 * "spool.db.refused-<UTC time>", and what was renamed is kept for the log.
 *
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_ASIDE_H
#define MQTT_SPOOLD_STORE_ASIDE_H

#include <stdbool.h>

#include "base/attr.h"
#include "store/spool.h"

#define ASIDE_PREFIX "spool.db.refused-"

/* Whatever kind of file it is; a symbolic link is not followed. */
bool aside_is_there(int directory_fd, const char *name);
/* A name that begins with @prefix and that no file has, by the time of @of. Its log may have
 * that name with "-log" behind it. Return: 0; negative errno. */
MUST_CHECK int aside_choose_name(int directory_fd,
                                 const char *of,
                                 const char *prefix,
                                 char name[static SPOOL_NAME_MAX]);
/* Replaces nothing. What is not there is no error. Return: 0; negative errno. */
MUST_CHECK int aside_rename(int directory_fd, const char *from, const char *to);
/* Renames @name because of @why, and notes it for spool_take_set_aside(). Return: 0; negative
 * errno. */
MUST_CHECK int aside_move(int directory_fd, const char *name, const char *why);

#endif
