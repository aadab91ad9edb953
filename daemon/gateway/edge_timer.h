/* SPDX-License-Identifier: MIT */
/*
 * edge_timer.h - when the batch edge runs
 *
 * The edge is a source of idle priority: armed, it runs when no socket is ready,
 * and after GATEWAY_EDGE_LATEST_MS at the latest. edge.c has what it does.
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_EDGE_TIMER_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_EDGE_TIMER_H

#include "base/attr.h"
#include "daemon/gateway/turn.h"

struct edge_timer {
    struct turn *turn;         /* borrowed */
    sd_event_source *source;   /* idle priority, or at once */
    sd_event_source *deadline; /* so that a busy loop cannot starve it */
    bool is_armed;
    bool is_awaited; /* not armed, but the deadline will */
    bool is_closed;
    bool is_urgent; /* the next edge commits, whatever spool.commit_interval says */
};

/* @handler: of the edge; it is not armed yet. Return: 0; negative errno. */
MUST_CHECK int edge_timer_init(struct edge_timer *timer,
                               struct turn *turn,
                               sd_event_handler_t handler,
                               void *userdata);
void edge_timer_finish(struct edge_timer *timer);

void edge_timer_arm(struct edge_timer *timer);
/* For work that no producer waits for; an append meanwhile arms the edge anyway. */
void edge_timer_arm_later(struct edge_timer *timer, uint64_t after_ms);
/* What waits must not wait for spool.commit_interval. Arms nothing. */
void edge_timer_set_urgent(struct edge_timer *timer);
/* Both: it is armed, and commits. */
void edge_timer_arm_urgent(struct edge_timer *timer);
/* It is armed, and runs before any socket. */
void edge_timer_arm_next(struct edge_timer *timer);
/* Its deadline counts from now on. */
void edge_timer_postpone(struct edge_timer *timer);
/* The edge runs now: it may be armed again. */
void edge_timer_begin(struct edge_timer *timer);
/* No edge any more: arming it does nothing. */
void edge_timer_close(struct edge_timer *timer);

#endif
