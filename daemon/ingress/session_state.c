/* SPDX-License-Identifier: MIT */
/*
 * session_state.c - the states of a session, and how it gets to them
 *
 * An end that is begun here is a mark only, and nothing is written or closed:
 * session_update() in session.c completes it, so it may be marked from inside
 * any call. The first end counts.
 *
 * Invariant: every change of state is a move of the table below.
 */
#include "daemon/ingress/session-private.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/peer.h"
#include "base/states.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

static const char *const state_names[SESSION_STATE_COUNT] = {
    [SESSION_EXPECT_CONNECT] = "expect_connect",
    [SESSION_OPEN] = "open",
    [SESSION_CLOSING] = "closing",
    [SESSION_CLOSED] = "closed",
};

static const uint32_t may_follow[SESSION_STATE_COUNT] = {
    [SESSION_EXPECT_CONNECT] =
        STATES_BIT(SESSION_OPEN) | STATES_BIT(SESSION_CLOSING) | STATES_BIT(SESSION_CLOSED),
    [SESSION_OPEN] = STATES_BIT(SESSION_CLOSING) | STATES_BIT(SESSION_CLOSED),
    [SESSION_CLOSING] = STATES_BIT(SESSION_CLOSED),
    [SESSION_CLOSED] = 0,
};

static const struct states session_states = {
    .machine = "session",
    .names = state_names,
    .may_follow = may_follow,
    .count = SESSION_STATE_COUNT,
};

static bool is_paused_or_owing(const struct session *session)
{
    const struct session_pause *pause = &session->pause;

    return session->output.owed.count > 0 || pause->is_waiting || pause->is_stopped ||
           pause->is_throttled;
}

/* What is always true in the state that it is in. */
static bool is_consistent(const struct session *session)
{
    const struct session_sources *sources = &session->sources;

    if (session->pause.is_blocked && !session->pause.is_waiting)
        return false;
    switch (session->state) {
    case SESSION_EXPECT_CONNECT:
        return session->fd >= 0 && !is_paused_or_owing(session);
    case SESSION_OPEN:
        return session->fd >= 0 && session->client.id_size > 0;
    case SESSION_CLOSING:
        return session->fd >= 0 && session->end.why[0] != '\0';
    case SESSION_CLOSED:
        return session->fd < 0 && !sources->io && !sources->timer && !sources->again;
    }
    return false;
}

void session_move(struct session *session, enum session_state next)
{
    states_check(&session_states, session->state, next);
    session->state = next;
    states_require(&session_states, next, is_consistent(session));
}

void session_timer_start(struct session *session, uint64_t at_us)
{
    session->keep_alive.is_excused = false;
    (void)sd_event_source_set_time(session->sources.timer, at_us); /* both change memory only */
    (void)sd_event_source_set_enabled(session->sources.timer, SD_EVENT_ONESHOT);
}

void session_end(struct session *session, uint8_t code, const char *why, const char *detail)
{
    if (session->state >= SESSION_CLOSING)
        return;
    if (session->state == SESSION_OPEN && session->client.version == MQTT_5)
        session->end.code = code;
    (void)snprintf(session->end.why, sizeof(session->end.why), "%s%s%s", why,
                   detail ? ": " : "", detail ? detail : "");
    session_move(session, SESSION_CLOSING);
    session_timer_start(session, clock_monotonic_us() + SESSION_CLOSE_TIMEOUT_US);
}

void session_refuse(struct session *session, uint8_t code, const char *why, const char *detail)
{
    if (session->state < SESSION_CLOSING)
        session->end.is_refused = true;
    session_end(session, code, why, detail);
}

bool session_was_refused(const struct session *session)
{
    return session->end.is_refused;
}

void session_end_on_condition(struct session *session, const char *why, int condition)
{
    uint8_t code = packet_condition_code(condition);

    session_refuse(session, code, why, packet_reason_text(code));
}

void session_start_keep_alive(struct session *session)
{
    session->keep_alive.last_packet_us = clock_monotonic_us();
    if (session->keep_alive.timeout_us > 0)
        session_timer_start(session, session->keep_alive.last_packet_us +
                                         session->keep_alive.timeout_us);
    else
        (void)sd_event_source_set_enabled(session->sources.timer, SD_EVENT_OFF);
}

struct view session_client_id(const struct session *session)
{
    return view_of(session->client.id, session->client.id_size);
}

const struct peer *session_peer(const struct session *session)
{
    return &session->peer;
}

enum packet_version session_version(const struct session *session)
{
    return session->client.version;
}
