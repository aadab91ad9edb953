/* SPDX-License-Identifier: MIT */
/*
 * edge_timer.c - when the batch edge runs
 *
 * Invariant: an edge that is armed or awaited runs by its deadline, however busy
 * the loop is.
 */
#include "daemon/gateway/edge_timer.h"

#include "daemon/gateway/limits.h"

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct edge_timer *timer = userdata;

    (void)source;
    (void)usec;
    edge_timer_arm(timer);
    (void)sd_event_source_set_priority(timer->source, SD_EVENT_PRIORITY_IMPORTANT);
    return 0;
}

int edge_timer_init(struct edge_timer *timer,
                    struct turn *turn,
                    sd_event_handler_t handler,
                    void *userdata)
{
    timer->turn = turn;
    int r = sd_event_add_defer(turn->event, &timer->source, handler, userdata);

    if (r >= 0)
        r = sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_source_set_priority(timer->source, SD_EVENT_PRIORITY_IDLE);
    if (r >= 0)
        r = turn_add_timer(turn, GATEWAY_EDGE_LATEST_MS, on_deadline, timer, SD_EVENT_OFF,
                           &timer->deadline);
    if (r >= 0)
        r = sd_event_source_set_priority(timer->deadline, SD_EVENT_PRIORITY_IMPORTANT);
    return r < 0 ? r : 0;
}

void edge_timer_finish(struct edge_timer *timer)
{
    timer->source = sd_event_source_disable_unref(timer->source);
    timer->deadline = sd_event_source_disable_unref(timer->deadline);
}

void edge_timer_postpone(struct edge_timer *timer)
{
    int r = timer->is_armed ? turn_set_deadline(timer->deadline, GATEWAY_EDGE_LATEST_MS) : 0;

    if (r < 0)
        turn_fail(timer->turn, r, "batch_edge");
}

void edge_timer_arm(struct edge_timer *timer)
{
    if (timer->is_armed || timer->is_closed)
        return;
    timer->is_armed = true;
    int r = sd_event_source_set_enabled(timer->source, SD_EVENT_ONESHOT);
    if (r >= 0)
        r = turn_set_deadline(timer->deadline, GATEWAY_EDGE_LATEST_MS);
    if (r < 0)
        turn_fail(timer->turn, r, "batch_edge");
}

void edge_timer_arm_later(struct edge_timer *timer, uint64_t after_ms)
{
    if (timer->is_armed || timer->is_awaited || timer->is_closed)
        return;
    timer->is_awaited = true;
    int r = turn_set_deadline(timer->deadline, after_ms);
    if (r < 0)
        turn_fail(timer->turn, r, "batch_edge");
}

void edge_timer_set_urgent(struct edge_timer *timer)
{
    timer->is_urgent = true;
}

void edge_timer_arm_urgent(struct edge_timer *timer)
{
    edge_timer_set_urgent(timer);
    edge_timer_arm(timer);
}

void edge_timer_arm_next(struct edge_timer *timer)
{
    edge_timer_arm(timer);
    (void)sd_event_source_set_priority(timer->source, SD_EVENT_PRIORITY_IMPORTANT);
}

void edge_timer_begin(struct edge_timer *timer)
{
    timer->is_armed = timer->is_awaited = false;
    (void)sd_event_source_set_priority(timer->source, SD_EVENT_PRIORITY_IDLE);
    (void)sd_event_source_set_enabled(timer->deadline, SD_EVENT_OFF);
}

void edge_timer_close(struct edge_timer *timer)
{
    timer->is_closed = true;
}
