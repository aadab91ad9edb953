/* SPDX-License-Identifier: MIT */
/*
 * core.c - the state of the uplink, as all of its files see and change it
 *
 * Clock, timer, phase, window and errors. What is here calls no other file of
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

void uplink_timer_set(struct uplink *uplink, int64_t due_boot_ms)
{
    /* Both fail for a source of a loop that has ended only, and then nothing is to come. */
    (void)sd_event_source_set_time(uplink->timer, (uint64_t)due_boot_ms * 1000);
    (void)sd_event_source_set_enabled(uplink->timer, SD_EVENT_ONESHOT);
    uplink->timer_armed = true;
}

void uplink_timer_off(struct uplink *uplink)
{
    (void)sd_event_source_set_enabled(uplink->timer, SD_EVENT_OFF);
    uplink->timer_armed = false;
}

void uplink_timer_set_in(struct uplink *uplink, uint64_t ms)
{
    uplink_timer_set(uplink, uplink_now_ms() + (int64_t)ms);
}

const char *uplink_state_name(enum uplink_state state)
{
    static const char *const names[] = {"idle", "connecting", "online", "closing"};

    return names[state];
}

static enum uplink_state state_of(enum uplink_phase phase)
{
    static const enum uplink_state states[] = {
        [PHASE_STOPPED] = UPLINK_IDLE,         [PHASE_WAITING] = UPLINK_CONNECTING,
        [PHASE_RESOLVING] = UPLINK_CONNECTING, [PHASE_CONNECTING] = UPLINK_CONNECTING,
        [PHASE_ONLINE] = UPLINK_ONLINE,        [PHASE_DROPPING] = UPLINK_CLOSING,
        [PHASE_STOPPING] = UPLINK_CLOSING,
    };

    return states[phase];
}

void uplink_set_phase(struct uplink *uplink, enum uplink_phase phase)
{
    if (state_of(phase) != state_of(uplink->phase))
        uplink->since_boot_ms = uplink_now_ms();
    uplink->phase = phase;
    uplink->room_changed = true;
}

void uplink_note_error(struct uplink *uplink, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text_vformat(uplink->last_error, sizeof(uplink->last_error), format, arguments);
    va_end(arguments);
    uplink->last_error_boot_ms = uplink_now_ms();
}

void uplink_report(struct uplink *uplink)
{
    if (!uplink->room_changed)
        return;
    uplink->room_changed = false;
    uplink->ops->changed(uplink->owner);
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
    return atomic_load_explicit(&uplink->late_answers, memory_order_relaxed);
}

unsigned uplink_window(const struct uplink *uplink)
{
    unsigned window = uplink->slot_count;

    return uplink->limits.receive_maximum < window ? uplink->limits.receive_maximum : window;
}

void uplink_get_link(const struct uplink *uplink, struct uplink_link *ret)
{
    const char *broker = uplink->tried ? uplink->brokers[uplink->broker] : "";

    *ret = (struct uplink_link){.state = state_of(uplink->phase),
                                .last_error_boot_ms = uplink->last_error_boot_ms,
                                .since_boot_ms = uplink->since_boot_ms,
                                .connects = uplink->connects,
                                .late_answers = late_answers(uplink),
                                .in_flight = uplink->in_flight,
                                .window = uplink_window(uplink)};
    (void)snprintf(ret->broker, sizeof(ret->broker), "%s", broker);
    (void)snprintf(ret->last_error, sizeof(ret->last_error), "%s", uplink->last_error);
}

bool uplink_uri_is_tls(const char *uri)
{
    return strncmp(uri, "ssl://", 6) == 0 || strncmp(uri, "mqtts://", 8) == 0;
}
