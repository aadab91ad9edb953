/* SPDX-License-Identifier: MIT */
/*
 * core.c - the state of the uplink, as all of its files see and change it
 *
 * Clock, timer, state, window and errors. What is here calls no other file of
 * the uplink, so each of them may call it. The owner hears of a change in
 * uplink_report() only, which runs when no other work is under way.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "daemon/uplink/uplink-private.h"

struct uplink *uplink_instance;

int64_t uplink_now_ms(void)
{
    return (int64_t)(clock_boot_us() / 1000);
}

void uplink_timer_set(struct uplink_timer *timer, int64_t due_boot_ms)
{
    /* Both fail for a source of a loop that has ended only, and then nothing is to come. */
    (void)sd_event_source_set_time(timer->source, (uint64_t)due_boot_ms * 1000);
    (void)sd_event_source_set_enabled(timer->source, SD_EVENT_ONESHOT);
    timer->is_armed = true;
}

void uplink_timer_off(struct uplink_timer *timer)
{
    (void)sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
    timer->is_armed = false;
}

void uplink_timer_set_in(struct uplink_timer *timer, uint64_t ms)
{
    uplink_timer_set(timer, uplink_now_ms() + (int64_t)ms);
}

const char *uplink_state_name(enum uplink_state state)
{
    static const char *const names[] = {"idle", "connecting", "online", "closing"};

    return names[state];
}

static enum uplink_state state_of(enum uplink_link_state state)
{
    static const enum uplink_state states[] = {
        [LINK_STOPPED] = UPLINK_IDLE,         [LINK_WAITING] = UPLINK_CONNECTING,
        [LINK_RESOLVING] = UPLINK_CONNECTING, [LINK_CONNECTING] = UPLINK_CONNECTING,
        [LINK_ONLINE] = UPLINK_ONLINE,        [LINK_DROPPING] = UPLINK_CLOSING,
        [LINK_STOPPING] = UPLINK_CLOSING,
    };

    return states[state];
}

void uplink_set_state(struct uplink *uplink, enum uplink_link_state state)
{
    if (state_of(state) != state_of(uplink->state))
        uplink->since_boot_ms = uplink_now_ms();
    uplink->state = state;
    uplink->owner.is_change_due = true;
}

void uplink_set_error(struct uplink_error *error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text_vformat(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    error->boot_ms = uplink_now_ms();
}

void uplink_report(struct uplink_owner *owner)
{
    if (!owner->is_change_due)
        return;
    owner->is_change_due = false;
    owner->ops->changed(owner->userdata);
}

struct uplink_limits uplink_no_limits(void)
{
    return (struct uplink_limits){.receive_maximum = UINT16_MAX,
                                  .maximum_qos = 2,
                                  .maximum_packet = UINT32_MAX,
                                  .retain_available = true};
}

static uint64_t late_answers(const struct uplink *uplink)
{
    return atomic_load_explicit(&uplink->slots.late_answers, memory_order_relaxed);
}

unsigned uplink_window(const struct uplink *uplink)
{
    unsigned window = uplink->slots.count;

    return uplink->connection.limits.receive_maximum < window
               ? uplink->connection.limits.receive_maximum
               : window;
}

const char *uplink_broker_uri(const struct uplink *uplink)
{
    return uplink->settings->brokers[uplink->brokers.current];
}

void uplink_get_link(const struct uplink *uplink, struct uplink_link *ret)
{
    const char *broker = uplink->brokers.has_tried ? uplink_broker_uri(uplink) : "";

    *ret = (struct uplink_link){.state = state_of(uplink->state),
                                .last_error_boot_ms = uplink->last_error.boot_ms,
                                .since_boot_ms = uplink->since_boot_ms,
                                .connects = uplink->connects,
                                .late_answers = late_answers(uplink),
                                .in_flight = uplink->slots.in_flight,
                                .window = uplink_window(uplink)};
    (void)snprintf(ret->broker, sizeof(ret->broker), "%s", broker);
    (void)snprintf(ret->last_error, sizeof(ret->last_error), "%s", uplink->last_error.text);
}

bool uplink_uri_is_tls(const char *uri)
{
    return strncmp(uri, "ssl://", 6) == 0 || strncmp(uri, "mqtts://", 8) == 0;
}
