/* SPDX-License-Identifier: MIT */
/*
 * outcome.h - the outcome record as a line of JSON
 *
 * The one form that the audit file and `mqtt-spool failures --json` share, in
 * the order and with the names of docs/audit.md: seq, time, outcome, reason,
 * id, lane, client, uid, topic, qos, bytes, accepted, age_ms, attempts, code,
 * ref. reason is left out when delivered, code and ref where there is none.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_OUTCOME_H
#define MQTT_SPOOLD_DAEMON_RECORD_OUTCOME_H

#include "base/json.h"
#include "store/spool.h"

/* Texts of a record are cut at these sizes; MQTT allows no longer ones, the configuration no longer
 * name of a lane. */
#define RECORD_TEXT_MAX 65535
#define RECORD_LANE_MAX 255
/* Enough for one record whatever its topic, client id, ref and lane hold: each byte of them may
 * need six characters. */
#define RECORD_LINE_MAX ((3 * RECORD_TEXT_MAX + RECORD_LANE_MAX) * 6 + 1024)

/* One object, without a newline. Never fails where RECORD_LINE_MAX bytes are left. */
void record_write(struct json *json, const struct spool_record *record);

/* The line that stands for the delivered records @from to @to, which gave way before they could
 * be written; @time_ms: of the record that follows. */
#define RECORD_PRUNED_MAX 256
void record_write_pruned(struct json *json, uint64_t from, uint64_t to, int64_t time_ms);

#endif
