/* SPDX-License-Identifier: MIT */
/*
 * worker.h - the process in which the steps run
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_WORKER_H
#define MQTT_SPOOLD_CLI_DOCTOR_WORKER_H

#include "cli/doctor/findings.h"
#include "cli/doctor/record.h"

/* Groups are numbered; this many are of the machine, and each broker is one after them. */
unsigned doctor_worker_local_groups(void);
/* The first step of the group. */
enum doctor_step doctor_worker_first_step(unsigned group);
/* Runs the groups from @first on; work->config is read first if a group before that did it. */
void doctor_worker_run(struct doctor_work *work, unsigned first);

#endif
