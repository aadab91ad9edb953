/*
 * record_status.h - what the spool knows, as members of the status object
 *
 * The one form that the daemon's status file and `mqtt-spool status` of a
 * stopped daemon share, with the names of docs/operation.md: spool {messages,
 * bytes, disk_bytes, …}, lanes [the same and its ledger, for each], ledger {the
 * terms of the balance}.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_STATUS_H
#define MQTT_SPOOLD_DAEMON_RECORD_STATUS_H

#include "json.h"
#include "store/spool.h"

/* Into the object that is open; @now: for the ages of lanes. Return: 0, or what the store
 * answered; what was written then is to be thrown away. */
int record_write_status(struct json *json,
                        struct spool *spool,
                        const struct spool_stats *stats,
                        const struct spool_time *now);

#endif
