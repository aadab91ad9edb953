/* SPDX-License-Identifier: MIT */
/*
 * identity.c - see identity.h
 *
 * Device and inode number tell one file from another: an open file keeps its
 * number, so no other file can have it. What another file system covers has
 * another device.
 *
 * Errors of a comparison, each by what it means for the file:
 *   ENOENT, ENOTDIR  the name is gone: moved.
 *   all others       (EACCES, ELOOP, EIO, ENOMEM, ESTALE ...) mean nothing for
 *                    it: it is taken as being in its place. Nothing is lost by
 *                    that. If the state lasts, the next start fails with
 *                    that error, too; it never creates an empty spool. The
 *                    next comparison finds what was moved meanwhile.
 *
 * A file without a name holds its data for as long as it is open, and no
 * longer. That is a link count of 0, or a name that the kernel shows as deleted
 * (there may be another hard link, whose path cannot be found), or one that a
 * network file system (.nfs) or FUSE (.fuse_hidden) gives to a file which is
 * removed at its last close.
 */
#include "store/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/names.h"
#include "store/salvage/mark.h"

enum place { IN_PLACE, NO_NAME, OTHER_NAME, NO_KNOWN_NAME };

static const char *const names[IDENTITY_FILES] = {
    [IDENTITY_DIRECTORY] = ".",  [IDENTITY_DATABASE] = DATABASE_NAME,
    [IDENTITY_LOG] = LOG_NAME,   [IDENTITY_MARK] = MARK_NAME,
    [IDENTITY_LOCK] = LOCK_NAME, [IDENTITY_INDEX] = INDEX_NAME,
};

const char *identity_name(enum identity_file file)
{
    return names[file];
}

void identity_init(struct identity *identity)
{
    *identity = (struct identity){0};
    for (int i = 0; i < IDENTITY_FILES; i++)
        identity->files[i].fd = -1;
}

/* SQLite keeps log and index beside the file that a symbolic link leads to. */
static bool is_elsewhere(int directory_fd)
{
    struct stat status;
    return fstatat(directory_fd, DATABASE_NAME, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISLNK(status.st_mode);
}

static int note(struct identity_entry *entry, int fd)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return -errno;
    *entry = (struct identity_entry){fd, status.st_dev, status.st_ino};
    return 0;
}

int identity_note(struct identity *identity,
                  const char *directory,
                  const int fds[IDENTITY_FILES])
{
    int r = 0;
    identity->directory = directory;
    for (int i = 0; i < IDENTITY_FILES && r == 0; i++) {
        bool is_path = i == IDENTITY_LOG || i == IDENTITY_INDEX;
        int fd = fds[i];
        if (is_path && is_elsewhere(fds[IDENTITY_DIRECTORY]))
            continue;
        if (is_path)
            fd = openat(fds[IDENTITY_DIRECTORY], names[i], O_PATH | O_CLOEXEC);
        r = note(&identity->files[i], fd);
    }
    return r;
}

bool identity_is_noted(const struct identity *identity, enum identity_file file)
{
    return identity->files[file].fd >= 0;
}

void identity_done(struct identity *identity)
{
    if (identity->files[IDENTITY_LOG].fd >= 0)
        (void)close(identity->files[IDENTITY_LOG].fd);
    if (identity->files[IDENTITY_INDEX].fd >= 0)
        (void)close(identity->files[IDENTITY_INDEX].fd);
    identity_init(identity);
}

/* ---- the comparison ---- */

static bool is_same(const struct identity_entry *entry, const struct stat *status)
{
    return status->st_dev == entry->device && status->st_ino == entry->inode;
}

static bool is_gone(int error)
{
    return error == ENOENT || error == ENOTDIR;
}

/* @ret_exists: there is one, ours or another. */
static bool holds(const struct identity *identity, enum identity_file file, bool *ret_exists)
{
    const struct identity_entry *entry = &identity->files[file];
    struct stat status;
    if (!identity_is_noted(identity, file))
        return true;
    int r = file == IDENTITY_DIRECTORY
                ? stat(identity->directory, &status)
                : fstatat(identity->files[IDENTITY_DIRECTORY].fd, names[file], &status, 0);
    *ret_exists = r == 0 || !is_gone(errno);
    return r == 0 ? is_same(entry, &status) : *ret_exists;
}

bool identity_holds_file(const struct identity *identity, enum identity_file file)
{
    bool exists;
    return holds(identity, IDENTITY_DIRECTORY, &exists) && holds(identity, file, &exists);
}

bool identity_holds(const struct identity *identity)
{
    bool exists;
    for (int i = 0; i < IDENTITY_FILES; i++) {
        if (!holds(identity, (enum identity_file)i, &exists))
            return false;
    }
    return true;
}

bool identity_is_at(const struct identity *identity, enum identity_file file, int directory_fd)
{
    struct stat status;
    return identity_is_noted(identity, file) &&
           fstatat(directory_fd, names[file], &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           is_same(&identity->files[file], &status);
}

bool identity_is(const struct identity *identity, enum identity_file file, int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && is_same(&identity->files[file], &status);
}

/* ---- what happened ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    return size >= strlen(end) && strcmp(text + size - strlen(end), end) == 0;
}

static bool starts_last_part(const char *path, const char *start)
{
    const char *slash = strrchr(path, '/');
    return slash && strncmp(slash + 1, start, strlen(start)) == 0;
}

/* Which name has an open file now? A name that leads elsewhere is of a file system that is
 * covered or was taken away. */
static enum place find_name(const struct identity_entry *entry, char name[static PATH_MAX])
{
    char link[64];
    struct stat status;
    *name = '\0';
    if (fstat(entry->fd, &status) == 0 && status.st_nlink == 0)
        return NO_NAME;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", entry->fd);
    ssize_t size = readlink(link, name, PATH_MAX - 1);
    name[size > 0 ? size : 0] = '\0';
    if (ends_with(name, " (deleted)") || starts_last_part(name, ".nfs") ||
        starts_last_part(name, ".fuse_hidden")) {
        *name = '\0';
        return NO_NAME;
    }
    if (stat(name, &status) == 0 && is_same(entry, &status))
        return OTHER_NAME;
    *name = '\0';
    return NO_KNOWN_NAME;
}

static enum place
place_of(const struct identity *identity, enum identity_file file, char name[static PATH_MAX])
{
    *name = '\0';
    if (!identity_is_noted(identity, file) || identity_holds_file(identity, file))
        return IN_PLACE;
    return find_name(&identity->files[file], name);
}

static enum identity_file first_moved(const struct identity *identity, bool *ret_exists)
{
    for (int i = 0; i < IDENTITY_FILES; i++) {
        if (!holds(identity, (enum identity_file)i, ret_exists))
            return (enum identity_file)i;
    }
    return IDENTITY_DIRECTORY; /* what was moved is back by now */
}

static enum spool_move classify_move(enum place place, bool exists)
{
    if (place == IN_PLACE)
        return SPOOL_RENAMED;
    if (place == NO_KNOWN_NAME)
        return SPOOL_UNMOUNTED;
    if (exists)
        return SPOOL_REPLACED;
    return place == NO_NAME ? SPOOL_REMOVED : SPOOL_RENAMED;
}

void identity_describe(const struct identity *identity, struct spool_moved *ret)
{
    char name[PATH_MAX];
    bool exists = true;
    enum identity_file file = first_moved(identity, &exists);
    enum place database = place_of(identity, IDENTITY_DATABASE, name);
    enum place log = place_of(identity, IDENTITY_LOG, name);
    bool are_both_here = database == IN_PLACE && log == IN_PLACE;
    enum place place = place_of(identity, file, name);
    *ret = (struct spool_moved){
        .what = classify_move(place, exists),
        .is_restorable = database == NO_NAME || log == NO_NAME || are_both_here,
        .database_fd = identity->files[IDENTITY_DATABASE].fd,
        .log_fd = identity->files[IDENTITY_LOG].fd,
    };
    memcpy(ret->lives_at, name, sizeof(name));
    (void)snprintf(ret->file, sizeof(ret->file), "%s%s%s", identity->directory,
                   file == IDENTITY_DIRECTORY ? "" : "/",
                   file == IDENTITY_DIRECTORY ? "" : names[file]);
}
