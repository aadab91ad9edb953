/* SPDX-License-Identifier: MIT */
/*
 * cleanup.h - owners that clean up when they leave their scope
 *
 * A local that owns carries one of these; giving the object away sets the
 * local to NULL or -1.
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
        (void)close(*fd); /* nothing to do about a failed close of a descriptor given up */
}

#define AUTO_FREE  CLEANUP(cleanup_free)
#define AUTO_CLOSE CLEANUP(cleanup_close)

#endif
