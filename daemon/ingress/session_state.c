/* SPDX-License-Identifier: MIT */
/*
 * session_state.c - what all files of a session do to its state
 *
 * An end that is begun here is a mark only, and nothing is written or closed:
 * session_update() in session.c sees it to its end, so it may be marked from
 * inside any call. The first end counts.
 */
#include "daemon/ingress/session-private.h"

#include <stdio.h>

#include "base/clock.h"

void session_arm(struct session *session, uint64_t at_us)
{
    session->excused = false;
    (void)sd_event_source_set_time(session->timer, at_us); /* both change memory only */
    (void)sd_event_source_set_enabled(session->timer, SD_EVENT_ONESHOT);
}

void session_end(struct session *session, uint8_t code, const char *why, const char *detail)
{
    if (session->state >= SESSION_CLOSING)
        return;
    if (session->state == SESSION_OPEN && session->version == MQTT_5)
        session->farewell = code;
    (void)snprintf(session->why, sizeof(session->why), "%s%s%s", why, detail ? ": " : "",
                   detail ? detail : "");
    session->state = SESSION_CLOSING;
    session_arm(session, clock_monotonic_us() + SESSION_CLOSE_TIMEOUT_US);
}

void session_refuse(struct session *session, uint8_t code, const char *why, const char *detail)
{
    if (session->state < SESSION_CLOSING)
        session->refused = true;
    session_end(session, code, why, detail);
}

bool session_was_refused(const struct session *session)
{
    return session->refused;
}

void session_end_on_condition(struct session *session, const char *why, int condition)
{
    uint8_t code = packet_condition_code(condition);
    session_refuse(session, code, why, packet_reason_text(code));
}

void session_start_keep_alive(struct session *session)
{
    session->last_packet_us = clock_monotonic_us();
    if (session->keep_alive_us > 0)
        session_arm(session, session->last_packet_us + session->keep_alive_us);
    else
        (void)sd_event_source_set_enabled(session->timer, SD_EVENT_OFF);
}

struct view session_client_id(const struct session *session)
{
    return view_of(session->client_id, session->client_id_size);
}

const struct peer *session_peer(const struct session *session)
{
    return &session->peer;
}

enum packet_version session_version(const struct session *session)
{
    return session->version;
}
