/* SPDX-License-Identifier: MIT */
/*
 * service.c - what systemd sees: sockets, readiness, status, watchdog
 *
 * Nothing here may stop or delay the gateway: if systemd is absent or does not
 * read, messages are accepted and forwarded anyway. Only an impossible number of
 * sockets is an error, because the administrator configured them; the listener
 * checks their types.
 *
 * A manager that does not read now gets each state later, in order and only the
 * newest of each kind; a STATUS= line is dropped, because the next one replaces it.
 *
 * The watchdog is fed by a timer of the loop, so that a loop that hangs feeds it
 * no more. sd_event_set_watchdog() would do the same, but uses sd_notify(), which
 * waits for the manager.
 *
 * Diagnostics: sockets_refused.
 */
#include "daemon/host/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/host/datagram.h"
#include "daemon/host/notify.h"
#include "daemon/host/service-private.h"

#define SERVICE_STATUS_MAX  512
#define SERVICE_MESSAGE_MAX 96
#define SERVICE_RETRY_US    UINT64_C(250000)
#define SERVICE_ACCURACY_US 1000
/* Pings in the watchdog's time: a ping may be late by one turn of the loop, which may be
 * long. */
#define SERVICE_PINGS 4

/* Messages that must not be lost, in the order in which they are sent. */
enum service_message {
    SERVICE_RELOADING,
    SERVICE_STATE, /* ready or stopping */
    SERVICE_EXTEND_TIMEOUT,
    SERVICE_MESSAGES
};

static struct {
    char waiting[SERVICE_MESSAGES][SERVICE_MESSAGE_MAX]; /* "": none */
    sd_event_source *retry;
    sd_event_source *watchdog;
    uint64_t ping_us;
} service;

/* ---- sockets ---- */

int service_sockets(int fds[static SERVICE_SOCKETS_MAX])
{
    int count = sd_listen_fds(1);

    if (count < 0) {
        log_error("sockets_refused error=\"%s\" remedy=\"LISTEN_FDS and LISTEN_PID are set by "
                  "something else than systemd: unset them\"",
                  strerror(-count));
        return -EINVAL;
    }
    if (count > SERVICE_SOCKETS_MAX)
        log_error("sockets_refused passed=%d limit=%d remedy=\"remove ListenStream= lines from "
                  "the socket unit\"",
                  count, SERVICE_SOCKETS_MAX);
    for (int i = 0; i < count; i++) {
        if (count <= SERVICE_SOCKETS_MAX)
            fds[i] = SD_LISTEN_FDS_START + i;
        else
            (void)close(SD_LISTEN_FDS_START + i); /* not used */
    }
    return count <= SERVICE_SOCKETS_MAX ? count : -E2BIG;
}

/* ---- state ---- */

/* Return: does nothing wait any more? */
static bool service_send_waiting(void)
{
    for (int i = 0; i < SERVICE_MESSAGES; i++) {
        if (service.waiting[i][0] == '\0')
            continue;
        if (datagram_may_retry(notify_send(service.waiting[i]))) {
            service_timer_start(service.retry, SERVICE_RETRY_US);
            return false;
        }
        service.waiting[i][0] = '\0';
    }
    return true;
}

PRINTF_LIKE(2, 3)
static void service_queue_state(enum service_message message, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(service.waiting[message], SERVICE_MESSAGE_MAX, format,
                    arguments); /* fits */
    va_end(arguments);
    (void)service_send_waiting();
}

/* It is obsolete. */
static void service_drop_state(enum service_message message)
{
    service.waiting[message][0] = '\0';
}

void service_ready(void)
{
    service_drop_state(SERVICE_EXTEND_TIMEOUT);
    service_queue_state(SERVICE_STATE, "READY=1");
}

void service_stopping(void)
{
    service_drop_state(SERVICE_RELOADING);
    service_queue_state(SERVICE_STATE, "STOPPING=1");
}

void service_extend_timeout(uint64_t ms)
{
    service_queue_state(SERVICE_EXTEND_TIMEOUT, "EXTEND_TIMEOUT_USEC=%" PRIu64, ms * 1000);
}

void service_feed_watchdog(void)
{
    (void)notify_send("WATCHDOG=1"); /* that it does not read now is no reason to wait */
}

/* A READY=1 that still waits would be sent after it; the end of the reload sends another. */
void service_reloading(void)
{
    service_drop_state(SERVICE_STATE);
    service_queue_state(SERVICE_RELOADING, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                        clock_monotonic_us());
}

void service_status(const char *format, ...)
{
    char text[SERVICE_STATUS_MAX];
    char message[SERVICE_STATUS_MAX] = "STATUS=";
    size_t lead = strlen(message);
    va_list arguments;

    va_start(arguments, format);
    text_vformat(text, sizeof(text), format, arguments); /* cuts what is too long */
    va_end(arguments);
    (void)text_show(message + lead, sizeof(message) - lead, text, strlen(text));
    if (service_send_waiting())
        (void)notify_send(message); /* not sent: the next one replaces it */
}

/* ---- by time ---- */

static int service_on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    (void)userdata;
    (void)service_send_waiting();
    return 0;
}

static int service_on_ping(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)usec;
    (void)userdata;
    int r = notify_send("WATCHDOG=1");
    service_timer_start(source, r < 0 ? service.ping_us / SERVICE_PINGS : service.ping_us);
    return 0;
}

/* Before all other sources, because it proves that the loop turns, not that it is idle. */
static int service_start_watchdog(sd_event *event)
{
    uint64_t limit_us;
    int r = sd_watchdog_enabled(1, &limit_us);

    if (r <= 0)
        return 0; /* not enabled, or not for this process */
    service.ping_us = limit_us / SERVICE_PINGS;
    r = sd_event_add_time_relative(event, &service.watchdog, CLOCK_MONOTONIC, 0,
                                   SERVICE_ACCURACY_US, service_on_ping, NULL);
    if (r >= 0)
        r = sd_event_source_set_priority(service.watchdog, SD_EVENT_PRIORITY_IMPORTANT - 1);
    return r < 0 ? r : 0;
}

int service_start(sd_event *event)
{
    int r = sd_event_add_time_relative(event, &service.retry, CLOCK_MONOTONIC, SERVICE_RETRY_US,
                                       SERVICE_ACCURACY_US, service_on_retry, NULL);

    if (r >= 0)
        r = service_start_watchdog(event);
    if (r >= 0)
        r = service_journal_start(event);
    return r < 0 ? r : 0;
}

void service_end(void)
{
    (void)service_send_waiting();
    service_journal_end();
    service.retry = sd_event_source_disable_unref(service.retry);
    service.watchdog = sd_event_source_disable_unref(service.watchdog);
}
