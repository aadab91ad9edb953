/* SPDX-License-Identifier: MIT */
/*
 * service.h - what systemd sees: readiness, status, watchdog, sockets, journal
 *
 * The only place that knows sd-daemon, the notify socket and journald. Each
 * function does nothing, successfully, if systemd is not there, and none
 * waits for it. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_SERVICE_H
#define MQTT_SPOOLD_DAEMON_HOST_SERVICE_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "store/spool.h"

#define SERVICE_SOCKETS_MAX 16
/* Of outcomes in the journal: so many a second, and so many at once. docs/audit.md names them. */
#define SERVICE_JOURNAL_PER_S 1000
#define SERVICE_JOURNAL_BURST 500

/*
 * service_sockets() - the sockets passed by systemd, whatever they are
 * @fds: set to descriptors the caller owns from then on, closed at exec()
 *
 * Return: how many (0: none); -EINVAL: the variables that say so are no
 * systemd's; -E2BIG: more than SERVICE_SOCKETS_MAX, all closed. Either was logged.
 */
MUST_CHECK int service_sockets(int fds[static SERVICE_SOCKETS_MAX]);

/* service_start() - feeds the watchdog from the loop, sends later what could not be sent at once */
MUST_CHECK int service_start(sd_event *event);
/* After the loop; tries once more to send what waits. */
void service_end(void);

void service_ready(void);
void service_stopping(void);
/* RELOADING=1 with the monotonic time, then service_ready() when done. */
void service_reloading(void);
/* The start takes longer than a start should: up to so much. */
void service_extend_timeout(uint64_t ms);
/* To the watchdog, where the loop does not come round for long. */
void service_feed_watchdog(void);
/* One line for `systemctl status`. */
void service_status(const char *format, ...) PRINTF_LIKE(1, 2);

/* An outcome as a journal entry with MESSAGE_ID and the fields of docs/audit.md. What is above the
 * limit, or is not read in time, is left out and counted. @now_ms: boot time. */
void service_journal_outcome(const struct spool_record *record, int64_t now_ms);
/* Once a second: says how many were left out. */
void service_tick(int64_t now_ms);

#endif
