/*
 * record_status.h - what the spool knows, as members of the status object
 *
 * The one form that the daemon's status file and `mqtt-spool status` of a
 * stopped daemon share, with the names of docs/operation.md: spool {messages,
 * bytes, disk_bytes, …}, lanes [the same, its limits and its ledger, for each],
 * ledger {the terms of the balance}, intake {what is refused}.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_STATUS_H
#define MQTT_SPOOLD_DAEMON_RECORD_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json.h"
#include "store/spool.h"

/* What may come in, as far as who calls knows. Borrowed. */
struct record_intake {
    const struct spool_lane *lanes; /* as configured, "default" first; NULL: not known */
    size_t lane_count;
    const bool *lane_full; /* of each of them: it refuses or blocks; NULL: not known */
    const char *refusing;  /* why nothing at all is taken; "": it is; NULL: not known */
    uint64_t disk_reserve; /* 0: not known */
};

/* Into the object that is open; @now: for the ages of lanes. Return: 0, or what the store
 * answered; what was written then is to be thrown away. */
int record_write_status(struct json *json,
                        struct spool *spool,
                        const struct spool_stats *stats,
                        const struct record_intake *intake,
                        const struct spool_time *now);

#endif
