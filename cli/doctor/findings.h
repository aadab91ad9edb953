/* SPDX-License-Identifier: MIT */
/*
 * findings.h - what the doctor found, and the page of it
 *
 * A finding belongs to a step; steps stand in the order that a message takes. Every text may
 * have bytes from outside: it is escaped where it is printed.
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_FINDINGS_H
#define MQTT_SPOOLD_CLI_DOCTOR_FINDINGS_H

#include <stddef.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/json.h"

enum doctor_step {
    DOCTOR_CONFIG,
    DOCTOR_RIGHTS,
    DOCTOR_DAEMON,
    DOCTOR_SYNC,
    DOCTOR_SPACE,
    DOCTOR_CLOCK,
    DOCTOR_AUDIT,
    DOCTOR_PROXY,
    /* for each broker */
    DOCTOR_DNS,
    DOCTOR_TCP,
    DOCTOR_TLS,
    DOCTOR_CONNECT,
    DOCTOR_ANNOUNCED,
    DOCTOR_PROBE,
    DOCTOR_STEPS
};

enum doctor_result { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAILED, DOCTOR_SKIPPED };

#define DOCTOR_TARGET_MAX 192
#define DOCTOR_SEEN_MAX   1024
#define DOCTOR_REMEDY_MAX 512
/* Findings that are kept; more are only counted. */
#define DOCTOR_FINDINGS_MAX 1024

struct doctor_finding {
    enum doctor_step step;
    enum doctor_result result;
    char target[DOCTOR_TARGET_MAX]; /* the broker; "": this machine */
    char seen[DOCTOR_SEEN_MAX];
    char remedy[DOCTOR_REMEDY_MAX]; /* "": none is needed */
};

struct doctor_findings {
    struct doctor_finding *all; /* owned */
    size_t count;
    unsigned failed;
    unsigned warnings;
};

/* In words of the page, and the member "step" of JSON. */
const char *doctor_step_name(enum doctor_step step);
/* What to do if the step does not end within its time. */
const char *doctor_step_hang_remedy(enum doctor_step step);

/* Copies @finding. Return: 0; -ENOMEM; -ENOBUFS: counted, and not kept. */
MUST_CHECK int doctor_findings_add(struct doctor_findings *findings,
                                   const struct doctor_finding *finding);
void doctor_findings_done(struct doctor_findings *findings);

/* A page of 80 columns. */
void doctor_findings_print(FILE *stream, const struct doctor_findings *findings);
/* The members of an object that is open. */
void doctor_findings_write(struct json *json, const struct doctor_findings *findings);
/* Bytes that doctor_findings_write() needs at the most. */
size_t doctor_findings_json_size(const struct doctor_findings *findings);

#endif
