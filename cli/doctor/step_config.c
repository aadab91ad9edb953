/* SPDX-License-Identifier: MIT */
/*
 * step_config.c - is the configuration one that the daemon starts with?
 *
 * The daemon's own code reads it. What can be read of a wrong one is used for the other steps,
 * because the cause of a fault may be there.
 */
#include "cli/cli.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/record.h"
#include "cli/doctor/steps.h"
#include "daemon/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const char *const needed[] = {"spool.directory", "listen.socket", NULL};

static void load_partly(struct doctor_work *work)
{
    char error[CONFIG_ERROR_MAX];

    if (config_load_needed(work->config_path, needed, &work->config, error) != 0)
        work->config = NULL;
}

static void find_socket(struct doctor_work *work)
{
    if (!work->config) {
        work->socket = cli_find_default_daemon(work->config_path);
        return;
    }
    work->socket = work->config->listen.socket;
    cli_set_socket(work->socket);
}

void doctor_load_config(struct doctor_work *work)
{
    char error[CONFIG_ERROR_MAX];

    if (config_load(work->config_path, &work->config, error) != 0)
        load_partly(work);
    find_socket(work);
}

static void report_unreadable(struct doctor_work *work, int error)
{
    const char *remedy = "name the daemon's file: mqtt-spool -c FILE doctor";

    if (error == EACCES)
        remedy = "run this as root: sudo mqtt-spool doctor";
    else if (error == ENOENT)
        remedy = "name the daemon's file: mqtt-spool -c FILE doctor; or write one, beginning "
                 "with the sample in /usr/share/mqtt-spoold";
    doctor_add(work, DOCTOR_FAILED, remedy, "cannot read %s: %s", work->config_path,
               strerror(error));
}

static void report_loaded(struct doctor_work *work)
{
    const struct config *config = work->config;

    doctor_add(work, DOCTOR_OK, "", "%s is good: %zu broker%s, %zu lane%s besides default",
               work->config_path, config->uplink.broker_count,
               cli_plural(config->uplink.broker_count), config->lane_count,
               cli_plural(config->lane_count));
    for (size_t i = 0; i < config->warning_count; i++)
        doctor_add(work, DOCTOR_WARNING, config->warnings[i].remedy, "%s: %s: %s",
                   config->warnings[i].place, config->warnings[i].key,
                   config->warnings[i].text);
    for (size_t i = 0; i < config->unread.count; i++) {
        char text[CONFIG_ERROR_MAX];

        config_describe_unread(&config->unread, i, text);
        doctor_add(work, DOCTOR_OK, "", "%s", text);
    }
    if (config->uplink.password_file[0] != '\0' && config->uplink.username[0] == '\0')
        doctor_add(work, DOCTOR_WARNING,
                   "most brokers want both: name the user, or leave the password out",
                   "uplink.username is empty, although uplink.password_file is set");
}

static const char *get_remedy(const struct doctor_work *work)
{
    if (work->config)
        return "correct it: the daemon does not start with it. The rest of the file is used "
               "for the steps below";
    return work->socket ? "correct it: the daemon does not start again with it. The one that "
                          "runs with the default socket is asked below"
                        : "correct it: the daemon does not start with it";
}

void doctor_step_config(struct doctor_work *work)
{
    char error[CONFIG_ERROR_MAX];
    int result;

    doctor_begin(work, DOCTOR_CONFIG, DOCTOR_STEP_MS);
    if (faccessat(AT_FDCWD, work->config_path, R_OK, AT_EACCESS) < 0) {
        report_unreadable(work, errno);
        find_socket(work);
        return;
    }
    result = config_load(work->config_path, &work->config, error);
    if (result == 0) {
        find_socket(work);
        report_loaded(work);
    } else {
        work->config = NULL;
        load_partly(work);
        find_socket(work);
        doctor_add(work, DOCTOR_FAILED, get_remedy(work), "%s",
                   result == -EINVAL ? error : strerror(-result));
    }
    if (work->config)
        doctor_put_number(work, DOCTOR_RECORD_BROKERS,
                          (unsigned)work->config->uplink.broker_count);
}
