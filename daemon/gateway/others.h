/* SPDX-License-Identifier: MIT */
/*
 * others.h - which other broker of the list may take a message that the one in use refuses
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_OTHERS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_OTHERS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/gateway/refusal.h"
#include "daemon/uplink/uplink.h"

enum {
    OTHERS_NONE = UINT32_MAX,
    /* A message that is refused for now waits for another broker from this refusal on. */
    OTHERS_PATIENCE = 3,
    /* What waits for another broker is looked at again: that one may be away for too long. */
    OTHERS_AGAIN_MS = 60 * 1000
};

/* One refusal of a message. */
struct others_refusal {
    uint64_t tag;      /* its topic; 0: of a report */
    uint32_t marks;    /* of spool_mark_refused() */
    bool is_permanent; /* no repetition can change it */
};

/* For spool_mark_refused(): broker @number refuses the message. */
uint32_t others_mark(unsigned number, bool is_permanent);

/*
 * others_next() - the next broker behind @current that has not refused the message
 * @all: one for each of the @count brokers of the list
 *
 * Nor refused its topic, as far as that is remembered: if this refusal is permanent, only such
 * ones count. One that could not be reached, or refused everything, for ten minutes is none.
 *
 * Return: its number; OTHERS_NONE.
 */
unsigned others_next(const struct uplink *uplink,
                     const struct refusal *all,
                     unsigned count,
                     unsigned current,
                     const struct others_refusal *refusal);

#endif
