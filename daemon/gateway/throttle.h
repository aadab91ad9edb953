/* SPDX-License-Identifier: MIT */
/*
 * throttle.h - producers above the rate of their user wait
 *
 * A user has one token bucket for all of its clients, of one second's worth. A client whose
 * PUBLISH finds it empty is not read from until it has its turn: nothing is lost or refused.
 * The clients of a user take turns, one message each.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_THROTTLE_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_THROTTLE_H

#include <stdbool.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/attr.h"
#include "daemon/gateway/turn.h"
#include "daemon/gateway/users.h"

/* Part of a client. */
struct throttled {
    TAILQ_ENTRY(throttled) link;
    bool is_waiting;
    bool has_turn; /* its next PUBLISH may pass those that wait */
    unsigned rate; /* messages a second of its user; 0: no limit */
    struct user *user;
};

/* Offer its PUBLISH again. */
typedef void throttle_resume_fn(struct throttled *throttled);

struct throttle {
    struct turn *turn; /* borrowed */
    throttle_resume_fn *resume;
    struct user_list users; /* with clients that wait */
    sd_event_source *timer;
    bool is_armed;
};

/* @turn: borrowed */
void throttle_init(struct throttle *throttle, struct turn *turn, throttle_resume_fn *resume);
/* Makes the timer. Return: 0 or negative errno. */
MUST_CHECK int throttle_start(struct throttle *throttle);
void throttle_finish(struct throttle *throttle);

/*
 * throttle_admit() - a PUBLISH was read: may it be taken now?
 *
 * Return: true: it is charged; false: the client waits now, and resume is called when the
 * same PUBLISH may be tried again.
 */
bool throttle_admit(struct throttle *throttle, struct throttled *throttled);
/* Its rate has changed. */
void throttle_set_rate(struct throttle *throttle, struct throttled *throttled, unsigned rate);
/* It leaves. Does nothing if it does not wait. */
void throttle_remove(struct throttle *throttle, struct throttled *throttled);

#endif
