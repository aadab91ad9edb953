/* SPDX-License-Identifier: MIT */
/*
 * test_output.c - tests of files that a verb writes: whole, or not at all
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/output.h"

static char folder[] = "/tmp/test-output-XXXXXX";
static bool has_nameless_files; /* else openat(2), openat64() as it is compiled, refuses them */
static int sync_error;          /* of the next fsync(2); 0: a real one */

int __real_openat64(int folder_fd, const char *path, int flags, ...);
int __wrap_openat64(int folder_fd, const char *path, int flags, ...);
int __real_fsync(int fd);
int __wrap_fsync(int fd);

int __wrap_openat64(int folder_fd, const char *path, int flags, ...)
{
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
    if (has_nameless_files || (flags & O_TMPFILE) != O_TMPFILE)
        return __real_openat64(folder_fd, path, flags, mode);
    errno = EOPNOTSUPP;
    return -1;
}

int __wrap_fsync(int fd)
{
    if (sync_error == 0)
        return __real_fsync(fd);
    errno = sync_error;
    sync_error = 0;
    return -1;
}

static int setup(void **state)
{
    (void)state;
    has_nameless_files = true;
    sync_error = 0;
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

/* How many entries the folder has; the names of all of them are the caller's to remove. */
static unsigned count_entries(void)
{
    DIR *stream = opendir(folder);
    unsigned count = 0;

    assert_non_null(stream);
    while (readdir(stream))
        count++;
    (void)closedir(stream);
    return count - 2; /* itself and its parent */
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink("file");
    (void)unlink("other");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static void write_old(const char *text)
{
    FILE *stream = fopen("file", "we");

    assert_non_null(stream);
    fputs(text, stream);
    assert_int_equal(fclose(stream), 0);
}

static void assert_content(const char *expected)
{
    char text[64] = "";
    FILE *stream = fopen("file", "re");

    assert_non_null(stream);
    size_t size = fread(text, 1, sizeof(text) - 1, stream);
    (void)fclose(stream);
    assert_int_equal(size, strlen(expected));
    assert_string_equal(text, expected);
}

static void whole_file_takes_the_name_at_its_commit(void **state)
{
    struct output *output;
    struct stat st;

    (void)state;
    write_old("old");
    (void)umask(022);
    assert_int_equal(output_open("file", "old", 0666, &output), EX_OK);
    fputs("new", output_stream(output));
    assert_int_equal(fflush(output_stream(output)), 0);
    assert_content("old");
    assert_int_equal(count_entries(), 1);
    assert_int_equal(output_commit(output), EX_OK);
    assert_content("new");
    assert_int_equal(stat("file", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(count_entries(), 1);
}

static void discarded_file_leaves_nothing(void **state)
{
    struct output *output;
    char path[64];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/file", folder);
    assert_int_equal(output_open(path, "old", 0600, &output), EX_OK);
    fputs("new", output_stream(output));
    output_discard(output);
    assert_int_equal(count_entries(), 0);
    output_discard(NULL);
}

static void file_system_without_nameless_files_gets_a_hidden_one(void **state)
{
    struct output *output;

    (void)state;
    has_nameless_files = false;
    write_old("old");
    assert_int_equal(output_open("./file", "old", 0600, &output), EX_OK);
    fputs("new", output_stream(output));
    assert_int_equal(count_entries(), 2);
    output_discard(output);
    assert_int_equal(count_entries(), 1);
    assert_content("old");
    assert_int_equal(output_open("file", "old", 0600, &output), EX_OK);
    fputs("new", output_stream(output));
    assert_int_equal(output_commit(output), EX_OK);
    assert_content("new");
    assert_int_equal(count_entries(), 1);
}

static void failed_sync_leaves_the_old_file(void **state)
{
    struct output *output;

    (void)state;
    write_old("old");
    assert_int_equal(output_open("file", "old", 0600, &output), EX_OK);
    fputs("new", output_stream(output));
    sync_error = EIO;
    assert_int_equal(output_commit(output), EX_UNAVAILABLE);
    assert_content("old");
    assert_int_equal(count_entries(), 1);
}

static void write_that_failed_earlier_leaves_the_old_file(void **state)
{
    struct output *output;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    int kept;

    (void)state;
    write_old("old");
    assert_int_equal(output_open("file", "old", 0600, &output), EX_OK);
    kept = dup(fileno(output_stream(output)));
    assert_true(dup2(full, fileno(output_stream(output))) >= 0);
    fputs("lost", output_stream(output));
    assert_int_equal(fflush(output_stream(output)), EOF);
    assert_true(dup2(kept, fileno(output_stream(output))) >= 0);
    fputs("new", output_stream(output));
    assert_int_equal(output_commit(output), EX_UNAVAILABLE);
    assert_content("old");
    (void)close(kept);
    (void)close(full);
}

static void what_is_no_regular_file_is_not_replaced(void **state)
{
    struct output *output = NULL;
    struct stat st;

    (void)state;
    assert_int_equal(symlink("/dev/null", "other"), 0);
    assert_int_equal(output_open("other", "old", 0600, &output), EX_USAGE);
    assert_int_equal(lstat("other", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(output_open(folder, "old", 0600, &output), EX_USAGE);
    assert_int_equal(output_open("/dev/null", "old", 0600, &output), EX_USAGE);
    assert_null(output);
}

/* A slip names the audit file, or the spool. */
static void what_another_program_wrote_is_not_replaced(void **state)
{
    struct output *output = NULL;

    (void)state;
    write_old("ol");
    assert_int_equal(output_open("file", "old", 0600, &output), EX_USAGE);
    assert_content("ol");
    write_old("{\"seq\":1}");
    assert_int_equal(output_open("file", "old", 0600, &output), EX_USAGE);
    assert_int_equal(output_open("file", NULL, 0600, &output), EX_USAGE);
    write_old("");
    assert_int_equal(output_open("file", "old", 0600, &output), EX_USAGE);
    assert_null(output);
    assert_content("");
    write_old("old and more");
    assert_int_equal(output_open("file", "old", 0600, &output), EX_OK);
    fputs("old once more", output_stream(output));
    assert_int_equal(output_commit(output), EX_OK);
    assert_content("old once more");
}

static void name_that_cannot_be_is_reported(void **state)
{
    struct output *output = NULL;

    (void)state;
    assert_int_equal(output_open("absent/file", "old", 0600, &output), EX_UNAVAILABLE);
    assert_int_equal(output_open("absent/", "old", 0600, &output), EX_UNAVAILABLE);
    assert_int_equal(output_open("", "old", 0600, &output), EX_UNAVAILABLE);
    assert_null(output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_file_takes_the_name_at_its_commit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(discarded_file_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(file_system_without_nameless_files_gets_a_hidden_one,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(failed_sync_leaves_the_old_file, setup, teardown),
        cmocka_unit_test_setup_teardown(write_that_failed_earlier_leaves_the_old_file, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_regular_file_is_not_replaced, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_another_program_wrote_is_not_replaced, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(name_that_cannot_be_is_reported, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
