/* SPDX-License-Identifier: MIT */
/*
 * outcome.c - the outcome record as a line of JSON
 *
 * seq comes first, because the audit determines the progress of its export from
 * the first field of the file's last line. Fields without a value are left out
 * rather than null, because a line per message fills the disk.
 */
#include "daemon/record/outcome.h"

#include <string.h>

#include "daemon/record/members.h"

/* A text from a damaged database must not make a line that is longer than any buffer. */
static void record_write_text(struct json *json, const char *name, const char *text, size_t max)
{
    json_bytes(json, name, text, strnlen(text, max));
}

void record_write_cut(struct json *json, const struct spool_record *record, size_t text_max)
{
    json_open_object(json, NULL);
    json_unsigned(json, "seq", record->seq);
    record_write_time(json, "time", record->time_ms);
    json_text(json, "outcome", spool_outcome_name(record->outcome));
    if (record->reason != SPOOL_REASON_NONE)
        json_text(json, "reason", spool_reason_name(record->reason));
    json_unsigned(json, "id", record->id);
    record_write_text(json, "lane", record->lane, RECORD_LANE_MAX);
    record_write_text(json, "client", record->client, text_max);
    record_write_uid(json, record->uid);
    record_write_text(json, "topic", record->topic, text_max);
    json_unsigned(json, "qos", record->qos);
    json_unsigned(json, "bytes", record->bytes);
    record_write_time(json, "accepted", record->accepted_ms);
    json_signed(json, "age_ms", record->age_ms);
    json_unsigned(json, "attempts", record->attempts);
    if (record->code != SPOOL_NO_CODE)
        json_signed(json, "code", record->code);
    if (record->ref)
        record_write_text(json, "ref", record->ref, text_max);
    if (record->requeued_from != 0)
        json_unsigned(json, "requeued_from", record->requeued_from);
    json_close_object(json);
}

void record_write(struct json *json, const struct spool_record *record)
{
    record_write_cut(json, record, RECORD_TEXT_MAX);
}

/* seq is that of the last one, so that a reader of the last line only knows how far the file
 * reaches. */
void record_write_pruned(struct json *json, uint64_t from, uint64_t to, int64_t time_ms)
{
    json_open_object(json, NULL);
    json_unsigned(json, "seq", to);
    record_write_time(json, "time", time_ms);
    json_unsigned(json, "from", from);
    json_unsigned(json, "pruned", to - from + 1);
    json_close_object(json);
}
