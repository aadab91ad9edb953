/* SPDX-License-Identifier: MIT */
/*
 * step_rights.c - may the daemon's user do what it has to, in folders and with files?
 */
#include "cli/doctor/findings.h"
#include "cli/doctor/record.h"
#include "cli/doctor/steps.h"
#include "cli/doctor/user.h"
#include "daemon/config/config.h"
#include "daemon/uplink/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER (R_OK | W_OK | X_OK)

struct rights {
    struct doctor_work *work;
    const struct doctor_user *user;
    unsigned checked;
    unsigned wrong;
};

static void add_denied(struct rights *rights, const char *what, const char *path, int mode)
{
    int error = errno;
    char remedy[PATH_MAX];

    rights->wrong++;
    if (error == EACCES && mode == R_OK)
        (void)snprintf(remedy, sizeof(remedy),
                       "let %.64s read the file and enter its folders (chown root:%.64s, "
                       "chmod 640)",
                       rights->user->name, rights->user->name);
    else if (error == EACCES)
        (void)snprintf(remedy, sizeof(remedy), "make the folder %.64s's: chown %.64s",
                       rights->user->name, rights->user->name);
    else
        (void)snprintf(remedy, sizeof(remedy), "correct the path, or put it there");
    doctor_add(rights->work, DOCTOR_FAILED, remedy, "%s %s: user %s may not use it: %s", what,
               path, rights->user->name, strerror(error));
}

static void check_file(struct rights *rights, const char *key, const char *path)
{
    if (path[0] == '\0')
        return;
    rights->checked++;
    if (strncmp(path, "%d/", 3) == 0)
        doctor_add(rights->work, DOCTOR_WARNING,
                   "none is needed if the unit has LoadCredential= for it",
                   "%s %s: a credential, which only the unit has", key, path);
    else if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) < 0)
        add_denied(rights, key, path, R_OK);
}

static void check_secret(struct rights *rights, const char *key, const char *path)
{
    struct stat st;

    check_file(rights, key, path);
    if (path[0] == '\0' || stat(path, &st) < 0 || !(st.st_mode & S_IROTH))
        return;
    rights->wrong++;
    doctor_add(rights->work, DOCTOR_WARNING, "chmod o-rwx FILE",
               "%s %s: every user may read this secret", key, path);
}

/* @missing: what to do if it is not there; it may be made when the daemon starts. */
static void
check_folder(struct rights *rights, const char *key, const char *path, const char *missing)
{
    rights->checked++;
    if (faccessat(AT_FDCWD, path, FOLDER, AT_EACCESS) == 0)
        return;
    if (errno != ENOENT) {
        add_denied(rights, key, path, FOLDER);
        return;
    }
    rights->wrong++;
    doctor_add(rights->work, DOCTOR_WARNING, missing, "%s %s is not there", key, path);
}

static void folder_of(const char *file, char folder[static PATH_MAX])
{
    const char *slash = strrchr(file, '/');
    int size = slash ? (int)(slash - file) : 0;

    (void)snprintf(folder, PATH_MAX, "%.*s", size > 0 ? size : 1, slash ? file : ".");
}

static void check_all(struct rights *rights)
{
    const struct config *config = rights->work->config;
    const struct uplink_tls_settings *tls = &config->uplink.tls;
    char folder[PATH_MAX];

    check_file(rights, "configuration", rights->work->config_path);
    folder_of(config->listen.socket, folder);
    check_folder(rights, "folder of listen.socket", folder,
                 "none is needed if the unit makes it when the daemon starts");
    check_folder(rights, "spool.directory", config->spool.directory,
                 "the daemon makes it at its first start if it may; if there was one, look for "
                 "what moved or unmounted it before you start the daemon");
    check_file(rights, "uplink.tls.ca_file", tls->ca_file);
    check_file(rights, "uplink.tls.cert_file", tls->cert_file);
    check_secret(rights, "uplink.tls.key_file", tls->key_file);
    check_secret(rights, "uplink.tls.key_password_file", tls->key_password_file);
    check_secret(rights, "uplink.password_file", config->uplink.password_file);
}

void doctor_step_rights(struct doctor_work *work)
{
    struct doctor_user user;
    struct rights rights = {.work = work, .user = &user};

    doctor_begin(work, DOCTOR_RIGHTS, DOCTOR_STEP_MS);
    doctor_user_find(&user);
    bool is_exact = doctor_user_borrow(&user);
    if (!is_exact && user.is_daemons) {
        doctor_add(work, DOCTOR_SKIPPED, "run this as root: sudo mqtt-spool doctor",
                   "what the user %s may do is not known to this user", user.name);
        return;
    }
    check_all(&rights);
    doctor_user_return(&user);
    if (rights.wrong == 0)
        doctor_add(work, DOCTOR_OK, "", "user %s may use all %u files and folders", user.name,
                   rights.checked);
}

static void check_audit_file(struct rights *rights, const char *file)
{
    char folder[PATH_MAX];
    struct stat st;

    folder_of(file, folder);
    if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) < 0)
        add_denied(rights, "folder of audit.file", folder, FOLDER);
    else if (stat(file, &st) == 0 && !S_ISREG(st.st_mode))
        doctor_add(rights->work, DOCTOR_FAILED,
                   "move it away: the daemon makes the file within a second",
                   "%s is not a regular file", file);
    else if (faccessat(AT_FDCWD, file, W_OK, AT_EACCESS) < 0 && errno != ENOENT)
        add_denied(rights, "audit.file", file, W_OK);
    else
        doctor_add(rights->work, DOCTOR_OK, "", "user %s may write %s", rights->user->name,
                   file);
}

void doctor_step_audit(struct doctor_work *work)
{
    const char *file = work->config->audit.file;
    struct doctor_user user;
    struct rights rights = {.work = work, .user = &user};

    doctor_begin(work, DOCTOR_AUDIT, DOCTOR_STEP_MS);
    if (file[0] == '\0') {
        doctor_add(work, DOCTOR_OK, "", "no audit file is written (audit.file = \"\")");
        return;
    }
    doctor_user_find(&user);
    if (!doctor_user_borrow(&user) && user.is_daemons) {
        doctor_add(work, DOCTOR_SKIPPED, "run this as root: sudo mqtt-spool doctor",
                   "what the user %s may do is not known to this user", user.name);
        return;
    }
    check_audit_file(&rights, file);
    doctor_user_return(&user);
}
