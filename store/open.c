/* SPDX-License-Identifier: MIT */
/*
 * open.c - opens a spool, for a writer or a reader, and closes it
 *
 * A writer takes the locks, finishes what a crash cut short, and compares the
 * database with its mark; before that, and before a small database was
 * checked, nothing is written. Damage is a condition for the caller, which calls
 * spool_salvage().
 *
 * A commit hook refuses any commit but that of commit.c, so nothing can become
 * durable without the counters in memory.
 *
 * A connection that failed, or whose files are not where they were, is closed
 * without a checkpoint (connection.c says why). The WAL file is kept at close, so
 * that tools which may not create files in the directory can read a spool at rest.
 */
#include "base/failpoint.h"
#include "base/full.h"
#include "base/regular.h"
#include "store/aside.h"
#include "store/salvage/mark.h"
#include "store/salvage/reads.h"
#include "store/salvage/salvage.h"
#include "store/salvage/survey.h"
#include "store/spool-private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BUSY_TIMEOUT_MS = 5000,
};

static char open_errmsg[SPOOL_ERRMSG_MAX];

const char *spool_open_error(void)
{
    return open_errmsg;
}

/* ---- open and close ---- */

static int refuse_foreign_commits(void *userdata)
{
    const struct spool *spool = userdata;
    return !spool->batch.is_committing;
}

static int note_wal_pages(void *userdata, sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    struct spool *spool = userdata;
    spool->conn.wal_pages = pages;
    return SQLITE_OK;
}

static int connect_database(struct spool *spool, const char *directory, int flags)
{
    if (asprintf(&spool->files.path, "%s/" DATABASE_NAME, directory) < 0) {
        spool->files.path = NULL;
        return spool_fail_memory(spool);
    }
    int rc = sqlite3_open_v2(spool->files.path, &spool->conn.db, flags | SQLITE_OPEN_NOMUTEX,
                             reads_vfs());
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(spool->conn.db, spool->conn.busy_wait_ms);
    /* Until all checks have passed, closing must change nothing. */
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(spool->conn.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return spool_result(spool, rc);
}

/* temp_store: the statement journal of a large DELETE is spilled to a file of a folder that is
 * none of the spool's, and that may be full, read-only or missing, which would fail the commit.
 * It holds the pages that one statement changes, and its limit of rows bounds these. */
static int configure(struct spool *spool)
{
    static const char writer[] =
        "PRAGMA synchronous = FULL; PRAGMA mmap_size = 0; PRAGMA wal_autocheckpoint = 0;"
        "PRAGMA secure_delete = OFF; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
        "PRAGMA temp_store = MEMORY";
    static const char reader[] =
        "PRAGMA query_only = ON; PRAGMA mmap_size = 0; PRAGMA trusted_schema = OFF";
    const char *pragmas = spool->conn.is_reader ? reader : writer;
    return sqlite3_exec(spool->conn.db, pragmas, NULL, NULL, NULL);
}

static int examine_as_marked(struct spool *spool)
{
    struct mark mark;
    int r = mark_read(spool->files.directory_fd, &mark);
    if (r != 0)
        return spool_fail(spool, r, MARK_NAME ": %s", strerror(-r));
    return examine(spool, &mark);
}

static int prepare(struct spool *spool)
{
    int version = 0;
    int rc = schema_check(spool->conn.db, &version);
    if (rc == SQLITE_SCHEMA)
        return spool_fail(spool, SPOOL_E_NEWER,
                          "spool.db has schema version %d, this program knows %d", version,
                          schema_newest_version());
    if (rc == SQLITE_OK)
        rc = configure(spool);
    if (rc == SQLITE_OK)
        rc = functions_register(spool->conn.db, &spool->conn.record_tally,
                                &spool->conn.record_seq);
    if (rc == SQLITE_OK && !spool->conn.is_reader) {
        int r = examine_as_marked(spool);
        if (r != 0)
            return r;
        rc = schema_migrate(spool->conn.db, version);
        if (rc == SQLITE_OK) /* a copy by VACUUM INTO is not in this mode */
            rc = sqlite3_exec(spool->conn.db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK)
        rc = stmt_prepare(&spool->conn.stmts, spool->conn.db, spool->conn.is_reader, version);
    return examine_result(spool, rc);
}

static int open_mark(struct spool *spool)
{
    int r = mark_open(spool->files.directory_fd);
    if (r >= 0) {
        spool->files.mark_fd = r;
        r = spool_note_mark(spool);
    }
    return r < 0 ? spool_fail(spool, r, MARK_NAME ": %s", strerror(-r)) : 0;
}

static int note_identity(struct spool *spool)
{
    const int fds[IDENTITY_FILES] = {
        [IDENTITY_DIRECTORY] = spool->files.directory_fd,
        [IDENTITY_DATABASE] = spool->files.database_fd,
        [IDENTITY_MARK] = spool->files.mark_fd,
        [IDENTITY_LOCK] = spool->files.lock_fd,
    };
    int r = identity_note(&spool->files.identity, spool->files.directory, fds);
    return r < 0 ? spool_fail(spool, r, "%s: %s", spool->files.directory, strerror(-r)) : 0;
}

/* A process that was killed may have left commits in it that were not synced. They can be read,
 * and a power cut undoes them: so before anything is written that relies on them. */
static int sync_log(struct spool *spool)
{
    int error = reads_sync_log(spool->conn.db);
    return error == 0 ? 0
                      : spool_fail(spool, -EIO, "%s/" LOG_NAME ": fdatasync: %s",
                                   spool->files.directory, strerror(error));
}

/*
 * The database as a whole is sound: from here on this connection may write. The
 * WAL has its name in the directory by now; that SQLite syncs the directory is
 * not enough, because it does not report a failure.
 */
static int spool_enable_writes(struct spool *spool)
{
    spool->files.database_fd =
        regular_openat(spool->files.directory_fd, DATABASE_NAME, O_RDWR, 0);
    if (spool->files.database_fd < 0)
        return spool_fail(spool, spool->files.database_fd, "%s: %s", spool->files.path,
                          regular_error(spool->files.database_fd));
    if (fsync(spool->files.directory_fd) < 0)
        return spool_fail(spool, -errno, "%s: %s", spool->files.path, strerror(errno));
    int keep_wal = 1;
    int rc = sqlite3_file_control(spool->conn.db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep_wal);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(spool->conn.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    if (rc == SQLITE_OK)
        rc = reads_join_log(spool->conn.db);
    int r = spool_result(spool, rc);
    if (r == 0)
        r = sync_log(spool);
    if (r == 0)
        r = open_mark(spool);
    if (r == 0)
        r = spool_read_number(spool, STMT_PAGES, &spool->room.committed_pages);
    checkpoint_note_moved(&spool->lanes);
    return r == 0 ? note_identity(spool) : r;
}

/* The first batch of a writer: lanes are forgotten, numbered and stored. */
static int load_ledger(struct spool *spool, const struct spool_options *options)
{
    int r = lanes_add_configured(spool, options->lanes, options->lane_count);
    if (r == 0)
        r = ledger_refresh(spool);
    if (r == 0)
        r = segments_load(spool);
    if (r == 0)
        r = ledger_verify(spool);
    if (r == 0)
        r = spool_begin(spool);
    if (r == 0)
        r = segments_release_lanes(spool);
    if (r == 0)
        r = lanes_reconcile(spool);
    if (r == 0)
        r = ledger_write(spool);
    if (r != 0)
        return r;
    spool->batch.is_committing = true;
    r = spool_result(spool, stmt_run(spool_stmt(spool, STMT_COMMIT)));
    spool->batch.is_committing = false;
    if (r != 0)
        return r;
    spool->batch.is_open = false;
    ledger_commit(spool);
    return 0;
}

static int load(struct spool *spool, const struct spool_options *options)
{
    struct spool_clock_state stored;
    int r = ledger_load_state(spool, &stored);
    if (r == 0)
        r = load_ledger(spool, options);
    if (r != 0)
        return r;
    int64_t last_ended_ms;
    r = ledger_load_last_ended(spool, &last_ended_ms);
    if (r == 0)
        r = outcome_load(spool);
    if (r == 0)
        r = kept_load(spool);
    if (r == 0)
        r = origin_load(spool);
    if (r == 0)
        r = suspects_load(spool);
    if (r == 0)
        r = hold_load(spool);
    if (r == 0)
        r = sessions_load(spool, &last_ended_ms);
    if (r != 0)
        return r;
    spool->time.written = stored;
    spool_clock_start(&spool->time.clock, &stored, options->boot_id, spool->lanes.last_id,
                      last_ended_ms, &options->now);
    spool->time.opened_ms = spool->time.clock.state.clock_ms;
    sessions_start(spool);
    return 0;
}

/* Is there a database? That there never was one is believed only if there is no mark. */
static int probe(struct spool *spool, struct mark *ret_mark)
{
    int r = mark_read(spool->files.directory_fd, ret_mark);
    if (r < 0)
        return spool_fail(spool, r, MARK_NAME ": %s", strerror(-r));
    r = schema_probe(spool->files.directory_fd, spool->conn.errmsg);
    if (r == SPOOL_E_ABSENT && ret_mark->last_id > 0)
        return spool_fail(spool, SPOOL_E_DAMAGED,
                          "spool.db is missing, and ids up to %llu were given out",
                          (unsigned long long)ret_mark->last_id);
    return r;
}

/* SQLite would play it back into the database, whatever it is the journal of. A spool is in WAL
 * mode from its first page on and never has one; a database that another program took out of
 * that mode may need it. */
static int set_journal_aside(struct spool *spool)
{
    if (!aside_is_there(spool->files.directory_fd, JOURNAL_NAME) ||
        !schema_is_in_wal_mode(spool->files.directory_fd))
        return 0;
    int r =
        aside_move(spool->files.directory_fd, JOURNAL_NAME, "is a journal, which no spool has");
    return r < 0 ? spool_fail(spool, r, JOURNAL_NAME ": %s", strerror(-r)) : 0;
}

/* A spool that is new, or one that may be opened. */
static int find_database(struct spool *spool, const struct spool_options *options)
{
    struct mark mark = {0};
    int r = salvage_finish(spool->files.directory_fd, options->directory, spool->conn.errmsg);
    if (r == 0)
        r = set_journal_aside(spool);
    if (r == 0)
        r = probe(spool, &mark);
    if (r == SPOOL_E_ABSENT)
        return schema_create(options->directory, spool->files.directory_fd, spool->conn.errmsg);
    if (r == 0 && mark.is_suspect)
        return spool_fail(spool, SPOOL_E_DAMAGED, "damage was found when it was last in use");
    if (r == 0 && mark.is_unread)
        return spool_fail(spool, SPOOL_E_UNREAD,
                          "a read or a write failed when it was last in use");
    return r;
}

static void set_segment_limits(struct segment_limits *limits,
                               const struct spool_options *options)
{
    limits->rows = FAILPOINT_SIZE("SPOOLD_SEGMENT_ROWS", SEGMENT_ROWS);
    limits->backlog = FAILPOINT_SIZE("SPOOLD_SEGMENT_BACKLOG", SEGMENT_BACKLOG);
    if (options->segment_rows > 0)
        limits->rows = options->segment_rows;
    if (options->segment_backlog > 0)
        limits->backlog =
            options->segment_backlog == SPOOL_NO_SEGMENTS ? 0 : options->segment_backlog;
}

static int open_writer(struct spool *spool, const struct spool_options *options)
{
    set_segment_limits(&spool->segment_limits, options);
    int r = spool_open_directory(options->directory, true, &spool->files.directory_fd);
    if (r < 0)
        return spool_fail(spool, r, "%s: %s", options->directory, strerror(-r));
    spool->files.directory = strdup(options->directory);
    if (!spool->files.directory)
        return spool_fail_memory(spool);
    r = spool_require_regular_files(spool, options->directory);
    if (r == 0)
        r = spool_take_lock(spool);
    if (r != 0)
        return r;
    r = find_database(spool, options);
    if (r != 0)
        return r;
    r = connect_database(spool, options->directory, SQLITE_OPEN_READWRITE);
    if (r == 0)
        r = prepare(spool);
    if (r == 0) {
        (void)sqlite3_commit_hook(spool->conn.db, refuse_foreign_commits, spool);
        (void)sqlite3_wal_hook(spool->conn.db, note_wal_pages, spool);
        r = load(spool, options);
    }
    return r == 0 ? spool_enable_writes(spool) : r;
}

static struct spool *spool_new(void)
{
    struct spool *spool = calloc(1, sizeof(*spool));
    if (!spool) {
        (void)snprintf(open_errmsg, sizeof(open_errmsg), "out of memory");
        return NULL;
    }
    spool->conn.busy_wait_ms = BUSY_TIMEOUT_MS;
    spool->files.lock_fd = -1;
    spool->files.directory_fd = -1;
    spool->files.database_fd = -1;
    spool->files.mark_fd = -1;
    spool->restore.directory_fd = -1;
    spool->restore.lock_fd = -1;
    identity_init(&spool->files.identity);
    spool->lanes.expiry_due_ms = INT64_MIN;
    spool->pruning.keep_due_ms = INT64_MIN;
    spool->kept.due_ms = INT64_MIN;
    spool->pruning.reported_seq = UINT64_MAX;
    spool->files.verify_due_ms = INT64_MIN;
    spool->moved_segment = TABLE_SEGMENTS;
    spool->working.evicting.credit = SPOOL_DISK_CREDIT_BYTES;
    spool->conn.bad_writes = reads_bad_writes();
    return spool;
}

/* A read error may look like damage: a missing page, a check that fails. */
static int map_read_error(int r, uint64_t given_up_before)
{
    bool may_be_read_error = r == -EIO || r == -EBADMSG || r == SPOOL_E_DAMAGED;
    return may_be_read_error && reads_given_up() != given_up_before ? SPOOL_E_UNREAD : r;
}

/* No room for another name, or not even for the -shm file. */
static int map_full_error(const struct spool *spool, int r)
{
    int error = r == -EIO && spool->conn.db ? sqlite3_system_errno(spool->conn.db)
                : r < 0                     ? -r
                                            : 0;
    return full_is_error(error) ? SPOOL_E_DISK : r;
}

/* Hands over, or closes and keeps the error text. Damage is a condition for the caller. */
static int finish_open(struct spool *spool, int r, struct spool **ret)
{
    if (r == 0) {
        *ret = spool;
        return 0;
    }
    if (r < 0 && spool->conn.errmsg[0] == '\0')
        (void)snprintf(spool->conn.errmsg, sizeof(spool->conn.errmsg), "%s", strerror(-r));
    memcpy(open_errmsg, spool->conn.errmsg, sizeof(open_errmsg));
    spool_close(spool);
    return r == -EBADMSG ? SPOOL_E_DAMAGED : r;
}

/* What no salvage would touch is not reported as damage. Only after the close: to close another
 * descriptor of the database takes SQLite's locks along. */
static int map_foreign(const char *directory)
{
    bool is_foreign = false;
    int fd;
    if (spool_open_directory(directory, false, &fd) < 0)
        return SPOOL_E_DAMAGED;
    int r = salvage_is_foreign(fd, &is_foreign);
    (void)close(fd); /* only read from */
    if (r != 0 || !is_foreign)
        return SPOOL_E_DAMAGED; /* if that is unknown, it is damage */
    (void)snprintf(open_errmsg, sizeof(open_errmsg), SALVAGE_FOREIGN_ERRMSG);
    return SPOOL_E_FOREIGN;
}

int spool_open(const struct spool_options *options, struct spool **ret)
{
    assert(options->lane_count >= 1 && options->lane_count <= SPOOL_LANES_MAX);
    struct spool *spool = spool_new();
    if (!spool)
        return -ENOMEM;
    spool->room.reserve = options->disk_reserve;
    spool->pruning.keep_failures_ms = options->keep_failures_ms;
    spool->pruning.keep_failures_count = options->keep_failures_count;
    spool->kept.limits = options->kept;
    uint64_t given_up = reads_given_up();
    int r = map_full_error(spool, open_writer(spool, options));
    r = finish_open(spool, map_read_error(r, given_up), ret);
    return r == SPOOL_E_DAMAGED ? map_foreign(options->directory) : r;
}

/* An unreadable mark is given up if nothing else is lost. */
static int judge_survey(struct spool *spool, const struct survey *survey)
{
    struct mark mark;
    bool has_database = faccessat(spool->files.directory_fd, DATABASE_NAME, F_OK, 0) == 0;
    bool is_mark_bad = survey->files[SURVEY_MARK].bad_count > 0;
    if (survey_found_damage(survey) || (is_mark_bad && !has_database))
        return SPOOL_E_DAMAGED;
    if (is_mark_bad)
        return mark_set_aside(spool->files.directory_fd, "unread");
    int r = mark_read(spool->files.directory_fd, &mark);
    if (r != 0 || !mark.is_unread)
        return r;
    mark.is_unread = false;
    spool->files.mark_fd = mark_open(spool->files.directory_fd);
    return spool->files.mark_fd < 0 ? spool->files.mark_fd
                                    : mark_write(spool->files.mark_fd, &mark);
}

static void set_stopped_errmsg(struct spool *spool)
{
    (void)snprintf(spool->conn.errmsg, sizeof(spool->conn.errmsg),
                   "stopped before all was read");
}

int spool_survey(const char *directory)
{
    struct survey survey = {0};
    struct spool *spool = spool_new();
    if (!spool)
        return -ENOMEM;
    int r = spool_open_directory(directory, false, &spool->files.directory_fd);
    if (r < 0)
        r = spool_fail(spool, r, "%s: %s", directory, strerror(-r));
    if (r == 0)
        r = spool_require_regular_files(spool, directory);
    if (r == 0)
        r = spool_take_lock(spool);
    if (r == 0)
        r = survey_take(spool->files.directory_fd, &survey, spool->conn.errmsg);
    if (r == -ECANCELED)
        set_stopped_errmsg(spool);
    if (r == 0)
        r = map_full_error(spool, judge_survey(spool, &survey));
    survey_done(&survey);
    if (r < 0 && spool->conn.errmsg[0] == '\0')
        (void)snprintf(spool->conn.errmsg, sizeof(spool->conn.errmsg), "%s", strerror(-r));
    memcpy(open_errmsg, spool->conn.errmsg, sizeof(open_errmsg));
    spool_close(spool);
    return r;
}

int spool_salvage(const struct spool_options *options,
                  const struct spool_history *history,
                  struct spool_salvage *ret)
{
    struct spool *spool = spool_new();
    if (!spool)
        return -ENOMEM;
    int r = spool_open_directory(options->directory, false, &spool->files.directory_fd);
    if (r < 0)
        r = spool_fail(spool, r, "%s: %s", options->directory, strerror(-r));
    if (r == 0)
        r = spool_require_regular_files(spool, options->directory);
    if (r == 0)
        r = spool_take_lock(spool);
    if (r == 0)
        r = map_full_error(spool, salvage(spool->files.directory_fd, options, history,
                                          spool->conn.errmsg, ret));
    if (r == -ECANCELED)
        set_stopped_errmsg(spool);
    memcpy(open_errmsg, spool->conn.errmsg, sizeof(open_errmsg));
    spool_close(spool);
    return r;
}

unsigned spool_count_damaged(const char *directory)
{
    int fd;
    if (spool_open_directory(directory, false, &fd) < 0)
        return 0;
    unsigned count = salvage_count_damaged(fd);
    (void)close(fd);
    return count;
}

static int read_database(struct spool *spool, const char *directory)
{
    struct mark mark;
    int r = probe(spool, &mark);
    if (r == SPOOL_E_ABSENT)
        return spool_fail(spool, r, "%s: there is no spool", directory);
    if (r == 0)
        r = connect_database(spool, directory, SQLITE_OPEN_READONLY);
    if (r == 0)
        r = prepare(spool);
    if (r != 0 && spool->conn.db &&
        sqlite3_extended_errcode(spool->conn.db) == SQLITE_READONLY_ROLLBACK)
        return spool_fail(spool, r,
                          JOURNAL_NAME " exists, and no spool has a rollback journal: move "
                                       "it away, or start the daemon, which does");
    if (r == 0)
        r = ledger_refresh(spool);
    if (r == 0)
        r = hold_load(spool);
    return r == 0 ? ledger_load_state(spool, &spool->time.clock.state) : r;
}

/* What no salvage would touch is not reported as damage, just as by spool_open(). */
static int open_reader(struct spool *spool, const char *directory)
{
    bool is_foreign = false;
    int r = spool_open_directory(directory, false, &spool->files.directory_fd);
    if (r == -ENOENT)
        return spool_fail(spool, SPOOL_E_ABSENT, "%s: there is no spool", directory);
    if (r < 0)
        return spool_fail(spool, r, "%s: %s", directory, strerror(-r));
    r = spool_require_regular_files(spool, directory);
    if (r != 0)
        return r;
    uint64_t given_up = reads_given_up();
    r = read_database(spool, directory);
    if (map_read_error(r, given_up) == SPOOL_E_UNREAD)
        return spool->conn.is_surveyed ? r : spool_survey_for_reader(spool);
    if (r != SPOOL_E_DAMAGED && r != -EBADMSG)
        return r;
    if (salvage_is_foreign(spool->files.directory_fd, &is_foreign) == 0 && is_foreign)
        return spool_fail(spool, SPOOL_E_FOREIGN, SALVAGE_FOREIGN_ERRMSG);
    return r; /* if that is unknown, it is damage */
}

int spool_open_reader(const char *directory, struct spool **ret)
{
    struct spool *spool = spool_new();
    if (!spool)
        return -ENOMEM;
    spool->conn.is_reader = true;
    return finish_open(spool, open_reader(spool, directory), ret);
}

static void close_fd(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

static void close_files(struct spool_files *files)
{
    free(files->path);
    free(files->directory);
    identity_done(&files->identity);
    close_fd(files->database_fd);
    close_fd(files->mark_fd); /* written without a sync, as always */
    close_fd(files->lock_fd); /* after the database: the lock covers it */
    close_fd(files->directory_fd);
}

static void close_database(struct spool *spool)
{
    if (!spool->conn.db)
        return;
    if (spool->conn.failed < 0 ||
        spool_verify_files(spool) != 0) /* see the head of connection.c */
        (void)sqlite3_db_config(spool->conn.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    stmt_finalize(&spool->conn.stmts);
    int rc = sqlite3_close(spool->conn.db); /* rolls an open batch back */
    assert(rc == SQLITE_OK);
    (void)rc;
}

void spool_close(struct spool *spool)
{
    if (!spool)
        return;
    close_database(spool);
    lane_set_done(&spool->lanes);
    suspects_done(&spool->suspects);
    sessions_done(&spool->sessions);
    close_files(&spool->files);
    restore_leave(&spool->restore);
    free(spool);
}
