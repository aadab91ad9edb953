/* SPDX-License-Identifier: MIT */
/*
 * schema.c - creates, recognizes and migrates a spool database
 *
 * A new database is built under another name, closed, synced and then renamed:
 * a process that finds "spool.db" finds a whole one, in WAL mode, with its application
 * id in the file's first page. So a look at the first 100 bytes tells a spool
 * from anything else before SQLite touches it, and a file that is not ours is
 * left exactly as it was. Never is a missing database replaced silently: a WAL
 * without its database means that the database was taken away.
 *
 * user_version counts the migrations that were applied. Each opening applies
 * what is missing, all of it in one transaction; a database that has seen more
 * migrations than this program knows is refused.
 */
#include "base/failpoint.h"
#include "base/full.h"
#include "base/regular.h"
#include "schema-sql.h"
#include "store/aside.h"
#include "store/salvage/reads.h"
#include "store/spool-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* As table message, without its index. */
#define SEGMENT_TABLE(N)                                                                       \
    "CREATE TABLE segment" N " (key INTEGER PRIMARY KEY, accepted INTEGER NOT NULL,"           \
    " accepted_at INTEGER NOT NULL, expires_at INTEGER, charge INTEGER NOT NULL,"              \
    " uid INTEGER NOT NULL, flags INTEGER NOT NULL, client TEXT NOT NULL,"                     \
    " topic TEXT NOT NULL, properties BLOB, ref TEXT, payload BLOB NOT NULL,"                  \
    " sum INTEGER, behind INTEGER) STRICT;"
#define SEGMENT_ARM(N) " UNION ALL SELECT " MESSAGE_COLUMNS PENDING_IN_SEGMENT(N)

/* Entry n takes a database from version n to n + 1. Append only. */
static const char *const schema_migrations[] = {
    schema_sql,
    /* What was stored before has none and is handed out unverified. */
    "ALTER TABLE message ADD COLUMN sum INTEGER",
    /* What the outcome rows take, so that no start has to read them all. */
    "ALTER TABLE spool ADD COLUMN record_bytes INTEGER NOT NULL DEFAULT 0;"
    "UPDATE spool SET record_bytes ="
    " (SELECT coalesce(sum(record_charge(client, topic, ref)), 0) FROM outcome)",
    /* Rejected messages with their payload, by the seq of their outcome. The columns of text
     * come first, so that no salvage takes a row for one of another table. */
    "CREATE TABLE rejected ("
    " seq INTEGER PRIMARY KEY, client TEXT NOT NULL, topic TEXT NOT NULL, ref TEXT,"
    " key INTEGER NOT NULL, time INTEGER NOT NULL, ended_at INTEGER NOT NULL,"
    " reason INTEGER NOT NULL, code INTEGER, attempts INTEGER NOT NULL,"
    " accepted INTEGER NOT NULL, age_ms INTEGER NOT NULL, expiry_ms INTEGER,"
    " charge INTEGER NOT NULL, uid INTEGER NOT NULL, flags INTEGER NOT NULL,"
    " properties BLOB, payload BLOB NOT NULL, sum INTEGER) STRICT;"
    "ALTER TABLE spool ADD COLUMN rejected_messages INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE spool ADD COLUMN rejected_bytes INTEGER NOT NULL DEFAULT 0",
    /* Messages at which the broker closed the connection, or the process ended. */
    "CREATE TABLE suspect (key INTEGER PRIMARY KEY, closings INTEGER NOT NULL) STRICT",
    /* NULL: outcomes are not reported to the broker. */
    "ALTER TABLE spool ADD COLUMN reported_seq INTEGER",
    /* Lives of the daemon that sent something and ended before any message did. */
    "ALTER TABLE spool ADD COLUMN cut_lives INTEGER NOT NULL DEFAULT 0",
    /* How far a message's number within its lane is behind its id: 0 in a spool of one lane,
     * which takes no byte. NULL: it came before, and some after it may have ended already, so
     * its number is not known. The newest number of a lane is accepted - unnumbered. */
    "ALTER TABLE message ADD COLUMN behind INTEGER;"
    "ALTER TABLE rejected ADD COLUMN behind INTEGER;"
    "ALTER TABLE lane ADD COLUMN unnumbered INTEGER NOT NULL DEFAULT 0",
    /* Messages that are soon delivered, and the runs of those that were: segments.c. */
    "ALTER TABLE lane ADD COLUMN ended_id INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE lane ADD COLUMN runs BLOB;" EACH_SEGMENT(
        SEGMENT_TABLE) "CREATE VIEW spooled AS SELECT " MESSAGE_COLUMNS
                       " FROM message" EACH_SEGMENT(SEGMENT_ARM),
    /* Sessions of producers, QoS 2 packets without PUBREL, records that a session did not
     * acknowledge yet, and lanes that the operator holds: sessions.c. Few columns: no salvage
     * takes a row of them for a message or an outcome. */
    "CREATE TABLE session (id INTEGER PRIMARY KEY, uid INTEGER NOT NULL, client TEXT NOT NULL,"
    " expiry_s INTEGER NOT NULL, left_at INTEGER, missed INTEGER NOT NULL DEFAULT 0,"
    " subscriptions BLOB, UNIQUE (uid, client)) STRICT;"
    "CREATE TABLE unreleased (key INTEGER PRIMARY KEY, id INTEGER NOT NULL) STRICT;"
    "CREATE TABLE outbox (session INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, record TEXT NOT NULL,"
    " PRIMARY KEY (session, seq)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE hold (number INTEGER PRIMARY KEY, lane TEXT NOT NULL UNIQUE) STRICT",
    /* From which rejected message a requeued one comes: origin.c. */
    "CREATE TABLE requeued (key INTEGER PRIMARY KEY, origin INTEGER NOT NULL, seq INTEGER)"
    " STRICT",
    /* How long deliveries took and why messages failed, from here on: tallies.c. */
    "ALTER TABLE lane ADD COLUMN tallies BLOB",
};
enum { SCHEMA_VERSION = sizeof(schema_migrations) / sizeof(*schema_migrations) };

enum { HEADER_BYTES = 100 };

static int query_int(sqlite3 *db, const char *sql, int *ret)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(stmt);
    int value = rc == SQLITE_ROW ? sqlite3_column_int(stmt, 0) : 0;
    (void)sqlite3_finalize(stmt); /* repeats the error of the step */
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
    *ret = value;
    return SQLITE_OK;
}

int schema_check(sqlite3 *db, int *ret_version)
{
    int application_id = 0;
    int version = 0;
    int rc = query_int(db, "PRAGMA application_id", &application_id);
    if (rc == SQLITE_OK)
        rc = query_int(db, "PRAGMA user_version", &version);
    if (rc != SQLITE_OK)
        return rc;
    if (application_id != SPOOL_APPLICATION_ID || version < 1)
        return SQLITE_NOTADB;
    *ret_version = version;
    return version > SCHEMA_VERSION ? SQLITE_SCHEMA : SQLITE_OK;
}

int schema_newest_version(void)
{
    return SCHEMA_VERSION;
}

const char *schema_pending_table(int version)
{
    return version >= VERSION_OF_SEGMENTS ? "spooled" : "message";
}

const char *schema_runs_behind_sql(int version)
{
    return version >= VERSION_OF_SEGMENTS
               ? "SELECT coalesce(sum(run_messages(runs, max(exported_seq, pruned_seq))), 0)"
                 " FROM lane"
               : "0";
}

static int apply_migrations(sqlite3 *db, int version)
{
    for (int i = version; i < SCHEMA_VERSION; i++) {
        int rc = sqlite3_exec(db, schema_migrations[i], NULL, NULL, NULL);
        if (rc != SQLITE_OK)
            return rc;
    }
    char pragma[64];
    (void)snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", SCHEMA_VERSION);
    return sqlite3_exec(db, pragma, NULL, NULL, NULL);
}

int schema_migrate(sqlite3 *db, int version)
{
    if (version == SCHEMA_VERSION)
        return SQLITE_OK;
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = apply_migrations(db, version);
    FAILPOINT("migrate.before_commit");
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    FAILPOINT("migrate.after_commit");
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(db))
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL); /* closing would do it too */
    return rc;
}

int schema_lay_out(sqlite3 *db)
{
    char pragmas[256];
    (void)snprintf(
        pragmas, sizeof(pragmas),
        "PRAGMA page_size = %d; PRAGMA auto_vacuum = NONE; PRAGMA synchronous = FULL;"
        "PRAGMA application_id = %d",
        SPOOL_PAGE_BYTES, SPOOL_APPLICATION_ID);
    int rc = sqlite3_exec(db, pragmas, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = charge_register(db, NULL);
    return rc == SQLITE_OK ? schema_migrate(db, 0) : rc;
}

static int build(sqlite3 *db)
{
    int rc = schema_lay_out(db);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    return rc;
}

int schema_describe_error(sqlite3 *db, int rc, char *errmsg)
{
    int full = reads_full_of(db, rc);
    if (full != 0)
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "%s: %s (%s)", SCHEMA_NEW_NAME, strerror(full),
                       full_error_name(full));
    else
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "%s: %s", SCHEMA_NEW_NAME, sqlite3_errmsg(db));
    if (full != 0)
        return SPOOL_E_DISK;
    return (rc & 0xff) == SQLITE_NOMEM ? -ENOMEM : -EIO;
}

static int build_file(const char *path, char *errmsg)
{
    sqlite3 *db = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(path, &db, flags, reads_vfs());
    if (rc == SQLITE_OK)
        rc = build(db);
    int r = rc == SQLITE_OK ? 0 : schema_describe_error(db, rc, errmsg);
    int closed = sqlite3_close(db);
    return r == 0 && closed != SQLITE_OK ? -EIO : r;
}

/* What an interrupted creation left behind is worth nothing. A folder is none of it. */
void schema_remove_leftovers(int directory_fd)
{
    static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%s%s", SCHEMA_NEW_NAME, suffixes[i]);
        if (unlinkat(directory_fd, name, 0) < 0 && errno == EISDIR &&
            aside_move(directory_fd, name, "is a folder") < 0)
            continue; /* the open that follows reports it */
    }
}

/*
 * The directory may be as new as the database, and a power cut takes back a name whose
 * directory was not synced, with all that is below it. A parent that cannot be read belongs
 * to another user, who made the directory, too. Before the database is there, not after: a
 * process that is killed in between must come here again.
 */
int schema_sync_parent(int directory_fd, char *errmsg)
{
    int fd = openat(directory_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0 : -errno;
    int r = fsync(fd) < 0 ? -errno : 0;
    if (r < 0)
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "the folder of the spool's directory: %s",
                       strerror(-r));
    (void)close(fd);
    return r;
}

/*
 * On btrfs a write to a place that was written before takes new blocks, and fails
 * where there are none; one to the -shm file, which is mapped, even kills the
 * process. Files that are made in a folder with this flag are written in place.
 * Other file systems do so anyhow and do not know it.
 */
static void disable_copy_on_write(int directory_fd)
{
    int flags = 0;
    if (ioctl(directory_fd, FS_IOC_GETFLAGS, &flags) < 0)
        return;
    flags |= FS_NOCOW_FL;
    (void)ioctl(directory_fd, FS_IOC_SETFLAGS, &flags); /* best effort */
}

int schema_create(const char *directory, int directory_fd, char *errmsg)
{
    char path[4096];
    int length = snprintf(path, sizeof(path), "%s/%s", directory, SCHEMA_NEW_NAME);
    if (length < 0 || (size_t)length >= sizeof(path))
        return -ENAMETOOLONG;
    schema_remove_leftovers(directory_fd);
    disable_copy_on_write(directory_fd);
    int r = schema_sync_parent(directory_fd, errmsg);
    if (r == 0)
        r = build_file(path, errmsg);
    if (r != 0) {
        schema_remove_leftovers(directory_fd);
        return r;
    }
    FAILPOINT("create.before_rename");
    if (renameat(directory_fd, SCHEMA_NEW_NAME, directory_fd, DATABASE_NAME) < 0 ||
        fsync(directory_fd) < 0) {
        r = -errno;
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "%s: %s", SCHEMA_NEW_NAME, strerror(errno));
    }
    FAILPOINT("create.after_rename");
    return r;
}

static bool is_our_header(const unsigned char *header)
{
    const unsigned char *id = header + DATABASE_APPLICATION_ID_AT;
    uint32_t application_id =
        (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
    return memcmp(header, DATABASE_MAGIC, sizeof(DATABASE_MAGIC)) == 0 &&
           application_id == SPOOL_APPLICATION_ID;
}

static bool read_our_header(int directory_fd,
                            const char *name,
                            int flags,
                            unsigned char header[static HEADER_BYTES])
{
    int fd = regular_openat(directory_fd, name, O_RDONLY | flags, 0);
    if (fd < 0)
        return false;
    bool is_whole = reads_at(fd, header, HEADER_BYTES, 0) == HEADER_BYTES;
    (void)close(fd); /* only read from */
    return is_whole && is_our_header(header);
}

bool schema_is_ours(int directory_fd, const char *name)
{
    unsigned char header[HEADER_BYTES];
    return read_our_header(directory_fd, name, O_NOFOLLOW, header);
}

bool schema_is_in_wal_mode(int directory_fd)
{
    unsigned char header[HEADER_BYTES];
    return read_our_header(directory_fd, DATABASE_NAME, 0, header) &&
           header[DATABASE_WRITE_FORMAT_AT] == DATABASE_FORMAT_WAL;
}

/* Is there a spool? 0: yes; SPOOL_E_ABSENT, SPOOL_E_DAMAGED; negative errno. */
int schema_probe(int directory_fd, char *errmsg)
{
    int fd = regular_openat(directory_fd, DATABASE_NAME, O_RDONLY, 0);
    if (fd == -ENOENT) {
        if (faccessat(directory_fd, LOG_NAME, F_OK, 0) < 0)
            return SPOOL_E_ABSENT;
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "spool.db-wal exists but spool.db is missing");
        return SPOOL_E_DAMAGED;
    }
    if (fd < 0) {
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, DATABASE_NAME ": %s", regular_error(fd));
        return fd;
    }
    unsigned char header[HEADER_BYTES] = {0};
    ssize_t size = reads_at(fd, header, sizeof(header), 0);
    int r = size < 0 ? (int)size : 0;
    (void)close(fd); /* only read from */
    if (r < 0) {
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, DATABASE_NAME ": %s", strerror(-r));
        return r;
    }
    if (size == HEADER_BYTES && is_our_header(header))
        return 0;
    (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "spool.db is not a spool database");
    return SPOOL_E_DAMAGED;
}
