/* SPDX-License-Identifier: MIT */
/*
 * test_restore.c - files of a spool that are removed, replaced or renamed while they are
 * open: found before a commit succeeds, put back where only the descriptors hold them,
 * left alone where they live under another name
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store/spool.h"
#include "tests/support/spool_fixture.h"

#define ALL_FILES "spool.db", "spool.db-wal", "spool.db-shm", "spool.mark", "lock"

static const char *path_of(const struct fixture *f, const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, PATH_MAX, "%s%s%s", f->directory, *name ? "/" : "", name);
    return path;
}

static void remove_file(const struct fixture *f, const char *name)
{
    assert_int_equal(unlink(path_of(f, name)), 0);
}

static void rename_file(const struct fixture *f, const char *from, const char *to)
{
    assert_int_equal(rename(path_of(f, from), path_of(f, to)), 0);
}

static bool exists(const struct fixture *f, const char *name)
{
    return access(path_of(f, name), F_OK) == 0;
}

static void copy_file(const char *from, const char *to)
{
    char bytes[4096];
    FILE *in = fopen(from, "rb");
    FILE *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    for (size_t n; (n = fread(bytes, 1, sizeof(bytes), in)) > 0;)
        assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(in) | fclose(out), 0);
}

/* Names, sizes and times of all that is in the folder, so that no change stays unseen. */
static void describe_folder(const char *directory, char *text, size_t size)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, NULL, alphasort);
    assert_true(count > 0);
    *text = '\0';
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        struct stat status;
        (void)snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
        if (strcmp(entries[i]->d_name, "..") != 0 && stat(path, &status) == 0)
            (void)snprintf(text + strlen(text), size - strlen(text), "%s %lld %lld.%ld\n",
                           entries[i]->d_name, (long long)status.st_size,
                           (long long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
        free(entries[i]);
    }
    free(entries);
}

static struct spool_moved moved_of(struct fixture *f)
{
    struct spool_moved moved;
    spool_get_moved(f->spool, &moved);
    return moved;
}

static void assert_commit_finds_it(struct fixture *f)
{
    pass_time(f, 1000); /* so often it looks */
    append(f, "not acknowledged");
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_MOVED);
}

static struct spool_restored restore(struct fixture *f)
{
    struct spool_restored restored;
    int r = spool_restore(f->spool, NULL, NULL, &restored);
    if (r != 0)
        print_error("spool_restore: %d %s\n", r, spool_error(f->spool));
    assert_int_equal(r, 0);
    return restored;
}

/* Opens at once, without damage, with all that was committed. */
static void assert_whole(struct fixture *f, uint64_t messages, uint64_t last_id)
{
    reopen_spool(f);
    assert_int_equal(ledger_of(f).spooled, messages);
    assert_int_equal(stats_of(f).last_id, last_id);
    assert_int_equal(spool_count_damaged(f->directory), 0);
    assert_false(exists(f, "spool.db.restored"));
    assert_false(exists(f, "spool.db.new"));
    assert_int_equal(append(f, "next"), last_id + 1);
    commit(f);
    assert_int_equal(deliver_all(f), messages + 1);
    close_spool(f);
    struct spool *reader;
    assert_int_equal(spool_open_reader(f->directory, &reader), 0);
    spool_close(reader);
    open_spool(f);
}

static void count_call(void *userdata)
{
    unsigned *calls = userdata;
    ++*calls;
}

/* ---- found ---- */

static void each_file_that_is_removed_is_found_before_the_commit_succeeds(void **state)
{
    static const char *const files[] = {ALL_FILES};
    struct fixture *f = *state;
    uint64_t messages = 0;
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        append_many(f, 100);
        messages += 101;
        remove_file(f, files[i]);
        assert_commit_finds_it(f);
        struct spool_moved moved = moved_of(f);
        assert_string_equal(moved.file, path_of(f, files[i]));
        assert_int_equal(moved.what, SPOOL_REMOVED);
        assert_string_equal(moved.lives_at, "");
        assert_true(moved.is_restorable);
        assert_string_equal(restore(f).set_aside, "");
        reopen_spool(f);
        assert_int_equal(ledger_of(f).spooled, messages);
        assert_int_equal(stats_of(f).last_id, messages);
        assert_int_equal(spool_count_damaged(f->directory), 0);
    }
}

static void a_commit_looks_once_a_second(void **state)
{
    struct fixture *f = *state;
    append_many(f, 1);
    remove_file(f, "spool.db");
    append_many(f, 1); /* is in what is put back */
    assert_commit_finds_it(f);
    (void)restore(f);
    reopen_spool(f);
    assert_int_equal(ledger_of(f).spooled, 3);
}

static void without_a_commit_a_look_finds_it(void **state)
{
    struct fixture *f = *state;
    append_many(f, 3);
    assert_int_equal(spool_verify_files(f->spool), 0);
    remove_file(f, "spool.db-wal");
    assert_int_equal(spool_verify_files(f->spool), SPOOL_E_MOVED);
    assert_int_equal(spool_verify_files(f->spool), SPOOL_E_MOVED);
}

static void a_path_that_cannot_be_looked_at_says_nothing(void **state)
{
    struct fixture *f = *state;
    char parent[PATH_MAX], link[PATH_MAX], directory[PATH_MAX + 8];
    close_spool(f);
    (void)snprintf(parent, sizeof(parent), "%s/real", f->directory);
    (void)snprintf(link, sizeof(link), "%s/link", f->directory);
    (void)snprintf(directory, sizeof(directory), "%s/spool", link);
    assert_int_equal(mkdir(parent, 0700), 0);
    assert_int_equal(symlink(parent, link), 0);
    f->options.directory = directory;
    open_spool(f);
    append_many(f, 2);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink(link, link), 0); /* ELOOP */
    append_many(f, 2);
    assert_int_equal(spool_verify_files(f->spool), 0);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("/dev/null", link), 0); /* ENOTDIR: the name is gone */
    assert_int_equal(spool_verify_files(f->spool), SPOOL_E_MOVED);
    assert_int_equal(moved_of(f).what, SPOOL_RENAMED);
    assert_false(moved_of(f).is_restorable);
    close_spool(f);
}

static void a_directory_on_another_file_system_is_another_one(void **state)
{
    struct fixture *f = *state;
    char link[PATH_MAX], other[] = "/dev/shm/spool-test-XXXXXX";
    struct stat here, there;
    if (!mkdtemp(other) || stat(other, &there) < 0 || stat(f->directory, &here) < 0 ||
        here.st_dev == there.st_dev)
        skip();
    close_spool(f);
    (void)snprintf(link, sizeof(link), "%s/link", f->directory);
    assert_int_equal(mkdir(path_of(f, "real"), 0700), 0);
    assert_int_equal(symlink(path_of(f, "real"), link), 0);
    f->options.directory = link;
    open_spool(f);
    append_many(f, 2);
    assert_int_equal(unlink(link) | symlink(other, link), 0);
    assert_commit_finds_it(f);
    assert_int_equal(moved_of(f).what, SPOOL_REPLACED);
    assert_string_equal(moved_of(f).lives_at, path_of(f, "real"));
    close_spool(f);
    assert_int_equal(rmdir(other), 0); /* empty */
}

/* ---- put back ---- */

static void a_folder_that_is_removed_with_all_files_comes_back(void **state)
{
    static const char *const files[] = {ALL_FILES};
    struct fixture *f = *state;
    append_many(f, 5000); /* more than the log holds between two checkpoints */
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        remove_file(f, files[i]);
    assert_int_equal(rmdir(f->directory), 0);
    assert_commit_finds_it(f);
    assert_string_equal(moved_of(f).file, f->directory);
    assert_int_equal(moved_of(f).what, SPOOL_REMOVED);
    (void)restore(f);
    struct stat status;
    assert_int_equal(stat(f->directory, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_whole(f, 5001, 5001);
}

static void while_the_copy_is_written_the_caller_is_called(void **state)
{
    struct fixture *f = *state;
    struct spool_restored restored;
    unsigned calls = 0;
    append_many(f, 100);
    remove_file(f, "spool.db");
    assert_commit_finds_it(f);
    assert_int_equal(spool_restore(f->spool, count_call, &calls, &restored), 0);
    assert_true(calls > 0);
    assert_true(restored.bytes > 0);
    assert_whole(f, 101, 101);
}

static void a_restore_whose_folder_is_a_file_fails_and_can_be_repeated(void **state)
{
    static const char *const files[] = {ALL_FILES};
    struct fixture *f = *state;
    struct spool_restored restored;
    append_many(f, 100);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        remove_file(f, files[i]);
    assert_int_equal(rmdir(f->directory), 0);
    FILE *file = fopen(f->directory, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_commit_finds_it(f);
    assert_int_equal(spool_restore(f->spool, NULL, NULL, &restored), -ENOTDIR);
    assert_non_null(strstr(spool_error(f->spool), f->directory));
    assert_int_equal(unlink(f->directory), 0);
    restore(f);
    assert_whole(f, 101, 101);
}

static void a_file_that_has_another_link_somewhere_comes_back_too(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    assert_int_equal(link(path_of(f, "spool.db"), path_of(f, "snapshot")), 0);
    remove_file(f, "spool.db");
    assert_commit_finds_it(f);
    assert_int_equal(moved_of(f).what, SPOOL_REMOVED);
    (void)restore(f);
    assert_true(exists(f, "snapshot"));
    assert_whole(f, 11, 11);
}

static void a_database_behind_a_symbolic_link_is_served_and_comes_back(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    close_spool(f);
    assert_int_equal(mkdir(path_of(f, "real"), 0700), 0);
    rename_file(f, "spool.db", "real/spool.db");
    remove_file(f, "spool.db-wal");
    assert_int_equal(symlink("real/spool.db", path_of(f, "spool.db")), 0);
    open_spool(f);
    pass_time(f, 1000);
    append_many(f, 10);
    remove_file(f, "lock");
    assert_commit_finds_it(f);
    (void)restore(f);
    reopen_spool(f);
    assert_int_equal(ledger_of(f).spooled, 21);
    remove_file(f, "real/spool.db");
    assert_commit_finds_it(f);
    (void)restore(f);
    assert_whole(f, 22, 22);
}

static void the_open_batch_is_not_in_what_is_put_back(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    append(f, "open batch");
    remove_file(f, "spool.db");
    assert_int_equal(spool_verify_files(f->spool), SPOOL_E_MOVED);
    (void)restore(f);
    assert_whole(f, 10, 10);
}

static void records_and_the_cursor_come_back_too(void **state)
{
    struct fixture *f = *state;
    append_many(f, 30);
    for (int i = 0; i < 10; i++)
        deliver(f, next_id(f));
    commit(f);
    spool_set_exported(f->spool, 4);
    commit(f);
    remove_file(f, "spool.db");
    remove_file(f, "spool.db-wal");
    assert_int_equal(spool_verify_files(f->spool), SPOOL_E_MOVED);
    (void)restore(f);
    reopen_spool(f);
    assert_int_equal(spool_exported(f->spool), 4);
    assert_int_equal(spool_last_seq(f->spool), 10);
    assert_int_equal(ledger_of(f).spooled, 20);
    assert_int_equal(ledger_of(f).ended[SPOOL_DELIVERED], 10);
}

/* The salvage knows tables by their pages. */
static void what_was_put_back_can_be_salvaged_later(void **state)
{
    struct fixture *f = *state;
    struct spool_salvage salvage = {0};
    append_many(f, 2000);
    remove_file(f, "spool.db");
    assert_int_equal(spool_verify_files(f->spool), SPOOL_E_MOVED);
    (void)restore(f);
    close_spool(f);
    int fd = open(path_of(f, "spool.db"), O_RDWR);
    assert_true(fd >= 0);
    char rubbish[512];
    memset(rubbish, 0x55, sizeof(rubbish));
    assert_int_equal(pwrite(fd, rubbish, sizeof(rubbish), 10 * 4096), sizeof(rubbish));
    assert_int_equal(close(fd), 0);
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_true(salvage.salvaged > 1800);
    assert_int_equal(salvage.salvaged + salvage.damaged, 2000);
}

/* A folder or a FIFO that has the name which a restore writes to moves aside, and the restore
 * continues. */
static void what_has_a_name_that_a_restore_needs_moves_aside(void **state)
{
    static const char *const names[] = {"spool.db.new", "spool.db.new-wal",
                                        "spool.db.new-journal", "spool.db.restored"};
    struct fixture *f = *state;
    char words[SPOOL_SET_ASIDE_MAX];
    (void)spool_take_set_aside(words);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        append_many(f, 10);
        assert_int_equal(mkdir(path_of(f, names[i]), 0700), 0);
        remove_file(f, "spool.db");
        assert_commit_finds_it(f);
        (void)restore(f);
        assert_true(spool_take_set_aside(words));
        assert_non_null(strstr(words, names[i]));
        assert_whole(f, 11, stats_of(f).last_id);
        assert_false(spool_take_set_aside(words));
    }
    append_many(f, 10);
    assert_int_equal(mkfifo(path_of(f, "spool.db.restored"), 0600), 0);
    assert_int_equal(symlink("/nonexistent/file", path_of(f, "spool.db.new")), 0);
    remove_file(f, "spool.db-wal");
    assert_commit_finds_it(f);
    (void)restore(f);
    assert_true(spool_take_set_aside(words));
    assert_non_null(
        strstr(words, "spool.db.restored (is no regular file) is spool.db.refused-"));
    assert_whole(f, 11, stats_of(f).last_id);
}

static void another_database_in_its_place_moves_aside_and_is_whole(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    close_spool(f);
    copy_file(path_of(f, "spool.db"), path_of(f, "older"));
    open_spool(f);
    append_many(f, 10);
    rename_file(f, "older", "spool.db");
    assert_commit_finds_it(f);
    assert_int_equal(moved_of(f).what, SPOOL_REPLACED);
    struct spool_restored restored = restore(f);
    assert_memory_equal(restored.set_aside, SPOOL_REPLACED_PREFIX,
                        strlen(SPOOL_REPLACED_PREFIX));
    assert_true(exists(f, restored.set_aside));
    assert_whole(f, 21, 21);
    /* What was moved aside is the older spool. */
    close_spool(f);
    remove_file(f, "spool.db");
    remove_file(f, "spool.db-wal");
    remove_file(f, "spool.mark");
    rename_file(f, restored.set_aside, "spool.db");
    open_spool(f);
    assert_int_equal(ledger_of(f).spooled, 10);
}

static void another_log_in_its_place_is_not_taken_for_ours(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    copy_file(path_of(f, "spool.db-wal"), path_of(f, "older")); /* its sums are right */
    append_many(f, 10);
    rename_file(f, "older", "spool.db-wal");
    assert_commit_finds_it(f);
    (void)restore(f);
    assert_whole(f, 21, 21);
}

static void another_mark_in_its_place_moves_aside(void **state)
{
    struct fixture *f = *state;
    append_many(f, 10);
    close_spool(f);
    copy_file(path_of(f, "spool.mark"), path_of(f, "other"));
    remove_file(f, "spool.db");
    remove_file(f, "spool.db-wal");
    remove_file(f, "spool.mark");
    open_spool(f); /* a spool that begins at 1 */
    rename_file(f, "other", "spool.mark");
    assert_commit_finds_it(f);
    (void)restore(f);
    assert_true(exists(f, "spool.mark.replaced-1"));
    assert_whole(f, 1, 1);
}

/* ---- left alone ---- */

static void assert_nothing_changes(struct fixture *f, const char *folder)
{
    char before[4096], after[4096];
    struct spool_restored restored;
    describe_folder(folder, before, sizeof(before));
    assert_int_equal(spool_restore(f->spool, NULL, NULL, &restored), SPOOL_E_MOVED);
    struct spool_message message = make_message("more");
    uint64_t id;
    assert_int_equal(spool_append(f->spool, &message, &f->now, &id), SPOOL_E_MOVED);
    assert_int_equal(spool_commit(f->spool, &f->now), SPOOL_E_MOVED);
    assert_int_equal(spool_checkpoint(f->spool), 0);
    close_spool(f);
    describe_folder(folder, after, sizeof(after));
    assert_string_equal(before, after);
}

static void a_folder_that_lives_under_another_name_is_left_as_it_is(void **state)
{
    struct fixture *f = *state;
    char other[128];
    (void)snprintf(other, sizeof(other), "%s.other", f->directory);
    append_many(f, 10);
    assert_int_equal(rename(f->directory, other), 0);
    assert_commit_finds_it(f);
    struct spool_moved moved = moved_of(f);
    assert_int_equal(moved.what, SPOOL_RENAMED);
    assert_string_equal(moved.file, f->directory);
    assert_string_equal(moved.lives_at, other);
    assert_false(moved.is_restorable);
    assert_nothing_changes(f, other);
    assert_int_equal(access(f->directory, F_OK), -1);
    assert_int_equal(rename(other, f->directory), 0);
    open_spool(f);
    assert_int_equal(ledger_of(f).spooled, 11);
}

static void a_database_or_a_log_that_lives_under_another_name_is_left_as_it_is(void **state)
{
    static const char *const files[] = {"spool.db", "spool.db-wal"};
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        append_many(f, 10);
        rename_file(f, files[i], "elsewhere");
        assert_commit_finds_it(f);
        assert_int_equal(moved_of(f).what, SPOOL_RENAMED);
        assert_string_equal(moved_of(f).file, path_of(f, files[i]));
        assert_string_equal(moved_of(f).lives_at, path_of(f, "elsewhere"));
        assert_nothing_changes(f, f->directory);
        rename_file(f, "elsewhere", files[i]);
        open_spool(f);
        assert_int_equal(ledger_of(f).spooled, 11 * (i + 1));
    }
}

static void without_a_commit_a_close_changes_nothing_either(void **state)
{
    struct fixture *f = *state;
    char before[4096], after[4096];
    append_many(f, 10);
    rename_file(f, "spool.db", "elsewhere");
    describe_folder(f->directory, before, sizeof(before));
    close_spool(f);
    describe_folder(f->directory, after, sizeof(after));
    assert_string_equal(before, after);
}

/* ---- two processes ---- */

static int wait_for(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void with_the_lock_file_removed_a_second_process_finds_the_spool_locked(void **state)
{
    struct fixture *f = *state;
    remove_file(f, "lock");
    assert_true(spool_is_in_use(f->directory));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct spool *second = NULL;
        struct spool_salvage salvage;
        bool is_held = spool_open(&f->options, &second) == SPOOL_E_LOCKED && !second &&
                       spool_survey(f->directory) == SPOOL_E_LOCKED &&
                       spool_salvage(&f->options, NULL, &salvage) == SPOOL_E_LOCKED;
        _exit(is_held ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    close_spool(f);
    assert_false(spool_is_in_use(f->directory));
}

/* As an older version of the program does. */
static void a_lock_on_the_file_alone_holds_others_off_too(void **state)
{
    struct fixture *f = *state;
    struct spool *second = NULL;
    close_spool(f);
    int fd = open(path_of(f, "lock"), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_true(spool_is_in_use(f->directory));
    assert_int_equal(spool_open(&f->options, &second), SPOOL_E_LOCKED);
    assert_int_equal(close(fd), 0);
    assert_false(spool_is_in_use(f->directory));
}

/* One that knows the lock on the file only, and found a new one. */
static void a_whole_spool_that_an_older_program_uses_is_left_to_it(void **state)
{
    struct fixture *f = *state;
    char before[4096], after[4096];
    struct spool_restored restored;
    append_many(f, 10);
    remove_file(f, "lock");
    int fd = open(path_of(f, "lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(spool_verify_files(f->spool), SPOOL_E_MOVED);
    describe_folder(f->directory, before, sizeof(before));
    assert_int_equal(spool_restore(f->spool, NULL, NULL, &restored), 0);
    close_spool(f);
    describe_folder(f->directory, after, sizeof(after));
    assert_string_equal(before, after);
    assert_int_equal(close(fd), 0);
}

static void a_spool_that_another_process_has_begun_there_is_not_touched(void **state)
{
    struct fixture *f = *state;
    char other[128], before[4096], after[4096];
    struct spool_restored restored;
    struct spool *second;
    append_many(f, 10);
    (void)snprintf(other, sizeof(other), "%s.other", f->directory);
    assert_int_equal(rename(f->directory, other), 0);
    char database[160];
    (void)snprintf(database, sizeof(database), "%s/spool.db", other);
    assert_int_equal(unlink(database), 0);
    assert_int_equal(spool_verify_files(f->spool), SPOOL_E_MOVED);
    assert_true(moved_of(f).is_restorable);
    assert_int_equal(spool_open(&f->options, &second), 0);
    describe_folder(f->directory, before, sizeof(before));
    assert_int_equal(spool_restore(f->spool, NULL, NULL, &restored), SPOOL_E_LOCKED);
    describe_folder(f->directory, after, sizeof(after));
    assert_string_equal(before, after);
    /* When it has ended, its spool moves aside. */
    spool_close(second);
    assert_int_equal(spool_restore(f->spool, NULL, NULL, &restored), 0);
    assert_true(exists(f, restored.set_aside));
    assert_whole(f, 10, 10);
    assert_int_equal(nftw(other, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- in place ---- */

/*
 * The same inode with an older content is no other file. A checkpoint writes newer pages over
 * some of it; the next opening finds that commits are missing, or that pages contradict each
 * other, and salvages. It may never be taken for a sound spool with less in it.
 */
static void an_older_copy_written_over_the_file_is_found_at_the_next_open(void **state)
{
    struct fixture *f = *state;
    struct spool *spool = NULL;
    append_many(f, 1000);
    assert_int_equal(spool_checkpoint(f->spool), 0);
    copy_file(path_of(f, "spool.db"), path_of(f, "older"));
    append_many(f, 1000);
    assert_int_equal(spool_checkpoint(f->spool), 0);
    append_many(f, 10);
    copy_file(path_of(f, "older"), path_of(f, "spool.db"));
    append_many(f, 10);
    close_spool(f);
    int r = spool_open(&f->options, &spool);
    if (r == 0) { /* then nothing may be missing */
        f->spool = spool;
        assert_int_equal(ledger_of(f).spooled, 2020);
        return;
    }
    assert_int_equal(r, SPOOL_E_DAMAGED);
    struct spool_salvage salvage = {0};
    assert_int_equal(spool_salvage(&f->options, NULL, &salvage), 0);
    assert_int_equal(salvage.salvaged + salvage.damaged, 2020);
    open_spool(f);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_file_that_is_removed_is_found_before_the_commit_succeeds),
        CASE(a_commit_looks_once_a_second),
        CASE(without_a_commit_a_look_finds_it),
        CASE(a_path_that_cannot_be_looked_at_says_nothing),
        CASE(a_directory_on_another_file_system_is_another_one),
        CASE(a_folder_that_is_removed_with_all_files_comes_back),
        CASE(while_the_copy_is_written_the_caller_is_called),
        CASE(a_restore_whose_folder_is_a_file_fails_and_can_be_repeated),
        CASE(a_file_that_has_another_link_somewhere_comes_back_too),
        CASE(a_database_behind_a_symbolic_link_is_served_and_comes_back),
        CASE(the_open_batch_is_not_in_what_is_put_back),
        CASE(records_and_the_cursor_come_back_too),
        CASE(what_was_put_back_can_be_salvaged_later),
        CASE(what_has_a_name_that_a_restore_needs_moves_aside),
        CASE(another_database_in_its_place_moves_aside_and_is_whole),
        CASE(another_log_in_its_place_is_not_taken_for_ours),
        CASE(another_mark_in_its_place_moves_aside),
        CASE(a_folder_that_lives_under_another_name_is_left_as_it_is),
        CASE(a_database_or_a_log_that_lives_under_another_name_is_left_as_it_is),
        CASE(without_a_commit_a_close_changes_nothing_either),
        CASE(with_the_lock_file_removed_a_second_process_finds_the_spool_locked),
        CASE(a_lock_on_the_file_alone_holds_others_off_too),
        CASE(a_whole_spool_that_an_older_program_uses_is_left_to_it),
        CASE(a_spool_that_another_process_has_begun_there_is_not_touched),
        CASE(an_older_copy_written_over_the_file_is_found_at_the_next_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
