/* SPDX-License-Identifier: MIT */
/*
 * full.h - which errors of a write mean that there is no room
 *
 * A full disk, an exhausted quota, and a file that is as large as the process or
 * the file system allows: what was written before is as sound as it was, and the
 * same write succeeds when there is room again.
 *
 * For writes, allocations and truncations only. A sync that fails is different
 * even with these errors (a file system with delayed allocation reports them
 * there): the kernel may have dropped the pages, and a later sync that succeeds
 * proves nothing about the first.
 */
#ifndef MQTT_SPOOLD_BASE_FULL_H
#define MQTT_SPOOLD_BASE_FULL_H

#include <errno.h>
#include <stdbool.h>

/* @error: an errno. */
static inline bool full_is_error(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* Of an @error for which full_is_error() is true. */
static inline const char *full_error_name(int error)
{
    return error == EDQUOT ? "EDQUOT" : error == EFBIG ? "EFBIG" : "ENOSPC";
}

#endif
