/* SPDX-License-Identifier: MIT */
/*
 * salvage.c - from a damaged database to a sound one, never deleting anything
 *
 * The new database is built and synced under another name before anything is
 * touched, then it gets the name "spool.db.salvaged", which says that it is
 * whole. Only now the damaged files move aside, the database last, and the new
 * one takes its place. A cut anywhere leaves either the damaged spool as it
 * was, or a whole new one under that name, and the next opening finishes the
 * moves, once it has checked what has that name: see successor.c. A name that is
 * taken is never written over.
 *
 * Which of three images of the database is the true one: as SQLite would read
 * it; with the commits behind an unsound frame of the log, which SQLite does
 * not see; or without the log, which may be that of an older copy. It is the
 * one whose counters have come farthest. A torn end of the log is no damage
 * but a batch that was never acknowledged, so what lies behind it counts only if
 * there are commits that can only have followed a completed one.
 */
#include "store/salvage/salvage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/full.h"
#include "base/regular.h"
#include "store/aside.h"
#include "store/names.h"
#include "store/salvage/mark.h"
#include "store/salvage/pages.h"
#include "store/salvage/reads.h"
#include "store/salvage/rebuild.h"
#include "store/salvage/survey.h"
#include "store/spool-private.h"

enum { START_BYTES = 128 << 10 };

/* A whole new database, and how the name begins that the files in its place get. */
struct successor {
    const char *name;
    const char *aside;
};
static const struct successor salvaged = {SALVAGED_NAME, SPOOL_DAMAGED_PREFIX};
static const struct successor restored = {RESTORED_NAME, SPOOL_REPLACED_PREFIX};

/* ---- names ---- */

static int move_aside(int directory_fd, const char *name, const char *log_suffix)
{
    const struct {
        const char *from;
        const char *suffix;
    } files[] = {{INDEX_NAME, "-shm"}, {LOG_NAME, log_suffix}, {DATABASE_NAME, ""}};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        char to[SPOOL_NAME_MAX + 8];
        (void)snprintf(to, sizeof(to), "%s%s", name, files[i].suffix);
        int r = aside_rename(directory_fd, files[i].from, to);
        if (r < 0)
            return r;
        FAILPOINT("salvage.moved");
    }
    return fsync(directory_fd) < 0 ? -errno : 0;
}

/* @name: of the database, or of its log where that alone was left; empty where nothing was. */
static int take_place(int directory_fd,
                      const struct successor *successor,
                      char *errmsg,
                      char name[static SPOOL_NAME_MAX])
{
    bool has_database = aside_is_there(directory_fd, DATABASE_NAME);
    bool has_log = aside_is_there(directory_fd, LOG_NAME);
    int r = aside_choose_name(directory_fd, successor->name, successor->aside, name);
    size_t length = r == 0 ? strlen(name) : 0;
    if (r == 0)
        r = move_aside(directory_fd, name, has_database ? "-wal" : LONE_LOG_SUFFIX);
    if (r == 0 && !has_database && has_log)
        (void)snprintf(name + length, SPOOL_NAME_MAX - length, LONE_LOG_SUFFIX);
    else if (!has_database)
        *name = '\0';
    if (r == 0)
        r = aside_rename(directory_fd, successor->name, DATABASE_NAME);
    if (r == 0 && fsync(directory_fd) < 0)
        r = -errno;
    if (r < 0)
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "%s: %s", successor->name, strerror(-r));
    return r;
}

/* Takes the place, or moves aside. What SQLite would not open is still better than nothing: the
 * opening that follows salvages it. */
static int finish_one(int directory_fd,
                      const char *directory,
                      const struct successor *successor,
                      char *errmsg)
{
    char name[SPOOL_NAME_MAX];
    if (!aside_is_there(directory_fd, successor->name))
        return 0;
    int r = successor_judge(directory_fd, directory, successor->name, errmsg);
    if (r == SPOOL_E_DAMAGED && !aside_is_there(directory_fd, DATABASE_NAME) &&
        schema_is_ours(directory_fd, successor->name))
        r = 0;
    if (r != 0 && r != SPOOL_E_DAMAGED)
        return r;
    r = r == 0 ? take_place(directory_fd, successor, errmsg, name)
               : aside_move(directory_fd, successor->name, errmsg);
    if (r < 0)
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "%s: %s", successor->name, strerror(-r));
    else
        *errmsg = '\0';
    return r;
}

int salvage_finish(int directory_fd, const char *directory, char *errmsg)
{
    int r = finish_one(directory_fd, directory, &salvaged, errmsg);
    return r == 0 ? finish_one(directory_fd, directory, &restored, errmsg) : r;
}

int salvage_put_restored(int directory_fd, char *errmsg, char name[static SPOOL_NAME_MAX])
{
    return take_place(directory_fd, &restored, errmsg, name);
}

unsigned salvage_count_damaged(int directory_fd)
{
    int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    unsigned count = 0;
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL) {
        const char *name = entry->d_name;
        count += strncmp(name, SPOOL_DAMAGED_PREFIX, strlen(SPOOL_DAMAGED_PREFIX)) == 0 &&
                 !strstr(name, "-wal") && !strstr(name, "-shm");
    }
    if (folder)
        (void)closedir(folder);
    else if (fd >= 0)
        (void)close(fd);
    return count;
}

/* ---- which image of the database ---- */

struct image {
    enum pages_wal use;
    struct rebuild_reach reach;
    unsigned commits_beyond;
};

static int
look(int directory_fd, enum pages_wal use, const struct survey *survey, struct image *ret)
{
    struct pages pages;
    *ret = (struct image){.use = use};
    int r = pages_open(&pages, directory_fd, use, survey);
    if (r != 0)
        return r;
    r = rebuild_reach(&pages, &ret->reach);
    ret->commits_beyond = pages.commits_beyond;
    pages_close(&pages);
    return r;
}

static bool is_behind(const struct rebuild_reach *reach, const struct mark *mark)
{
    return reach->last_id < mark->last_id || reach->last_seq < mark->last_seq;
}

static int choose_image(int directory_fd,
                        const struct mark *mark,
                        const struct survey *survey,
                        enum pages_wal *ret)
{
    struct image best;
    struct image other;
    int r = look(directory_fd, PAGES_WAL_SOUND, survey, &best);
    if (r != 0)
        return r;
    unsigned needed = is_behind(&best.reach, mark) ? 1 : 2;
    if (best.commits_beyond >= needed) {
        r = look(directory_fd, PAGES_WAL_ALL, survey, &other);
        if (r == 0 && other.reach.counted > best.reach.counted)
            best = other;
    }
    if (r == 0)
        r = look(directory_fd, PAGES_WAL_NONE, survey, &other);
    if (r == 0 && other.reach.counted > best.reach.counted)
        best = other;
    *ret = best.use;
    return r;
}

/* ---- the new database ---- */

/* No other process opens the file yet: it is synced once, as a whole, when it is complete. */
static int fill(sqlite3 *db, struct rebuild_task *task)
{
    int rc = sqlite3_exec(db, "PRAGMA journal_mode = OFF", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = schema_lay_out(db);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "PRAGMA synchronous = OFF; BEGIN", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = rebuild(task);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "COMMIT; PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    return rc;
}

static int build(const char *path, struct rebuild_task *task, char *errmsg)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(path, &task->db, flags, reads_vfs());
    if (rc == SQLITE_OK)
        rc = fill(task->db, task);
    int r = rc > 0 ? schema_describe_error(task->db, rc, errmsg) : rc;
    rc = sqlite3_close(task->db);
    task->db = NULL;
    return r == 0 && rc != SQLITE_OK ? -EIO : r;
}

int salvage_sync_file(int directory_fd, const char *name)
{
    int fd = regular_openat(directory_fd, name, O_RDWR, 0);
    if (fd < 0)
        return fd;
    int r = fsync(fd) < 0 ? -errno : 0;
    (void)close(fd); /* synced */
    return r;
}

/* Besides the pages: the -shm file and the first commits. */
static int count_bytes_needed(const struct rebuild_task *task, char *errmsg, uint64_t *ret)
{
    uint64_t pages = 0;
    int r = rebuild_pages_needed(task->pages, &pages);
    if (r < 0)
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, DATABASE_NAME ": %s", strerror(-r));
    *ret = pages * PAGES_BYTES + START_BYTES;
    return r;
}

static int check_room_for_rebuild(int directory_fd, uint64_t needed, char *errmsg)
{
    struct statvfs disk;
    if (fstatvfs(directory_fd, &disk) < 0)
        return -errno;
    uint64_t left = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (needed <= left)
        return 0;
    (void)snprintf(errmsg, SPOOL_ERRMSG_MAX,
                   "the sound database needs up to %llu bytes beside the damaged one, %llu "
                   "bytes are free",
                   (unsigned long long)needed, (unsigned long long)left);
    return SPOOL_E_DISK;
}

static int fail_removed(int directory_fd, uint64_t needed, int error, char *errmsg)
{
    struct statvfs disk = {0};
    schema_remove_leftovers(directory_fd);
    (void)fstatvfs(directory_fd, &disk); /* if that fails, 0 bytes are reported as free */
    (void)snprintf(errmsg, SPOOL_ERRMSG_MAX,
                   "%s (%s) while the sound database was written; it was removed again, and "
                   "needs up to %llu bytes, %llu bytes are free",
                   strerror(error), full_error_name(error), (unsigned long long)needed,
                   (unsigned long long)disk.f_bavail * disk.f_frsize);
    return SPOOL_E_DISK;
}

static int write_new(int directory_fd, struct rebuild_task *task, char *errmsg)
{
    char path[4096];
    int length =
        snprintf(path, sizeof(path), "%s/%s", task->options->directory, SCHEMA_NEW_NAME);
    if (length < 0 || (size_t)length >= sizeof(path))
        return -ENAMETOOLONG;
    schema_remove_leftovers(directory_fd);
    uint64_t needed = 0;
    int r = count_bytes_needed(task, errmsg, &needed);
    if (r == 0)
        r = check_room_for_rebuild(directory_fd, needed, errmsg);
    if (r != 0)
        return r;
    r = build(path, task, errmsg);
    if (r == SPOOL_E_DISK)
        return fail_removed(directory_fd, needed, reads_full_error(), errmsg);
    if (r == 0)
        r = salvage_sync_file(directory_fd, SCHEMA_NEW_NAME);
    if (r < 0 && full_is_error(-r))
        return fail_removed(directory_fd, needed, -r, errmsg);
    if (r != 0) {
        schema_remove_leftovers(directory_fd);
        return r;
    }
    FAILPOINT("salvage.built");
    r = aside_rename(directory_fd, SCHEMA_NEW_NAME, SALVAGED_NAME);
    if (r == 0 && fsync(directory_fd) < 0)
        r = -errno;
    return r;
}

/* ---- all of it ---- */

static bool is_mark_bad(const struct survey *survey)
{
    return survey->files[SURVEY_MARK].bad_count > 0;
}

static int
note_mark(int directory_fd, const struct rebuild_task *task, const struct survey *survey)
{
    const struct mark mark = {.last_id = task->last_id, .last_seq = task->last_seq};
    int r = is_mark_bad(survey) ? mark_set_aside(directory_fd, "unread") : 0;
    int fd = r == 0 ? mark_open(directory_fd) : r;
    if (fd < 0)
        return fd;
    r = mark_write(fd, &mark);
    (void)close(fd); /* written without a sync, as always */
    return r;
}

static int open_image(int directory_fd,
                      const struct mark *mark,
                      const struct survey *survey,
                      struct pages *pages)
{
    enum pages_wal use;
    int r = choose_image(directory_fd, mark, survey, &use);
    return r == 0 ? pages_open(pages, directory_fd, use, survey) : r;
}

int salvage_is_foreign(int directory_fd, bool *ret)
{
    struct mark mark;
    struct pages pages;
    int r = mark_read(directory_fd, &mark);
    if (r == 0)
        r = open_image(directory_fd, &mark, NULL, &pages);
    if (r != 0)
        return r;
    r = rebuild_is_foreign(&pages, ret);
    pages_close(&pages);
    return r;
}

static int rebuild_database(int directory_fd,
                            const struct survey *survey,
                            struct rebuild_task *task,
                            char *errmsg)
{
    struct pages pages;
    bool is_foreign = false;
    int r = open_image(directory_fd, task->mark, survey, &pages);
    if (r < 0)
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, DATABASE_NAME ": %s", strerror(-r));
    if (r != 0)
        return r;
    task->pages = &pages;
    r = rebuild_is_foreign(&pages, &is_foreign);
    if (r == 0 && is_foreign) {
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, SALVAGE_FOREIGN_ERRMSG);
        r = SPOOL_E_FOREIGN;
    }
    if (r == 0)
        r = write_new(directory_fd, task, errmsg);
    task->pages = NULL;
    pages_close(&pages);
    return r;
}

/* The content of a mark in a bad block is unknown. */
static int read_mark_and_survey(int directory_fd,
                                struct mark *ret_mark,
                                struct survey *ret_survey,
                                char *errmsg)
{
    int read = mark_read(directory_fd, ret_mark);
    int r = read < 0 && read != -EIO ? read : survey_take(directory_fd, ret_survey, errmsg);
    if (r == 0 && !is_mark_bad(ret_survey))
        r = read;
    if (r < 0 && *errmsg == '\0')
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, MARK_NAME ": %s", strerror(-r));
    return r;
}

int salvage(int directory_fd,
            const struct spool_options *options,
            const struct spool_history *history,
            char *errmsg,
            struct spool_salvage *ret)
{
    struct mark mark = {0};
    struct survey survey = {0};
    struct rebuild_task task = {.options = options, .history = history, .mark = &mark};
    *errmsg = '\0';
    int r = salvage_finish(directory_fd, options->directory, errmsg);
    if (r != 0)
        return r;
    r = read_mark_and_survey(directory_fd, &mark, &survey, errmsg);
    if (r == 0)
        r = rebuild_database(directory_fd, &survey, &task, errmsg);
    if (r == 0)
        r = take_place(directory_fd, &salvaged, errmsg, ret->moved_to);
    if (r == 0)
        r = note_mark(directory_fd, &task, &survey);
    survey_done(&survey);
    if (r < 0 && *errmsg == '\0')
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "%s", strerror(-r));
    if (r != 0)
        return r;
    ret->salvaged = task.salvaged;
    ret->damaged = task.damaged;
    ret->kept_lost = task.kept_lost;
    ret->is_count_unknown = task.is_count_unknown;
    return 0;
}
