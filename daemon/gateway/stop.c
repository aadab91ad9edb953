/* SPDX-License-Identifier: MIT */
/*
 * stop.c - the steps of stopping
 *
 * There are three, each bounded: DRAINING gives what is in flight
 * GATEWAY_DRAIN_MS to be answered; DISCONNECTING lets the uplink send its
 * DISCONNECT (Paho looks at its timers every 3 s only, hence the bound); ENDED
 * leaves the loop, after which what was settled is committed. What is still open
 * stays in the spool and is sent again after the next start.
 *
 * Invariant: the state only moves forward.
 */
#include "daemon/gateway/stop.h"

#include <stdlib.h>

#include "daemon/gateway/gateway.h"

#define DISCONNECT_MS 4500

static int on_stop_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void set_stop_timer(struct stop *stop, uint64_t after_ms)
{
    stop->timer = sd_event_source_disable_unref(stop->timer);
    int r = turn_add_timer(stop->turn, after_ms, on_stop_timer, stop, SD_EVENT_ONESHOT,
                           &stop->timer);
    if (r < 0)
        turn_fail(stop->turn, r, "stop_timer");
}

static void stop_disconnect(struct stop *stop)
{
    stop->state = STOP_DISCONNECTING;
    set_stop_timer(stop, DISCONNECT_MS);
    uplink_stop(stop->uplink);
}

static void stop_end(struct stop *stop)
{
    stop->state = STOP_ENDED;
    edge_timer_close(stop->edge_timer);
    (void)sd_event_exit(stop->turn->event, EXIT_SUCCESS);
}

static int on_stop_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct stop *stop = userdata;

    (void)source;
    (void)usec;
    if (stop->state == STOP_DRAINING)
        stop_disconnect(stop);
    else
        stop_end(stop);
    return 0;
}

void stop_begin(struct stop *stop)
{
    stop->state = STOP_DRAINING;
    set_stop_timer(stop, GATEWAY_DRAIN_MS);
}

void stop_advance(struct stop *stop)
{
    struct uplink_link link;

    if (stop->state == STOP_SERVING || stop->state == STOP_ENDED || stop->turn->has_failed)
        return;
    uplink_get_link(stop->uplink, &link);
    if (stop->state == STOP_DRAINING && link.in_flight == 0)
        stop_disconnect(stop);
    uplink_get_link(stop->uplink, &link);
    if (stop->state == STOP_DISCONNECTING && link.state == UPLINK_IDLE &&
        !stop->edge_timer->is_armed)
        stop_end(stop);
}

void stop_finish(struct stop *stop)
{
    stop->timer = sd_event_source_disable_unref(stop->timer);
}
