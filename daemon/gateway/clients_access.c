/* SPDX-License-Identifier: MIT */
/*
 * clients_access.c - what the access list allows a client while it is connected
 *
 * Invariant: no client is open with more than the list of now allows it.
 *
 * Diagnostics: client_refused (by clients.c), client_throttled.
 */
#include "daemon/gateway/clients.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/view.h"
#include "daemon/gateway/access.h"
#include "daemon/gateway/subscriptions.h"
#include "daemon/gateway/throttle.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"

#define KEEP_ADMIN                                                                             \
    "if this program may see the outcomes of others, set admin in the entry of access that "   \
    "fits it; otherwise correct its subscriptions"
#define BE_ROOT                                                                                \
    "run it as root if it may see the outcomes of others; an access list can allow its user, " \
    "too, but has to name every user that publishes; otherwise correct its subscriptions"

bool client_is_admin(const struct client *client)
{
    return client->access.is_admin;
}

static void client_withdraw(struct client *client, const char *remedy)
{
    clients_log_client_refused(client, "access_withdrawn", remedy);
    connection_close(client->connection, MQTT_NOT_AUTHORIZED, "access was withdrawn");
}

static void client_take_access(struct client *client, const struct access *access)
{
    bool had_access = client->access.is_allowed, was_admin = client->access.is_admin;

    client->access = *access;
    throttle_set_rate(&client->clients->throttle, &client->throttled, access_rate(access));
    if (!client->has_connected)
        return; /* its CONNECT is rejected if it may not */
    if (had_access && !access->is_allowed)
        client_withdraw(client, CLIENTS_ALLOW_USER);
    else if (was_admin && !access->is_admin &&
             subscriptions_remove_forbidden(&client->subscriptions,
                                            connection_client_id(client->connection), false))
        client_withdraw(client, access->entry ? KEEP_ADMIN : BE_ROOT);
}

void clients_apply_access(struct clients *clients)
{
    struct client *client, *next;

    for (client = TAILQ_FIRST(&clients->open); client; client = next) {
        struct access access = access_decide(clients->config, connection_fd(client->connection),
                                             connection_peer(client->connection));

        next = TAILQ_NEXT(client, link);
        client_take_access(client, &access);
    }
}

bool clients_admit_rate(struct client *client)
{
    struct clients *clients = client->clients;
    struct view id = connection_client_id(client->connection);
    char text[128];
    uint64_t suppressed = 0;

    if (throttle_admit(&clients->throttle, &client->throttled))
        return true;
    if (log_limit_pass(&client->user->notices, clients->turn->now.boot_ms, &suppressed))
        log_notice("client_throttled client=%s uid=%d pid=%d rate=%u suppressed=%" PRIu64,
                   log_quote(text, sizeof(text), id.data, id.size), (int)client->user->uid,
                   (int)connection_peer(client->connection)->pid, client->throttled.rate,
                   suppressed);
    return false;
}
