/* SPDX-License-Identifier: MIT */
/*
 * edge.c - the batch edge: the one commit, then all that it makes true
 *
 *   gateway_on_edge      retention, the commit, acknowledgements, forwarding,
 *                        audit export
 *
 * The batch forms by itself: while a commit runs, sockets fill up. The first
 * append arms the edge, an idle-priority source that runs when no socket is
 * ready, at once when the batch is full, and after GATEWAY_EDGE_LATEST_MS at
 * the latest. Settlements wait for it, for a quarter of the window of them, for
 * GATEWAY_BATCH_BYTES or for GATEWAY_SETTLE_LATEST_MS, whichever is first.
 *
 * Invariant: nothing is acknowledged, reported or forwarded before the commit
 * that makes it true. A commit that fails on I/O is never retried: nothing of
 * the batch leaves, the loop ends with exit code 1 and systemd restarts the
 * daemon, which then reads from the disk what is true.
 */
#include "daemon/gateway/gateway-private.h"
#include "daemon/mqtt/packet.h"

/* By the time since the last batch: a batch waits for little of a mass eviction, and that takes
 * the same time under any load. */
static unsigned retain_budget(struct gateway *gateway)
{
    int64_t elapsed_ms = gateway->now.boot_ms - gateway->retained_ms;

    gateway->retained_ms = gateway->now.boot_ms;
    if (elapsed_ms > GATEWAY_RETAIN_PAUSE_MS)
        elapsed_ms = GATEWAY_RETAIN_PAUSE_MS;
    return (unsigned)elapsed_ms * GATEWAY_RETAIN_PER_MS;
}

static int retain(struct gateway *gateway, bool *ret_more)
{
    struct spool_time now = gateway_spool_time(gateway);
    unsigned ended = 0;
    bool more = false;
    int r = spool_retain(gateway->spool, &now, retain_budget(gateway), &ended, &more);

    if (r < 0)
        return r;
    /* Disk full or busy: the limits are looked at again in the next batch. */
    gateway->evicted_unlogged += ended;
    gateway->counters.ended += ended;
    *ret_more = r == 0 && more;
    return 0;
}

/* Also of producers that are gone. */
static void count_batch(struct gateway *gateway, bool stands)
{
    if (stands)
        gateway->counters.accepted += gateway->appended;
    else
        gateway->counters.refused += gateway->appended;
    gateway->appended = 0;
}

/* @ret_stands: false: the batch was rolled back, and its producers were told. */
static int commit(struct gateway *gateway, bool *ret_stands)
{
    struct spool_time now = gateway_spool_time(gateway);
    bool proves = spool_has_work(gateway->spool);

    gateway_bound_audit(gateway);
    int r = spool_commit(gateway->spool, &now);
    gateway_read_clock(gateway); /* the disk may have taken long */
    *ret_stands = r == 0;
    if (r < 0)
        return r;
    count_batch(gateway, r == 0);
    if (r == 0 || r == SPOOL_E_DISK)
        gateway_watch_disk(gateway, r == 0);
    if (r == 0 && proves)
        gateway_note_unlocked(gateway);
    if (r == 0)
        return 0;
    if (r == SPOOL_E_MOVED) {
        gateway_on_moved(gateway);
        return 0;
    }
    if (r == SPOOL_E_BUSY)
        gateway_note_locked(gateway);
    else
        gateway_note_short_disk(gateway);
    gateway_refuse_owed(gateway, MQTT_QUOTA_EXCEEDED);
    return 0;
}

static int export(struct gateway *gateway, bool *ret_more)
{
    int r = audit_export(gateway->audit, gateway->now.boot_ms, ret_more);

    if (r == 0)
        gateway_watch_audit(gateway);
    return r;
}

/* Which step it was is what whoever reads the log needs to know. */
static int told(struct gateway *gateway, int r, const char *step)
{
    if (r < 0)
        gateway_fail(gateway, r, step);
    return r;
}

/* The order is the contract: see the head of this file. What is committed already is forwarded
 * first, so that the link has work while the commit syncs. A failure was told. */
static int run_edge(struct gateway *gateway)
{
    bool more_to_evict = false, more_to_export = false, stands = false;
    int r = told(gateway, gateway_forward(gateway), "forward");

    if (r == 0)
        r = told(gateway, retain(gateway, &more_to_evict), "retain");
    if (r == 0)
        r = told(gateway, commit(gateway, &stands), "commit");
    if (r < 0 || gateway->moved)
        return r;
    if (stands) {
        gateway->settled = 0;
        gateway_acknowledge(gateway);
    }
    r = told(gateway, gateway_forward(gateway), "forward");
    if (r == 0 && stands)
        r = told(gateway, export(gateway, &more_to_export), "export");
    if (r < 0)
        return r;
    if (more_to_export)
        gateway_arm_edge(gateway);
    else if (stands && spool_settled_bytes(gateway->spool) >= GATEWAY_BATCH_BYTES)
        gateway_arm_edge(gateway);
    else if (more_to_evict)
        gateway_arm_edge_later(gateway, GATEWAY_RETAIN_PAUSE_MS);
    else if ((stands || gateway->locked) && spool_has_work(gateway->spool))
        gateway_arm_edge_later(gateway, GATEWAY_SETTLE_LATEST_MS);
    return 0;
}

int gateway_on_edge(sd_event_source *source, void *owner)
{
    struct gateway *gateway = owner;

    gateway->edge_armed = gateway->edge_awaited = false;
    (void)sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IDLE);
    (void)sd_event_source_set_enabled(gateway->edge_deadline, SD_EVENT_OFF);
    if (gateway->failed)
        return 0;
    gateway_read_clock(gateway);
    if (!gateway->moved && run_edge(gateway) < 0)
        return 0;
    if (gateway->failed)
        return 0;
    gateway_resume_waiting(gateway);
    gateway_free_closed(gateway);
    gateway_stop_further(gateway);
    return 0;
}
