/* SPDX-License-Identifier: MIT */
/*
 * same_file.h - are two files the same, whatever their names?
 *
 * Only while both exist or are open: the number of a removed file is given to another one.
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_SAME_FILE_H
#define MQTT_SPOOLD_BASE_SAME_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

static inline bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

#endif
