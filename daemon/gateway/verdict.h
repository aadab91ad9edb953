/* SPDX-License-Identifier: MIT */
/*
 * verdict.h - what an answer means for its message and for the link
 *
 * Thread: any; there is no state.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_VERDICT_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_VERDICT_H

#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"

/* Kinds of answers. */
enum verdict_answer {
    VERDICT_ACCEPTED,   /* the broker has it; QoS 0: the kernel has it */
    VERDICT_REFUSED,    /* for a reason that no repetition can change */
    VERDICT_BUSY,       /* refused for now */
    VERDICT_CLOSED_AT,  /* the broker closed, and this was the oldest written one unanswered */
    VERDICT_UNANSWERED, /* the connection ended for another reason, or at another message */
    VERDICT_ANSWERS
};

/* uplink.on_refusal, and what the link is: in doubt (refusal_is_in_doubt()), refused. */
enum verdict_policy {
    VERDICT_HOLD,
    VERDICT_HOLD_DOUBT,
    VERDICT_HOLD_REFUSED,
    VERDICT_REJECT,
    VERDICT_REJECT_REFUSED,
    VERDICT_POLICIES
};

enum verdict_message {
    VERDICT_ENDS_DELIVERED,
    VERDICT_ENDS_REJECTED,
    /* Its own; rejected after uplink.max_attempts, if something was accepted in between. */
    VERDICT_WAITS_ITS_BACKOFF,
    VERDICT_WAITS_FOR_PROOF, /* likewise, with the next refusal already */
    VERDICT_WAITS_FOR_LINK,  /* until the link is no longer refused, or its turn to be tried */
    VERDICT_IS_SENT_AGAIN,
};

enum verdict_link {
    VERDICT_LINK_OPENS,     /* no longer refused; refusals in a row: 0 */
    VERDICT_LINK_COUNTS,    /* one more refusal in a row */
    VERDICT_LINK_SUSPECTS,  /* the message: it may be why the broker closes */
    VERDICT_LINK_RESUMES,   /* no longer refused, though nothing was accepted */
    VERDICT_LINK_CONTINUES, /* as before */
};

struct verdict {
    enum verdict_message message;
    enum verdict_link link;
};

enum verdict_answer verdict_answer_of(const struct uplink_answer *answer);
enum verdict_policy
verdict_policy_of(enum uplink_on_refusal on_refusal, bool is_in_doubt, bool is_refused);
struct verdict verdict_of(enum verdict_answer answer, enum verdict_policy policy);

#endif
