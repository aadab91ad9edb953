/* SPDX-License-Identifier: MIT */
/*
 * step_daemon.c - does the daemon run, answer at its socket, and what does it report?
 */
#include "base/clock.h"
#include "base/reload.h"
#include "cli/cli.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/judge.h"
#include "cli/doctor/record.h"
#include "cli/doctor/steps.h"
#include "cli/doctor/user.h"
#include "cli/verbs/control.h"
#include "cli/verbs/publish-private.h"
#include "cli/verbs/socket_remedy.h"
#include "daemon/config/config.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define STALE_INTERVALS 3
/* At least, because a machine under load is late. */
#define STALE_MS 30000

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static bool is_running(const struct doctor_work *work)
{
    const char *directory = work->config ? work->config->spool.directory : NULL;

    if (cli_restart_waits("spool.directory"))
        return true;
    return directory && cli_may_read(directory) ? spool_is_in_use(directory)
                                                : cli_daemon_pid() > 0;
}

static void check_age(struct doctor_work *work)
{
    json_t *root = cli_parse_status();
    int64_t interval_ms = work->config ? (int64_t)work->config->status_interval_ms : 0;
    int64_t stale_ms = interval_ms * STALE_INTERVALS;
    char span[CLOCK_SPAN_MAX];
    int64_t written_ms;
    int64_t age_ms;

    if (clock_parse(text_of(root, "time"), &written_ms)) {
        age_ms = cli_now().wall_ms - written_ms;
        clock_format_span(age_ms > 0 ? age_ms : 0, span);
        if (age_ms > (stale_ms > STALE_MS ? stale_ms : STALE_MS))
            doctor_add(work, DOCTOR_WARNING,
                       "the daemon hangs, its status file has no room, or the clock was set: "
                       "look at journalctl -u mqtt-spoold",
                       "%s is %s old although the daemon runs", cli_status_file(), span);
    }
    json_decref(root);
}

/* Takes @status. */
static void judge(struct doctor_work *work, json_t *status)
{
    if (!status)
        return;
    doctor_judge_status(work, status);
    json_decref(work->status);
    work->status = status;
}

/* @connack: of the CONNECT; -1: none came. */
static void report_no_status(struct doctor_work *work, int connack)
{
    const char *socket = work->socket;

    if (connack == MQTT_NOT_AUTHORIZED) {
        doctor_add(
            work, DOCTOR_WARNING,
            "run this as a user of access, or give this one an entry, "
            "{ user = \"NAME\"; admin = true; }, and " RELOAD_REMEDY
            "; its status file is used instead",
            "it runs and answers a CONNECT at %s with code 0x%02X: access has no entry for "
            "this user (uid %u)",
            socket, (unsigned)connack, (unsigned)geteuid());
        judge(work, cli_parse_status());
    } else if (connack > 0) {
        doctor_add(work, DOCTOR_FAILED, "look at journalctl -u mqtt-spoold (client_refused)",
                   "it refuses a CONNECT at %s with code 0x%02X: %s", socket, (unsigned)connack,
                   publish_connack_text(connack));
        judge(work, cli_parse_status());
    } else if (connack == 0) {
        doctor_add(work, DOCTOR_FAILED, "try again; look at journalctl -u mqtt-spoold",
                   "it accepts a CONNECT at %s, but does not answer with its status", socket);
    } else {
        doctor_add(work, DOCTOR_FAILED,
                   "look at journalctl -u mqtt-spoold; if a limit on clients is reached, see "
                   "listen.max_clients",
                   "it does not answer a CONNECT at %s", socket);
    }
}

/* Its own may have another name than that of the configuration. */
static void report_no_socket(struct doctor_work *work)
{
    doctor_add(work, DOCTOR_FAILED,
               "if listen.socket was changed since it started: " RESTART_REMEDY
               "; else look at its log for what removed the socket",
               "it runs, but there is no socket %s: a reload does not change listen.socket",
               work->socket);
    judge(work, cli_parse_status());
}

static void report_answer(struct doctor_work *work)
{
    const char *socket = work->socket;
    char remedy[SOCKET_REMEDY_MAX];
    json_t *root = NULL;
    int code, connack;

    if (access(socket, F_OK) < 0 && errno == ENOENT) {
        report_no_socket(work);
        return;
    }
    if (faccessat(AT_FDCWD, socket, W_OK, AT_EACCESS) < 0 && errno == EACCES) {
        doctor_add(work, DOCTOR_SKIPPED, socket_remedy(socket, remedy),
                   "this user may not open %s", socket);
        judge(work, cli_parse_status());
        return;
    }
    cli_silence_errors(true);
    code = control_get_status(socket, &root, &connack);
    cli_silence_errors(false);
    if (code != EX_OK) {
        report_no_status(work, connack);
        return;
    }
    doctor_add(work, DOCTOR_OK, "", "version %s answers a CONNECT at %s",
               text_of(root, "version"), socket);
    judge(work, root);
}

void doctor_step_daemon(struct doctor_work *work)
{
    pid_t pid = cli_daemon_pid();
    struct doctor_user user;

    doctor_begin(work, DOCTOR_DAEMON, DOCTOR_STEP_MS);
    if (!is_running(work)) {
        doctor_add(work, DOCTOR_FAILED,
                   "systemctl start mqtt-spoold; if it ends again: journalctl -u mqtt-spoold",
                   "it does not run: nothing holds the lock of the spool, or no status names a "
                   "process");
        return;
    }
    doctor_user_find(&user);
    if (pid > 0)
        doctor_add(work, DOCTOR_OK, "", "it runs as user %s, process %d", user.name, (int)pid);
    else
        doctor_add(
            work, DOCTOR_WARNING,
            "see whether listen.socket was changed since it started: then " RESTART_REMEDY,
            "it runs, because the lock of the spool is held, but %s names no process",
            cli_status_file());
    check_age(work);
    report_answer(work);
}
