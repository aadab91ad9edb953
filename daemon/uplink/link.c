/* SPDX-License-Identifier: MIT */
/*
 * link.c - the life of the connection
 *
 *   WAITING -> RESOLVING -> CONNECTING -> ONLINE -> (lost, or DROPPING by our own wish)
 *           -> WAITING
 *
 * An address in the place of a host name needs no RESOLVING.
 *
 * There is one timer, and the phase says what it means: the next attempt, the
 * watchdog of a name lookup, of an attempt or of a disconnect, the watchdog of
 * the answers.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink-private.h"

#define STALLS_MAX 2
/* A timer that comes so late: it was the loop, or the process, that stood still. */
#define LATE_US    1000000
#define EXCUSED_MS 2000
/* Of failures that repeat, one line at least this often, and one of so many. */
#define RETRY_LOG_MS   60000
#define RETRY_LOG_EACH 10

/* --- the end of a connection ---------------------------------------------- */

uint64_t uplink_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned round, uint64_t random)
{
    uint64_t limit = min_ms < max_ms ? min_ms : max_ms;

    while (round-- > 0 && limit < max_ms)
        limit = limit > max_ms / 2 ? max_ms : limit * 2;
    return random % (limit + 1);
}

static uint64_t next_backoff(struct uplink *uplink)
{
    uint64_t random = (uint64_t)rand(); /* for the machine that has no entropy yet */

    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return uplink_backoff_ms(uplink->settings->backoff_min_ms, uplink->settings->backoff_max_ms,
                             uplink->retry.backoff_round++, random);
}

/*
 * A broker that takes the connection and closes it at once is no better than
 * one that refuses it. So a connection counts as good once the broker has
 * acknowledged something, or when it has lasted as long as the longest back-off.
 */
static bool was_good(const struct uplink *uplink)
{
    return uplink->connection.online_ms > 0 &&
           (uplink->connection.is_proven || uplink_now_ms() - uplink->connection.online_ms >=
                                                (int64_t)uplink->settings->backoff_max_ms);
}

/* After a good connection the same broker, otherwise the next; a pause after each tour. */
static uint64_t plan_attempt(struct uplink *uplink)
{
    struct uplink_broker *broker = &uplink->brokers.list[uplink->brokers.current];

    if (uplink->connection.reconnects_at_once) {
        uplink->connection.reconnects_at_once = false;
        broker->is_address_suspect = false;
        return 0;
    }
    if (was_good(uplink)) {
        broker->is_address_suspect = false;
        uplink->retry.failed_attempts = 0;
        uplink->retry.backoff_round = 0;
        return next_backoff(uplink);
    }
    uplink->retry.failed_attempts++;
    uplink->brokers.current = (uplink->brokers.current + 1) % uplink->settings->broker_count;
    if (uplink->retry.failed_attempts % uplink->settings->broker_count != 0)
        return 0;
    return next_backoff(uplink);
}

static void log_lost(const struct uplink *uplink, const char *broker)
{
    char uri[UPLINK_TEXT_MAX];
    char reason[UPLINK_TEXT_MAX];

    log_warning("link_lost broker=%s reason=%s in_flight=%u",
                log_quote(uri, sizeof(uri), broker, strlen(broker)),
                log_quote(reason, sizeof(reason), uplink->last_error.text,
                          strlen(uplink->last_error.text)),
                uplink->connection.unanswered);
}

/* Each broker's first failure, then one line in a while. */
static void log_retry(struct uplink *uplink, const char *broker, uint64_t wait_ms)
{
    char uri[UPLINK_TEXT_MAX];
    char reason[UPLINK_TEXT_MAX];
    int64_t now_ms = uplink_now_ms();
    unsigned failed = uplink->retry.failed_attempts;

    if (failed > uplink->settings->broker_count && failed % RETRY_LOG_EACH != 0 &&
        now_ms - uplink->retry.logged_ms < RETRY_LOG_MS)
        return;
    uplink->retry.logged_ms = now_ms;
    log_warning("link_retry broker=%s reason=%s retry_ms=%" PRIu64 " attempts=%u",
                log_quote(uri, sizeof(uri), broker, strlen(broker)),
                log_quote(reason, sizeof(reason), uplink->last_error.text,
                          strlen(uplink->last_error.text)),
                wait_ms, failed);
}

static void end_for_good(struct uplink *uplink, const char *broker)
{
    char uri[UPLINK_TEXT_MAX];

    log_notice("link_closed broker=%s unanswered=%u",
               log_quote(uri, sizeof(uri), broker, strlen(broker)),
               uplink->connection.unanswered);
    uplink_set_state(uplink, LINK_STOPPED);
}

void uplink_end_connection(struct uplink *uplink, const char *reason)
{
    const char *broker = uplink_broker_uri(uplink);
    bool is_failure = !uplink->connection.reconnects_at_once;

    uplink_timer_off(&uplink->timer);
    /* What Paho has queued and not written would go out first on its next connection, before
     * the messages that were sent earlier and are sent again. */
    if (uplink->connection.online_ms > 0)
        uplink->client.is_unusable = true;
    uplink_sweep(uplink);
    uplink->connection.limits = uplink_no_limits();
    if (uplink->state == LINK_STOPPING) {
        end_for_good(uplink, broker);
        return;
    }
    if (is_failure)
        uplink_set_error(&uplink->last_error, "%s", reason);
    uint64_t wait_ms = plan_attempt(uplink);
    if (uplink->connection.online_ms > 0)
        log_lost(uplink, broker);
    else if (is_failure)
        log_retry(uplink, broker, wait_ms);
    uplink_set_state(uplink, LINK_WAITING);
    uplink_timer_set_in(&uplink->timer, wait_ms);
}

/* --- an attempt, and our own disconnect ----------------------------------- */

static void next_epoch(void *context)
{
    struct uplink *uplink = context;

    uplink->client.epoch++;
}

/* To the address, or to the host whose address the link seam knows. */
static void begin_attempt(struct uplink *uplink)
{
    char reason[UPLINK_TEXT_MAX];

    uplink_set_state(uplink, LINK_CONNECTING);
    uplink_timer_set_in(&uplink->timer, uplink->settings->connect_timeout_ms + UPLINK_GRACE_MS);
    if (!uplink_client_connect(uplink, reason))
        uplink_end_connection(uplink, reason);
}

static void begin_resolving(struct uplink *uplink)
{
    char reason[UPLINK_TEXT_MAX];

    uplink_set_state(uplink, LINK_RESOLVING);
    uplink_timer_set_in(&uplink->timer, uplink->settings->connect_timeout_ms);
    int r = uplink_resolve(&uplink->resolver);
    if (r < 0) {
        (void)snprintf(reason, sizeof(reason), "cannot begin a name lookup: %s", strerror(-r));
        uplink_end_connection(uplink, reason);
    }
}

/*
 * Where memory was short for a moment the library may keep a list in which something
 * is missing, and no connection of it works again (upstream: none known). Its last
 * client takes all of that along. It costs the loop some 0.1 s, so it is done seldom,
 * and more seldom the longer the broker is away.
 */
static bool is_library_suspect(const struct uplink *uplink)
{
    unsigned tens = uplink->retry.failed_attempts / 10;

    return uplink->retry.failed_attempts % 10 == 0 && tens > 0 && (tens & (tens - 1)) == 0;
}

void uplink_connect(struct uplink *uplink)
{
    bool is_tls = uplink_uri_is_tls(uplink_broker_uri(uplink));

    if (is_library_suspect(uplink))
        uplink_leave_library(uplink);
    else if (uplink->client.is_unusable || uplink->client.is_tls != is_tls)
        uplink_destroy_client(uplink);
    mailbox_run_locked(&uplink->inbox.mailbox, next_epoch, uplink);
    (void)paho_link_take_connect_error();
    uplink->brokers.has_tried = true;
    uplink->connection.online_ms = 0;
    uplink->connection.is_proven = false;
    uplink->connection.reconnects_at_once = false;
    uplink->connection.is_loss_suspected = false;
    uplink->connection.unanswered = 0;
    uplink->connection.library_error[0] = '\0';
    uplink->connection.end_reason[0] = '\0';
    uplink_host_of(uplink_broker_uri(uplink), uplink->resolver.host);
    if (uplink_host_is_address(uplink->resolver.host))
        begin_attempt(uplink);
    else
        begin_resolving(uplink);
}

void uplink_on_lookup(struct uplink *uplink, struct uplink_lookup *lookup)
{
    char reason[UPLINK_TEXT_MAX];

    if (uplink->state != LINK_RESOLVING || !uplink_lookup_matches(&uplink->resolver, lookup))
        uplink_keep_lookup(&uplink->resolver, lookup);
    else if (uplink_use_lookup(&uplink->resolver, lookup,
                               &uplink->brokers.list[uplink->brokers.current], reason))
        begin_attempt(uplink);
    else
        uplink_end_connection(uplink, reason);
}

void uplink_disconnect(struct uplink *uplink, enum uplink_link_state state)
{
    uplink_set_state(uplink, state);
    uplink_timer_set_in(&uplink->timer, UPLINK_GRACE_MS);
    /* Refused: the connection has gone by itself. */
    if (!uplink_client_disconnect(uplink))
        uplink_end_connection(uplink, uplink->connection.end_reason);
}

/* The client does not answer any more: take a new one. */
static void give_client_up(struct uplink *uplink, const char *reason)
{
    uplink_destroy_client(uplink);
    uplink_end_connection(uplink, reason);
}

/* --- watchdogs ------------------------------------------------------------ */

static void on_stall(struct uplink *uplink)
{
    (void)snprintf(uplink->connection.end_reason, sizeof(uplink->connection.end_reason),
                   "no answer for %" PRIu64 " s",
                   (uplink->settings->ack_timeout_ms + 999) / 1000);
    if (++uplink->retry.stalls >= STALLS_MAX)
        give_client_up(uplink, uplink->connection.end_reason);
    else
        uplink_disconnect(uplink, LINK_DROPPING);
}

static void watch_answers(struct uplink *uplink)
{
    int64_t due_ms = uplink->slots.progress_ms + (int64_t)uplink->settings->ack_timeout_ms;

    if (uplink->connection.is_loss_suspected)
        give_client_up(uplink, "broker closed the connection");
    else if (uplink->slots.in_flight == 0 || uplink->settings->ack_timeout_ms == 0)
        return; /* the next message arms the timer */
    else if (uplink_now_ms() >= due_ms)
        on_stall(uplink);
    else
        uplink_timer_set(&uplink->timer, due_ms);
}

void uplink_on_due(struct uplink *uplink)
{
    char reason[UPLINK_TEXT_MAX];

    switch (uplink->state) {
    case LINK_WAITING:
        uplink_connect(uplink);
        break;
    case LINK_RESOLVING:
        uplink_explain_slow_lookup(&uplink->resolver, uplink->settings->connect_timeout_ms,
                                   reason);
        uplink_end_connection(uplink, reason);
        break;
    case LINK_CONNECTING:
        (void)snprintf(reason, sizeof(reason), "no connection within %" PRIu64 " s",
                       (uplink->settings->connect_timeout_ms + 999) / 1000);
        give_client_up(uplink, reason);
        break;
    case LINK_ONLINE:
        watch_answers(uplink);
        break;
    case LINK_DROPPING:
    case LINK_STOPPING:
        give_client_up(uplink, uplink->connection.end_reason);
        break;
    case LINK_STOPPED:
        break;
    }
}

/* What the broker sent while the process stood still lies in the socket: the threads of the library
 * get a moment to read it, once for each deadline. */
bool uplink_excuse(struct uplink *uplink, uint64_t due_us)
{
    bool waits_for_broker = uplink->state == LINK_ONLINE || uplink->state == LINK_CONNECTING ||
                            uplink->state == LINK_RESOLVING;

    uplink->timer.is_extended =
        waits_for_broker && !uplink->timer.is_extended && clock_boot_us() >= due_us + LATE_US;
    if (uplink->timer.is_extended)
        uplink_timer_set_in(&uplink->timer, EXCUSED_MS);
    return uplink->timer.is_extended;
}

/* --- events --------------------------------------------------------------- */

static const char *connack_text(const struct uplink *uplink, int code)
{
    static const char *const texts[] = {"",
                                        "protocol version not accepted",
                                        "client id not accepted",
                                        "server unavailable",
                                        "bad user name or password",
                                        "not authorized"};

    if (uplink->settings->protocol == MQTTVERSION_5)
        return packet_reason_text(code);
    return code < 6 ? texts[code] : "unknown";
}

static void explain_silence(const struct uplink *uplink,
                            const struct uplink_event *event,
                            char reason[static UPLINK_TEXT_MAX])
{
    if (strstr(event->text, "timeout"))
        (void)snprintf(reason, UPLINK_TEXT_MAX, "no connection within %" PRIu64 " s",
                       (uplink->settings->connect_timeout_ms + 999) / 1000);
    else if (uplink->client.is_tls)
        (void)snprintf(reason, UPLINK_TEXT_MAX,
                       "TLS connection failed: is this a TLS port, and is the broker's "
                       "certificate for this host name?");
    else
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s",
                       paho_link_lacks() ? "connection refused or closed before an answer"
                                         : "broker closed the connection before it answered");
}

static void explain_failure(const struct uplink *uplink,
                            const struct uplink_event *event,
                            char reason[static UPLINK_TEXT_MAX])
{
    int error = paho_link_take_connect_error();

    if (event->is_connack) {
        (void)snprintf(reason, UPLINK_TEXT_MAX,
                       uplink->settings->protocol == MQTTVERSION_5 ? "%s (code 0x%02X)"
                                                                   : "%s (code %u)",
                       connack_text(uplink, event->code), (unsigned)event->code);
    } else if (error != 0) {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s", strerror(error));
        if (reason[0] >= 'A' && reason[0] <= 'Z')
            reason[0] = (char)(reason[0] - 'A' + 'a');
    } else if (uplink->connection.library_error[0] != '\0') {
        (void)snprintf(reason, UPLINK_TEXT_MAX, "%s", uplink->connection.library_error);
    } else {
        explain_silence(uplink, event, reason);
    }
}

static void on_connected(struct uplink *uplink, const struct uplink_event *event)
{
    char uri[UPLINK_TEXT_MAX];
    const char *broker = uplink_broker_uri(uplink);

    uplink->connection.limits = event->limits;
    if (event->limits.keepalive_s > 0 &&
        event->limits.keepalive_s < uplink->client.keepalive_s) {
        /* 1.3.12 would go on with ours (upstream #1421), and the broker would hang up. */
        uplink->client.keepalive_s = event->limits.keepalive_s;
        uplink->connection.reconnects_at_once = true;
        log_info("link_keepalive broker=%s lowered_to_s=%u",
                 log_quote(uri, sizeof(uri), broker, strlen(broker)),
                 uplink->client.keepalive_s);
        uplink_disconnect(uplink, LINK_DROPPING);
        return;
    }
    uplink_timer_off(&uplink->timer);
    uplink->connects++;
    uplink->connection.online_ms = uplink_now_ms();
    uplink_set_state(uplink, LINK_ONLINE);
    log_notice("link_online broker=%s window=%u",
               log_quote(uri, sizeof(uri), broker, strlen(broker)), uplink_window(uplink));
}

/* Paho's own keep-alive ends a connection without telling, hence the second text. */
static const char *loss_reason(const struct uplink *uplink)
{
    int64_t since_ms = uplink->slots.progress_ms > uplink->connection.online_ms
                           ? uplink->slots.progress_ms
                           : uplink->connection.online_ms;

    if (uplink->connection.end_reason[0] != '\0')
        return uplink->connection.end_reason;
    if (uplink->client.keepalive_s > 0 &&
        uplink_now_ms() - since_ms > (int64_t)uplink->client.keepalive_s * 2000)
        return "broker closed the connection or no longer answers";
    return "broker closed the connection";
}

static void on_goodbye(struct uplink *uplink, int code)
{
    if (uplink->connection.end_reason[0] == '\0')
        (void)snprintf(uplink->connection.end_reason, sizeof(uplink->connection.end_reason),
                       "broker closed the connection: %s (code 0x%02X)",
                       packet_reason_text(code), (unsigned)code);
}

static void free_event(void *context)
{
    struct uplink_event *event = context;

    event->busy = false;
}

static bool is_connected(const struct uplink *uplink)
{
    return uplink->state == LINK_ONLINE || uplink->state == LINK_DROPPING ||
           uplink->state == LINK_STOPPING;
}

void uplink_on_event(struct uplink *uplink, struct uplink_event *event)
{
    char reason[UPLINK_TEXT_MAX];
    struct uplink_event news = *event; /* nobody writes while it is busy */

    mailbox_run_locked(&uplink->inbox.mailbox, free_event, event);
    if (news.epoch != uplink->client.epoch)
        return;
    switch (news.kind) {
    case UPLINK_CONNECTED:
        if (uplink->state == LINK_CONNECTING)
            on_connected(uplink, &news);
        break;
    case UPLINK_CONNECT_FAILED:
        if (uplink->state != LINK_CONNECTING)
            break;
        explain_failure(uplink, &news, reason);
        uplink_end_connection(uplink, reason);
        break;
    case UPLINK_DISCONNECTED_BY_BROKER:
        on_goodbye(uplink, news.code); /* Paho reports no loss after this */
        if (is_connected(uplink))
            uplink_end_connection(uplink, uplink->connection.end_reason);
        break;
    case UPLINK_LOST:
    case UPLINK_CLOSED:
        if (is_connected(uplink))
            uplink_end_connection(uplink, loss_reason(uplink));
        break;
    case UPLINK_EVENT_COUNT:
        break;
    }
}

static void take_text(void *context)
{
    struct uplink *uplink = context;

    memcpy(uplink->connection.library_error, uplink->inbox.text.text,
           sizeof(uplink->connection.library_error));
}

void uplink_on_text(struct uplink *uplink)
{
    if (uplink->connection.library_error[0] == '\0')
        mailbox_run_locked(&uplink->inbox.mailbox, take_text, uplink);
}
