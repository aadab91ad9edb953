/* SPDX-License-Identifier: MIT */
/*
 * feed.c - what producers are sent for their subscriptions
 *
 * The status goes with QoS 0 to those that have subscribed to it: at once, as it is
 * then, so that it has what the client did before, and then whenever it is published.
 * Subscriptions share one composition, at most one each GATEWAY_STATUS_PAUSE_MS. A client
 * without room for it is sent the newest one when it has room: nothing waits for it.
 *
 * What a client with a session that is kept has subscribed to is written to the spool,
 * and its SUBACK waits for that commit.
 *
 * Invariant: what a client is sent is behind the answer to its SUBSCRIBE.
 */
#include "daemon/gateway/feed.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/sessions.h"
#include "daemon/gateway/subscriptions.h"
#include "daemon/gateway/turn.h"
#include "daemon/mqtt/packet.h"
#include "store/spool.h"

static bool client_has_status(const struct client *client)
{
    return subscriptions_qos(&client->subscriptions, view_of_text(SUBSCRIPTIONS_STATUS)) !=
           SUBSCRIPTIONS_NONE;
}

/* 3.8.3.1: 0 always, 1 only for a new subscription, 2 never. */
static bool wants_retained(const struct connection_subscribe *subscribe, bool is_new)
{
    return subscribe->retain_handling == 0 || (subscribe->retain_handling == 1 && is_new);
}

/* The client is sent none that was composed before. */
static void feed_ask_status(struct feed *feed, struct client *client)
{
    int r = 0;

    turn_read_clock(feed->turn);
    int64_t since_ms = feed->turn->now.boot_ms - feed->status_boot_ms;
    int64_t after_ms = GATEWAY_STATUS_PAUSE_MS - since_ms;
    client->is_status_due = client->is_status_awaited = true;
    if (!feed->is_status_asked)
        r = turn_set_deadline(feed->status_timer, after_ms > 0 ? (uint64_t)after_ms : 0);
    feed->is_status_asked = true;
    if (r < 0)
        turn_fail(feed->turn, r, "status");
}

uint8_t feed_on_subscribe(struct feed *feed,
                          struct client *client,
                          const struct connection_subscribe *subscribe)
{
    bool is_new = false;

    if (!subscriptions_may(subscribe->filter, connection_client_id(client->connection),
                           client_is_admin(client)))
        return MQTT_NOT_AUTHORIZED;
    uint8_t code =
        subscriptions_add(&client->subscriptions, subscribe->filter, subscribe->qos, &is_new);
    if (code < MQTT_FIRST_FAILURE && wants_retained(subscribe, is_new) &&
        packet_topic_matches(SUBSCRIPTIONS_STATUS, subscribe->filter))
        feed_ask_status(feed, client);
    client->has_new_subscriptions |= code < MQTT_FIRST_FAILURE;
    if (code < MQTT_FIRST_FAILURE && outcomes_update(&feed->outcomes, client) < 0) {
        (void)subscriptions_remove(&client->subscriptions, subscribe->filter);
        return MQTT_UNSPECIFIED_ERROR;
    }
    return code;
}

uint8_t feed_on_unsubscribe(struct feed *feed, struct client *client, struct view filter)
{
    if (!subscriptions_remove(&client->subscriptions, filter))
        return MQTT_NO_SUBSCRIPTION_EXISTED;
    client->has_new_subscriptions = true;
    client->is_status_due = client->is_status_due && client_has_status(client);
    client->is_status_awaited = client->is_status_awaited && client->is_status_due;
    (void)outcomes_update(&feed->outcomes, client); /* it needs no memory for that */
    return MQTT_SUCCESS;
}

static void feed_send_status(const struct feed *feed, struct client *client)
{
    struct connection_message message = {
        .topic = view_of_text(SUBSCRIPTIONS_STATUS),
        .payload = view_of(feed->status, feed->status_size),
    };

    if (client->is_status_due && !client->is_status_awaited && feed->status)
        client->is_status_due =
            connection_send(client->connection, &message) == CONNECTION_E_FULL;
}

void feed_on_writable(struct feed *feed, struct client *client)
{
    feed_send_status(feed, client);
    outcomes_send(&feed->outcomes, client);
}

void feed_on_acknowledged(struct feed *feed, struct client *client, uint64_t tag)
{
    outcomes_acknowledge(&feed->outcomes, client, tag);
}

/* ---- of a session that is kept ---- */

void feed_on_connected(struct feed *feed, struct client *client)
{
    const struct spool_session *kept = client->session.kept;

    if (!kept || kept->subscriptions.size == 0)
        return;
    subscriptions_load(&client->subscriptions, kept->subscriptions,
                       connection_client_id(client->connection), client_is_admin(client));
    if (outcomes_update(&feed->outcomes, client) < 0)
        connection_close(client->connection, MQTT_UNSPECIFIED_ERROR, "no memory to subscribe");
}

bool feed_on_subscribed(struct feed *feed, struct client *client)
{
    static uint8_t memory[SUBSCRIPTIONS_STORED_MAX];
    size_t size;

    if (!client->session.kept || !client->has_new_subscriptions)
        return false;
    size = subscriptions_store(&client->subscriptions, memory);
    if (spool_session_set_subscriptions(feed->spool, client->session.kept,
                                        view_of(memory, size)) != 0) {
        connection_close(client->connection, MQTT_UNSPECIFIED_ERROR, "no memory to subscribe");
        return false;
    }
    client->has_new_subscriptions = false;
    session_wait_begin(&feed->confirming, &client->confirm, client->connection, feed->spool);
    edge_timer_arm(feed->edge_timer);
    return true;
}

void feed_confirm(struct feed *feed)
{
    session_waits_answer(&feed->confirming, feed->spool, connection_confirm);
}

void feed_note_lost(struct feed *feed)
{
    struct session_wait *wait;

    TAILQ_FOREACH(wait, &feed->confirming, link)
        wait->change = 0;
}

void feed_on_closed(struct feed *feed, struct client *client)
{
    session_wait_end(&feed->confirming, &client->confirm);
    outcomes_forget(&feed->outcomes, client);
}

/* Without memory the object before is kept. */
static void feed_keep_status(struct feed *feed, const char *text, size_t size)
{
    char *copy = realloc(feed->status, size);

    if (!copy)
        return;
    memcpy(copy, text, size);
    feed->status = copy;
    feed->status_size = size;
}

/* @all: also those that have not asked for it since the last one. */
static void feed_offer_status(struct feed *feed, bool all)
{
    struct client *client, *next;

    for (client = TAILQ_FIRST(&feed->clients->open); client; client = next) {
        next = TAILQ_NEXT(client, link);
        if (!client->is_status_awaited &&
            (!all || client->subscriptions.count == 0 || !client_has_status(client)))
            continue;
        client->is_status_due |= all;
        client->is_status_awaited = false;
        if (client->confirm.is_pending)
            continue; /* its SUBACK comes first */
        feed_send_status(feed, client);
        connection_flush(client->connection); /* may close it */
    }
}

void feed_set_status(struct feed *feed, const char *text, size_t size)
{
    feed_keep_status(feed, text, size);
    feed_offer_status(feed, true);
}

void feed_answer_status(struct feed *feed, const char *text, size_t size)
{
    feed->is_status_asked = false;
    feed->status_boot_ms = feed->turn->now.boot_ms;
    if (text)
        feed_keep_status(feed, text, size);
    feed_offer_status(feed, false);
}

void feed_init(struct feed *feed)
{
    TAILQ_INIT(&feed->confirming);
    outcomes_init(&feed->outcomes);
}

void feed_finish(struct feed *feed)
{
    free(feed->status);
    feed->status = NULL;
    feed->status_timer = sd_event_source_disable_unref(feed->status_timer);
}
