/* SPDX-License-Identifier: MIT */
/*
 * service-private.h - shared by the files of the service only
 *
 *   service.c          sockets, readiness, status, watchdog
 *   outcome_journal.c  outcomes as journal entries
 *
 * service.c calls outcome_journal.c, which calls nothing of service.c.
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_SERVICE_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_HOST_SERVICE_PRIVATE_H

#include "daemon/host/service.h"

/* Once, so much later; NULL: not started, does nothing. */
static inline void service_arm(sd_event_source *timer, uint64_t after_us)
{
    if (timer && sd_event_source_set_time_relative(timer, after_us) >= 0)
        (void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
    /* Else it stays off: without memory the next message tries again. */
}

int service_journal_start(sd_event *event);
void service_journal_end(void);

#endif
