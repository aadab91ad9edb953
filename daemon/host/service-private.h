/*
 * service-private.h - shared by the files of the service only
 *
 *   service.c          sockets, readiness, status, watchdog
 *   outcome_journal.c  outcomes as journal entries
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_SERVICE_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_HOST_SERVICE_PRIVATE_H

#include "daemon/host/service.h"

/* Once, so much later; NULL: not started, does nothing. */
void service_arm(sd_event_source *timer, uint64_t after_us);

int service_journal_start(sd_event *event);
void service_journal_end(void);

#endif
