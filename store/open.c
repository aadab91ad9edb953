/* SPDX-License-Identifier: MIT */
/*
 * open.c - opens a spool, for a writer or a reader, and closes it
 *
 * A writer takes the locks, finishes what a crash cut short, and compares the
 * database with its mark; before that, and before a small database was looked
 * through, nothing is written. Damage is a condition for the caller, which calls
 * spool_salvage().
 *
 * A commit hook refuses any commit but that of commit.c, so nothing can become
 * durable behind the back of the counters in memory.
 *
 * A connection that failed, or whose files are not where they were, is closed
 * without a checkpoint (connection.c says why). The WAL file is kept at close, so
 * that tools which may not create files in the directory can read a spool at rest.
 */
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

static char open_words[SPOOL_WORDS_MAX];

const char *spool_open_error(void)
{
    return open_words;
}

/* ---- open and close ---- */

static int refuse_foreign_commits(void *context)
{
    const struct spool *spool = context;
    return !spool->is_committing;
}

static int note_wal_pages(void *context, sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    struct spool *spool = context;
    spool->wal_pages = pages;
    return SQLITE_OK;
}

static int connect_database(struct spool *spool, const char *directory, int flags)
{
    if (asprintf(&spool->path, "%s/" DATABASE_NAME, directory) < 0) {
        spool->path = NULL;
        return spool_fail(spool, -ENOMEM, "out of memory");
    }
    int rc = sqlite3_open_v2(spool->path, &spool->db, flags | SQLITE_OPEN_NOMUTEX, reads_vfs());
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(spool->db, spool->busy_wait_ms);
    /* Until all checks have passed, closing must change nothing. */
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(spool->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return spool_result(spool, rc);
}

static int configure(struct spool *spool)
{
    static const char writer[] =
        "PRAGMA synchronous = FULL; PRAGMA mmap_size = 0; PRAGMA wal_autocheckpoint = 0;"
        "PRAGMA secure_delete = OFF; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON";
    static const char reader[] =
        "PRAGMA query_only = ON; PRAGMA mmap_size = 0; PRAGMA trusted_schema = OFF";
    const char *pragmas = spool->is_reader ? reader : writer;
    return sqlite3_exec(spool->db, pragmas, NULL, NULL, NULL);
}

static int examine_as_marked(struct spool *spool)
{
    struct mark mark;
    int r = mark_read(spool->directory_fd, &mark);
    if (r != 0)
        return spool_fail(spool, r, MARK_NAME ": %s", strerror(-r));
    return examine(spool, &mark);
}

static int prepare(struct spool *spool)
{
    int version = 0;
    int rc = schema_check(spool->db, &version);
    if (rc == SQLITE_SCHEMA)
        return spool_fail(spool, SPOOL_E_NEWER,
                          "spool.db has schema version %d, this program knows %d", version,
                          schema_known());
    if (rc == SQLITE_OK)
        rc = configure(spool);
    if (rc == SQLITE_OK && !spool->is_reader) {
        int r = examine_as_marked(spool);
        if (r != 0)
            return r;
        rc = schema_migrate(spool->db, version);
    }
    if (rc == SQLITE_OK)
        rc = charge_register(spool->db, &spool->record_tally);
    if (rc == SQLITE_OK)
        rc = stmt_prepare(&spool->stmts, spool->db, spool->is_reader);
    return examine_result(spool, rc);
}

static int open_mark(struct spool *spool)
{
    int r = mark_open(spool->directory_fd);
    if (r >= 0) {
        spool->mark_fd = r;
        r = spool_note_mark(spool);
    }
    return r < 0 ? spool_fail(spool, r, MARK_NAME ": %s", strerror(-r)) : 0;
}

static int note_identity(struct spool *spool)
{
    const int fds[IDENTITY_FILES] = {
        [IDENTITY_DIRECTORY] = spool->directory_fd,
        [IDENTITY_DATABASE] = spool->database_fd,
        [IDENTITY_MARK] = spool->mark_fd,
        [IDENTITY_LOCK] = spool->lock_fd,
    };
    int r = identity_note(&spool->identity, spool->directory, fds);
    return r < 0 ? spool_fail(spool, r, "%s: %s", spool->directory, strerror(-r)) : 0;
}

/*
 * The database as a whole is sound: from here on this connection may write. The
 * WAL has its name in the directory by now; that SQLite syncs the directory is
 * not enough, for it does not tell when that fails.
 */
static int arm(struct spool *spool)
{
    spool->database_fd = regular_openat(spool->directory_fd, DATABASE_NAME, O_RDWR, 0);
    if (spool->database_fd < 0)
        return spool_fail(spool, spool->database_fd, "%s: %s", spool->path,
                          regular_error(spool->database_fd));
    if (fsync(spool->directory_fd) < 0)
        return spool_fail(spool, -errno, "%s: %s", spool->path, strerror(errno));
    int keep_wal = 1;
    int rc = sqlite3_file_control(spool->db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep_wal);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(spool->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    int r = spool_result(spool, rc);
    if (r == 0)
        r = open_mark(spool);
    if (r == 0)
        r = spool_read_number(spool, STMT_PAGES, &spool->committed_pages);
    return r == 0 ? note_identity(spool) : r;
}

/* The first batch of a writer: lanes are forgotten, numbered and stored. */
static int load_ledger(struct spool *spool, const struct spool_options *options)
{
    int r = lanes_add_configured(spool, options->lanes, options->lane_count);
    if (r == 0)
        r = ledger_refresh(spool);
    if (r == 0)
        r = ledger_verify(spool);
    if (r == 0)
        r = spool_begin(spool);
    if (r == 0)
        r = lanes_settle(spool);
    if (r == 0)
        r = ledger_write(spool);
    if (r != 0)
        return r;
    spool->is_committing = true;
    r = spool_result(spool, stmt_run(spool_stmt(spool, STMT_COMMIT)));
    spool->is_committing = false;
    if (r != 0)
        return r;
    spool->in_transaction = false;
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
    struct stmt *stmt = spool_stmt(spool, STMT_LAST_ENDED);
    int rc = stmt_step(stmt);
    int64_t last_ended_ms = rc == SQLITE_ROW ? stmt_int(stmt, 0) : 0;
    r = spool_result(spool, rc);
    stmt_reset(stmt);
    if (r == 0)
        r = outcome_load(spool);
    spool->written_clock = stored;
    spool_clock_start(&spool->clock, &stored, options->boot_id, spool->last_id, last_ended_ms,
                      &options->now);
    spool->opened_clock_ms = spool->clock.state.clock_ms;
    return r;
}

/* Is there a database? That there never was one is to be believed only where no mark says
 * otherwise. */
static int probe(struct spool *spool, struct mark *ret_mark)
{
    int r = mark_read(spool->directory_fd, ret_mark);
    if (r < 0)
        return spool_fail(spool, r, MARK_NAME ": %s", strerror(-r));
    r = schema_probe(spool->directory_fd, spool->words);
    if (r == SPOOL_E_ABSENT && ret_mark->last_id > 0)
        return spool_fail(spool, SPOOL_E_DAMAGED,
                          "spool.db is missing, and ids up to %llu were given out",
                          (unsigned long long)ret_mark->last_id);
    return r;
}

/* SQLite would play it back into the database, whatever it is the journal of. A spool is in WAL
 * mode from its first page on and never has one; a database that another program took out of that
 * mode may need it. */
static int set_journal_aside(struct spool *spool)
{
    if (!aside_is_there(spool->directory_fd, JOURNAL_NAME) ||
        !schema_is_in_wal_mode(spool->directory_fd))
        return 0;
    int r = aside_move(spool->directory_fd, JOURNAL_NAME, "is a journal, which no spool has");
    return r < 0 ? spool_fail(spool, r, JOURNAL_NAME ": %s", strerror(-r)) : 0;
}

/* A spool that is new, or one that may be opened. */
static int find_database(struct spool *spool, const struct spool_options *options)
{
    struct mark mark = {0};
    int r = salvage_finish(spool->directory_fd, options->directory, spool->words);
    if (r == 0)
        r = set_journal_aside(spool);
    if (r == 0)
        r = probe(spool, &mark);
    if (r == SPOOL_E_ABSENT)
        return schema_create(options->directory, spool->directory_fd, spool->words);
    if (r == 0 && mark.is_suspect)
        return spool_fail(spool, SPOOL_E_DAMAGED, "damage was met when it was last in use");
    if (r == 0 && mark.is_unread)
        return spool_fail(spool, SPOOL_E_UNREAD,
                          "a read or a write failed when it was last in use");
    return r;
}

static int open_writer(struct spool *spool, const struct spool_options *options)
{
    int r = spool_open_directory(options->directory, true, &spool->directory_fd);
    if (r < 0)
        return spool_fail(spool, r, "%s: %s", options->directory, strerror(-r));
    spool->directory = strdup(options->directory);
    if (!spool->directory)
        return spool_fail(spool, -ENOMEM, "out of memory");
    r = spool_look_at_names(spool, options->directory);
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
        (void)sqlite3_commit_hook(spool->db, refuse_foreign_commits, spool);
        (void)sqlite3_wal_hook(spool->db, note_wal_pages, spool);
        r = load(spool, options);
    }
    return r == 0 ? arm(spool) : r;
}

static struct spool *spool_new(void)
{
    struct spool *spool = calloc(1, sizeof(*spool));
    if (!spool) {
        (void)snprintf(open_words, sizeof(open_words), "out of memory");
        return NULL;
    }
    spool->busy_wait_ms = BUSY_TIMEOUT_MS;
    spool->lock_fd = -1;
    spool->directory_fd = -1;
    spool->database_fd = -1;
    spool->mark_fd = -1;
    spool->restore_fd = -1;
    spool->restore_lock_fd = -1;
    identity_init(&spool->identity);
    spool->expiry_due_ms = INT64_MIN;
    spool->keep_due_ms = INT64_MIN;
    spool->verify_due_ms = INT64_MIN;
    spool->disk_credit = SPOOL_DISK_CREDIT_BYTES;
    spool->bad_writes = reads_bad_writes();
    return spool;
}

/* What did not read may look like damage: a page that is missing, a check that says so. */
static int tell_unread(int r, uint64_t given_up_before)
{
    bool may_be_that = r == -EIO || r == -EBADMSG || r == SPOOL_E_DAMAGED;
    return may_be_that && reads_given_up() != given_up_before ? SPOOL_E_UNREAD : r;
}

/* No room for another name, or not even for the -shm file. */
static int tell_full(const struct spool *spool, int r)
{
    int error = r == -EIO && spool->db ? sqlite3_system_errno(spool->db) : r < 0 ? -r : 0;
    return full_is_error(error) ? SPOOL_E_DISK : r;
}

/* Hands over, or closes and keeps the words. Damage is a condition for who opens. */
static int end_open(struct spool *spool, int r, struct spool **ret)
{
    if (r == 0) {
        *ret = spool;
        return 0;
    }
    if (r < 0 && spool->words[0] == '\0')
        (void)snprintf(spool->words, sizeof(spool->words), "%s", strerror(-r));
    memcpy(open_words, spool->words, sizeof(open_words));
    spool_close(spool);
    return r == -EBADMSG ? SPOOL_E_DAMAGED : r;
}

/* What no salvage would touch is not called damage. Only after the close: to close another
 * descriptor of the database takes SQLite's locks along. */
static int tell_foreign(const char *directory)
{
    bool is_foreign = false;
    int fd;
    if (spool_open_directory(directory, false, &fd) < 0)
        return SPOOL_E_DAMAGED;
    int r = salvage_is_foreign(fd, &is_foreign);
    (void)close(fd); /* only read from */
    if (r != 0 || !is_foreign)
        return SPOOL_E_DAMAGED; /* if it cannot be told, it is damage */
    (void)snprintf(open_words, sizeof(open_words), SALVAGE_FOREIGN_WORDS);
    return SPOOL_E_FOREIGN;
}

int spool_open(const struct spool_options *options, struct spool **ret)
{
    assert(options->lane_count >= 1 && options->lane_count <= SPOOL_LANES_MAX);
    struct spool *spool = spool_new();
    if (!spool)
        return -ENOMEM;
    spool->disk_reserve = options->disk_reserve;
    spool->keep_failures_ms = options->keep_failures_ms;
    spool->keep_failures_count = options->keep_failures_count;
    uint64_t given_up = reads_given_up();
    int r = tell_full(spool, open_writer(spool, options));
    r = end_open(spool, tell_unread(r, given_up), ret);
    return r == SPOOL_E_DAMAGED ? tell_foreign(options->directory) : r;
}

/* A mark that does not read is given up where nothing else is lost. */
static int judge_survey(struct spool *spool, const struct survey *survey)
{
    struct mark mark;
    bool has_database = faccessat(spool->directory_fd, DATABASE_NAME, F_OK, 0) == 0;
    bool is_mark_bad = survey->files[SURVEY_MARK].bad_count > 0;
    if (survey_found_damage(survey) || (is_mark_bad && !has_database))
        return SPOOL_E_DAMAGED;
    if (is_mark_bad)
        return mark_set_aside(spool->directory_fd, "unread");
    int r = mark_read(spool->directory_fd, &mark);
    if (r != 0 || !mark.is_unread)
        return r;
    mark.is_unread = false;
    spool->mark_fd = mark_open(spool->directory_fd);
    return spool->mark_fd < 0 ? spool->mark_fd : mark_write(spool->mark_fd, &mark);
}

static void tell_stopped(struct spool *spool)
{
    (void)snprintf(spool->words, sizeof(spool->words), "stopped before all was read");
}

int spool_survey(const char *directory)
{
    struct survey survey = {0};
    struct spool *spool = spool_new();
    if (!spool)
        return -ENOMEM;
    int r = spool_open_directory(directory, false, &spool->directory_fd);
    if (r < 0)
        r = spool_fail(spool, r, "%s: %s", directory, strerror(-r));
    if (r == 0)
        r = spool_look_at_names(spool, directory);
    if (r == 0)
        r = spool_take_lock(spool);
    if (r == 0)
        r = survey_take(spool->directory_fd, &survey, spool->words);
    if (r == -ECANCELED)
        tell_stopped(spool);
    if (r == 0)
        r = tell_full(spool, judge_survey(spool, &survey));
    survey_done(&survey);
    if (r < 0 && spool->words[0] == '\0')
        (void)snprintf(spool->words, sizeof(spool->words), "%s", strerror(-r));
    memcpy(open_words, spool->words, sizeof(open_words));
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
    int r = spool_open_directory(options->directory, false, &spool->directory_fd);
    if (r < 0)
        r = spool_fail(spool, r, "%s: %s", options->directory, strerror(-r));
    if (r == 0)
        r = spool_look_at_names(spool, options->directory);
    if (r == 0)
        r = spool_take_lock(spool);
    if (r == 0)
        r = tell_full(spool, salvage(spool->directory_fd, options, history, spool->words, ret));
    if (r == -ECANCELED)
        tell_stopped(spool);
    memcpy(open_words, spool->words, sizeof(open_words));
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
    if (r != 0 && spool->db && sqlite3_extended_errcode(spool->db) == SQLITE_READONLY_ROLLBACK)
        return spool_fail(spool, r,
                          JOURNAL_NAME " is there, a journal, which no spool has: move "
                                       "it away, or start the daemon, which does");
    if (r == 0)
        r = ledger_refresh(spool);
    return r == 0 ? ledger_load_state(spool, &spool->clock.state) : r;
}

/* What no salvage would touch is told from damage, as the daemon tells it. */
static int open_reader(struct spool *spool, const char *directory)
{
    bool is_foreign = false;
    int r = spool_open_directory(directory, false, &spool->directory_fd);
    if (r == -ENOENT)
        return spool_fail(spool, SPOOL_E_ABSENT, "%s: there is no spool", directory);
    if (r < 0)
        return spool_fail(spool, r, "%s: %s", directory, strerror(-r));
    r = spool_look_at_names(spool, directory);
    if (r != 0)
        return r;
    uint64_t given_up = reads_given_up();
    r = read_database(spool, directory);
    if (tell_unread(r, given_up) == SPOOL_E_UNREAD)
        return spool->is_explained ? r : spool_explain_unread(spool);
    if (r != SPOOL_E_DAMAGED && r != -EBADMSG)
        return r;
    if (salvage_is_foreign(spool->directory_fd, &is_foreign) == 0 && is_foreign)
        return spool_fail(spool, SPOOL_E_FOREIGN, SALVAGE_FOREIGN_WORDS);
    return r; /* where that cannot be told, it is damage all the same */
}

int spool_open_reader(const char *directory, struct spool **ret)
{
    struct spool *spool = spool_new();
    if (!spool)
        return -ENOMEM;
    spool->is_reader = true;
    return end_open(spool, open_reader(spool, directory), ret);
}

static void close_database(struct spool *spool)
{
    if (!spool->db)
        return;
    if (spool->failed < 0 || spool_verify_files(spool) != 0) /* see the head of connection.c */
        (void)sqlite3_db_config(spool->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    stmt_finalize(&spool->stmts);
    int rc = sqlite3_close(spool->db); /* rolls an open batch back */
    assert(rc == SQLITE_OK);
    (void)rc;
}

void spool_close(struct spool *spool)
{
    if (!spool)
        return;
    close_database(spool);
    for (size_t i = 0; i < spool->lane_count; i++) {
        plan_done(&spool->lanes[i].plan);
        free(spool->lanes[i].name);
    }
    free(spool->lanes);
    turns_done(&spool->turns);
    free(spool->path);
    free(spool->directory);
    identity_done(&spool->identity);
    if (spool->database_fd >= 0)
        (void)close(spool->database_fd);
    if (spool->mark_fd >= 0)
        (void)close(spool->mark_fd); /* written without a sync, as always */
    if (spool->lock_fd >= 0)
        (void)close(spool->lock_fd); /* after the database: the lock covers it */
    if (spool->directory_fd >= 0)
        (void)close(spool->directory_fd);
    if (spool->restore_lock_fd >= 0)
        (void)close(spool->restore_lock_fd);
    if (spool->restore_fd >= 0)
        (void)close(spool->restore_fd);
    free(spool);
}
