/* SPDX-License-Identifier: MIT */
/*
 * outcome.h - the outcome record as a line of JSON
 *
 * The audit file and `mqtt-spool failures --json` share this form, in the order
 * and with the names of docs/audit.md: seq, time, outcome, reason, id, lane,
 * client, uid, topic, qos, bytes, accepted, age_ms, attempts, code, ref,
 * requeued_from. reason is left out if delivered, the last three if there is none.
 *
 * Invariant: seq is the first member, and no member before client holds text that
 * a producer chose. Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_OUTCOME_H
#define MQTT_SPOOLD_DAEMON_RECORD_OUTCOME_H

#include "base/json.h"
#include "store/spool.h"

/* Bytes at which texts of a record are cut; neither MQTT nor the configuration allows longer
 * ones. */
#define RECORD_TEXT_MAX 65535
#define RECORD_LANE_MAX 255
/* Enough for one record whatever its topic, client id, ref and lane hold: each byte of them may
 * need six characters. */
#define RECORD_LINE_MAX ((3 * RECORD_TEXT_MAX + RECORD_LANE_MAX) * 6 + 1024)

/* Writes one object, without a newline. Never fails if RECORD_LINE_MAX bytes are left. */
void record_write(struct json *json, const struct spool_record *record);

/* The same, client, topic and ref cut at @text_max bytes; needs RECORD_CUT_MAX(text_max). */
#define RECORD_CUT_MAX(text_max) ((3 * (size_t)(text_max) + RECORD_LANE_MAX) * 6 + 1024)
void record_write_cut(struct json *json, const struct spool_record *record, size_t text_max);

/* Writes the line that replaces the delivered records @from to @to, which were pruned before
 * they could be written; @time_ms: of the record that follows. */
#define RECORD_PRUNED_MAX 256
void record_write_pruned(struct json *json, uint64_t from, uint64_t to, int64_t time_ms);

#endif
