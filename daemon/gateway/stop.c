/* SPDX-License-Identifier: MIT */
/*
 * stop.c - the steps of stopping
 *
 * There are three, each bounded: DRAINING gives what is in flight
 * GATEWAY_DRAIN_MS to be answered; DISCONNECTING lets the uplink say goodbye
 * (Paho looks at its timers every 3 s only, hence the bound); ENDED commits
 * what was settled and leaves the loop. What is still open stays in the spool
 * and is sent again after the next start.
 *
 * Invariant: the phase only moves forward.
 */
#include "daemon/gateway/gateway-private.h"

#define DISCONNECT_MS 4500

static int on_stop_timer(sd_event_source *source, uint64_t usec, void *owner);

void gateway_set_stop_timer(struct gateway *gateway, uint64_t after_ms)
{
    gateway->stop_timer = sd_event_source_disable_unref(gateway->stop_timer);
    int r = gateway_add_timer(gateway, after_ms, on_stop_timer, SD_EVENT_ONESHOT,
                              &gateway->stop_timer);
    if (r < 0)
        gateway_fail(gateway, r, "stop_timer");
}

static void disconnect(struct gateway *gateway)
{
    gateway->phase = GATEWAY_DISCONNECTING;
    gateway_set_stop_timer(gateway, DISCONNECT_MS);
    uplink_stop(gateway->uplink);
}

static void end(struct gateway *gateway)
{
    gateway->phase = GATEWAY_ENDED;
    (void)sd_event_exit(gateway->event, EXIT_SUCCESS);
}

static int on_stop_timer(sd_event_source *source, uint64_t usec, void *owner)
{
    struct gateway *gateway = owner;

    (void)source;
    (void)usec;
    if (gateway->phase == GATEWAY_DRAINING)
        disconnect(gateway);
    else
        end(gateway);
    return 0;
}

/* Called at each batch edge, so after everything that can bring the end nearer. */
void gateway_stop_further(struct gateway *gateway)
{
    struct uplink_link link;

    if (gateway->phase == GATEWAY_SERVING || gateway->phase == GATEWAY_ENDED || gateway->failed)
        return;
    uplink_get_link(gateway->uplink, &link);
    if (gateway->phase == GATEWAY_DRAINING && link.in_flight == 0)
        disconnect(gateway);
    uplink_get_link(gateway->uplink, &link);
    if (gateway->phase == GATEWAY_DISCONNECTING && link.state == UPLINK_IDLE &&
        !gateway->edge_armed)
        end(gateway);
}
