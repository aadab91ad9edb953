/* SPDX-License-Identifier: MIT */
/*
 * gateway.c - the parts put together: made, started, stopped, freed
 *
 * Invariant: no other file of the gateway needs this one. What the event loop and
 * the parts below call is registered here, so that no two files need each other.
 *
 * Diagnostics: spool_open, held, paho_linked_shared, stopping, last_commit_failed.
 */
#include "daemon/gateway/gateway.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "base/view.h"
#include "daemon/audit/audit.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/outcomes.h"
#include "daemon/gateway/sessions.h"
#include "daemon/gateway/settings.h"
#include "daemon/gateway/spool_open.h"
#include "daemon/gateway/wills.h"
#include "daemon/host/service.h"
#include "daemon/ingress/listener.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"

#define HELD_MAX 1024 /* names of lanes */

static void on_exported(void *userdata, const struct spool_record *record)
{
    struct gateway *gateway = userdata;
    enum config_journal which = gateway->config->audit.journal;

    if (which == CONFIG_JOURNAL_ALL ||
        (which == CONFIG_JOURNAL_FAILURES && record->outcome != SPOOL_DELIVERED))
        service_journal_outcome(record, gateway->turn.now.boot_ms);
}

static const struct listener_ops listener_ops = {.accepted = clients_on_accept};
static const struct uplink_ops uplink_ops = {
    .answered = forward_on_answer,
    .changed = forward_on_link,
};

static void on_connected(void *userdata, struct client *client)
{
    struct gateway *gateway = userdata;

    feed_on_connected(&gateway->feed, client);
}

static uint8_t on_subscribe(void *userdata,
                            struct client *client,
                            const struct connection_subscribe *subscribe)
{
    struct gateway *gateway = userdata;

    return feed_on_subscribe(&gateway->feed, client, subscribe);
}

static uint8_t on_unsubscribe(void *userdata, struct client *client, struct view filter)
{
    struct gateway *gateway = userdata;

    return feed_on_unsubscribe(&gateway->feed, client, filter);
}

static bool on_subscribed(void *userdata, struct client *client)
{
    struct gateway *gateway = userdata;

    return feed_on_subscribed(&gateway->feed, client);
}

static void on_acknowledged(void *userdata, struct client *client, uint64_t tag)
{
    struct gateway *gateway = userdata;

    feed_on_acknowledged(&gateway->feed, client, tag);
}

static void on_writable(void *userdata, struct client *client)
{
    struct gateway *gateway = userdata;

    feed_on_writable(&gateway->feed, client);
    control_on_writable(gateway, client);
}

static void on_closed(void *userdata, struct client *client)
{
    struct gateway *gateway = userdata;

    feed_on_closed(&gateway->feed, client);
    control_on_closed(gateway, client);
}

static const struct clients_feed_ops feed_ops = {
    .connected = on_connected,
    .subscribe = on_subscribe,
    .unsubscribe = on_unsubscribe,
    .subscribed = on_subscribed,
    .acknowledged = on_acknowledged,
    .writable = on_writable,
    .closed = on_closed,
};
static const struct clients_will_ops will_ops = {
    .check = gateway_check_will,
    .left = gateway_take_will,
    .connected = gateway_resume_will,
};
static const struct audit_ops audit_ops = {.exported = on_exported};

static int open_audit(struct gateway *gateway)
{
    struct audit_settings settings = gateway_audit_settings(gateway->config);

    return audit_new(&settings, gateway->spool, &audit_ops, gateway, &gateway->audit);
}

static int open_uplink(struct gateway *gateway)
{
    int r = uplink_new(gateway->turn.event, &gateway->config->uplink, &uplink_ops,
                       &gateway->forward, &gateway->uplink);

    return r == UPLINK_E_SETTINGS ? GATEWAY_E_OPERATOR : r; /* it is the configuration */
}

static int open_listener(struct gateway *gateway, const int *passed, size_t passed_count)
{
    struct listener_settings settings =
        gateway_listener_settings(gateway->config, passed, passed_count);

    clients_fit(&gateway->clients);
    int r = listener_new(gateway->turn.event, &settings, &listener_ops, &gateway->clients,
                         &gateway->listener);
    if (r == LISTENER_E_OPERATOR)
        return GATEWAY_E_OPERATOR;
    return r == LISTENER_E_LOGGED ? GATEWAY_E_LOGGED : r;
}

/* The parts that need nothing that can fail. */
static void gateway_init(struct gateway *gateway, sd_event *event, struct config *config)
{
    gateway->config = config;
    turn_init(&gateway->turn, event);
    gateway->clients = (struct clients){
        .turn = &gateway->turn,
        .config = config,
        .edge_timer = &gateway->edge_timer,
        .stop = &gateway->stop,
        .counters = &gateway->counters,
        .batch = &gateway->batch,
        .sessions = {.turn = &gateway->turn,
                     .config = config,
                     .edge_timer = &gateway->edge_timer},
        .on_publish = gateway_on_publish,
        .userdata = gateway,
        .feed_ops = &feed_ops,
        .will_ops = &will_ops,
    };
    gateway->feed = (struct feed){
        .clients = &gateway->clients,
        .edge_timer = &gateway->edge_timer,
        .turn = &gateway->turn,
        .status_boot_ms = gateway->turn.now.boot_ms - GATEWAY_STATUS_PAUSE_MS,
        .outcomes =
            {
                .turn = &gateway->turn,
                .config = config,
                .edge_timer = &gateway->edge_timer,
            },
    };
    feed_init(&gateway->feed);
    clients_init(&gateway->clients);
    wills_init(&gateway->clients.wills);
    client_sessions_init(&gateway->clients.sessions);
    control_init(&gateway->control);
    gateway->status = (struct status){
        .turn = &gateway->turn,
        .config = config,
        .rates = {.since_boot_ms = gateway->turn.now.boot_ms},
    };
    ticks_init(&gateway->ticks, &gateway->turn);
}

/* What the daemon publishes itself. */
static void connect_reports(struct gateway *gateway)
{
    gateway->report = (struct report){
        .turn = &gateway->turn,
        .config = gateway->config,
        .spool = gateway->spool,
        .edge_timer = &gateway->edge_timer,
        .edge = &gateway->edge,
        .stop = &gateway->stop,
    };
    gateway->seal_topic = (struct seal_topic){
        .turn = &gateway->turn,
        .config = gateway->config,
        .spool = gateway->spool,
        .audit = gateway->audit,
        .edge_timer = &gateway->edge_timer,
        .edge = &gateway->edge,
        .stop = &gateway->stop,
    };
}

/* The parts that borrow the spool, the audit or the uplink, which are open by now. */
static void connect_parts(struct gateway *gateway)
{
    gateway->turn.spool = gateway->spool;
    gateway->feed.outcomes.spool = gateway->spool;
    gateway->feed.spool = gateway->spool;
    gateway->clients.sessions.spool = gateway->spool;
    gateway->batch = (struct batch){
        .spool = gateway->spool,
        .users = &gateway->clients.users,
    };
    gateway->stop = (struct stop){
        .turn = &gateway->turn,
        .edge_timer = &gateway->edge_timer,
        .uplink = gateway->uplink,
    };
    gateway->intake = (struct intake){
        .turn = &gateway->turn,
        .config = gateway->config,
        .spool = gateway->spool,
        .audit = gateway->audit,
    };
    gateway->audit_watch = (struct audit_watch){
        .turn = &gateway->turn,
        .config = gateway->config,
        .spool = gateway->spool,
        .audit = gateway->audit,
        .intake = &gateway->intake,
    };
    gateway->moved = (struct moved){
        .turn = &gateway->turn,
        .config = gateway->config,
        .spool = gateway->spool,
        .edge_timer = &gateway->edge_timer,
        .intake = &gateway->intake,
        .clients = &gateway->clients,
        .status = &gateway->status,
    };
    connect_reports(gateway);
    gateway->shape.config = gateway->config;
    gateway->forward = (struct forward){
        .turn = &gateway->turn,
        .config = gateway->config,
        .shape = &gateway->shape,
        .spool = gateway->spool,
        .uplink = gateway->uplink,
        .edge_timer = &gateway->edge_timer,
        .stop = &gateway->stop,
        .status = &gateway->status,
        .counters = &gateway->counters,
    };
}

static int add_sources(struct gateway *gateway)
{
    int r = edge_timer_init(&gateway->edge_timer, &gateway->turn, gateway_on_edge, gateway);

    if (r >= 0)
        r = forward_init(&gateway->forward);
    if (r >= 0)
        r = clients_start(&gateway->clients);
    if (r >= 0)
        r = turn_add_timer(&gateway->turn, GATEWAY_TICK_MS, gateway_on_tick, gateway,
                           SD_EVENT_ON, &gateway->ticks.timer);
    if (r >= 0)
        r = turn_add_timer(&gateway->turn, 0, gateway_on_status_timer, gateway, SD_EVENT_ON,
                           &gateway->status.timer);
    if (r >= 0)
        r = turn_add_timer(&gateway->turn, 0, gateway_on_status_asked, gateway, SD_EVENT_OFF,
                           &gateway->feed.status_timer);
    return r < 0 ? r : 0;
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
    gateway_init(gateway, event, config);
    int r =
        gateway_open_spool(config, &gateway->turn, &gateway->status.salvaged, &gateway->spool);
    if (r == 0)
        r = open_audit(gateway);
    if (r == 0)
        r = open_uplink(gateway);
    connect_parts(gateway);
    if (r == 0)
        r = add_sources(gateway);
    if (r == 0)
        r = open_listener(gateway, passed, passed_count);
    if (r != 0) {
        gateway->config = NULL; /* stays the caller's */
        gateway->status.config = NULL;
        gateway->turn.has_failed = true;
        (void)gateway_free(gateway); /* commits nothing any more */
        return r;
    }
    *ret = gateway;
    return 0;
}

/* Those that are held one by one, with blanks between; more are cut. */
static void list_held_lanes(struct gateway *gateway, char names[static HELD_MAX])
{
    struct spool_time now = turn_spool_time(&gateway->turn);
    struct spool_lane_stats lane;

    names[0] = '\0';
    for (size_t i = 0; i < spool_lane_count(gateway->spool); i++) {
        if (spool_get_lane_stats(gateway->spool, (unsigned)i, &now, &lane) == 0 &&
            spool_is_held(gateway->spool, lane.name))
            text_append(names, HELD_MAX, "%s%s", names[0] != '\0' ? " " : "", lane.name);
    }
}

/* A hold lasts over a restart, and another operator may have made it. */
static void log_held(struct gateway *gateway)
{
    char names[HELD_MAX], quoted[HELD_MAX + 2];

    if (spool_is_held(gateway->spool, NULL)) {
        log_notice("held lanes=all remedy=\"nothing is sent until mqtt-spool release\"");
        return;
    }
    list_held_lanes(gateway, names);
    if (names[0] != '\0')
        log_notice(
            "held lanes=%s remedy=\"nothing of them is sent until mqtt-spool release, or "
            "release --lane NAME\"",
            log_quote(quoted, sizeof(quoted), names, strlen(names)));
}

int gateway_start(struct gateway *gateway)
{
    struct spool_ledger ledger = {0};
    char text[GATEWAY_PATH_QUOTED_MAX];
    int r = spool_get_ledger(gateway->spool, &ledger);

    if (r < 0)
        return r;
    log_notice("spool_open directory=%s spooled=%" PRIu64 " accepted=%" PRIu64 " balanced=%s",
               gateway_quote_directory(gateway->config, text), ledger.spooled, ledger.accepted,
               spool_ledger_balances(&ledger) ? "yes" : "no");
    log_held(gateway);
    gateway->status.is_held = spool_is_held(gateway->spool, NULL);
    gateway->status.rates.last_seq = spool_last_seq(gateway->spool);
    ticks_start(&gateway->ticks, gateway->spool);
    gateway_log_left_lanes(gateway);
    if (uplink_build_limitations())
        log_warning("paho_linked_shared lacks=\"%s\" remedy=\"build with -DPAHO_LINK=static, "
                    "or accept it\"",
                    uplink_build_limitations());
    spool_require_commit(gateway->spool);
    report_init(&gateway->report);
    outcomes_load(&gateway->feed.outcomes);
    /* Also for rows that a crash left between commit and export. */
    edge_timer_arm(&gateway->edge_timer);
    return uplink_start(gateway->uplink);
}

void gateway_stop(struct gateway *gateway)
{
    if (stop_has_begun(&gateway->stop) || gateway->turn.has_failed)
        return;
    if (gateway->turn.has_moved) {
        moved_give_up(&gateway->moved);
        return;
    }
    service_stopping();
    service_status("stopping: waiting for what is in flight");
    log_notice("stopping");
    stop_begin(&gateway->stop);
    control_stop(gateway);
    listener_pause(gateway->listener);
    /* Owed acknowledgements leave with this edge; then the connections close. */
    (void)gateway_on_edge(gateway->edge_timer.source, gateway);
    if (gateway->turn.has_failed)
        return;
    clients_close(&gateway->clients);
    gateway_end_delays(gateway);
    edge_timer_arm(&gateway->edge_timer);
}

static int gateway_commit_last(struct gateway *gateway)
{
    char text[GATEWAY_ERROR_QUOTED_MAX];
    bool more = true;

    turn_read_clock(&gateway->turn);
    struct spool_time now = turn_spool_time(&gateway->turn);
    spool_set_busy_wait(gateway->spool, GATEWAY_BUSY_LAST_MS);
    spool_request_clock_write(gateway->spool);
    spool_note_orderly_end(gateway->spool);
    int r = spool_verify_files(gateway->spool);
    if (r == 0)
        r = spool_commit(gateway->spool, &now);
    if (r == 0)
        forward_note_committed(&gateway->forward);

    while (r == 0 && more)
        r = audit_export(gateway->audit, gateway->turn.now.boot_ms, &more);
    audit_sync(gateway->audit, gateway->turn.now.boot_ms);
    if (r == 0)
        r = spool_commit(gateway->spool, &now); /* the cursor */
    if (r == 0)
        r = spool_checkpoint(gateway->spool);
    if (r == SPOOL_E_MOVED) {
        moved_give_up(&gateway->moved);
        return -ESTALE; /* the exit code of a failure */
    }
    if (r != 0)
        log_error(
            "last_commit_failed detail=%s lost=no repeated=at_next_start remedy=\"look at "
            "the disk (journalctl -k, df) before the next start\"",
            gateway_quote_error(spool_error(gateway->spool), text));
    return r;
}

int gateway_free(struct gateway *gateway)
{
    int r = 0;

    if (!gateway)
        return 0;
    clients_finish(&gateway->clients);
    wills_finish(&gateway->clients.wills);
    control_finish(&gateway->control);
    feed_finish(&gateway->feed);
    listener_free(gateway->listener);
    uplink_free(gateway->uplink); /* answers what is open, hence before the last commit */
    if (!gateway->turn.has_failed)
        r = gateway_commit_last(gateway);
    audit_free(gateway->audit);
    spool_close(gateway->spool);
    ticks_log_repeated_reads(&gateway->ticks);
    status_remove(&gateway->status);
    edge_timer_finish(&gateway->edge_timer);
    forward_finish(&gateway->forward);
    stop_finish(&gateway->stop);
    sd_event_source_disable_unref(gateway->ticks.timer);
    sd_event_source_disable_unref(gateway->status.timer);
    turn_finish(&gateway->turn);
    config_free(gateway->config);
    free(gateway);
    return r < 0 ? r : 0;
}
