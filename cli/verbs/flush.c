/* SPDX-License-Identifier: MIT */
/*
 * flush.c - mqtt-spool flush: connect and send now
 */
#include "cli/cli.h"
#include "cli/verbs/command.h"

static const char help_text[] =
    "Usage: mqtt-spool flush [OPTION]...\n"
    "\n"
    "Ends pauses of the daemon: it connects to the broker now, and tries again now\n"
    "what waits after a refusal.\n"
    "\n"
    "      --json         one object: command, ok\n"
    "      --socket PATH  the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 69 no daemon runs; 75 try again; 77 not allowed; 78\n"
    "configuration.\n";

int cli_flush(const struct cli *cli, int argc, char **argv)
{
    static const struct command_verb flush = {.name = "flush", .help = help_text};

    return command_run(&flush, cli, argc, argv);
}
