/* SPDX-License-Identifier: MIT */
/*
 * forward.c - out: what is committed goes to the broker, and what its answers make of it
 *
 *   forward_run          hands over what is committed while the window has room
 *   on_refill            the same between two batch edges
 *   forward_on_answer    the broker's answer: settle, or pending again
 *
 * The window counts what is in flight and what is settled but not committed: both
 * are sent again after a crash, so that repeats one window of messages at the most.
 *
 * Invariant: nothing is forwarded before the commit that makes it true; nor if
 * its end could not be recorded: after a start, and after a commit that had no
 * room, not before one has succeeded, which each tick tries.
 *
 * verdict.c decides what follows from an answer; here it is done.
 *
 * Diagnostics: broker_refuses, link_refused, link_accepts, message_suspected,
 * message_acquitted, message_poison, answer_without_token.
 */
#include "daemon/gateway/forward.h"

#include <inttypes.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/failpoint.h"
#include "base/view.h"
#include "daemon/gateway/careful.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/poison.h"
#include "daemon/gateway/refusal.h"
#include "daemon/gateway/shape.h"
#include "daemon/gateway/turn.h"
#include "daemon/gateway/verdict.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"

/* An id that is not in flight is logged and ignored. */
static int settle_ignore_unknown(struct forward *forward, uint64_t id, int r)
{
    uint64_t suppressed = 0;

    if (r != SPOOL_E_UNKNOWN)
        return r;
    turn_read_clock(forward->turn);
    if (log_limit_pass(&forward->token_warnings, forward->turn->now.boot_ms, &suppressed))
        log_error("answer_without_token id=%" PRIu64 " ignored=yes suppressed=%" PRIu64
                  " remedy=\"report it if it happens again\"",
                  id, suppressed);
    return 0;
}

/* Occupies the window until the commit, because it would be sent again after a crash. */
static int
forward_settle(struct forward *forward, uint64_t id, const struct spool_verdict *verdict)
{
    int r = spool_settle(forward->spool, id, verdict);

    if (r == 0) {
        forward->counters->ended++;
        forward->settled++;
    }
    return settle_ignore_unknown(forward, id, r);
}

/* What this broker can never accept is settled, else it would block its lane for ever. */
static int
forward_reject(struct forward *forward, uint64_t id, enum spool_reason reason, int code)
{
    const struct spool_verdict verdict = {SPOOL_REJECTED, reason, code};

    return forward_settle(forward, id, &verdict);
}

/* The same of one that was handed out and was not sent. */
static int
reject_unsent(struct forward *forward, uint64_t id, enum spool_reason reason, int code)
{
    spool_uncount_attempt(forward->spool, id);
    return forward_reject(forward, id, reason, code);
}

/* It was handed out and is not sent now. */
static void hand_back(struct forward *forward, uint64_t id, int64_t not_before_ms)
{
    spool_uncount_attempt(forward->spool, id);
    (void)spool_return(forward->spool, id, not_before_ms); /* it is in flight */
}

/* At idle priority, as the edge is, and like it not later than its deadline. */
static void arm_refill(struct forward *forward)
{
    if (forward->is_refill_armed)
        return;
    forward->is_refill_armed = true;
    int r = sd_event_source_set_enabled(forward->refill, SD_EVENT_ONESHOT);
    if (r >= 0)
        r = turn_set_deadline(forward->refill_deadline, GATEWAY_EDGE_LATEST_MS);
    if (r < 0)
        turn_fail(forward->turn, r, "refill");
}

/* What waits for another broker uses nothing of the window: after so many the loop has its
 * turn. */
static bool forward_may_defer(struct forward *forward)
{
    if (++forward->deferred < GATEWAY_DEFERRED_RUN)
        return true;
    arm_refill(forward);
    return false;
}

/* A stamp that makes the packet larger than the broker takes is left out. */
static int forward_pass(struct forward *forward,
                        const struct spool_message *message,
                        struct uplink_message *out)
{
    if (forward->config->uplink.has_stamp)
        out->stamp = stamp_write(&forward->stamp, message);
    int r = uplink_send(forward->uplink, out);
    if ((r != UPLINK_E_TOO_LARGE && r != UPLINK_E_OTHER_BROKER) || out->stamp.size == 0)
        return r;
    out->stamp = (struct view){0};
    return uplink_send(forward->uplink, out);
}

static int
forward_send(struct forward *forward, const struct spool_message *message, bool *ret_continues)
{
    struct uplink_message out;
    uint64_t id = message->id;

    *ret_continues = true;
    if (!shape_message(forward->shape, message, &out)) /* as a broker would answer */
        return reject_unsent(forward, id, SPOOL_REASON_REASON_CODE, MQTT_TOPIC_NAME_INVALID);
    int r = forward_pass(forward, message, &out);

    switch (r) {
    case UPLINK_E_TOO_LARGE:
        return reject_unsent(forward, id, SPOOL_REASON_TOO_LARGE, SPOOL_NO_CODE);
    case UPLINK_E_RETAIN: /* what a broker that announced so would answer */
        return reject_unsent(forward, id, SPOOL_REASON_REASON_CODE, MQTT_RETAIN_NOT_SUPPORTED);
    case UPLINK_E_OTHER_BROKER:
        spool_uncount_attempt(forward->spool, id);
        *ret_continues = forward_may_defer(forward);
        return settle_ignore_unknown(
            forward, id,
            spool_return(forward->spool, id,
                         forward->turn->now.boot_ms + GATEWAY_OTHER_BROKER_MS));
    case UPLINK_E_OFFLINE:
    case UPLINK_E_FULL:
        hand_back(forward, id, 0);
        *ret_continues = false;
        return 0;
    default:
        return r;
    }
}

/* What is too large for the broker, or has expired, uses no bytes of the window: the second
 * limit bounds how much of it waits for a commit. */
static bool has_room(const struct forward *forward)
{
    return uplink_room(forward->uplink) > forward->settled &&
           spool_settled_bytes(forward->spool) < GATEWAY_SETTLED_BYTES;
}

static bool is_nothing_in_flight(const struct forward *forward)
{
    struct uplink_link link;

    uplink_get_link(forward->uplink, &link);
    return link.in_flight == 0;
}

/* One at a time, and only in a round of tries. */
static bool may_try(struct forward *forward)
{
    const struct uplink_settings *settings = &forward->config->uplink;

    return is_nothing_in_flight(forward) &&
           refusal_may_try(&forward->refusal, forward->turn->now.boot_ms,
                           settings->backoff_min_ms, settings->backoff_max_ms);
}

/* The oldest of another topic than the one that was refused last, because that may be the only
 * one that the broker refuses; if none is found, the oldest of all. Return: as spool_next(). */
static int next_of_another_topic(struct forward *forward,
                                 const struct spool_time *now,
                                 struct spool_message *ret)
{
    unsigned skipped = 0;
    uint64_t bytes = 0;
    int r = spool_next(forward->spool, now, ret);

    while (r == 0 && skipped < GATEWAY_SKIPPED_MESSAGES && bytes < GATEWAY_SKIPPED_BYTES &&
           shape_tag(forward->shape, ret) == forward->refusal.tag) {
        bytes += spool_charge(ret);
        skipped++;
        hand_back(forward, ret->id, INT64_MAX);
        r = spool_next(forward->spool, now, ret);
    }
    if (r != SPOOL_E_EMPTY || skipped == 0)
        return r;
    spool_release_returned(forward->spool);
    return spool_next(forward->spool, now, ret);
}

/* While the link is refused. Return: as spool_next(). */
static int
next_to_try(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    uint64_t id = refusal_choose(&forward->refusal);
    int r = SPOOL_E_UNKNOWN;

    if (id != 0)
        r = spool_next_of(forward->spool, now, id, ret);
    if (r == SPOOL_E_UNKNOWN) /* it has ended, or there was none */
        r = refusal_is_first_try(&forward->refusal) ? spool_next(forward->spool, now, ret)
                                                    : next_of_another_topic(forward, now, ret);
    if (r == 0)
        refusal_note_try(&forward->refusal, ret->id);
    if (r == SPOOL_E_EMPTY) { /* all were tried: again from the oldest on */
        spool_release_returned(forward->spool);
        refusal_end_round(&forward->refusal);
    }
    return r;
}

/* While a message is suspected: it alone, or another one alone. If there is no other, the
 * suspect again: the broker may take it now. Return: as spool_next(). */
static int
next_alone(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    struct poison *poison = &forward->poison;
    int r = SPOOL_E_EMPTY;

    if (!is_nothing_in_flight(forward))
        return SPOOL_E_EMPTY;
    if (poison->step == POISON_OTHER)
        r = spool_next(forward->spool, now, ret);
    if (r == SPOOL_E_EMPTY)
        r = spool_next_of(forward->spool, now, poison->suspect_id, ret);
    if (r == SPOOL_E_UNKNOWN) { /* it has ended */
        poison_end(poison);
        spool_release_returned(forward->spool);
        return spool_next(forward->spool, now, ret);
    }
    if (r == 0 && ret->id != poison->suspect_id)
        poison->other_id = ret->id;
    return r;
}

/* One that was suspected before a restart waits until it is alone, or another was sent. */
static int begin_alone(struct forward *forward,
                       const struct spool_time *now,
                       struct spool_message *message)
{
    if (!poison_begin(&forward->poison, message->id, message->closings))
        return 0;
    if (forward->poison.step == POISON_OTHER) {
        hand_back(forward, message->id, INT64_MAX);
        return next_alone(forward, now, message);
    }
    if (is_nothing_in_flight(forward))
        return 0;
    hand_back(forward, message->id, 0);
    return SPOOL_E_EMPTY;
}

static int
next_as_always(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    if (forward->poison.step != POISON_NONE)
        return next_alone(forward, now, ret);
    if (forward->refusal.is_refused)
        return may_try(forward) ? next_to_try(forward, now, ret) : SPOOL_E_EMPTY;
    int r = spool_next(forward->spool, now, ret);
    return r == 0 ? begin_alone(forward, now, ret) : r;
}

/* One at a time, each after the commit of its mark. */
static int
next_carefully(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    bool is_admitted = false;
    int r = SPOOL_E_UNKNOWN;

    if (!is_nothing_in_flight(forward))
        return SPOOL_E_EMPTY;
    if (forward->careful.marked_id != 0)
        r = spool_next_of(forward->spool, now, forward->careful.marked_id, ret);
    if (r == SPOOL_E_UNKNOWN)
        r = next_as_always(forward, now, ret);
    if (r == 0)
        r = careful_admit(&forward->careful, forward->spool, ret, &is_admitted);
    if (r != 0 || is_admitted)
        return r;
    hand_back(forward, ret->id, 0);
    edge_timer_arm(forward->edge_timer);
    return SPOOL_E_EMPTY;
}

static int
forward_next(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    return forward->careful.is_on ? next_carefully(forward, now, ret)
                                  : next_as_always(forward, now, ret);
}

/* A locked database has nothing to forward now, like an empty one: that is no failure of the
 * edge. */
int forward_run(struct forward *forward)
{
    struct spool_time now = turn_spool_time(forward->turn);
    bool continues = !stop_has_begun(forward->stop);
    int r = 0;

    forward->deferred = 0;
    uplink_cork(forward->uplink);
    while (r == 0 && continues && has_room(forward)) {
        struct spool_message message;

        r = forward_next(forward, &now, &message);
        if (r == 0)
            r = forward_send(forward, &message, &continues);
    }
    uplink_uncork(forward->uplink);
    return r < 0 ? r : 0;
}

/*
 * Between two edges: what is committed already goes out at once when the link
 * comes up or a message returns. A quarter of the window of answers is enough
 * to commit for: three quarters then keep the link busy while the disk syncs.
 */
static int on_refill(sd_event_source *source, void *userdata)
{
    struct forward *forward = userdata;

    forward->is_refill_armed = false;
    (void)sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IDLE);
    (void)sd_event_source_set_enabled(forward->refill_deadline, SD_EVENT_OFF);
    if (forward->turn->has_failed || forward->turn->has_moved)
        return 0;
    turn_read_clock(forward->turn);
    int r = forward_run(forward);
    if (r < 0)
        turn_fail(forward->turn, r, "forward");
    else if (forward->settled * 4 >= forward->window ||
             spool_settled_bytes(forward->spool) >= GATEWAY_BATCH_BYTES)
        edge_timer_arm(forward->edge_timer);
    else if (spool_has_work(forward->spool))
        edge_timer_arm_later(forward->edge_timer, GATEWAY_SETTLE_LATEST_MS);
    return 0;
}

static int on_refill_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct forward *forward = userdata;

    (void)source;
    (void)usec;
    (void)sd_event_source_set_priority(forward->refill, SD_EVENT_PRIORITY_IMPORTANT);
    return 0;
}

/* The link is up and nothing gets through: this line gives the reason. */
static void log_refused(struct forward *forward, int code, int64_t delay_ms)
{
    uint64_t suppressed = 0;

    if (log_limit_pass(&forward->refusal_warnings, forward->turn->now.boot_ms, &suppressed))
        log_warning("broker_refuses code=0x%02X reason=\"%s\" retry_ms=%" PRId64
                    " suppressed=%" PRIu64 " lost=no remedy=\"look at the broker's limits for "
                    "this client id; the messages are kept and sent again\"",
                    (unsigned)code, packet_reason_text(code), delay_ms, suppressed);
}

/* The status shows when the last message ended by an answer. A refusal that may
 * pass ends none. */
static void note_acknowledged(struct forward *forward, const struct uplink_answer *answer)
{
    if (answer->acknowledged_boot_ms > 0)
        forward->acknowledged_boot_ms = answer->acknowledged_boot_ms;
}

/* Once, when it begins. */
static void log_link_refused(const struct uplink_answer *answer)
{
    char text[2 * UPLINK_TEXT_MAX];

    log_warning(
        "link_refused code=0x%02X reason=\"%s\" broker_says=%s in_a_row=%d "
        "remedy=\"the broker accepts nothing: look at the rights and limits of this client "
        "id there; nothing more is rejected, messages are kept, and a few are tried from time "
        "to time; mqtt-spool failures lists what was rejected before\"",
        (unsigned)answer->code, packet_reason_text(answer->code),
        log_quote(text, sizeof(text), answer->text, strlen(answer->text)), REFUSAL_IN_A_ROW);
}

static void count_refusal(struct forward *forward, const struct uplink_answer *answer)
{
    if (answer->tag == 0 || !refusal_count(&forward->refusal, answer->tag, answer->code))
        return;
    /* Those that wait for their own backoff are tried and sent in their order, too. */
    spool_release_returned(forward->spool);
    log_link_refused(answer);
    status_hasten(forward->status);
}

/* The broker accepts messages: what waits for that goes out in its order. QoS 0 shows nothing,
 * because no broker answers it. Nor does a report: its topic may be the only one that the
 * broker accepts, and each rejected message makes one. */
static void note_accepted(struct forward *forward, const struct uplink_answer *answer)
{
    unsigned rounds = forward->refusal.rounds;

    if (answer->acknowledged_boot_ms == 0 || answer->tag == 0 ||
        !refusal_clear(&forward->refusal, answer->tag))
        return;
    spool_release_returned(forward->spool);
    log_notice("link_accepts rounds=%u", rounds);
    status_hasten(forward->status);
}

/* Its own backoff doubles with each of its refusals. */
static int wait_for_backoff(struct forward *forward, const struct uplink_answer *answer)
{
    const struct uplink_settings *settings = &forward->config->uplink;
    unsigned refusals = 0;
    int r = spool_count_refusal(forward->spool, answer->id, &refusals);

    if (r != 0)
        return settle_ignore_unknown(forward, answer->id, r);
    if (settings->max_attempts > 0 && refusals >= settings->max_attempts)
        return forward_reject(forward, answer->id, SPOOL_REASON_ATTEMPTS, answer->code);
    turn_read_clock(forward->turn);
    int64_t delay_ms = (int64_t)refusal_backoff_ms(settings->backoff_min_ms,
                                                   settings->backoff_max_ms, refusals - 1);
    log_refused(forward, answer->code, delay_ms);
    return spool_return(forward->spool, answer->id, forward->turn->now.boot_ms + delay_ms);
}

static int end_message(struct forward *forward,
                       const struct uplink_answer *answer,
                       enum verdict_message message)
{
    const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE,
                                            answer->code >= 0 ? answer->code : SPOOL_NO_CODE};
    /* What was tried in a round lets others be tried. */
    bool was_tried = message == VERDICT_WAITS_FOR_LINK && forward->refusal.rounds > 0;

    switch (message) {
    case VERDICT_ENDS_DELIVERED:
        note_acknowledged(forward, answer);
        if (answer->code == MQTT_NO_MATCHING_SUBSCRIBERS)
            forward->counters->unsubscribed++;
        return forward_settle(forward, answer->id, &delivered);
    case VERDICT_ENDS_REJECTED:
        note_acknowledged(forward, answer);
        return forward_reject(forward, answer->id, SPOOL_REASON_REASON_CODE, answer->code);
    case VERDICT_WAITS_ITS_BACKOFF:
        return wait_for_backoff(forward, answer);
    case VERDICT_WAITS_FOR_LINK:
    case VERDICT_IS_SENT_AGAIN:
        break;
    }
    return settle_ignore_unknown(
        forward, answer->id,
        spool_return(forward->spool, answer->id, was_tried ? INT64_MAX : 0));
}

static void log_suspected(uint64_t id, unsigned closings)
{
    log_warning("message_suspected id=%" PRIu64 " closings=%u remedy=\"the broker closed the "
                "connection each time this message was sent: it is sent alone, to find out "
                "whether it is the cause\"",
                id, closings);
}

/* It waits, so it is handed out once more to be ended. */
static int condemn(struct forward *forward)
{
    struct spool_time now = turn_spool_time(forward->turn);
    uint64_t id = forward->poison.suspect_id;
    struct spool_message message;
    int r = spool_next_of(forward->spool, &now, id, &message);

    if (r > 0) /* it has ended otherwise */
        return 0;
    if (r == 0)
        r = reject_unsent(forward, id, SPOOL_REASON_POISON, SPOOL_NO_CODE);
    if (r == 0)
        log_warning(
            "message_poison id=%" PRIu64 " outcome=rejected remedy=\"the broker closes "
            "the connection at this message and takes others: mqtt-spool failures shows "
            "it; docs/brokers.md says what brokers do not take\"",
            id);
    return r;
}

static int apply_poison(struct forward *forward, enum poison_verdict verdict)
{
    struct poison *poison = &forward->poison;
    int r = 0;

    switch (verdict) {
    case POISON_CONTINUES:
    case POISON_BEGINS:
    case POISON_RETRIES:
        return 0;
    case POISON_ACQUITS_BOTH:
        log_notice("message_acquitted id=%" PRIu64
                   " cause=\"the broker closes at others, too\"",
                   poison->suspect_id);
        r = spool_forget_closings(forward->spool, poison->other_id);
        if (r == 0)
            r = spool_forget_closings(forward->spool, poison->suspect_id);
        break;
    case POISON_ACQUITS:
        log_notice("message_acquitted id=%" PRIu64 " cause=\"the broker has answered it\"",
                   poison->suspect_id);
        r = spool_forget_closings(forward->spool, poison->suspect_id);
        break;
    case POISON_CONDEMNS:
        r = condemn(forward);
        break;
    }
    poison_end(poison);
    spool_release_returned(forward->spool);
    return r;
}

/* The broker closed at the message. The suspect then lets others be sent. */
static int suspect_message(struct forward *forward, uint64_t id)
{
    unsigned closings = 0;

    careful_leave_mark(&forward->careful, id);
    int r = spool_count_closing(forward->spool, id, &closings);

    if (r != 0)
        return settle_ignore_unknown(forward, id, r);
    enum poison_verdict verdict = poison_on_closing(&forward->poison, id, closings);
    if (verdict == POISON_BEGINS)
        log_suspected(id, closings);
    bool is_parked = forward->poison.step == POISON_OTHER && id == forward->poison.suspect_id;
    (void)spool_return(forward->spool, id, is_parked ? INT64_MAX : 0); /* it was in flight */
    return apply_poison(forward, verdict);
}

/* QoS 0 shows nothing: no broker answers it. */
static int clear_suspicion(struct forward *forward, const struct uplink_answer *answer)
{
    if (answer->acknowledged_boot_ms == 0)
        return 0;
    return apply_poison(forward, poison_on_answer(&forward->poison, answer->id));
}

/* The link first: whether it is refused decides about the message that makes it so, too. */
static int apply_answer(struct forward *forward, const struct uplink_answer *answer)
{
    enum uplink_on_refusal on_refusal = forward->config->uplink.on_refusal;
    enum verdict_answer kind = verdict_answer_of(answer);
    enum verdict_policy policy = verdict_policy_of(on_refusal, forward->refusal.is_refused);

    switch (verdict_of(kind, policy).link) {
    case VERDICT_LINK_OPENS:
        note_accepted(forward, answer);
        break;
    case VERDICT_LINK_COUNTS:
        count_refusal(forward, answer);
        break;
    case VERDICT_LINK_SUSPECTS:
        return suspect_message(forward, answer->id);
    case VERDICT_LINK_CONTINUES:
        break;
    }
    policy = verdict_policy_of(on_refusal, forward->refusal.is_refused);
    int r = end_message(forward, answer, verdict_of(kind, policy).message);
    if (r == 0)
        r = clear_suspicion(forward, answer);
    return r == 0 ? careful_end(&forward->careful, forward->spool, answer->id,
                                answer->acknowledged_boot_ms > 0)
                  : r;
}

/* While the daemon stops nothing is forwarded any more. */
static void forward_continue(struct forward *forward)
{
    if (!stop_has_begun(forward->stop))
        arm_refill(forward);
    else
        edge_timer_arm(forward->edge_timer);
}

void forward_on_answer(void *userdata, const struct uplink_answer *answer)
{
    struct forward *forward = userdata;

    if (forward->turn->has_failed || forward->turn->has_moved)
        return;
    FAILPOINT("answer.before_settle");
    int r = apply_answer(forward, answer);
    FAILPOINT("answer.after_settle");
    if (r < 0)
        turn_fail(forward->turn, r, "settle");
    forward_continue(forward);
}

/* The commit that notes this life comes first. */
static void begin_sending(struct forward *forward)
{
    int r = careful_begin(&forward->careful, forward->spool, forward->config->uplink.window);

    if (r < 0)
        turn_fail(forward->turn, r, "forward");
    edge_timer_arm(forward->edge_timer);
}

/* The link came up: what is there now is the backlog. */
static void begin_live(struct forward *forward)
{
    spool_begin_live(forward->spool);
    forward->stamp.link_id = spool_last_id(forward->spool);
}

void forward_on_link(void *userdata)
{
    struct forward *forward = userdata;
    struct uplink_link link;

    if (forward->turn->has_failed)
        return;
    uplink_get_link(forward->uplink, &link);
    forward->window = link.window;
    if (link.state == UPLINK_ONLINE && !forward->careful.has_begun)
        begin_sending(forward);
    if (link.state != forward->link_state)
        status_hasten(forward->status);
    forward->link_state = link.state;
    if (link.connects != forward->connects) {
        refusal_begin_connection(&forward->refusal);
        begin_live(forward);
    }
    forward->connects = link.connects;
    forward_continue(forward);
}

int forward_init(struct forward *forward)
{
    forward->refusal_warnings = (struct log_limit){.interval_ms = 60000, .burst = 1};
    forward->token_warnings = (struct log_limit){.interval_ms = 60000, .burst = 1};
    forward->stamp.start_id = spool_last_id(forward->spool);
    int r = sd_event_add_defer(forward->turn->event, &forward->refill, on_refill, forward);

    if (r >= 0)
        r = sd_event_source_set_enabled(forward->refill, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_source_set_priority(forward->refill, SD_EVENT_PRIORITY_IDLE);
    if (r >= 0)
        r = turn_add_timer(forward->turn, GATEWAY_EDGE_LATEST_MS, on_refill_deadline, forward,
                           SD_EVENT_OFF, &forward->refill_deadline);
    if (r >= 0)
        r = sd_event_source_set_priority(forward->refill_deadline, SD_EVENT_PRIORITY_IMPORTANT);
    return r < 0 ? r : 0;
}

void forward_finish(struct forward *forward)
{
    forward->refill = sd_event_source_disable_unref(forward->refill);
    forward->refill_deadline = sd_event_source_disable_unref(forward->refill_deadline);
}

void forward_note_committed(struct forward *forward)
{
    forward->settled = 0;
}
