/* SPDX-License-Identifier: MIT */
/*
 * test_tls_files.c - the TLS library opens the file that was checked, whatever its name
 * leads to by then
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/regular.h"
#include "daemon/tls/tls_files.h"

struct fixture {
    char folder[32];
    char path[64];
    struct tls_files files;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/tls-files-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/key", f->folder);
    tls_files_init(&f->files);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    tls_files_close(&f->files);
    (void)unlink(f->path); /* not every case leaves one */
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int open_key(struct fixture *f)
{
    const char *const paths[TLS_FILES] = {"", "", f->path};
    const char *wrong = NULL;
    int r = tls_files_open(&f->files, paths, &wrong);
    if (r < 0)
        assert_string_equal(wrong, f->path);
    return r;
}

static void a_name_that_is_replaced_by_a_fifo_still_leads_to_the_file(void **state)
{
    struct fixture *f = *state;
    char text[8] = "";
    write_file(f->path, "key");
    assert_int_equal(open_key(f), 0);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    (void)alarm(60); /* an open that waits ends the program */
    FILE *file = fopen(tls_files_name(&f->files, TLS_KEY), "re");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    assert_int_equal(fclose(file), 0);
    (void)alarm(0);
    assert_string_equal(text, "key");
}

static void what_is_no_regular_file_is_named(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_key(f), -ENOENT);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(open_key(f), -REGULAR_OTHER);
    assert_null(tls_files_name(&f->files, TLS_KEY));
}

static void what_is_not_set_has_no_name(void **state)
{
    struct fixture *f = *state;
    write_file(f->path, "key");
    assert_int_equal(open_key(f), 0);
    assert_null(tls_files_name(&f->files, TLS_CA));
    assert_null(tls_files_name(&f->files, TLS_CERTIFICATE));
    tls_files_close(&f->files);
    assert_null(tls_files_name(&f->files, TLS_KEY));
}

static void opened_again_nothing_stays_open_of_before(void **state)
{
    struct fixture *f = *state;
    write_file(f->path, "key");
    assert_int_equal(open_key(f), 0);
    int first = f->files.fds[TLS_KEY];
    for (int i = 0; i < 100; i++)
        assert_int_equal(open_key(f), 0);
    assert_in_range(f->files.fds[TLS_KEY], 0, first + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_name_that_is_replaced_by_a_fifo_still_leads_to_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_regular_file_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_set_has_no_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opened_again_nothing_stays_open_of_before, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
