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
 * message_acquitted, message_poison, topic_unanswered, answer_without_token.
 */
#include "daemon/gateway/forward.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/failpoint.h"
#include "base/view.h"
#include "daemon/gateway/careful.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/others.h"
#include "daemon/gateway/poison.h"
#include "daemon/gateway/refusal.h"
#include "daemon/gateway/shape.h"
#include "daemon/gateway/silence.h"
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
static int forward_settle(struct forward *forward,
                          uint64_t id,
                          const struct spool_verdict *verdict,
                          int64_t boot_ms)
{
    int r = spool_settle(forward->spool, id, verdict, boot_ms);

    if (r == 0)
        forward->settled.messages++;
    return settle_ignore_unknown(forward, id, r);
}

/* What this broker can never accept is settled, else it would block its lane for ever. */
static int forward_reject(
    struct forward *forward, uint64_t id, enum spool_reason reason, int code, int64_t boot_ms)
{
    const struct spool_verdict verdict = {SPOOL_REJECTED, reason, code};
    struct forward_settled *settled = &forward->settled;
    unsigned messages = settled->messages;
    int r = forward_settle(forward, id, &verdict, boot_ms);

    if (settled->messages == messages)
        return r;
    settled->rejected++;
    settled->rejected_reason = (unsigned)reason;
    settled->rejected_code = code;
    return r;
}

/* It was not sent: what was announced with the connection is no answer. */
static bool was_announced(const struct uplink_answer *answer)
{
    return answer->kind == UPLINK_REFUSED && answer->acknowledged_boot_ms == 0;
}

/* With the reason of its refusal. */
static int forward_reject_refused(struct forward *forward, const struct uplink_answer *answer)
{
    if (was_announced(answer) && answer->code == MQTT_PACKET_TOO_LARGE)
        return forward_reject(forward, answer->id, SPOOL_REASON_TOO_LARGE, SPOOL_NO_CODE,
                              answer->boot_ms);
    return forward_reject(forward, answer->id, SPOOL_REASON_REASON_CODE, answer->code,
                          answer->boot_ms);
}

/* The same of one that was handed out and was not sent. */
static int
reject_unsent(struct forward *forward, uint64_t id, enum spool_reason reason, int code)
{
    spool_uncount_attempt(forward->spool, id);
    return forward_reject(forward, id, reason, code, forward->turn->now.boot_ms);
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
    if (++forward->brokers.deferred < GATEWAY_DEFERRED_RUN)
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
    bool is_too_large =
        r == UPLINK_E_TOO_LARGE || r == UPLINK_E_OTHER_BROKER || r == UPLINK_E_IMPOSSIBLE;

    if (!is_too_large || out->stamp.size == 0)
        return r;
    out->stamp = (struct view){0};
    return uplink_send(forward->uplink, out);
}

static int apply_answer(struct forward *forward, const struct uplink_answer *answer);

/*
 * The broker announced that it takes no such message. The announcement may be wrong, and then
 * would end all that waits: it is judged as the refusal is that the broker would send. What is
 * kept for it uses nothing of the window, and no try of a refused link.
 */
static int refuse_unsent(struct forward *forward,
                         const struct uplink_message *message,
                         int code,
                         bool *ret_continues)
{
    const struct uplink_answer answer = {
        .id = message->id,
        .tag = message->tag,
        .kind = UPLINK_REFUSED,
        .code = code,
        .boot_ms = forward->turn->now.boot_ms,
        .text = "announced in CONNACK",
    };
    unsigned settled = forward->settled.messages;

    spool_uncount_attempt(forward->spool, message->id);
    if (forward->refusal->is_refused && forward->poison.step == POISON_NONE)
        refusal_return_try(forward->refusal);
    int r = apply_answer(forward, &answer);
    if (forward->settled.messages == settled)
        *ret_continues = forward->poison.step == POISON_NONE && forward_may_defer(forward);
    return r;
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
    case UPLINK_E_IMPOSSIBLE:
        return reject_unsent(forward, id, SPOOL_REASON_TOO_LARGE, SPOOL_NO_CODE);
    case UPLINK_E_TOO_LARGE:
        return refuse_unsent(forward, &out, MQTT_PACKET_TOO_LARGE, ret_continues);
    case UPLINK_E_RETAIN:
        return refuse_unsent(forward, &out, MQTT_RETAIN_NOT_SUPPORTED, ret_continues);
    case UPLINK_E_OTHER_BROKER:
        hand_back(forward, id, forward->turn->now.boot_ms + GATEWAY_OTHER_BROKER_MS);
        *ret_continues = forward_may_defer(forward);
        return 0;
    case 0:
        silence_note_sent(&forward->silence, out.tag, id);
        return 0;
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
    return uplink_room(forward->uplink) > forward->settled.messages &&
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
           refusal_may_try(forward->refusal, forward->turn->now.boot_ms,
                           settings->backoff_min_ms, settings->backoff_max_ms);
}

/* How well a message suits to be sent alone. */
enum fitness { UNFIT, FIT, FITTEST };
typedef enum fitness fitness_fn(const struct forward *forward,
                                const struct spool_message *message);

/* A topic that the broker accepted shows best what it does now; one that it refused, nothing.
 */
static enum fitness fitness_for_try(const struct forward *forward,
                                    const struct spool_message *message)
{
    const struct refusal *refusal = forward->refusal;
    uint64_t tag = shape_tag(forward->shape, message);

    if (tag == 0 || refusal_was_denied(refusal, tag))
        return UNFIT;
    return refusal->taken_count == 0 || refusal_was_taken(refusal, tag) ? FITTEST : FIT;
}

/* No message at which the broker closed may show that it takes others. */
static enum fitness fitness_for_other(const struct forward *forward,
                                      const struct spool_message *message)
{
    bool is_report = shape_tag(forward->shape, message) == 0;

    if (message->closings > 0)
        return UNFIT;
    return is_report ? FIT : fitness_for_try(forward, message);
}

/* The oldest of the fittest, among so many; those that are passed over wait. Return: as
 * spool_next(); SPOOL_E_EMPTY, too, if none is fit. @ret_has_more: there are others. */
static int next_fit(struct forward *forward,
                    const struct spool_time *now,
                    fitness_fn *fitness_of,
                    struct spool_message *ret,
                    bool *ret_has_more)
{
    unsigned skipped = 0;
    uint64_t bytes = 0, fit_id = 0;
    int r = spool_next(forward->spool, now, ret);

    while (r == 0) {
        enum fitness fitness = fitness_of(forward, ret);

        if (fitness == FITTEST)
            return 0;
        if (fitness == FIT && fit_id == 0)
            fit_id = ret->id;
        bytes += spool_charge(ret);
        hand_back(forward, ret->id, INT64_MAX);
        if (++skipped >= GATEWAY_SKIPPED_MESSAGES || bytes >= GATEWAY_SKIPPED_BYTES)
            break;
        r = spool_next(forward->spool, now, ret);
    }
    if (r < 0)
        return r;
    *ret_has_more = r == 0;
    if (fit_id == 0)
        return SPOOL_E_EMPTY;
    r = spool_next_of(forward->spool, now, fit_id, ret);
    return r == SPOOL_E_UNKNOWN ? SPOOL_E_EMPTY : r; /* it has expired */
}

/* If none is fit, one that is not: the next, or the oldest of all. Return: as spool_next(). */
static int
next_to_show(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    bool has_more = false;
    int r = next_fit(forward, now, fitness_for_try, ret, &has_more);

    if (r != SPOOL_E_EMPTY)
        return r;
    if (!has_more)
        spool_release_returned(forward->spool);
    return spool_next(forward->spool, now, ret);
}

/* While the link is refused. Return: as spool_next(). */
static int
next_to_try(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    uint64_t id = refusal_choose(forward->refusal);
    int r = SPOOL_E_UNKNOWN;

    if (id != 0)
        r = spool_next_of(forward->spool, now, id, ret);
    if (r == SPOOL_E_UNKNOWN) /* it has ended, or there was none */
        r = refusal_is_first_try(forward->refusal) ? spool_next(forward->spool, now, ret)
                                                   : next_to_show(forward, now, ret);
    if (r == 0)
        refusal_note_try(forward->refusal, ret->id);
    if (r == SPOOL_E_EMPTY) { /* all were tried: again from the oldest on */
        if (spool_release_returned(forward->spool) > 0)
            uplink_set_refused(forward->uplink, true);
        refusal_end_round(forward->refusal);
    }
    return r;
}

/* While a message is suspected: it alone, or another one alone. If there is no other, the
 * suspect again: the broker may take it now. Return: as spool_next(). */
static int
next_alone(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    struct poison *poison = &forward->poison;
    bool has_more = false;
    int r = SPOOL_E_EMPTY;

    if (!is_nothing_in_flight(forward))
        return SPOOL_E_EMPTY;
    if (poison->step == POISON_OTHER) {
        spool_release_returned(forward->spool); /* what was passed over for the last one, too */
        r = next_fit(forward, now, fitness_for_other, ret, &has_more);
    }
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

/* One that was suspected before a restart waits until others were sent alone. */
static int begin_alone(struct forward *forward,
                       const struct spool_time *now,
                       struct spool_message *message)
{
    if (!poison_begin(&forward->poison, message->id, message->closings))
        return 0;
    hand_back(forward, message->id, INT64_MAX);
    return next_alone(forward, now, message);
}

/* Return: as others_next(). */
static unsigned find_elsewhere(const struct forward *forward,
                               const struct others_refusal *refusal)
{
    const struct forward_brokers *brokers = &forward->brokers;

    return others_next(forward->uplink, brokers->all, brokers->count, brokers->current,
                       refusal);
}

/* Return: is there another broker that may take it? It is asked then. */
static bool offer_elsewhere(struct forward *forward, const struct others_refusal *refusal)
{
    unsigned other = find_elsewhere(forward, refusal);

    if (other == OTHERS_NONE)
        return false;
    uplink_want_other(forward->uplink, other);
    return true;
}

/* By which brokers a message that is in flight was refused for good, or condemned. */
static struct others_refusal refusal_so_far(const struct forward *forward, uint64_t id)
{
    return (struct others_refusal){
        .marks = spool_mark_refused(forward->spool, id, 0),
        .is_permanent = true,
    };
}

/* Does it wait, because this broker closes at it (see condemn()), for one that may not? */
static bool waits_for_another(struct forward *forward, uint64_t id)
{
    const uint32_t here = others_mark(forward->brokers.current, true);
    const struct others_refusal refusal = refusal_so_far(forward, id);

    return (refusal.marks & here) == here && offer_elsewhere(forward, &refusal);
}

/* When the message may be sent, because the broker closes at it, or does not answer ones like
 * it; 0: now. */
static int64_t hold_until(struct forward *forward, const struct spool_message *message)
{
    if (message->closings > 0 && waits_for_another(forward, message->id))
        return forward->turn->now.boot_ms + OTHERS_AGAIN_MS;
    if (forward->silence.count == 0)
        return 0;
    return silence_hold_until(&forward->silence, shape_tag(forward->shape, message),
                              message->id, forward->turn->now.boot_ms, forward->window);
}

/* Return: as spool_next(); SPOOL_E_EMPTY, too, if the loop is to have its turn. */
static int next_answerable(struct forward *forward,
                           const struct spool_time *now,
                           struct spool_message *ret)
{
    int r = spool_next(forward->spool, now, ret);

    for (;;) {
        if (r == SPOOL_E_EMPTY && forward->silence.waits_for_answer &&
            is_nothing_in_flight(forward)) {
            (void)silence_end_wait(&forward->silence);
            spool_release_returned(forward->spool);
        } else {
            int64_t due_ms = r == 0 ? hold_until(forward, ret) : 0;

            if (due_ms == 0)
                return r;
            hand_back(forward, ret->id, due_ms);
            if (!forward_may_defer(forward))
                return SPOOL_E_EMPTY;
        }
        r = spool_next(forward->spool, now, ret);
    }
}

static int
next_as_always(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    if (forward->poison.step != POISON_NONE)
        return next_alone(forward, now, ret);
    if (forward->refusal->is_refused)
        return may_try(forward) ? next_to_try(forward, now, ret) : SPOOL_E_EMPTY;
    int r = next_answerable(forward, now, ret);
    return r == 0 ? begin_alone(forward, now, ret) : r;
}

/* What is sent next waits for it, so spool.commit_interval does not count. */
static void forward_commit_soon(struct forward *forward)
{
    edge_timer_arm_urgent(forward->edge_timer);
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
    forward_commit_soon(forward);
    return SPOOL_E_EMPTY;
}

static int
forward_next(struct forward *forward, const struct spool_time *now, struct spool_message *ret)
{
    return forward->careful.is_on ? next_carefully(forward, now, ret)
                                  : next_as_always(forward, now, ret);
}

/* A message was offered to the broker in use. */
static void count_offered(struct forward *forward)
{
    if (forward->brokers.owed > 0)
        forward->brokers.owed--;
}

/* What waited for this broker comes before all others, so it has been offered when there is
 * nothing left, too. A broker that refuses everything is waited for by nothing. */
static void pay_owed(struct forward *forward, int r)
{
    struct forward_brokers *brokers = &forward->brokers;

    if (r == SPOOL_E_EMPTY || forward->refusal->is_refused)
        brokers->owed = 0;
    uplink_hold_leave(forward->uplink, brokers->owed > 0);
}

/* A locked database has nothing to forward now, like an empty one: that is no failure of the
 * edge. */
int forward_run(struct forward *forward)
{
    struct spool_time now = turn_spool_time(forward->turn);
    bool continues = !stop_has_begun(forward->stop);
    int r = 0;

    forward->brokers.deferred = 0;
    uplink_cork(forward->uplink);
    while (r == 0 && continues && has_room(forward)) {
        struct spool_message message;

        r = forward_next(forward, &now, &message);
        if (r == 0)
            r = forward_send(forward, &message, &continues);
        if (r == 0 && continues)
            count_offered(forward);
    }
    uplink_uncork(forward->uplink);
    pay_owed(forward, r);
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
    else if (forward->settled.messages * 4 >= forward->window ||
             spool_settled_bytes(forward->spool) >= GATEWAY_BATCH_BYTES)
        forward_commit_soon(forward);
    else if (spool_has_work(forward->spool))
        edge_timer_arm_later(forward->edge_timer, spool_has_settled_alone(forward->spool)
                                                      ? GATEWAY_SETTLE_LATEST_MS
                                                      : GATEWAY_WORK_LATEST_MS);
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

static void
count_refusal(struct forward *forward, const struct uplink_answer *answer, bool is_permanent)
{
    turn_read_clock(forward->turn);
    const struct refusal_event event = {
        .tag = answer->tag,
        .code = answer->code,
        .is_permanent = is_permanent,
        .is_first = !spool_was_refused(forward->spool, answer->id),
        .is_announced = was_announced(answer),
        .boot_ms = forward->turn->now.boot_ms,
    };

    if (answer->tag == 0)
        return;
    bool has_begun = refusal_count(forward->refusal, &event);
    /* At its end a round has shown that the broker still refuses everything. */
    if (forward->refusal->is_refused && forward->refusal->rounds.tries_left == 0)
        uplink_set_refused(forward->uplink, true);
    if (!has_begun)
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
    unsigned rounds = forward->refusal->rounds.begun;

    if (answer->acknowledged_boot_ms == 0 || answer->tag == 0)
        return;
    forward->brokers.moment++;
    if (!refusal_clear(forward->refusal, answer->tag, answer->acknowledged_boot_ms))
        return;
    uplink_set_refused(forward->uplink, false);
    spool_release_returned(forward->spool);
    log_notice("link_accepts rounds=%u", rounds);
    status_hasten(forward->status);
}

/* What is refused ends by that, so nothing has to wait for an acceptance. */
static void resume_link(struct forward *forward)
{
    unsigned rounds = forward->refusal->rounds.begun;

    if (!refusal_resume(forward->refusal, forward->turn->now.boot_ms))
        return;
    uplink_set_refused(forward->uplink, false);
    spool_release_returned(forward->spool);
    log_notice("link_accepts rounds=%u cause=\"uplink.on_refusal is reject: what the broker "
               "refuses is rejected\"",
               rounds);
    status_hasten(forward->status);
}

/* Was something accepted by the broker in use since it refused the message before? */
static bool is_proven(const struct forward_brokers *brokers, uint64_t mark)
{
    return mark >= brokers->since && mark < brokers->moment;
}

/* No refusal ends a message that another broker may take: that one is tried. What CONNACK
 * excludes, that of each broker does, see uplink_send(). */
static bool is_wanted_elsewhere(struct forward *forward,
                                const struct uplink_answer *answer,
                                bool is_permanent)
{
    const struct forward_brokers *brokers = &forward->brokers;

    if (was_announced(answer))
        return false;
    const struct others_refusal refusal = {
        .tag = answer->tag,
        .marks = spool_mark_refused(forward->spool, answer->id,
                                    others_mark(brokers->current, is_permanent)),
        .is_permanent = is_permanent,
    };

    return offer_elsewhere(forward, &refusal);
}

/* How many refusals of a message make it wait for another broker, too. */
static unsigned refusals_here(const struct uplink_settings *settings, bool is_permanent)
{
    if (is_permanent)
        return 1;
    return settings->max_attempts > 0 && settings->max_attempts < OTHERS_PATIENCE
               ? settings->max_attempts
               : OTHERS_PATIENCE;
}

/* Its own backoff doubles with each of its refusals. A refusal ends it only if the broker
 * accepted something since the one before: if it is permanent, or one of enough. */
static int
wait_for_backoff(struct forward *forward, const struct uplink_answer *answer, bool is_permanent)
{
    const struct uplink_settings *settings = &forward->config->uplink;
    unsigned refusals = 0;
    uint64_t mark = 0;
    int r = spool_count_refusal(forward->spool, answer->id, forward->brokers.moment, &refusals,
                                &mark);

    if (r != 0)
        return settle_ignore_unknown(forward, answer->id, r);
    bool is_wanted = refusals >= refusals_here(settings, is_permanent) &&
                     is_wanted_elsewhere(forward, answer, is_permanent);
    bool may_end = !is_wanted && is_proven(&forward->brokers, mark);
    if (may_end && is_permanent)
        return forward_reject_refused(forward, answer);
    if (may_end && settings->max_attempts > 0 && refusals >= settings->max_attempts)
        return forward_reject(forward, answer->id, SPOOL_REASON_ATTEMPTS, answer->code,
                              answer->boot_ms);
    int64_t delay_ms = (int64_t)refusal_backoff_ms(settings->backoff_min_ms,
                                                   settings->backoff_max_ms, refusals - 1);
    log_refused(forward, answer->code, delay_ms);
    return spool_return(forward->spool, answer->id, forward->turn->now.boot_ms + delay_ms);
}

/* The message waits, and is read for its topic alone. */
static void blame_topic(struct forward *forward, uint64_t id, int64_t due_ms, bool is_new)
{
    struct spool_time now = turn_spool_time(forward->turn);
    struct spool_message message;
    struct uplink_message out;
    char topic[UPLINK_TEXT_MAX] = "\"\"";
    uint64_t suppressed = 0;

    if (spool_next_of(forward->spool, &now, id, &message) != 0)
        return;
    if (shape_message(forward->shape, &message, &out))
        (void)log_quote(topic, sizeof(topic), out.topic.data, out.topic.size);
    hand_back(forward, id, due_ms);
    uplink_blame_topic(forward->uplink, topic);
    if (is_new && log_limit_pass(&forward->brokers.silence_warnings, forward->turn->now.boot_ms,
                                 &suppressed))
        log_warning("topic_unanswered topic=%s retry_ms=%" PRId64 " suppressed=%" PRIu64
                    " lost=no remedy=\"the broker takes messages of this topic and never "
                    "acknowledges them, and acknowledges others: look at the broker; they are "
                    "kept and sent again after growing pauses, others pass\"",
                    topic, due_ms - forward->turn->now.boot_ms, suppressed);
}

/* The connection ended without an answer: at once again, unless the broker is to blame. */
static int send_again(struct forward *forward, const struct uplink_answer *answer)
{
    const struct uplink_settings *settings = &forward->config->uplink;
    bool is_stalled = answer->cause == UPLINK_CAUSE_STALLED && answer->was_written;
    bool is_first = false, is_new = false;
    int64_t due_ms = 0;

    if (is_stalled) {
        turn_read_clock(forward->turn);
        const struct silence_event event = {
            .id = answer->id,
            .tag = answer->tag,
            .was_passed = answer->was_passed,
            .connection = forward->brokers.connects,
            .boot_ms = forward->turn->now.boot_ms,
            .min_ms = settings->backoff_min_ms,
            .max_ms = settings->backoff_max_ms,
        };
        due_ms = silence_note(&forward->silence, &event, &is_first, &is_new);
    }
    int r = spool_return(forward->spool, answer->id, due_ms);
    if (r == 0 && (is_first || is_new))
        blame_topic(forward, answer->id, due_ms, is_new);
    return settle_ignore_unknown(forward, answer->id, r);
}

static int end_refused(struct forward *forward, const struct uplink_answer *answer)
{
    if (forward->config->uplink.on_refusal == UPLINK_ON_REFUSAL_HOLD &&
        is_wanted_elsewhere(forward, answer, true))
        return wait_for_backoff(forward, answer, true);
    note_acknowledged(forward, answer);
    return forward_reject_refused(forward, answer);
}

static int end_message(struct forward *forward,
                       const struct uplink_answer *answer,
                       enum verdict_message message)
{
    const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE,
                                            answer->code >= 0 ? answer->code : SPOOL_NO_CODE};
    /* What was tried in a round lets others be tried. */
    bool was_tried = message == VERDICT_WAITS_FOR_LINK && forward->refusal->rounds.begun > 0;

    switch (message) {
    case VERDICT_ENDS_DELIVERED:
        note_acknowledged(forward, answer);
        if (answer->code == MQTT_NO_MATCHING_SUBSCRIBERS)
            forward->settled.unsubscribed++;
        return forward_settle(forward, answer->id, &delivered, answer->boot_ms);
    case VERDICT_ENDS_REJECTED:
        return end_refused(forward, answer);
    case VERDICT_WAITS_ITS_BACKOFF:
    case VERDICT_WAITS_FOR_PROOF:
        return wait_for_backoff(forward, answer, message == VERDICT_WAITS_FOR_PROOF);
    case VERDICT_IS_SENT_AGAIN:
        return send_again(forward, answer);
    case VERDICT_WAITS_FOR_LINK:
        break;
    }
    return settle_ignore_unknown(
        forward, answer->id,
        spool_return(forward->spool, answer->id, was_tried ? INT64_MAX : 0));
}

/* Without the mark of careful.c, which is no closing. */
static unsigned without_mark(unsigned closings)
{
    if (closings > POISON_CERTAIN)
        return closings - POISON_CERTAIN;
    return closings > POISON_ALONE ? closings - POISON_ALONE : closings;
}

static void log_suspected(uint64_t id, unsigned closings)
{
    log_warning("message_suspected id=%" PRIu64 " closings=%u remedy=\"so often the broker "
                "closed the connection while it owed the answer to this message first: others "
                "and it are sent alone, to find out whether it is the cause\"",
                id, closings);
}

/* Of several brokers each has to close at it, as each has to refuse what is refused. Not if the
 * process died at it. Return: does it wait for another one? */
static bool keep_for_another(struct forward *forward, uint64_t id)
{
    if (forward->poison.is_certain)
        return false;
    bool was_kept = waits_for_another(forward, id); /* the link changed meanwhile */
    if (!was_kept)
        (void)spool_mark_refused(forward->spool, id,
                                 others_mark(forward->brokers.current, true));
    if (!was_kept && !waits_for_another(forward, id))
        return false;
    hand_back(forward, id, forward->turn->now.boot_ms + OTHERS_AGAIN_MS);
    if (!was_kept)
        log_warning("message_poison id=%" PRIu64 " outcome=kept remedy=\"the broker closes "
                    "the connection at this message and takes others: it waits for another "
                    "broker of uplink.brokers, and is rejected if each closes at it\"",
                    id);
    return true;
}

static void log_poisons(const struct forward_settled *settled)
{
    for (unsigned i = 0; i < settled->poison_count; i++)
        log_warning(
            "message_poison id=%" PRIu64 " outcome=rejected remedy=\"the broker closes "
            "the connection at this message and takes others: mqtt-spool failures shows "
            "it; docs/brokers.md says what brokers do not take\"",
            settled->poisons[i]);
}

/* It waits, so it is handed out once more to be ended. Logged when that is committed. */
static int condemn(struct forward *forward)
{
    struct spool_time now = turn_spool_time(forward->turn);
    struct forward_settled *settled = &forward->settled;
    uint64_t id = forward->poison.suspect_id;
    struct spool_message message;
    int r = spool_next_of(forward->spool, &now, id, &message);

    if (r > 0) /* it has ended otherwise */
        return 0;
    if (r < 0)
        return r;
    uplink_excuse_broker(forward->uplink);
    if (keep_for_another(forward, id))
        return 0;
    r = reject_unsent(forward, id, SPOOL_REASON_POISON, SPOOL_NO_CODE);
    if (r != 0)
        return r;
    if (settled->poison_count < FORWARD_POISONS_MAX)
        settled->poisons[settled->poison_count++] = id;
    forward_commit_soon(forward);
    return 0;
}

static int apply_poison(struct forward *forward, enum poison_verdict verdict)
{
    struct poison *poison = &forward->poison;
    int r = 0;

    switch (verdict) {
    case POISON_CONTINUES:
    case POISON_BEGINS:
    case POISON_WAITS:
    case POISON_RETRIES:
        return 0;
    case POISON_ACQUITS:
        log_notice("message_acquitted id=%" PRIu64 " cause=\"the broker has answered it\"",
                   poison->suspect_id);
        if (forward->brokers.count == 1) /* else another one may still close at it */
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

/* The broker closed at a suspect. If no other broker may take it, each connection elsewhere
 * would only delay the proof. */
static void stay_for_proof(struct forward *forward, uint64_t id)
{
    const struct others_refusal refusal = refusal_so_far(forward, id);

    if (forward->poison.step != POISON_NONE && id == forward->poison.suspect_id &&
        find_elsewhere(forward, &refusal) == OTHERS_NONE)
        uplink_stay(forward->uplink);
}

/* The broker closed at the message. A suspect, or the other one, then lets others be sent. */
static int suspect_message(struct forward *forward, uint64_t id)
{
    unsigned closings = 0;

    careful_leave_mark(&forward->careful, id);
    int r = spool_count_closing(forward->spool, id, &closings);

    if (r == 0 && closings >= POISON_ALONE) /* more would be deaths of the process */
        r = spool_set_closings(forward->spool, id, closings - 1);
    if (r != 0)
        return settle_ignore_unknown(forward, id, r);
    enum poison_verdict verdict = poison_on_closing(&forward->poison, id, closings);
    if (verdict == POISON_BEGINS)
        log_suspected(id, without_mark(closings));
    stay_for_proof(forward, id);
    bool is_parked = verdict == POISON_WAITS ||
                     (forward->poison.step == POISON_OTHER && id == forward->poison.suspect_id);
    (void)spool_return(forward->spool, id, is_parked ? INT64_MAX : 0); /* it was in flight */
    return apply_poison(forward, verdict);
}

/* QoS 0 shows nothing: no broker answers it. */
static int clear_suspicion(struct forward *forward, const struct uplink_answer *answer)
{
    if (answer->cause == UPLINK_CAUSE_BROKER_CLOSED && answer->was_oldest) {
        turn_read_clock(forward->turn);
        poison_on_end(&forward->poison, forward->turn->now.boot_ms);
    }
    if (answer->acknowledged_boot_ms == 0)
        return 0;
    return apply_poison(
        forward, poison_on_answer(&forward->poison, answer->id, answer->acknowledged_boot_ms));
}

static enum verdict_policy policy_now(const struct forward *forward)
{
    return verdict_policy_of(forward->config->uplink.on_refusal,
                             refusal_is_in_doubt(forward->refusal),
                             forward->refusal->is_refused);
}

/* The link first: whether it is refused decides about the message that makes it so, too. */
static int apply_answer(struct forward *forward, const struct uplink_answer *answer)
{
    enum verdict_answer kind = verdict_answer_of(answer);
    enum verdict_policy policy = policy_now(forward);

    switch (verdict_of(kind, policy).link) {
    case VERDICT_LINK_OPENS:
        note_accepted(forward, answer);
        break;
    case VERDICT_LINK_COUNTS:
        count_refusal(forward, answer, kind == VERDICT_REFUSED);
        break;
    case VERDICT_LINK_SUSPECTS:
        return suspect_message(forward, answer->id);
    case VERDICT_LINK_RESUMES:
        resume_link(forward);
        break;
    case VERDICT_LINK_CONTINUES:
        break;
    }
    policy = policy_now(forward);
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

/* Whatever the broker answers shows that it answers this topic. */
static void note_silence(struct forward *forward, const struct uplink_answer *answer)
{
    silence_note_ended(&forward->silence, answer->id);
    if (answer->acknowledged_boot_ms > 0 &&
        silence_note_answer(&forward->silence, answer->tag, answer->id))
        spool_release_returned(forward->spool);
}

void forward_on_answer(void *userdata, const struct uplink_answer *answer)
{
    struct forward *forward = userdata;

    if (forward->turn->has_failed || forward->turn->has_moved)
        return;
    note_silence(forward, answer);
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
    forward_commit_soon(forward);
}

/* The link came up: what is there now is the backlog. */
static void begin_live(struct forward *forward)
{
    spool_begin_live(forward->spool);
    forward->stamp.link_id = spool_last_id(forward->spool);
}

/* A refusal belongs to the broker that gave it: what waits because of one is offered to another
 * broker at once, before it is left again. */
static void begin_broker(struct forward *forward, unsigned number)
{
    struct forward_brokers *brokers = &forward->brokers;

    poison_set_broker(&forward->poison, number);
    if (number == brokers->current || number >= brokers->count)
        return;
    brokers->current = number;
    brokers->since = ++brokers->moment;
    silence_forget(&forward->silence);
    forward->refusal = &brokers->all[number];
    refusal_begin_visit(forward->refusal);
    brokers->owed = spool_release_returned(forward->spool);
    uplink_hold_leave(forward->uplink, brokers->owed > 0);
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
    if (link.connects != forward->brokers.connects) {
        begin_live(forward);
        silence_begin(&forward->silence);
        begin_broker(forward, link.broker_index);
    }
    forward->brokers.connects = link.connects;
    forward_continue(forward);
}

int forward_init(struct forward *forward)
{
    forward->refusal_warnings = (struct log_limit){.interval_ms = 60000, .burst = 1};
    forward->brokers.silence_warnings = (struct log_limit){.interval_ms = 60000, .burst = 8};
    forward->token_warnings = (struct log_limit){.interval_ms = 60000, .burst = 1};
    forward->stamp.start_id = spool_last_id(forward->spool);
    forward->brokers.count = (unsigned)forward->config->uplink.broker_count;
    forward->brokers.all = calloc(forward->brokers.count, sizeof(*forward->brokers.all));
    if (!forward->brokers.all)
        return -ENOMEM;
    forward->refusal = forward->brokers.all;
    forward->brokers.since = forward->brokers.moment = 1;
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
    free(forward->brokers.all);
    forward->brokers.all = NULL;
}

void forward_flush(struct forward *forward)
{
    silence_hasten(&forward->silence);
    refusal_hasten(forward->refusal, forward->turn->now.boot_ms);
    spool_release_returned(forward->spool);
    forward_continue(forward);
}

void forward_note_committed(struct forward *forward)
{
    const struct forward_settled *settled = &forward->settled;
    struct counters *counters = forward->counters;

    counters->unsubscribed += settled->unsubscribed;
    counters->rejected += settled->rejected;
    if (settled->rejected > 0) {
        counters->rejected_reason = settled->rejected_reason;
        counters->rejected_code = settled->rejected_code;
    }
    log_poisons(settled);
    forward->settled = (struct forward_settled){0};
}
