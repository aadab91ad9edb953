/*
 * service.h - what systemd sees: readiness, status, watchdog, sockets, journal
 *
 * The only place that knows sd-daemon and sd-journal. Each function does
 * nothing, successfully, where systemd is not there.
 */
#ifndef MQTT_SPOOLD_DAEMON_SERVICE_H
#define MQTT_SPOOLD_DAEMON_SERVICE_H

#include <stddef.h>

#include "cleanup.h"
#include "store/spool.h"

#define SERVICE_SOCKETS_MAX 16

/*
 * service_sockets() - the sockets passed by systemd, whatever they are
 * @fds: set to descriptors the caller owns from then on, closed at exec()
 *
 * Return: how many (0: none); -EINVAL: the variables that say so are no
 * systemd's; -E2BIG: more than SERVICE_SOCKETS_MAX, all closed. Either was logged.
 */
MUST_CHECK int service_sockets(int fds[static SERVICE_SOCKETS_MAX]);

void service_ready(void);
void service_stopping(void);
/* RELOADING=1 with the monotonic time, then service_ready() when done. */
void service_reloading(void);
/* The start takes longer than a start should: up to so much. */
void service_need_time(uint64_t ms);
/* To the watchdog, where the loop does not come round for long. */
void service_alive(void);
/* One line for `systemctl status`. */
void service_status(const char *format, ...) PRINTF_LIKE(1, 2);

/* An outcome as a journal entry with MESSAGE_ID and the fields of docs/audit.md. */
void service_journal_outcome(const struct spool_record *record);

#endif
