/* SPDX-License-Identifier: MIT */
/*
 * ticks.c - what happens by time alone: each second, and each status interval
 *
 * Invariant: what comes due without traffic (ages, expiries, the sync of the audit
 * file, the end of a shortage) waits for one tick at the most.
 *
 * Diagnostics: ended_undelivered, spool_reads_repeated.
 */
#include "daemon/gateway/ticks.h"

#include <inttypes.h>
#include <malloc.h>

#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/limits.h"
#include "daemon/host/service.h"
#include "daemon/ingress/listener.h"
#include "store/spool.h"

/* Between two lines about messages that ended undelivered, and about repeated reads. */
#define UNDELIVERED_LOG_MS 10000
#define READS_LOG_MS       600000

/* By a limit or by their own expiry; "evicted" is the word for the first alone. */
static void log_ended_undelivered(struct ticks *ticks)
{
    int64_t now_ms = ticks->turn->now.boot_ms, since_ms = ticks->undelivered_logged_ms;

    if (ticks->undelivered == 0 || now_ms - since_ms < UNDELIVERED_LOG_MS)
        return;
    if (since_ms < ticks->turn->started_boot_ms)
        since_ms = ticks->turn->started_boot_ms; /* the first line comes at once */
    log_warning("ended_undelivered messages=%" PRIu64 " since_ms=%" PRId64
                " remedy=\"mqtt-spool failures names each, its lane and the limit\"",
                ticks->undelivered, now_ms - since_ms);
    ticks->undelivered = 0;
    ticks->undelivered_logged_ms = now_ms;
}

void ticks_init(struct ticks *ticks, const struct turn *turn)
{
    ticks->turn = turn;
    ticks->undelivered_logged_ms = turn->now.boot_ms - UNDELIVERED_LOG_MS;
    ticks->read_warnings = (struct log_limit){.interval_ms = READS_LOG_MS, .burst = 1};
}

/* Each was read at last, but the disk may fail soon. */
void ticks_log_repeated_reads(struct ticks *ticks)
{
    uint64_t repeated = spool_reads_repeated();
    uint64_t suppressed; /* not logged: it counts ticks */

    if (repeated == ticks->reads_logged ||
        !log_limit_pass(&ticks->read_warnings, ticks->turn->now.boot_ms, &suppressed))
        return;
    log_warning("spool_reads_repeated failed=%" PRIu64 " lost=no remedy=\"the disk begins to "
                "fail: look at it (journalctl -k)\"",
                repeated - ticks->reads_logged);
    ticks->reads_logged = repeated;
}

/*
 * The buffers of a crowd of clients are free in the heap after they have left, and stay there
 * as long as one small block lies behind them: 110 MB after 500 clients. Trimming takes
 * microseconds if there is little to return, and 1.5 ms for 10,000 pieces.
 */
static void return_memory(void)
{
    (void)malloc_trim(0); /* 0: there was nothing to return */
}

/* An edge with nothing to write touches no disk. */
int gateway_on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct gateway *gateway = userdata;

    (void)usec;
    turn_read_clock(&gateway->turn);
    log_flush();
    service_tick(gateway->turn.now.boot_ms);
    moved_check(&gateway->moved);
    listener_verify(gateway->listener);
    log_ended_undelivered(&gateway->ticks);
    ticks_log_repeated_reads(&gateway->ticks);
    if (gateway->counters.accepted != gateway->status.rates.accepted ||
        gateway->counters.ended != gateway->status.rates.ended)
        status_hasten(&gateway->status);
    if (gateway->turn.now.boot_ms >= audit_due_ms(gateway->audit) && !gateway->turn.has_moved)
        audit_sync(gateway->audit, gateway->turn.now.boot_ms);
    intake_check_room(&gateway->intake);
    if (!gateway->turn.has_failed)
        edge_timer_arm(&gateway->edge_timer);
    return_memory();
    return turn_set_timer(source, GATEWAY_TICK_MS);
}

int gateway_on_status_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct gateway *gateway = userdata;

    (void)usec;
    turn_read_clock(&gateway->turn);
    gateway_publish_status(gateway);
    return turn_set_timer(source, gateway->config->status_interval_ms);
}
