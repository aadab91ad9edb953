/* SPDX-License-Identifier: MIT */
/*
 * steps.h - the steps of the doctor
 *
 * Each begins itself with doctor_begin() and reports at least one finding. work->config is set,
 * except for doctor_step_config(), doctor_step_clock() and doctor_step_proxy();
 * doctor_step_daemon() needs work->socket. Nothing of the spool is changed.
 */
#ifndef MQTT_SPOOLD_CLI_DOCTOR_STEPS_H
#define MQTT_SPOOLD_CLI_DOCTOR_STEPS_H

#include "cli/doctor/record.h"

/* Reads the configuration into work->config, and reports how many brokers it has. */
void doctor_step_config(struct doctor_work *work);
/* The same without a report: for a worker that continues what another one began. */
void doctor_load_config(struct doctor_work *work);

void doctor_step_rights(struct doctor_work *work);
void doctor_step_audit(struct doctor_work *work);
void doctor_step_daemon(struct doctor_work *work);
void doctor_step_sync(struct doctor_work *work);
void doctor_step_space(struct doctor_work *work);
void doctor_step_clock(struct doctor_work *work);
void doctor_step_proxy(struct doctor_work *work);
/* From the name to the probe, of the broker with this number. */
void doctor_step_broker(struct doctor_work *work, unsigned broker);

#endif
