/* SPDX-License-Identifier: MIT */
/*
 * forward.h - out: to the broker, and what its answers make of a message
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_FORWARD_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_FORWARD_H

#include <systemd/sd-event.h>

#include "base/attr.h"
#include "base/log.h"
#include "daemon/config/config.h"
#include "daemon/gateway/careful.h"
#include "daemon/gateway/counters.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/poison.h"
#include "daemon/gateway/refusal.h"
#include "daemon/gateway/shape.h"
#include "daemon/gateway/silence.h"
#include "daemon/gateway/stamp.h"
#include "daemon/gateway/status.h"
#include "daemon/gateway/stop.h"
#include "daemon/gateway/turn.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"

/* What was learned of each broker of the list, and when the link changed to another one. */
struct forward_brokers {
    struct refusal *all; /* owned */
    unsigned count;
    unsigned current;
    /* Rises with each acceptance and each change of the broker; the mark of refusals. */
    uint64_t moment;
    uint64_t since; /* the moment of the change */
    /* What waited when the broker changed, and has not been offered to this one: the link is
     * not left before, see uplink_hold_leave(). */
    size_t owed;
    uint64_t connects; /* of the link, as last reported */
    unsigned deferred; /* messages for another broker or another time, in this run */
    struct log_limit silence_warnings;
};

/* Each was condemned on a connection of its own, and is committed at once: more wait only if
 * the database is locked. */
enum { FORWARD_POISONS_MAX = 8 };

/* Not yet committed: a crash would send them again. */
struct forward_settled {
    unsigned messages;
    unsigned unsubscribed; /* of these, as struct counters has it */
    unsigned rejected;
    unsigned rejected_reason; /* of the newest one of these, and its code */
    int rejected_code;
    uint64_t poisons[FORWARD_POISONS_MAX]; /* of the rejected: ids */
    unsigned poison_count;
};

struct forward {
    struct turn *turn; /* borrowed, all nine */
    const struct config *config;
    struct shape *shape;
    struct spool *spool;
    struct uplink *uplink;
    struct edge_timer *edge_timer;
    const struct stop *stop;
    struct status *status;
    struct counters *counters;
    sd_event_source *refill; /* idle priority: forward between two edges */
    sd_event_source *refill_deadline;
    bool is_refill_armed;
    struct forward_settled settled;
    unsigned window; /* of the uplink, as last reported */
    enum uplink_state link_state;
    struct forward_brokers brokers;
    struct refusal *refusal; /* of the broker in use */
    struct poison poison;
    struct silence silence; /* of the broker in use */
    struct careful careful;
    struct stamp stamp;
    int64_t acknowledged_boot_ms; /* by which a message ended; 0: none since the start */
    struct log_limit refusal_warnings;
    struct log_limit token_warnings;
};

/* The borrowed parts are set already. Return: 0; negative errno. */
MUST_CHECK int forward_init(struct forward *forward);
void forward_finish(struct forward *forward);

/* Hands over what is committed while the window has room. Return: 0; negative errno. */
MUST_CHECK int forward_run(struct forward *forward);
/* The operator wants it: what waits for a backoff is due now. */
void forward_flush(struct forward *forward);
/* What was settled is durable. */
void forward_note_committed(struct forward *forward);

/* Upcalls of the uplink; @userdata: struct forward. As uplink_ops has them. */
void forward_on_answer(void *userdata, const struct uplink_answer *answer);
void forward_on_link(void *userdata);

#endif
