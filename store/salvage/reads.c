/* SPDX-License-Identifier: MIT */
/*
 * reads.c - see reads.h
 *
 * SQLite takes a page that cannot be read (EIO) for a damaged one:
 * SQLITE_IOERR_CORRUPTFS, which it reports as SQLITE_CORRUPT. It may as well be a
 * cable, so here it is an error of I/O again.
 *
 * Of the writes that have no room it takes only those for a full disk that fail
 * with ENOSPC, others for errors of I/O. Here all of them are a full disk: see
 * full.h.
 *
 * The VFS is the default one with another xOpen, which puts a copy of the
 * file's own table of methods in the place of that, with another xRead, xWrite,
 * xTruncate and xShmMap. So nothing else has to be passed on. What is kept of a
 * file lies behind the default one's own structure.
 *
 * Writes of the log are joined (joined.h) for a connection that asks for it, which must
 * sync each commit: then SQLite shows no frame to another process before the
 * sync, which writes what was joined. So does each other call on the file. An
 * error is therefore that of the next write, read or sync; SQLite takes all of
 * them alike, and rolls back. Writes of the database are not joined: a checkpoint
 * that a reader cuts short ends without a sync, and SQLite then relies on them.
 *
 * For the same connection a sync of the log is left out if nothing was written since the
 * last one, which succeeded: a checkpoint begins with a sync, which the commit
 * before it has made.
 */
#include "store/salvage/reads.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "base/full.h"
#include "store/salvage/joined.h"
#include "store/spool.h"

enum { PAUSE_NS = 20 * 1000 * 1000, STOP_PERIOD = 256 };

static _Thread_local uint64_t given_up;
static _Thread_local uint64_t repeated;
static _Thread_local uint64_t bad_writes;
static _Thread_local int full_error = ENOSPC;
static _Thread_local bool (*stop_callback)(void);
static _Thread_local unsigned stop_calls;

/* After the @tries-th try failed: is there to be another one? */
static bool wait_before_retry(int tries)
{
    if (tries == READS_TRIES) {
        repeated -= READS_TRIES - 1;
        given_up++;
        return false;
    }
    repeated++;
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    (void)nanosleep(&pause, NULL); /* shorter where a signal comes */
    return true;
}

ssize_t reads_at(int fd, void *to, size_t size, uint64_t from)
{
    size_t used = 0;
    int tries = 0;
    while (used < size) {
        ssize_t n = pread(fd, (char *)to + used, size - used, (off_t)(from + used));
        if (n == 0)
            break;
        if (n > 0) {
            used += (size_t)n;
            tries = 0;
        } else if (errno != EINTR) {
            int error = -errno;
            if (error == -EISDIR || !wait_before_retry(++tries))
                return error;
        }
    }
    return (ssize_t)used;
}

void spool_stop_if(bool (*should_stop)(void))
{
    stop_callback = should_stop;
}

bool reads_is_stopped(void)
{
    return stop_callback && stop_calls++ % STOP_PERIOD == 0 && stop_callback();
}

uint64_t reads_given_up(void)
{
    return given_up;
}

uint64_t spool_reads_repeated(void)
{
    return repeated;
}

uint64_t reads_bad_writes(void)
{
    return bad_writes;
}

int reads_full_error(void)
{
    return full_error;
}

int reads_full_of(sqlite3 *db, int rc)
{
    int extended = sqlite3_extended_errcode(db);
    int error = sqlite3_system_errno(db);
    if ((rc & 0xff) == SQLITE_FULL)
        return full_error;
    bool may_be = (rc & 0xff) == SQLITE_CANTOPEN || (rc & 0xff) == SQLITE_IOERR;
    bool is_sync = extended == SQLITE_IOERR_FSYNC || extended == SQLITE_IOERR_DIR_FSYNC;
    if (!may_be || is_sync || !full_is_error(error))
        return 0;
    full_error = error;
    return error;
}

/* ---- for SQLite ---- */

/* Journals and logs have other methods than a database, because they are not locked. */
static struct table {
    const sqlite3_io_methods *original;
    sqlite3_io_methods changed;
} tables[2];

static sqlite3_vfs *default_vfs;
static sqlite3_vfs own_vfs;

/* What is kept of each file, behind what the default VFS keeps. */
struct own_part {
    bool is_log;
    bool is_synced; /* the newest call that could write was a sync, and it succeeded */
    struct joined joined;
};

static int own_part_at(void)
{
    int align = (int)sizeof(int64_t);
    return (default_vfs->szOsFile + align - 1) / align * align;
}

static struct own_part *own_part_of(sqlite3_file *file)
{
    return (struct own_part *)((char *)file + own_part_at());
}

static bool is_failure_of_the_disk(int rc)
{
    return rc == SQLITE_IOERR_READ || rc == SQLITE_IOERR_CORRUPTFS;
}

static int
read_of(const struct table *table, sqlite3_file *file, void *to, int size, sqlite3_int64 from)
{
    int rc = table->original->xRead(file, to, size, from);
    for (int tries = 1; is_failure_of_the_disk(rc); tries++) {
        if (!wait_before_retry(tries))
            return SQLITE_IOERR_READ;
        rc = table->original->xRead(file, to, size, from);
    }
    return rc;
}

static int read_database(sqlite3_file *file, void *to, int size, sqlite3_int64 from)
{
    return read_of(&tables[0], file, to, size, from);
}

/* As SQLite shall see it. @error: of the call that failed. */
static int map_full_error(int rc, int error)
{
    if (rc == SQLITE_FULL) /* by a short write, too */
        error = ENOSPC;
    else if (!full_is_error(error))
        return rc;
    full_error = error;
    return SQLITE_FULL;
}

/* Which SQLite keeps of each file. */
static int error_of(const struct table *table, sqlite3_file *file)
{
    int error = 0;
    int rc = table->original->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
    return rc == SQLITE_OK ? error : 0;
}

/* Not repeated: what a failed write has left is unknown. */
static int write_of(
    const struct table *table, sqlite3_file *file, const void *from, int size, sqlite3_int64 to)
{
    int rc = table->original->xWrite(file, from, size, to);
    if (rc == SQLITE_OK)
        return rc;
    int error = error_of(table, file);
    rc = map_full_error(rc, error);
    bad_writes += rc == SQLITE_IOERR_WRITE && error == EIO;
    return rc;
}

static int write_database(sqlite3_file *file, const void *from, int size, sqlite3_int64 to)
{
    return write_of(&tables[0], file, from, size, to);
}

static int write_joined(void *userdata, const void *from, int size, int64_t at)
{
    return write_of(&tables[1], userdata, from, size, at);
}

static int flush(sqlite3_file *file)
{
    return joined_flush(&own_part_of(file)->joined, write_joined, file);
}

static int write_other(sqlite3_file *file, const void *from, int size, sqlite3_int64 to)
{
    struct joined *joined = &own_part_of(file)->joined;
    own_part_of(file)->is_synced = false;
    if (joined_add(joined, from, size, to))
        return SQLITE_OK;
    int rc = flush(file);
    if (rc != SQLITE_OK || joined_add(joined, from, size, to))
        return rc;
    return write_of(&tables[1], file, from, size, to);
}

static int read_other(sqlite3_file *file, void *to, int size, sqlite3_int64 from)
{
    int rc = flush(file);
    return rc == SQLITE_OK ? read_of(&tables[1], file, to, size, from) : rc;
}

/* Each is an fdatasync() of all of the file, whatever the flags. */
static int sync_other(sqlite3_file *file, int flags)
{
    struct own_part *part = own_part_of(file);
    if (part->is_synced && part->joined.bytes)
        return SQLITE_OK;
    int rc = flush(file);
    if (rc == SQLITE_OK)
        rc = tables[1].original->xSync(file, flags);
    part->is_synced = rc == SQLITE_OK;
    return rc;
}

static int size_other(sqlite3_file *file, sqlite3_int64 *ret)
{
    int rc = flush(file);
    return rc == SQLITE_OK ? tables[1].original->xFileSize(file, ret) : rc;
}

/* What is not written yet was never committed. */
static int close_other(sqlite3_file *file)
{
    int flushed = flush(file);
    joined_done(&own_part_of(file)->joined);
    int rc = tables[1].original->xClose(file);
    return flushed == SQLITE_OK ? rc : flushed;
}

static int truncate_of(const struct table *table, sqlite3_file *file, sqlite3_int64 size)
{
    int rc = table->original->xTruncate(file, size);
    return rc == SQLITE_OK ? rc : map_full_error(rc, error_of(table, file));
}

static int truncate_database(sqlite3_file *file, sqlite3_int64 size)
{
    return truncate_of(&tables[0], file, size);
}

static int truncate_other(sqlite3_file *file, sqlite3_int64 size)
{
    own_part_of(file)->is_synced = false;
    int rc = flush(file);
    return rc == SQLITE_OK ? truncate_of(&tables[1], file, size) : rc;
}

/* Of the database alone, and its error is kept nowhere. */
static int
map_index(sqlite3_file *file, int region, int size, int extends, void volatile **ret_memory)
{
    errno = 0;
    int rc = tables[0].original->xShmMap(file, region, size, extends, ret_memory);
    return rc == SQLITE_OK || rc == SQLITE_BUSY ? rc : map_full_error(rc, errno);
}

static void change_table(struct table *table, sqlite3_file *file, bool is_database)
{
    if (!table->original) {
        table->original = file->pMethods;
        table->changed = *file->pMethods;
        table->changed.xRead = is_database ? read_database : read_other;
        table->changed.xWrite = is_database ? write_database : write_other;
        table->changed.xTruncate = is_database ? truncate_database : truncate_other;
        if (is_database && table->original->xShmMap)
            table->changed.xShmMap = map_index;
        if (!is_database) {
            table->changed.xSync = sync_other;
            table->changed.xFileSize = size_other;
            table->changed.xClose = close_other;
        }
    }
    if (table->original == file->pMethods)
        file->pMethods = &table->changed;
}

static int
open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    (void)vfs;
    bool is_database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
    int rc = default_vfs->xOpen(default_vfs, name, file, flags, ret_flags);
    *own_part_of(file) = (struct own_part){.is_log = (flags & SQLITE_OPEN_WAL) != 0};
    if (rc == SQLITE_OK && file->pMethods)
        change_table(&tables[!is_database], file, is_database);
    return rc;
}

const char *reads_vfs(void)
{
    if (own_vfs.zName)
        return own_vfs.zName;
    /* SQLite would count its memory under a lock at each allocation, of which an INSERT makes
     * several, and nothing reads the count. Without effect if SQLite is in use already. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    default_vfs = sqlite3_vfs_find(NULL);
    if (!default_vfs)
        return NULL;
    own_vfs = *default_vfs;
    own_vfs.pNext = NULL;
    own_vfs.zName = "spool";
    own_vfs.xOpen = open_file;
    own_vfs.szOsFile = own_part_at() + (int)sizeof(struct own_part);
    if (sqlite3_vfs_register(&own_vfs, 0) != SQLITE_OK)
        own_vfs.zName = NULL;
    return own_vfs.zName;
}

static sqlite3_file *find_log(sqlite3 *db)
{
    sqlite3_file *log = NULL;
    int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, (void *)&log);
    bool is_log = rc == SQLITE_OK && log && log->pMethods == &tables[1].changed &&
                  own_part_of(log)->is_log;
    return is_log ? log : NULL;
}

int reads_join_log(sqlite3 *db)
{
    sqlite3_file *log = find_log(db);
    if (!log)
        return SQLITE_MISUSE;
    return joined_init(&own_part_of(log)->joined) == 0 ? SQLITE_OK : SQLITE_NOMEM;
}

int reads_sync_log(sqlite3 *db)
{
    sqlite3_file *log = find_log(db);
    int rc = log ? sync_other(log, SQLITE_SYNC_NORMAL) : SQLITE_MISUSE;
    return rc == SQLITE_OK ? 0 : log ? error_of(&tables[1], log) : EINVAL;
}
