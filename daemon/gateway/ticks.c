/* SPDX-License-Identifier: MIT */
/*
 * ticks.c - what happens by time alone: each second, and each status interval
 *
 * Invariant: what comes due without traffic (ages, expiries, the sync of the audit
 * file, the end of a shortage) waits for one tick at the most.
 */
#include <inttypes.h>
#include <malloc.h>

#include "daemon/gateway/gateway-private.h"

/* By a limit or by their own expiry; "evicted" is the word for the first alone. */
static void log_ended_undelivered(struct gateway *gateway)
{
    if (gateway->evicted_unlogged == 0 ||
        gateway->now.boot_ms - gateway->evicted_logged_ms < GATEWAY_EVICTED_LOG_MS)
        return;
    int64_t since_ms = gateway->evicted_logged_ms > gateway->started_boot_ms
                           ? gateway->evicted_logged_ms
                           : gateway->started_boot_ms; /* the first line comes at once */
    log_warning("ended_undelivered messages=%" PRIu64 " since_ms=%" PRId64
                " remedy=\"mqtt-spool failures names each, its lane and the limit\"",
                gateway->evicted_unlogged, gateway->now.boot_ms - since_ms);
    gateway->evicted_unlogged = 0;
    gateway->evicted_logged_ms = gateway->now.boot_ms;
}

/* All is well so far, but for how long? */
void gateway_log_repeated_reads(struct gateway *gateway)
{
    uint64_t repeated = spool_reads_repeated();
    uint64_t suppressed; /* ticks, which say nothing */

    if (repeated == gateway->reads_logged ||
        !log_limit_pass(&gateway->read_warnings, gateway->now.boot_ms, &suppressed))
        return;
    log_warning("spool_reads_repeated failed=%" PRIu64 " lost=no remedy=\"the disk begins to "
                "fail: look at it (journalctl -k)\"",
                repeated - gateway->reads_logged);
    gateway->reads_logged = repeated;
}

/*
 * What a crowd of clients had buffered lies free in the heap when they are gone, and stays there
 * as long as one small block lies behind it: 110 MB after 500 clients. It costs microseconds where
 * there is little to give, and 1.5 ms for 10,000 pieces.
 */
static void give_memory_back(void)
{
    (void)malloc_trim(0); /* false: there was nothing to give */
}

/* Ages and expiries come due without any traffic, and so does the sync of the audit file. An
 * edge with nothing to write touches no disk. */
int gateway_on_tick(sd_event_source *source, uint64_t usec, void *owner)
{
    struct gateway *gateway = owner;

    (void)usec;
    gateway_read_clock(gateway);
    log_flush();
    service_tick(gateway->now.boot_ms);
    gateway_verify_files(gateway);
    listener_verify(gateway->listener);
    log_ended_undelivered(gateway);
    gateway_log_repeated_reads(gateway);
    if (gateway->counters.accepted != gateway->rates.accepted ||
        gateway->counters.ended != gateway->rates.ended)
        gateway_hasten_status(gateway);
    if (gateway->now.boot_ms >= audit_due_ms(gateway->audit) && !gateway->moved)
        audit_sync(gateway->audit, gateway->now.boot_ms);
    gateway_look_for_room(gateway);
    if (!gateway->failed)
        gateway_arm_edge(gateway);
    give_memory_back();
    return gateway_set_timer(source, GATEWAY_TICK_MS);
}

int gateway_on_status_timer(sd_event_source *source, uint64_t usec, void *owner)
{
    struct gateway *gateway = owner;

    (void)usec;
    gateway_read_clock(gateway);
    gateway_publish_status(gateway);
    return gateway_set_timer(source, gateway->config->status_interval_ms);
}
