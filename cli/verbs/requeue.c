/* SPDX-License-Identifier: MIT */
/*
 * requeue.c - mqtt-spool requeue: send again what was rejected and is kept aside
 */
#include "cli/cli.h"
#include "cli/verbs/change.h"
#include "cli/verbs/selection.h"

static const char help_text[] =
    "Usage: mqtt-spool requeue SELECTION|--all [OPTION]...\n"
    "\n"
    "Accepts messages again that were rejected and are kept aside (list --rejected),\n"
    "each under a new id; its record has requeued_from. What has expired meanwhile\n"
    "stays where it is.\n"
    "\n" SELECTION_HELP "      --all             all that are kept\n"
    "\n"
    "      --dry-run         count only\n"
    "      --json            one object: command, ok, matched, requeued\n"
    "      --socket PATH     the daemon's socket, instead of the configured one\n"
    "\n"
    "Exit codes: 0 done; 65 the daemon refused it; 69 no daemon runs; 75 try again;\n"
    "77 not allowed; 78 configuration.\n";

int cli_requeue(const struct cli *cli, int argc, char **argv)
{
    static const struct change requeue = {.verb = "requeue",
                                          .help = help_text,
                                          .counted = "requeued",
                                          .ended = SELECTION_NO_PAYLOAD};

    return change_run(&requeue, cli, argc, argv);
}
