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
 * Diagnostics: broker_refuses, answer_without_token.
 */
#include "daemon/gateway/forward.h"

#include <inttypes.h>
#include <systemd/sd-event.h>

#include "base/failpoint.h"
#include "base/view.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/shape.h"
#include "daemon/gateway/turn.h"
#include "daemon/mqtt/packet.h"
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
    if (!shape_message(forward->shape, message, &out)) { /* as a broker would answer */
        spool_uncount_attempt(forward->spool, id);
        return forward_reject(forward, id, SPOOL_REASON_REASON_CODE, MQTT_TOPIC_NAME_INVALID);
    }
    int r = forward_pass(forward, message, &out);

    switch (r) {
    case UPLINK_E_TOO_LARGE:
        spool_uncount_attempt(forward->spool, id);
        return forward_reject(forward, id, SPOOL_REASON_TOO_LARGE, SPOOL_NO_CODE);
    case UPLINK_E_RETAIN: /* what a broker that announced so would answer */
        spool_uncount_attempt(forward->spool, id);
        return forward_reject(forward, id, SPOOL_REASON_REASON_CODE, MQTT_RETAIN_NOT_SUPPORTED);
    case UPLINK_E_OTHER_BROKER:
        spool_uncount_attempt(forward->spool, id);
        *ret_continues = forward_may_defer(forward);
        return settle_ignore_unknown(
            forward, id,
            spool_return(forward->spool, id,
                         forward->turn->now.boot_ms + GATEWAY_OTHER_BROKER_MS));
    case UPLINK_E_OFFLINE:
    case UPLINK_E_FULL:
        spool_uncount_attempt(forward->spool, id);
        (void)spool_return(forward->spool, id, 0); /* it was handed out just now */
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

        r = spool_next(forward->spool, &now, &message);
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

/*
 * Which refusals no repetition can change (MQTT 5, 3.4.2.1 and 4.13): the
 * message itself is at fault, or not allowed. All others may pass: quota,
 * server busy, implementation specific and unspecified errors.
 */
static bool is_permanent(int code)
{
    switch (code) {
    case MQTT_NOT_AUTHORIZED:
    case MQTT_TOPIC_NAME_INVALID:
    case MQTT_PACKET_TOO_LARGE:
    case MQTT_PAYLOAD_FORMAT_INVALID:
    case MQTT_QOS_NOT_SUPPORTED:
    case MQTT_RETAIN_NOT_SUPPORTED:
        return true;
    default:
        return false;
    }
}

/* Doubles with each refusal in a row, as the reconnect backoff does. */
static int64_t transient_delay_ms(struct forward *forward)
{
    uint64_t delay_ms = forward->config->uplink.backoff_min_ms;
    uint64_t max_ms = forward->config->uplink.backoff_max_ms;

    for (unsigned i = 0; i < forward->transient_in_a_row && delay_ms < max_ms; i++)
        delay_ms *= 2;
    forward->transient_in_a_row++;
    return (int64_t)(delay_ms < max_ms ? delay_ms : max_ms);
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

/* The status shows when the last message ended by an answer. A refusal that may pass ends none.
 *  */
static void note_acknowledged(struct forward *forward, const struct uplink_answer *answer)
{
    if (answer->acknowledged_boot_ms > 0)
        forward->acknowledged_boot_ms = answer->acknowledged_boot_ms;
}

static int on_refused(struct forward *forward, const struct uplink_answer *answer)
{
    if (is_permanent(answer->code)) {
        note_acknowledged(forward, answer);
        return forward_reject(forward, answer->id, SPOOL_REASON_REASON_CODE, answer->code);
    }
    turn_read_clock(forward->turn);
    int64_t delay_ms = transient_delay_ms(forward);
    log_refused(forward, answer->code, delay_ms);
    return settle_ignore_unknown(
        forward, answer->id,
        spool_return(forward->spool, answer->id, forward->turn->now.boot_ms + delay_ms));
}

static int on_delivered(struct forward *forward, const struct uplink_answer *answer)
{
    const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE,
                                            answer->code >= 0 ? answer->code : SPOOL_NO_CODE};

    forward->transient_in_a_row = 0;
    note_acknowledged(forward, answer);
    if (answer->code == MQTT_NO_MATCHING_SUBSCRIBERS)
        forward->counters->unsubscribed++;
    return forward_settle(forward, answer->id, &delivered);
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
    int r = 0;

    if (forward->turn->has_failed || forward->turn->has_moved)
        return;
    FAILPOINT("answer.before_settle");
    switch (answer->kind) {
    case UPLINK_DELIVERED:
        r = on_delivered(forward, answer);
        break;
    case UPLINK_REFUSED:
        r = on_refused(forward, answer);
        break;
    case UPLINK_UNKNOWN:
        r = settle_ignore_unknown(forward, answer->id,
                                  spool_return(forward->spool, answer->id, 0));
        break;
    }
    FAILPOINT("answer.after_settle");
    if (r < 0)
        turn_fail(forward->turn, r, "settle");
    forward_continue(forward);
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
    if (link.state != forward->link_state)
        status_hasten(forward->status);
    forward->link_state = link.state;
    if (link.connects != forward->connects)
        begin_live(forward);
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
