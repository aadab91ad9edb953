/* SPDX-License-Identifier: MIT */
/*
 * request.h - what an operator asks of the daemon, read from JSON
 *
 * A request is one JSON object, the payload of a message to $CONTROL/spool/v1:
 * {"command": NAME, ...}. Each command has members of its own; any other one is an
 * error, because a selection with a member that was misspelled would take more
 * messages than the operator meant.
 *
 * Bounds: REQUEST_MAX bytes of text, REQUEST_MEMORY_MAX bytes while it is read,
 * whatever it nests; of the request itself, what its texts and ids take.
 *
 * Logs nothing. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_CONTROL_REQUEST_H
#define MQTT_SPOOLD_DAEMON_CONTROL_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"

#define REQUEST_MAX        ((size_t)64 * 1024)
#define REQUEST_MEMORY_MAX ((size_t)3 * 1024 * 1024)
#define REQUEST_ERROR_MAX  384

enum request_command {
    REQUEST_STATUS,
    REQUEST_FLUSH,
    REQUEST_HOLD,
    REQUEST_RELEASE,
    REQUEST_DROP,
    REQUEST_REQUEUE,
    REQUEST_LIST,
    REQUEST_SHOW,
    REQUEST_LOG_LEVEL,
    REQUEST_ROTATE,
    REQUEST_COMMANDS
};

/* Which messages; what is absent does not narrow. Texts are UTF-8 without NUL. */
struct request_selection {
    uint64_t *ids; /* owned, as the texts are; NULL: any */
    size_t id_count;
    char *lane;  /* NULL: any, as the texts that follow */
    char *topic; /* a valid filter? that is for the caller to check */
    char *client;
    char *user;            /* a uid in digits, or a name */
    int64_t older_than_ms; /* -1: any age */
    bool takes_all;        /* "all": true, with nothing else */
};

struct request {
    enum request_command command;
    struct request_selection selection; /* of hold and release: its lane only */
    uint64_t id;                        /* of show */
    uint64_t limit;                     /* of list; UINT64_MAX: none */
    int level;                          /* of log_level: enum log_level */
    bool is_dry_run;
    bool wants_rejected; /* list */
    bool wants_payload;  /* show */
};

const char *request_command_name(enum request_command command);
/* Does it change something, so that it gets an administrative line? A dry run does not. */
bool request_changes(const struct request *request);
/* The word of an enum log_level. */
const char *request_level_name(int level);

/*
 * request_parse() - read a request
 * @ret:   set on success; free it with request_finish(). On failure only ret->command, and
 *         only if @ret_has_command
 * @ret_has_command: is the command known, whatever else is wrong?
 * @error: on failure, what is wrong and what is right
 *
 * Return: 0; REQUEST_E_INVALID; -ENOMEM.
 */
enum { REQUEST_E_INVALID = 1 };
MUST_CHECK int request_parse(struct view text,
                             struct request *ret,
                             bool *ret_has_command,
                             char error[static REQUEST_ERROR_MAX]);
/* Frees what it owns. All zero is accepted. */
void request_finish(struct request *request);

#endif
