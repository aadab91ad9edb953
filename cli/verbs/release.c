/* SPDX-License-Identifier: MIT */
/*
 * release.c - mqtt-spool release: resume sending, of everything or of one lane
 */
#include "cli/cli.h"
#include "cli/verbs/command.h"

static const char help_text[] =
    "Usage: mqtt-spool release [OPTION]...\n"
    "\n"
    "Resumes sending after hold. Without --lane it ends every hold: of all lanes\n"
    "together, and of lanes that were held alone.\n"
    "\n"
    "      --lane NAME    of this lane only; not while all are held together\n"
    "      --json         one object: command, ok\n"
    "      --socket PATH  the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 65 no such lane; 69 no daemon runs; 75 try again; 77 not\n"
    "allowed; 78 configuration.\n";

int cli_release(const struct cli *cli, int argc, char **argv)
{
    static const struct command_verb release = {
        .name = "release",
        .help = help_text,
        .done = "Released: messages of all lanes are sent again, also of those that were held "
                "alone.",
        .lane_done = {"Released: messages of lane", "are sent again."},
    };

    return command_run(&release, cli, argc, argv);
}
