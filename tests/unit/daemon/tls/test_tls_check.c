/* SPDX-License-Identifier: MIT */
/*
 * test_tls_check.c - each fault of a certificate or a key is named, and the dates compared
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

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/clock.h"
#include "daemon/tls/tls_check.h"
#include "daemon/tls/tls_files.h"
#include "daemon/uplink/settings.h"

#define DAY_S  (24L * 3600)
#define DAY_MS (INT64_C(1000) * DAY_S)
#define SECRET "open sesame"

struct fixture {
    char folder[40];
    char paths[TLS_FILES][64];
    char name[64]; /* of the file with the password */
    struct tls_files files;
    struct tls_report report;
    EVP_PKEY *key;
    int64_t now_ms;
};

static void read_now(struct fixture *f)
{
    struct clock_reading now;

    clock_read(&now);
    f->now_ms = now.wall_ms;
}

static int set_up(void **state)
{
    static const char *const names[TLS_FILES] = {"ca", "cert", "key"};
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/tls-check-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    for (int i = 0; i < TLS_FILES; i++)
        (void)snprintf(f->paths[i], sizeof(f->paths[i]), "%s/%s", f->folder, names[i]);
    f->key = EVP_EC_gen("P-256");
    assert_non_null(f->key);
    read_now(f);
    tls_files_init(&f->files);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ERR_peek_error(), 0); /* the library would report it as its own */
    tls_files_close(&f->files);
    for (int i = 0; i < TLS_FILES; i++)
        (void)unlink(f->paths[i]); /* not every case leaves all */
    assert_int_equal(rmdir(f->folder), 0);
    EVP_PKEY_free(f->key);
    free(f);
    return 0;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Adds one to the file, valid from and until so many days from now. */
static void add_certificate(struct fixture *f, enum tls_file file, long from, long until)
{
    X509 *certificate = X509_new();
    FILE *to = fopen(f->paths[file], "ae");

    assert_non_null(certificate);
    assert_non_null(to);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), from * DAY_S));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), until * DAY_S));
    assert_int_equal(X509_set_pubkey(certificate, f->key), 1);
    assert_true(X509_sign(certificate, f->key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509(to, certificate), 1);
    assert_int_equal(fclose(to), 0);
    X509_free(certificate);
}

/* @password: NULL: not encrypted. */
static void write_key(struct fixture *f, EVP_PKEY *key, const char *password)
{
    FILE *to = fopen(f->paths[TLS_KEY], "we");

    assert_non_null(to);
    assert_int_equal(PEM_write_PKCS8PrivateKey(to, key, password ? EVP_aes_256_cbc() : NULL,
                                               password, password ? (int)strlen(password) : 0,
                                               NULL, NULL),
                     1);
    assert_int_equal(fclose(to), 0);
}

static void check(struct fixture *f, const char *password)
{
    const char *paths[TLS_FILES];
    const char *wrong;
    const struct uplink_tls_settings settings = {
        .cert_file = f->paths[TLS_CERTIFICATE],
        .key_password_file = f->name,
    };

    for (int i = 0; i < TLS_FILES; i++)
        paths[i] = access(f->paths[i], F_OK) == 0 ? f->paths[i] : "";
    assert_int_equal(tls_files_open(&f->files, paths, &wrong), 0);
    tls_check(&f->files, &settings, password, f->now_ms, &f->report);
}

static void expect_fatal(struct fixture *f, enum tls_file file, const char *text)
{
    const struct tls_problem *problem = tls_report_fatal(&f->report);

    assert_non_null(problem);
    assert_int_equal(problem->file, file);
    assert_string_equal(problem->text, text);
    assert_true(strlen(problem->remedy) > 0);
}

static void expect_dates(struct fixture *f, enum tls_file file, const char *begin)
{
    assert_null(tls_report_fatal(&f->report));
    assert_int_equal(f->report.count, 1);
    assert_int_equal(f->report.problems[0].file, file);
    if (strncmp(f->report.problems[0].text, begin, strlen(begin)) != 0)
        fail_msg("it begins otherwise: %s", f->report.problems[0].text);
}

static void sound_files_have_no_problem_and_the_first_date_counts(void **state)
{
    struct fixture *f = *state;

    add_certificate(f, TLS_CA, -1, 100);
    add_certificate(f, TLS_CERTIFICATE, -1, 50);
    write_key(f, f->key, NULL);
    check(f, "");
    assert_int_equal(f->report.count, 0);
    assert_in_range(f->report.expires_ms, f->now_ms + 49 * DAY_MS, f->now_ms + 51 * DAY_MS);
}

static void what_is_not_set_is_not_checked(void **state)
{
    struct fixture *f = *state;

    check(f, "");
    assert_int_equal(f->report.count, 0);
    assert_int_equal(f->report.expires_ms, 0);
}

static void a_file_without_a_certificate_is_named(void **state)
{
    struct fixture *f = *state;

    write_text(f->paths[TLS_CA], "");
    check(f, "");
    expect_fatal(f, TLS_CA, "is empty");
    write_text(f->paths[TLS_CA], "# none yet\n");
    check(f, "");
    expect_fatal(f, TLS_CA, "has no certificate in PEM form");
    write_text(f->paths[TLS_CERTIFICATE], "# none yet\n");
    assert_int_equal(unlink(f->paths[TLS_CA]), 0);
    check(f, "");
    expect_fatal(f, TLS_CERTIFICATE, "has no certificate in PEM form");
}

static void a_damaged_certificate_is_named_by_its_place(void **state)
{
    struct fixture *f = *state;

    add_certificate(f, TLS_CA, -1, 100);
    FILE *to = fopen(f->paths[TLS_CA], "ae");
    assert_non_null(to);
    assert_true(fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", to) >=
                0);
    assert_int_equal(fclose(to), 0);
    check(f, "");
    expect_fatal(f, TLS_CA, "is damaged: certificate 2 in it cannot be read");
}

static void of_several_certificates_to_trust_the_last_one_counts(void **state)
{
    struct fixture *f = *state;

    add_certificate(f, TLS_CA, -100, -50);
    add_certificate(f, TLS_CA, -1, 100);
    check(f, "");
    assert_int_equal(f->report.count, 0);
    assert_true(f->report.expires_ms > f->now_ms + 99 * DAY_MS);
    assert_int_equal(unlink(f->paths[TLS_CA]), 0);
    add_certificate(f, TLS_CA, -100, -50);
    add_certificate(f, TLS_CA, -100, -20);
    check(f, "");
    expect_dates(f, TLS_CA, "expired at ");
}

static void dates_are_no_reason_not_to_try(void **state)
{
    struct fixture *f = *state;
    static const struct {
        long from;
        long until;
        const char *begin;
    } rows[] = {
        {-10, -1, "expired at "},
        {1, 10, "is valid from "},
        {-10, 7, "expires at "},
        {-10, 1, "expires at "},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        add_certificate(f, TLS_CERTIFICATE, rows[i].from, rows[i].until);
        read_now(f); /* it was made for this moment or one before */
        check(f, "");
        expect_dates(f, TLS_CERTIFICATE, rows[i].begin);
        assert_int_equal(unlink(f->paths[TLS_CERTIFICATE]), 0);
    }
    add_certificate(f, TLS_CERTIFICATE, -10, 8);
    check(f, "");
    assert_int_equal(f->report.count, 0);
}

static void a_key_of_another_certificate_is_named(void **state)
{
    struct fixture *f = *state;
    EVP_PKEY *other = EVP_EC_gen("P-256");
    char wanted[TLS_TEXT_MAX];

    assert_non_null(other);
    add_certificate(f, TLS_CERTIFICATE, -1, 100);
    write_key(f, other, NULL);
    EVP_PKEY_free(other);
    check(f, "");
    (void)snprintf(wanted, sizeof(wanted), "is not the key of the certificate in %s",
                   f->paths[TLS_CERTIFICATE]);
    expect_fatal(f, TLS_KEY, wanted);
}

static void a_key_is_opened_with_its_password_alone(void **state)
{
    struct fixture *f = *state;

    add_certificate(f, TLS_CERTIFICATE, -1, 100);
    write_key(f, f->key, SECRET);
    check(f, "");
    expect_fatal(f, TLS_KEY, "is encrypted, and there is no uplink.tls.key_password_file");
    assert_non_null(strstr(tls_report_fatal(&f->report)->remedy,
                           "set uplink.tls.key_password_file to a file with its password, and "
                           "restart"));
    (void)snprintf(f->name, sizeof(f->name), "/secret");
    check(f, "open barley");
    expect_fatal(f, TLS_KEY, "is encrypted, and not with the password in /secret");
    assert_non_null(
        strstr(tls_report_fatal(&f->report)->remedy, "correct the password in the file of "));
    check(f, SECRET);
    assert_int_equal(f->report.count, 0);
}

static void a_file_without_a_key_is_named(void **state)
{
    struct fixture *f = *state;

    add_certificate(f, TLS_KEY, -1, 100);
    check(f, "");
    expect_fatal(f, TLS_KEY, "has no private key in PEM form");
    write_text(f->paths[TLS_KEY],
               "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    check(f, "");
    expect_fatal(f, TLS_KEY, "is damaged: its key cannot be read");
}

static void a_file_that_is_too_large_is_named(void **state)
{
    struct fixture *f = *state;

    write_text(f->paths[TLS_CA], "");
    assert_int_equal(truncate(f->paths[TLS_CA], TLS_FILE_MAX + 1), 0);
    check(f, "");
    expect_fatal(f, TLS_CA, "is larger than 4 MiB");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest cases[] = {
        CASE(sound_files_have_no_problem_and_the_first_date_counts),
        CASE(what_is_not_set_is_not_checked),
        CASE(a_file_without_a_certificate_is_named),
        CASE(a_damaged_certificate_is_named_by_its_place),
        CASE(of_several_certificates_to_trust_the_last_one_counts),
        CASE(dates_are_no_reason_not_to_try),
        CASE(a_key_of_another_certificate_is_named),
        CASE(a_key_is_opened_with_its_password_alone),
        CASE(a_file_without_a_key_is_named),
        CASE(a_file_that_is_too_large_is_named),
    };

    return cmocka_run_group_tests(cases, NULL, NULL);
}
