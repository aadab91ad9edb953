/* SPDX-License-Identifier: MIT */
/*
 * state.c - the states of the link: which may follow which, and what is true in each
 *
 *   STOPPED -> WAITING -> RESOLVING -> CONNECTING -> ONLINE -> (lost, or DROPPING) -> WAITING
 *                     `-> CONNECTING, if the host is an address
 *   STOPPING -> STOPPED: uplink_stop(), from each of them; from ONLINE by way of PARTING, if
 *                        there is an offline message
 *
 * Invariant, checked after each move: a message is sent only while the link is online,
 * and its slot is released before the next attempt; each wait has a deadline, which the
 * timer holds; while it is online, the link has a client that is usable.
 *
 * Diagnostics: state_fault, see base/states.h.
 */
#include <stdatomic.h>
#include <stdio.h>

#include "base/states.h"
#include "daemon/uplink/uplink-private.h"

static const char *const link_names[] = {
    [LINK_STOPPED] = "stopped",     [LINK_WAITING] = "waiting",
    [LINK_RESOLVING] = "resolving", [LINK_CONNECTING] = "connecting",
    [LINK_ONLINE] = "online",       [LINK_PARTING] = "parting",
    [LINK_DROPPING] = "dropping",   [LINK_STOPPING] = "stopping",
    [LINK_FREED] = "freed",
};

static const uint32_t link_moves[] = {
    [LINK_STOPPED] = STATES_BIT(LINK_WAITING) | STATES_BIT(LINK_FREED),
    [LINK_WAITING] = STATES_BIT(LINK_RESOLVING) | STATES_BIT(LINK_CONNECTING) |
                     STATES_BIT(LINK_STOPPED) | STATES_BIT(LINK_FREED),
    [LINK_RESOLVING] = STATES_BIT(LINK_CONNECTING) | STATES_BIT(LINK_WAITING) |
                       STATES_BIT(LINK_STOPPED) | STATES_BIT(LINK_FREED),
    [LINK_CONNECTING] = STATES_BIT(LINK_ONLINE) | STATES_BIT(LINK_DROPPING) |
                        STATES_BIT(LINK_WAITING) | STATES_BIT(LINK_STOPPED) |
                        STATES_BIT(LINK_FREED),
    [LINK_ONLINE] = STATES_BIT(LINK_PARTING) | STATES_BIT(LINK_DROPPING) |
                    STATES_BIT(LINK_STOPPING) | STATES_BIT(LINK_WAITING) |
                    STATES_BIT(LINK_FREED),
    [LINK_PARTING] =
        STATES_BIT(LINK_STOPPING) | STATES_BIT(LINK_STOPPED) | STATES_BIT(LINK_FREED),
    [LINK_DROPPING] =
        STATES_BIT(LINK_WAITING) | STATES_BIT(LINK_STOPPING) | STATES_BIT(LINK_FREED),
    [LINK_STOPPING] = STATES_BIT(LINK_STOPPED) | STATES_BIT(LINK_FREED),
    [LINK_FREED] = 0,
};

_Static_assert(sizeof(link_names) / sizeof(link_names[0]) == LINK_STATES, "each has a name");
_Static_assert(sizeof(link_moves) / sizeof(link_moves[0]) == LINK_STATES, "each has a row");

static const struct states link_states = {"link", link_names, link_moves, LINK_STATES};

/* What is true on the way into the state; the timer was set before. */
static bool is_consistent(struct uplink *uplink)
{
    const struct uplink_client *client = &uplink->client;
    bool is_timed = uplink->timer.is_armed;

    switch (uplink->state) {
    case LINK_STOPPED:
        return !is_timed && uplink_is_swept(uplink);
    case LINK_WAITING:
        return is_timed && uplink_is_swept(uplink);
    case LINK_RESOLVING:
        return is_timed && uplink->connection.online_ms == 0 &&
               uplink->resolver.host[0] != '\0';
    case LINK_CONNECTING:
        return is_timed && uplink->connection.online_ms == 0 && !client->is_unusable;
    case LINK_ONLINE:
        return client->handle && !client->is_unusable && uplink->connection.online_ms > 0 &&
               uplink_is_swept(uplink);
    case LINK_PARTING:
    case LINK_DROPPING:
        return is_timed && client->handle;
    case LINK_STOPPING:
        return client->handle;
    case LINK_FREED:
    case LINK_STATES:
        break;
    }
    return true;
}

/* As the owner sees it. */
static enum uplink_state public_state(enum uplink_link_state state)
{
    static const enum uplink_state states[] = {
        [LINK_STOPPED] = UPLINK_IDLE,         [LINK_WAITING] = UPLINK_CONNECTING,
        [LINK_RESOLVING] = UPLINK_CONNECTING, [LINK_CONNECTING] = UPLINK_CONNECTING,
        [LINK_ONLINE] = UPLINK_ONLINE,        [LINK_PARTING] = UPLINK_CLOSING,
        [LINK_DROPPING] = UPLINK_CLOSING,     [LINK_STOPPING] = UPLINK_CLOSING,
        [LINK_FREED] = UPLINK_IDLE,
    };

    return states[state];
}

void uplink_set_state(struct uplink *uplink, enum uplink_link_state state)
{
    states_check(&link_states, uplink->state, state);
    if (public_state(state) != public_state(uplink->state))
        uplink->since_boot_ms = uplink_now_ms();
    uplink->state = state;
    uplink->owner.is_change_due = true;
    states_require(&link_states, state, is_consistent(uplink));
}

const char *uplink_state_name(enum uplink_state state)
{
    static const char *const names[] = {"idle", "connecting", "online", "closing"};

    return names[state];
}

/* The link has been good since for so long that a connection counts as one that lasts. */
static bool is_error_over(const struct uplink *uplink)
{
    int64_t since_ms = uplink->connection.online_ms;

    if (since_ms < uplink->last_error.boot_ms)
        since_ms = uplink->last_error.boot_ms;
    return uplink->state == LINK_ONLINE &&
           uplink_now_ms() - since_ms >= uplink_lasting_ms(uplink->settings);
}

static const char *protocol_name(unsigned protocol)
{
    if (protocol == 0)
        return "";
    return protocol == MQTTVERSION_5 ? "5" : "3.1.1";
}

/* 0: none, or it is over. */
static int64_t pause_ends_ms(const struct uplink *uplink)
{
    bool is_pausing = uplink->state == LINK_WAITING && uplink->retry.due_ms > uplink_now_ms();

    return is_pausing ? uplink->retry.due_ms : 0;
}

void uplink_get_link(const struct uplink *uplink, struct uplink_link *ret)
{
    const char *broker = uplink->brokers.has_tried ? uplink_broker_uri(uplink) : "";

    *ret = (struct uplink_link){
        .protocol = protocol_name(uplink->client.protocol),
        .state = public_state(uplink->state),
        .since_boot_ms = uplink->since_boot_ms,
        .next_attempt_boot_ms = pause_ends_ms(uplink),
        .certificate_expires_ms = uplink->certificates.expires_ms,
        .broker_index = (unsigned)uplink->brokers.current,
        .connects = uplink->connects,
        .late_answers =
            atomic_load_explicit(&uplink->slots.late_answers, memory_order_relaxed) +
            paho_link_ignored_answers(),
        .in_flight = uplink->slots.in_flight,
        .window = uplink_window(uplink),
    };
    (void)snprintf(ret->broker, sizeof(ret->broker), "%s", broker);
    (void)snprintf(ret->presence_error, sizeof(ret->presence_error), "%s",
                   uplink->presence.error);
    if (is_error_over(uplink))
        return;
    ret->last_error_boot_ms = uplink->last_error.boot_ms;
    ret->remedy = uplink->last_error.remedy;
    (void)snprintf(ret->last_error, sizeof(ret->last_error), "%s", uplink->last_error.text);
}
