/* SPDX-License-Identifier: MIT */
/*
 * failback.c - a connection by time alone: it has lasted, it is left for another
 *
 * Invariant: a connection is left only when nothing is in flight and the owner does not hold
 * it, so that no message is sent twice for it: before, nothing more is sent. If the attempt at
 * the other broker fails, the broker that was left is connected to again at once. One that
 * accepts no message is left as one that failed.
 *
 * Diagnostics: link_failback, link_renew.
 */
#include <string.h>

#include "base/log.h"
#include "daemon/uplink/uplink-private.h"

/* How often a connection is left for a message that it does not take, without a failback. */
#define OTHER_PAUSE_MS 600000
/* If its attempts fail for so long, no message waits for a broker any more. */
#define AWAY_MS 600000

/* Boot time; INT64_MAX: never. */
static int64_t failback_due_ms(const struct uplink *uplink)
{
    uint64_t failback_ms = uplink->settings->failback_ms;

    if (failback_ms == 0 || uplink->brokers.current == 0)
        return INT64_MAX;
    return uplink->connection.online_ms + (int64_t)failback_ms;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The same, of a message that waits for another broker. */
static int64_t other_due_ms(const struct uplink *uplink)
{
    const struct uplink_brokers *brokers = &uplink->brokers;

    if (!brokers->is_other_wanted)
        return INT64_MAX;
    return later(brokers->other_due_ms, brokers->list[brokers->wanted].next_try_ms);
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

    due_ms = earlier(due_ms, uplink_trial_due_ms(uplink));
    if (uplink->brokers.is_leaving || uplink->brokers.is_leave_held)
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
    uplink->brokers.is_leave_held = false;
    uplink->brokers.is_other_wanted = false;
    uplink->brokers.is_given_up = false;
    uplink_broker(uplink)->away_since_ms = 0;
    set_online_timer(uplink);
}

void uplink_want_other(struct uplink *uplink, size_t other)
{
    if (uplink->state != LINK_ONLINE || uplink->brokers.is_other_wanted)
        return;
    uplink->brokers.is_other_wanted = true;
    uplink->brokers.wanted = other;
    set_online_timer(uplink);
}

/* @renewal: why, if it is the same broker. */
static void leave_for(struct uplink_brokers *brokers, size_t target, const char *renewal)
{
    brokers->target = target;
    brokers->renewal = renewal;
    brokers->is_leaving = true;
}

static void check_leave(struct uplink *uplink)
{
    struct uplink_brokers *brokers = &uplink->brokers;
    int64_t now_ms = uplink_now_ms();
    uint64_t pause_ms = uplink->settings->failback_ms;

    if (now_ms >= failback_due_ms(uplink)) {
        leave_for(brokers, 0, NULL);
    } else if (now_ms >= other_due_ms(uplink)) {
        leave_for(brokers, brokers->wanted, NULL);
        brokers->other_due_ms = now_ms + (int64_t)(pause_ms > 0 ? pause_ms : OTHER_PAUSE_MS);
    } else if (now_ms >= uplink_trial_due_ms(uplink)) {
        leave_for(brokers, brokers->current, "to try MQTT 5 again");
    }
}

static void settle(struct uplink *uplink)
{
    uplink->connection.is_settled = true;
    if (!uplink->connection.is_fruitless && !uplink_is_mute(uplink))
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
    if (!uplink->brokers.is_leaving && !uplink->brokers.is_leave_held)
        check_leave(uplink);
    set_online_timer(uplink);
}

void uplink_hold_leave(struct uplink *uplink, bool is_held)
{
    if (uplink->state != LINK_ONLINE || uplink->brokers.is_leave_held == is_held)
        return;
    uplink->brokers.is_leave_held = is_held;
    set_online_timer(uplink);
}

void uplink_plan_leave(struct uplink *uplink)
{
    if (uplink->state == LINK_ONLINE)
        set_online_timer(uplink);
}

bool uplink_is_away(const struct uplink *uplink, size_t other)
{
    const struct uplink_broker *broker = &uplink->brokers.list[other];

    return broker->away_since_ms > 0 &&
           broker->away_until_ms - broker->away_since_ms >= AWAY_MS;
}

/* May another broker than the current one be tried now? */
static bool is_other_due(const struct uplink_brokers *brokers)
{
    int64_t now_ms = uplink_now_ms();

    for (size_t i = 0; i < brokers->count; i++) {
        if (i != brokers->current && brokers->list[i].next_try_ms <= now_ms)
            return true;
    }
    return false;
}

void uplink_set_refused(struct uplink *uplink, bool is_refused)
{
    struct uplink_brokers *brokers = &uplink->brokers;

    if (uplink->state != LINK_ONLINE || brokers->count < 2)
        return;
    uplink->connection.is_fruitless = is_refused;
    if (is_refused == brokers->is_given_up || (is_refused && !is_other_due(brokers)))
        return;
    brokers->is_given_up = brokers->is_leaving = is_refused;
    uplink->owner.is_change_due = true;
    set_online_timer(uplink);
}

bool uplink_has_old_files(const struct uplink *uplink)
{
    return uplink->state == LINK_ONLINE &&
           uplink_files_mark(uplink->settings) != uplink->retry.files_mark;
}

void uplink_renew(struct uplink *uplink, const char *reason)
{
    leave_for(&uplink->brokers, uplink->brokers.current, reason);
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
    const char *renewal = uplink->brokers.renewal;
    char quoted_from[UPLINK_TEXT_MAX];
    char quoted_to[UPLINK_TEXT_MAX];

    if (renewal)
        log_info("link_renew broker=%s reason=%s",
                 log_quote(quoted_from, sizeof(quoted_from), from, strlen(from)),
                 log_quote(quoted_to, sizeof(quoted_to), renewal, strlen(renewal)));
    else
        log_info("link_failback from=%s to=%s",
                 log_quote(quoted_from, sizeof(quoted_from), from, strlen(from)),
                 log_quote(quoted_to, sizeof(quoted_to), to, strlen(to)));
}
