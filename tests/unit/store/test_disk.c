/* SPDX-License-Identifier: MIT */
/*
 * test_disk.c - what the spool does when the disk, or memory, fails it
 *
 * Sweeps: one script of all that a spool does runs again and again; in run N the
 * Nth call below its folder fails (tests/support/fault_io.h), or the Nth
 * allocation, until a run has no failure. After each run the spool is opened
 * without faults and compared with what was promised meanwhile: what a commit
 * made true is there, what was refused is not, nothing is damaged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/view.h"
#include "store/salvage/mark.h"
#include "store/spool-private.h"
#include "store/spool.h"
#include "tests/support/fault_io.h"
#include "tests/support/spool_fixture.h"

/* ---- memory that runs out ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
__attribute__((format(printf, 2, 3))) int __wrap_asprintf(char **ret, const char *format, ...);

void *__wrap_malloc(size_t size)
{
    return fault_io_may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fault_io_may_allocate() ? __real_calloc(count, size) : NULL;
}

void *__wrap_realloc(void *old, size_t size)
{
    return fault_io_may_allocate() ? __real_realloc(old, size) : NULL;
}

char *__wrap_strdup(const char *text)
{
    return fault_io_may_allocate() ? __real_strdup(text) : NULL;
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
    if (!fault_io_may_allocate())
        return -1;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(ret, format, arguments);
    va_end(arguments);
    return length;
}

static sqlite3_mem_methods memory;

static void *sqlite_malloc(int size)
{
    return fault_io_may_allocate() ? memory.xMalloc(size) : NULL;
}

static void *sqlite_realloc(void *old, int size)
{
    return fault_io_may_allocate() ? memory.xRealloc(old, size) : NULL;
}

/* Without lookaside each allocation of SQLite is one that can fail. */
static int take_over_memory(void **state)
{
    (void)state;
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK)
        return -1;
    sqlite3_mem_methods methods = memory;
    methods.xMalloc = sqlite_malloc;
    methods.xRealloc = sqlite_realloc;
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK ? 0 : -1;
}

/* ---- the script, and what it was promised ---- */

enum { IDS = 64, LEFT = 5 };

enum promise {
    NOTHING,  /* no such id */
    UNKNOWN,  /* its commit failed for good: there or not */
    REFUSED,  /* its commit was a condition: must not be there */
    ACCEPTED, /* must be there, or have its outcome */
};

struct script {
    struct fixture *f;
    enum promise promised[IDS + 1];
    uint64_t open[IDS]; /* appended in the open batch */
    unsigned open_count;
    unsigned conditions; /* how often the disk was full */
    int fatal;           /* the error that ended it */
    bool recovers;       /* a condition must have passed at the end */
    bool spills;         /* no page stays in memory: each goes to the log, and comes back */
};

static void settle_promises(struct script *script, enum promise promise)
{
    for (unsigned i = 0; i < script->open_count; i++)
        script->promised[script->open[i]] = promise;
    script->open_count = 0;
}

/* Notes a condition or the end; true when the call did its work. */
static bool went_well(struct script *script, int r)
{
    if (r == 0 || r == SPOOL_E_EMPTY)
        return r == 0;
    if (r < 0) {
        script->fatal = r;
        settle_promises(script, UNKNOWN);
        return false;
    }
    assert_true(r == SPOOL_E_DISK || r == SPOOL_E_BUSY);
    script->conditions++;
    return false;
}

static void append_some(struct script *script, unsigned count, const char *payload)
{
    struct spool_message message = make_message(payload);
    for (unsigned i = 0; i < count && script->fatal == 0; i++) {
        uint64_t id;
        if (!went_well(script, spool_append(script->f->spool, &message, &script->f->now, &id)))
            continue;
        assert_in_range(id, 1, IDS);
        script->open[script->open_count++] = id;
        script->promised[id] = UNKNOWN;
    }
}

static void commit_batch(struct script *script)
{
    if (script->fatal != 0)
        return;
    int r = spool_commit(script->f->spool, &script->f->now);
    if (went_well(script, r))
        settle_promises(script, ACCEPTED);
    else if (r > 0)
        settle_promises(script, REFUSED);
}

static void deliver_some(struct script *script, unsigned count)
{
    static const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE,
                                                   SPOOL_NO_CODE};
    for (unsigned i = 0; i < count && script->fatal == 0; i++) {
        struct spool_message message;
        if (!went_well(script, spool_next(script->f->spool, &script->f->now, &message)))
            return;
        if (i == 1)
            assert_int_equal(spool_return(script->f->spool, message.id, 0), 0);
        else
            (void)went_well(script, spool_settle(script->f->spool, message.id, &delivered,
                                                 script->f->now.boot_ms));
    }
}

static void retain_three(struct script *script)
{
    struct spool_lane lane = script->f->lane;
    lane.limits.max_messages = 3;
    if (script->fatal != 0 || !went_well(script, spool_set_lanes(script->f->spool, &lane, 1)))
        return;
    unsigned ended;
    bool more;
    (void)went_well(script,
                    spool_retain(script->f->spool, &script->f->now, 100, &ended, &more));
    if (script->fatal == 0)
        (void)went_well(script, spool_set_lanes(script->f->spool, &script->f->lane, 1));
}

static int count_record(void *context, const struct spool_record *record)
{
    (void)record;
    ++*(unsigned *)context;
    return 0;
}

static void export_all(struct script *script)
{
    if (script->fatal != 0)
        return;
    unsigned count = 0;
    int r = spool_each_record(script->f->spool, 0, false, 0, count_record, &count);
    if (went_well(script, r))
        spool_set_exported(script->f->spool, spool_last_seq(script->f->spool));
}

static void use_spool(struct script *script)
{
    static char large[9000];
    memset(large, 'x', sizeof(large) - 1);
    append_some(script, 6, "payload");
    append_some(script, 2, large);
    commit_batch(script);
    deliver_some(script, 4);
    append_some(script, 4, "more");
    commit_batch(script);
    retain_three(script);
    commit_batch(script);
    export_all(script);
    pass_time(script->f, 2000);
    commit_batch(script);
    append_some(script, 1, large);
    commit_batch(script);
}

static bool open_by_script(struct script *script)
{
    script->f->options.now = script->f->now;
    int r = spool_open(&script->f->options, &script->f->spool);
    if (r == 0)
        return true;
    script->f->spool = NULL;
    if (r == SPOOL_E_UNREAD) {
        int survey = spool_survey(script->f->directory);
        assert_true(survey <= 0); /* reads that fail are no damage */
        r = survey == 0 ? spool_open(&script->f->options, &script->f->spool) : survey;
    }
    if (r == 0)
        return true;
    script->f->spool = NULL;
    if (r > 0 && r != SPOOL_E_DISK && r != SPOOL_E_UNREAD)
        print_error("spool_open: %d %s; %s\n", r, spool_open_error(), fault_io_report()->what);
    assert_true(r < 0 || r == SPOOL_E_DISK || r == SPOOL_E_UNREAD);
    script->fatal = r < 0 ? r : r == SPOOL_E_DISK ? -ENOSPC : -EIO;
    return false;
}

/* A spool that failed once refuses everything, with the same words. */
static void check_it_sticks(const struct script *script)
{
    struct spool *spool = script->f->spool;
    struct spool_message message = make_message("late");
    uint64_t id;
    assert_int_equal(spool_append(spool, &message, &script->f->now, &id), script->fatal);
    assert_int_equal(spool_commit(spool, &script->f->now), script->fatal);
    assert_int_equal(spool_next(spool, &script->f->now, &message), script->fatal);
}

/* As in a batch that is larger than SQLite's memory of pages. */
static void keep_one_page(const struct fixture *f)
{
    assert_int_equal(sqlite3_exec(f->spool->conn.db, "PRAGMA cache_size = 1", NULL, NULL, NULL),
                     SQLITE_OK);
}

static void run_script(struct script *script)
{
    for (int life = 0; life < 2 && script->fatal == 0; life++) {
        if (!open_by_script(script))
            return;
        if (script->spills)
            keep_one_page(script->f);
        use_spool(script);
        if (script->fatal != 0)
            check_it_sticks(script);
        else if (life == 1 && script->recovers) {
            fault_io_disarm();
            commit_batch(script); /* as the daemon does each second */
            unsigned conditions = script->conditions;
            append_some(script, 1, "room again");
            commit_batch(script);
            assert_int_equal(script->conditions, conditions);
            assert_int_equal(script->fatal, 0);
        }
        if (script->fatal == 0)
            (void)went_well(script, spool_checkpoint(script->f->spool));
        close_spool(script->f);
    }
}

/* ---- afterwards ---- */

static void check_integrity(const struct fixture *f)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
    assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

struct census {
    bool spooled[IDS + 1];
    uint64_t ended;
};

static void take_census(struct fixture *f, struct census *ret)
{
    struct spool_message message;
    while (spool_next(f->spool, &f->now, &message) == 0) {
        assert_in_range(message.id, 1, IDS);
        assert_false(ret->spooled[message.id]);
        ret->spooled[message.id] = true;
    }
    struct spool_ledger ledger = ledger_of(f);
    ret->ended = ledger.accepted - ledger.spooled;
}

/*
 * Delivered rows are pruned once exported, so the outcome of an id may be a
 * count only: what was accepted and is not spooled must be among the ended.
 */
static void compare(const struct script *script, const struct census *census)
{
    uint64_t accepted = 0, unknown = 0, spooled = 0;
    for (uint64_t id = 1; id <= IDS; id++) {
        enum promise promise = script->promised[id];
        if (promise == REFUSED || promise == NOTHING)
            assert_false(census->spooled[id]);
        accepted += promise == ACCEPTED;
        unknown += promise == UNKNOWN;
        spooled += census->spooled[id];
    }
    assert_in_range(spooled + census->ended, accepted, accepted + unknown);
}

static void check_afterwards(struct script *script)
{
    fault_io_disarm();
    close_spool(script->f);
    if (spool_open(&script->f->options, &script->f->spool) == SPOOL_E_UNREAD) {
        script->f->spool = NULL;
        assert_int_equal(spool_survey(script->f->directory), 0);
    }
    if (!script->f->spool)
        open_spool(script->f);
    struct census census = {0};
    take_census(script->f, &census);
    compare(script, &census);
    close_spool(script->f);
    check_integrity(script->f);
}

/* ---- sweeps ---- */

struct sweep {
    const char *name;
    unsigned classes;
    uint64_t times; /* 0: from there on everything fails */
    int error;
    unsigned folder_syncs; /* that failed while a spool was opened that had been there */
    bool goes_on;          /* nothing may end by it */
    bool is_full;          /* a condition, never an error of I/O */
    bool spills;           /* see struct script */
};

static void empty_folder(struct fixture *f)
{
    assert_int_equal(nftw(f->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    assert_int_equal(mkdir(f->directory, 0700), 0);
    f->now = (struct spool_time){
        .wall_ms = INT64_C(1700000000000), .boot_ms = 50000, .wall_credible = true};
}

static const char *const names_of_a_spool[] = {"spool.db", "spool.db-wal"};

static void copy_file(const char *from, const char *to, const char *name)
{
    char path[128];
    char bytes[4096];
    size_t size;
    (void)snprintf(path, sizeof(path), "%s/%s", from, name);
    FILE *in = fopen(path, "re");
    (void)snprintf(path, sizeof(path), "%s/%s", to, name);
    FILE *out = fopen(path, "we");
    assert_true(in && out);
    while ((size = fread(bytes, 1, sizeof(bytes), in)) > 0)
        assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(in) + fclose(out), 0);
}

static void copy_spool(const char *from, const char *to)
{
    for (size_t i = 0; i < sizeof(names_of_a_spool) / sizeof(*names_of_a_spool); i++)
        copy_file(from, to, names_of_a_spool[i]);
}

/* What a daemon that was killed leaves: a WAL that was never moved to the database. */
static void make_killed_spool(struct fixture *f, const char *template)
{
    empty_folder(f);
    open_spool(f);
    append_many(f, LEFT);
    copy_spool(f->directory, template);
    close_spool(f);
}

static void start_killed(struct script *script, const char *template)
{
    copy_spool(template, script->f->directory);
    for (uint64_t id = 1; id <= LEFT; id++)
        script->promised[id] = ACCEPTED;
}

/*
 * What may fail unnoticed: SQLite's own sync of the folder, which the spool
 * repeats, and the removal of leftovers. And what close does once more when all
 * has been moved to the database.
 */
static bool may_pass(const char *what)
{
    return strcmp(what, "fdatasync folder") == 0 || strcmp(what, "open64 folder") == 0 ||
           strncmp(what, "unlink", 6) == 0;
}

/* Returns whether the fault came. */
static bool run_once(struct fixture *f, struct sweep *sweep, const char *template, uint64_t at)
{
    struct script script = {.f = f, .recovers = sweep->is_full, .spills = sweep->spills};
    empty_folder(f);
    if (template)
        start_killed(&script, template);
    fault_io_arm(f->directory, sweep->classes, at, sweep->times, sweep->error);
    run_script(&script);
    bool came = fault_io_report()->failed > 0;
    sweep->folder_syncs += template && strcmp(fault_io_report()->what, "fsync folder") == 0;
    if (getenv("SWEEP_TELLS"))
        print_message("# %s %llu: %s: error %d, %u conditions\n", sweep->name,
                      (unsigned long long)at, fault_io_report()->what, script.fatal,
                      script.conditions);
    if (sweep->goes_on)
        assert_int_equal(script.fatal, 0);
    else if (sweep->is_full && script.fatal != 0 && script.fatal != -ENOSPC)
        fail_msg("%s %llu: %s ended it with %d", sweep->name, (unsigned long long)at,
                 fault_io_report()->what, script.fatal);
    else if (came && sweep->classes != FAULT_READ && sweep->error == EIO && script.fatal == 0 &&
             !may_pass(fault_io_report()->what))
        fail_msg("%s %llu: %s went unnoticed", sweep->name, (unsigned long long)at,
                 fault_io_report()->what);
    check_afterwards(&script);
    return came;
}

/* Every point, or each @step-th, where SPOOLD_LONG is not set and they are thousands. */
static void sweep_over(struct fixture *f, struct sweep *sweep, unsigned step)
{
    if (getenv("SPOOLD_LONG"))
        step = 1;
    char template[] = "/tmp/spool-test-XXXXXX";
    assert_non_null(mkdtemp(template));
    make_killed_spool(f, template);
    for (int killed = 0; killed < 2; killed++) {
        uint64_t at = 1, points = 0;
        for (; run_once(f, sweep, killed ? template : NULL, at); at += step)
            points++;
        print_message("# %s, %s: %llu of about %llu points of failure\n", sweep->name,
                      killed ? "a spool left by a kill" : "a new spool",
                      (unsigned long long)points, (unsigned long long)at - 1);
        assert_true(at > (sweep->classes == FAULT_READ ? 20 : 50));
    }
    assert_int_equal(nftw(template, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* Not the reads: that is a sweep of its own. */
static const unsigned all_of_io =
    FAULT_WRITE | FAULT_SYNC | FAULT_TRUNCATE | FAULT_OPEN | FAULT_NAME;

static void an_error_of_io_at_any_call_loses_nothing_committed(void **state)
{
    struct sweep sweep = {"EIO once", all_of_io, 1, EIO, 0, false, false, false};
    sweep_over(*state, &sweep, 1);
    assert_int_equal(sweep.folder_syncs, 2); /* one each time that it is opened */
}

static void a_disk_that_fails_from_any_call_on_loses_nothing_committed(void **state)
{
    sweep_over(*state,
               &(struct sweep){"EIO for good", all_of_io, 0, EIO, 0, false, false, false}, 1);
}

/* A read changes nothing, so it may be done again. */
static void a_read_that_fails_once_anywhere_stops_nothing(void **state)
{
    struct sweep sweep = {.name = "a read fails once",
                          .classes = FAULT_READ,
                          .times = 1,
                          .error = EIO,
                          .goes_on = true};
    sweep_over(*state, &sweep, 1);
}

static void reads_that_fail_for_a_while_anywhere_are_no_damage(void **state)
{
    static const uint64_t times[] = {3, 10, 40};
    for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
        char name[40];
        (void)snprintf(name, sizeof(name), "%u reads in a row fail", (unsigned)times[i]);
        struct sweep sweep = {
            .name = name, .classes = FAULT_READ, .times = times[i], .error = EIO};
        sweep_over(*state, &sweep, 1);
    }
}

static void a_disk_that_reads_nothing_from_any_call_on_is_no_damage(void **state)
{
    struct sweep sweep = {.name = "no read any more", .classes = FAULT_READ, .error = EIO};
    sweep_over(*state, &sweep, 1);
}

static void a_full_disk_at_any_write_is_a_condition_that_passes(void **state)
{
    static const struct {
        const char *once;
        const char *for_good;
        int error;
    } kinds[] = {{"ENOSPC once", "ENOSPC for good", ENOSPC},
                 {"EDQUOT once", "EDQUOT for good", EDQUOT},
                 {"EFBIG once", "EFBIG for good", EFBIG}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        struct sweep sweep = {.name = kinds[i].once,
                              .classes = FAULT_WRITE | FAULT_TRUNCATE,
                              .times = 1,
                              .error = kinds[i].error,
                              .is_full = true};
        sweep_over(*state, &sweep, 1);
        sweep.name = kinds[i].for_good;
        sweep.times = 0;
        sweep_over(*state, &sweep, 1);
    }
}

/* The log is read before its writes were synced, and written again where it was read. */
static void
a_write_that_fails_in_a_batch_larger_than_memory_loses_nothing_committed(void **state)
{
    struct sweep once = {.name = "EIO once, pages spilled",
                         .classes = FAULT_WRITE | FAULT_SYNC,
                         .times = 1,
                         .error = EIO,
                         .spills = true};
    sweep_over(*state, &once, 1);
    struct sweep full = {.name = "ENOSPC once, pages spilled",
                         .classes = FAULT_WRITE | FAULT_TRUNCATE,
                         .times = 1,
                         .error = ENOSPC,
                         .is_full = true,
                         .spills = true};
    sweep_over(*state, &full, 1);
}

static void a_batch_larger_than_memory_reads_what_it_wrote(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    keep_one_page(f);
    for (int batch = 0; batch < 3; batch++) {
        for (int i = 0; i < 400; i++) {
            char payload[40];
            (void)snprintf(payload, sizeof(payload), "payload %d of batch %d", i, batch);
            append(f, payload);
        }
        commit(f);
    }
    close_spool(f);
    check_integrity(f);
    open_spool(f);
    struct spool_message message;
    for (int i = 0; i < 1200; i++) {
        char payload[40];
        int size =
            snprintf(payload, sizeof(payload), "payload %d of batch %d", i % 400, i / 400);
        assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
        assert_int_equal(message.payload.size, size);
        assert_memory_equal(message.payload.data, payload, (size_t)size);
    }
}

/* ---- how often a commit writes ---- */

/* The frames, and the mark. */
static void the_frames_of_a_commit_leave_in_few_writes(void **state)
{
    struct fixture *f = *state;
    fault_io_arm(f->directory, FAULT_WRITE, 0, 0, EIO);
    open_spool(f);
    append_many(f, 1);
    uint64_t before = fault_io_report()->calls;
    append_many(f, 200);
    uint64_t writes = fault_io_report()->calls - before;
    fault_io_disarm();
    print_message("# %llu writes for a commit\n", (unsigned long long)writes);
    assert_in_range(writes, 2, 3);
}

/* ---- how often a checkpoint syncs ---- */

static uint64_t syncs_of_a_checkpoint(struct fixture *f)
{
    uint64_t before = fault_io_report()->calls;
    assert_int_equal(spool_checkpoint(f->spool), 0);
    return fault_io_report()->calls - before;
}

static void a_checkpoint_syncs_the_log_only_if_the_commit_did_not(void **state)
{
    struct fixture *f = *state;
    fault_io_arm(f->directory, FAULT_SYNC, 0, 0, EIO);
    open_spool(f);
    append_many(f, 1);
    assert_int_equal(syncs_of_a_checkpoint(f), 1); /* of the database */
    assert_int_equal(
        sqlite3_exec(f->spool->conn.db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL),
        SQLITE_OK);
    append_many(f, 1); /* syncs the new header of the log */
    append_many(f, 1);
    assert_int_equal(syncs_of_a_checkpoint(f), 2);
    fault_io_disarm();
}

/* What a killed process wrote and did not sync can be read, and a cut of the power undoes it:
 * until it is synced nothing may be written that relies on it. */
static void what_a_kill_left_is_synced_before_the_mark_is_written(void **state)
{
    struct fixture *f = *state;
    char template[] = "/tmp/spool-test-XXXXXX";
    char mark[128];
    bool has_synced = false;
    assert_non_null(mkdtemp(template));
    make_killed_spool(f, template);
    (void)snprintf(mark, sizeof(mark), "%s/" MARK_NAME, f->directory);
    for (uint64_t at = 1; at <= 10; at++) {
        empty_folder(f);
        copy_spool(template, f->directory);
        fault_io_arm(f->directory, FAULT_SYNC, at, 1, EIO);
        int r = spool_open(&f->options, &f->spool);
        if (strcmp(fault_io_report()->what, "fdatasync spool.db-wal") == 0) {
            has_synced = true;
            assert_int_equal(r, -EIO);
            assert_int_equal(access(mark, F_OK), -1);
        }
        if (r == 0)
            close_spool(f);
        fault_io_disarm();
    }
    assert_true(has_synced);
    assert_int_equal(nftw(template, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* An error of the sync of a commit is final, whatever is called afterwards. */
static void a_sync_of_the_log_that_failed_is_not_taken_for_one(void **state)
{
    struct fixture *f = *state;
    sqlite3_file *log = NULL;
    fault_io_arm(f->directory, FAULT_SYNC, 0, 0, EIO);
    open_spool(f);
    append_many(f, 1);
    assert_int_equal(sqlite3_file_control(f->spool->conn.db, "main",
                                          SQLITE_FCNTL_JOURNAL_POINTER, (void *)&log),
                     SQLITE_OK);
    fault_io_arm(f->directory, FAULT_SYNC, 1, 2, EIO);
    assert_int_equal(log->pMethods->xSync(log, SQLITE_SYNC_NORMAL), SQLITE_OK); /* none */
    append(f, "payload");
    assert_int_equal(spool_commit(f->spool, &f->now), -EIO);
    assert_int_equal(log->pMethods->xSync(log, SQLITE_SYNC_NORMAL), SQLITE_IOERR_FSYNC);
    assert_int_equal(fault_io_report()->failed, 2);
    assert_int_equal(log->pMethods->xSync(log, SQLITE_SYNC_NORMAL), SQLITE_OK);
    assert_int_equal(fault_io_report()->calls, 3);
    fault_io_disarm();
}

static void an_allocation_that_fails_anywhere_loses_nothing_committed(void **state)
{
    sweep_over(
        *state,
        &(struct sweep){"no memory once", FAULT_ALLOC, 1, ENOMEM, 0, false, false, false}, 59);
}

static void memory_that_stays_short_from_anywhere_loses_nothing_committed(void **state)
{
    sweep_over(
        *state,
        &(struct sweep){"no memory for good", FAULT_ALLOC, 0, ENOMEM, 0, false, false, false},
        61);
}

/* ---- room on the disk ---- */

#define NO_ROOM (UINT64_MAX / 2) /* as reserve: whatever the disk holds, it is short */

enum { FILLED = 4000, FILL_BATCH = 100 };

static char kilobyte[1001];

static int append_kilobyte(struct fixture *f, unsigned lane, uint64_t *ret_id)
{
    memset(kilobyte, 'x', sizeof(kilobyte) - 1);
    struct spool_message message = make_message(kilobyte);
    message.lane = lane;
    return spool_append(f->spool, &message, &f->now, ret_id);
}

static void fill(struct fixture *f, unsigned lane, unsigned count)
{
    uint64_t id;
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(append_kilobyte(f, lane, &id), 0);
        if (i % FILL_BATCH == FILL_BATCH - 1)
            commit(f);
    }
    commit(f);
}

/* What the audit does after each commit. */
static void export_rows(struct fixture *f)
{
    spool_set_exported(f->spool, spool_last_seq(f->spool));
    commit(f);
}

static void take_the_room(struct fixture *f)
{
    close_spool(f);
    f->options.disk_reserve = NO_ROOM;
    open_spool(f);
}

static uint64_t database_bytes(const struct fixture *f)
{
    char path[128];
    struct stat status;
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

static void a_disk_that_others_fill_evicts_nothing_by_itself(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    fill(f, 0, FILLED);
    take_the_room(f);
    for (int i = 0; i < 20; i++) {
        unsigned ended;
        bool more;
        assert_int_equal(spool_retain(f->spool, &f->now, 2000, &ended, &more), 0);
        assert_int_equal(ended, 0);
        assert_false(more);
        commit(f);
    }
    assert_int_equal(ledger_of(f).spooled, FILLED);
}

static void a_short_disk_evicts_the_oldest_only_to_take_new_ones(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    fill(f, 0, FILLED);
    take_the_room(f);
    uint64_t size = database_bytes(f);
    for (int batch = 0; batch < 80; batch++) {
        uint64_t id;
        for (int i = 0; i < FILL_BATCH; i++)
            assert_int_equal(append_kilobyte(f, 0, &id), 0);
        unsigned ended;
        bool more;
        assert_int_equal(spool_retain(f->spool, &f->now, 2000, &ended, &more), 0);
        commit(f);
        export_rows(f);
    }
    struct spool_ledger ledger = ledger_of(f);
    assert_int_equal(ledger.accepted, FILLED + 8000);
    uint64_t evicted = ledger.ended[SPOOL_EVICTED];
    assert_in_range(ledger.spooled, FILLED * 3 / 4, FILLED);
    assert_int_equal(next_id(f), evicted + 1); /* the oldest went, and nothing between */
    struct found found = records_of(f, evicted);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.record.outcome, SPOOL_EVICTED);
    assert_int_equal(found.record.reason, SPOOL_REASON_DISK);
    assert_in_range(found.all, 1000, 1400); /* failures are replaced, not added */
    assert_int_equal(database_bytes(f), size);
}

static void nothing_goes_for_a_message_that_would_not_fit_all_the_same(void **state)
{
    struct fixture *f = *state;
    static char huge[3 << 20];
    memset(huge, 'x', sizeof(huge) - 1);
    open_spool(f);
    fill(f, 0, FILLED);
    take_the_room(f);
    struct spool_message message = make_message(huge);
    for (int try = 0; try < 10; try++) {
        uint64_t id;
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), SPOOL_E_DISK);
        commit(f);
    }
    assert_int_equal(ledger_of(f).ended[SPOOL_EVICTED], 0);
    huge[300 << 10] = '\0';
    message = make_message(huge);
    for (int try = 0; try < 10; try++) {
        uint64_t id;
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
        commit(f);
    }
    message = make_message(kilobyte);
    uint64_t evicted = ledger_of(f).ended[SPOOL_EVICTED] * spool_charge(&message);
    assert_in_range(evicted, 2 << 20, 4 << 20); /* about as much as came */
}

static void refused_by_a_short_disk_is_taken_when_there_is_room_again(void **state)
{
    struct fixture *f = *state;
    f->lane.limits.when_full = SPOOL_REFUSE;
    open_spool(f);
    fill(f, 0, FILLED);
    take_the_room(f);
    uint64_t id;
    assert_int_equal(append_kilobyte(f, 0, &id), SPOOL_E_DISK);
    assert_int_equal(ledger_of(f).spooled, FILLED);
    for (unsigned i = 0; i < 500; i++)
        deliver(f, next_id(f));
    commit(f); /* now there are free pages in the database */
    assert_int_equal(append_kilobyte(f, 0, &id), 0);
    commit(f);
    assert_int_equal(ledger_of(f).ended[SPOOL_EVICTED], 0);
}

static void the_lanes_of_low_priority_pay_for_the_others(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[] = {f->lane, f->lane, f->lane, f->lane};
    lanes[1].name = "alarms";
    lanes[1].priority = 10;
    lanes[2].name = "kept";
    lanes[2].priority = -10;
    lanes[2].limits.when_full = SPOOL_REFUSE;
    lanes[3].name = "low";
    lanes[3].priority = -5;
    f->options.lanes = lanes;
    f->options.lane_count = 4;
    open_spool(f);
    for (unsigned lane = 0; lane < 3; lane++)
        fill(f, lane, 1000);
    take_the_room(f);
    fill(f, 1, 300);
    uint64_t id;
    int r = 0;
    for (int i = 0; i < 300 && r == 0; i++) /* has nothing of its own to give */
        r = append_kilobyte(f, 3, &id);
    assert_int_equal(r, SPOOL_E_DISK);
    commit(f);
    struct spool_lane_stats stats[3];
    for (unsigned lane = 0; lane < 3; lane++)
        assert_int_equal(spool_get_lane_stats(f->spool, lane, &f->now, &stats[lane]), 0);
    assert_in_range(stats[0].messages, 300, 800);
    assert_int_equal(stats[1].messages, 1300);
    assert_int_equal(stats[2].messages, 1000);
}

static void a_shortage_is_over_when_more_than_a_few_messages_find_room(void **state)
{
    struct fixture *f = *state;
    open_spool(f);
    fill(f, 0, 300);
    assert_false(spool_disk_is_short(f->spool, &f->now));
    spool_set_disk_reserve(f->spool, NO_ROOM);
    assert_true(spool_disk_is_short(f->spool, &f->now));
    assert_non_null(strstr(spool_describe_disk(f->spool), "of which disk_reserve keeps"));
    uint64_t id;
    assert_int_equal(append_kilobyte(f, 0, &id), 0); /* the oldest go for it */
    assert_true(spool_disk_evictions(f->spool) > 0);
    assert_true(spool_disk_is_short(f->spool, &f->now)); /* a batch is open */
    commit(f);
    spool_set_disk_reserve(f->spool, 0);
    assert_false(spool_disk_is_short(f->spool, &f->now));
}

/* SQLite's own limit of the file: what needs another page finds no room. */
static void limit_pages(struct fixture *f, unsigned long pages)
{
    char sql[64];
    (void)snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %lu", pages);
    assert_int_equal(sqlite3_exec(f->spool->conn.db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static void a_batch_without_room_for_its_evictions_is_lost_as_a_whole(void **state)
{
    struct fixture *f = *state;
    unsigned evicted;
    bool more;
    uint64_t id;
    open_spool(f);
    fill(f, 0, 300);
    assert_int_equal(append_kilobyte(f, 0, &id), 0);
    struct spool_limits limits = f->lane.limits;
    limits.max_messages = 1;
    set_limits(f, limits);
    limit_pages(f, 1); /* no more than there are */
    assert_int_equal(spool_retain(f->spool, &f->now, 1000, &evicted, &more), SPOOL_E_DISK);
    assert_int_equal(spool_batch_messages(f->spool), 1); /* until the commit reports it */
    assert_int_equal(append_kilobyte(f, 0, &id), SPOOL_E_DISK);
    assert_int_equal(spool_retain(f->spool, &f->now, 1000, &evicted, &more), SPOOL_E_DISK);
    assert_int_equal(next_id(f), 0);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    assert_int_equal(spool_batch_messages(f->spool), 0);
    limit_pages(f, 1UL << 30);
    commit(f);
    assert_int_equal(ledger_of(f).accepted, 300);
    assert_int_equal(spool_retain(f->spool, &f->now, 1000, &evicted, &more), 0);
    assert_int_equal(evicted, 299);
    commit(f);
    assert_int_equal(ledger_of(f).ended[SPOOL_EVICTED], 299);
}

/* ---- a full disk in the middle of what a short one makes go ---- */

static const unsigned room_of_disk = FAULT_WRITE | FAULT_TRUNCATE;

/* Opened so, the disk can be made full later. */
static void open_on_disk(struct fixture *f)
{
    fault_io_arm(f->directory, room_of_disk, 0, 0, ENOSPC);
    open_spool(f);
}

static void append_in_short_room(struct fixture *f, unsigned lane)
{
    uint64_t id, evicted = f->spool->room.evicted;
    spool_set_disk_reserve(f->spool, NO_ROOM);
    assert_int_equal(append_kilobyte(f, lane, &id), 0);
    assert_true(f->spool->room.evicted > evicted); /* the oldest went for it */
}

/* The commit finds no room at all; afterwards there is plenty. */
static void lose_batch(struct fixture *f)
{
    fault_io_arm(f->directory, room_of_disk, 1, 0, ENOSPC);
    f->spool->room.allocated_pages = 0;
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    fault_io_arm(f->directory, room_of_disk, 0, 0, ENOSPC);
    spool_set_disk_reserve(f->spool, 0);
    assert_int_equal(next_id(f), 0); /* until a commit has shown that its end can be recorded */
    commit(f);
}

/* What comes must not have come before. */
static unsigned hand_out_all(struct fixture *f, bool *seen, uint64_t last_id)
{
    unsigned count = 0;
    for (uint64_t id; (id = next_id(f)) != 0; count++) {
        assert_in_range(id, 1, last_id);
        assert_false(seen[id]);
        seen[id] = true;
    }
    return count;
}

static void deliver_seen(struct fixture *f, const bool *seen, uint64_t last_id)
{
    for (uint64_t id = 1; id <= last_id; id++) {
        if (seen[id])
            deliver(f, id);
    }
    commit(f);
}

/* Between two edges the gateway forwards; what goes out then must leave no gap behind it that a
 * lost batch fills again. */
static void what_a_lost_batch_had_evicted_goes_out_in_its_place(void **state)
{
    struct fixture *f = *state;
    bool seen[301] = {0};
    open_on_disk(f);
    fill(f, 0, 300);
    seen[next_id(f)] = true;
    append_in_short_room(f, 0);
    (void)hand_out_all(f, seen, 300);
    lose_batch(f);
    assert_int_equal(ledger_of(f).spooled, 300);
    (void)hand_out_all(f, seen, 300);
    deliver_seen(f, seen, 300);
    assert_int_equal(ledger_of(f).ended[SPOOL_DELIVERED], 300);
    close_spool(f);
    fault_io_disarm();
    open_spool(f); /* the database is not taken for damaged */
}

static void other_lanes_continue_while_one_gives_room(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[] = {f->lane, f->lane};
    lanes[1].name = "alarms";
    lanes[1].priority = 10;
    f->options.lanes = lanes;
    f->options.lane_count = 2;
    open_spool(f);
    fill(f, 0, 300);
    fill(f, 1, 10);
    append_in_short_room(f, 1);
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(next_id(f), 300 + i);
    assert_int_equal(next_id(f), 0);
    commit(f);
    assert_int_equal(next_id(f), 311);
    assert_int_equal(next_id(f), ledger_of(f).ended[SPOOL_EVICTED] + 1);
}

static void nothing_goes_out_twice_while_room_is_made(void **state)
{
    struct fixture *f = *state;
    struct spool_lane lanes[] = {f->lane, f->lane};
    bool seen[102] = {0};
    lanes[1].name = "other";
    f->options.lanes = lanes;
    f->options.lane_count = 2;
    open_spool(f);
    fill(f, 1, 30);
    for (uint64_t id = 1; id <= 30; id++)
        assert_int_equal(next_id(f), id);
    for (uint64_t id = 1; id <= 30; id++)
        assert_int_equal(spool_return(f->spool, id, 0), 0);
    fill(f, 0, 70);
    append_in_short_room(f, 1);
    unsigned in_flight = hand_out_all(f, seen, 100);
    assert_int_equal(stats_of(f).in_flight, in_flight);
    commit(f);
    (void)hand_out_all(f, seen, 101);
    deliver_seen(f, seen, 101);
    struct spool_ledger ledger = ledger_of(f);
    assert_int_equal(ledger.ended[SPOOL_EVICTED] + ledger.ended[SPOOL_DELIVERED], 101);
}

static void evictions_that_a_full_disk_undid_are_not_counted(void **state)
{
    struct fixture *f = *state;
    unsigned ended;
    bool more;
    open_on_disk(f);
    fill(f, 0, 300);
    for (int round = 0; round < 3; round++) {
        append_in_short_room(f, 0);
        lose_batch(f);
        assert_int_equal(f->spool->working.evicting.debt, 0);
    }
    append(f, "there is room again");
    assert_int_equal(spool_retain(f->spool, &f->now, 10, &ended, &more), 0);
    assert_int_equal(ended, 0);
    commit(f);
    assert_int_equal(ledger_of(f).ended[SPOOL_EVICTED], 0);
    fault_io_disarm();
}

/* ---- what statvfs does not know of ---- */

/* Of each file of this process, and it is no signal but an error of the call. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Return: how many batches were taken before ten in a row were refused. */
static unsigned fill_until_refused(struct fixture *f)
{
    unsigned taken = 0;
    for (unsigned refused = 0; refused < 10;) {
        uint64_t id;
        int r = 0;
        for (int i = 0; i < FILL_BATCH && r == 0; i++)
            r = append_kilobyte(f, 0, &id);
        assert_true(r == 0 || r == SPOOL_E_DISK);
        if (r != 0)
            assert_non_null(strstr(spool_error(f->spool), "File too large (EFBIG)"));
        int committed = spool_commit(f->spool, &f->now);
        assert_true(committed == 0 || committed == SPOOL_E_DISK);
        bool is_taken = r == 0 && committed == 0;
        taken += is_taken;
        refused = is_taken ? 0 : refused + 1;
        pass_time(f, 300);
    }
    return taken;
}

/* A window at a time, as the daemon does. */
static void drain_by_windows(struct fixture *f)
{
    while (ledger_of(f).spooled > 0) {
        uint64_t id;
        for (int i = 0; i < 128 && (id = next_id(f)) != 0; i++)
            deliver(f, id);
        commit(f);
    }
}

static void a_limit_of_the_file_size_refuses_drains_and_recovers(void **state)
{
    struct fixture *f = *state;
    f->lane.limits.when_full = SPOOL_REFUSE;
    open_spool(f);
    for (rlim_t mib = 2; mib <= 8; mib += 3) { /* below the WAL's usual size, and above it */
        limit_files(mib << 20);
        assert_true(fill_until_refused(f) > 0);
        uint64_t accepted = ledger_of(f).accepted;
        commit(f);
        drain_by_windows(f);
        export_rows(f);
        struct spool_ledger ledger = ledger_of(f);
        assert_int_equal(ledger.ended[SPOOL_DELIVERED], accepted);
        assert_int_equal(ledger.spooled, 0);
        assert_true(fill_until_refused(f) > 0); /* into what was freed */
    }
    limit_files(RLIM_INFINITY);
    uint64_t before = ledger_of(f).accepted;
    pass_time(f, 1000);
    commit(f);
    fill(f, 0, FILLED);
    assert_int_equal(ledger_of(f).accepted, before + FILLED);
}

static void where_the_oldest_may_go_they_make_room_under_a_limit_too(void **state)
{
    struct fixture *f = *state;
    unsigned taken = 0;
    open_spool(f);
    limit_files(6 << 20);
    for (int batch = 0; batch < 200; batch++) {
        uint64_t id;
        unsigned ended;
        bool more;
        int r = 0;
        for (int i = 0; i < FILL_BATCH && r == 0; i++)
            r = append_kilobyte(f, 0, &id);
        assert_true(spool_retain(f->spool, &f->now, 2000, &ended, &more) >= 0);
        taken += spool_commit(f->spool, &f->now) == 0 && r == 0;
        spool_set_exported(f->spool, spool_last_seq(f->spool));
        pass_time(f, 300);
    }
    struct spool_ledger ledger = ledger_of(f);
    assert_true(taken > 100);
    assert_true(spool_ledger_balances(&ledger));
    assert_true(ledger.ended[SPOOL_EVICTED] > 0);
    assert_in_range(ledger.spooled, 2000, 6000);
    limit_files(RLIM_INFINITY);
}

/* The newest message fits where the database has grown to already, so nothing fails
 * before. */
static void a_limit_below_the_size_of_the_files_ends_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t id;
    open_spool(f);
    fill(f, 0, FILLED);
    limit_files(1 << 16);
    for (int i = 0; i < 5; i++) {
        (void)append_kilobyte(f, 0, &id);
        assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
        assert_int_equal(next_id(f), 0); /* its end could not be recorded */
        pass_time(f, 1000);
    }
    assert_false(f->spool->conn.has_media_error);
    limit_files(RLIM_INFINITY);
    commit(f);
    assert_int_equal(deliver_all(f), FILLED);
    assert_int_equal(append_kilobyte(f, 0, &id), 0);
    commit(f);
}

static void nothing_is_handed_out_before_a_commit_where_that_is_asked_for(void **state)
{
    struct fixture *f = *state;
    open_on_disk(f);
    append_many(f, 3);
    close_spool(f);
    open_on_disk(f);
    spool_require_commit(f->spool);
    assert_true(spool_has_work(f->spool));
    assert_int_equal(next_id(f), 0);
    fault_io_arm(f->directory, room_of_disk, 1, 0, EDQUOT);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_DISK);
    assert_non_null(strstr(spool_error(f->spool), "Disk quota exceeded (EDQUOT)"));
    assert_int_equal(next_id(f), 0);
    fault_io_disarm();
    commit(f);
    assert_false(spool_has_work(f->spool));
    assert_int_equal(next_id(f), 1);
}

/* The kernel may have dropped the pages: whatever it says of the cause. */
static void a_sync_that_has_no_room_ends_it(void **state)
{
    struct fixture *f = *state;
    static const int errors[] = {ENOSPC, EDQUOT};
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        fault_io_arm(f->directory, FAULT_SYNC, 0, 0, errors[i]);
        open_spool(f);
        append(f, "a payload");
        fault_io_arm(f->directory, FAULT_SYNC, 1, 1, errors[i]);
        assert_int_equal(spool_commit(f->spool, &f->now), -EIO);
        assert_int_equal(spool_commit(f->spool, &f->now), -EIO);
        close_spool(f);
        fault_io_disarm();
    }
}

/* ---- how large the files grow ---- */

static uint64_t file_bytes(const struct fixture *f, const char *name)
{
    char path[128];
    struct stat status;
    (void)snprintf(path, sizeof(path), "%s/%s", f->directory, name);
    return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static void fifty_cycles_of_filling_and_draining_do_not_grow_the_file(void **state)
{
    struct fixture *f = *state;
    uint64_t first = 0;
    open_spool(f);
    for (int cycle = 1; cycle <= 50; cycle++) {
        for (unsigned i = 0; i < 2000; i++)
            append(f, i % 3 ? "a payload" : "another payload, of another size than the others");
        commit(f);
        assert_int_equal(deliver_all(f), 2000);
        export_rows(f);
        commit(f); /* what was exported is pruned */
        assert_int_equal(spool_checkpoint(f->spool), 0);
        if (cycle == 5)
            first = database_bytes(f);
    }
    print_message("# after 5 cycles %llu bytes, after 50 %llu\n", (unsigned long long)first,
                  (unsigned long long)database_bytes(f));
    assert_true(database_bytes(f) <= first + 64 * 1024); /* longer numbers */
}

/* Stated in docs/sizing.md, "What max_bytes counts". */
static void check_max_bytes(struct fixture *f, size_t payload, uint64_t max_bytes)
{
    static char bytes[20000];
    memset(bytes, 'x', sizeof(bytes));
    empty_folder(f);
    f->lane.limits.max_bytes = max_bytes;
    open_spool(f);
    struct spool_message message = make_message("");
    for (uint64_t sum = 0; sum < 2 * max_bytes; sum += spool_charge(&message)) {
        uint64_t id;
        message.payload = view_of(bytes, payload);
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
        if (id % FILL_BATCH != 0)
            continue;
        unsigned ended;
        bool more;
        assert_int_equal(spool_retain(f->spool, &f->now, 2000, &ended, &more), 0);
        commit(f);
        export_rows(f);
    }
    close_spool(f);
    print_message("# payload %zu: max_bytes %llu, file %llu\n", payload,
                  (unsigned long long)max_bytes, (unsigned long long)database_bytes(f));
    uint64_t records = f->options.keep_failures_count * 200;
    uint64_t batch = FILL_BATCH * spool_charge(&message);
    assert_true(database_bytes(f) <= max_bytes + max_bytes / 32 + batch + records);
}

static void the_file_exceeds_max_bytes_by_no_more_than_stated(void **state)
{
    static const size_t payloads[] = {20, 256, 900, 1500, 2100, 3000, 4300, 16000};
    struct fixture *f = *state;
    f->options.keep_failures_count = 1000;
    for (size_t i = 0; i < sizeof(payloads) / sizeof(*payloads); i++)
        check_max_bytes(f, payloads[i], 8 << 20);
}

/* 64 MiB, and what it takes to record the ends of 5,000 messages. */
enum { WAL_BOUND = (64 << 20) + (16 << 20) };

static void a_reader_that_lets_go_never_makes_the_wal_grow_beyond_its_bound(void **state)
{
    struct fixture *f = *state;
    uint64_t largest = 0;
    open_spool(f);
    fill(f, 0, 100);
    for (int round = 0; round < 100; round++) {
        sqlite3_stmt *stmt;
        sqlite3 *db = hold_snapshot(f, &stmt);
        fill(f, 0, 200); /* while it reads */
        release_snapshot(db, stmt);
        fill(f, 0, 1);
        uint64_t size = file_bytes(f, "spool.db-wal");
        largest = size > largest ? size : largest;
    }
    print_message("# largest WAL under readers of 200 messages each: %llu\n",
                  (unsigned long long)largest);
    assert_in_range(largest, 1, 8 << 20);
}

static void a_reader_that_never_ends_stops_new_messages_at_the_bound_of_the_wal(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 0;
    int r = 0;
    sqlite3_stmt *stmt;
    open_spool(f);
    fill(f, 0, 100);
    sqlite3 *db = hold_snapshot(f, &stmt);
    for (unsigned i = 0; i < 200000 && r == 0; i++) {
        r = append_kilobyte(f, 0, &id);
        if (r == 0 && i % FILL_BATCH == FILL_BATCH - 1)
            commit(f);
    }
    assert_int_equal(r, SPOOL_E_DISK);
    assert_non_null(strstr(spool_error(f->spool), "write-ahead log has grown to 6"));
    for (unsigned i = 0; i < 5000; i++) {
        deliver(f, next_id(f)); /* deliveries continue */
        if (i % FILL_BATCH == FILL_BATCH - 1)
            commit(f);
    }
    uint64_t size = file_bytes(f, "spool.db-wal");
    print_message("# WAL under a reader that never ends: %llu\n", (unsigned long long)size);
    assert_in_range(size, 60 << 20, WAL_BOUND);
    assert_int_equal(append_kilobyte(f, 0, &id), SPOOL_E_DISK);
    release_snapshot(db, stmt);
    assert_int_equal(append_kilobyte(f, 0, &id), 0);
    commit(f);
    assert_in_range(file_bytes(f, "spool.db-wal"), 1, 1 << 20);
    assert_int_equal(ledger_of(f).ended[SPOOL_EVICTED], 0);
}

/* ---- */

#define ON_FOLDER(name) cmocka_unit_test_setup_teardown(name, setup_fast, teardown)
#define ON_DISK(name)   cmocka_unit_test_setup_teardown(name, setup_closed, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FOLDER(an_error_of_io_at_any_call_loses_nothing_committed),
        ON_FOLDER(a_disk_that_fails_from_any_call_on_loses_nothing_committed),
        ON_FOLDER(a_read_that_fails_once_anywhere_stops_nothing),
        ON_FOLDER(reads_that_fail_for_a_while_anywhere_are_no_damage),
        ON_FOLDER(a_disk_that_reads_nothing_from_any_call_on_is_no_damage),
        ON_FOLDER(a_full_disk_at_any_write_is_a_condition_that_passes),
        ON_FOLDER(a_disk_that_others_fill_evicts_nothing_by_itself),
        ON_FOLDER(a_short_disk_evicts_the_oldest_only_to_take_new_ones),
        ON_FOLDER(nothing_goes_for_a_message_that_would_not_fit_all_the_same),
        ON_FOLDER(refused_by_a_short_disk_is_taken_when_there_is_room_again),
        ON_FOLDER(the_lanes_of_low_priority_pay_for_the_others),
        ON_FOLDER(a_shortage_is_over_when_more_than_a_few_messages_find_room),
        ON_FOLDER(a_batch_without_room_for_its_evictions_is_lost_as_a_whole),
        ON_FOLDER(what_a_lost_batch_had_evicted_goes_out_in_its_place),
        ON_FOLDER(other_lanes_continue_while_one_gives_room),
        ON_FOLDER(nothing_goes_out_twice_while_room_is_made),
        ON_FOLDER(evictions_that_a_full_disk_undid_are_not_counted),
        ON_DISK(a_limit_of_the_file_size_refuses_drains_and_recovers),
        ON_DISK(where_the_oldest_may_go_they_make_room_under_a_limit_too),
        ON_DISK(a_limit_below_the_size_of_the_files_ends_nothing),
        ON_FOLDER(nothing_is_handed_out_before_a_commit_where_that_is_asked_for),
        ON_FOLDER(a_sync_that_has_no_room_ends_it),
        ON_FOLDER(fifty_cycles_of_filling_and_draining_do_not_grow_the_file),
        ON_DISK(a_reader_that_lets_go_never_makes_the_wal_grow_beyond_its_bound),
        ON_DISK(a_reader_that_never_ends_stops_new_messages_at_the_bound_of_the_wal),
        ON_FOLDER(the_file_exceeds_max_bytes_by_no_more_than_stated),
        ON_FOLDER(a_write_that_fails_in_a_batch_larger_than_memory_loses_nothing_committed),
        ON_FOLDER(a_batch_larger_than_memory_reads_what_it_wrote),
        ON_FOLDER(the_frames_of_a_commit_leave_in_few_writes),
        ON_FOLDER(a_checkpoint_syncs_the_log_only_if_the_commit_did_not),
        ON_FOLDER(what_a_kill_left_is_synced_before_the_mark_is_written),
        ON_FOLDER(a_sync_of_the_log_that_failed_is_not_taken_for_one),
        ON_FOLDER(an_allocation_that_fails_anywhere_loses_nothing_committed),
        ON_FOLDER(memory_that_stays_short_from_anywhere_loses_nothing_committed),
    };
    return cmocka_run_group_tests(tests, take_over_memory, NULL);
}
