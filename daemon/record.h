/*
 * record.h - the outcome record as a line of JSON
 *
 * The one form that the audit file and `mqtt-spool failures --json` share, in
 * the order and with the names of docs/audit.md: seq, time, outcome, reason,
 * id, lane, client, uid, topic, qos, bytes, accepted, age_ms, attempts, code,
 * ref. reason is left out when delivered, code and ref where there is none.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_H
#define MQTT_SPOOLD_DAEMON_RECORD_H

#include "store/spool.h"
#include "json.h"

/* Enough for one record whatever its topic, client id and ref hold: each byte
 * of 3 x 65,535 may need six characters. */
#define RECORD_LINE_MAX (3 * 65535 * 6 + 1024)

/* One object, without a newline. */
void record_write(struct json *json, const struct spool_record *record);

#endif
