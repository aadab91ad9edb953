/* SPDX-License-Identifier: MIT */
/*
 * failback.c - a connection by time alone: it has lasted, it is left for another
 *
 * Invariant: a connection is left only when nothing is in flight, so that no message is sent
 * twice for it: before, nothing more is sent. If the attempt at the other broker fails, the
 * broker that was left is connected to again at once.
 *
 * Diagnostics: link_failback.
 */
#include <string.h>

#include "base/log.h"
#include "daemon/uplink/uplink-private.h"

/* Boot time; INT64_MAX: never. */
static int64_t failback_due_ms(const struct uplink *uplink)
{
    uint64_t failback_ms = uplink->settings->failback_ms;

    if (failback_ms == 0 || uplink->brokers.current == 0)
        return INT64_MAX;
    return uplink->connection.online_ms + (int64_t)failback_ms;
}

static void set_online_timer(struct uplink *uplink)
{
    struct uplink_timer *timer = &uplink->retry.online_timer;
    int64_t settle_ms = uplink->connection.online_ms + uplink_lasting_ms(uplink->settings);
    int64_t failback_ms = failback_due_ms(uplink);

    if (!uplink->connection.is_settled)
        uplink_timer_set(timer, settle_ms < failback_ms ? settle_ms : failback_ms);
    else if (failback_ms < INT64_MAX && !uplink->brokers.is_leaving)
        uplink_timer_set(timer, failback_ms);
}

void uplink_note_online(struct uplink *uplink)
{
    uplink->brokers.has_home = false;
    uplink->brokers.is_leaving = false;
    set_online_timer(uplink);
}

static void settle(struct uplink *uplink)
{
    uplink->connection.is_settled = true;
    uplink_forgive(uplink_broker(uplink));
    if (!uplink->connection.is_online_logged)
        uplink_log_online(uplink, true);
}

void uplink_on_online_timer(struct uplink *uplink)
{
    if (uplink->state != LINK_ONLINE)
        return;
    if (!uplink->connection.is_settled && uplink_has_lasted(uplink))
        settle(uplink);
    if (!uplink->brokers.is_leaving && uplink_now_ms() >= failback_due_ms(uplink)) {
        uplink->brokers.target = 0;
        uplink->brokers.is_leaving = true;
    }
    set_online_timer(uplink);
}

bool uplink_is_leave_due(const struct uplink *uplink)
{
    return uplink->state == LINK_ONLINE && uplink->brokers.is_leaving &&
           uplink->slots.in_flight == 0;
}

void uplink_log_failback(const struct uplink *uplink)
{
    const char *from = uplink_broker_uri(uplink);
    const char *to = uplink->settings->brokers[uplink->brokers.target];
    char quoted_from[UPLINK_TEXT_MAX];
    char quoted_to[UPLINK_TEXT_MAX];

    log_info("link_failback from=%s to=%s",
             log_quote(quoted_from, sizeof(quoted_from), from, strlen(from)),
             log_quote(quoted_to, sizeof(quoted_to), to, strlen(to)));
}
