/* SPDX-License-Identifier: MIT */
/*
 * gateway.c - the parts put together: made, started, stopped, freed
 *
 * Invariant: no other file of the gateway needs this one. What the event loop and
 * the parts below call is registered here, so that no two files need each other.
 */
#include <errno.h>
#include <inttypes.h>

#include "daemon/gateway/gateway-private.h"

#define READS_LOG_MS 600000

static void on_exported(void *owner, const struct spool_record *record)
{
    struct gateway *gateway = owner;
    enum config_journal which = gateway->config->audit.journal;

    if (which == CONFIG_JOURNAL_ALL ||
        (which == CONFIG_JOURNAL_FAILURES && record->outcome != SPOOL_DELIVERED))
        service_journal_outcome(record, gateway->now.boot_ms);
}

static const struct listener_ops listener_ops = {.accepted = gateway_on_accept};
static const struct session_ops session_ops = {
    .connected = gateway_on_connected,
    .publish = gateway_on_publish,
    .closed = gateway_on_closed,
};
static const struct uplink_ops uplink_ops = {
    .answered = gateway_on_answer,
    .changed = gateway_on_link,
};
static const struct audit_ops audit_ops = {.exported = on_exported};

static int add_sources(struct gateway *gateway)
{
    int r = sd_event_add_defer(gateway->event, &gateway->edge, gateway_on_edge, gateway);

    if (r >= 0)
        r = sd_event_source_set_enabled(gateway->edge, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_source_set_priority(gateway->edge, SD_EVENT_PRIORITY_IDLE);
    if (r >= 0)
        r = sd_event_add_defer(gateway->event, &gateway->refill, gateway_on_refill, gateway);
    if (r >= 0)
        r = sd_event_source_set_enabled(gateway->refill, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_source_set_priority(gateway->refill, SD_EVENT_PRIORITY_IDLE);
    if (r >= 0)
        r = gateway_add_timer(gateway, GATEWAY_EDGE_LATEST_MS, gateway_on_edge_deadline,
                              SD_EVENT_OFF, &gateway->edge_deadline);
    if (r >= 0)
        r = sd_event_source_set_priority(gateway->edge_deadline, SD_EVENT_PRIORITY_IMPORTANT);
    if (r >= 0)
        r = gateway_add_timer(gateway, GATEWAY_EDGE_LATEST_MS, gateway_on_refill_deadline,
                              SD_EVENT_OFF, &gateway->refill_deadline);
    if (r >= 0)
        r = sd_event_source_set_priority(gateway->refill_deadline, SD_EVENT_PRIORITY_IMPORTANT);
    if (r >= 0)
        r = gateway_add_timer(gateway, GATEWAY_TICK_MS, gateway_on_tick, SD_EVENT_ON,
                              &gateway->tick);
    if (r >= 0)
        r = gateway_add_timer(gateway, 0, gateway_on_status_timer, SD_EVENT_ON,
                              &gateway->status_timer);
    return r < 0 ? r : 0;
}

static int open_audit(struct gateway *gateway)
{
    struct audit_settings settings = gateway_audit_settings(gateway->config);

    return audit_new(&settings, gateway->spool, &audit_ops, gateway, &gateway->audit);
}

static int open_uplink(struct gateway *gateway)
{
    int r = uplink_new(gateway->event, &gateway->config->uplink, &uplink_ops, gateway,
                       &gateway->uplink);

    return r == UPLINK_E_TOLD ? GATEWAY_E_OPERATOR : r; /* it is the configuration */
}

static int open_listener(struct gateway *gateway, const int *passed, size_t passed_count)
{
    struct listener_settings settings =
        gateway_listener_settings(gateway->config, passed, passed_count);

    gateway_fit_clients(gateway);
    int r = listener_new(gateway->event, &settings, &listener_ops, gateway, &gateway->listener);
    if (r == LISTENER_E_OPERATOR)
        return GATEWAY_E_OPERATOR;
    return r == LISTENER_E_TOLD ? GATEWAY_E_TOLD : r;
}

static void init(struct gateway *gateway, sd_event *event, struct config *config)
{
    gateway->event = sd_event_ref(event);
    gateway->config = config;
    gateway->session_ops = &session_ops;
    gateway->client_warnings = (struct log_limit){.interval_ms = 10000, .burst = 5};
    gateway->refusal_warnings = (struct log_limit){.interval_ms = 60000, .burst = 1};
    gateway->token_warnings = (struct log_limit){.interval_ms = 60000, .burst = 1};
    gateway->read_warnings = (struct log_limit){.interval_ms = READS_LOG_MS, .burst = 1};
    TAILQ_INIT(&gateway->clients);
    TAILQ_INIT(&gateway->owing);
    TAILQ_INIT(&gateway->waiting);
    TAILQ_INIT(&gateway->closed);
    gateway_read_clock(gateway);
    gateway->started_boot_ms = gateway->now.boot_ms;
    gateway->evicted_logged_ms = gateway->now.boot_ms - GATEWAY_EVICTED_LOG_MS;
    gateway->rates.since_boot_ms = gateway->now.boot_ms;
}

int gateway_new(sd_event *event,
                struct config *config,
                const int *passed,
                size_t passed_count,
                struct gateway **ret)
{
    struct gateway *gateway = calloc(1, sizeof(*gateway));

    if (!gateway)
        return -ENOMEM;
    init(gateway, event, config);
    int r = gateway_open_spool(gateway);
    if (r == 0)
        r = open_audit(gateway);
    if (r == 0)
        r = open_uplink(gateway);
    if (r == 0)
        r = add_sources(gateway);
    if (r == 0)
        r = open_listener(gateway, passed, passed_count);
    if (r != 0) {
        gateway->config = NULL; /* stays the caller's */
        gateway->failed = true;
        (void)gateway_free(gateway); /* commits nothing any more */
        return r;
    }
    *ret = gateway;
    return 0;
}

int gateway_start(struct gateway *gateway)
{
    struct spool_ledger ledger = {0};
    char text[GATEWAY_PATH_QUOTED_MAX];
    int r = spool_get_ledger(gateway->spool, &ledger);

    if (r < 0)
        return r;
    log_notice("spool_open directory=%s spooled=%" PRIu64 " accepted=%" PRIu64 " balanced=%s",
               gateway_quote_directory(gateway, text), ledger.spooled, ledger.accepted,
               spool_ledger_balances(&ledger) ? "yes" : "no");
    gateway_log_left_lanes(gateway);
    if (uplink_build_lacks())
        log_warning("paho_linked_shared lacks=\"%s\"", uplink_build_lacks());
    spool_require_commit(gateway->spool);
    gateway_arm_edge(gateway); /* and rows that a crash left between commit and export */
    return uplink_start(gateway->uplink);
}

void gateway_stop(struct gateway *gateway)
{
    if (gateway->phase != GATEWAY_SERVING || gateway->failed)
        return;
    if (gateway->moved) {
        gateway_give_moved_up(gateway);
        return;
    }
    service_stopping();
    service_status("stopping: waiting for what is in flight");
    log_notice("stopping");
    gateway->phase = GATEWAY_DRAINING;
    listener_pause(gateway->listener);
    gateway_set_stop_timer(gateway, GATEWAY_DRAIN_MS);
    /* Owed acknowledgements leave with this edge; then the sessions close. */
    (void)gateway_on_edge(gateway->edge, gateway);
    if (gateway->failed)
        return;
    gateway_close_sessions(gateway);
    gateway_arm_edge(gateway);
}

static int last_commit(struct gateway *gateway)
{
    char text[GATEWAY_ERROR_QUOTED_MAX];
    bool more = true;

    gateway_read_clock(gateway);
    struct spool_time now = gateway_spool_time(gateway);
    spool_set_busy_wait(gateway->spool, GATEWAY_BUSY_LAST_MS);
    spool_request_clock_write(gateway->spool);
    int r = spool_verify_files(gateway->spool);
    if (r == 0)
        r = spool_commit(gateway->spool, &now);

    while (r == 0 && more)
        r = audit_export(gateway->audit, gateway->now.boot_ms, &more);
    audit_sync(gateway->audit, gateway->now.boot_ms);
    if (r == 0)
        r = spool_commit(gateway->spool, &now); /* the cursor */
    if (r == 0)
        r = spool_checkpoint(gateway->spool);
    if (r == SPOOL_E_MOVED) {
        gateway_give_moved_up(gateway);
        return -ESTALE; /* the exit code of a failure */
    }
    if (r != 0)
        log_error("last_commit_failed detail=%s lost=no repeated=at_next_start",
                  gateway_quote_error(spool_error(gateway->spool), text));
    return r;
}

int gateway_free(struct gateway *gateway)
{
    int r = 0;

    if (!gateway)
        return 0;
    gateway_free_sessions(gateway);
    listener_free(gateway->listener);
    uplink_free(gateway->uplink); /* answers what is open, hence before the last commit */
    if (!gateway->failed)
        r = last_commit(gateway);
    audit_free(gateway->audit);
    spool_close(gateway->spool);
    gateway_log_repeated_reads(gateway);
    gateway_remove_status(gateway);
    sd_event_source_disable_unref(gateway->edge);
    sd_event_source_disable_unref(gateway->edge_deadline);
    sd_event_source_disable_unref(gateway->refill);
    sd_event_source_disable_unref(gateway->refill_deadline);
    sd_event_source_disable_unref(gateway->tick);
    sd_event_source_disable_unref(gateway->status_timer);
    sd_event_source_disable_unref(gateway->stop_timer);
    sd_event_unref(gateway->event);
    config_free(gateway->config);
    free(gateway);
    return r < 0 ? r : 0;
}
