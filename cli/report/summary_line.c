/* SPDX-License-Identifier: MIT */
/*
 * summary_line.c - a line of an audit file as a record of a summary
 *
 * Whether it is sound is for cli/audit/ to decide: what is missing or of another type here is
 * taken as nothing, so that a damaged file still has a report.
 */
#include "cli/report/summary.h"

#include <string.h>

#include "base/clock.h"
#include "cli/report/pauses.h"
#include "store/spool.h"

static int64_t get_number(const json_t *object, const char *name, int64_t maximum)
{
    json_int_t number = json_integer_value(json_object_get(object, name));

    return number < 0 || number > maximum ? 0 : (int64_t)number;
}

static const char *get_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static void add_admin(struct summary *summary, const json_t *object)
{
    const char *name = get_text(object, "admin");
    int64_t time_ms;

    if (!clock_parse(get_text(object, "time"), &time_ms) ||
        !summary_contains(&summary->period, time_ms))
        return;
    summary->admin++;
    if (strcmp(name, "hold") == 0)
        pauses_hold(&summary->pauses, time_ms);
    else if (strcmp(name, "release") == 0)
        pauses_release(&summary->pauses, time_ms);
}

static void add_record(struct summary *summary, const json_t *object, size_t size)
{
    const json_t *code = json_object_get(object, "code");
    struct spool_record record = {
        .seq = (uint64_t)get_number(object, "seq", INT64_MAX),
        .client = get_text(object, "client"),
        .topic = get_text(object, "topic"),
        .bytes = (uint64_t)get_number(object, "bytes", INT64_MAX),
        .age_ms = get_number(object, "age_ms", INT64_MAX),
        .attempts = (uint32_t)get_number(object, "attempts", UINT32_MAX),
        .code = code ? (int)get_number(object, "code", 255) : SPOOL_NO_CODE,
    };

    if (!spool_outcome_parse(get_text(object, "outcome"), &record.outcome))
        return;
    if (!spool_reason_parse(get_text(object, "reason"), &record.reason))
        record.reason = SPOOL_REASON_NONE;
    (void)clock_parse(get_text(object, "time"), &record.time_ms); /* else it is 1970 */
    if (record.age_ms > record.time_ms)
        record.age_ms = record.time_ms;
    summary_add(summary, &record, size);
}

void summary_add_line(struct summary *summary, const json_t *object, size_t size)
{
    if (json_object_get(object, "pruned"))
        summary->pruned += (uint64_t)get_number(object, "pruned", INT64_MAX);
    else if (json_object_get(object, "admin"))
        add_admin(summary, object);
    else
        add_record(summary, object, size);
}
