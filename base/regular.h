/* SPDX-License-Identifier: MIT */
/*
 * regular.h - opens regular files only, without waiting for another process
 *
 * A FIFO, a terminal or another device under the name of one of the program's
 * files would block open() or the first read() until another process writes
 * there. So only a regular file is opened, and open() itself does not wait.
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_REGULAR_H
#define MQTT_SPOOLD_BASE_REGULAR_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* The name belongs to something that is not a regular file. */
#define REGULAR_OTHER EMEDIUMTYPE

/* Return: a descriptor that the caller owns; negative errno, -REGULAR_OTHER. */
static inline int regular_openat(int directory_fd, const char *name, int flags, mode_t mode)
{
    int fd =
        openat(directory_fd, name, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, (unsigned)mode);
    struct stat status;
    int r = 0;

    if (fd < 0) /* a socket; a FIFO that no process reads; a folder */
        return errno == ENXIO || errno == EISDIR ? -REGULAR_OTHER : -errno;
    if (fstat(fd, &status) < 0)
        r = -errno;
    else if (!S_ISREG(status.st_mode))
        r = -REGULAR_OTHER;
    if (r == 0)
        return fd;
    (void)close(fd); /* not used */
    return r;
}

/* Does @name exist and is not a regular file? For a file that a library opens by its name. */
static inline bool regular_is_other(int directory_fd, const char *name)
{
    struct stat status;

    if (fstatat(directory_fd, name, &status, 0) == 0)
        return !S_ISREG(status.st_mode);
    /* A symbolic link that leads nowhere, or to itself. */
    return fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

/* @error: negative errno of regular_openat(). The text is valid until the next strerror(). */
static inline const char *regular_error(int error)
{
    return error == -REGULAR_OTHER ? "is no regular file" : strerror(-error);
}

#endif
