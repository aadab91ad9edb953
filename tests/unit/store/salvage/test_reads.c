/* SPDX-License-Identifier: MIT */
/*
 * test_reads.c - a bad sector: a place of one file that fails each time it is read
 *
 * Each block of a database and of its log in turn (tests/support/fault_io.h), at the start
 * and at work. What is readable must be kept, byte for byte; what is not is recorded; the
 * file is moved, not copied; nothing comes twice; and the start after that is one as any
 * other. How much may be lost is decided by a copy with zeros in that place. A place that is
 * readable again, or a disk of which nothing is readable, is no damage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "store/salvage/mark.h"
#include "store/salvage/reads.h"
#include "store/spool-private.h"
#include "store/spool.h"
#include "tests/support/fault_io.h"
#include "tests/support/spool_fixture.h"

enum { STORED = 90, ENDED = 30, IN_LOG = 40, IDS = STORED + IN_LOG, BLOCK = 4096, LIVES = 5 };

static const char *const names[] = {"spool.db", "spool.db-wal", MARK_NAME};

/* ---- what is stored ---- */

static char *payload_of(uint64_t id)
{
    static char payload[12000];
    size_t size = (size_t)(id % 15 == 0 ? 9000 + id : 150 + id % 200); /* some span pages */
    for (size_t i = 0; i < size; i++)
        payload[i] = (char)('a' + (id * 31 + i * 7 + i / 256) % 26);
    payload[size] = '\0';
    return payload;
}

static void store(struct fixture *f, uint64_t from, uint64_t to)
{
    for (uint64_t id = from; id <= to; id++) {
        assert_int_equal(append(f, payload_of(id)), id);
        if (id % 10 == 0)
            commit(f);
    }
    commit(f);
}

static void end_some(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        deliver(f, next_id(f));
    commit(f);
}

/* ---- files ---- */

static void path_of(const char *directory, const char *name, char path[static 160])
{
    assert_true(snprintf(path, 160, "%s/%s", directory, name) < 160);
}

static void copy_file(const char *from, const char *to, const char *name)
{
    static char bytes[1 << 16];
    char path[160];
    path_of(to, name, path);
    (void)unlink(path);
    path_of(from, name, path);
    FILE *in = fopen(path, "rbe");
    if (!in)
        return;
    path_of(to, name, path);
    FILE *out = fopen(path, "wbe");
    assert_non_null(out);
    for (size_t size; (size = fread(bytes, 1, sizeof(bytes), in)) > 0;)
        assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
    (void)fclose(in);
}

static void empty_folder(struct fixture *f)
{
    assert_int_equal(nftw(f->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    assert_int_equal(mkdir(f->directory, 0700), 0);
}

static void take_copy(struct fixture *f, const char *template)
{
    empty_folder(f);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        copy_file(template, f->directory, names[i]);
}

static struct stat status_of(const struct fixture *f, const char *name)
{
    struct stat status = {0};
    char path[160];
    path_of(f->directory, name, path);
    (void)stat(path, &status);
    return status;
}

static void spoil(const struct fixture *f, const char *name, uint64_t block, uint64_t times)
{
    fault_io_spoil(status_of(f, name).st_ino, block * BLOCK, BLOCK, times);
}

static void fill_with_zeros(const struct fixture *f, const char *name, uint64_t block)
{
    static const char zeros[BLOCK];
    char path[160];
    off_t size = status_of(f, name).st_size;
    path_of(f->directory, name, path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, zeros, BLOCK, (off_t)(block * BLOCK)), BLOCK);
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(close(fd), 0);
}

static uint64_t blocks_of(const char *directory, const char *name)
{
    struct stat status;
    char path[160];
    path_of(directory, name, path);
    return stat(path, &status) < 0 ? 0 : ((uint64_t)status.st_size + BLOCK - 1) / BLOCK;
}

/* ---- two spools ---- */

struct templates {
    char rested[80]; /* after an orderly end: the log was moved to the database */
    char killed[80]; /* the newest commits are in the log alone */
};

static void make_folder(const struct fixture *f, char folder[static 80])
{
    (void)snprintf(folder, 80, "%s-XXXXXX", f->directory);
    assert_non_null(mkdtemp(folder));
}

static void make_templates(struct fixture *f, struct templates *ret)
{
    make_folder(f, ret->rested);
    make_folder(f, ret->killed);
    empty_folder(f);
    open_spool(f);
    store(f, 1, STORED);
    assert_int_equal(spool_checkpoint(f->spool), 0); /* the log restarts */
    end_some(f, ENDED);
    close_spool(f);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        copy_file(f->directory, ret->rested, names[i]);
    open_spool(f);
    store(f, STORED + 1, IDS);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        copy_file(f->directory, ret->killed, names[i]);
    close_spool(f);
}

static void remove_templates(const struct templates *templates)
{
    assert_int_equal(nftw(templates->rested, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    assert_int_equal(nftw(templates->killed, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- what is asked of each spool ---- */

struct account {
    unsigned char ends[2 * IDS];
    uint64_t records;
    uint64_t damaged;
};

static int account_for(void *context, const struct spool_record *record)
{
    struct account *account = context;
    assert_int_equal(record->seq, ++account->records);
    assert_in_range(record->id, 1, sizeof(account->ends) - 1);
    account->ends[record->id]++;
    account->damaged += record->outcome == SPOOL_DAMAGED;
    return 0;
}

/* Each id from 1 to @last is spooled as it was stored, or has one record; returns how many are
 * recorded as damaged. */
static uint64_t check_whole(struct fixture *f, uint64_t last)
{
    struct account account = {0};
    struct spool_message message;
    assert_int_equal(spool_each_record(f->spool, 0, false, 0, account_for, &account), 0);
    while (spool_next(f->spool, &f->now, &message) == 0) {
        const char *wanted = payload_of(message.id);
        assert_in_range(message.id, 1, last);
        assert_int_equal(message.payload.size, strlen(wanted));
        assert_memory_equal(message.payload.data, wanted, strlen(wanted));
        account.ends[message.id]++;
    }
    for (uint64_t id = 1; id <= last; id++)
        assert_int_equal(account.ends[id], 1);
    struct spool_ledger ledger = ledger_of(f);
    assert_int_equal(ledger.accepted, last);
    assert_int_equal(ledger.ended[SPOOL_DAMAGED], account.damaged);
    return account.damaged;
}

/* As the daemon opens: what was done about it comes back. */
struct opening {
    int first; /* what spool_open() said at once */
    bool was_salvaged;
    struct spool_salvage salvage;
};

static struct opening open_somehow(struct fixture *f)
{
    struct opening opening = {0};
    f->options.now = f->now;
    int r = opening.first = spool_open(&f->options, &f->spool);
    if (r == SPOOL_E_UNREAD) {
        r = spool_survey(f->directory);
        if (r == 0)
            r = spool_open(&f->options, &f->spool);
    }
    if (r == SPOOL_E_DAMAGED) {
        opening.was_salvaged = true;
        r = spool_salvage(&f->options, NULL, &opening.salvage);
        if (r == 0)
            r = spool_open(&f->options, &f->spool);
    }
    if (r != 0)
        print_error("open: %d %s\n", r, spool_open_error());
    assert_int_equal(r, 0);
    return opening;
}

static struct opening
open_with_zeros(struct fixture *f, const char *template, const char *name, uint64_t block)
{
    struct opening opening = {0};
    take_copy(f, template);
    fill_with_zeros(f, name, block);
    assert_int_equal(spool_salvage(&f->options, NULL, &opening.salvage), 0);
    return opening;
}

/* ---- at the start ---- */

static bool one_bad_block(
    struct fixture *f, const char *template, const char *name, uint64_t block, uint64_t last)
{
    take_copy(f, template);
    struct stat before = status_of(f, name);
    spoil(f, name, block, 0);
    struct opening opening = open_somehow(f);
    if (opening.was_salvaged) {
        char moved[160];
        (void)snprintf(moved, sizeof(moved), "%s%s", opening.salvage.moved_to,
                       name + strlen("spool.db"));
        assert_int_equal(status_of(f, moved).st_ino, before.st_ino);
    }
    assert_int_equal(check_whole(f, last), opening.salvage.damaged);
    close_spool(f);
    struct opening again = open_somehow(f);
    assert_int_equal(again.first, 0);
    close_spool(f);
    fault_io_heal();
    if (opening.was_salvaged) {
        struct opening zeros = open_with_zeros(f, template, name, block);
        assert_int_equal(opening.salvage.salvaged, zeros.salvage.salvaged);
        assert_int_equal(opening.salvage.damaged, zeros.salvage.damaged);
    }
    return opening.was_salvaged;
}

static void a_bad_block_anywhere_costs_what_lies_there_and_no_more(void **state)
{
    struct fixture *f = *state;
    struct templates templates;
    make_templates(f, &templates);
    for (int killed = 0; killed < 2; killed++) {
        const char *template = killed ? templates.killed : templates.rested;
        for (int file = 0; file < 2; file++) {
            unsigned salvaged = 0;
            uint64_t blocks = blocks_of(template, names[file]);
            for (uint64_t block = 0; block < blocks; block++)
                salvaged +=
                    one_bad_block(f, template, names[file], block, killed ? IDS : STORED);
            print_message("# %s%s: %u of %llu bad blocks salvaged\n", names[file],
                          killed ? " after a kill" : "", salvaged, (unsigned long long)blocks);
            assert_true(salvaged >= blocks / 2 || (file == 1 && !killed));
        }
    }
    remove_templates(&templates);
}

/* However long, if it ends within the few seconds of the survey. */
static void a_place_that_reads_again_costs_nothing(void **state)
{
    struct fixture *f = *state;
    struct templates templates;
    make_templates(f, &templates);
    for (int file = 0; file < 2; file++) {
        uint64_t blocks = blocks_of(templates.killed, names[file]);
        for (uint64_t i = 0; i < blocks * (READS_TRIES + 2); i++) {
            take_copy(f, templates.killed);
            spoil(f, names[file], i % blocks, 1 + i / blocks);
            struct opening opening = open_somehow(f);
            assert_false(opening.was_salvaged);
            assert_int_equal(opening.first == 0 || opening.first == SPOOL_E_UNREAD, 1);
            assert_int_equal(check_whole(f, IDS), 0);
            close_spool(f);
            fault_io_heal();
        }
    }
    remove_templates(&templates);
}

/* ---- at work ---- */

/* As in a database that is too large to be looked through at the start, and to be kept in
 * memory. */
static void forget_pages(struct fixture *f)
{
    assert_int_equal(sqlite3_exec(f->spool->conn.db, "PRAGMA cache_size = 1", NULL, NULL, NULL),
                     0);
    assert_int_equal(sqlite3_db_release_memory(f->spool->conn.db), SQLITE_OK);
}

/* Everything that reads while a spool is used; the first error ends it. */
static int use(struct fixture *f, uint64_t *ret_acked)
{
    const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE, SPOOL_NO_CODE};
    struct account account = {0};
    struct spool_message message;
    uint64_t id = *ret_acked;
    int r = 0;
    for (int i = 0; i < 12 && r == 0; i++) {
        struct spool_message next = make_message(payload_of(id + 1));
        r = spool_append(f->spool, &next, &f->now, &id);
        for (int j = 0; j < 6 && r == 0; j++) {
            r = spool_next(f->spool, &f->now, &message);
            if (r == 0)
                r = spool_settle(f->spool, message.id, &delivered, f->now.boot_ms);
        }
        r = r == SPOOL_E_EMPTY ? 0 : r;
        if (r == 0)
            r = spool_commit(f->spool, &f->now);
        if (r == 0)
            *ret_acked = id;
    }
    if (r == 0)
        r = spool_each_record(f->spool, 0, false, 0, account_for, &account);
    return r == 0 ? spool_checkpoint(f->spool) : r;
}

/* Returns how often it was ended by it. */
static unsigned live_with(struct fixture *f, uint64_t acked, bool *ret_salvaged)
{
    unsigned failures = 0;
    for (int life = 0; life < LIVES; life++) {
        struct opening opening = {.was_salvaged = false};
        if (!f->spool)
            opening = open_somehow(f);
        *ret_salvaged |= opening.was_salvaged;
        assert_int_equal(opening.first, life > 0 ? SPOOL_E_UNREAD : 0); /* it was noted */
        if (opening.salvage.damaged == 0 && !*ret_salvaged)
            forget_pages(f);
        int r = use(f, &acked);
        assert_true(r == 0 || r == -EIO); /* -EBADMSG would be damage */
        failures += r < 0;
        close_spool(f);
        if (r == 0)
            break;
    }
    assert_in_range(failures, 0, 2); /* no failure at each try */
    open_somehow(f);
    struct spool_ledger ledger = ledger_of(f);
    assert_in_range(ledger.accepted, acked, acked + LIVES);
    close_spool(f);
    return failures;
}

static void sweep_at_work(struct fixture *f, int files, uint64_t times, unsigned *ret_failures)
{
    struct templates templates;
    make_templates(f, &templates);
    for (int file = 0; file < files; file++) {
        uint64_t blocks = blocks_of(templates.killed, names[file]);
        for (uint64_t block = 0; block < blocks; block++) {
            bool was_salvaged = false;
            take_copy(f, templates.killed);
            open_spool(f);
            forget_pages(f);
            spoil(f, names[file], block, times);
            unsigned failures = live_with(f, IDS, &was_salvaged);
            assert_true(times == 0 || !was_salvaged);
            *ret_failures += failures;
            fault_io_heal();
        }
    }
    remove_templates(&templates);
}

static void a_bad_block_met_at_work_ends_it_once_and_is_salvaged_then(void **state)
{
    unsigned failures = 0;
    sweep_at_work(*state, 2, 0, &failures);
    print_message("# %u bad blocks were met at work\n", failures);
    assert_true(failures > 20);
}

static void a_read_that_fails_for_a_moment_at_work_stops_nothing(void **state)
{
    unsigned failures = 0;
    for (uint64_t times = 1; times < READS_TRIES; times++)
        sweep_at_work(*state, 1, times,
                      &failures); /* in the log it may be a write that fails */
    assert_int_equal(failures, 0);
}

static void a_read_that_fails_for_longer_at_work_costs_a_restart(void **state)
{
    unsigned failures = 0;
    sweep_at_work(*state, 2, READS_TRIES, &failures);
    assert_true(failures > 20);
}

/* ---- while a salvage reads ---- */

/* What reads the next time must not be given up for that it did not read this time. */
static bool
salvage_with_failing_reads(struct fixture *f, const struct opening *undisturbed, uint64_t at)
{
    struct spool_salvage salvage = {0};
    struct stat before = status_of(f, "spool.db");
    fault_io_arm(f->directory, FAULT_READ, at, READS_TRIES, EIO);
    int r = spool_salvage(&f->options, NULL, &salvage);
    bool came = fault_io_report()->failed > 0;
    fault_io_disarm();
    if (r == -EIO) {
        assert_true(came);
        assert_int_equal(status_of(f, "spool.db").st_ino, before.st_ino);
        r = spool_salvage(&f->options, NULL, &salvage);
    }
    assert_int_equal(r, 0);
    assert_int_equal(salvage.salvaged, undisturbed->salvage.salvaged);
    assert_int_equal(salvage.damaged, undisturbed->salvage.damaged);
    return came;
}

static void a_salvage_gives_up_what_it_cannot_read_only_where_nobody_can(void **state)
{
    enum { BLOCK_OF_MESSAGES = 9, STEP = 5 };
    struct fixture *f = *state;
    struct templates templates;
    make_templates(f, &templates);
    struct opening undisturbed =
        open_with_zeros(f, templates.killed, "spool.db", BLOCK_OF_MESSAGES);
    bool came = true;
    uint64_t at = 1;
    for (; came; at += STEP) {
        take_copy(f, templates.killed);
        fill_with_zeros(f, "spool.db", BLOCK_OF_MESSAGES);
        came = salvage_with_failing_reads(f, &undisturbed, at);
    }
    print_message("# a salvage of some %llu reads\n", (unsigned long long)at);
    assert_true(at > 200);
    remove_templates(&templates);
}

/* ---- all of it, the mark ---- */

static void a_disk_of_which_nothing_reads_is_no_damage(void **state)
{
    struct fixture *f = *state;
    struct templates templates;
    make_templates(f, &templates);
    take_copy(f, templates.killed);
    struct stat before = status_of(f, "spool.db");
    fault_io_spoil(before.st_ino, 0, (uint64_t)before.st_size, 0);
    assert_int_equal(spool_open(&f->options, &f->spool), SPOOL_E_UNREAD);
    assert_int_equal(spool_survey(f->directory), -EIO);
    struct spool_salvage salvage;
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), -EIO); /* nor by force */
    assert_int_equal(status_of(f, "spool.db").st_ino, before.st_ino);
    fault_io_heal();
    struct opening opening = open_somehow(f);
    assert_int_equal(opening.first, 0);
    assert_int_equal(check_whole(f, IDS), 0);
    remove_templates(&templates);
}

static void a_mark_that_does_not_read_is_given_another_name(void **state)
{
    struct fixture *f = *state;
    struct templates templates;
    make_templates(f, &templates);
    take_copy(f, templates.killed);
    ino_t inode = status_of(f, MARK_NAME).st_ino;
    spoil(f, MARK_NAME, 0, 0);
    struct opening opening = open_somehow(f);
    assert_int_equal(opening.first, SPOOL_E_UNREAD);
    assert_false(opening.was_salvaged);
    assert_int_equal(check_whole(f, IDS), 0);
    reopen_spool(f);
    assert_int_equal(status_of(f, MARK_NAME ".unread-1").st_ino, inode);
    assert_true(status_of(f, MARK_NAME).st_size > 0);
    fault_io_heal();
    remove_templates(&templates);
}

/* Else an empty spool would silently replace one that was moved away. */
static void without_database_and_mark_it_is_no_new_spool(void **state)
{
    struct fixture *f = *state;
    struct templates templates;
    make_templates(f, &templates);
    empty_folder(f);
    copy_file(templates.killed, f->directory, MARK_NAME);
    spoil(f, MARK_NAME, 0, 0);
    assert_int_equal(spool_open(&f->options, &f->spool), SPOOL_E_UNREAD);
    assert_int_equal(spool_survey(f->directory), -EIO);
    assert_int_equal(status_of(f, "spool.db").st_ino, 0);
    copy_file(templates.killed, f->directory, "spool.db-wal");
    struct opening opening = open_somehow(f);
    assert_true(opening.was_salvaged);
    close_spool(f);
    fault_io_heal();
    remove_templates(&templates);
}

/* ---- who only looks ---- */

static void count_unread(void *context, enum spool_part part, const char *text)
{
    assert_int_equal(part, SPOOL_PART_DISK);
    assert_non_null(strstr(text, "cannot be read"));
    ++*(unsigned *)context;
}

/* The spool opens, for what it asks first reads; what follows does not. */
static void a_reader_says_which_places_do_not_read(void **state)
{
    struct fixture *f = *state;
    struct templates templates;
    make_templates(f, &templates);
    unsigned opened = 0;
    for (uint64_t block = 0; block < blocks_of(templates.rested, "spool.db"); block++) {
        struct spool *reader = NULL;
        unsigned findings = 0;
        take_copy(f, templates.rested);
        spoil(f, "spool.db", block, 0);
        int r = spool_open_reader(f->directory, &reader);
        if (r == 0) {
            opened++;
            assert_int_equal(spool_check(reader, count_unread, &findings), 0);
            assert_int_equal(findings, 1);
        } else {
            assert_int_equal(r, SPOOL_E_DAMAGED);
            assert_non_null(strstr(spool_open_error(), "cannot be read"));
        }
        spool_close(reader);
        fault_io_heal();
    }
    assert_true(opened > 10);
    remove_templates(&templates);
}

/* A mark is a few bytes at the start: what lies behind is not read, however much it is. */
static void behind_the_first_block_of_the_mark_nothing_is_looked_at(void **state)
{
    struct fixture *f = *state;
    struct spool *reader = NULL;
    unsigned findings = 0;
    open_spool(f);
    store(f, 1, STORED);
    close_spool(f);
    char path[sizeof(f->directory) + 16];
    (void)snprintf(path, sizeof(path), "%s/spool.mark", f->directory);
    assert_int_equal(truncate(path, 1 << 16), 0);
    spoil(f, "spool.mark", 5, 0);
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    assert_int_equal(spool_check(reader, count_unread, &findings), 0);
    assert_int_equal(findings, 0);
    fault_io_heal();
    spool_close(reader);
}

static void a_reader_of_a_disk_that_is_gone_says_so(void **state)
{
    struct fixture *f = *state;
    struct spool *reader = NULL;
    open_spool(f);
    store(f, 1, STORED);
    close_spool(f);
    struct stat status = status_of(f, "spool.db");
    fault_io_spoil(status.st_ino, 0, (uint64_t)status.st_size, 0);
    assert_int_equal(spool_open_reader(f->directory, &reader), -EIO);
    fault_io_heal();
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    fault_io_spoil(status.st_ino, 0, (uint64_t)status.st_size, 0);
    unsigned findings = 0;
    assert_int_equal(sqlite3_db_release_memory(reader->conn.db), SQLITE_OK);
    assert_int_equal(spool_check(reader, count_unread, &findings), -EIO);
    assert_int_equal(findings, 0);
    fault_io_heal();
    spool_close(reader);
}

#define ON_FOLDER(name) cmocka_unit_test_setup_teardown(name, setup_fast, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FOLDER(a_bad_block_anywhere_costs_what_lies_there_and_no_more),
        ON_FOLDER(a_place_that_reads_again_costs_nothing),
        ON_FOLDER(a_bad_block_met_at_work_ends_it_once_and_is_salvaged_then),
        ON_FOLDER(a_read_that_fails_for_a_moment_at_work_stops_nothing),
        ON_FOLDER(a_read_that_fails_for_longer_at_work_costs_a_restart),
        ON_FOLDER(a_salvage_gives_up_what_it_cannot_read_only_where_nobody_can),
        ON_FOLDER(a_disk_of_which_nothing_reads_is_no_damage),
        ON_FOLDER(a_mark_that_does_not_read_is_given_another_name),
        ON_FOLDER(without_database_and_mark_it_is_no_new_spool),
        ON_FOLDER(a_reader_says_which_places_do_not_read),
        ON_FOLDER(behind_the_first_block_of_the_mark_nothing_is_looked_at),
        ON_FOLDER(a_reader_of_a_disk_that_is_gone_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
