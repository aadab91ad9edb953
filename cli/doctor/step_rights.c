/* SPDX-License-Identifier: MIT */
/*
 * step_rights.c - may the daemon's user do what it has to, in folders and with files?
 */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/judge.h"
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

#define FOLDER    (R_OK | W_OK | X_OK)
#define MODE_BITS 07777u

enum rights_kind { RIGHTS_OF_FILE, RIGHTS_OF_SECRET, RIGHTS_TO_WRITE };

struct rights {
    struct doctor_work *work;
    const struct doctor_user *user;
    unsigned checked;
    unsigned wrong;
};

static void format_remedy(const struct rights *rights,
                          enum rights_kind kind,
                          const char *path,
                          char remedy[static DOCTOR_REMEDY_MAX])
{
    const char *user = rights->user->name;

    switch (kind) {
    case RIGHTS_OF_FILE:
        text_format(remedy, DOCTOR_REMEDY_MAX,
                    "let %s read it and enter its folders: chmod 644 %s", user, path);
        break;
    case RIGHTS_OF_SECRET:
        text_format(remedy, DOCTOR_REMEDY_MAX,
                    "let %s alone read it: chown %s %s; chmod 0400 %s; and let %s "
                    "enter its folders",
                    user, user, path, path, user);
        break;
    case RIGHTS_TO_WRITE:
        text_format(remedy, DOCTOR_REMEDY_MAX,
                    "make it %s's: chown %s %s; if other programs use it, name another one",
                    user, user, path);
        break;
    }
}

static void
add_denied(struct rights *rights, enum rights_kind kind, const char *what, const char *path)
{
    int error = errno;
    char remedy[DOCTOR_REMEDY_MAX] = "correct the path, or put it there";

    rights->wrong++;
    if (error == ENOTDIR) {
        doctor_add(rights->work, DOCTOR_FAILED,
                   "a file has the name of a folder: move it away, or correct the path",
                   "%s %s: %s", what, path, strerror(error));
        return;
    }
    if (error == EACCES)
        format_remedy(rights, kind, path, remedy);
    doctor_add(rights->work, DOCTOR_FAILED, remedy, "%s %s: user %s may not use it: %s", what,
               path, rights->user->name, strerror(error));
}

static void
check_file(struct rights *rights, enum rights_kind kind, const char *key, const char *path)
{
    if (path[0] == '\0')
        return;
    rights->checked++;
    if (strncmp(path, "%d/", 3) == 0)
        doctor_add(rights->work, DOCTOR_WARNING,
                   "none is needed if the unit has LoadCredential= for it",
                   "%s %s: a credential, which only the unit has", key, path);
    else if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) < 0)
        add_denied(rights, kind, key, path);
}

/* It is the daemon's alone. The members of the group of its name are the producers. */
static void check_secret(struct rights *rights, const char *key, const char *path)
{
    char remedy[DOCTOR_REMEDY_MAX];
    struct stat st;

    check_file(rights, RIGHTS_OF_SECRET, key, path);
    if (path[0] == '\0' || stat(path, &st) < 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return;
    rights->wrong++;
    text_format(remedy, sizeof(remedy), "chown %s %s; chmod 0400 %s", rights->user->name, path,
                path);
    doctor_add(rights->work, DOCTOR_WARNING, remedy,
               "%s %s has mode %04o: %s may use this secret", key, path,
               (unsigned)st.st_mode & MODE_BITS,
               (st.st_mode & S_IRWXO) != 0 ? "every user" : "its group");
}

/* What the daemon makes has mode 0700; one that is there keeps its own. */
static void check_spool_mode(struct rights *rights)
{
    const char *directory = rights->work->config->spool.directory;
    char remedy[DOCTOR_REMEDY_MAX];
    struct stat st;

    if (stat(directory, &st) < 0 || !S_ISDIR(st.st_mode) ||
        (st.st_mode & (S_IWGRP | S_IRWXO)) == 0)
        return;
    rights->wrong++;
    text_format(remedy, sizeof(remedy), "chmod 0700 %s", directory);
    doctor_add(rights->work, DOCTOR_WARNING, remedy,
               "spool.directory %s has mode %04o: other users may enter it, and read what is "
               "spooled if the umask of the daemon lets them",
               directory, (unsigned)st.st_mode & MODE_BITS);
}

/* May the user use the folder? False: errno says why not. What is no folder gives no right to
 * enter, but that is not its fault. */
static bool may_use_folder(const char *path, int mode)
{
    if (!cli_is_folder(path) && errno == ENOTDIR)
        return false;
    return faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0;
}

/* @missing: what to do if it is not there; it may be made when the daemon starts. */
static void
check_folder(struct rights *rights, const char *key, const char *path, const char *missing)
{
    rights->checked++;
    if (may_use_folder(path, FOLDER))
        return;
    if (errno != ENOENT) {
        add_denied(rights, RIGHTS_TO_WRITE, key, path);
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

    check_file(rights, RIGHTS_OF_FILE, "configuration", rights->work->config_path);
    folder_of(config->listen.socket, folder);
    check_folder(rights, "folder of listen.socket", folder,
                 "none is needed if the unit makes it when the daemon starts");
    check_folder(rights, "spool.directory", config->spool.directory,
                 "the daemon makes it at its first start if it may; if there was one, look for "
                 "what moved or unmounted it before you start the daemon");
    check_spool_mode(rights);
    check_file(rights, RIGHTS_OF_FILE, "uplink.tls.ca_file", tls->ca_file);
    check_file(rights, RIGHTS_OF_FILE, "uplink.tls.cert_file", tls->cert_file);
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
    if (!may_use_folder(folder, W_OK | X_OK))
        add_denied(rights, RIGHTS_TO_WRITE, "folder of audit.file", folder);
    else if (stat(file, &st) == 0 && !S_ISREG(st.st_mode))
        doctor_add(rights->work, DOCTOR_FAILED,
                   "move it away: the daemon makes the file within a second",
                   "%s is not a regular file", file);
    else if (faccessat(AT_FDCWD, file, W_OK, AT_EACCESS) < 0 && errno != ENOENT)
        add_denied(rights, RIGHTS_TO_WRITE, "audit.file", file);
    else if (doctor_is_audit_waiting(rights->work->status))
        doctor_add(rights->work, DOCTOR_SKIPPED, "",
                   "user %s may write %s, but it is not written: see the step daemon",
                   rights->user->name, file);
    else
        /* A file that was deleted and one that was rotated away are alike from here. */
        doctor_add(rights->work, DOCTOR_OK, "",
                   "user %s may write %s (which records it has: mqtt-spool audit)",
                   rights->user->name, file);
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
