/* SPDX-License-Identifier: MIT */
/*
 * stop.c - the steps of stopping
 *
 * A state machine with one way through it; each step has a deadline, so a stop
 * takes GATEWAY_DRAIN_MS and DISCONNECT_MS at the most:
 *
 *   serving        until SIGTERM
 *   draining       what is in flight may still be answered; nothing is accepted or
 *                  forwarded any more
 *   disconnecting  the uplink sends its DISCONNECT (Paho looks at its timers every
 *                  3 s only, hence the bound)
 *   ended          the loop ends with exit code 0; gateway_free() commits what was
 *                  settled
 *
 * What is still open stays in the spool and is sent again after the next start.
 *
 * Invariants, checked after each move: a step that waits has its deadline set; no
 * batch edge runs once it has ended. A failure ends the loop from any state and
 * moves nothing.
 */
#include "daemon/gateway/stop.h"

#include <stdlib.h>

#include "base/states.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/turn.h"

#define DISCONNECT_MS 4500

static const char *const names[] = {
    [STOP_SERVING] = "serving",
    [STOP_DRAINING] = "draining",
    [STOP_DISCONNECTING] = "disconnecting",
    [STOP_ENDED] = "ended",
};
static const uint32_t may_follow[] = {
    [STOP_SERVING] = STATES_BIT(STOP_DRAINING),
    [STOP_DRAINING] = STATES_BIT(STOP_DISCONNECTING),
    [STOP_DISCONNECTING] = STATES_BIT(STOP_ENDED),
    [STOP_ENDED] = 0,
};
static const struct states stop_states = {
    .machine = "stop",
    .names = names,
    .may_follow = may_follow,
    .count = sizeof(names) / sizeof(names[0]),
};

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata);

static void set_deadline(struct stop *stop, uint64_t after_ms)
{
    int r = turn_add_timer(stop->turn, after_ms, on_deadline, stop, SD_EVENT_ONESHOT,
                           &stop->deadline);

    if (r < 0)
        turn_fail(stop->turn, r, "stop_timer");
}

/* What is always true in the state. */
static bool is_consistent(const struct stop *stop)
{
    switch (stop->state) {
    case STOP_SERVING:
        return !stop->deadline;
    case STOP_DRAINING:
    case STOP_DISCONNECTING:
        return stop->deadline || stop->turn->has_failed;
    case STOP_ENDED:
        return !stop->deadline && stop->edge_timer->is_closed;
    }
    return false;
}

/* The only place that changes the state; what the new one begins with follows. */
static void stop_move(struct stop *stop, enum stop_state next)
{
    states_check(&stop_states, stop->state, next);
    stop->state = next;
    stop->deadline = sd_event_source_disable_unref(stop->deadline);
    if (next == STOP_DRAINING)
        set_deadline(stop, GATEWAY_DRAIN_MS);
    else if (next == STOP_DISCONNECTING)
        set_deadline(stop, DISCONNECT_MS);
    else if (next == STOP_ENDED)
        edge_timer_close(stop->edge_timer);
    states_require(&stop_states, next, is_consistent(stop));
}

static void stop_disconnect(struct stop *stop)
{
    stop_move(stop, STOP_DISCONNECTING);
    uplink_stop(stop->uplink);
}

static void stop_end(struct stop *stop)
{
    stop_move(stop, STOP_ENDED);
    (void)sd_event_exit(stop->turn->event, EXIT_SUCCESS);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
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
    stop_move(stop, STOP_DRAINING);
}

void stop_advance(struct stop *stop)
{
    struct uplink_link link;

    if (stop->turn->has_failed)
        return;
    uplink_get_link(stop->uplink, &link);
    if (stop->state == STOP_DRAINING && link.in_flight == 0) {
        stop_disconnect(stop);
        uplink_get_link(stop->uplink, &link);
    }
    if (stop->state == STOP_DISCONNECTING && link.state == UPLINK_IDLE &&
        !stop->edge_timer->is_armed)
        stop_end(stop);
}

void stop_finish(struct stop *stop)
{
    stop->deadline = sd_event_source_disable_unref(stop->deadline);
}
