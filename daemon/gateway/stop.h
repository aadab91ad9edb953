/* SPDX-License-Identifier: MIT */
/*
 * stop.h - the steps of stopping: a state machine whose every step is bounded in time
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_STOP_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_STOP_H

#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/turn.h"
#include "daemon/uplink/uplink.h"

enum stop_state {
    STOP_SERVING,
    STOP_DRAINING,      /* TERM: what is in flight may still be answered */
    STOP_DISCONNECTING, /* the uplink sends its DISCONNECT */
    STOP_ENDED
};

struct stop {
    struct turn *turn; /* borrowed, all three */
    struct edge_timer *edge_timer;
    struct uplink *uplink;
    enum stop_state state;
    sd_event_source *deadline; /* owned: of this step, then the next one begins */
};

static inline bool stop_has_begun(const struct stop *stop)
{
    return stop->state != STOP_SERVING;
}

/* SIGTERM, once: begins to drain. A deadline that cannot be set is a failure (turn_fail()). */
void stop_begin(struct stop *stop);
/* At each batch edge, so after everything that can bring the end nearer: the next step, if this
 * one has nothing left to wait for. */
void stop_advance(struct stop *stop);
void stop_finish(struct stop *stop);

#endif
