/* SPDX-License-Identifier: MIT */
/*
 * read_full.c - reads until the memory is full or the file ends
 */
#include "base/read_full.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

/* Adds the result of one call to *used. False: end of file, or an error, which replaces
 * *used. */
static bool read_full_add(ssize_t got, ssize_t *used)
{
    if (got > 0) {
        *used += got;
        return true;
    }
    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0)
        *used = -errno;
    return false;
}

ssize_t read_full(int fd, void *to, size_t size)
{
    ssize_t used = 0;

    while ((size_t)used < size &&
           read_full_add(read(fd, (char *)to + used, size - (size_t)used), &used))
        ;
    return used;
}

ssize_t read_full_at(int fd, void *to, size_t size, off_t from)
{
    ssize_t used = 0;

    while ((size_t)used < size &&
           read_full_add(pread(fd, (char *)to + used, size - (size_t)used, from + used), &used))
        ;
    return used;
}
