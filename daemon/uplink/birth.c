/* SPDX-License-Identifier: MIT */
/*
 * birth.c - the messages about this gateway itself, at the begin and the end of a connection
 *
 * Each connection begins with the online message; before an orderly DISCONNECT, which removes
 * the will (presence.c), the offline message is sent.
 *
 * Invariant: they occupy slots as all messages do, so that the broker's limits hold, and have
 * an id that no message of the owner has.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/view.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink-private.h"

/* Return: is it in flight? */
static bool birth_send(struct uplink *uplink, const char *text)
{
    const struct uplink_presence *settings = &uplink->settings->presence;
    const struct uplink_message message = {
        .id = UPLINK_OWN_ID,
        .topic = view_of_text(uplink->presence.topic),
        .payload = view_of_text(text),
        .qos = (uint8_t)settings->qos,
        .retain = settings->is_retained && uplink->connection.limits.retain_available,
        .expiry_ms = -1,
    };

    if (uplink_send(uplink, &message) != 0)
        return false;
    uplink->presence.in_flight++;
    return true;
}

void uplink_birth_begin(struct uplink *uplink)
{
    uplink->presence.in_flight = 0;
    uplink->presence.is_leaving = false;
    uplink->presence.has_left = false;
    uplink->presence.is_birth_due = uplink_has_presence(uplink);
    uplink_birth_continue(uplink);
}

void uplink_birth_continue(struct uplink *uplink)
{
    struct uplink_presence_state *presence = &uplink->presence;

    if (presence->is_birth_due && uplink->state == LINK_ONLINE &&
        birth_send(uplink, uplink->settings->presence.online))
        presence->is_birth_due = false;
}

bool uplink_birth_leave(struct uplink *uplink)
{
    struct uplink_presence_state *presence = &uplink->presence;

    if (!uplink_has_presence(uplink))
        return false;
    presence->is_birth_due = false;
    presence->is_leaving = birth_send(uplink, uplink->settings->presence.offline);
    return presence->is_leaving;
}
