/* SPDX-License-Identifier: MIT */
/*
 * clients.c - producers connect, are admitted, and leave
 *
 * Three lists: all open connections; those that have a message in the open batch;
 * those that closed. Those whose PUBLISH waits are in waiting.c, which knows whose
 * turn it is. A connection is freed at the batch edge only, never inside its own
 * callback.
 *
 * Above listen.max_clients a few more, the surplus, may send their CONNECT, so
 * that the CONNACK can give the reason of the rejection. They have
 * SURPLUS_CONNECT_MS for it. Beyond SURPLUS_MAX a connection is closed without an
 * answer, and so is each over-limit client if the daemon's own work is short of
 * descriptors. Connections that send no CONNECT take no place from a client: once
 * silent for SILENT_MS, the oldest of them is closed if its place is needed. A user that
 * has SILENT_MANY of them gives up the oldest at once, if another user that has fewer
 * needs its place.
 *
 * A connection that no entry of the access list fits is treated as one above the limit: it
 * takes no place, and the CONNACK gives the reason.
 *
 * Invariants: a client is in exactly one of the lists open and closed. The counts
 * of clients and shares are those of the lists.
 *
 * Diagnostics: client_refused, message_refused, clients_limited,
 * client_closed.
 */
#include "daemon/gateway/clients.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/view.h"
#include "daemon/gateway/batch.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/turn.h"
#include "daemon/gateway/users.h"
#include "daemon/mqtt/packet.h"

/* For the daemon's own files and connections, some 25 while it reconnects, and the surplus. */
#define DESCRIPTORS_KEPT   64
#define SURPLUS_MAX        16
#define SURPLUS_CONNECT_MS 2000
#define SILENT_MS          1000
#define SILENT_MANY        (SURPLUS_MAX / 2)
#define REASON_QUOTED_MAX  256
#define RAISE_MAX          "raise listen.max_clients, or end clients that are not needed"
/* How many clients that wait for something else than their lane one edge tries without
 * success. */
#define RESUME_FAILURES_MAX 8

static struct client *client_of(struct waiter *waiter)
{
    return (struct client *)((char *)waiter - offsetof(struct client, waiter));
}

static void resume_throttled(struct throttled *throttled)
{
    const struct client *client =
        (struct client *)((char *)throttled - offsetof(struct client, throttled));

    connection_resume(client->connection);
}

void clients_init(struct clients *clients)
{
    TAILQ_INIT(&clients->open);
    TAILQ_INIT(&clients->owing);
    TAILQ_INIT(&clients->closed);
    waiting_init(&clients->waiting);
    users_init(&clients->users);
    throttle_init(&clients->throttle, clients->turn, resume_throttled);
}

int clients_start(struct clients *clients)
{
    return throttle_start(&clients->throttle);
}

static void log_rejected(struct clients *clients,
                         const char *what,
                         const struct peer *peer,
                         const char *remedy)
{
    struct user *user = users_find(&clients->users, peer->uid);
    uint64_t suppressed = 0;

    clients->counters->clients_refused++;
    turn_read_clock(clients->turn);
    if (log_limit_pass(&user->warnings, clients->turn->now.boot_ms, &suppressed))
        log_warning("client_refused reason=%s uid=%d pid=%d suppressed=%" PRIu64
                    " remedy=\"%s\"",
                    what, (int)peer->uid, (int)peer->pid, suppressed, remedy);
}

void clients_log_client_refused(struct client *client, const char *what, const char *remedy)
{
    struct clients *clients = client->clients;
    const struct peer *peer = connection_peer(client->connection);
    struct view id = connection_client_id(client->connection);
    char text[128];
    uint64_t suppressed = 0;

    client->is_refusal_logged = true;
    clients->counters->clients_refused++;
    turn_read_clock(clients->turn);
    if (log_limit_pass(&client->user->warnings, clients->turn->now.boot_ms, &suppressed))
        log_warning("client_refused reason=%s client=%s uid=%d pid=%d suppressed=%" PRIu64
                    " remedy=\"%s\"",
                    what, log_quote(text, sizeof(text), id.data, id.size), (int)peer->uid,
                    (int)peer->pid, suppressed, remedy);
}

/*
 * Clients must not take what the daemon needs to do its work: without a descriptor there is no
 * link, no status and no audit file. So fewer clients are admitted if the limit is low, which
 * is logged once, instead of all parts failing by turns.
 */
void clients_fit(struct clients *clients)
{
    unsigned wanted = clients->config->listen.max_clients;
    struct rlimit limit;

    clients->max = wanted;
    clients->max_surplus = SURPLUS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted + DESCRIPTORS_KEPT)
        return;
    clients->max =
        limit.rlim_cur > DESCRIPTORS_KEPT ? (unsigned)limit.rlim_cur - DESCRIPTORS_KEPT : 1;
    if (limit.rlim_cur < DESCRIPTORS_KEPT)
        clients->max_surplus = 0;
    log_warning(
        "clients_limited max_clients=%u served=%u descriptors=%u remedy=\"set "
        "LimitNOFILE=%u (systemctl edit mqtt-spoold) or the hard limit of ulimit -n, or "
        "lower listen.max_clients\"",
        wanted, clients->max, (unsigned)limit.rlim_cur, wanted + DESCRIPTORS_KEPT);
}

static bool is_crowded(const struct clients *clients)
{
    return clients->count >= clients->max;
}

static void count_client(struct client *client, bool is_surplus)
{
    client->is_surplus = is_surplus;
    if (is_surplus)
        client->clients->surplus_count++;
    else
        client->clients->count++;
}

static void uncount_client(const struct client *client)
{
    if (client->is_surplus)
        client->clients->surplus_count--;
    else
        client->clients->count--;
}

static void client_update_active(struct client *client)
{
    bool is_active = client->is_owing || client->waiter.is_waiting;

    if (is_active == client->is_active)
        return;
    client->is_active = is_active;
    if (is_active)
        users_add_active(&client->clients->users, client->user);
    else
        users_remove_active(&client->clients->users, client->user);
}

static void client_free(struct client *client)
{
    client->clients->feed_ops->closed(client->clients->userdata, client);
    users_remove_client(&client->clients->users, client->user);
    connection_free(client->connection);
    subscriptions_done(&client->subscriptions);
    free(client);
}

static uid_t uid_of(const struct client *client)
{
    return connection_peer(client->connection)->uid;
}

static bool has_same_session(const struct client *client, const struct client *other)
{
    return uid_of(client) == uid_of(other) &&
           view_equals(connection_client_id(client->connection),
                       connection_client_id(other->connection));
}

/* The one that is admitted and has the same client id and user; NULL: none. */
static struct client *find_admitted(const struct client *client)
{
    struct client *other;

    TAILQ_FOREACH(other, &client->clients->open, link) {
        if (other != client && !other->is_surplus && has_same_session(client, other))
            return other;
    }
    return NULL;
}

/*
 * Which connection that has sent no CONNECT gives up its place for one of @user.
 *
 * The oldest, if it is silent for a while; or else the oldest of the user that has the most of
 * them, however young, if these are many and more than @user has. NULL: none.
 */
static struct client *
find_silent(const struct clients *clients, const struct user *user, bool is_surplus)
{
    struct client *client, *oldest = NULL, *most = NULL;

    TAILQ_FOREACH(client, &clients->open, link) {
        if (client->has_connected || client->is_surplus != is_surplus)
            continue;
        if (!oldest)
            oldest = client; /* they stand as they came: the others are younger */
        if (!most || client->user->silent > most->user->silent)
            most = client;
    }
    if (oldest && clients->turn->now.boot_ms - oldest->accepted_ms >= SILENT_MS)
        return oldest;
    return most && most->user->silent >= SILENT_MANY && most->user->silent > user->silent + 1
               ? most
               : NULL;
}

/* @silent: if a user has so many connections without CONNECT, these take the places. */
static void log_full(struct clients *clients, const struct peer *peer, unsigned silent)
{
    const struct user *most = users_find_most_silent(&clients->users);
    char remedy[128];

    if (!most || most->silent < silent) {
        log_rejected(clients, "max_clients", peer, RAISE_MAX);
        return;
    }
    (void)snprintf(remedy, sizeof(remedy),
                   "find the program of uid %d: %u of its connections have sent no CONNECT",
                   (int)most->uid, most->silent);
    log_rejected(clients, "max_clients", peer, remedy);
}

static void close_silent(struct client *client)
{
    log_rejected(client->clients, "no_connect", connection_peer(client->connection),
                 "correct the program: it has to send CONNECT when it is connected");
    client->is_refusal_logged = true;
    connection_close(client->connection, 0, "no CONNECT, and its place was needed");
}

static void swap_places(struct client *client, struct client *other)
{
    uncount_client(client);
    uncount_client(other);
    count_client(client, false);
    count_client(other, true);
}

/* One that was over the limit when it came is admitted if another has left meanwhile, or if
 * it takes over a connection that is admitted. */
static bool client_admit(struct client *client)
{
    struct client *other;

    if (!client->is_surplus)
        return true;
    if (!is_crowded(client->clients)) {
        uncount_client(client);
        count_client(client, false);
        return true;
    }
    other = find_admitted(client);
    if (other) {
        swap_places(client, other);
        return true;
    }
    other = find_silent(client->clients, client->user, false);
    if (other) {
        swap_places(client, other);
        close_silent(other);
        return true;
    }
    /* So many cannot all be in the surplus. */
    log_full(client->clients, connection_peer(client->connection), SURPLUS_MAX + SILENT_MANY);
    client->is_refusal_logged = true;
    return false;
}

/* By max_clients of its entry; a client that takes its own connection over needs no place. */
static bool user_has_place(const struct client *client)
{
    const struct config_access *entry = client->access.entry;

    return !entry || entry->max_clients == 0 || client->user->admitted < entry->max_clients ||
           find_admitted(client);
}

/* Return: MQTT_SUCCESS, or why it is rejected for its will. */
static uint8_t check_will(struct client *client)
{
    const struct clients *clients = client->clients;
    const struct connection_will *will = connection_will(client->connection);

    return will ? clients->will_ops->check(clients->userdata, client, will) : MQTT_SUCCESS;
}

/*
 * A connection belongs to (uid, client id): its own uid takes it over [MQTT-3.1.4-3], and the
 * same id of another uid is another client. There may be more than one of that id, of which all
 * but one are closing already.
 */
static void take_over(struct client *client)
{
    struct clients *clients = client->clients;
    struct client *other, *next;

    for (other = TAILQ_FIRST(&clients->open); other; other = next) {
        next = TAILQ_NEXT(other, link);
        if (other == client || !has_same_session(client, other))
            continue;
        clients->will_ops->left(clients->userdata, other);
        /* Before its session is left, which may drop it. */
        clients->feed_ops->closed(clients->userdata, other);
        client_session_leave(&clients->sessions, &other->session);
        connection_close(other->connection, MQTT_SESSION_TAKEN_OVER, "session taken over");
    }
}

/* Return: MQTT_SUCCESS, or why it may not connect. */
static uint8_t admit(struct client *client)
{
    uint8_t code;

    if (!client->access.is_allowed) {
        clients_log_client_refused(client, "no_access", CLIENTS_ALLOW_USER);
        return MQTT_NOT_AUTHORIZED;
    }
    code = check_will(client);
    if (code != MQTT_SUCCESS)
        return code;
    if (!user_has_place(client)) {
        clients_log_client_refused(
            client, "access.max_clients",
            "end clients that are not needed, or raise max_clients of the entry of "
            "access that fits this user");
        return MQTT_QUOTA_EXCEEDED;
    }
    if (!client_admit(client))
        return MQTT_QUOTA_EXCEEDED;
    take_over(client);
    return MQTT_SUCCESS;
}

/* Called again for a CONNECT that waits for the commit of its session. */
static uint8_t on_connected(void *userdata,
                            struct connection *connection,
                            const struct connection_connect *connect,
                            struct connection_admission *ret)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;
    uint8_t code = MQTT_SUCCESS;

    (void)connection;
    if (!client->has_connected)
        client->user->silent--;
    client->has_connected = true;
    turn_read_clock(clients->turn);
    if (stop_has_begun(clients->stop) || clients->turn->has_failed)
        return MQTT_SERVER_UNAVAILABLE;
    if (!client->is_admitted)
        code = admit(client);
    if (code == MQTT_SUCCESS)
        code = client_session_connect(&clients->sessions, &client->session, connect, ret);
    if (code == MQTT_SUCCESS && !client->is_admitted) {
        client->is_admitted = true;
        client->user->admitted++;
        clients->will_ops->connected(clients->userdata, client, ret->has_session);
    }
    if (code == MQTT_SUCCESS && !ret->is_waiting)
        clients->feed_ops->connected(clients->userdata, client);
    return code;
}

static struct connection_verdict on_publish(void *userdata,
                                            struct connection *connection,
                                            const struct connection_publish *publish)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;

    (void)connection;
    return clients->on_publish(clients->userdata, client, publish);
}

static void client_set_owing(struct client *client)
{
    if (client->is_owing)
        return;
    client->is_owing = true;
    TAILQ_INSERT_TAIL(&client->clients->owing, client, owing_link);
    client_update_active(client);
}

/* It is owed an acknowledgement after the commit of the open batch, of which it has no
 * share. */
static void client_note_owed(struct client *client)
{
    client_set_owing(client);
    edge_timer_arm(client->clients->edge_timer);
}

static uint64_t on_repeated(void *userdata, struct connection *connection, uint16_t packet_id)
{
    struct client *client = userdata;

    (void)connection;
    client_note_owed(client);
    return client_session_find_message(&client->clients->sessions, &client->session, packet_id);
}

static bool on_released(void *userdata, struct connection *connection, uint16_t packet_id)
{
    struct client *client = userdata;

    (void)connection;
    if (!client_session_release(&client->clients->sessions, &client->session, packet_id))
        return false;
    client_note_owed(client);
    return true;
}

static void
on_expiry_changed(void *userdata, struct connection *connection, uint32_t session_expiry_s)
{
    struct client *client = userdata;

    (void)connection;
    client_session_set_expiry(&client->clients->sessions, &client->session, session_expiry_s);
}

static uint8_t on_subscribe(void *userdata,
                            struct connection *connection,
                            const struct connection_subscribe *subscribe)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;

    (void)connection;
    return clients->feed_ops->subscribe(clients->userdata, client, subscribe);
}

static uint8_t on_unsubscribe(void *userdata, struct connection *connection, struct view filter)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;

    (void)connection;
    return clients->feed_ops->unsubscribe(clients->userdata, client, filter);
}

static bool on_subscribed(void *userdata, struct connection *connection)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;

    (void)connection;
    return clients->feed_ops->subscribed(clients->userdata, client);
}

static void on_acknowledged(void *userdata, struct connection *connection, uint64_t tag)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;

    (void)connection;
    clients->feed_ops->acknowledged(clients->userdata, client, tag);
}

static void on_writable(void *userdata, struct connection *connection)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;

    (void)connection;
    clients->feed_ops->writable(clients->userdata, client);
}

static void client_clear_owing(struct client *client)
{
    struct share *shared = &client->user->share;

    if (!client->is_owing)
        return;
    TAILQ_REMOVE(&client->clients->owing, client, owing_link);
    client->is_owing = false;
    shared->messages -= client->share.messages;
    shared->bytes -= client->share.bytes;
    client->share = (struct share){0};
    client_update_active(client);
}

static void client_clear_waiting(struct client *client)
{
    waiting_remove(&client->clients->waiting, &client->waiter);
    client_update_active(client);
}

/* A 3.1.1 client sees only that its connection closes: the reason is logged. */
static void log_closed(struct client *client, const char *why)
{
    struct view id = connection_client_id(client->connection);
    char text[128], reason[REASON_QUOTED_MAX];

    (void)log_quote(text, sizeof(text), id.data, id.size);
    (void)log_quote(reason, sizeof(reason), why, strlen(why));
    log_debug("client_closed client=%s uid=%d reason=%s", text, (int)uid_of(client), reason);
    if (connection_was_refused(client->connection) && !client->is_refusal_logged)
        clients_log_client_refused(
            client, reason,
            "correct the program; if it is refused for a quota or for what is stored, "
            "mqtt-spool status has the cause");
}

static void on_closed(void *userdata, struct connection *connection, const char *why)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;

    (void)connection;
    log_closed(client, why);
    if (client->waiter.is_waiting ||
        client->throttled.is_waiting) /* it will not be offered again */
        counters_note_refused(clients->counters, 1, "its client left while it waited",
                              clients->turn->now.boot_ms);
    clients->will_ops->left(clients->userdata, client);
    client_clear_owing(client);
    client_clear_waiting(client);
    clients->feed_ops->closed(clients->userdata, client);
    client_session_leave(&clients->sessions, &client->session);
    throttle_remove(&clients->throttle, &client->throttled);
    TAILQ_REMOVE(&clients->open, client, link);
    TAILQ_INSERT_TAIL(&clients->closed, client, link);
    uncount_client(client);
    if (!client->has_connected)
        client->user->silent--;
    if (client->is_admitted)
        client->user->admitted--;
    edge_timer_arm(clients->edge_timer);
}

static const struct connection_ops connection_ops = {
    .connected = on_connected,
    .publish = on_publish,
    .repeated = on_repeated,
    .released = on_released,
    .expiry_changed = on_expiry_changed,
    .subscribe = on_subscribe,
    .unsubscribe = on_unsubscribe,
    .subscribed = on_subscribed,
    .acknowledged = on_acknowledged,
    .writable = on_writable,
    .closed = on_closed,
};

/* @fd is taken over, also on failure. */
static int clients_add(struct clients *clients,
                       int fd,
                       const struct peer *peer,
                       const struct access *access,
                       bool is_surplus)
{
    struct connection_settings settings = {
        .max_packet = (size_t)clients->config->listen.max_packet,
        .connect_timeout_ms = is_surplus ? SURPLUS_CONNECT_MS : 0,
    };
    struct client *client = calloc(1, sizeof(*client));

    if (!client) {
        (void)close(fd);
        return -ENOMEM;
    }
    client->clients = clients;
    client->access = *access;
    subscriptions_init(&client->subscriptions);
    client->accepted_ms = clients->turn->now.boot_ms;
    client->user = users_find(&clients->users, peer->uid);
    client->waiter = (struct waiter){.user = client->user, .share = &client->share};
    client->throttled = (struct throttled){.user = client->user, .rate = access_rate(access)};
    int r = connection_new(clients->turn->event, fd, peer, &settings, &connection_ops, client,
                           &client->connection);
    if (r < 0) {
        free(client);
        return r;
    }
    client->session.connection = client->connection;
    TAILQ_INSERT_TAIL(&clients->open, client, link);
    users_add_client(&clients->users, client->user);
    client->user->silent++;
    count_client(client, is_surplus);
    return 0;
}

int clients_on_accept(void *userdata, int fd, const struct peer *peer)
{
    struct clients *clients = userdata;
    struct access access = access_decide(clients->config, fd, peer);
    bool is_surplus = !access.is_allowed || is_crowded(clients);
    struct client *silent;
    char text[64];

    turn_read_clock(clients->turn);
    silent = is_surplus && clients->surplus_count >= clients->max_surplus
                 ? find_silent(clients, users_find(&clients->users, peer->uid), true)
                 : NULL;
    if (silent)
        close_silent(silent);
    if (is_surplus && clients->surplus_count >= clients->max_surplus) {
        (void)close(fd);
        if (access.is_allowed)
            log_full(clients, peer, SILENT_MANY);
        else
            log_rejected(clients, "no_access", peer, CLIENTS_ALLOW_USER);
        return 0;
    }
    int r = clients_add(clients, fd, peer, &access, is_surplus);
    if (r < 0)
        log_rejected(clients, log_quote(text, sizeof(text), strerror(-r), strlen(strerror(-r))),
                     peer, "free memory, or lower listen.max_clients");
    return 0; /* out of memory for one client is no reason to end */
}

void clients_note_owing(struct client *client, uint64_t charge)
{
    client->share.messages++;
    client->share.bytes += charge;
    client->user->share.messages++;
    client->user->share.bytes += charge;
    client_set_owing(client);
}

void clients_log_refused(const struct client *client, const char *reason, const char *remedy)
{
    struct clients *clients = client->clients;
    const struct peer *peer = connection_peer(client->connection);
    struct view id = connection_client_id(client->connection);
    char quoted_id[128], quoted[REASON_QUOTED_MAX];
    uint64_t suppressed = 0;

    turn_read_clock(clients->turn);
    if (log_limit_pass(&client->user->warnings, clients->turn->now.boot_ms, &suppressed))
        log_warning("message_refused reason=%s client=%s uid=%d pid=%d suppressed=%" PRIu64
                    " remedy=\"%s\"",
                    log_quote(quoted, sizeof(quoted), reason, strlen(reason)),
                    log_quote(quoted_id, sizeof(quoted_id), id.data, id.size), (int)peer->uid,
                    (int)peer->pid, suppressed, remedy);
}

void clients_note_waiting(struct client *client, unsigned queue, uint64_t charge)
{
    waiting_add(&client->clients->waiting, &client->waiter, queue, charge);
    client_update_active(client);
}

/* Some would have sent more than their share, others are served whole. */
static bool is_contended(const struct clients *clients)
{
    const struct client *client;

    if (TAILQ_EMPTY(&clients->waiting.queues[WAITING_ANY]))
        return false;
    TAILQ_FOREACH(client, &clients->owing, owing_link) {
        if (!client->waiter.is_waiting)
            return true;
    }
    return false;
}

void clients_acknowledge(struct clients *clients)
{
    struct client *client = TAILQ_FIRST(&clients->owing);

    if (is_contended(clients))
        batch_note_contended(clients->batch);
    if (client)
        FAILPOINT("acknowledge.before_first");
    while (client) {
        client_clear_owing(client);
        connection_acknowledge(client->connection);
        client = TAILQ_FIRST(&clients->owing);
        if (client)
            FAILPOINT("acknowledge.between");
        else
            FAILPOINT("acknowledge.after_last");
    }
}

/* Packet ids of QoS 2 first: which of them the spool still has decides what is refused. */
void clients_refuse_owed(struct clients *clients, uint8_t code)
{
    struct client_list still = TAILQ_HEAD_INITIALIZER(still);
    struct client *client, *next;

    for (client = TAILQ_FIRST(&clients->open); client; client = next) {
        next = TAILQ_NEXT(client, link);
        client_session_reload(&clients->sessions, &client->session);
    }
    while ((client = TAILQ_FIRST(&clients->owing))) {
        client_clear_owing(client);
        if (connection_refuse_owed(client->connection, code))
            TAILQ_INSERT_TAIL(&still, client, owing_link);
    }
    while ((client = TAILQ_FIRST(&still))) {
        TAILQ_REMOVE(&still, client, owing_link);
        client_note_owed(client);
    }
    client_sessions_refuse(&clients->sessions);
}

void clients_drop_owed(struct clients *clients, uint8_t code, const char *why)
{
    struct client *client;

    while ((client = TAILQ_FIRST(&clients->owing))) {
        client_clear_owing(client);
        connection_drop_owed(client->connection, code, why);
    }
}

/* Return: false: it waits as before. */
static bool client_resume(struct client *client)
{
    unsigned messages = client->share.messages;

    client->waiter.has_turn = true;
    connection_resume(client->connection);
    client->waiter.has_turn = false;
    client_update_active(client);
    return !client->waiter.is_waiting || client->share.messages > messages;
}

/* The reason why one of them waits, if it is not its lane, may apply to all of them: so only a
 * few are tried. */
void clients_resume_waiting(struct clients *clients)
{
    struct waiter *waiter;
    unsigned failures = 0;

    waiting_begin_pass(&clients->waiting);
    while (failures < RESUME_FAILURES_MAX &&
           (waiter = waiting_next(&clients->waiting, clients->batch))) {
        if (!client_resume(client_of(waiter)))
            failures++;
    }
}

void clients_free_closed(struct clients *clients)
{
    struct client *client;

    while ((client = TAILQ_FIRST(&clients->closed))) {
        TAILQ_REMOVE(&clients->closed, client, link);
        client_free(client);
    }
}

void clients_close(struct clients *clients)
{
    struct client *client = TAILQ_FIRST(&clients->open);

    while (client) {
        struct client *next = TAILQ_NEXT(client, link);
        connection_close(client->connection, MQTT_SERVER_SHUTTING_DOWN, "daemon stops");
        clients->will_ops->left(clients->userdata, client); /* it may not be closed in time */
        client = next;
    }
}

void clients_finish(struct clients *clients)
{
    struct client *client;

    clients_free_closed(clients);
    while ((client = TAILQ_FIRST(&clients->open))) {
        TAILQ_REMOVE(&clients->open, client, link);
        client_free(client);
    }
    throttle_finish(&clients->throttle);
    users_finish(&clients->users);
}
