/*
 * service-private.h - shared by the files of the service only
 *
 *   service.c          sockets, readiness, status, watchdog
 *   service_journal.c  outcomes as journal entries
 */
#ifndef MQTT_SPOOLD_DAEMON_SERVICE_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_SERVICE_PRIVATE_H

#include "service.h"

/* Once, so much later; NULL: not started, does nothing. */
void service_arm(sd_event_source *timer, uint64_t after_us);

int service_journal_start(sd_event *event);
void service_journal_end(void);

#endif
