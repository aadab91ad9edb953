/* SPDX-License-Identifier: MIT */
/*
 * edge.c - the batch edge: the one commit, then all that it makes true
 *
 * The steps, in this order: what is committed already is forwarded; wills are added to the
 * batch; retention; a step of an operator's command; the commit; acknowledgements; forwarding
 * of what is committed now; outcomes to those that have subscribed to them; audit export;
 * reports and seals, which are messages of the next batch; answers to operators.
 *
 * The batch forms by itself: while a commit runs, sockets fill up. The first
 * append arms the edge, an idle-priority source that runs when no socket is
 * ready, and after GATEWAY_EDGE_LATEST_MS at the latest. A socket whose client has
 * used its share of the batch is not ready (batch.c). Settlements wait for that
 * edge, for a quarter of the window of them, for GATEWAY_BATCH_BYTES or for
 * GATEWAY_SETTLE_LATEST_MS, whichever is first.
 *
 * With spool.commit_interval commits are at least so far apart, and what comes
 * meanwhile shares the next one; an edge that comes earlier only forwards. One
 * does not wait for it if a client was held back because the batch has no more room for
 * it, if what was settled or is to be evicted needs a commit, or at the stop.
 *
 * Invariant: nothing is acknowledged, reported or forwarded before the commit
 * that makes it true. A commit that fails on I/O is never retried: nothing of
 * the batch leaves, the loop ends with exit code 1 and systemd restarts the
 * daemon, which then reads from the disk what is true.
 */
#include "base/clock.h"
#include "daemon/audit/audit.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/outcomes.h"
#include "daemon/gateway/sessions.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

/* In proportion to the time since the last batch: a mass eviction delays a batch only a little,
 * and takes the same time under any load. */
static unsigned retain_budget(struct gateway *gateway)
{
    int64_t elapsed_ms = gateway->turn.now.boot_ms - gateway->edge.retained_ms;

    gateway->edge.retained_ms = gateway->turn.now.boot_ms;
    if (elapsed_ms > GATEWAY_RETAIN_PAUSE_MS)
        elapsed_ms = GATEWAY_RETAIN_PAUSE_MS;
    return (unsigned)elapsed_ms * GATEWAY_RETAIN_PER_MS;
}

static int edge_retain(struct gateway *gateway, bool *ret_more)
{
    struct spool_time now = turn_spool_time(&gateway->turn);
    unsigned ended; /* the ledger counts them, once they are committed */
    bool more = false;
    int r = spool_retain(gateway->spool, &now, retain_budget(gateway), &ended, &more);

    if (r < 0)
        return r;
    /* Disk full or busy: the next batch checks the limits again. */
    *ret_more = r == 0 && more;
    return 0;
}

/* Also messages of producers that have left. @r: of the commit. */
static void count_batch(struct gateway *gateway, int r)
{
    enum intake_full why = r == SPOOL_E_BUSY    ? INTAKE_FULL_LOCKED
                           : r == SPOOL_E_MOVED ? INTAKE_FULL_MOVED
                                                : INTAKE_FULL_DISK;

    if (r == 0)
        gateway->counters.accepted += gateway->edge.appended;
    else if (gateway->edge.appended > 0)
        counters_note_refused(&gateway->counters, gateway->edge.appended, intake_full_name(why),
                              gateway->turn.now.boot_ms);
    gateway->edge.appended = 0;
}

/* @ret_is_committed: false: the batch was rolled back, and its messages are refused. */
static int edge_commit(struct gateway *gateway, bool *ret_is_committed)
{
    struct spool_time now = turn_spool_time(&gateway->turn);
    bool has_written = spool_has_work(gateway->spool);

    audit_watch_bound(&gateway->audit_watch);
    uint64_t began_us = clock_monotonic_us();
    int r = spool_commit(gateway->spool, &now);
    if (gateway->edge.appended > 0)
        batch_note_commit(&gateway->batch, clock_monotonic_us() - began_us);
    turn_read_clock(&gateway->turn); /* the disk may have taken long */
    if (has_written) {
        gateway->edge.committed_ms = gateway->turn.now.boot_ms;
        gateway->edge.has_committed = true;
    }
    *ret_is_committed = r == 0;
    if (r < 0)
        return r;
    count_batch(gateway, r);
    if (r == 0 || r == SPOOL_E_DISK)
        intake_watch_disk(&gateway->intake, r == 0);
    if (r == 0 && has_written)
        intake_note_unlocked(&gateway->intake);
    if (r == 0)
        return 0;
    if (r == SPOOL_E_MOVED) {
        moved_note(&gateway->moved);
        return 0;
    }
    if (r == SPOOL_E_BUSY)
        intake_note_locked(&gateway->intake);
    else
        intake_note_short_disk(&gateway->intake);
    clients_refuse_owed(&gateway->clients, MQTT_QUOTA_EXCEEDED);
    return 0;
}

static int edge_export(struct gateway *gateway, bool *ret_more)
{
    int r = audit_export(gateway->audit, gateway->turn.now.boot_ms, ret_more);

    if (r == 0)
        audit_watch_check(&gateway->audit_watch);
    return r;
}

/* May this edge commit? @ret_wait_ms: if not, when one may. Without work there is no commit. */
static bool edge_is_due(struct gateway *gateway, uint64_t *ret_wait_ms)
{
    int64_t interval_ms = (int64_t)gateway->config->spool.commit_interval_ms;
    int64_t since_ms = gateway->turn.now.boot_ms - gateway->edge.committed_ms;

    if (interval_ms == 0 || !gateway->edge.has_committed || since_ms >= interval_ms ||
        gateway->edge_timer.is_urgent || gateway->intake.lock.is_held ||
        stop_has_begun(&gateway->stop) || !spool_has_work(gateway->spool))
        return true;
    *ret_wait_ms = (uint64_t)(interval_ms - since_ms);
    return false;
}

/* A failure is logged with the step in which it occurred. */
static int edge_fail_if(struct gateway *gateway, int r, const char *step)
{
    if (r < 0)
        turn_fail(&gateway->turn, r, step);
    return r;
}

/* The order is the contract: see the head of this file. What is committed already is forwarded
 * first, so that the link has work while the commit syncs. A failure has been logged. */
static int edge_run(struct gateway *gateway)
{
    bool more_to_evict = false, more_to_export = false, is_committed = false;
    uint64_t wait_ms = 0;
    int r = edge_fail_if(gateway, forward_run(&gateway->forward), "forward");

    if (r == 0)
        r = edge_fail_if(gateway, gateway_run_wills(gateway), "append_will");
    if (r == 0 && !edge_is_due(gateway, &wait_ms)) {
        edge_timer_arm_later(&gateway->edge_timer, wait_ms);
        return 0;
    }
    gateway->edge_timer.is_urgent = false;
    if (r == 0)
        r = edge_fail_if(gateway, edge_retain(gateway, &more_to_evict), "retain");
    if (r == 0)
        r = edge_fail_if(gateway, control_step(gateway), "control");
    if (r == 0)
        r = edge_fail_if(gateway, edge_commit(gateway, &is_committed), "commit");
    if (r == 0)
        gateway_settle_wills(gateway, is_committed);
    if (r < 0 || gateway->turn.has_moved)
        return r;
    control_note_commit(gateway, is_committed);
    if (is_committed) {
        forward_note_committed(&gateway->forward);
        status_note_hold(&gateway->status, spool_is_held(gateway->spool, NULL));
        clients_acknowledge(&gateway->clients);
    } else {
        outcomes_discard(&gateway->feed.outcomes);
        feed_note_lost(&gateway->feed);
    }
    r = edge_fail_if(gateway, forward_run(&gateway->forward), "forward");
    if (r == 0 && is_committed)
        outcomes_release(&gateway->feed.outcomes);
    if (r == 0 && is_committed)
        r = edge_fail_if(gateway, edge_export(gateway, &more_to_export), "export");
    if (r == 0 && is_committed)
        r = edge_fail_if(gateway, report_run(&gateway->report), "report");
    if (r == 0 && is_committed)
        r = edge_fail_if(gateway, seal_topic_run(&gateway->seal_topic), "seal_topic");
    if (r < 0)
        return r;
    bool has_large_work =
        more_to_export ||
        (is_committed && spool_settled_bytes(gateway->spool) >= GATEWAY_BATCH_BYTES);
    if (has_large_work) {
        edge_timer_arm_urgent(&gateway->edge_timer);
    } else if (more_to_evict) {
        edge_timer_set_urgent(&gateway->edge_timer);
        edge_timer_arm_later(&gateway->edge_timer, GATEWAY_RETAIN_PAUSE_MS);
    } else if ((is_committed || gateway->intake.lock.is_held) && spool_has_work(gateway->spool))
        edge_timer_arm_later(&gateway->edge_timer, GATEWAY_WORK_LATEST_MS);
    return 0;
}

int gateway_on_edge(sd_event_source *source, void *userdata)
{
    struct gateway *gateway = userdata;

    (void)source;
    edge_timer_begin(&gateway->edge_timer);
    if (gateway->turn.has_failed)
        return 0;
    turn_read_clock(&gateway->turn);
    if (!gateway->turn.has_moved && edge_run(gateway) < 0)
        return 0;
    if (gateway->turn.has_failed)
        return 0;
    client_sessions_confirm(&gateway->clients.sessions);
    feed_confirm(&gateway->feed);
    if (!gateway->turn.has_moved)
        control_answer(gateway);
    clients_resume_waiting(&gateway->clients);
    edge_timer_postpone(&gateway->edge_timer); /* sockets had no turn since */
    clients_free_closed(&gateway->clients);
    stop_advance(&gateway->stop);
    return 0;
}
