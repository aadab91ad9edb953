/* SPDX-License-Identifier: MIT */
/*
 * regular.h - opens a regular file and waits for no other process
 *
 * A FIFO, a terminal or another device with the name of a file of ours would
 * hold up the open() or the first read() until another process writes there. So
 * nothing but a regular file is opened, and open() itself does not wait.
 *
 * It knows nothing of the project; every module may use it.
 */
#ifndef MQTT_SPOOLD_BASE_REGULAR_H
#define MQTT_SPOOLD_BASE_REGULAR_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What has the name is no regular file. */
#define REGULAR_OTHER EMEDIUMTYPE

/* Return: the descriptor; negative errno, -REGULAR_OTHER. */
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

/* Of a file that another program opens by its name: is there something else? */
static inline bool regular_is_other(int directory_fd, const char *name)
{
    struct stat status;

    if (fstatat(directory_fd, name, &status, 0) == 0)
        return !S_ISREG(status.st_mode);
    /* A symbolic link that leads nowhere, or to itself. */
    return fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

/* @error: negative errno of the above. */
static inline const char *regular_error(int error)
{
    return error == -REGULAR_OTHER ? "is no regular file" : strerror(-error);
}

#endif
