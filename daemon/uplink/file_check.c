/* SPDX-License-Identifier: MIT */
/*
 * file_check.c - are the files of the settings usable, and is what is sent protected?
 *
 * Invariant: a password that was read is wiped before the function returns.
 */
#include "daemon/uplink/file_check.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/regular.h"
#include "daemon/tls/tls_check.h"
#include "daemon/tls/tls_files.h"
#include "daemon/uplink/secret.h"
#include "daemon/uplink/uplink-private.h"

#define READ_REMEDY                                                                            \
    "name a file that the daemon's user may read; it is looked for at each attempt to connect"

struct file_check {
    const struct uplink_settings *settings;
    int64_t wall_ms;
    uplink_finding_fn *fn;
    void *userdata;
    struct secret password;
    struct secret key_password;
};

static const char *const tls_keys[TLS_FILES] = {
    [TLS_CA] = "uplink.tls.ca_file",
    [TLS_CERTIFICATE] = "uplink.tls.cert_file",
    [TLS_KEY] = "uplink.tls.key_file",
};

const char *uplink_tls_key(enum tls_file file)
{
    return tls_keys[file];
}

static void put_finding(const struct file_check *check, struct uplink_finding finding)
{
    check->fn(check->userdata, &finding);
}

/* The unit names the folder to each of its processes, and systemd opens it to the daemon alone:
 * not to ExecReload=, which must not fail for that. */
static bool is_closed_credential(const char *path)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    size_t size = folder ? strlen(folder) : 0;

    return size > 0 && strncmp(path, folder, size) == 0 && path[size] == '/' &&
           access(folder, X_OK) < 0;
}

static void
put_unreadable(const struct file_check *check, const char *key, const char *path, int error)
{
    char text[UPLINK_TEXT_MAX];
    bool is_credential = strncmp(path, "%d/", 3) == 0;

    if (is_closed_credential(path)) {
        put_finding(check, (struct uplink_finding){.kind = UPLINK_FINDING_UNCHECKED,
                                                   .key = key,
                                                   .file = path,
                                                   .text = "is not checked: this process has "
                                                           "no access to the credentials of "
                                                           "the unit",
                                                   .remedy = "none is needed if it is the "
                                                             "reload of the unit"});
        return;
    }
    (void)snprintf(text, sizeof(text), "cannot be read: %s",
                   is_credential ? "CREDENTIALS_DIRECTORY is not set" : regular_error(error));
    put_finding(check, (struct uplink_finding){.kind = UPLINK_FINDING_UNUSABLE,
                                               .key = key,
                                               .file = path,
                                               .text = text,
                                               .remedy = is_credential
                                                             ? "set LoadCredential= in the unit"
                                                             : READ_REMEDY});
}

static void check_secret(const struct file_check *check,
                         const char *key,
                         const char *path,
                         struct secret *secret)
{
    int r = path[0] != '\0' ? secret_read(path, secret) : 0;

    if (r < 0)
        put_unreadable(check, key, path, r);
    else if (path[0] != '\0' && secret_flaw(secret))
        put_finding(check, (struct uplink_finding){.kind = UPLINK_FINDING_SUSPECT,
                                                   .key = key,
                                                   .file = path,
                                                   .text = secret_flaw(secret),
                                                   .remedy = "write the password as one line, "
                                                             "without anything else"});
}

/* Each by itself: one that is missing does not keep the others from being checked. */
static void open_tls_files(const struct file_check *check, struct tls_files *files)
{
    const char *paths[TLS_FILES];
    const char *wrong;

    uplink_tls_paths(check->settings, paths);
    while (true) {
        int r = tls_files_open(files, paths, &wrong);

        if (r == 0)
            return;
        for (int i = 0; i < TLS_FILES; i++) {
            if (paths[i] != wrong)
                continue;
            put_unreadable(check, tls_keys[i], wrong, r);
            paths[i] = "";
        }
    }
}

static void check_tls(const struct file_check *check)
{
    const struct uplink_tls_settings *settings = &check->settings->tls;
    struct tls_files files;
    struct tls_report report;

    tls_files_init(&files);
    open_tls_files(check, &files);
    tls_check(&files, settings, check->key_password.text, check->wall_ms, &report);
    tls_files_close(&files);
    for (unsigned i = 0; i < report.count; i++) {
        const struct tls_problem *problem = &report.problems[i];
        const char *paths[TLS_FILES];

        uplink_tls_paths(check->settings, paths);
        put_finding(check,
                    (struct uplink_finding){.kind = problem->is_fatal ? UPLINK_FINDING_UNUSABLE
                                                                      : UPLINK_FINDING_DATES,
                                            .key = tls_keys[problem->file],
                                            .file = paths[problem->file],
                                            .text = problem->text,
                                            .remedy = problem->remedy});
    }
}

static void check_protection(const struct file_check *check)
{
    const struct uplink_settings *settings = check->settings;
    bool is_plain = settings->broker_count > 0 && !uplink_uri_is_tls(settings->brokers[0]);

    if (!settings->tls.verify)
        put_finding(
            check, (struct uplink_finding){
                       .kind = UPLINK_FINDING_INSECURE,
                       .key = "uplink.tls.verify",
                       .file = "",
                       .text = "the broker's certificate and name are not checked: any machine "
                               "between can be the broker",
                       .remedy = "set it to true, and uplink.tls.ca_file if the broker's "
                                 "authority is not one of the system's"});
    if (is_plain && settings->password_file[0] != '\0')
        put_finding(check,
                    (struct uplink_finding){.kind = UPLINK_FINDING_INSECURE,
                                            .key = "uplink.password_file",
                                            .file = "",
                                            .text = "the password is sent without encryption",
                                            .remedy = "use ssl:// in uplink.brokers"});
}

void uplink_check_files(const struct uplink_settings *settings,
                        int64_t wall_ms,
                        uplink_finding_fn *fn,
                        void *userdata)
{
    struct file_check *check = calloc(1, sizeof(*check));

    if (!check)
        return; /* the attempt names what it lacks */
    check->settings = settings;
    check->wall_ms = wall_ms;
    check->fn = fn;
    check->userdata = userdata;
    check_protection(check);
    check_secret(check, "uplink.password_file", settings->password_file, &check->password);
    check_secret(check, "uplink.tls.key_password_file", settings->tls.key_password_file,
                 &check->key_password);
    check_tls(check);
    explicit_bzero(check, sizeof(*check));
    free(check);
}
