/* SPDX-License-Identifier: MIT */
/*
 * slow_names.c - a name service that does not answer, preloaded
 *
 * While the file that SLOW_NAMES names exists, a lookup of a user waits.
 */
#include <dlfcn.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define PAUSE_US 2000

typedef int lookup_fn(const char *, struct passwd *, char *, size_t, struct passwd **);

int getpwnam_r(
    const char *name, struct passwd *entry, char *memory, size_t size, struct passwd **ret)
{
    const char *path = getenv("SLOW_NAMES");
    lookup_fn *real;

    *(void **)&real = dlsym(RTLD_NEXT, "getpwnam_r");
    while (path && access(path, F_OK) == 0)
        (void)usleep(PAUSE_US);
    return real(name, entry, memory, size, ret);
}
