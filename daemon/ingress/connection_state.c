/* SPDX-License-Identifier: MIT */
/*
 * connection_state.c - the states of a connection, and how it gets to them
 *
 * An end that is begun here is a mark only, and nothing is written or closed:
 * connection_update() in connection.c completes it, so it may be marked from inside
 * any call. The first end counts.
 *
 * Invariant: every change of state is a move of the table below.
 */
#include "daemon/ingress/connection-private.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/peer.h"
#include "base/states.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

static const char *const state_names[CONNECTION_STATE_COUNT] = {
    [CONNECTION_EXPECT_CONNECT] = "expect_connect",
    [CONNECTION_OPEN] = "open",
    [CONNECTION_CLOSING] = "closing",
    [CONNECTION_CLOSED] = "closed",
};

static const uint32_t may_follow[CONNECTION_STATE_COUNT] = {
    [CONNECTION_EXPECT_CONNECT] = STATES_BIT(CONNECTION_OPEN) | STATES_BIT(CONNECTION_CLOSING) |
                                  STATES_BIT(CONNECTION_CLOSED),
    [CONNECTION_OPEN] = STATES_BIT(CONNECTION_CLOSING) | STATES_BIT(CONNECTION_CLOSED),
    [CONNECTION_CLOSING] = STATES_BIT(CONNECTION_CLOSED),
    [CONNECTION_CLOSED] = 0,
};

static const struct states connection_states = {
    .machine = "connection",
    .names = state_names,
    .may_follow = may_follow,
    .count = CONNECTION_STATE_COUNT,
};

/* A CONNECT may wait. */
static bool is_paused_or_owing(const struct connection *connection)
{
    const struct connection_pause *pause = &connection->pause;

    return connection->output.owed.count > 0 || pause->is_blocked || pause->is_stopped ||
           pause->is_throttled;
}

/* What is always true in the state that it is in. */
static bool is_consistent(const struct connection *connection)
{
    const struct connection_sources *sources = &connection->sources;

    if (connection->pause.is_blocked && !connection->pause.is_waiting)
        return false;
    switch (connection->state) {
    case CONNECTION_EXPECT_CONNECT:
        return connection->fd >= 0 && !is_paused_or_owing(connection);
    case CONNECTION_OPEN:
        return connection->fd >= 0 && connection->client.id_size > 0;
    case CONNECTION_CLOSING:
        return connection->fd >= 0 && connection->end.why[0] != '\0';
    case CONNECTION_CLOSED:
        return connection->fd < 0 && !sources->io && !sources->timer && !sources->again;
    }
    return false;
}

void connection_move(struct connection *connection, enum connection_state next)
{
    states_check(&connection_states, connection->state, next);
    connection->state = next;
    states_require(&connection_states, next, is_consistent(connection));
}

void connection_timer_start(struct connection *connection, uint64_t at_us)
{
    connection->keep_alive.is_excused = false;
    (void)sd_event_source_set_time(connection->sources.timer,
                                   at_us); /* both change memory only */
    (void)sd_event_source_set_enabled(connection->sources.timer, SD_EVENT_ONESHOT);
}

void connection_end(struct connection *connection,
                    uint8_t code,
                    const char *why,
                    const char *detail)
{
    if (connection->state >= CONNECTION_CLOSING)
        return;
    if (connection->state == CONNECTION_EXPECT_CONNECT)
        connection_will_discard(connection);
    if (connection->state == CONNECTION_OPEN && connection->client.version == MQTT_5)
        connection->end.code = code;
    (void)snprintf(connection->end.why, sizeof(connection->end.why), "%s%s%s", why,
                   detail ? ": " : "", detail ? detail : "");
    connection_move(connection, CONNECTION_CLOSING);
    connection_timer_start(connection, clock_monotonic_us() + CONNECTION_CLOSE_TIMEOUT_US);
}

void connection_refuse(struct connection *connection,
                       uint8_t code,
                       const char *why,
                       const char *detail)
{
    if (connection->state < CONNECTION_CLOSING)
        connection->end.is_refused = true;
    connection_end(connection, code, why, detail);
}

bool connection_was_refused(const struct connection *connection)
{
    return connection->end.is_refused;
}

void connection_end_on_condition(struct connection *connection, const char *why, int condition)
{
    uint8_t code = packet_condition_code(condition);

    connection_refuse(connection, code, why, packet_reason_text(code));
}

void connection_start_keep_alive(struct connection *connection)
{
    connection->keep_alive.last_packet_us = clock_monotonic_us();
    if (connection->keep_alive.timeout_us > 0)
        connection_timer_start(connection, connection->keep_alive.last_packet_us +
                                               connection->keep_alive.timeout_us);
    else
        (void)sd_event_source_set_enabled(connection->sources.timer, SD_EVENT_OFF);
}

struct view connection_client_id(const struct connection *connection)
{
    return view_of(connection->client.id, connection->client.id_size);
}

const struct peer *connection_peer(const struct connection *connection)
{
    return &connection->peer;
}

int connection_fd(const struct connection *connection)
{
    return connection->fd;
}

enum packet_version connection_version(const struct connection *connection)
{
    return connection->client.version;
}
