/* SPDX-License-Identifier: MIT */
/*
 * test_file_check.c - what is found of the files and the protection of the link
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/uplink/file_check.h"
#include "daemon/uplink/settings.h"
#include "tests/support/uplink_settings.h"

#define FOUND_MAX 8

struct fixture {
    char path[40];
    char *uris[1];
    struct uplink_settings settings;
    unsigned count;
    enum uplink_finding_kind kinds[FOUND_MAX];
    char texts[FOUND_MAX][256]; /* "key file text" */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->path, sizeof(f->path), "/tmp/file-check-XXXXXX");
    int fd = mkstemp(f->path);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    f->uris[0] = uplink_test_text("ssl://broker.example");
    f->settings = uplink_test_settings(f->uris);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(unlink(f->path), 0);
    free(f);
    return 0;
}

static void on_finding(void *userdata, const struct uplink_finding *finding)
{
    struct fixture *f = userdata;

    assert_true(f->count < FOUND_MAX);
    assert_true(strlen(finding->remedy) > 0);
    f->kinds[f->count] = finding->kind;
    (void)snprintf(f->texts[f->count], sizeof(f->texts[0]), "%s %s %s", finding->key,
                   finding->file, finding->text);
    f->count++;
}

static void check(struct fixture *f, const void *data, size_t size)
{
    FILE *file = fopen(f->path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    f->count = 0;
    uplink_check_files(&f->settings, INT64_C(1800000000000), on_finding, f);
}

static void expect_one(struct fixture *f,
                       enum uplink_finding_kind kind,
                       const char *key,
                       const char *file,
                       const char *text)
{
    char wanted[256];

    (void)snprintf(wanted, sizeof(wanted), "%s %s %s", key, file, text);
    assert_int_equal(f->count, 1);
    assert_string_equal(f->texts[0], wanted);
    assert_int_equal(f->kinds[0], kind);
}

static void a_flaw_of_a_password_file_is_named(void **state)
{
    static const struct {
        const char *data;
        const char *text;
    } rows[] = {
        {"secret", NULL},
        {"secret\n", NULL},
        {"two words\n", NULL},
        {"", "is empty"},
        {"\n", "is empty"},
        {"secret\r\n", "ends with CR LF: the CR is sent as a part of the password"},
        {"secret\n\n",
         "ends with more than one line end: all but the last are sent as a part of the "
         "password"},
        {"secret\nmore\n", "has more than one line: all of it is sent as the password"},
        {"\xEF\xBB\xBFsecret\n",
         "begins with a byte order mark (BOM), which is sent as a part of the password"},
        {" secret\n", "begins or ends with a blank, which is sent as a part of the password"},
        {"secret\t\n", "begins or ends with a blank, which is sent as a part of the password"},
    };
    struct fixture *f = *state;

    f->settings.password_file = f->path;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(f, rows[i].data, strlen(rows[i].data));
        if (rows[i].text)
            expect_one(f, UPLINK_FINDING_SUSPECT, "uplink.password_file", f->path,
                       rows[i].text);
        else
            assert_int_equal(f->count, 0);
    }
}

static void each_file_that_is_missing_is_named(void **state)
{
    struct fixture *f = *state;

    f->settings.password_file = uplink_test_text("/nowhere/password");
    f->settings.tls.key_password_file = uplink_test_text("%d/key-password");
    f->settings.tls.ca_file = uplink_test_text("/nowhere/ca");
    f->settings.tls.cert_file = uplink_test_text("/nowhere/cert");
    f->settings.tls.key_file = uplink_test_text("/nowhere/key");
    check(f, "", 0);
    assert_int_equal(f->count, 5);
    for (unsigned i = 0; i < f->count; i++)
        assert_int_equal(f->kinds[i], UPLINK_FINDING_UNUSABLE);
    assert_string_equal(f->texts[0],
                        "uplink.password_file /nowhere/password cannot be read: No "
                        "such file or directory");
    assert_string_equal(f->texts[1],
                        "uplink.tls.key_password_file %d/key-password cannot be read: "
                        "CREDENTIALS_DIRECTORY is not set");
}

static void a_credential_in_a_folder_without_access_is_not_checked(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/nowhere/credentials", 1), 0);
    f->settings.password_file = uplink_test_text("/nowhere/credentials/password");
    check(f, "", 0);
    expect_one(f, UPLINK_FINDING_UNCHECKED, "uplink.password_file",
               "/nowhere/credentials/password",
               "is not checked: this process has no access to the credentials of the unit");
    f->settings.password_file = uplink_test_text("/nowhere/credentials-2/password");
    check(f, "", 0);
    expect_one(f, UPLINK_FINDING_UNUSABLE, "uplink.password_file",
               "/nowhere/credentials-2/password", "cannot be read: No such file or directory");
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/tmp", 1), 0);
    f->settings.password_file = uplink_test_text("/tmp/no/password");
    check(f, "", 0);
    assert_int_equal(f->kinds[0], UPLINK_FINDING_UNUSABLE);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static void a_file_of_tls_that_cannot_work_is_named(void **state)
{
    struct fixture *f = *state;

    f->settings.tls.ca_file = f->path;
    check(f, "text", 4);
    expect_one(f, UPLINK_FINDING_UNUSABLE, "uplink.tls.ca_file", f->path,
               "has no certificate in PEM form");
}

static void what_is_not_protected_is_named(void **state)
{
    struct fixture *f = *state;

    f->settings.tls.verify = false;
    check(f, "secret\n", 7);
    expect_one(f, UPLINK_FINDING_INSECURE, "uplink.tls.verify", "",
               "the broker's certificate and name are not checked: any machine between can be "
               "the broker");
    f->settings.tls.verify = true;
    f->settings.password_file = f->path;
    f->uris[0] = uplink_test_text("tcp://broker.example");
    check(f, "secret\n", 7);
    expect_one(f, UPLINK_FINDING_INSECURE, "uplink.password_file", "",
               "the password is sent without encryption");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_flaw_of_a_password_file_is_named),
        CASE(each_file_that_is_missing_is_named),
        CASE(a_credential_in_a_folder_without_access_is_not_checked),
        CASE(a_file_of_tls_that_cannot_work_is_named),
        CASE(what_is_not_protected_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
