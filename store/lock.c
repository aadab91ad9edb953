/* SPDX-License-Identifier: MIT */
/*
 * lock.c - the folder of a spool, and the locks that keep other writers out
 *
 * A writer holds two: one on the folder, one on a file in it. A file that is
 * removed can be locked once more under the same name, and older versions of
 * this program know of the file alone.
 */
#include "base/regular.h"
#include "store/spool-private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LOCK_TRIES = 10,
    LOCK_WAIT_NS = 10 * 1000 * 1000,
};

int spool_open_directory(const char *directory, bool create, int *ret_fd)
{
    if (create && mkdir(directory, 0700) < 0 && errno != EEXIST)
        return -errno;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

/* SQLite follows symbolic links first, and would only report that it cannot open the file. */
static int check_path_length(struct spool *spool, const char *directory)
{
    char resolved[PATH_MAX];
    if (!realpath(directory, resolved) || strlen(resolved) <= SPOOL_DIRECTORY_MAX)
        return 0; /* what opens the files there names another cause */
    return spool_fail(
        spool, -ENAMETOOLONG,
        "the path of the folder has %zu bytes without symbolic links, SQLite takes "
        "%d: %.60s...",
        strlen(resolved), SPOOL_DIRECTORY_MAX, resolved);
}

/* SQLite has the other files beside the database itself, also if that is a symbolic link. */
static int check_link_target(struct spool *spool, const char *directory)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
    char path[PATH_MAX], resolved[PATH_MAX], beside[PATH_MAX + 16];
    (void)snprintf(path, sizeof(path), "%s/" DATABASE_NAME, directory);
    if (!realpath(path, resolved))
        return 0;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        (void)snprintf(beside, sizeof(beside), "%s%s", resolved, suffixes[i]);
        if (regular_is_other(AT_FDCWD, beside))
            return spool_fail(spool, -REGULAR_OTHER, DATABASE_NAME "%s: %s (beside %.150s)",
                              suffixes[i], regular_error(-REGULAR_OTHER), resolved);
    }
    return 0;
}

/* SQLite opens its files by their names, and would take a FIFO for a broken database. */
int spool_require_regular_files(struct spool *spool, const char *directory)
{
    static const char *const names[] = {LOCK_NAME,  DATABASE_NAME, LOG_NAME,
                                        INDEX_NAME, JOURNAL_NAME,  MARK_NAME};
    int r = check_path_length(spool, directory);
    if (r != 0)
        return r;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (regular_is_other(spool->files.directory_fd, names[i]))
            return spool_fail(spool, -REGULAR_OTHER, "%s: %s", names[i],
                              regular_error(-REGULAR_OTHER));
    return check_link_target(spool, directory);
}

/* Another process that only looks holds a shared lock for a moment: so a few tries. */
static int take_flock(int fd)
{
    int r = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
    for (int i = 1; i < LOCK_TRIES && (r == -EWOULDBLOCK || r == -EINTR); i++) {
        const struct timespec pause = {.tv_nsec = LOCK_WAIT_NS};
        (void)nanosleep(&pause, NULL);
        r = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
    }
    return r == -EWOULDBLOCK || r == -EINTR ? SPOOL_E_LOCKED : r;
}

/* That of a network may have no locks on directories: then the file's must do. */
static int lock_directory(int fd)
{
    int r = take_flock(fd);
    bool has_none = r == -EBADF || r == -EINVAL || r == -EOPNOTSUPP || r == -EISDIR;
    return has_none ? 0 : r;
}

/*
 * The file alone would not do: where it is removed another process makes and locks another one.
 * The directory alone would not do for older versions of this program.
 */
int spool_take_locks(int directory_fd, int *ret_lock_fd)
{
    int r = lock_directory(directory_fd);
    if (r != 0)
        return r;
    int fd = regular_openat(directory_fd, LOCK_NAME, O_RDWR | O_CREAT, 0644);
    if (fd < 0)
        return fd;
    r = take_flock(fd);
    if (r == 0)
        *ret_lock_fd = fd;
    else
        (void)close(fd);
    return r;
}

int spool_take_lock(struct spool *spool)
{
    int r = spool_take_locks(spool->files.directory_fd, &spool->files.lock_fd);
    if (r == SPOOL_E_LOCKED)
        return spool_fail(spool, r, "another daemon runs on this spool");
    return r < 0 ? spool_fail(spool, r, LOCK_NAME ": %s", regular_error(r)) : 0;
}

static bool is_locked(int fd)
{
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

bool spool_is_in_use(const char *directory)
{
    int directory_fd = -1;
    if (spool_open_directory(directory, false, &directory_fd) < 0)
        return false;
    int fd = regular_openat(directory_fd, LOCK_NAME, O_RDONLY, 0);
    bool is_used = is_locked(directory_fd) || is_locked(fd);
    if (fd >= 0)
        (void)close(fd); /* gives the lock back */
    (void)close(directory_fd);
    return is_used;
}
