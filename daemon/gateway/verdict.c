/* SPDX-License-Identifier: MIT */
/*
 * verdict.c - the one table of what follows from an answer
 *
 * docs/answers.md shows it; tests/unit/daemon/gateway/test_verdict.c compares both.
 *
 * Invariant: a message ends only by an acceptance, or by a refusal that is its own: its
 * broker accepts others, or the operator chose "reject"; or because the broker closes at it
 * and at no other (poison.c).
 */
#include "daemon/gateway/verdict.h"

#include <stdbool.h>

#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"

#define ALWAYS(message, link)                                                                  \
    {                                                                                          \
        [VERDICT_HOLD] = {message, link}, [VERDICT_HOLD_DOUBT] = {message, link},              \
        [VERDICT_HOLD_REFUSED] = {message, link}, [VERDICT_REJECT] = {message, link},          \
        [VERDICT_REJECT_REFUSED] = {                                                           \
            message,                                                                           \
            link                                                                               \
        }                                                                                      \
    }

static const struct verdict verdict_table[VERDICT_ANSWERS][VERDICT_POLICIES] = {
    [VERDICT_ACCEPTED] = ALWAYS(VERDICT_ENDS_DELIVERED, VERDICT_LINK_OPENS),
    [VERDICT_REFUSED] =
        {
            [VERDICT_HOLD] = {VERDICT_ENDS_REJECTED, VERDICT_LINK_COUNTS},
            [VERDICT_HOLD_DOUBT] = {VERDICT_WAITS_FOR_PROOF, VERDICT_LINK_COUNTS},
            [VERDICT_HOLD_REFUSED] = {VERDICT_WAITS_FOR_LINK, VERDICT_LINK_COUNTS},
            [VERDICT_REJECT] = {VERDICT_ENDS_REJECTED, VERDICT_LINK_CONTINUES},
            [VERDICT_REJECT_REFUSED] = {VERDICT_ENDS_REJECTED, VERDICT_LINK_RESUMES},
        },
    [VERDICT_BUSY] =
        {
            [VERDICT_HOLD] = {VERDICT_WAITS_ITS_BACKOFF, VERDICT_LINK_COUNTS},
            [VERDICT_HOLD_DOUBT] = {VERDICT_WAITS_ITS_BACKOFF, VERDICT_LINK_COUNTS},
            [VERDICT_HOLD_REFUSED] = {VERDICT_WAITS_FOR_LINK, VERDICT_LINK_COUNTS},
            [VERDICT_REJECT] = {VERDICT_WAITS_ITS_BACKOFF, VERDICT_LINK_COUNTS},
            [VERDICT_REJECT_REFUSED] = {VERDICT_WAITS_FOR_LINK, VERDICT_LINK_COUNTS},
        },
    [VERDICT_CLOSED_AT] = ALWAYS(VERDICT_IS_SENT_AGAIN, VERDICT_LINK_SUSPECTS),
    [VERDICT_UNANSWERED] = ALWAYS(VERDICT_IS_SENT_AGAIN, VERDICT_LINK_CONTINUES),
};

/*
 * Which refusals no repetition can change (MQTT 5, 3.4.2.1 and 4.13): the
 * message itself is at fault, or not allowed. All others may pass: quota,
 * server busy, implementation specific and unspecified errors.
 */
static bool is_permanent(int code)
{
    switch (code) {
    case MQTT_NOT_AUTHORIZED:
    case MQTT_TOPIC_NAME_INVALID:
    case MQTT_PACKET_TOO_LARGE:
    case MQTT_PAYLOAD_FORMAT_INVALID:
    case MQTT_QOS_NOT_SUPPORTED:
    case MQTT_RETAIN_NOT_SUPPORTED:
        return true;
    default:
        return false;
    }
}

/* May a message be the cause of a DISCONNECT with this code? Not of a quota or a rate that is
 * exceeded, nor of what the broker does on its own. A bare close (-1) gives no reason. */
static bool is_about_a_message(int code)
{
    switch (code) {
    case -1:
    case MQTT_UNSPECIFIED_ERROR:
    case MQTT_MALFORMED_PACKET:
    case MQTT_PROTOCOL_ERROR:
    case MQTT_IMPLEMENTATION_SPECIFIC:
    case MQTT_NOT_AUTHORIZED:
    case MQTT_TOPIC_NAME_INVALID:
    case MQTT_TOPIC_ALIAS_INVALID:
    case MQTT_PACKET_TOO_LARGE:
    case MQTT_PAYLOAD_FORMAT_INVALID:
    case MQTT_RETAIN_NOT_SUPPORTED:
    case MQTT_QOS_NOT_SUPPORTED:
        return true;
    default:
        return false;
    }
}

enum verdict_answer verdict_answer_of(const struct uplink_answer *answer)
{
    switch (answer->kind) {
    case UPLINK_DELIVERED:
        return VERDICT_ACCEPTED;
    case UPLINK_REFUSED:
        return is_permanent(answer->code) ? VERDICT_REFUSED : VERDICT_BUSY;
    case UPLINK_UNKNOWN:
        break;
    }
    bool is_closed_at = answer->cause == UPLINK_CAUSE_BROKER_CLOSED && answer->was_written &&
                        answer->was_oldest && is_about_a_message(answer->code);
    return is_closed_at ? VERDICT_CLOSED_AT : VERDICT_UNANSWERED;
}

enum verdict_policy
verdict_policy_of(enum uplink_on_refusal on_refusal, bool is_in_doubt, bool is_refused)
{
    if (on_refusal != UPLINK_ON_REFUSAL_HOLD)
        return is_refused ? VERDICT_REJECT_REFUSED : VERDICT_REJECT;
    if (is_refused)
        return VERDICT_HOLD_REFUSED;
    return is_in_doubt ? VERDICT_HOLD_DOUBT : VERDICT_HOLD;
}

struct verdict verdict_of(enum verdict_answer answer, enum verdict_policy policy)
{
    return verdict_table[answer][policy];
}
