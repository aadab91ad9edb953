/* SPDX-License-Identifier: MIT */
/*
 * metrics_page.c - the status object as metrics
 *
 * Most metrics are rows of a table: one member of the object, one value. All samples of a
 * metric stand together below its HELP and TYPE, as the format wants it.
 */
#include "cli/verbs/metrics_page.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/verbs/status_member.h"
#include "store/spool.h"

#define PREFIX "mqtt_spool_"

enum {
    LABELS_MAX = 3,
    TEXT_MAX = 256,
    VALUE_MAX = 32,
    SAMPLE_MAX = 4096, /* of JSON: names and texts are cut far below */
};

enum kind {
    NUMBER,  /* an integer; one below 0 is not known */
    MS,      /* milliseconds, as seconds */
    SECONDS, /* of an integer of seconds; null: not known */
    TRUTH,   /* true: 1, false: 0, null: not known */
    TIME,    /* RFC 3339, as seconds since 1970; "" or null: there was none */
    TEXT,    /* 1 if there is a text */
    EVICTS,  /* 1 if a lane is full and evicts; no member, but what several amount to */
};

struct metric {
    const char *name;
    const char *help;
    const char *part; /* of the object; NULL: its root */
    const char *member;
    enum kind kind;
    bool is_of_daemon; /* known only if a running daemon wrote the object */
    bool is_limit;     /* 0: not known */
};

struct label {
    const char *name;
    const char *value;
};

struct writer {
    const struct metrics_page *page;
    FILE *stream;
    const char *name; /* of the metric that is written */
    const char *type;
};

/* ---- values ---- */

/* Without zeros at the end: "0.025", "604800". */
static const char *seconds_of(int64_t ms, char text[static VALUE_MAX])
{
    uint64_t size = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    int length = snprintf(text, VALUE_MAX, "%s%" PRIu64 ".%03u", ms < 0 ? "-" : "", size / 1000,
                          (unsigned)(size % 1000));

    while (text[length - 1] == '0')
        text[--length] = '\0';
    if (text[length - 1] == '.')
        text[length - 1] = '\0';
    return text;
}

static const char *count_of(uint64_t count, char text[static VALUE_MAX])
{
    (void)snprintf(text, VALUE_MAX, "%" PRIu64, count);
    return text;
}

static uint64_t number_of(const json_t *root, const char *name)
{
    json_int_t number = json_integer_value(json_object_get(root, name));

    return number > 0 ? (uint64_t)number : 0;
}

static const char *text_of(const json_t *root, const char *part, const char *name)
{
    const char *text = json_string_value(status_member(root, part, name));

    return text ? text : "";
}

/* False: it is not known. */
static bool
value_of(const struct metric *metric, const json_t *root, char text[static VALUE_MAX])
{
    const json_t *value = status_member(root, metric->part, metric->member);
    json_int_t number = json_integer_value(value);
    int64_t time_ms;

    switch (metric->kind) {
    case NUMBER:
    case SECONDS:
        (void)count_of((uint64_t)number, text);
        return json_is_integer(value) && number >= (metric->is_limit ? 1 : 0);
    case MS:
        (void)seconds_of(number, text);
        return json_is_integer(value);
    case TRUTH:
        (void)count_of(json_is_true(value), text);
        return json_is_boolean(value);
    case TIME:
        if (!json_is_string(value) || !clock_parse(json_string_value(value), &time_ms))
            return false;
        (void)seconds_of(time_ms, text);
        return true;
    case TEXT:
        (void)count_of(json_is_string(value) && json_string_length(value) > 0, text);
        return true;
    case EVICTS:
        (void)count_of(status_lane_evicts(root), text);
        return json_is_boolean(value);
    }
    return false;
}

/* ---- the format ---- */

static void begin(struct writer *writer, const char *name, const char *type, const char *help)
{
    writer->name = name;
    writer->type = type;
    if (!writer->page->is_json)
        fprintf(writer->stream, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help,
                name, type);
}

/* In the visible form of text.h first, so that it is UTF-8 on one line. */
static void put_label_value(FILE *stream, const char *value)
{
    char text[TEXT_MAX];

    for (const char *at = cli_printable(text, sizeof(text), value); *at != '\0'; at++) {
        if (*at == '"' || *at == '\\')
            fputc('\\', stream);
        fputc(*at, stream);
    }
}

static void put_labels(FILE *stream, const struct label labels[static LABELS_MAX])
{
    const char *before = "{";

    for (int i = 0; i < LABELS_MAX && labels[i].name; i++, before = ",") {
        fprintf(stream, "%s%s=\"", before, labels[i].name);
        put_label_value(stream, labels[i].value);
        fputc('"', stream);
    }
    if (labels[0].name)
        fputc('}', stream);
}

static void put_json(const struct writer *writer,
                     const char *suffix,
                     const struct label labels[static LABELS_MAX],
                     const char *value)
{
    char memory[SAMPLE_MAX], text[TEXT_MAX];
    struct json json;

    json_init(&json, memory, sizeof(memory));
    json_open_object(&json, NULL);
    (void)snprintf(text, sizeof(text), PREFIX "%s%s", writer->name, suffix);
    json_text(&json, "name", text);
    json_text(&json, "type", writer->type);
    json_open_object(&json, "labels");
    for (int i = 0; i < LABELS_MAX && labels[i].name; i++)
        json_text(&json, labels[i].name, cli_printable(text, sizeof(text), labels[i].value));
    json_close_object(&json);
    json_raw(&json, ",\"value\":");
    json_raw(&json, value);
    json_close_object(&json);
    json_raw(&json, "\n");
    if (!json.failed)
        (void)fwrite(memory, 1, json_used(&json), writer->stream);
}

static void put(const struct writer *writer,
                const char *suffix,
                const struct label labels[static LABELS_MAX],
                const char *value)
{
    if (writer->page->is_json) {
        put_json(writer, suffix, labels, value);
        return;
    }
    fprintf(writer->stream, PREFIX "%s%s", writer->name, suffix);
    put_labels(writer->stream, labels);
    fprintf(writer->stream, " %s\n", value);
}

static const struct label no_labels[LABELS_MAX];

/* ---- the tables ---- */

static const struct metric metrics[] = {
    {"status_timestamp_seconds", "When these values were read.", NULL, "time", TIME, false,
     false},
    {"uptime_seconds", "How long the daemon has been running.", NULL, "uptime_ms", MS, true,
     false},
    {"resident_memory_bytes", "Resident memory of the daemon.", "memory", "rss_bytes", NUMBER,
     true, false},
    {"clock_synchronized", "1 if the date is believed.", "clock", "synchronized", TRUTH, false,
     false},
    {"link_since_timestamp_seconds", "Since when the link has been in its state.", "link",
     "since", TIME, true, false},
    {"link_acknowledged_timestamp_seconds",
     "When the broker last acknowledged a message that ended by it.", "link", "acknowledged",
     TIME, true, false},
    {"link_connects", "Connections to the broker since the daemon started.", "link", "connects",
     NUMBER, true, false},
    {"link_late_answers", "Answers of the broker to no message, since the daemon started.",
     "link", "late_answers", NUMBER, true, false},
    {"link_no_subscriber_messages",
     "Messages for which the broker had no subscriber, since the daemon started.", "link",
     "no_subscriber", NUMBER, true, false},
    {"link_window_messages", "How many messages may be in flight.", "link", "window", NUMBER,
     true, false},
    {"link_blocked", "1 while nothing is sent because no commit has room.", "link", "held",
     TRUTH, true, false},
    {"certificate_expiry_timestamp_seconds",
     "When the first certificate of uplink.tls expires.", "link", "certificate_expires", TIME,
     true, false},
    {"in_flight_messages", "Messages on their way to the broker.", "tokens", "in_flight",
     NUMBER, true, false},
    {"held", "1 if an operator holds all lanes.", "link", "all_held", TRUTH, false, false},
    {"disk_bytes", "Size of the database and its log.", "spool", "disk_bytes", NUMBER, false,
     false},
    {"disk_free_bytes", "Free space of the file system of the spool.", "spool",
     "disk_free_bytes", NUMBER, false, false},
    {"disk_reserve_bytes", "The key spool.disk_reserve.", "spool", "disk_reserve_bytes", NUMBER,
     false, true},
    {"disk_short", "1 while messages are refused or evicted for the disk.", "spool",
     "disk_short", TEXT, true, false},
    {"damaged_files", "Damaged databases that were moved aside and are still there.", "spool",
     "damaged_files", NUMBER, false, false},
    {"rejected_kept_messages", "Rejected messages that are kept with their payload.",
     "rejected", "messages", NUMBER, false, false},
    {"rejected_kept_bytes", "Their size.", "rejected", "bytes", NUMBER, false, false},
    {"ledger_balanced", "1 if every accepted message is spooled or has one outcome.", "ledger",
     "balanced", TRUTH, false, false},
    {"producers_connected", "Connected programs.", "producers", "connected", NUMBER, true,
     false},
    {"producers_refused_messages", "Messages that were refused, since the daemon started.",
     "producers", "messages_refused", NUMBER, true, false},
    {"producers_refused_clients", "Programs that were refused, since the daemon started.",
     "producers", "clients_refused", NUMBER, true, false},
    {"audit_healthy", "1 if the audit file can be written.", "audit", "healthy", TRUTH, true,
     false},
    {"audit_waiting_records", "Records that wait for the audit file.", "audit", "waiting",
     NUMBER, false, false},
    {"audit_max_waiting_records", "The key audit.max_waiting.", "audit", "max_waiting", NUMBER,
     false, true},
    {"forecast_full_seconds", "When the first lane reaches a limit, at the present rates.",
     "forecast", "full_s", SECONDS, true, false},
    {"forecast_drained_seconds", "When nothing is spooled, at the present rates.", "forecast",
     "drained_s", SECONDS, true, false},
};

static const struct metric lane_metrics[] = {
    {"backlog_messages", "Messages that are spooled.", NULL, "messages", NUMBER, false, false},
    {"backlog_bytes", "Their size, as max_bytes counts it.", NULL, "bytes", NUMBER, false,
     false},
    {"backlog_oldest_age_seconds", "Age of the oldest of them.", NULL, "oldest_age_ms", MS,
     false, false},
    {"backlog_max_messages", "The limit max_messages of the lane.", NULL, "max_messages",
     NUMBER, false, true},
    {"backlog_max_bytes", "The limit max_bytes of the lane.", NULL, "max_bytes", NUMBER, false,
     true},
    {"lane_full", "1 if its limits make it refuse messages or stop its producers.", NULL,
     "full", TRUTH, true, false},
    {"lane_evicting", "1 if it is full, and each new message evicts its oldest one.", NULL,
     "full", EVICTS, true, false},
    {"lane_held", "1 if an operator holds it, or all lanes.", NULL, "held", TRUTH, false,
     false},
};

static void put_metric(struct writer *writer, const struct metric *metric)
{
    char value[VALUE_MAX];

    if ((metric->is_of_daemon && !writer->page->is_own) ||
        !value_of(metric, writer->page->root, value))
        return;
    begin(writer, metric->name, "gauge", metric->help);
    put(writer, "", no_labels, value);
}

static void put_lane_metric(struct writer *writer, const struct metric *metric)
{
    bool has_begun = false;
    const json_t *lane;
    size_t i;

    if (metric->is_of_daemon && !writer->page->is_own)
        return;
    json_array_foreach(json_object_get(writer->page->root, "lanes"), i, lane) {
        const struct label labels[LABELS_MAX] = {{"lane", text_of(lane, NULL, "name")}};
        char value[VALUE_MAX];

        if ((metric->is_limit && status_lane_has_left(lane)) || !value_of(metric, lane, value))
            continue;
        if (!has_begun)
            begin(writer, metric->name, "gauge", metric->help);
        has_begun = true;
        put(writer, "", labels, value);
    }
}

/* ---- one of several states ---- */

static void
put_states(struct writer *writer, const char *label, const char *const *states, const char *now)
{
    for (; *states; states++) {
        const struct label labels[LABELS_MAX] = {{label, *states}};

        put(writer, "", labels, strcmp(*states, now) == 0 ? "1" : "0");
    }
}

static void put_link_state(struct writer *writer)
{
    static const char *const states[] = {"idle",    "connecting", "online",  "refused", "held",
                                         "closing", "stopped",    "unknown", NULL};

    begin(writer, "link_state", "gauge", "1 for the state that the link is in, else 0.");
    put_states(writer, "state", states, text_of(writer->page->root, "link", "state"));
}

static void put_refusing(struct writer *writer)
{
    static const char *const causes[] = {"disk", "audit_waiting", "database_locked",
                                         "spool_moved", NULL};

    if (!writer->page->is_own)
        return;
    begin(writer, "intake_refusing", "gauge",
          "1 for the reason why no lane accepts messages, else 0.");
    put_states(writer, "reason", causes, text_of(writer->page->root, "intake", "refusing"));
}

static void put_daemon(struct writer *writer)
{
    const struct label labels[LABELS_MAX] = {
        {"version", text_of(writer->page->root, NULL, "version")}};

    begin(writer, "up", "gauge", "1 if the daemon runs.");
    put(writer, "", no_labels, writer->page->running ? "1" : "0");
    begin(writer, "build_info", "gauge",
          "1, with the version of the daemon, or of the tool if none runs.");
    put(writer, "", labels, "1");
}

/* ---- the ledger ---- */

static void put_accepted(struct writer *writer)
{
    const json_t *lane;
    size_t i;

    begin(writer, "messages_accepted_total", "counter", "Messages that were accepted.");
    json_array_foreach(json_object_get(writer->page->root, "lanes"), i, lane) {
        const struct label labels[LABELS_MAX] = {{"lane", text_of(lane, NULL, "name")}};
        char value[VALUE_MAX];

        put(writer, "", labels,
            count_of(number_of(json_object_get(lane, "ledger"), "accepted"), value));
    }
}

static void put_ended(struct writer *writer)
{
    const json_t *lane;
    size_t i;

    begin(writer, "messages_ended_total", "counter", "Messages that ended, by outcome.");
    json_array_foreach(json_object_get(writer->page->root, "lanes"), i, lane) {
        for (int outcome = 0; outcome < SPOOL_OUTCOMES; outcome++) {
            const char *name = spool_outcome_name((enum spool_outcome)outcome);
            const struct label labels[LABELS_MAX] = {{"lane", text_of(lane, NULL, "name")},
                                                     {"outcome", name}};
            char value[VALUE_MAX];

            put(writer, "", labels,
                count_of(number_of(json_object_get(lane, "ledger"), name), value));
        }
    }
}

static void put_reason(struct writer *writer,
                       const json_t *lane,
                       const char *outcome,
                       const char *reason,
                       uint64_t n)
{
    const struct label labels[LABELS_MAX] = {
        {"lane", text_of(lane, NULL, "name")}, {"outcome", outcome}, {"reason", reason}};
    char value[VALUE_MAX];

    put(writer, "", labels, count_of(n, value));
}

/* What the ledger has and no reason has failed before reasons were counted. */
static void
put_reasons_of(struct writer *writer, const json_t *lane, enum spool_outcome outcome)
{
    const json_t *reasons = json_object_get(lane, "reasons");
    const char *name = spool_outcome_name(outcome);
    uint64_t left = number_of(json_object_get(lane, "ledger"), name);

    for (int i = 0; i < SPOOL_REASONS; i++) {
        const char *reason = spool_reason_name((enum spool_reason)i);
        uint64_t count = number_of(reasons, reason);

        if (!spool_reason_fits(outcome, (enum spool_reason)i))
            continue;
        left -= count < left ? count : left;
        put_reason(writer, lane, name, reason, count);
    }
    put_reason(writer, lane, name, "unrecorded", left);
}

static void put_failed(struct writer *writer)
{
    const json_t *lane;
    size_t i;

    begin(writer, "messages_failed_total", "counter",
          "Messages that ended without delivery, by reason.");
    json_array_foreach(json_object_get(writer->page->root, "lanes"), i, lane) {
        for (int outcome = SPOOL_DELIVERED + 1; outcome < SPOOL_OUTCOMES; outcome++)
            put_reasons_of(writer, lane, (enum spool_outcome)outcome);
    }
}

static void put_records(struct writer *writer)
{
    char value[VALUE_MAX];

    begin(writer, "audit_records_total", "counter", "Outcomes that were recorded.");
    put(writer, "", no_labels,
        count_of(number_of(json_object_get(writer->page->root, "audit"), "last_seq"), value));
}

static void put_delays_of(struct writer *writer, const json_t *lane)
{
    const json_t *bounds = json_object_get(writer->page->root, "delay_bounds_ms");
    const json_t *delays = json_object_get(lane, "delays");
    const json_t *counts = json_object_get(delays, "counts");
    const char *name = text_of(lane, NULL, "name");
    const struct label only[LABELS_MAX] = {{"lane", name}};
    uint64_t count = 0;
    char value[VALUE_MAX], bound[VALUE_MAX];
    const struct label labels[LABELS_MAX] = {{"lane", name}, {"le", bound}};

    for (size_t i = 0; i <= json_array_size(bounds); i++) {
        count += (uint64_t)json_integer_value(json_array_get(counts, i));
        if (i < json_array_size(bounds))
            (void)seconds_of(json_integer_value(json_array_get(bounds, i)), bound);
        else
            (void)snprintf(bound, sizeof(bound), "+Inf");
        put(writer, "_bucket", labels, count_of(count, value));
    }
    put(writer, "_sum", only, seconds_of((int64_t)number_of(delays, "sum_ms"), value));
    put(writer, "_count", only, count_of(count, value));
}

/* A daemon of an earlier version has none. */
static void put_delays(struct writer *writer)
{
    const json_t *lane;
    size_t i;

    if (json_array_size(json_object_get(writer->page->root, "delay_bounds_ms")) == 0)
        return;
    begin(writer, "delivery_delay_seconds", "histogram",
          "From acceptance to the broker's answer, as age_ms in the records.");
    json_array_foreach(json_object_get(writer->page->root, "lanes"), i, lane)
        put_delays_of(writer, lane);
}

/* ---- */

void metrics_page_print(const struct metrics_page *page, FILE *stream)
{
    struct writer writer = {.page = page, .stream = stream};

    put_daemon(&writer);
    put_link_state(&writer);
    put_refusing(&writer);
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
        put_metric(&writer, &metrics[i]);
    for (size_t i = 0; i < sizeof(lane_metrics) / sizeof(lane_metrics[0]); i++)
        put_lane_metric(&writer, &lane_metrics[i]);
    put_accepted(&writer);
    put_ended(&writer);
    put_failed(&writer);
    put_records(&writer);
    put_delays(&writer);
}
