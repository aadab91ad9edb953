/* SPDX-License-Identifier: MIT */
/*
 * service-private.h - what the files of the service share
 *
 *   service.c          sockets, readiness, status, watchdog
 *   outcome_journal.c  outcomes as journal entries
 *
 * service.c calls outcome_journal.c, which calls nothing of service.c.
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_SERVICE_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_HOST_SERVICE_PRIVATE_H

#include <stdint.h>
#include <systemd/sd-event.h>

/* Fires once after @after_us; does nothing if @timer is NULL (not started). */
static inline void service_timer_start(sd_event_source *timer, uint64_t after_us)
{
    if (timer && sd_event_source_set_time_relative(timer, after_us) >= 0)
        (void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
    /* Without memory it stays off, and the next message tries again. */
}

int service_journal_start(sd_event *event);
void service_journal_end(void);

#endif
