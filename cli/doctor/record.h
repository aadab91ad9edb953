/* SPDX-License-Identifier: MIT */
/*
 * record.h - what a step of the doctor reports to the process that watches it
 *
 * A step may wait for a disk, a name server or a broker that never answers. So steps run in a
 * worker process, and write records into a pipe; who reads it knows which step is under way
 * and until when, and ends a worker that is late.
 *
 * Invariant: a record is written whole or not at all (it is smaller than PIPE_BUF).
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_RECORD_H
#define MQTT_SPOOLD_CLI_DOCTOR_RECORD_H

#include <jansson.h>
#include <limits.h>

#include "base/attr.h"
#include "cli/doctor/findings.h"
#include "daemon/config/config.h"

enum doctor_record_kind {
    DOCTOR_RECORD_BEGIN, /* a step begins; number: milliseconds that it has */
    DOCTOR_RECORD_FINDING,
    DOCTOR_RECORD_BROKERS, /* number: how many there are */
    DOCTOR_RECORD_GROUP    /* a group of steps has ended; number: which */
};

struct doctor_record {
    enum doctor_record_kind kind;
    unsigned number;
    struct doctor_finding finding; /* BEGIN: step and target only */
};
_Static_assert(sizeof(struct doctor_record) <= PIPE_BUF, "a record is written whole");

/* What the steps of a worker share. */
struct doctor_work {
    const char *config_path;
    const char *client_id; /* NULL: the configured one with "-doctor" */
    const char *probe;     /* the topic; NULL: none */
    struct config *config; /* owned; NULL: not readable */
    const char *socket;    /* of it, or of a daemon that runs; NULL: not known */
    json_t *status;        /* owned: what the daemon answered; NULL: nothing, or not asked */
    int pipe_fd;
    enum doctor_step step;
    const char *target; /* the broker, as in the configuration; "": this machine */
};

/* How long steps may take that normally take no time. */
#define DOCTOR_STEP_MS 20000

void doctor_begin(struct doctor_work *work, enum doctor_step step, unsigned time_ms);
/* A finding of the step that was begun. @remedy: "" if none is needed. */
void doctor_add(struct doctor_work *work,
                enum doctor_result result,
                const char *remedy,
                const char *format,
                ...) PRINTF_LIKE(4, 5);
void doctor_put_number(struct doctor_work *work, enum doctor_record_kind kind, unsigned number);

#endif
