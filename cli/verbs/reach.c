/* SPDX-License-Identifier: MIT */
/*
 * reach.c - where a verb finds the messages: the daemon, or the files of the spool
 *
 * Only the daemon knows what is in flight, so it is asked while it runs. Whether it does is
 * known by its lock: to connect would start it where systemd listens. Or by its status file, if
 * it runs with another folder than that of the configuration, which waits for a restart.
 */
#include "cli/verbs/reach.h"

#include <errno.h>
#include <sysexits.h>

#include "daemon/config/config.h"

int reach_daemon(const struct cli *cli, struct reach *reach)
{
    static const char *const needed[] = {"listen.socket", NULL};

    if (!reach->socket) {
        int code = cli_find_socket(cli, needed, "--socket PATH", CLI_IF_RUNNING, &reach->config,
                                   &reach->socket);
        if (code != EX_OK)
            return code;
    }
    return control_open(reach->socket, &reach->control);
}

int reach_files(const struct cli *cli, struct reach *reach)
{
    static const char *const needed[] = {"spool.directory", NULL};

    if (!reach->directory) {
        int code = cli_load_config(cli, needed, "--directory DIR", &reach->config);
        if (code != EX_OK)
            return code;
        reach->directory = reach->config->spool.directory;
    }
    return cli_open_spool(reach->directory, &reach->spool);
}

int reach_either(const struct cli *cli, struct reach *reach)
{
    static const char *const needed[] = {"spool.directory", "listen.socket", NULL};

    if (reach->directory)
        return reach_files(cli, reach);
    if (reach->socket)
        return reach_daemon(cli, reach);
    int code = cli_find_socket(cli, needed, "--directory DIR or --socket PATH", CLI_IF_RUNNING,
                               &reach->config, &reach->socket);
    if (code != EX_OK)
        return code;
    if (!reach->config)
        return reach_daemon(cli, reach);
    const char *directory = reach->config->spool.directory;
    bool is_hidden = !cli_may_read(directory) && errno == EACCES;
    if (!is_hidden && !spool_is_in_use(directory) && !cli_restart_waits("spool.directory")) {
        reach->directory = directory;
        return reach_files(cli, reach);
    }
    code = reach_daemon(cli, reach);
    /* Without a daemon it is the right to the files that is missing. */
    return is_hidden && code == EX_UNAVAILABLE ? cli_report_open_error(directory, -EACCES)
                                               : code;
}

void reach_done(struct reach *reach)
{
    control_close(reach->control);
    spool_close(reach->spool);
    config_free(reach->config);
    *reach = (struct reach){0};
}
