/* SPDX-License-Identifier: MIT */
/*
 * log_level.c - mqtt-spool log-level: how much the daemon logs
 */

#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/verbs/command.h"

static const char help_text[] =
    "Usage: mqtt-spool log-level LEVEL [OPTION]...\n"
    "\n"
    "How much the daemon logs from now on, until it is restarted or re-reads its\n"
    "configuration: error, warning, notice, info or debug.\n"
    "\n"
    "      --json         one object: command, ok\n"
    "      --socket PATH  the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 64 no such level; 69 no daemon runs; 75 try again; 77 not\n"
    "allowed; 78 configuration.\n";

static bool is_level(const char *text)
{
    static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};

    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
        if (strcmp(levels[i], text) == 0)
            return true;
    }
    return false;
}

int cli_log_level(const struct cli *cli, int argc, char **argv)
{
    struct command_options command = {0};
    struct command_member level = {.name = "level"};
    const struct cli_option options[] = {
        {.name = "json", .flag = &command.is_json},
        {.name = "socket", .text = &command.socket},
        {.name = NULL},
    };
    int code = cli_parse("log-level", help_text, options, argc, argv);

    if (code != CLI_CONTINUE)
        return code;
    if (argc - optind != 1)
        return cli_usage("log-level", "give one level");
    level.text = argv[optind];
    if (!is_level(level.text))
        return cli_usage("log-level",
                         "the level is error, warning, notice, info or debug, not \"%s\"",
                         level.text);
    return command_simple(cli, &command, "log_level", &level,
                          "The daemon logs at this level now.");
}
