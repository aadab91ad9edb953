/* SPDX-License-Identifier: MIT */
/*
 * hold.c - mqtt-spool hold: stop sending, of everything or of one lane
 */
#include "cli/cli.h"
#include "cli/verbs/command.h"

static const char help_text[] =
    "Usage: mqtt-spool hold [OPTION]...\n"
    "\n"
    "Stops sending: of all lanes, or of one. Messages are still accepted, and what is\n"
    "in flight gets its answer. A hold survives a restart, and lasts until release.\n"
    "\n"
    "      --lane NAME    of this lane only\n"
    "      --json         one object: command, ok\n"
    "      --socket PATH  the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 65 no such lane; 69 no daemon runs; 75 try again; 77 not\n"
    "allowed; 78 configuration.\n";

int cli_hold(const struct cli *cli, int argc, char **argv)
{
    static const struct command_verb hold = {
        .name = "hold",
        .help = help_text,
        .done = "Held: nothing is sent until mqtt-spool release. What comes in waits.",
        .lane_done = {"Held: nothing of lane",
                      "is sent until mqtt-spool release. What comes in waits."},
    };

    return command_run(&hold, cli, argc, argv);
}
