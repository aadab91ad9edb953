/* SPDX-License-Identifier: MIT */
/*
 * core.c - what all files of the uplink use: clock, timer, last error, window, owner
 *
 * Invariant: what is here calls no other file of the uplink, so each of them may call it.
 * Only uplink_report() calls the owner for a change, when no other work is under way.
 */
#include <stdarg.h>
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
    /* Both fail only if the loop has ended, and then nothing is due. */
    (void)sd_event_source_set_time(timer->source, (uint64_t)due_boot_ms * 1000);
    (void)sd_event_source_set_enabled(timer->source, SD_EVENT_ONESHOT);
    timer->is_armed = true;
    timer->due_ms = due_boot_ms;
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

void uplink_set_error(struct uplink_error *error, const char *remedy, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text_vformat(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    error->remedy = remedy;
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

unsigned uplink_window(const struct uplink *uplink)
{
    unsigned announced = uplink->connection.limits.receive_maximum;
    unsigned window = uplink->slots.count;

    if (announced < window)
        window = announced;
    return uplink->connection.window > 0 && uplink->connection.window < window
               ? uplink->connection.window
               : window;
}

bool uplink_is_connected(const struct uplink *uplink)
{
    return uplink->state == LINK_ONLINE || uplink->state == LINK_PARTING ||
           uplink->state == LINK_DROPPING || uplink->state == LINK_STOPPING;
}

const char *uplink_broker_uri(const struct uplink *uplink)
{
    return uplink->settings->brokers[uplink->brokers.current];
}

void uplink_tls_paths(const struct uplink_settings *settings,
                      const char *ret_paths[static TLS_FILES])
{
    ret_paths[TLS_CA] = settings->tls.ca_file;
    ret_paths[TLS_CERTIFICATE] = settings->tls.cert_file;
    ret_paths[TLS_KEY] = settings->tls.key_file;
}

bool uplink_uri_is_tls(const char *uri)
{
    return strncmp(uri, "ssl://", 6) == 0 || strncmp(uri, "mqtts://", 8) == 0;
}
