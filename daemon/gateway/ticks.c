/* SPDX-License-Identifier: MIT */
/*
 * ticks.c - what happens by time alone: each second, and each status interval
 *
 * Invariant: what comes due without traffic (ages, expiries, the sync of the audit
 * file, the end of a shortage) waits for one tick at the most.
 *
 * Diagnostics: ended_undelivered, ended_rejected, spool_reads_repeated.
 */
#include "daemon/gateway/ticks.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/sessions.h"
#include "daemon/host/service.h"
#include "daemon/ingress/listener.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "store/spool.h"

/* Between two lines about messages that ended undelivered, and about repeated reads. */
#define UNDELIVERED_LOG_MS 10000
#define READS_LOG_MS       600000
#define REJECTED_LOG_MS    60000
#define TOPIC_LOG_MAX      256

/* By a limit or by their own expiry, as committed: what a lost batch had ended has not.
 * @ret: untouched if the ledger cannot be read now. */
static void count_undelivered(const struct ticks *ticks, uint64_t *ret)
{
    struct spool_ledger ledger;

    if (spool_get_ledger(ticks->spool, &ledger) == 0)
        *ret = ledger.ended[SPOOL_EVICTED] + ledger.ended[SPOOL_EXPIRED];
}

/* "evicted" is the word for those by a limit alone. */
static void log_ended_undelivered(struct ticks *ticks)
{
    int64_t now_ms = ticks->turn->now.boot_ms, since_ms = ticks->undelivered_logged_ms;
    uint64_t undelivered = ticks->undelivered_logged;

    if (now_ms - since_ms >= UNDELIVERED_LOG_MS)
        count_undelivered(ticks, &undelivered);
    if (undelivered == ticks->undelivered_logged)
        return;
    if (since_ms < ticks->turn->started_boot_ms)
        since_ms = ticks->turn->started_boot_ms; /* the first line comes at once */
    log_warning("ended_undelivered messages=%" PRIu64 " since_ms=%" PRId64
                " remedy=\"bring the link back, or raise the limit that mqtt-spool failures "
                "names for each (in lane or retention); disk: free space; message_expiry: set "
                "by the producer\"",
                undelivered - ticks->undelivered_logged, now_ms - since_ms);
    ticks->undelivered_logged = undelivered;
    ticks->undelivered_logged_ms = now_ms;
}

void ticks_init(struct ticks *ticks, const struct turn *turn)
{
    ticks->turn = turn;
    ticks->undelivered_logged_ms = turn->now.boot_ms - UNDELIVERED_LOG_MS;
    ticks->rejected_logged_ms = turn->now.boot_ms - REJECTED_LOG_MS;
    ticks->read_warnings = (struct log_limit){.interval_ms = READS_LOG_MS, .burst = 1};
}

void ticks_start(struct ticks *ticks, struct spool *spool)
{
    ticks->spool = spool;
    ticks->last_seq = spool_last_seq(spool);
    count_undelivered(ticks, &ticks->undelivered_logged);
}

/* @userdata: its topic, as it is logged. */
static int quote_topic(void *userdata, const struct spool_record *record)
{
    char *text = userdata;

    (void)log_quote(text, TOPIC_LOG_MAX, record->topic, strlen(record->topic));
    return 0;
}

/* Only of an answer it is known that "reject" was why. */
static const char *rejected_remedy(const struct gateway *gateway)
{
    const struct counters *counters = &gateway->counters;
    bool is_believed = gateway->config->uplink.on_refusal == UPLINK_ON_REFUSAL_REJECT &&
                       counters->rejected_reason == SPOOL_REASON_REASON_CODE;

    if (is_believed)
        return "the broker refuses them, and uplink.on_refusal is reject: mqtt-spool failures "
               "names each; correct its rights or what is published";
    return gateway->forward.refusal->has_accepted
               ? "the broker does not take them, and has accepted others since the start: "
                 "mqtt-spool failures names each; correct its rights or what is published"
               : "the broker does not take them, and has accepted nothing since the start: "
                 "mqtt-spool failures names each; correct its rights and limits, or what is "
                 "published";
}

/* The first one at once, then what came since, with the newest one as the example. */
static void log_ended_rejected(struct gateway *gateway)
{
    const struct counters *counters = &gateway->counters;
    struct ticks *ticks = &gateway->ticks;
    const char *remedy = rejected_remedy(gateway);
    char topic[TOPIC_LOG_MAX] = "none"; /* is kept */
    char code[16] = "none";
    struct spool_stats stats;
    struct spool_time now = turn_spool_time(&gateway->turn);

    if (counters->rejected == ticks->rejected_logged || gateway->turn.has_failed ||
        ticks->turn->now.boot_ms - ticks->rejected_logged_ms < REJECTED_LOG_MS ||
        spool_read_newest_kept(gateway->spool, quote_topic, topic) != 0 ||
        spool_get_stats(gateway->spool, &now, &stats) != 0)
        return;
    if (counters->rejected_code != SPOOL_NO_CODE)
        (void)snprintf(code, sizeof(code), "0x%02X", (unsigned)counters->rejected_code);
    log_warning(
        "ended_rejected messages=%" PRIu64 " reason=%s code=%s text=\"%s\" topic=%s "
        "kept=%" PRIu64 " remedy=\"%s%s\"",
        counters->rejected - ticks->rejected_logged,
        spool_reason_name((enum spool_reason)counters->rejected_reason), code,
        counters->rejected_code != SPOOL_NO_CODE ? packet_reason_text(counters->rejected_code)
                                                 : "",
        topic, stats.kept_messages, remedy,
        stats.kept_messages > 0
            ? "; mqtt-spool list --rejected lists those kept, mqtt-spool requeue sends them"
            : "");
    ticks->rejected_logged = counters->rejected;
    ticks->rejected_logged_ms = ticks->turn->now.boot_ms;
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

/* Since the last tick nothing came and nothing ended: no one waits for a checkpoint now. */
static void use_idle_time(struct gateway *gateway)
{
    struct ticks *ticks = &gateway->ticks;
    bool is_idle = gateway->counters.accepted == ticks->accepted &&
                   spool_last_seq(gateway->spool) == ticks->last_seq;
    int r;

    ticks->accepted = gateway->counters.accepted;
    ticks->last_seq = spool_last_seq(gateway->spool);
    if (!is_idle || gateway->turn.has_failed || gateway->turn.has_moved)
        return;
    r = spool_checkpoint_idle(gateway->spool);
    if (r < 0)
        turn_fail(&gateway->turn, r, "checkpoint");
}

static void sync_audit(struct gateway *gateway)
{
    bool is_due = gateway->turn.now.boot_ms >= audit_due_ms(gateway->audit) ||
                  audit_is_moved(gateway->audit);

    if (is_due && !gateway->turn.has_moved)
        audit_sync(gateway->audit, gateway->turn.now.boot_ms);
}

/* An edge with nothing to write touches no disk. One for settlements alone waits for the next
 * message, as without a tick: of a slow stream each tick would otherwise be a commit more. */
static void arm_edge(struct gateway *gateway)
{
    if (gateway->turn.has_failed)
        return;
    if (spool_has_settled_alone(gateway->spool))
        edge_timer_arm_later(&gateway->edge_timer, GATEWAY_SETTLE_LATEST_MS);
    else
        edge_timer_arm(&gateway->edge_timer);
}

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
    log_ended_rejected(gateway);
    ticks_log_repeated_reads(&gateway->ticks);
    if (gateway->counters.accepted != gateway->status.published_accepted ||
        spool_last_seq(gateway->spool) != gateway->status.published_seq)
        status_hasten(&gateway->status);
    sync_audit(gateway);
    gateway_end_delays(gateway);
    intake_check_room(&gateway->intake);
    use_idle_time(gateway);
    client_sessions_expire(&gateway->clients.sessions);
    arm_edge(gateway);
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

int gateway_on_status_asked(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct gateway *gateway = userdata;

    (void)source;
    (void)usec;
    turn_read_clock(&gateway->turn);
    gateway_answer_status(gateway);
    return 0;
}
