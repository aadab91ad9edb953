/* SPDX-License-Identifier: MIT */
/*
 * rotate.c - mqtt-spool rotate: the daemon opens its audit file again
 */
#include "cli/cli.h"
#include "cli/verbs/command.h"

static const char help_text[] =
    "Usage: mqtt-spool rotate [OPTION]...\n"
    "\n"
    "Has the daemon open its audit file again, after that was renamed: for logrotate.\n"
    "\n"
    "      --json         one object: command, ok\n"
    "      --socket PATH  the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 69 no daemon runs; 75 try again; 77 not allowed; 78\n"
    "configuration.\n";

int cli_rotate(const struct cli *cli, int argc, char **argv)
{
    static const struct command_verb rotate = {
        .name = "rotate",
        .help = help_text,
        .done = "The daemon has opened its audit file again.",
    };

    return command_run(&rotate, cli, argc, argv);
}
