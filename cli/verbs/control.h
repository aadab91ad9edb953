/* SPDX-License-Identifier: MIT */
/*
 * control.h - requests to the daemon, as docs/control.md says
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_CONTROL_H
#define MQTT_SPOOLD_CLI_VERBS_CONTROL_H

#include <jansson.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/view.h"

#define CONTROL_REQUEST_MAX ((size_t)64 * 1024)

struct control;

/* @answer: an object, valid during the call. Return: EX_OK to continue; else the exit code,
 * reported. */
typedef int control_answer_fn(void *userdata, json_t *answer);

/*
 * control_open() - connects to the daemon and asks for its answers
 * @ret: set on success; free with control_close()
 *
 * The daemon has half a minute to accept the connection, and to answer as long as it is there:
 * a command may have to change a million messages.
 *
 * Return: EX_OK; EX_UNAVAILABLE: no daemon; EX_NOPERM: this user is no admin; EX_TEMPFAIL. All
 *         are reported.
 */
MUST_CHECK int control_open(const char *socket, struct control **ret);
/* NULL is accepted. */
void control_close(struct control *control);

/*
 * control_request() - sends a request and calls @fn for each answer to it
 * @request: text of JSON, at most CONTROL_REQUEST_MAX bytes
 *
 * Return: EX_OK; what @fn returned; EX_NOPERM; EX_DATAERR: the daemon refused the request;
 *         EX_TEMPFAIL; EX_UNAVAILABLE. All are reported.
 */
MUST_CHECK int control_request(struct control *control,
                               struct view request,
                               control_answer_fn *fn,
                               void *userdata);

/*
 * control_get_status() - the status of now, which each client may subscribe to
 * @ret:         set on success to an object; free with json_decref()
 * @ret_connack: NULL, or set in any case: the reason code of the CONNACK; -1: none came
 *
 * The daemon has two seconds to accept the connection, and two to answer.
 *
 * Return: EX_OK; EX_UNAVAILABLE, EX_NOPERM or EX_TEMPFAIL, reported.
 */
MUST_CHECK int control_get_status(const char *socket, json_t **ret, int *ret_connack);

#endif
