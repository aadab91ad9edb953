/* SPDX-License-Identifier: MIT */
/*
 * reach.h - where a verb finds the messages: the daemon, or the files of the spool
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_REACH_H
#define MQTT_SPOOLD_CLI_VERBS_REACH_H

#include "base/attr.h"
#include "cli/cli.h"
#include "cli/verbs/control.h"
#include "daemon/config/config.h"
#include "store/spool.h"

/* What was reached; all zero: nothing yet. */
struct reach {
    const char *directory; /* of --directory, else of the configuration; NULL: not looked for */
    const char *socket;    /* of --socket; likewise */
    struct config *config; /* NULL: not read */
    struct control *control; /* NULL: the files */
    struct spool *spool;     /* NULL: the daemon */
};

/* Each returns EX_OK, or the exit code, reported. Free with reach_done() in any case. */
MUST_CHECK int reach_daemon(const struct cli *cli, struct reach *reach);
MUST_CHECK int reach_files(const struct cli *cli, struct reach *reach);
/* The daemon if one runs, else the files; with --directory the files, with --socket the
 * daemon. */
MUST_CHECK int reach_either(const struct cli *cli, struct reach *reach);
void reach_done(struct reach *reach);

#endif
