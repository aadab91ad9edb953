/* SPDX-License-Identifier: MIT */
/*
 * record.c - is one line of an audit file a sound record, and the next one?
 *
 * Each line is an outcome record with all its fields, seq rises by one without
 * a gap, no message has two outcomes; or it says what an operator changed. Time
 * may step back. By a little, because records are in the order of commits; by more, because
 * the wall clock of a gateway may be set: that is counted and no problem.
 */
#include "cli/audit/check.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/audit/id_set.h"
#include "cli/lines.h"
#include "store/spool.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The library reports a line that it has no memory for as one that is no JSON. */
static bool is_out_of_memory;

static void *allocate_for_json(size_t size)
{
    void *memory = malloc(size);

    if (!memory)
        is_out_of_memory = true;
    return memory;
}

/* A whole number from @minimum to @maximum, else a problem. */
static bool get_number(struct audit_check *check,
                       const json_t *object,
                       const char *name,
                       int64_t minimum,
                       int64_t maximum,
                       int64_t *ret)
{
    const json_t *value = json_object_get(object, name);

    if (json_is_integer(value) && json_integer_value(value) >= minimum &&
        json_integer_value(value) <= maximum) {
        *ret = json_integer_value(value);
        return true;
    }
    if (!value)
        audit_add_problem(check, "the field \"%s\" is missing", name);
    else
        audit_add_problem(check, "\"%s\" is not a whole number from %" PRId64 " to %" PRId64,
                          name, minimum, maximum);
    return false;
}

/* A text, else a problem and NULL. */
static const char *get_text(struct audit_check *check, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    if (!value)
        audit_add_problem(check, "the field \"%s\" is missing", name);
    else if (!json_is_string(value))
        audit_add_problem(check, "\"%s\" is not a text", name);
    return json_string_value(value);
}

static bool
get_time(struct audit_check *check, const json_t *object, const char *name, int64_t *ret)
{
    const char *text = get_text(check, object, name);

    if (!text)
        return false;
    if (clock_parse(text, ret))
        return true;
    audit_add_problem(check, "\"%s\" is no time in UTC like 2026-11-01T12:34:56.789Z", name);
    return false;
}

static void check_outcome(struct audit_check *check, const json_t *object)
{
    const char *text = get_text(check, object, "outcome");
    const json_t *reason_value = json_object_get(object, "reason");
    enum spool_reason reason = SPOOL_REASON_NONE;
    enum spool_outcome outcome;

    if (!text)
        return;
    if (!spool_outcome_parse(text, &outcome)) {
        audit_add_problem(check, "there is no outcome \"%.*s\"", text_prefix_size(text, 32),
                          text);
        return;
    }
    check->counts[outcome]++;
    if (reason_value && (!json_is_string(reason_value) ||
                         !spool_reason_parse(json_string_value(reason_value), &reason)))
        audit_add_problem(check, "\"reason\" is none that there is");
    else if (!spool_reason_fits(outcome, reason))
        audit_add_problem(check, "the reason \"%s\" does not go with the outcome \"%s\"",
                          spool_reason_name(reason), text);
}

static void check_id(struct audit_check *check, uint64_t id)
{
    switch (id_set_add(&check->seen.ids, id)) {
    case 0:
        break;
    case -EEXIST:
        audit_add_problem(check, "the message %" PRIu64 " already had an outcome", id);
        break;
    case -ENOMEM:
        is_out_of_memory = true;
        break;
    default:
        audit_add_problem(check, "the id %" PRIu64 " is too far from the others to be followed",
                          id);
        break;
    }
}

static void check_seq(struct audit_check *check, int64_t from, int64_t seq)
{
    if (audit_check_seq(check, (uint64_t)from, (uint64_t)seq) == -ENOMEM)
        is_out_of_memory = true;
}

/* @from and @seq are 0 if the line has no number. One that stands elsewhere than it should says
 * nothing about the clock. */
static void check_time(struct audit_check *check, int64_t from, int64_t seq, int64_t time_ms)
{
    if ((uint64_t)from == check->first_seq)
        check->first_ms = time_ms;
    if ((uint64_t)seq != check->last_seq)
        return;
    if (check->last_ms - time_ms >= SPOOL_RECORDS_LATE_MS)
        check->clock_steps++;
    check->last_ms = time_ms;
}

static void check_members(struct audit_check *check, const json_t *object)
{
    int64_t number;

    (void)get_text(check, object, "lane"); /* noted as a problem when it is not there */
    (void)get_text(check, object, "client");
    (void)get_text(check, object, "topic");
    (void)get_time(check, object, "accepted", &number);
    if (!json_is_null(json_object_get(object, "uid"))) /* unknown: it came over TCP */
        (void)get_number(check, object, "uid", 0, UINT32_MAX, &number);
    (void)get_number(check, object, "qos", 0, 2, &number);
    (void)get_number(check, object, "bytes", 0, INT64_MAX, &number);
    (void)get_number(check, object, "age_ms", 0, INT64_MAX, &number);
    (void)get_number(check, object, "attempts", 0, UINT32_MAX, &number);
    if (json_object_get(object, "code"))
        (void)get_number(check, object, "code", 0, 255, &number);
    if (json_object_get(object, "ref"))
        (void)get_text(check, object, "ref");
    if (json_object_get(object, "requeued_from"))
        (void)get_number(check, object, "requeued_from", 1, INT64_MAX, &number);
}

/* Stands for the records of deliveries from "from" to "seq". */
static void check_pruned(struct audit_check *check, const json_t *object)
{
    int64_t seq, from, count, time_ms;

    check->lines++;
    if (!get_number(check, object, "seq", 1, INT64_MAX, &seq) ||
        !get_number(check, object, "from", 1, seq, &from) ||
        !get_number(check, object, "pruned", 1, INT64_MAX, &count))
        return;
    if (count != seq - from + 1)
        audit_add_problem(check,
                          "\"pruned\" is %" PRId64 ", but from %" PRId64 " to %" PRId64
                          " there %s %" PRId64 " number%s",
                          count, from, seq, seq == from ? "is" : "are", seq - from + 1,
                          seq == from ? "" : "s");
    check_seq(check, from, seq);
    check->pruned += (uint64_t)(seq - from + 1);
    if (get_time(check, object, "time", &time_ms))
        check_time(check, from, seq, time_ms);
}

/* What an operator changed: it has no number, because messages have records of their own. */
static void check_admin(struct audit_check *check, const json_t *object)
{
    int64_t number;

    check->admin++;
    if (json_object_get(object, "seq"))
        audit_add_problem(check, "a line with \"admin\" has no \"seq\"");
    (void)get_text(check, object, "admin"); /* noted as a problem when it is not there */
    (void)get_time(check, object, "time", &number);
    if (!json_is_null(json_object_get(object, "uid")))
        (void)get_number(check, object, "uid", 0, UINT32_MAX, &number);
}

/* Members that are not known are left alone: a later version may write more. */
static void check_record(struct audit_check *check, json_t *object)
{
    int64_t number, seq = 0;

    check->lines++;
    if (get_number(check, object, "seq", 1, INT64_MAX, &seq))
        check_seq(check, seq, seq);
    if (get_number(check, object, "id", 1, INT64_MAX, &number))
        check_id(check, (uint64_t)number);
    if (get_time(check, object, "time", &number))
        check_time(check, seq, seq, number);
    check_outcome(check, object);
    check_members(check, object);
    audit_ask_record(check, object);
}

int audit_check_line(struct audit_check *check, const struct line *line)
{
    json_error_t error;
    json_t *object;

    check->line++;
    if (audit_take_seal_line(check, line))
        return 0;
    is_out_of_memory = false;
    json_set_alloc_funcs(allocate_for_json, free);
    object = json_loadb(line->text, line->size, JSON_REJECT_DUPLICATES, &error);

    if (json_is_object(object) && json_object_get(object, "pruned"))
        check_pruned(check, object);
    else if (json_is_object(object) && json_object_get(object, "admin"))
        check_admin(check, object);
    else if (json_is_object(object))
        check_record(check, object);
    else if (object)
        audit_add_problem(check, "this is JSON, but no outcome record");
    else
        audit_add_problem(check, "this is no JSON: %s", error.text);
    if (check->on_line && json_is_object(object))
        check->on_line(check->userdata, object, line->size + 1);
    json_decref(object);
    return is_out_of_memory ? -ENOMEM : 0;
}
