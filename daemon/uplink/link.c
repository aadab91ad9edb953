/* SPDX-License-Identifier: MIT */
/*
 * link.c - the life of the connection: attempts, events, deadlines, the end
 *
 * There is one timer, whose meaning depends on the state of the link (state.c):
 * the next attempt, the deadline of a name lookup, of an attempt, of an answer
 * or of a disconnect.
 *
 * Invariant: each connection and each attempt ends once, in uplink_end_connection();
 * an event of an older epoch, or of a state that does not expect it, changes nothing.
 *
 * Diagnostics: link_keepalive, link_closed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/paho/paho_words.h"
#include "daemon/uplink/uplink-private.h"

#define STALLS_MAX 2
/* A timer that is this late: the loop, or the process, did not run. */
#define LATE_US      1000000
#define EXTENSION_MS 2000

/* --- the end of a connection ---------------------------------------------- */

static void enter_stopped(struct uplink *uplink, const char *broker)
{
    char uri[UPLINK_TEXT_MAX];

    log_notice("link_closed broker=%s unanswered=%u",
               log_quote(uri, sizeof(uri), broker, strlen(broker)),
               uplink->connection.unanswered);
    uplink_set_state(uplink, LINK_STOPPED);
}

void uplink_note_end(struct uplink_connection *connection,
                     enum uplink_cause cause,
                     const char *reason)
{
    if (connection->cause == UPLINK_CAUSE_NONE)
        connection->cause = cause;
    if (connection->end_reason[0] == '\0' && reason != connection->end_reason)
        (void)snprintf(connection->end_reason, sizeof(connection->end_reason), "%s", reason);
}

/* See presence.c. Of an attempt that failed nothing is known. */
static void note_session(struct uplink *uplink, bool was_online)
{
    bool has_open = uplink_has_open_qos2(uplink);

    /* Several of the list may be one, with the sessions in common. */
    for (size_t i = 0; was_online && has_open && i < uplink->brokers.count; i++)
        uplink->brokers.list[i].has_session = false;
    if (was_online)
        uplink_broker(uplink)->has_session = !has_open;
}

void uplink_end_connection(struct uplink *uplink, const char *reason)
{
    struct uplink_broker *broker = uplink_broker(uplink);
    const char *uri = uplink_broker_uri(uplink);
    bool was_online = uplink->connection.online_ms > 0;

    uplink_judge_version(uplink);
    bool is_failure = !uplink->connection.reconnects_at_once;

    uplink_timer_off(&uplink->timer);
    uplink_timer_off(&uplink->retry.online_timer);
    /* What Paho has queued and not written would go out first on its next connection, before
     * the messages that were sent earlier and are sent again. */
    if (was_online)
        uplink->client.is_unusable = true;
    uplink_note_end(&uplink->connection, uplink_cause_of_loss(uplink), reason);
    note_session(uplink, was_online);
    uplink_sweep(uplink);
    uplink->connection.limits = uplink_no_limits();
    if (uplink->state == LINK_STOPPING || uplink->state == LINK_PARTING) {
        enter_stopped(uplink, uri);
        return;
    }
    if (is_failure)
        uplink_set_error(&uplink->last_error, uplink_remedy(uplink), "%s", reason);
    uplink_plan_retry(uplink);
    if (is_failure && was_online)
        uplink_log_lost(uplink, broker, uri);
    else if (is_failure)
        uplink_log_retry(uplink, broker, uri);
    uplink_set_wait(uplink);
    uplink_set_state(uplink, LINK_WAITING);
}

/* --- an attempt, and our own disconnect ----------------------------------- */

static void next_epoch(void *userdata)
{
    struct uplink_client *client = userdata;

    client->epoch++;
}

/* To the address, or to the host whose address the link seam knows. */
static void begin_attempt(struct uplink *uplink)
{
    char reason[UPLINK_TEXT_MAX];

    uplink_timer_set_in(&uplink->timer, uplink->settings->connect_timeout_ms);
    uplink_set_state(uplink, LINK_CONNECTING);
    if (!uplink_attempt(uplink, reason)) {
        uplink->connection.is_unprepared = true;
        uplink_end_connection(uplink, reason);
    }
}

static void begin_resolving(struct uplink *uplink)
{
    char reason[UPLINK_TEXT_MAX];

    uplink_timer_set_in(&uplink->timer, uplink->settings->connect_timeout_ms);
    uplink_set_state(uplink, LINK_RESOLVING);
    int r = uplink_resolve(&uplink->resolver);
    if (r < 0) {
        (void)snprintf(reason, sizeof(reason), "cannot begin a name lookup: %s", strerror(-r));
        uplink_end_connection(uplink, reason);
    }
}

/* A client that can be used, or none. */
static void prepare_client(struct uplink *uplink)
{
    bool is_tls = uplink_uri_is_tls(uplink_broker_uri(uplink));
    unsigned protocol = uplink_choose_protocol(uplink->settings, uplink_broker(uplink));

    if (uplink_is_library_suspect(&uplink->retry))
        uplink_release_library(uplink);
    else if (uplink->client.is_unusable || uplink->client.is_tls != is_tls ||
             uplink->client.protocol != protocol)
        uplink_destroy_client(uplink);
    uplink->client.protocol = protocol;
    uplink->client.keepalive_s = uplink_keepalive_s(uplink->settings, uplink_broker(uplink));
}

static void begin_connection(struct uplink *uplink)
{
    const char *uri = uplink_broker_uri(uplink);
    struct paho_words old_words;

    prepare_client(uplink);
    uplink->retry.files_mark = uplink_files_mark(uplink->settings);
    mailbox_run_locked(&uplink->inbox.mailbox, next_epoch, &uplink->client);
    (void)paho_link_take_connect_error();
    paho_words_take(&old_words);
    uplink->brokers.has_tried = true;
    uplink->connection = (struct uplink_connection){
        .limits = uplink_no_limits(), .end_code = -1, .connack_code = -1};
    uplink_host_of(uri, uplink->resolver.host);
    if (uplink_host_is_address(uplink->resolver.host))
        begin_attempt(uplink);
    else
        begin_resolving(uplink);
}

void uplink_on_lookup(struct uplink *uplink, struct uplink_lookup *lookup)
{
    struct uplink_broker *broker = uplink_broker(uplink);
    char reason[UPLINK_TEXT_MAX];

    if (uplink->state != LINK_RESOLVING || !uplink_lookup_matches(&uplink->resolver, lookup))
        uplink_cache_lookup(&uplink->resolver, lookup);
    else if (uplink_apply_lookup(&uplink->resolver, lookup, broker, reason))
        begin_attempt(uplink);
    else
        uplink_end_connection(uplink, reason);
}

void uplink_disconnect(struct uplink *uplink, enum uplink_link_state state, int code)
{
    uplink_note_end(&uplink->connection, UPLINK_CAUSE_DROPPED, "disconnected by the daemon");
    uplink_timer_set_in(&uplink->timer, UPLINK_GRACE_MS);
    uplink_set_state(uplink, state);
    /* Refused: the connection has ended by itself. */
    if (!uplink_client_disconnect(uplink, code))
        uplink_end_connection(uplink, uplink->connection.end_reason);
}

/* The client does not answer any more: the next attempt has a new one. */
static void abandon_client(struct uplink *uplink, const char *reason)
{
    uplink_destroy_client(uplink);
    uplink_end_connection(uplink, reason);
}

/* --- deadlines ------------------------------------------------------------ */

static void on_stall(struct uplink *uplink)
{
    struct uplink_connection *connection = &uplink->connection;
    char reason[UPLINK_TEXT_MAX];

    (void)snprintf(reason, sizeof(reason), "no answer for %" PRIu64 " s",
                   (uplink->settings->ack_timeout_ms + 999) / 1000);
    connection->is_fruitless |= uplink_is_mute(uplink);
    uplink_note_end(connection, UPLINK_CAUSE_STALLED, reason);
    if (++uplink->retry.stalls >= STALLS_MAX)
        abandon_client(uplink, connection->end_reason);
    else
        uplink_disconnect(uplink, LINK_DROPPING, MQTT_SUCCESS);
}

void uplink_blame_topic(struct uplink *uplink, const char *topic)
{
    struct uplink_connection *connection = &uplink->connection;

    if (connection->cause != UPLINK_CAUSE_STALLED)
        return;
    text_format(connection->end_reason, sizeof(connection->end_reason),
                "no answer for %" PRIu64 " s to topic %s, while others were answered",
                (uplink->settings->ack_timeout_ms + 999) / 1000, topic);
    connection->remedy =
        "look at the broker: it takes this topic and never acknowledges it; let "
        "it answer, or refuse with a reason code; others are sent meanwhile";
}

/* It does not answer, so it is not asked to close. */
static void on_silence(struct uplink *uplink)
{
    uplink->connection.is_fruitless |= uplink_is_mute(uplink);
    uplink_note_end(&uplink->connection, UPLINK_CAUSE_KEEPALIVE, "no answer to PINGREQ");
    abandon_client(uplink, uplink->connection.end_reason);
}

static void check_online(struct uplink *uplink)
{
    if (uplink->connection.is_loss_suspected) {
        abandon_client(uplink, uplink_describe_loss(uplink));
        return;
    }
    switch (uplink_progress_check(uplink)) {
    case UPLINK_HEALTHY:
        break;
    case UPLINK_STALLED:
        on_stall(uplink);
        break;
    case UPLINK_SILENT:
        on_silence(uplink);
        break;
    }
}

void uplink_on_deadline(struct uplink *uplink)
{
    char reason[UPLINK_TEXT_MAX];

    switch (uplink->state) {
    case LINK_WAITING:
        if (uplink_is_attempt_due(uplink))
            begin_connection(uplink);
        else
            uplink_set_wait(uplink);
        break;
    case LINK_RESOLVING:
        uplink_describe_slow_lookup(&uplink->resolver, uplink->settings->connect_timeout_ms,
                                    reason);
        uplink_end_connection(uplink, reason);
        break;
    case LINK_CONNECTING:
        uplink->connection.remedy = uplink_describe_timeout(uplink, reason);
        abandon_client(uplink, reason);
        break;
    case LINK_ONLINE:
        check_online(uplink);
        break;
    case LINK_PARTING:
        uplink_disconnect(uplink, LINK_STOPPING, MQTT_SUCCESS);
        break;
    case LINK_DROPPING:
    case LINK_STOPPING:
        abandon_client(uplink, uplink->connection.end_reason);
        break;
    case LINK_STOPPED:
    case LINK_FREED:
    case LINK_STATES:
        break;
    }
}

/* What the broker sent while the process did not run is in the socket: the library's threads
 * get a moment to read it, once for each deadline. */
bool uplink_extend_deadline(struct uplink *uplink, uint64_t due_us)
{
    struct uplink_timer *timer = &uplink->timer;
    bool waits_for_peer = uplink->state == LINK_ONLINE || uplink->state == LINK_CONNECTING ||
                          uplink->state == LINK_RESOLVING;

    timer->is_extended =
        waits_for_peer && !timer->is_extended && clock_boot_us() >= due_us + LATE_US;
    if (timer->is_extended)
        uplink_timer_set_in(timer, EXTENSION_MS);
    return timer->is_extended;
}

/* --- events --------------------------------------------------------------- */

/* 1.3.12 would continue with ours (upstream #1421), and the broker would close. */
static void lower_keepalive(struct uplink *uplink, unsigned keepalive_s, const char *broker)
{
    char uri[UPLINK_TEXT_MAX];

    uplink_broker(uplink)->keepalive_s = keepalive_s;
    uplink_broker(uplink)->keepalive_set_ms = uplink->settings->keepalive_ms;
    uplink->connection.reconnects_at_once = true;
    log_info("link_keepalive broker=%s lowered_to_s=%u",
             log_quote(uri, sizeof(uri), broker, strlen(broker)), keepalive_s);
    uplink_disconnect(uplink, LINK_DROPPING, MQTT_SUCCESS);
}

static void on_connected(struct uplink *uplink, const struct uplink_event *event)
{
    const char *broker = uplink_broker_uri(uplink);
    unsigned keepalive_s = event->limits.keepalive_s;
    char reason[UPLINK_TEXT_MAX];
    int code;

    if (!uplink_accept_version(uplink)) {
        uplink->connection.reconnects_at_once = true;
        uplink_disconnect(uplink, LINK_DROPPING, MQTT_SUCCESS);
        return;
    }
    uplink->connection.limits = event->limits;
    uplink->connection.remedy = uplink_take_limits(uplink, &event->limits, reason, &code);
    if (uplink->connection.remedy) {
        uplink_note_end(&uplink->connection, UPLINK_CAUSE_DROPPED, reason);
        uplink_disconnect(uplink, LINK_DROPPING, code);
        return;
    }
    if (keepalive_s > 0 && keepalive_s < uplink->client.keepalive_s) {
        lower_keepalive(uplink, keepalive_s, broker);
        return;
    }
    uplink_timer_off(&uplink->timer);
    uplink->connects++;
    uplink->connection.online_ms = uplink_now_ms();
    uplink->connection.window = uplink_broker(uplink)->window;
    uplink_set_state(uplink, LINK_ONLINE);
    uplink_progress_begin(uplink);
    uplink_aliases_begin(&uplink->aliases, uplink_broker(uplink)->refuses_aliases
                                               ? 0
                                               : event->limits.alias_maximum);
    uplink_note_online(uplink);
    uplink_log_online(uplink, false);
    uplink_birth_begin(uplink);
}

/* As after an attempt that failed. */
static void give_up(struct uplink *uplink)
{
    uplink->connection.remedy =
        "look at the rights and limits of this client id at the broker; the next one of "
        "uplink.brokers is tried, and the messages are kept";
    uplink_note_end(&uplink->connection, UPLINK_CAUSE_DROPPED, "the broker accepts no message");
    uplink_disconnect(uplink, LINK_DROPPING, MQTT_SUCCESS);
}

/* The messages in flight have their answers. */
void uplink_leave_if_due(struct uplink *uplink)
{
    if (!uplink_is_leave_due(uplink))
        return;
    if (uplink->brokers.is_given_up) {
        give_up(uplink);
        return;
    }
    uplink_log_leave(uplink);
    uplink->connection.reconnects_at_once = true;
    uplink_disconnect(uplink, LINK_DROPPING, MQTT_SUCCESS);
}

static void note_disconnect(struct uplink_connection *connection, int code, const char *words)
{
    char reason[UPLINK_TEXT_MAX];

    if (connection->cause == UPLINK_CAUSE_NONE)
        connection->end_code = code;
    text_format(reason, sizeof(reason), "broker closed the connection: %s (code 0x%02X)%s",
                packet_reason_text(code), (unsigned)code, words);
    uplink_note_end(connection, UPLINK_CAUSE_BROKER_CLOSED, reason);
}

static void free_event(void *userdata)
{
    struct uplink_event *event = userdata;

    event->is_unread = false;
}

void uplink_on_event(struct uplink *uplink, struct uplink_event *event)
{
    char reason[UPLINK_TEXT_MAX];
    struct uplink_event copy = *event; /* no callback writes while it is unread */

    mailbox_run_locked(&uplink->inbox.mailbox, free_event, event);
    if (copy.epoch != uplink->client.epoch)
        return;
    switch (copy.kind) {
    case UPLINK_CONNECTED:
        if (uplink->state == LINK_CONNECTING)
            on_connected(uplink, &copy);
        break;
    case UPLINK_CONNECT_FAILED:
        if (uplink->state != LINK_CONNECTING)
            break;
        if (copy.is_connack)
            uplink->connection.connack_code = copy.code;
        else
            uplink->connection.is_broken = !uplink_is_timeout(&copy);
        uplink->connection.remedy = uplink_describe_failure(uplink, &copy, reason);
        if (uplink_is_3_1_1_answer(uplink, &copy) && !uplink_needs_protocol_5(uplink->settings))
            uplink_fall_back(uplink, &copy);
        uplink_end_connection(uplink, reason);
        break;
    case UPLINK_DISCONNECTED_BY_BROKER:
        /* Paho reports no loss after this. */
        note_disconnect(&uplink->connection, copy.code, copy.words);
        if (copy.code == MQTT_TOPIC_ALIAS_INVALID)
            uplink_broker(uplink)->refuses_aliases = true;
        if (uplink_is_connected(uplink))
            uplink_end_connection(uplink, uplink->connection.end_reason);
        break;
    case UPLINK_LOST:
    case UPLINK_CLOSED:
        if (uplink_is_connected(uplink))
            uplink_end_connection(uplink, uplink_describe_loss(uplink));
        break;
    case UPLINK_EVENT_COUNT:
        break;
    }
}

static void take_text(void *userdata)
{
    struct uplink *uplink = userdata;

    memcpy(uplink->connection.library_error, uplink->inbox.text.text,
           sizeof(uplink->connection.library_error));
}

void uplink_on_text(struct uplink *uplink)
{
    if (uplink->connection.library_error[0] == '\0')
        mailbox_run_locked(&uplink->inbox.mailbox, take_text, uplink);
}
