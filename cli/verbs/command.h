/* SPDX-License-Identifier: MIT */
/*
 * command.h - requests to the daemon that the verbs share
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_COMMAND_H
#define MQTT_SPOOLD_CLI_VERBS_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "cli/cli.h"
#include "cli/verbs/control.h"
#include "cli/verbs/selection.h"

/* Of --socket and --json. */
struct command_options {
    const char *socket;
    bool is_json;
};

/* A member of a request that is a text; NULL: there is none. */
struct command_member {
    const char *name;
    const char *text;
};

/*
 * command_simple() - a request without a selection, and what came of it
 * @done: the line for a person; NULL, of flush: what it does, as far as nothing is held
 *
 * Return: EX_OK; the exit code, reported.
 */
MUST_CHECK int command_simple(const struct cli *cli,
                              const struct command_options *options,
                              const char *name,
                              const struct command_member *member,
                              const char *done);

/* A verb that is a request without a selection, for all or for one lane. */
struct command_verb {
    const char *name; /* of the command, too */
    const char *help;
    const char *done;         /* see command_simple() */
    const char *lane_done[2]; /* the same, before and behind the lane; NULL: no --lane */
};

/* Parses the arguments, sends the request and prints what came of it. Return: the exit code,
 * reported. */
MUST_CHECK int
command_run(const struct command_verb *verb, const struct cli *cli, int argc, char **argv);

/* A request for selected messages. */
struct command {
    const char *name;
    const struct selection *selection;
    bool is_dry_run;
    bool wants_rejected;
    uint64_t limit; /* 0: none */
};

/*
 * command_selected() - a request for selected messages
 * @fn: gets each answer
 *
 * More ids than a request has room for become several requests.
 * Return: EX_OK; the exit code, reported.
 */
MUST_CHECK int command_selected(struct control *control,
                                const struct command *command,
                                control_answer_fn *fn,
                                void *userdata);

/* An answer on standard output, a line of JSON. Return: EX_OK; EX_UNAVAILABLE, reported. */
MUST_CHECK int command_print_json(const json_t *answer);

#endif
