/* SPDX-License-Identifier: MIT */
/*
 * step_broker.c - one broker, from its name to the probe
 */
#include "cli/doctor/broker.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/net.h"
#include "cli/doctor/record.h"
#include "cli/doctor/steps.h"
#include "cli/doctor/stream.h"
#include "daemon/config/config.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

/* By enum doctor_step, from DOCTOR_DNS on; each needs the one before. */
static bool (*const makers[])(struct broker_walk *walk) = {
    broker_resolve,
    broker_connect_tcp,
    broker_make_tls,
    broker_connect_mqtt,
};
enum { MAKERS = sizeof(makers) / sizeof(makers[0]) };

static void skip_rest(struct doctor_work *work, enum doctor_step failed)
{
    for (enum doctor_step step = failed + 1; step < DOCTOR_STEPS; step++) {
        doctor_begin(work, step, DOCTOR_STEP_MS);
        doctor_add(work, DOCTOR_SKIPPED, "", "because of the step %s",
                   doctor_step_name(failed));
    }
}

void doctor_step_broker(struct doctor_work *work, unsigned broker)
{
    struct broker_walk *walk = calloc(1, sizeof(*walk));
    enum doctor_step step = DOCTOR_DNS;

    work->target = work->config->uplink.brokers[broker];
    if (!walk) {
        doctor_begin(work, step, DOCTOR_STEP_MS);
        doctor_add(work, DOCTOR_FAILED, "free memory", "out of memory");
        return;
    }
    walk->work = work;
    walk->stream.fd = -1;
    net_parse(work->target, &walk->place);
    while (step < DOCTOR_DNS + MAKERS && makers[step - DOCTOR_DNS](walk))
        step++;
    if (step < DOCTOR_DNS + MAKERS) {
        skip_rest(work, step);
    } else {
        broker_report_announced(walk);
        broker_send_probe(walk);
    }
    stream_close(&walk->stream);
    if (walk->addresses)
        freeaddrinfo(walk->addresses);
    explicit_bzero(walk, sizeof(*walk));
    free(walk);
    work->target = "";
}
