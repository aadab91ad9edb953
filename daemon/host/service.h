/* SPDX-License-Identifier: MIT */
/*
 * service.h - what systemd sees: readiness, status, watchdog, sockets, journal
 *
 * The only module that uses sd-daemon, the notify socket and journald. Without
 * systemd each function does nothing and succeeds.
 *
 * Invariant: no function waits for systemd. Diagnostics: sockets_refused,
 * journal_limited, journal_dropped, journal_left_out. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_HOST_SERVICE_H
#define MQTT_SPOOLD_DAEMON_HOST_SERVICE_H

#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/attr.h"
#include "store/spool.h"

#define SERVICE_SOCKETS_MAX 16
/* Limits of outcomes in the journal, which docs/audit.md documents: a second, and at once. */
#define SERVICE_JOURNAL_PER_S 1000
#define SERVICE_JOURNAL_BURST 500

/*
 * service_sockets() - the sockets passed by systemd, of any type
 * @fds: set to descriptors the caller owns from then on, closed at exec()
 *
 * Return: how many (0: none); -EINVAL: LISTEN_FDS and LISTEN_PID are malformed;
 * -E2BIG: more than SERVICE_SOCKETS_MAX, all closed. Both errors were logged.
 */
MUST_CHECK int service_sockets(int fds[static SERVICE_SOCKETS_MAX]);

/* Starts the watchdog timer and the timers that retry what could not be sent. @event: borrowed
 * until service_end(). Return: 0 or negative errno. */
MUST_CHECK int service_start(sd_event *event);
/* Call it after the loop: tries once more to send what waits. */
void service_end(void);

void service_ready(void);
void service_stopping(void);
/* RELOADING=1 with the monotonic time; call service_ready() when done. */
void service_reloading(void);
/* The start may take up to @ms from now (EXTEND_TIMEOUT_USEC). */
void service_extend_timeout(uint64_t ms);
/* Feeds the watchdog where the loop is blocked for long. */
void service_feed_watchdog(void);
/* One line for `systemctl status`; dropped if the manager does not read. */
void service_status(const char *format, ...) PRINTF_LIKE(1, 2);

/* Writes @record as a journal entry with MESSAGE_ID and the fields of docs/audit.md. Entries
 * above the limit, or not read in time, are left out and counted. @now_ms: boot time. */
void service_journal_outcome(const struct spool_record *record, int64_t now_ms);
/* Call it once a second: logs how many entries were left out. @now_ms: boot time. */
void service_tick(int64_t now_ms);

#endif
