/* SPDX-License-Identifier: MIT */
/*
 * outcomes.c - producers are sent how their messages ended
 *
 * The store passes on the records of each batch before it commits them, if a client
 * has subscribed to any. A record goes to the queue of the connected client of its
 * user and client id, and to those of administrators whose filter matches its topic.
 * After the commit the queues are sent, as far as the clients have room; the rest
 * follows when they have.
 *
 * For a session that is kept and has subscribed with QoS 1 the record goes to the
 * session's outbox in the spool instead, by that commit, whether its client is
 * connected or not; replay.c sends it from there.
 *
 * Clients are found by a hash of user and client id. Those with a filter that also
 * matches topics of others stand in a list of their own.
 *
 * Invariant: without a subscriber the store reads no record for this file, and a
 * record leaves only after the commit that made it true.
 */
#include "daemon/gateway/outcomes.h"

#include <errno.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/subscriptions.h"
#include "daemon/ingress/connection.h"
#include "daemon/record/outcome.h"

void outcomes_init(struct outcomes *outcomes)
{
    for (unsigned i = 0; i < OUTCOMES_BUCKETS; i++)
        LIST_INIT(&outcomes->buckets[i]);
    LIST_INIT(&outcomes->wide);
    TAILQ_INIT(&outcomes->touched);
}

/* FNV-1a */
static unsigned bucket_of(uint32_t uid, struct view client_id)
{
    uint32_t hash = 2166136261U ^ uid;

    hash *= 16777619U;
    for (size_t i = 0; i < client_id.size; i++)
        hash = (hash ^ client_id.data[i]) * 16777619U;
    return hash % OUTCOMES_BUCKETS;
}

/* ---- who has subscribed ---- */

static int on_record(void *userdata, const struct spool_record *record);

static bool is_wanted(const struct outcomes *outcomes, enum outcome_kind kind)
{
    return outcomes->subscribers[kind] > 0 ||
           spool_sessions_wanting(outcomes->spool, (unsigned)kind) > 0;
}

static void outcomes_watch(struct outcomes *outcomes)
{
    bool has_deliveries = is_wanted(outcomes, OUTCOME_DELIVERY);
    bool is_any = has_deliveries || is_wanted(outcomes, OUTCOME_FAILURE);

    spool_watch_records(outcomes->spool, !has_deliveries, is_any ? on_record : NULL, outcomes);
}

/* Those of QoS 1 are kept for a session. */
static unsigned kinds_to_keep(const int qos[static OUTCOME_KINDS])
{
    unsigned kinds = 0;

    for (unsigned kind = 0; kind < OUTCOME_KINDS; kind++)
        kinds |= (qos[kind] > 0 ? 1U : 0U) << kind;
    return kinds;
}

static void own_qos(const struct subscriptions *subscriptions,
                    struct view id,
                    int ret[static OUTCOME_KINDS])
{
    char text[OUTCOME_TOPIC_MAX];

    for (unsigned kind = 0; kind < OUTCOME_KINDS; kind++)
        ret[kind] =
            subscriptions_qos(subscriptions, outcome_topic((enum outcome_kind)kind, id, text));
}

void outcomes_load(struct outcomes *outcomes)
{
    struct spool_session *session;

    for (session = spool_session_next(outcomes->spool, NULL); session;
         session = spool_session_next(outcomes->spool, session)) {
        struct subscriptions subscriptions;
        int qos[OUTCOME_KINDS];

        if (session->subscriptions.size == 0)
            continue;
        subscriptions_init(&subscriptions);
        subscriptions_load(&subscriptions, session->subscriptions, session->client, false);
        own_qos(&subscriptions, session->client, qos);
        spool_session_set_wanted(outcomes->spool, session, kinds_to_keep(qos));
        subscriptions_done(&subscriptions);
    }
    outcomes_watch(outcomes);
}

static void subscriber_unlist(struct outcomes *outcomes, struct outcome_subscriber *subscriber)
{
    LIST_REMOVE(subscriber, link);
    for (unsigned kind = 0; kind < OUTCOME_KINDS; kind++) {
        if (subscriber->is_counted[kind])
            outcomes->subscribers[kind]--;
        subscriber->is_counted[kind] = false;
    }
}

/* By what it has subscribed to now. */
static void subscriber_list(struct outcomes *outcomes, struct outcome_subscriber *subscriber)
{
    const struct client *client = subscriber->client;
    struct view id = connection_client_id(client->connection);
    bool is_wide = false;

    own_qos(&client->subscriptions, id, subscriber->own_qos);
    for (unsigned kind = 0; kind < OUTCOME_KINDS; kind++) {
        bool reaches_others = subscriptions_reach_others(
            &client->subscriptions, outcome_prefix((enum outcome_kind)kind), id);

        is_wide |= reaches_others;
        subscriber->is_counted[kind] =
            reaches_others || subscriber->own_qos[kind] != SUBSCRIPTIONS_NONE;
        outcomes->subscribers[kind] += subscriber->is_counted[kind];
    }
    LIST_INSERT_HEAD(
        is_wide ? &outcomes->wide
                : &outcomes->buckets[bucket_of(connection_peer(client->connection)->uid, id)],
        subscriber, link);
}

static struct outcome_subscriber *subscriber_new(struct outcomes *outcomes,
                                                 struct client *client)
{
    struct outcome_subscriber *subscriber = calloc(1, sizeof(*subscriber));

    if (!subscriber)
        return NULL;
    subscriber->client = client;
    record_queue_init(&subscriber->queue, &outcomes->budget);
    subscriber->replay = (struct replay){
        .spool = outcomes->spool,
        .session = client->session.kept,
        .connection = client->connection,
        .qos = subscriber->own_qos,
    };
    if (subscriber->replay.session)
        replay_begin(&subscriber->replay);
    client->outcomes = subscriber;
    return subscriber;
}

static bool needs_subscriber(const struct client *client)
{
    return subscriptions_have_prefix(&client->subscriptions, outcome_prefix(OUTCOME_FAILURE)) ||
           subscriptions_have_prefix(&client->subscriptions, outcome_prefix(OUTCOME_DELIVERY));
}

int outcomes_update(struct outcomes *outcomes, struct client *client)
{
    struct outcome_subscriber *subscriber = client->outcomes;

    if (subscriber) {
        subscriber_unlist(outcomes, subscriber);
    } else {
        if (!needs_subscriber(client))
            return 0;
        subscriber = subscriber_new(outcomes, client);
        if (!subscriber)
            return -ENOMEM;
    }
    subscriber_list(outcomes, subscriber);
    if (client->session.kept)
        spool_session_set_wanted(outcomes->spool, client->session.kept,
                                 kinds_to_keep(subscriber->own_qos));
    outcomes_watch(outcomes);
    return 0;
}

void outcomes_forget(struct outcomes *outcomes, struct client *client)
{
    struct outcome_subscriber *subscriber = client->outcomes;

    if (!subscriber)
        return;
    subscriber_unlist(outcomes, subscriber);
    if (subscriber->is_touched)
        TAILQ_REMOVE(&outcomes->touched, subscriber, touched_link);
    record_queue_done(&subscriber->queue);
    free(subscriber);
    client->outcomes = NULL;
    outcomes_watch(outcomes);
}

/* ---- records ---- */

/* The record as it is sent, written when it is first needed. */
struct rendering {
    const struct spool_record *record;
    struct view text; /* empty: not yet */
};

static struct view render(struct rendering *rendering)
{
    static char memory[RECORD_LINE_MAX];
    struct json json;

    if (rendering->text.size == 0) {
        json_init(&json, memory, sizeof(memory));
        record_write(&json, rendering->record);
        rendering->text = view_of(memory, json_used(&json));
    }
    return rendering->text;
}

static void subscriber_touch(struct outcomes *outcomes, struct outcome_subscriber *subscriber)
{
    if (subscriber->is_touched)
        return;
    subscriber->is_touched = true;
    TAILQ_INSERT_TAIL(&outcomes->touched, subscriber, touched_link);
}

/* @kept: the session whose outbox has it already, or NULL. */
static void subscriber_push(struct outcomes *outcomes,
                            struct outcome_subscriber *subscriber,
                            const struct spool_session *kept,
                            struct view topic,
                            int qos,
                            struct rendering *rendering)
{
    if (qos == SUBSCRIPTIONS_NONE)
        return;
    if (kept && subscriber->replay.session == kept)
        replay_note_row(&subscriber->replay);
    else
        record_queue_push(&subscriber->queue, topic, render(rendering), (uint8_t)qos);
    subscriber_touch(outcomes, subscriber);
}

/* For a session that wants it. @ret_kept: that one, or NULL. */
static int keep_record(struct outcomes *outcomes,
                       enum outcome_kind kind,
                       struct rendering *rendering,
                       struct spool_session **ret_kept)
{
    const struct spool_record *record = rendering->record;
    struct spool_session *session = NULL;

    if (spool_sessions_wanting(outcomes->spool, (unsigned)kind) > 0)
        session =
            spool_session_find(outcomes->spool, record->uid, view_of_text(record->client));
    if (!session || (session->wanted >> (unsigned)kind & 1) == 0)
        return 0;
    *ret_kept = session;
    return spool_outbox_add(outcomes->spool, session, record->seq, (unsigned)kind,
                            render(rendering), outcomes->config->listen.session_backlog);
}

static int on_record(void *userdata, const struct spool_record *record)
{
    struct outcomes *outcomes = userdata;
    enum outcome_kind kind = outcome_kind_of(record);
    struct rendering rendering = {.record = record};
    struct view id = view_of_text(record->client);
    struct spool_session *kept = NULL;
    struct outcome_subscriber *subscriber;
    char text[OUTCOME_TOPIC_MAX];

    int r = keep_record(outcomes, kind, &rendering, &kept);
    if (r != 0 || outcomes->subscribers[kind] == 0)
        return r;
    struct view topic = outcome_topic(kind, id, text);
    LIST_FOREACH(subscriber, &outcomes->buckets[bucket_of(record->uid, id)], link)
    {
        const struct connection *connection = subscriber->client->connection;

        if (connection_peer(connection)->uid == record->uid &&
            view_equals(connection_client_id(connection), id))
            subscriber_push(outcomes, subscriber, kept, topic, subscriber->own_qos[kind],
                            &rendering);
    }
    LIST_FOREACH(subscriber, &outcomes->wide, link)
    subscriber_push(outcomes, subscriber, kept, topic,
                    subscriptions_qos(&subscriber->client->subscriptions, topic), &rendering);
    return 0;
}

/* ---- sending ---- */

/* Return: false: it has to stay. A message that is too large for the client is passed over
 * [MQTT-3.1.2-25]. */
static bool
send_text(struct client *client, struct view topic, struct view payload, uint8_t qos)
{
    const struct connection_message message = {.topic = topic, .payload = payload, .qos = qos};
    int r = connection_send(client->connection, &message);

    return r == 0 || r == CONNECTION_E_TOO_LARGE;
}

/* In the place of those that were removed. @next: the one behind them, or NULL. Return: as
 * send_text(). */
static bool send_missed(struct outcome_subscriber *subscriber, const struct record_entry *next)
{
    enum outcome_kind kind = replay_missed_kind(subscriber->own_qos);
    char text[REPLAY_MISSED_MAX], topic_text[OUTCOME_TOPIC_MAX];
    struct view topic;
    int qos;

    if (next) {
        topic = next->topic;
        qos = next->qos;
    } else {
        topic = outcome_topic(kind, connection_client_id(subscriber->client->connection),
                              topic_text);
        qos = subscriber->own_qos[kind];
    }
    if (qos == SUBSCRIPTIONS_NONE)
        return true; /* with the next record */
    if (!send_text(subscriber->client, topic,
                   replay_write_missed(subscriber->queue.missed, text), (uint8_t)qos))
        return false;
    subscriber->queue.missed = 0;
    return true;
}

static void send_kept(struct outcomes *outcomes, struct outcome_subscriber *subscriber)
{
    int r = replay_send(&subscriber->replay);

    if (r < 0)
        turn_fail(outcomes->turn, r, "outbox");
}

void outcomes_send(struct outcomes *outcomes, struct client *client)
{
    struct outcome_subscriber *subscriber = client->outcomes;
    struct record_entry *entry;

    if (!subscriber)
        return;
    send_kept(outcomes, subscriber);
    entry = record_queue_first(&subscriber->queue);
    if (subscriber->queue.missed > 0 && !send_missed(subscriber, entry))
        return;
    while ((entry = record_queue_first(&subscriber->queue)) &&
           send_text(client, entry->topic, entry->payload, entry->qos))
        record_queue_pop(&subscriber->queue);
}

void outcomes_acknowledge(struct outcomes *outcomes, struct client *client, uint64_t tag)
{
    if (!client->outcomes || !replay_acknowledge(&client->outcomes->replay, tag))
        return;
    connection_await_room(client->connection); /* for the rows that follow */
    edge_timer_arm_later(outcomes->edge_timer, GATEWAY_SETTLE_LATEST_MS);
}

static struct outcome_subscriber *next_touched(struct outcomes *outcomes)
{
    struct outcome_subscriber *subscriber = TAILQ_FIRST(&outcomes->touched);

    if (!subscriber)
        return NULL;
    TAILQ_REMOVE(&outcomes->touched, subscriber, touched_link);
    subscriber->is_touched = false;
    return subscriber;
}

void outcomes_release(struct outcomes *outcomes)
{
    struct outcome_subscriber *subscriber;

    while ((subscriber = next_touched(outcomes))) {
        struct client *client = subscriber->client;

        record_queue_commit(&subscriber->queue);
        outcomes_send(outcomes, client);
        connection_flush(client->connection); /* may close it, which frees the subscriber */
    }
}

void outcomes_discard(struct outcomes *outcomes)
{
    struct outcome_subscriber *subscriber;

    while ((subscriber = next_touched(outcomes)))
        record_queue_discard(&subscriber->queue);
}
