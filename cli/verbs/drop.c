/* SPDX-License-Identifier: MIT */
/*
 * drop.c - mqtt-spool drop: end messages by the operator's will
 */
#include "cli/cli.h"
#include "cli/verbs/change.h"
#include "cli/verbs/selection.h"

static const char help_text[] =
    "Usage: mqtt-spool drop SELECTION|--all [OPTION]...\n"
    "\n"
    "Ends messages: each gets a record with outcome dropped and reason operator. What\n"
    "is in flight to the broker stays, and is counted. Asks on a terminal.\n"
    "\n" SELECTION_HELP "      --all             all messages\n"
    "\n"
    "      --dry-run         count only\n"
    "      --yes             do not ask; needed where there is no terminal\n"
    "      --json            one object: command, ok, matched, dropped, in_flight\n"
    "      --socket PATH     the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 65 the daemon refused it; 69 no daemon runs; 75 try again;\n"
    "77 not allowed; 78 configuration.\n";

int cli_drop(const struct cli *cli, int argc, char **argv)
{
    static const struct change drop = {.verb = "drop",
                                       .help = help_text,
                                       .counted = "dropped",
                                       .ended = "one that has ended already cannot be dropped",
                                       .asks = true};

    return change_run(&drop, cli, argc, argv);
}
