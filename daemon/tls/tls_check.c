/* SPDX-License-Identifier: MIT */
/*
 * tls_check.c - can a connection be made with these certificates and this key?
 *
 * Invariant: the queue of OpenSSL's errors is empty after each call, because the library
 * would report what is left in it as an error of its own. The text of a key is wiped.
 */
#include "daemon/tls/tls_check.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/read_full.h"
#include "base/text.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)

struct tls_text {
    char *text; /* NULL: it could not be read */
    size_t size;
};

/* Of the certificates in one file. */
struct tls_dates {
    unsigned count;
    int64_t from_ms; /* the earliest */
    int64_t until_ms;
};

#define TLS_REPLACE "replace the file; it is read at each attempt to connect"
#define TLS_DATES   "replace it, or correct the clock"

/* Return: NULL: there is no room for it. */
static struct tls_problem *PRINTF_LIKE(4, 5) tls_add(
    struct tls_report *report, enum tls_file file, bool is_fatal, const char *format, ...)
{
    struct tls_problem *problem = &report->problems[report->count];
    va_list arguments;

    if (report->count == TLS_PROBLEMS_MAX)
        return NULL;
    report->count++;
    problem->file = file;
    problem->is_fatal = is_fatal;
    problem->remedy = is_fatal ? TLS_REPLACE : TLS_DATES;
    va_start(arguments, format);
    text_vformat(problem->text, sizeof(problem->text), format, arguments);
    va_end(arguments);
    return problem;
}

/* --- reading -------------------------------------------------------------- */

static void tls_text_free(struct tls_text *text)
{
    if (text->text)
        explicit_bzero(text->text, text->size);
    free(text->text);
}

#define AUTO_TEXT CLEANUP(tls_text_free)

/* If it cannot be read the problem is added. */
static struct tls_text
tls_read(const struct tls_files *files, enum tls_file file, struct tls_report *report)
{
    struct tls_text read = {.text = malloc((size_t)TLS_FILE_MAX + 1)};
    ssize_t size = read.text
                       ? read_full_at(files->fds[file], read.text, (size_t)TLS_FILE_MAX + 1, 0)
                       : -ENOMEM;

    if (size > 0 && size <= TLS_FILE_MAX) {
        read.size = (size_t)size;
        return read;
    }
    if (size < 0)
        tls_add(report, file, true, "cannot be read: %s", strerror((int)-size));
    else
        tls_add(report, file, true, size == 0 ? "is empty" : "is larger than 4 MiB");
    read.size = size > 0 ? (size_t)size : 0;
    tls_text_free(&read);
    return (struct tls_text){.text = NULL};
}

static BIO *tls_open_text(const struct tls_text *text)
{
    return text->text ? BIO_new_mem_buf(text->text, (int)text->size) : NULL;
}

/* --- dates ---------------------------------------------------------------- */

/* 0: it is no time. */
static int64_t tls_time_ms(const ASN1_TIME *at)
{
    struct tm tm;

    return at && ASN1_TIME_to_tm(at, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

static void tls_add_dates(struct tls_dates *dates, const X509 *certificate)
{
    int64_t from_ms = tls_time_ms(X509_get0_notBefore(certificate));
    int64_t until_ms = tls_time_ms(X509_get0_notAfter(certificate));

    if (dates->count == 0 || from_ms < dates->from_ms)
        dates->from_ms = from_ms;
    if (dates->count == 0 || until_ms > dates->until_ms)
        dates->until_ms = until_ms;
    dates->count++;
}

static void tls_check_dates(const struct tls_dates *dates,
                            enum tls_file file,
                            int64_t wall_ms,
                            struct tls_report *report)
{
    char date[CLOCK_TEXT_MAX];
    char now[CLOCK_TEXT_MAX];

    if (report->expires_ms == 0 || dates->until_ms < report->expires_ms)
        report->expires_ms = dates->until_ms;
    clock_format(wall_ms, now);
    if (wall_ms < dates->from_ms) {
        clock_format(dates->from_ms, date);
        tls_add(report, file, false, "is valid from %s on, and the clock says %s", date, now);
    } else if (wall_ms >= dates->until_ms) {
        clock_format(dates->until_ms, date);
        tls_add(report, file, false, "expired at %s, and the clock says %s", date, now);
    } else if (dates->until_ms - wall_ms <= TLS_EXPIRES_SOON_MS) {
        int days = (int)((dates->until_ms - wall_ms) / DAY_MS) + 1;

        clock_format(dates->until_ms, date);
        tls_add(report, file, false, "expires at %s, in less than %d day%s", date, days,
                days == 1 ? "" : "s");
    }
}

/* --- certificates --------------------------------------------------------- */

/* Is what OpenSSL refused only the end of the text? */
static bool tls_is_end(void)
{
    unsigned long error = ERR_peek_last_error();

    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

static X509 *tls_next_certificate(BIO *bio)
{
    ERR_clear_error();
    return PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
}

static void
tls_check_ca(const struct tls_files *files, int64_t wall_ms, struct tls_report *report)
{
    struct tls_text text AUTO_TEXT = tls_read(files, TLS_CA, report);
    BIO *bio = tls_open_text(&text);
    struct tls_dates dates = {.count = 0};
    X509 *certificate;

    if (!bio)
        return;
    while ((certificate = tls_next_certificate(bio)) != NULL) {
        tls_add_dates(&dates, certificate);
        X509_free(certificate);
    }
    if (!tls_is_end())
        tls_add(report, TLS_CA, true, "is damaged: certificate %u in it cannot be read",
                dates.count + 1);
    else if (dates.count == 0)
        tls_add(report, TLS_CA, true, "has no certificate in PEM form");
    else
        tls_check_dates(&dates, TLS_CA, wall_ms, report);
    BIO_free(bio);
}

/* Return: the gateway's own certificate, for the caller to free; NULL: the problem is added. */
static X509 *
tls_check_certificate(const struct tls_files *files, int64_t wall_ms, struct tls_report *report)
{
    struct tls_text text AUTO_TEXT = tls_read(files, TLS_CERTIFICATE, report);
    BIO *bio = tls_open_text(&text);
    struct tls_dates dates = {.count = 0};

    if (!bio)
        return NULL;
    X509 *certificate = tls_next_certificate(bio);
    if (certificate) {
        tls_add_dates(&dates, certificate);
        tls_check_dates(&dates, TLS_CERTIFICATE, wall_ms, report);
    } else {
        tls_add(report, TLS_CERTIFICATE, true,
                tls_is_end() ? "has no certificate in PEM form"
                             : "is damaged: its certificate cannot be read");
    }
    BIO_free(bio);
    return certificate;
}

/* --- the key -------------------------------------------------------------- */

int tls_give_password(char *to, int size, int is_for_writing, void *userdata)
{
    const char *password = userdata;
    size_t length = strnlen(password, (size_t)size + 1);

    (void)is_for_writing;
    if (length > (size_t)size)
        return -1;
    memcpy(to, password, length);
    return (int)length;
}

static bool tls_has_line(const struct tls_text *text, const char *line)
{
    return memmem(text->text, text->size, line, strlen(line)) != NULL;
}

static bool tls_is_encrypted(const struct tls_text *text)
{
    return tls_has_line(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----") ||
           tls_has_line(text, "Proc-Type: 4,ENCRYPTED");
}

/* The file is as it should be; what is wrong is its password. */
static void tls_add_locked_key(const struct uplink_tls_settings *settings,
                               struct tls_report *report)
{
    struct tls_problem *problem;
    const char *remedy;

    if (settings->key_password_file[0] != '\0') {
        problem =
            tls_add(report, TLS_KEY, true, "is encrypted, and not with the password in %s",
                    settings->key_password_file);
        remedy = "correct the password in the file of uplink.tls.key_password_file; it is read "
                 "at each attempt to connect";
    } else {
        problem = tls_add(report, TLS_KEY, true,
                          "is encrypted, and there is no uplink.tls.key_password_file");
        remedy =
            "set uplink.tls.key_password_file to a file with its password, and restart the "
            "daemon; or replace the file by a key without one";
    }
    if (problem)
        problem->remedy = remedy;
}

static void tls_add_unreadable_key(const struct tls_text *text,
                                   const struct uplink_tls_settings *settings,
                                   struct tls_report *report)
{
    if (!tls_has_line(text, "PRIVATE KEY-----"))
        tls_add(report, TLS_KEY, true, "has no private key in PEM form");
    else if (!tls_is_encrypted(text))
        tls_add(report, TLS_KEY, true, "is damaged: its key cannot be read");
    else
        tls_add_locked_key(settings, report);
}

/* @certificate: NULL: not known. */
static void tls_check_key(const struct tls_files *files,
                          const struct uplink_tls_settings *settings,
                          const char *password,
                          const X509 *certificate,
                          struct tls_report *report)
{
    struct tls_text text AUTO_TEXT = tls_read(files, TLS_KEY, report);
    BIO *bio = tls_open_text(&text);

    if (!bio)
        return;
    ERR_clear_error();
    EVP_PKEY *key =
        PEM_read_bio_PrivateKey(bio, NULL, tls_give_password, (void *)(uintptr_t)password);
    if (!key)
        tls_add_unreadable_key(&text, settings, report);
    else if (certificate && X509_check_private_key(certificate, key) != 1)
        tls_add(report, TLS_KEY, true, "is not the key of the certificate in %s",
                settings->cert_file);
    EVP_PKEY_free(key);
    BIO_free(bio);
}

void tls_check(const struct tls_files *files,
               const struct uplink_tls_settings *settings,
               const char *key_password,
               int64_t wall_ms,
               struct tls_report *ret)
{
    X509 *certificate = NULL;

    *ret = (struct tls_report){.count = 0};
    if (files->fds[TLS_CA] >= 0)
        tls_check_ca(files, wall_ms, ret);
    if (files->fds[TLS_CERTIFICATE] >= 0)
        certificate = tls_check_certificate(files, wall_ms, ret);
    if (files->fds[TLS_KEY] >= 0)
        tls_check_key(files, settings, key_password, certificate, ret);
    X509_free(certificate);
    ERR_clear_error();
}

const struct tls_problem *tls_report_fatal(const struct tls_report *report)
{
    for (unsigned i = 0; i < report->count; i++)
        if (report->problems[i].is_fatal)
            return &report->problems[i];
    return NULL;
}
