/* SPDX-License-Identifier: MIT */
/*
 * core.c - the turn's clock, its timers, the one failure, the arming of the batch edge
 *
 * What the other files of the gateway stand on; it needs none of them. What the
 * armed edge does is edge.c's.
 *
 * Invariant: after gateway_fail() nothing is acknowledged, committed or
 * forwarded: what the loop still calls looks at gateway->failed first.
 */
#include <string.h>

#include "daemon/gateway/gateway-private.h"

#define USEC_PER_MS       UINT64_C(1000)
#define TIMER_ACCURACY_US 1000

void gateway_read_clock(struct gateway *gateway)
{
    clock_read(&gateway->now);
}

struct spool_time gateway_spool_time(const struct gateway *gateway)
{
    return (struct spool_time){
        .wall_ms = gateway->now.wall_ms,
        .boot_ms = gateway->now.boot_ms,
        .wall_credible = gateway->now.synchronized,
    };
}

int gateway_add_timer(struct gateway *gateway,
                      uint64_t after_ms,
                      sd_event_time_handler_t handler,
                      int enabled,
                      sd_event_source **ret)
{
    int r = sd_event_add_time(gateway->event, ret, CLOCK_BOOTTIME,
                              clock_boot_us() + after_ms * USEC_PER_MS, TIMER_ACCURACY_US,
                              handler, gateway);
    if (r >= 0)
        r = sd_event_source_set_enabled(*ret, enabled);
    return r;
}

int gateway_set_timer(sd_event_source *timer, uint64_t after_ms)
{
    return sd_event_source_set_time(timer, clock_boot_us() + after_ms * 1000);
}

int gateway_set_deadline(sd_event_source *deadline, uint64_t after_ms)
{
    int r = gateway_set_timer(deadline, after_ms);

    return r < 0 ? r : sd_event_source_set_enabled(deadline, SD_EVENT_ONESHOT);
}

const char *gateway_quote_error(const char *error, char text[static GATEWAY_ERROR_QUOTED_MAX])
{
    return log_quote(text, GATEWAY_ERROR_QUOTED_MAX, error, strlen(error));
}

/* Never acknowledge after this: the loop ends and no session says another word. */
void gateway_fail(struct gateway *gateway, int error, const char *what)
{
    const char *detail = gateway->spool ? spool_error(gateway->spool) : "";
    char text[GATEWAY_ERROR_QUOTED_MAX];

    if (gateway->failed)
        return;
    gateway->failed = true;
    log_error("failed what=%s error=\"%s\" detail=%s acknowledged=no", what, strerror(-error),
              gateway_quote_error(detail, text));
    (void)sd_event_exit(gateway->event, EXIT_FAILURE);
}

void gateway_hasten_edge(struct gateway *gateway)
{
    (void)sd_event_source_set_priority(gateway->edge, SD_EVENT_PRIORITY_IMPORTANT);
}

void gateway_arm_edge(struct gateway *gateway)
{
    if (gateway->edge_armed || gateway->phase == GATEWAY_ENDED)
        return;
    gateway->edge_armed = true;
    int r = sd_event_source_set_enabled(gateway->edge, SD_EVENT_ONESHOT);
    if (r >= 0)
        r = gateway_set_deadline(gateway->edge_deadline, GATEWAY_EDGE_LATEST_MS);
    if (r < 0)
        gateway_fail(gateway, r, "batch_edge");
}

void gateway_arm_edge_later(struct gateway *gateway, uint64_t after_ms)
{
    if (gateway->edge_armed || gateway->edge_awaited || gateway->phase == GATEWAY_ENDED)
        return;
    gateway->edge_awaited = true;
    int r = gateway_set_deadline(gateway->edge_deadline, after_ms);
    if (r < 0)
        gateway_fail(gateway, r, "batch_edge");
}

int gateway_on_edge_deadline(sd_event_source *source, uint64_t usec, void *owner)
{
    struct gateway *gateway = owner;

    (void)source;
    (void)usec;
    gateway_arm_edge(gateway);
    gateway_hasten_edge(gateway);
    return 0;
}
