/* SPDX-License-Identifier: MIT */
/*
 * full.h - which errors of a write mean that there is no room
 *
 * A full disk, a used up quota, and a file that is as large as the process or
 * the file system allows: whatever it is that is used up, what was written before
 * is as sound as it was, and the same write succeeds when there is room again.
 *
 * Of writes, allocations and truncations only. A sync that fails is another thing
 * with these errors too (a file system that allocates late reports them there):
 * the kernel may have dropped the pages, and a second one that succeeds would
 * prove nothing of the first.
 */
#ifndef MQTT_SPOOLD_BASE_FULL_H
#define MQTT_SPOOLD_BASE_FULL_H

#include <errno.h>
#include <stdbool.h>

static inline bool full_is_error(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

static inline const char *full_error_name(int error)
{
    return error == EDQUOT ? "EDQUOT" : error == EFBIG ? "EFBIG" : "ENOSPC";
}

#endif
