/* SPDX-License-Identifier: MIT */
/*
 * clients.c - producers come, are admitted, and go
 *
 * Four lists: all open sessions; those that have a message in the open
 * batch; those whose PUBLISH waits for room; those that closed. A session
 * dies at the batch edge only, never inside its own callback.
 *
 * Above listen.max_clients a few more, the surplus, may say their CONNECT, so
 * that its answer can say why they are not served. They have SURPLUS_CONNECT_MS
 * for it. Beyond SURPLUS_MAX a connection is closed without a word, and where
 * not even the daemon's own work has all the descriptors it wants each of them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "daemon/gateway/gateway-private.h"

/* For files and connections of our own, some 25 with a link that is made anew, and the surplus. */
#define DESCRIPTORS_KEPT   64
#define SURPLUS_MAX        16
#define SURPLUS_CONNECT_MS 2000

static void turn_away(struct gateway *gateway, const char *what, const struct peer *peer)
{
    uint64_t suppressed = 0;

    gateway->counters.clients_refused++;
    gateway_read_clock(gateway);
    if (log_limit_pass(&gateway->client_warnings, gateway->now.boot_ms, &suppressed))
        log_warning("client_refused reason=%s uid=%d pid=%d suppressed=%" PRIu64, what,
                    (int)peer->uid, (int)peer->pid, suppressed);
}

/*
 * Clients must not take what the daemon needs to do its work: without a descriptor there is no
 * link, no status and no audit file. So there are fewer places where the limit is low, and the log
 * says so once instead of all parts failing by turns.
 */
void gateway_fit_clients(struct gateway *gateway)
{
    unsigned wanted = gateway->config->listen.max_clients;
    struct rlimit limit;

    gateway->max_clients = wanted;
    gateway->max_surplus = SURPLUS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted + DESCRIPTORS_KEPT)
        return;
    gateway->max_clients =
        limit.rlim_cur > DESCRIPTORS_KEPT ? (unsigned)limit.rlim_cur - DESCRIPTORS_KEPT : 1;
    if (limit.rlim_cur < DESCRIPTORS_KEPT)
        gateway->max_surplus = 0;
    log_warning(
        "clients_limited max_clients=%u served=%u descriptors=%u remedy=\"set "
        "LimitNOFILE=%u (systemctl edit mqtt-spoold) or the hard limit of ulimit -n, or "
        "lower listen.max_clients\"",
        wanted, gateway->max_clients, (unsigned)limit.rlim_cur, wanted + DESCRIPTORS_KEPT);
}

static bool is_crowded(const struct gateway *gateway)
{
    return gateway->client_count >= gateway->max_clients;
}

static void count_client(struct client *client, bool surplus)
{
    client->surplus = surplus;
    if (surplus)
        client->gateway->surplus_count++;
    else
        client->gateway->client_count++;
}

static void uncount_client(const struct client *client)
{
    if (client->surplus)
        client->gateway->surplus_count--;
    else
        client->gateway->client_count--;
}

static void client_free(struct client *client)
{
    session_free(client->session);
    free(client);
}

/* @fd is taken over, also on failure. */
static int add_client(struct gateway *gateway, int fd, const struct peer *peer, bool surplus)
{
    struct session_settings settings = {
        .max_packet = gateway->config->listen.max_packet,
        .connect_timeout_ms = surplus ? SURPLUS_CONNECT_MS : 0,
    };
    struct client *client = calloc(1, sizeof(*client));

    if (!client) {
        (void)close(fd);
        return -ENOMEM;
    }
    client->gateway = gateway;
    int r = session_new(gateway->event, fd, peer, &settings, gateway->session_ops, client,
                        &client->session);
    if (r < 0) {
        free(client);
        return r;
    }
    TAILQ_INSERT_TAIL(&gateway->clients, client, link);
    count_client(client, surplus);
    return 0;
}

int gateway_on_accept(void *owner, int fd, const struct peer *peer)
{
    struct gateway *gateway = owner;
    bool surplus = is_crowded(gateway);
    char text[64];

    if (surplus && gateway->surplus_count >= gateway->max_surplus) {
        (void)close(fd);
        turn_away(gateway, "max_clients", peer);
        return 0;
    }
    int r = add_client(gateway, fd, peer, surplus);
    if (r < 0)
        turn_away(gateway, log_quote(text, sizeof(text), strerror(-r), strlen(strerror(-r))),
                  peer);
    return 0; /* out of memory for one client is no reason to end */
}

/* Has it a place? One of the surplus may find that somebody has left meanwhile. */
static bool has_place(struct client *client)
{
    if (!client->surplus)
        return true;
    if (is_crowded(client->gateway)) {
        turn_away(client->gateway, "max_clients", session_peer(client->session));
        client->told = true;
        return false;
    }
    uncount_client(client);
    count_client(client, false);
    return true;
}

static bool same_client_id(const struct session *a, const struct session *b)
{
    struct view one = session_client_id(a), other = session_client_id(b);

    return one.size == other.size && memcmp(one.data, other.data, one.size) == 0;
}

/*
 * A session belongs to (uid, client id): its own uid takes it over
 * [MQTT-3.1.4-3], another does not. There may be more than one of that id, of
 * which all but one are closing already.
 */
uint8_t gateway_on_connected(void *owner, struct session *session)
{
    struct client *client = owner, *other, *next;
    struct gateway *gateway = client->gateway;

    if (gateway->phase != GATEWAY_SERVING || gateway->failed)
        return MQTT_SERVER_UNAVAILABLE;
    if (!has_place(client))
        return MQTT_QUOTA_EXCEEDED;
    for (other = TAILQ_FIRST(&gateway->clients); other; other = next) {
        next = TAILQ_NEXT(other, link);
        if (other == client || !same_client_id(other->session, session))
            continue;
        if (session_peer(other->session)->uid != session_peer(session)->uid) {
            turn_away(gateway, "client_id_of_another_user", session_peer(session));
            client->told = true;
            return MQTT_CLIENT_ID_NOT_VALID;
        }
        session_close(other->session, MQTT_SESSION_TAKEN_OVER, "session taken over");
    }
    return MQTT_SUCCESS;
}

static void forget_owing(struct client *client)
{
    if (client->owing)
        TAILQ_REMOVE(&client->gateway->owing, client, owing_link);
    client->owing = false;
}

static void forget_waiting(struct client *client)
{
    if (client->waiting)
        TAILQ_REMOVE(&client->gateway->waiting, client, waiting_link);
    client->waiting = false;
}

/* A 3.1.1 client sees no more than that its connection closes: the log says why. */
static void log_closed(const struct client *client, const char *why)
{
    struct gateway *gateway = client->gateway;
    const struct peer *peer = session_peer(client->session);
    struct view id = session_client_id(client->session);
    char text[128];
    uint64_t suppressed = 0;

    (void)log_quote(text, sizeof(text), id.data, id.size);
    log_debug("client_closed client=%s uid=%d reason=\"%s\"", text, (int)peer->uid, why);
    if (!session_was_refused(client->session) || client->told)
        return;
    gateway->counters.clients_refused++;
    gateway_read_clock(gateway);
    if (log_limit_pass(&gateway->client_warnings, gateway->now.boot_ms, &suppressed))
        log_warning("client_refused reason=\"%s\" client=%s uid=%d pid=%d suppressed=%" PRIu64,
                    why, text, (int)peer->uid, (int)peer->pid, suppressed);
}

void gateway_on_closed(void *owner, struct session *session, const char *why)
{
    struct client *client = owner;
    struct gateway *gateway = client->gateway;

    (void)session;
    log_closed(client, why);
    if (client->waiting)
        gateway->counters.refused++; /* it will not be offered again */
    forget_owing(client);
    forget_waiting(client);
    TAILQ_REMOVE(&gateway->clients, client, link);
    TAILQ_INSERT_TAIL(&gateway->closed, client, link);
    uncount_client(client);
    gateway_arm_edge(gateway);
}

void gateway_note_owing(struct client *client)
{
    if (client->owing)
        return;
    client->owing = true;
    TAILQ_INSERT_TAIL(&client->gateway->owing, client, owing_link);
}

void gateway_note_waiting(struct client *client)
{
    if (client->waiting)
        return;
    client->waiting = true;
    TAILQ_INSERT_TAIL(&client->gateway->waiting, client, waiting_link);
}

void gateway_acknowledge(struct gateway *gateway)
{
    struct client *client = TAILQ_FIRST(&gateway->owing);

    if (client)
        FAILPOINT("acknowledge.before_first");
    while (client) {
        forget_owing(client);
        session_acknowledge(client->session);
        client = TAILQ_FIRST(&gateway->owing);
        if (client)
            FAILPOINT("acknowledge.between");
        else
            FAILPOINT("acknowledge.after_last");
    }
}

void gateway_refuse_owed(struct gateway *gateway, uint8_t code)
{
    struct client *client;

    while ((client = TAILQ_FIRST(&gateway->owing))) {
        forget_owing(client);
        session_refuse_owed(client->session, code);
    }
}

void gateway_drop_owed(struct gateway *gateway, uint8_t code, const char *why)
{
    struct client *client;

    while ((client = TAILQ_FIRST(&gateway->owing))) {
        forget_owing(client);
        session_drop_owed(client->session, code, why);
    }
}

/* Each waiting session is offered once: one that must go on waiting joins the tail again. */
void gateway_resume_waiting(struct gateway *gateway)
{
    struct client *client;
    unsigned turns = 0;

    TAILQ_FOREACH(client, &gateway->waiting, waiting_link)
        turns++;
    while (turns-- > 0 && (client = TAILQ_FIRST(&gateway->waiting))) {
        forget_waiting(client);
        session_resume(client->session);
    }
}

void gateway_free_closed(struct gateway *gateway)
{
    struct client *client;

    while ((client = TAILQ_FIRST(&gateway->closed))) {
        TAILQ_REMOVE(&gateway->closed, client, link);
        client_free(client);
    }
}

void gateway_close_sessions(struct gateway *gateway)
{
    struct client *client = TAILQ_FIRST(&gateway->clients);

    while (client) {
        struct client *next = TAILQ_NEXT(client, link);
        session_close(client->session, MQTT_SERVER_SHUTTING_DOWN, "daemon stops");
        client = next;
    }
}

void gateway_free_sessions(struct gateway *gateway)
{
    struct client *client;

    gateway_free_closed(gateway);
    while ((client = TAILQ_FIRST(&gateway->clients))) {
        TAILQ_REMOVE(&gateway->clients, client, link);
        client_free(client);
    }
}
