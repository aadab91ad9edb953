/* SPDX-License-Identifier: MIT */
/*
 * change.h - what drop and requeue share: commands that change selected messages
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_CHANGE_H
#define MQTT_SPOOLD_CLI_VERBS_CHANGE_H

#include <stdbool.h>

#include "base/attr.h"
#include "cli/cli.h"

struct change {
    const char *verb;
    const char *help;
    const char *counted; /* the member of the answer: "dropped" */
    bool asks;           /* on a terminal, and needs --yes without one */
    const char *ended;   /* why it is not for a message that has ended; begins with "one" */
};

/* Parses the arguments, asks if it has to, and prints what the daemon did. */
MUST_CHECK int
change_run(const struct change *change, const struct cli *cli, int argc, char **argv);

#endif
