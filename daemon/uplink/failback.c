/* SPDX-License-Identifier: MIT */
/*
 * failback.c - a connection by time alone: it has lasted, it is left for another
 *
 * Invariant: a connection is left only when nothing is in flight, so that no message is sent
 * twice for it: before, nothing more is sent. If the attempt at the other broker fails, the
 * broker that was left is connected to again at once.
 *
 * Diagnostics: link_failback, link_renew.
 */
#include <string.h>

#include "base/log.h"
#include "daemon/uplink/uplink-private.h"

/* How often a connection is left for a message that it does not take, without a failback. */
#define OTHER_PAUSE_MS 600000

/* Boot time; INT64_MAX: never. */
static int64_t failback_due_ms(const struct uplink *uplink)
{
    uint64_t failback_ms = uplink->settings->failback_ms;

    if (failback_ms == 0 || uplink->brokers.current == 0)
        return INT64_MAX;
    return uplink->connection.online_ms + (int64_t)failback_ms;
}

/* The same, of a message that waits for another broker. */
static int64_t other_due_ms(const struct uplink *uplink)
{
    return uplink->brokers.is_other_wanted ? uplink->brokers.other_due_ms : INT64_MAX;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void set_online_timer(struct uplink *uplink)
{
    struct uplink_timer *timer = &uplink->retry.online_timer;
    int64_t settle_ms = uplink->connection.online_ms + uplink_lasting_ms(uplink->settings);
    int64_t due_ms = earlier(failback_due_ms(uplink), other_due_ms(uplink));

    if (uplink->brokers.is_leaving)
        due_ms = INT64_MAX;
    if (!uplink->connection.is_settled)
        due_ms = earlier(due_ms, settle_ms);
    if (due_ms < INT64_MAX)
        uplink_timer_set(timer, due_ms);
}

void uplink_note_online(struct uplink *uplink)
{
    uplink->brokers.has_home = false;
    uplink->brokers.is_leaving = false;
    uplink->brokers.is_other_wanted = false;
    set_online_timer(uplink);
}

void uplink_want_other(struct uplink *uplink, size_t other)
{
    if (uplink->brokers.is_other_wanted)
        return;
    uplink->brokers.is_other_wanted = true;
    uplink->brokers.wanted = other;
    set_online_timer(uplink);
}

static void leave_for(struct uplink_brokers *brokers, size_t target)
{
    brokers->target = target;
    brokers->is_renewal = target == brokers->current;
    brokers->is_leaving = true;
}

static void check_leave(struct uplink *uplink)
{
    struct uplink_brokers *brokers = &uplink->brokers;
    int64_t now_ms = uplink_now_ms();
    uint64_t pause_ms = uplink->settings->failback_ms;

    if (now_ms >= failback_due_ms(uplink)) {
        leave_for(brokers, 0);
    } else if (now_ms >= other_due_ms(uplink)) {
        leave_for(brokers, brokers->wanted);
        brokers->other_due_ms = now_ms + (int64_t)(pause_ms > 0 ? pause_ms : OTHER_PAUSE_MS);
    }
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
    if (!uplink->brokers.is_leaving)
        check_leave(uplink);
    set_online_timer(uplink);
}

bool uplink_has_old_files(const struct uplink *uplink)
{
    return uplink->state == LINK_ONLINE &&
           uplink_files_mark(uplink->settings) != uplink->retry.files_mark;
}

void uplink_renew(struct uplink *uplink)
{
    leave_for(&uplink->brokers, uplink->brokers.current);
}

bool uplink_is_leave_due(const struct uplink *uplink)
{
    return uplink->state == LINK_ONLINE && uplink->brokers.is_leaving &&
           uplink->slots.in_flight == 0;
}

void uplink_log_leave(const struct uplink *uplink)
{
    const char *from = uplink_broker_uri(uplink);
    const char *to = uplink->settings->brokers[uplink->brokers.target];
    char quoted_from[UPLINK_TEXT_MAX];
    char quoted_to[UPLINK_TEXT_MAX];

    if (uplink->brokers.is_renewal)
        log_info("link_renew broker=%s reason=\"files were replaced\"",
                 log_quote(quoted_from, sizeof(quoted_from), from, strlen(from)));
    else
        log_info("link_failback from=%s to=%s",
                 log_quote(quoted_from, sizeof(quoted_from), from, strlen(from)),
                 log_quote(quoted_to, sizeof(quoted_to), to, strlen(to)));
}
