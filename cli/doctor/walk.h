/* SPDX-License-Identifier: MIT */
/*
 * walk.h - all steps of the doctor, within a time
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_WALK_H
#define MQTT_SPOOLD_CLI_DOCTOR_WALK_H

#include <stdint.h>

#include "base/attr.h"
#include "cli/doctor/findings.h"

struct doctor_request {
    const char *config_path;
    const char *client_id; /* NULL: the configured one with "-doctor" */
    const char *probe;     /* the topic; NULL: none */
    uint64_t timeout_ms;   /* of all steps together */
};

#define DOCTOR_TIMEOUT_S 120

/*
 * doctor_walk() - makes all steps
 * @ret: what they found; free with doctor_findings_done(), also after a failure
 *
 * Ends within the time of the request, whatever a disk, a name server or a broker does.
 * Return: 0; negative errno: no worker could be started.
 */
MUST_CHECK int doctor_walk(const struct doctor_request *request, struct doctor_findings *ret);

#endif
