/* SPDX-License-Identifier: MIT */
/*
 * clients.c - producers connect, are admitted, and leave
 *
 * Three lists: all open sessions; those that have a message in the open batch;
 * those that closed. Those whose PUBLISH waits are in waiting.c, which knows whose
 * turn it is. A session is freed at the batch edge only, never inside its own
 * callback.
 *
 * Above listen.max_clients a few more, the surplus, may send their CONNECT, so
 * that the CONNACK can give the reason of the rejection. They have
 * SURPLUS_CONNECT_MS for it. Beyond SURPLUS_MAX a connection is closed without an
 * answer, and so is each over-limit client if the daemon's own work is short of
 * descriptors.
 *
 * Invariants: a client is in exactly one of the lists open and closed. The counts
 * of clients and shares are those of the lists.
 *
 * Diagnostics: client_refused, clients_limited, client_closed.
 */
#include "daemon/gateway/clients.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
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
/* How many clients that wait for something else than their lane one edge tries without
 * success. */
#define RESUME_FAILURES_MAX 8

static struct client *client_of(struct waiter *waiter)
{
    return (struct client *)((char *)waiter - offsetof(struct client, waiter));
}

void clients_init(struct clients *clients)
{
    TAILQ_INIT(&clients->open);
    TAILQ_INIT(&clients->owing);
    TAILQ_INIT(&clients->closed);
    waiting_init(&clients->waiting);
    users_init(&clients->users);
}

static void log_rejected(struct clients *clients, const char *what, const struct peer *peer)
{
    struct user *user = users_find(&clients->users, peer->uid);
    uint64_t suppressed = 0;

    clients->counters->clients_refused++;
    turn_read_clock(clients->turn);
    if (log_limit_pass(&user->warnings, clients->turn->now.boot_ms, &suppressed))
        log_warning("client_refused reason=%s uid=%d pid=%d suppressed=%" PRIu64, what,
                    (int)peer->uid, (int)peer->pid, suppressed);
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
    users_remove_client(&client->clients->users, client->user);
    session_free(client->session);
    free(client);
}

static bool same_client_id(const struct session *a, const struct session *b)
{
    struct view one = session_client_id(a), other = session_client_id(b);

    return one.size == other.size && memcmp(one.data, other.data, one.size) == 0;
}

static uid_t uid_of(const struct client *client)
{
    return session_peer(client->session)->uid;
}

/* The one that is admitted and has the same client id and user; NULL: none. */
static struct client *find_admitted(const struct client *client)
{
    struct client *other;

    TAILQ_FOREACH(other, &client->clients->open, link) {
        if (other != client && !other->is_surplus && uid_of(other) == uid_of(client) &&
            same_client_id(other->session, client->session))
            return other;
    }
    return NULL;
}

static void swap_places(struct client *client, struct client *other)
{
    uncount_client(client);
    uncount_client(other);
    count_client(client, false);
    count_client(other, true);
}

/* One that was over the limit when it came is admitted if another has left meanwhile, or if
 * it takes over a session that is admitted. */
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
    log_rejected(client->clients, "max_clients", session_peer(client->session));
    client->is_refusal_logged = true;
    return false;
}

/*
 * A session belongs to (uid, client id): its own uid takes it over
 * [MQTT-3.1.4-3], another does not. There may be more than one of that id, of
 * which all but one are closing already.
 */
static uint8_t on_connected(void *userdata, struct session *session)
{
    struct client *client = userdata, *other, *next;
    struct clients *clients = client->clients;

    if (stop_has_begun(clients->stop) || clients->turn->has_failed)
        return MQTT_SERVER_UNAVAILABLE;
    if (!client_admit(client))
        return MQTT_QUOTA_EXCEEDED;
    for (other = TAILQ_FIRST(&clients->open); other; other = next) {
        next = TAILQ_NEXT(other, link);
        if (other == client || !same_client_id(other->session, session))
            continue;
        if (uid_of(other) != uid_of(client)) {
            log_rejected(clients, "client_id_of_another_user", session_peer(session));
            client->is_refusal_logged = true;
            return MQTT_CLIENT_ID_NOT_VALID;
        }
        session_close(other->session, MQTT_SESSION_TAKEN_OVER, "session taken over");
    }
    return MQTT_SUCCESS;
}

static struct session_verdict
on_publish(void *userdata, struct session *session, const struct session_publish *publish)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;

    (void)session;
    return clients->on_publish(clients->userdata, client, publish);
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
static void log_closed(const struct client *client, const char *why)
{
    struct clients *clients = client->clients;
    const struct peer *peer = session_peer(client->session);
    struct view id = session_client_id(client->session);
    char text[128];
    uint64_t suppressed = 0;

    (void)log_quote(text, sizeof(text), id.data, id.size);
    log_debug("client_closed client=%s uid=%d reason=\"%s\"", text, (int)peer->uid, why);
    if (!session_was_refused(client->session) || client->is_refusal_logged)
        return;
    clients->counters->clients_refused++;
    turn_read_clock(clients->turn);
    if (log_limit_pass(&client->user->warnings, clients->turn->now.boot_ms, &suppressed))
        log_warning("client_refused reason=\"%s\" client=%s uid=%d pid=%d suppressed=%" PRIu64,
                    why, text, (int)peer->uid, (int)peer->pid, suppressed);
}

static void on_closed(void *userdata, struct session *session, const char *why)
{
    struct client *client = userdata;
    struct clients *clients = client->clients;

    (void)session;
    log_closed(client, why);
    if (client->waiter.is_waiting)
        clients->counters->refused++; /* it will not be offered again */
    client_clear_owing(client);
    client_clear_waiting(client);
    TAILQ_REMOVE(&clients->open, client, link);
    TAILQ_INSERT_TAIL(&clients->closed, client, link);
    uncount_client(client);
    edge_timer_arm(clients->edge_timer);
}

static const struct session_ops session_ops = {
    .connected = on_connected,
    .publish = on_publish,
    .closed = on_closed,
};

/* @fd is taken over, also on failure. */
static int
clients_add(struct clients *clients, int fd, const struct peer *peer, bool is_surplus)
{
    struct session_settings settings = {
        .max_packet = clients->config->listen.max_packet,
        .connect_timeout_ms = is_surplus ? SURPLUS_CONNECT_MS : 0,
    };
    struct client *client = calloc(1, sizeof(*client));

    if (!client) {
        (void)close(fd);
        return -ENOMEM;
    }
    client->clients = clients;
    client->user = users_find(&clients->users, peer->uid);
    client->waiter = (struct waiter){.user = client->user, .share = &client->share};
    int r = session_new(clients->turn->event, fd, peer, &settings, &session_ops, client,
                        &client->session);
    if (r < 0) {
        free(client);
        return r;
    }
    TAILQ_INSERT_TAIL(&clients->open, client, link);
    users_add_client(&clients->users, client->user);
    count_client(client, is_surplus);
    return 0;
}

int clients_on_accept(void *userdata, int fd, const struct peer *peer)
{
    struct clients *clients = userdata;
    bool is_surplus = is_crowded(clients);
    char text[64];

    if (is_surplus && clients->surplus_count >= clients->max_surplus) {
        (void)close(fd);
        log_rejected(clients, "max_clients", peer);
        return 0;
    }
    int r = clients_add(clients, fd, peer, is_surplus);
    if (r < 0)
        log_rejected(clients, log_quote(text, sizeof(text), strerror(-r), strlen(strerror(-r))),
                     peer);
    return 0; /* out of memory for one client is no reason to end */
}

void clients_note_owing(struct client *client, uint64_t charge)
{
    client->share.messages++;
    client->share.bytes += charge;
    client->user->share.messages++;
    client->user->share.bytes += charge;
    if (client->is_owing)
        return;
    client->is_owing = true;
    TAILQ_INSERT_TAIL(&client->clients->owing, client, owing_link);
    client_update_active(client);
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
        session_acknowledge(client->session);
        client = TAILQ_FIRST(&clients->owing);
        if (client)
            FAILPOINT("acknowledge.between");
        else
            FAILPOINT("acknowledge.after_last");
    }
}

void clients_refuse_owed(struct clients *clients, uint8_t code)
{
    struct client *client;

    while ((client = TAILQ_FIRST(&clients->owing))) {
        client_clear_owing(client);
        session_refuse_owed(client->session, code);
    }
}

void clients_drop_owed(struct clients *clients, uint8_t code, const char *why)
{
    struct client *client;

    while ((client = TAILQ_FIRST(&clients->owing))) {
        client_clear_owing(client);
        session_drop_owed(client->session, code, why);
    }
}

/* Return: false: it waits as before. */
static bool client_resume(struct client *client)
{
    unsigned messages = client->share.messages;

    client->waiter.has_turn = true;
    session_resume(client->session);
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
        session_close(client->session, MQTT_SERVER_SHUTTING_DOWN, "daemon stops");
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
    users_finish(&clients->users);
}
