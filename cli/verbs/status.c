/* SPDX-License-Identifier: MIT */
/*
 * status.c - mqtt-spool status: what the daemon does and what the spool holds
 */
#include "cli/cli.h"

#include "cli/verbs/status_page.h"
#include "cli/verbs/status_source.h"
#include "cli/verbs/watch.h"

#include <stdio.h>
#include <sysexits.h>

static const char help_text[] =
    "Usage: mqtt-spool status [OPTION]...\n"
    "\n"
    "What the daemon does and what the spool holds: now if this user may open the\n"
    "daemon's socket, else as of the last status_interval; a status that is older\n"
    "than a few seconds has its time. Works while the daemon is stopped too, for\n"
    "users that may read the spool.\n"
    "\n"
    "      --json             one JSON object on one line\n"
    "      --watch            on a terminal, in place each second, until q is pressed\n"
    "      --require-running  exit with 69 when the daemon does not run\n"
    "      --directory DIR    the spool, instead of the configured one\n"
    "      --socket PATH      the daemon's socket (its status lies beside it)\n"
    "\n"
    "Exit codes: 0 printed, whatever the status is; 65 the spool is damaged or\n"
    "another program's; 69 there is no spool, or no daemon with --require-running;\n"
    "75 locked, try again; 77 not allowed; 78 configuration.\n";

static int status_print(struct status_source *status, bool is_json)
{
    int code = status_source_load(status);

    if (code == EX_OK && is_json)
        puts(status->text);
    else if (code == EX_OK)
        status_page_print(&(struct status_page){.root = status->root,
                                                .now_ms = cli_now().wall_ms,
                                                .running = status->running,
                                                .is_own = status->is_own});
    return code;
}

int cli_status(const struct cli *cli, int argc, char **argv)
{
    struct status_source status = {.interval_ms = STATUS_SOURCE_INTERVAL_MS};
    bool is_json = false;
    bool is_watch = false;
    const struct cli_option options[] = {
        {.name = "json", .flag = &is_json},
        {.name = "watch", .flag = &is_watch},
        {.name = "require-running", .flag = &status.running_required},
        {.name = "directory", .text = &status.directory},
        {.name = "socket", .text = &status.socket},
        {.name = NULL},
    };
    int code = cli_parse_all("status", help_text, options, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    if (is_watch && is_json)
        return cli_usage("status", "--watch is for people: not with --json");
    code = status_source_configure(&status, cli);
    if (code == EX_OK)
        code = is_watch ? watch_run(&status) : status_print(&status, is_json);
    status_source_done(&status);
    return code;
}
