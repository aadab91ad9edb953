/* SPDX-License-Identifier: MIT */
/*
 * counters.h - what was counted since the start, for rates and the status
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_COUNTERS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_COUNTERS_H

#include <stdint.h>

struct counters {
    uint64_t accepted; /* and committed */
    uint64_t ended;    /* by any outcome */
    uint64_t refused;  /* messages, also those of a batch that was rolled back */
    uint64_t clients_refused;
    uint64_t unsubscribed; /* delivered, and the broker reported that it has no subscriber */
};

#endif
