/* SPDX-License-Identifier: MIT */
/*
 * open.c - configuration and spool, and why they do not open
 *
 * What keeps the tool from its work wherever it runs (no file, no right,
 * another version) is reported here alone, so that all verbs print the same
 * text and exit with the same code.
 */
#include "cli/cli.h"

#include "base/cleanup.h"
#include "base/read_full.h"
#include "base/regular.h"
#include "base/reload.h"
#include "base/text.h"
#include "daemon/config/config.h"
#include "store/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* A path, and why. */
#define CLI_WHY_MAX (PATH_MAX + CONFIG_ERROR_MAX)

static char status_file[PATH_MAX]; /* of the daemon; "": not long_options */

bool cli_fall_back(const char *socket, enum cli_fallback when, int code, const char *why)
{
    /* What only this user may not read is no matter of the daemon. */
    const char *end = code == EX_NOPERM ? "" : "; the daemon does not start again with that";
    pid_t pid;

    cli_set_socket(socket);
    pid = cli_daemon_pid();
    if (pid > 0) {
        cli_error(
            "warning: %s%s. The daemon that runs with the default socket %s (process %d) is "
            "asked",
            why, end, socket, (int)pid);
        return true;
    }
    if (when == CLI_IF_LISTENING && access(socket, F_OK) == 0) {
        cli_error("warning: %s%s. The default socket %s is used", why, end, socket);
        return true;
    }
    return false;
}

static bool is_default_path(const char *path)
{
    return !path || strcmp(path, CONFIG_DEFAULT_PATH) == 0;
}

const char *cli_find_default_daemon(const char *config_path)
{
    if (!is_default_path(config_path))
        return NULL;
    cli_set_socket(CONFIG_DEFAULT_SOCKET);
    return cli_daemon_pid() > 0 ? CONFIG_DEFAULT_SOCKET : NULL;
}

/* @ret_remedy: what can be done besides giving other arguments.
 *
 * Return: EX_OK; the exit code, and @why, which is not reported. */
static int try_config(const struct cli *cli,
                      const char *const *needed,
                      struct config **ret,
                      char why[static CLI_WHY_MAX],
                      const char **ret_remedy)
{
    const char *path = cli->config_path ? cli->config_path : CONFIG_DEFAULT_PATH;
    char error[CONFIG_ERROR_MAX];
    int result;

    *ret_remedy = "name another one with -c FILE, or";
    if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) < 0) {
        int code = errno == EACCES ? EX_NOPERM : EX_CONFIG;

        if (errno == EACCES)
            *ret_remedy = "run this as root (sudo mqtt-spool ...), name another one with -c "
                          "FILE, or";
        text_format(why, CLI_WHY_MAX, "cannot read the configuration %s: %s", path,
                    strerror(errno));
        return code;
    }
    result = config_load_needed(path, needed, ret, error);
    if (result == -EINVAL)
        *ret_remedy = "correct that, or do without the file:";
    if (result != 0) {
        text_format(why, CLI_WHY_MAX, "%s", error);
        return EX_CONFIG;
    }
    if (error[0] != '\0')
        cli_error("warning: %s; the daemon does not start with this file. The rest of it is "
                  "used here",
                  error);
    cli_set_socket((*ret)->listen.socket);
    return EX_OK;
}

int cli_load_config(const struct cli *cli,
                    const char *const *needed,
                    const char *instead,
                    struct config **ret)
{
    char why[CLI_WHY_MAX];
    const char *remedy;
    int code = try_config(cli, needed, ret, why, &remedy);

    if (code != EX_OK)
        cli_error("%s; %s give %s", why, remedy, instead);
    return code;
}

int cli_find_socket(const struct cli *cli,
                    const char *const *needed,
                    const char *instead,
                    enum cli_fallback when,
                    struct config **ret_config,
                    const char **ret_socket)
{
    char why[CLI_WHY_MAX];
    const char *remedy;
    int code = try_config(cli, needed, ret_config, why, &remedy);

    if (code == EX_OK) {
        *ret_socket = (*ret_config)->listen.socket;
        return EX_OK;
    }
    if (is_default_path(cli->config_path) &&
        cli_fall_back(CONFIG_DEFAULT_SOCKET, when, code, why)) {
        *ret_socket = CONFIG_DEFAULT_SOCKET;
        return EX_OK;
    }
    cli_error("%s; %s give %s", why, remedy, instead);
    if (is_default_path(cli->config_path))
        cli_error("no daemon has its status beside the default socket " CONFIG_DEFAULT_SOCKET
                  ": whether one runs, and with which -c, is in: systemctl status mqtt-spoold");
    return code;
}

bool cli_is_folder(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return false;
    errno = ENOTDIR;
    return S_ISDIR(st.st_mode);
}

bool cli_may_read(const char *directory)
{
    return faccessat(AT_FDCWD, directory, R_OK | X_OK, AT_EACCESS) == 0;
}

void cli_set_socket(const char *socket)
{
    const char *slash = strrchr(socket, '/');
    int folder = slash ? (int)(slash - socket) + 1 : 0;
    int n = snprintf(status_file, sizeof(status_file), "%.*sstatus.json", folder, socket);

    if (n < 0 || (size_t)n >= sizeof(status_file))
        status_file[0] = '\0';
}

/* From its stat in /proc, behind the name, which may have any bytes; 0: not known. */
static int process_state(pid_t pid)
{
    char path[64], text[512];
    const char *name_end;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (got < 0)
        return 0;
    text[got] = '\0';
    name_end = strrchr(text, ')');
    return name_end && name_end[1] == ' ' ? name_end[2] : 0;
}

bool cli_process_runs(int64_t pid)
{
    int state;

    if (pid <= 0 || pid > INT_MAX || (kill((pid_t)pid, 0) < 0 && errno != EPERM))
        return false;
    state = process_state((pid_t)pid);
    return state != 'Z' && state != 'X';
}

char *cli_read_status(void)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, status_file, O_RDONLY, 0);
    ssize_t got = -1;
    char *text;

    if (fd < 0)
        return NULL;
    text = malloc(CLI_STATUS_MAX);
    if (text)
        got = read_full(fd, text, CLI_STATUS_MAX - 1);
    if (got < 0) {
        free(text);
        return NULL;
    }
    text[got] = '\0';
    return text;
}

const char *cli_status_file(void)
{
    return status_file;
}

json_t *cli_parse_status(void)
{
    AUTO_FREE char *text = cli_read_status();

    return text ? json_loads(text, 0, NULL) : NULL;
}

/* The id of the process that wrote @root, if it runs; else 0. */
static pid_t running_pid(const json_t *root)
{
    json_int_t pid = json_integer_value(json_object_get(root, "pid"));

    return cli_process_runs(pid) ? (pid_t)pid : 0;
}

pid_t cli_daemon_pid(void)
{
    json_t *root = cli_parse_status();
    pid_t pid = running_pid(root);

    json_decref(root);
    return pid;
}

/* Is @key one of @keys, which are separated by commas? @keys: NULL: none. */
static bool has_key(const char *keys, const char *key)
{
    size_t size = strlen(key);

    while (keys &&
           (strncmp(keys, key, size) != 0 || (keys[size] != ',' && keys[size] != '\0'))) {
        keys = strchr(keys, ',');
        keys = keys ? keys + 1 : NULL;
    }
    return keys;
}

bool cli_restart_waits(const char *key)
{
    json_t *root = cli_parse_status();
    const json_t *configuration = json_object_get(root, "configuration");
    bool waits =
        running_pid(root) > 0 &&
        has_key(json_string_value(json_object_get(configuration, "restart_keys")), key);

    json_decref(root);
    return waits;
}

bool cli_spool_is_moved(void)
{
    json_t *root = cli_parse_status();
    const char *cause =
        json_string_value(json_object_get(json_object_get(root, "intake"), "refusing"));
    bool is_moved = cause && strcmp(cause, "spool_moved") == 0 && running_pid(root) > 0;

    json_decref(root);
    return is_moved;
}

#define DAMAGED_REMEDY                                                                         \
    "delete nothing, and put back what was moved away: the daemon, when it starts, keeps the " \
    "damaged files, salvages what can be read of them and records the rest as damaged"

static int report_not_allowed(const char *directory)
{
    cli_error("may not read the spool in %s: run this as root or as the user of the service "
              "(sudo mqtt-spool ...)",
              directory);
    return EX_NOPERM;
}

static bool is_missing(int result)
{
    return result == -ENOENT || result == -ENOTDIR || result == SPOOL_E_ABSENT ||
           result == SPOOL_E_DAMAGED;
}

int cli_report_open_error(const char *directory, int result)
{
    struct stat st;

    if (is_missing(result) && cli_spool_is_moved()) {
        cli_error("the spool is no longer in %s: " CLI_MOVED_REMEDY, directory);
        return EX_UNAVAILABLE;
    }
    if ((result == -ENOENT || result == SPOOL_E_ABSENT) &&
        cli_restart_waits("spool.directory")) {
        cli_error("there is no spool in %s: a daemon runs (process %d) and has another one, "
                  "because a reload does not change spool.directory: " RESTART_REMEDY
                  ", or name the folder that it has with --directory",
                  directory, (int)cli_daemon_pid());
        return EX_UNAVAILABLE;
    }
    if (stat(directory, &st) == 0 && !S_ISDIR(st.st_mode)) {
        cli_error(
            "%s is not a directory: name the folder that spool.db is in, or move that file away",
            directory);
        return EX_UNAVAILABLE;
    }
    if (!cli_may_read(directory) && errno == EACCES)
        return report_not_allowed(directory);
    switch (result) {
    case -EACCES:
    case -EPERM:
        return report_not_allowed(directory);
    case -ENOENT:
    case SPOOL_E_ABSENT:
        cli_error(
            "there is no spool in %s: it was moved, unmounted or removed (look for spool_moved "
            "in the log before you start the daemon: it would begin an empty one), or the "
            "daemon never ran with this directory (start it: systemctl start mqtt-spoold), or "
            "-c or --directory names the wrong place",
            directory);
        return EX_UNAVAILABLE;
    case SPOOL_E_BUSY:
        cli_error("the spool in %s is locked just now (%s); try again", directory,
                  spool_open_error());
        return EX_TEMPFAIL;
    case SPOOL_E_NEWER:
        cli_error("the spool in %s was written by a newer version (%s): update this program",
                  directory, spool_open_error());
        return EX_UNAVAILABLE;
    case SPOOL_E_DAMAGED:
        cli_error("the spool in %s is damaged: %s; " DAMAGED_REMEDY, directory,
                  spool_open_error());
        return EX_DATAERR;
    case SPOOL_E_FOREIGN:
        cli_error("there is no spool in %s: %s; the daemon does not start with it and changes "
                  "nothing: " CLI_FOREIGN_REMEDY,
                  directory, spool_open_error());
        return EX_DATAERR;
    default:
        cli_error("cannot open the spool in %s: %s", directory, spool_open_error());
        return EX_UNAVAILABLE;
    }
}

int cli_open_spool(const char *directory, struct spool **ret)
{
    int result = spool_open_reader(directory, ret);

    return result == 0 ? EX_OK : cli_report_open_error(directory, result);
}

int cli_report_read_error(const struct spool *spool, int error)
{
    if (error == SPOOL_E_BUSY || error == -EBUSY) {
        cli_error("the spool is locked just now; try again");
        return EX_TEMPFAIL;
    }
    if (error == -EBADMSG) {
        cli_error("the spool is damaged: %s; " DAMAGED_REMEDY, spool_error(spool));
        return EX_DATAERR;
    }
    cli_error("cannot read the spool: %s",
              error == -ENOMEM ? "out of memory" : spool_error(spool));
    return EX_UNAVAILABLE;
}
