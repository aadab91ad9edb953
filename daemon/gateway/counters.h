/* SPDX-License-Identifier: MIT */
/*
 * counters.h - what was counted since the start, for rates and the status
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_COUNTERS_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_COUNTERS_H

#include <stdint.h>
#include <stdio.h>

#define COUNTERS_REASON_MAX 128

struct counters {
    uint64_t accepted; /* and committed */
    uint64_t refused;  /* messages, also those of a batch that was rolled back */
    char refused_reason[COUNTERS_REASON_MAX]; /* of the newest; "": there was none */
    int64_t refused_boot_ms;                  /* when it was */
    uint64_t bridge_notifications;            /* acknowledged, and not stored */
    uint64_t clients_refused;
    uint64_t rejected;        /* by the broker, or because no broker takes it; committed */
    unsigned rejected_reason; /* of the newest one, an enum spool_reason, and its code */
    int rejected_code;
    uint64_t unsubscribed; /* delivered, and the broker reported that it has no subscriber;
                              committed */
};

/* @reason: cut where it does not fit. */
static inline void counters_note_refused(struct counters *counters,
                                         uint64_t messages,
                                         const char *reason,
                                         int64_t now_boot_ms)
{
    counters->refused += messages;
    counters->refused_boot_ms = now_boot_ms;
    (void)snprintf(counters->refused_reason, sizeof(counters->refused_reason), "%s", reason);
}

#endif
