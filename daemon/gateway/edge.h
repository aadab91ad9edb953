/* SPDX-License-Identifier: MIT */
/*
 * edge.h - what the open batch holds
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_EDGE_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_EDGE_H

#include <stdint.h>

struct edge {
    unsigned appended;   /* not yet committed */
    int64_t retained_ms; /* boot time of the last batch */
};

#endif
