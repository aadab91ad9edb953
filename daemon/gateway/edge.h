/* SPDX-License-Identifier: MIT */
/*
 * edge.h - the batch edge: what it keeps of the open batch and the last one
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_EDGE_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_EDGE_H

#include <stdbool.h>
#include <stdint.h>

struct edge {
    unsigned appended;    /* not yet committed */
    int64_t retained_ms;  /* boot time of the last batch */
    int64_t committed_ms; /* boot time of the last commit that had something to write */
    bool has_committed;
};

#endif
