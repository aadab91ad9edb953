/* SPDX-License-Identifier: MIT */
/*
 * restore.c - a whole spool from files that have no name any more
 *
 * Files that were removed live on as long as they are open. SQLite's backup
 * copies page by page what the connection sees, database and log together, so
 * the copy has the tables at the same pages (the salvage counts on that, and a
 * VACUUM would move them), the same application id, version and journal mode.
 *
 * Order of the steps, and what a crash leaves:
 *
 *   locks on what is there now   nothing was changed
 *   the mark                     what was there, and how far the spool had come:
 *                                the next opening finds that commits are missing,
 *                                and salvages, so what is lost is recorded
 *   copy under another name,     the same; the half copy is removed by the next
 *   synced                       creation or salvage
 *   its name RESTORED_NAME       from here on the copy counts: the next opening
 *                                finishes the moves
 *   our files that still have    they are in the copy
 *   their names are removed
 *   others move aside, the copy  the restored spool
 *   takes its place
 *
 * Nothing is committed any more while this runs, so the copy is the same at each
 * try. Files of another spool are never removed.
 */
#include "base/failpoint.h"
#include "store/aside.h"
#include "store/salvage/mark.h"
#include "store/salvage/reads.h"
#include "store/salvage/salvage.h"
#include "store/spool-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    STEP_PAGES = 2048,         /* between two calls of the caller's function */
    SPARE_BYTES = 1024 * 1024, /* for the mark, the log of the next start */
};

static int fail(struct spool *spool, int error, const char *what)
{
    (void)snprintf(spool->conn.errmsg, sizeof(spool->conn.errmsg), "%s: %s", what,
                   error < 0 ? strerror(-error) : sqlite3_errstr(error));
    return error;
}

/* ---- the directory, its locks and its mark ---- */

void restore_leave(struct restore_place *place)
{
    if (place->lock_fd >= 0)
        (void)close(place->lock_fd);
    if (place->directory_fd >= 0)
        (void)close(place->directory_fd);
    place->lock_fd = -1;
    place->directory_fd = -1;
}

/* The lock of a file that is still ours is held; to take it once more would be refused. */
static int take_locks(struct spool *spool)
{
    if (identity_is(&spool->files.identity, IDENTITY_DIRECTORY, spool->restore.directory_fd) &&
        identity_is_at(&spool->files.identity, IDENTITY_LOCK, spool->restore.directory_fd))
        return 0;
    /* Locks belong to an open file, and the one on our directory is held by another. */
    if (identity_is(&spool->files.identity, IDENTITY_DIRECTORY, spool->restore.directory_fd)) {
        (void)close(spool->restore.directory_fd);
        spool->restore.directory_fd = fcntl(spool->files.directory_fd, F_DUPFD_CLOEXEC, 0);
        if (spool->restore.directory_fd < 0)
            return -errno;
    }
    return spool_take_locks(spool->restore.directory_fd, &spool->restore.lock_fd);
}

static int enter_directory(struct spool *spool)
{
    restore_leave(&spool->restore);
    bool is_there = faccessat(AT_FDCWD, spool->files.directory, F_OK, 0) == 0;
    int r = spool_open_directory(spool->files.directory, true, &spool->restore.directory_fd);
    if (r == 0 && !is_there)
        r = schema_sync_parent(spool->restore.directory_fd, spool->conn.errmsg);
    if (r < 0)
        return fail(spool, r, spool->files.directory);
    r = take_locks(spool);
    if (r != 0)
        restore_leave(&spool->restore);
    if (r == SPOOL_E_LOCKED)
        (void)snprintf(spool->conn.errmsg, sizeof(spool->conn.errmsg),
                       "another daemon has begun a spool at that place");
    return r < 0 ? fail(spool, r, LOCK_NAME) : r;
}

static int write_mark(struct spool *spool)
{
    const struct mark mark = spool_get_mark(spool);
    int fd = mark_open(spool->restore.directory_fd);
    if (fd < 0)
        return fd;
    int r = mark_write(fd, &mark);
    if (r == 0 && (fdatasync(fd) < 0 || fsync(spool->restore.directory_fd) < 0))
        r = -errno;
    (void)close(fd); /* synced */
    return r;
}

static int put_mark(struct spool *spool)
{
    int r = 0;
    if (identity_is_at(&spool->files.identity, IDENTITY_MARK, spool->restore.directory_fd))
        return 0;
    if (!spool->restore.is_mark_written)
        r = mark_set_aside(spool->restore.directory_fd, "replaced");
    if (r == 0)
        r = write_mark(spool);
    spool->restore.is_mark_written = r == 0;
    return r < 0 ? fail(spool, r, MARK_NAME) : 0;
}

/* ---- the copy ---- */

/* A copy that cannot succeed would fill the disk at each try. */
static int check_room_for_copy(struct spool *spool, struct spool_restored *ret)
{
    struct statvfs disk;
    uint64_t pages = 0;
    int r = spool_read_number(spool, STMT_PAGES, &pages);
    if (r != 0)
        return r;
    ret->bytes = pages * SPOOL_PAGE_BYTES + SPARE_BYTES;
    if (fstatvfs(spool->restore.directory_fd, &disk) < 0)
        return fail(spool, -errno, "statvfs");
    if ((uint64_t)disk.f_bavail * disk.f_frsize >= ret->bytes)
        return 0;
    (void)snprintf(spool->conn.errmsg, sizeof(spool->conn.errmsg),
                   "not enough room: %llu of %llu KiB are free",
                   (unsigned long long)((uint64_t)disk.f_bavail * disk.f_frsize / 1024),
                   (unsigned long long)(ret->bytes / 1024));
    return SPOOL_E_DISK;
}

static int result_of(struct spool *spool, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
        return 0;
    case SQLITE_FULL:
        (void)fail(spool, rc, SCHEMA_NEW_NAME);
        return SPOOL_E_DISK;
    case SQLITE_NOMEM:
        return fail(spool, -ENOMEM, SCHEMA_NEW_NAME);
    default:
        return fail(spool, -EIO, SCHEMA_NEW_NAME);
    }
}

static int copy_pages(sqlite3 *to, sqlite3 *from, void (*progress)(void *), void *userdata)
{
    int rc = sqlite3_exec(to, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL,
                          NULL);
    sqlite3_backup *backup =
        rc == SQLITE_OK ? sqlite3_backup_init(to, "main", from, "main") : NULL;
    if (!backup)
        return rc == SQLITE_OK ? sqlite3_errcode(to) : rc;
    do {
        rc = sqlite3_backup_step(backup, STEP_PAGES);
        if (progress)
            progress(userdata);
    } while (rc == SQLITE_OK);
    int end = sqlite3_backup_finish(backup);
    return rc == SQLITE_DONE ? end : rc;
}

static int copy(struct spool *spool, void (*progress)(void *), void *userdata)
{
    char path[PATH_MAX];
    sqlite3 *db = NULL;
    int length = snprintf(path, sizeof(path), "%s/%s", spool->files.directory, SCHEMA_NEW_NAME);
    if (length < 0 || (size_t)length >= sizeof(path))
        return fail(spool, -ENAMETOOLONG, spool->files.directory);
    schema_remove_leftovers(spool->restore.directory_fd);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(path, &db, flags, reads_vfs());
    if (rc == SQLITE_OK)
        rc = copy_pages(db, spool->conn.db, progress, userdata);
    int end = sqlite3_close(db);
    return result_of(spool, rc == SQLITE_OK ? end : rc);
}

/* An earlier try may have left a file there, which this one replaces; anything else moves
 * aside. */
static int clear_name(int directory_fd)
{
    struct stat status;
    if (fstatat(directory_fd, RESTORED_NAME, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISREG(status.st_mode))
        return 0;
    return aside_move(directory_fd, RESTORED_NAME, "is no regular file");
}

/* From here on it counts. */
static int declare_whole(struct spool *spool)
{
    int r = salvage_sync_file(spool->restore.directory_fd, SCHEMA_NEW_NAME);
    FAILPOINT("restore.synced");
    if (r == 0)
        r = clear_name(spool->restore.directory_fd);
    if (r == 0 && (renameat(spool->restore.directory_fd, SCHEMA_NEW_NAME,
                            spool->restore.directory_fd, RESTORED_NAME) < 0 ||
                   fsync(spool->restore.directory_fd) < 0))
        r = -errno;
    FAILPOINT("restore.whole");
    return r < 0 ? fail(spool, r, RESTORED_NAME) : 0;
}

/* ---- into its place ---- */

static int remove_ours(struct spool *spool)
{
    static const enum identity_file files[] = {IDENTITY_INDEX, IDENTITY_LOG, IDENTITY_DATABASE};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        if (identity_is_at(&spool->files.identity, files[i], spool->restore.directory_fd) &&
            unlinkat(spool->restore.directory_fd, identity_name(files[i]), 0) < 0 &&
            errno != ENOENT)
            return fail(spool, -errno, identity_name(files[i]));
        FAILPOINT("restore.removed");
    }
    return 0;
}

static bool is_whole_in(const struct spool *spool, int directory_fd)
{
    const struct identity *identity = &spool->files.identity;
    bool is_link = !identity_is_noted(identity, IDENTITY_LOG);
    return (is_link && identity_holds_file(identity, IDENTITY_DATABASE)) ||
           (identity_is_at(identity, IDENTITY_DATABASE, directory_fd) &&
            identity_is_at(identity, IDENTITY_LOG, directory_fd));
}

static int put_database(struct spool *spool,
                        void (*progress)(void *),
                        void *userdata,
                        struct spool_restored *ret)
{
    int r = copy(spool, progress, userdata);
    if (r == 0)
        r = declare_whole(spool);
    if (r == 0)
        r = remove_ours(spool);
    if (r == 0)
        r = salvage_put_restored(spool->restore.directory_fd, spool->conn.errmsg,
                                 ret->set_aside);
    if (r != 0)
        schema_remove_leftovers(spool->restore.directory_fd);
    FAILPOINT("restore.placed");
    return r;
}

int spool_restore(struct spool *spool,
                  void (*progress)(void *userdata),
                  void *userdata,
                  struct spool_restored *ret)
{
    struct spool_moved moved;
    *ret = (struct spool_restored){0};
    spool_get_moved(spool, &moved);
    if (!moved.is_restorable)
        return SPOOL_E_MOVED;
    int r = spool_rollback(spool);
    if (r == 0)
        r = enter_directory(spool);
    FAILPOINT("restore.begun");
    /* An older version of this program, which locks the file alone, uses it by now. */
    if (r == SPOOL_E_LOCKED && is_whole_in(spool, spool->files.directory_fd))
        return 0;
    if (r == 0)
        r = put_mark(spool);
    if (r != 0 || is_whole_in(spool, spool->restore.directory_fd))
        return r;
    r = check_room_for_copy(spool, ret);
    return r == 0 ? put_database(spool, progress, userdata, ret) : r;
}
