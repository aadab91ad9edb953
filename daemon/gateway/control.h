/* SPDX-License-Identifier: MIT */
/*
 * control.h - commands of operators, by messages to $CONTROL/spool/v1
 *
 * docs/control.md has the commands. Each is a job from its PUBLISH to its answer:
 *
 *   - what only looks is acknowledged at once;
 *   - what changes something is acknowledged, and answered, after the commit that
 *     holds all of it and after the sync of its line in the audit file. Until then
 *     nothing more is read from its client;
 *   - drop and requeue take steps, one a batch, one job at a time. A client that
 *     leaves before its acknowledgement ends its job, between two steps.
 *
 * Bounds: CONTROL_CLIENT_JOBS_MAX jobs of a client, each with a request and its Correlation
 * Data, and fewer of what takes long (control_admit.c). A client that reads no answers keeps
 * its job until another one needs the place.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_CONTROL_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attr.h"
#include "daemon/gateway/clients.h"
#include "daemon/ingress/connection.h"

#define CONTROL_TOPIC "$CONTROL/spool/v1"
/* Of one client, which other clients do not notice. */
#define CONTROL_CLIENT_JOBS_MAX 16

struct gateway;
struct control_job;
TAILQ_HEAD(control_jobs, control_job);

struct control {
    struct control_jobs jobs; /* in the order in which they came */
    unsigned count;
    uint64_t pass;            /* of control_answer() */
    uint64_t accepted;        /* messages since the start, at the last step */
    int64_t accepted_boot_ms; /* when that number last rose */
    int64_t stepped_boot_ms;
};

void control_init(struct control *control);
/* What has not ended does not. */
void control_finish(struct control *control);

/* A PUBLISH to CONTROL_TOPIC, of an administrator. */
struct connection_verdict control_on_publish(struct gateway *gateway,
                                             struct client *client,
                                             const struct connection_publish *publish);
/* There is room in the client's output again. */
void control_on_writable(struct gateway *gateway, const struct client *client);
void control_on_closed(struct gateway *gateway, const struct client *client);
/* Does a PUBLISH of it wait for its job? */
bool control_is_awaited(const struct gateway *gateway, const struct client *client);
/* The access list has changed: what is under way for those that are no administrators any
 * more ends with its next step. */
void control_apply_access(struct gateway *gateway);

/* A step of the job that takes steps, in the open batch. Return: 0; negative errno. */
MUST_CHECK int control_step(struct gateway *gateway);
/* The batch was committed, or is lost. */
void control_note_commit(struct gateway *gateway, bool is_committed);
/* After the export to the audit file: acknowledges and answers what is done. */
void control_answer(struct gateway *gateway);
/* The daemon stops: what takes steps ends with the next commit, and what waits is not done. */
void control_stop(struct gateway *gateway);

#endif
