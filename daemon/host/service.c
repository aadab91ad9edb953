/* SPDX-License-Identifier: MIT */
/*
 * service.c - what systemd sees: sockets, readiness, status, watchdog
 *
 * Nothing here may stop the gateway or hold it up: if systemd is not there,
 * or does not listen, messages are taken and forwarded anyway. Only sockets whose
 * number cannot be right are an error, because the administrator asked for them;
 * what they are is for the listener to judge.
 *
 * A manager that does not read now gets each state later, in its order and the
 * newest of each kind; a STATUS= line is left out, since the next one says more.
 *
 * The watchdog is fed by a timer of the loop and by nothing else, so that a loop
 * that hangs feeds it no more. sd_event_set_watchdog() would do the same but for
 * sd_notify(), which waits for the manager.
 */
#include "daemon/host/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

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
/* Of the watchdog's time: a ping that is due waits for one turn of the loop, which may be long. */
#define SERVICE_PINGS 4

/* Messages that must not be lost, in the order in which they are sent. */
enum service_message {
    SERVICE_RELOADING,
    SERVICE_STATE, /* ready or stopping */
    SERVICE_NEED_TIME,
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
            (void)close(SD_LISTEN_FDS_START + i); /* nobody owns it */
    }
    return count <= SERVICE_SOCKETS_MAX ? count : -E2BIG;
}

/* ---- state ---- */

/* Return: whether nothing waits any more. */
static bool service_send_waiting(void)
{
    for (int i = 0; i < SERVICE_MESSAGES; i++) {
        if (service.waiting[i][0] == '\0')
            continue;
        if (datagram_may_retry(notify_send(service.waiting[i]))) {
            service_arm(service.retry, SERVICE_RETRY_US);
            return false;
        }
        service.waiting[i][0] = '\0';
    }
    return true;
}

PRINTF_LIKE(2, 3)
static void service_tell(enum service_message message, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(service.waiting[message], SERVICE_MESSAGE_MAX, format,
                    arguments); /* fits */
    va_end(arguments);
    (void)service_send_waiting();
}

/* It is of no use any more. */
static void service_forget(enum service_message message)
{
    service.waiting[message][0] = '\0';
}

void service_ready(void)
{
    service_forget(SERVICE_NEED_TIME);
    service_tell(SERVICE_STATE, "READY=1");
}

void service_stopping(void)
{
    service_forget(SERVICE_RELOADING);
    service_tell(SERVICE_STATE, "STOPPING=1");
}

void service_extend_timeout(uint64_t ms)
{
    service_tell(SERVICE_NEED_TIME, "EXTEND_TIMEOUT_USEC=%" PRIu64, ms * 1000);
}

void service_feed_watchdog(void)
{
    (void)notify_send("WATCHDOG=1"); /* that it does not read now is no reason to wait */
}

/* A READY=1 that still waits belongs behind it, and comes again when the reload is done. */
void service_reloading(void)
{
    service_forget(SERVICE_STATE);
    service_tell(SERVICE_RELOADING, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                 clock_monotonic_us());
}

void service_status(const char *format, ...)
{
    char text[SERVICE_STATUS_MAX];
    char message[SERVICE_STATUS_MAX] = "STATUS=";
    size_t lead = strlen(message);
    va_list arguments;

    va_start(arguments, format);
    text_vformat(text, sizeof(text), format, arguments); /* what is too long is cut */
    va_end(arguments);
    (void)text_show(message + lead, sizeof(message) - lead, text, strlen(text));
    if (service_send_waiting())
        (void)notify_send(message); /* not read now: the next one is */
}

/* ---- by time ---- */

static int service_on_retry(sd_event_source *source, uint64_t usec, void *owner)
{
    (void)source;
    (void)usec;
    (void)owner;
    (void)service_send_waiting();
    return 0;
}

static int service_on_ping(sd_event_source *source, uint64_t usec, void *owner)
{
    (void)usec;
    (void)owner;
    int r = notify_send("WATCHDOG=1");
    service_arm(source, r < 0 ? service.ping_us / SERVICE_PINGS : service.ping_us);
    return 0;
}

/* Before all other sources: what it proves is that the loop turns, not that it is idle. */
static int service_start_watchdog(sd_event *event)
{
    uint64_t limit_us;
    int r = sd_watchdog_enabled(1, &limit_us);

    if (r <= 0)
        return 0; /* not asked for, or not of this process */
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
