/* SPDX-License-Identifier: MIT */
/*
 * stamp.h - user properties that say what a message is to the far side: uplink.stamp
 *
 *   spool-id        its id in the spool; with the gateway's name the key to recognize repeats
 *   spool-accepted  when it was accepted, in UTC
 *   spool-number    1, 2, 3 and so on in its lane: what is missing did not arrive
 *   spool-lane      that lane, unless it is "default"
 *   spool-backlog   "true": it was accepted before the link came up
 *   spool-repeat    "true": it may have been sent before
 *
 * The last two are left out unless they are true, the number where the message has none.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_STAMP_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_STAMP_H

#include <stdint.h>

#include "base/view.h"
#include "store/spool.h"

enum { STAMP_BYTES_MAX = 256, STAMP_LANE_MAX = 64 };

struct stamp {
    uint64_t start_id; /* the newest message when the daemon started */
    uint64_t link_id;  /* the newest message when the link came up */
    uint8_t bytes[STAMP_BYTES_MAX];
};

/* Encoded user properties; valid until the next call. */
struct view stamp_write(struct stamp *stamp, const struct spool_message *message);

#endif
