/* SPDX-License-Identifier: MIT */
/*
 * access.h - what a local program may do, by the access list
 *
 * The first entry of the list that fits the peer decides: its user, or one of its groups, as
 * the kernel reports them. A peer without credentials (TCP) is fitted by "*" only. Without a
 * list each program may publish, and root is an administrator.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_ACCESS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_ACCESS_H

#include <stdbool.h>

#include "base/peer.h"
#include "base/view.h"
#include "daemon/config/config.h"

struct access {
    const struct config_access *entry; /* borrowed from the configuration; NULL: no list */
    bool is_allowed;                   /* an entry fits, or there is no list */
    bool is_admin;
};

/*
 * access_decide() - what does the list say about the peer?
 * @fd: its socket: the kernel is asked for its groups if an entry depends on them
 *
 * If the groups cannot be read, and an entry depends on them, it is not allowed. Does not
 * wait. The result is valid as long as the list of @config.
 */
struct access access_decide(const struct config *config, int fd, const struct peer *peer);
/* Messages a second of its user; 0: no limit. */
unsigned access_rate(const struct access *access);
/* May it publish to this topic, which has no leading $? */
bool access_may_publish(const struct access *access, struct view topic);

#endif
