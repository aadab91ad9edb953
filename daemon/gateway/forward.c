/* SPDX-License-Identifier: MIT */
/*
 * forward.c - out: what is committed goes to the broker, and what its answers make of it
 *
 *   gateway_forward      hands over what is committed while the window has room
 *   gateway_on_refill    the same between two batch edges
 *   gateway_on_answer    the broker's word: settle, or pending again
 *
 * The window counts what is in flight and what is settled but not committed: a
 * crash sends both again, so it repeats one window of messages at the most.
 *
 * Invariant: nothing is forwarded before the commit that makes it true; nor where
 * its end could not be recorded: after a start, and after a commit that had no
 * room, not before one has succeeded, which each tick tries.
 */
#include <inttypes.h>

#include "base/failpoint.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/mqtt/packet.h"

static struct uplink_message forwarded(const struct spool_message *message)
{
    return (struct uplink_message){
        .id = message->id,
        .topic = {message->topic.data, message->topic.size},
        .payload = {message->payload.data, message->payload.size},
        .properties = {message->properties.data, message->properties.size},
        .qos = message->qos,
        .retain = message->retain,
        .expiry_ms = message->expiry_ms,
    };
}

/* The store's answer about a message that is said to be in flight. */
static int known(struct gateway *gateway, uint64_t id, int r)
{
    uint64_t suppressed = 0;

    if (r != SPOOL_E_UNKNOWN)
        return r;
    gateway_read_clock(gateway);
    if (log_limit_pass(&gateway->token_warnings, gateway->now.boot_ms, &suppressed))
        log_error("answer_without_token id=%" PRIu64 " ignored=yes suppressed=%" PRIu64, id,
                  suppressed);
    return 0;
}

/* Takes a place of the window until the commit, for a crash would send it again. */
static int settle(struct gateway *gateway, uint64_t id, const struct spool_verdict *verdict)
{
    int r = spool_settle(gateway->spool, id, verdict);

    if (r == 0) {
        gateway->counters.ended++;
        gateway->settled++;
    }
    return known(gateway, id, r);
}

/* What this broker can never take is settled, else it would stand in the way for ever. */
static int reject(struct gateway *gateway, uint64_t id, enum spool_reason reason, int code)
{
    const struct spool_verdict verdict = {SPOOL_REJECTED, reason, code};

    return settle(gateway, id, &verdict);
}

static int
send_one(struct gateway *gateway, const struct spool_message *message, bool *ret_go_on)
{
    struct uplink_message out = forwarded(message);
    uint64_t id = message->id;
    int r = uplink_send(gateway->uplink, &out);

    *ret_go_on = true;
    switch (r) {
    case UPLINK_E_TOO_LARGE:
        spool_uncount_attempt(gateway->spool, id);
        return reject(gateway, id, SPOOL_REASON_TOO_LARGE, SPOOL_NO_CODE);
    case UPLINK_E_RETAIN: /* what a broker that announced so would answer */
        spool_uncount_attempt(gateway->spool, id);
        return reject(gateway, id, SPOOL_REASON_REASON_CODE, MQTT_RETAIN_NOT_SUPPORTED);
    case UPLINK_E_OFFLINE:
    case UPLINK_E_FULL:
        spool_uncount_attempt(gateway->spool, id);
        (void)spool_return(gateway->spool, id, 0); /* it was handed out just now */
        *ret_go_on = false;
        return 0;
    default:
        return r;
    }
}

/* What the link refused as too large, or what had expired, takes none of its bytes: so much of it
 * at most waits for a commit. */
static bool has_room(const struct gateway *gateway)
{
    return uplink_room(gateway->uplink) > gateway->settled &&
           spool_settled_bytes(gateway->spool) < GATEWAY_SETTLED_BYTES;
}

/* A database that is locked, like an empty one, has nothing to forward now; what else the edge
 * has to do does not depend on it. */
int gateway_forward(struct gateway *gateway)
{
    struct spool_time now = gateway_spool_time(gateway);
    bool go_on = gateway->phase == GATEWAY_SERVING;
    int r = 0;

    uplink_cork(gateway->uplink);
    while (r == 0 && go_on && has_room(gateway)) {
        struct spool_message message;

        r = spool_next(gateway->spool, &now, &message);
        if (r == 0)
            r = send_one(gateway, &message, &go_on);
    }
    uplink_uncork(gateway->uplink);
    return r < 0 ? r : 0;
}

/*
 * Between two edges: what is committed already goes out at once when the link
 * comes up or a message comes back. A quarter of the window of answers is enough
 * to commit for: three quarters then keep the link busy while the disk syncs.
 */
int gateway_on_refill(sd_event_source *source, void *owner)
{
    struct gateway *gateway = owner;

    gateway->refill_armed = false;
    (void)sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IDLE);
    (void)sd_event_source_set_enabled(gateway->refill_deadline, SD_EVENT_OFF);
    if (gateway->failed || gateway->moved)
        return 0;
    gateway_read_clock(gateway);
    int r = gateway_forward(gateway);
    if (r < 0)
        gateway_fail(gateway, r, "forward");
    else if (gateway->settled * 4 >= gateway->window ||
             spool_settled_bytes(gateway->spool) >= GATEWAY_BATCH_BYTES)
        gateway_arm_edge(gateway);
    else if (spool_has_work(gateway->spool))
        gateway_arm_edge_later(gateway, GATEWAY_SETTLE_LATEST_MS);
    return 0;
}

/* At idle priority, as the edge is, and like it not later than its deadline. */
static void arm_refill(struct gateway *gateway)
{
    if (gateway->refill_armed || gateway->phase == GATEWAY_ENDED)
        return;
    gateway->refill_armed = true;
    int r = sd_event_source_set_enabled(gateway->refill, SD_EVENT_ONESHOT);
    if (r >= 0)
        r = gateway_set_deadline(gateway->refill_deadline, GATEWAY_EDGE_LATEST_MS);
    if (r < 0)
        gateway_fail(gateway, r, "refill");
}

int gateway_on_refill_deadline(sd_event_source *source, uint64_t usec, void *owner)
{
    struct gateway *gateway = owner;

    (void)source;
    (void)usec;
    (void)sd_event_source_set_priority(gateway->refill, SD_EVENT_PRIORITY_IMPORTANT);
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
static int64_t transient_delay_ms(struct gateway *gateway)
{
    uint64_t delay_ms = gateway->config->uplink.backoff_min_ms;
    uint64_t max_ms = gateway->config->uplink.backoff_max_ms;

    for (unsigned i = 0; i < gateway->transient_in_a_row && delay_ms < max_ms; i++)
        delay_ms *= 2;
    gateway->transient_in_a_row++;
    return (int64_t)(delay_ms < max_ms ? delay_ms : max_ms);
}

/* The link stands and nothing gets through: without this line nobody would know why. */
static void warn_refused(struct gateway *gateway, int code, int64_t delay_ms)
{
    uint64_t suppressed = 0;

    if (log_limit_pass(&gateway->refusal_warnings, gateway->now.boot_ms, &suppressed))
        log_warning("broker_refuses code=0x%02X reason=\"%s\" retry_ms=%" PRId64
                    " suppressed=%" PRIu64 " lost=no remedy=\"look at the broker's limits for "
                    "this client id; the messages are kept and sent again\"",
                    (unsigned)code, packet_reason_text(code), delay_ms, suppressed);
}

/* The answer that the status shows: one by which a message ends. A refusal that may pass is none. */
static void note_acknowledged(struct gateway *gateway, const struct uplink_answer *answer)
{
    if (answer->acknowledged_boot_ms > 0)
        gateway->acknowledged_boot_ms = answer->acknowledged_boot_ms;
}

static int on_refused(struct gateway *gateway, const struct uplink_answer *answer)
{
    if (is_permanent(answer->code)) {
        note_acknowledged(gateway, answer);
        return reject(gateway, answer->id, SPOOL_REASON_REASON_CODE, answer->code);
    }
    gateway_read_clock(gateway);
    int64_t delay_ms = transient_delay_ms(gateway);
    warn_refused(gateway, answer->code, delay_ms);
    return known(gateway, answer->id,
                 spool_return(gateway->spool, answer->id, gateway->now.boot_ms + delay_ms));
}

/* While the daemon stops nothing is forwarded any more. */
static void go_on(struct gateway *gateway)
{
    if (gateway->phase == GATEWAY_SERVING)
        arm_refill(gateway);
    else
        gateway_arm_edge(gateway);
}

void gateway_on_answer(void *owner, const struct uplink_answer *answer)
{
    static const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE,
                                                   SPOOL_NO_CODE};
    struct gateway *gateway = owner;
    int r = 0;

    if (gateway->failed || gateway->moved)
        return;
    FAILPOINT("answer.before_settle");
    switch (answer->kind) {
    case UPLINK_DELIVERED:
        gateway->transient_in_a_row = 0;
        note_acknowledged(gateway, answer);
        r = settle(gateway, answer->id, &delivered);
        break;
    case UPLINK_REFUSED:
        r = on_refused(gateway, answer);
        break;
    case UPLINK_UNKNOWN:
        r = known(gateway, answer->id, spool_return(gateway->spool, answer->id, 0));
        break;
    }
    FAILPOINT("answer.after_settle");
    if (r < 0)
        gateway_fail(gateway, r, "settle");
    go_on(gateway);
}

void gateway_on_link(void *owner)
{
    struct gateway *gateway = owner;
    struct uplink_link link;

    if (gateway->failed)
        return;
    uplink_get_link(gateway->uplink, &link);
    gateway->window = link.window;
    if (link.state != gateway->link_state)
        gateway_hasten_status(gateway);
    gateway->link_state = link.state;
    go_on(gateway);
}
