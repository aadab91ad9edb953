/* SPDX-License-Identifier: MIT */
/*
 * judge.h - what the status object of a daemon reports that is not as it should be
 *
 * docs/status.md has the members. One that is not there, or of another type, is no fault: the
 * daemon may be of an earlier version.
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_JUDGE_H
#define MQTT_SPOOLD_CLI_DOCTOR_JUDGE_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/doctor/record.h"

/* One finding about the link, and one for each fault, with its remedy. */
void doctor_judge_status(struct doctor_work *work, const json_t *status);

/* Are new messages refused, or old ones evicted for them, because the disk has no room? */
bool doctor_is_disk_short(const json_t *status);
/* Can the daemon not write its audit file? */
bool doctor_is_audit_waiting(const json_t *status);

#endif
