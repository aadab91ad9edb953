/* SPDX-License-Identifier: MIT */
/*
 * worker.c - the process in which the steps run
 */
#include "cli/doctor/worker.h"

#include "cli/doctor/findings.h"
#include "cli/doctor/record.h"
#include "cli/doctor/steps.h"
#include "daemon/config/config.h"

#include <stdbool.h>

enum need { NEEDS_NOTHING, NEEDS_SOCKET, NEEDS_CONFIG };

static const struct {
    enum doctor_step step;
    void (*run)(struct doctor_work *work);
    enum need need;
} groups[] = {
    {DOCTOR_CONFIG, doctor_step_config, NEEDS_NOTHING},
    {DOCTOR_RIGHTS, doctor_step_rights, NEEDS_CONFIG},
    {DOCTOR_DAEMON, doctor_step_daemon, NEEDS_SOCKET},
    {DOCTOR_SYNC, doctor_step_sync, NEEDS_CONFIG},
    {DOCTOR_SPACE, doctor_step_space, NEEDS_CONFIG},
    {DOCTOR_CLOCK, doctor_step_clock, NEEDS_NOTHING},
    {DOCTOR_AUDIT, doctor_step_audit, NEEDS_CONFIG},
    {DOCTOR_PROXY, doctor_step_proxy, NEEDS_NOTHING},
};
enum { GROUPS = sizeof(groups) / sizeof(groups[0]) };

unsigned doctor_worker_local_groups(void)
{
    return GROUPS;
}

enum doctor_step doctor_worker_first_step(unsigned group)
{
    return group < GROUPS ? groups[group].step : DOCTOR_DNS;
}

static bool has_what_is_needed(const struct doctor_work *work, enum need need)
{
    return work->config || need == NEEDS_NOTHING || (need == NEEDS_SOCKET && work->socket);
}

static void run_local(struct doctor_work *work, unsigned group)
{
    if (has_what_is_needed(work, groups[group].need)) {
        groups[group].run(work);
        return;
    }
    doctor_begin(work, groups[group].step, DOCTOR_STEP_MS);
    doctor_add(work, DOCTOR_SKIPPED, "", "because of the step configuration");
}

void doctor_worker_run(struct doctor_work *work, unsigned first)
{
    unsigned brokers;

    if (first > 0)
        doctor_load_config(work);
    for (unsigned group = first; group < GROUPS; group++) {
        run_local(work, group);
        doctor_put_number(work, DOCTOR_RECORD_GROUP, group);
    }
    brokers = work->config ? (unsigned)work->config->uplink.broker_count : 0;
    for (unsigned group = first > GROUPS ? first : GROUPS; group - GROUPS < brokers; group++) {
        doctor_step_broker(work, group - GROUPS);
        doctor_put_number(work, DOCTOR_RECORD_GROUP, group);
    }
}
