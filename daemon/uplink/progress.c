/* SPDX-License-Identifier: MIT */
/*
 * progress.c - whether the broker answers and the line carries
 *
 * The oldest message without an answer decides, whatever becomes of the others. As long as the
 * peer does not have all of its bytes, each byte that the peer takes is progress, however slow
 * the line; from then on only the answer is. While the kernel takes no more bytes the library
 * reads no answers, so the bytes count then, too.
 *
 * The keep-alive likewise: after a PINGREQ the peer must take bytes until it has those of the
 * PINGREQ, and then something must come.
 *
 * Invariant: while the link is online, the timer is not later than the next check that could
 * find the link stalled or silent.
 */
#include "daemon/uplink/uplink-private.h"

/* Checks within one timeout: bytes are seen as progress when a check finds them. */
#define CHECKS 4

static void check_by(struct uplink *uplink, int64_t due_ms)
{
    if (!uplink->timer.is_armed || uplink->timer.due_ms > due_ms)
        uplink_timer_set(&uplink->timer, due_ms);
}

static int64_t check_interval_ms(uint64_t timeout_ms)
{
    return timeout_ms >= CHECKS ? (int64_t)(timeout_ms / CHECKS) : 1;
}

void uplink_progress_note_answer(struct uplink *uplink, int64_t now_ms)
{
    uplink->progress.answer_ms = now_ms;
    uplink->timer.is_extended = false;
}

void uplink_progress_expect(struct uplink *uplink)
{
    uplink_progress_note_answer(uplink, uplink_now_ms());
    if (uplink->settings->ack_timeout_ms > 0)
        check_by(uplink, uplink->progress.answer_ms +
                             check_interval_ms(uplink->settings->ack_timeout_ms));
}

/* Has the peer not all of what it must have before it can answer the PINGREQ? */
static bool carries_ping(const struct uplink_progress *progress)
{
    struct paho_link_ping ping;

    return !paho_link_get_ping(&ping) || progress->taken < ping.end;
}

/* In a build that does not know the traffic, only answers are progress. */
static void note_traffic(struct uplink *uplink)
{
    struct uplink_progress *progress = &uplink->progress;
    struct uplink_slot *oldest = TAILQ_FIRST(&uplink->slots.sent);
    struct paho_link_traffic traffic;

    if (!paho_link_get_traffic(&traffic))
        return;
    bool has_taken = traffic.taken > progress->taken;
    if (has_taken && oldest && (!oldest->is_taken || traffic.is_blocked))
        uplink_progress_note_answer(uplink, uplink_now_ms());
    if (oldest && !oldest->is_taken)
        oldest->is_taken = paho_link_is_taken(oldest->packet_id);
    if (traffic.received > progress->received || (has_taken && carries_ping(progress)))
        progress->line_ms = uplink_now_ms();
    progress->taken = traffic.taken;
    progress->received = traffic.received;
}

/* Return: when an answer of the oldest is overdue; INT64_MAX: none is awaited. */
static int64_t answer_due_ms(const struct uplink *uplink)
{
    uint64_t timeout_ms = uplink->settings->ack_timeout_ms;

    if (uplink->slots.in_flight == 0 || timeout_ms == 0)
        return INT64_MAX;
    return uplink->progress.answer_ms + (int64_t)timeout_ms;
}

/* As the library has it: half as long again as the keep-alive. INT64_MAX: none is awaited. */
static int64_t ping_due_ms(const struct uplink *uplink)
{
    int64_t line_ms = uplink->progress.line_ms;
    struct paho_link_ping ping;

    if (uplink->client.keepalive_s == 0 || !paho_link_get_ping(&ping))
        return INT64_MAX;
    int64_t since_ms = line_ms > ping.since_boot_ms ? line_ms : ping.since_boot_ms;
    return since_ms + (int64_t)uplink->client.keepalive_s * 1500;
}

enum uplink_health uplink_progress_check(struct uplink *uplink)
{
    int64_t now_ms = uplink_now_ms();

    note_traffic(uplink);
    int64_t answer_ms = answer_due_ms(uplink);
    int64_t ping_ms = ping_due_ms(uplink);
    if (now_ms >= answer_ms)
        return UPLINK_STALLED;
    if (now_ms >= ping_ms)
        return UPLINK_SILENT;
    if (answer_ms < INT64_MAX) {
        check_by(uplink, answer_ms);
        check_by(uplink, now_ms + check_interval_ms(uplink->settings->ack_timeout_ms));
    }
    if (ping_ms < INT64_MAX)
        check_by(uplink, ping_ms);
    if (uplink->client.keepalive_s > 0)
        check_by(uplink, now_ms + (int64_t)uplink->client.keepalive_s * 500);
    return UPLINK_HEALTHY;
}

void uplink_progress_begin(struct uplink *uplink)
{
    uplink->progress = (struct uplink_progress){.line_ms = uplink_now_ms()};
    (void)uplink_progress_check(uplink); /* nothing is awaited yet */
}
