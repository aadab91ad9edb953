/* SPDX-License-Identifier: MIT */
/*
 * cleanup.h - local variables that release what they own at the end of their scope
 *
 * A local that owns memory or a descriptor carries one of these. To pass the
 * ownership on, set the local to NULL or -1.
 */
#ifndef MQTT_SPOOLD_BASE_CLEANUP_H
#define MQTT_SPOOLD_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#include "base/attr.h"

static inline void cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* a failed close of an unneeded descriptor has no remedy */
}

/* Passes the ownership of a descriptor on: @fd becomes -1, its value is returned. */
static inline int cleanup_take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

#define AUTO_FREE  CLEANUP(cleanup_free)
#define AUTO_CLOSE CLEANUP(cleanup_close)

#endif
