/* SPDX-License-Identifier: MIT */
/*
 * access_fake.c - see access_fake.h
 */
#include "tests/support/access_fake.h"

#include <errno.h>

bool access_fails;

int __real_faccessat(int folder, const char *path, int mode, int flags);
int __wrap_faccessat(int folder, const char *path, int mode, int flags);

/* As for a user that may not read, which root never is. */
int __wrap_faccessat(int folder, const char *path, int mode, int flags)
{
    if (!access_fails)
        return __real_faccessat(folder, path, mode, flags);
    errno = EACCES;
    return -1;
}
