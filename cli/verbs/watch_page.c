/* SPDX-License-Identifier: MIT */
/*
 * watch_page.c - one screen of the watch
 *
 * A line is a label and a text, cut to the width of the terminal in characters; colours are
 * around the text, so no cut falls into an escape sequence. All texts of others are in the
 * visible form of text.h.
 */
#include "cli/verbs/watch_page.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/attr.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "store/spool.h"

enum {
    LABEL = 10, /* columns */
    TEXT_MAX = 1024,
    CELL_MAX = 256,
    LEVELS = 8,
    BAR = 10, /* columns of the fill of a lane */
    FAILURES = 4,
};

#define PLAIN  ""
#define GREEN  "\x1b[32m"
#define YELLOW "\x1b[33m"
#define RED    "\x1b[31m"

struct frame {
    const struct watch_page *page;
    FILE *stream;
    unsigned row;
};

void watch_history_add(struct watch_history *history, uint64_t value)
{
    history->values[history->next] = value;
    history->next = (history->next + 1) % WATCH_HISTORY_MAX;
    if (history->count < WATCH_HISTORY_MAX)
        history->count++;
}

/* The @back-th before the newest. */
static uint64_t history_get(const struct watch_history *history, unsigned back)
{
    return history->values[(history->next + WATCH_HISTORY_MAX - 1 - back) % WATCH_HISTORY_MAX];
}

/* ---- lines ---- */

/* So many bytes of the text are at most so many characters. */
static size_t cut_at(const char *text, unsigned characters)
{
    size_t size = 0;

    for (; text[size] != '\0'; size++) {
        bool is_first = ((unsigned char)text[size] & 0xc0) != 0x80;

        if (is_first && characters-- == 0)
            break;
    }
    return size;
}

PRINTF_LIKE(4, 5)
static void
put_line(struct frame *frame, const char *label, const char *colour, const char *format, ...)
{
    unsigned columns = frame->page->size.columns;
    bool is_coloured = frame->page->has_colours && *colour != '\0';
    unsigned label_columns = columns < LABEL ? columns : LABEL;
    char text[TEXT_MAX];
    va_list arguments;

    if (frame->row >= frame->page->size.rows)
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(frame->stream, "%s%-*.*s%s%.*s%s\x1b[K", frame->row > 0 ? "\r\n" : "",
            (int)label_columns, (int)label_columns, label, is_coloured ? colour : "",
            (int)cut_at(text, columns - label_columns), text, is_coloured ? "\x1b[0m" : "");
    frame->row++;
}

/* ---- members ---- */

static const json_t *member(const json_t *root, const char *part, const char *name)
{
    return json_object_get(part ? json_object_get(root, part) : root, name);
}

static int64_t integer(const json_t *root, const char *part, const char *name)
{
    return json_integer_value(member(root, part, name));
}

static const char *
text_cell(const json_t *root, const char *part, const char *name, char text[static CELL_MAX])
{
    const char *value = json_string_value(member(root, part, name));

    return cli_printable(text, CELL_MAX, value ? value : "");
}

static const char *
size_cell(const json_t *root, const char *part, const char *name, char text[static CELL_MAX])
{
    int64_t size = integer(root, part, name);

    return cli_size(size > 0 ? (uint64_t)size : 0, text);
}

static const char *span_of(int64_t ms, char text[static CELL_MAX])
{
    clock_format_span(ms > 0 ? ms : 0, text);
    return text;
}

/* How long before the object was written that was; false: never, or not known. */
static bool
ago_cell(const json_t *root, const char *part, const char *name, char text[static CELL_MAX])
{
    const char *then = json_string_value(member(root, part, name));
    const char *now = json_string_value(member(root, NULL, "time"));
    int64_t then_ms, now_ms;

    if (!then || !now || !clock_parse(then, &then_ms) || !clock_parse(now, &now_ms))
        return false;
    (void)span_of(now_ms - then_ms, text);
    return true;
}

/* ---- parts ---- */

static void put_head(struct frame *frame)
{
    const json_t *root = frame->page->root;
    char version[CELL_MAX], uptime[CELL_MAX], time[CELL_MAX];

    (void)text_cell(root, NULL, "time", time);
    if (!frame->page->running)
        put_line(frame, "daemon", RED, "NOT RUNNING (q quits)  %.19sZ", time);
    else if (!frame->page->is_own)
        put_line(frame, "daemon", YELLOW, "runs, its status cannot be read (q quits)  %.19sZ",
                 time);
    else
        put_line(frame, "daemon", PLAIN, "mqtt-spoold %s, for %s (q quits)  %.19sZ",
                 text_cell(root, NULL, "version", version),
                 span_of(integer(root, NULL, "uptime_ms"), uptime), time);
}

static const char *colour_of_state(const char *state)
{
    if (strcmp(state, "online") == 0)
        return GREEN;
    if (strcmp(state, "refused") == 0 || strcmp(state, "stopped") == 0)
        return RED;
    return YELLOW;
}

static void put_link(struct frame *frame)
{
    const json_t *root = frame->page->root;
    char state[CELL_MAX], broker[CELL_MAX], text[CELL_MAX], ago[CELL_MAX];
    bool is_long = ago_cell(root, "link", "since", ago);

    (void)text_cell(root, "link", "state", state);
    (void)text_cell(root, "link", "broker", broker);
    put_line(frame, "link", colour_of_state(state), "%s%s%s%s%s", state, is_long ? " for " : "",
             is_long ? ago : "", *broker != '\0' ? "  " : "", broker);
    if (json_is_true(member(root, "link", "all_held")))
        put_line(frame, "", YELLOW, "HELD by an operator: mqtt-spool release");
    if (json_is_true(member(root, "link", "held")))
        put_line(frame, "", RED, "NOTHING IS SENT until a commit has room");
    if (*text_cell(root, "link", "last_error", text) != '\0') {
        bool has_time = ago_cell(root, "link", "last_error_time", ago);

        put_line(frame, "", YELLOW, "last error%s%s%s: %s", has_time ? " " : "",
                 has_time ? ago : "", has_time ? " ago" : "", text);
        if (*text_cell(root, "link", "remedy", text) != '\0')
            put_line(frame, "", PLAIN, "-> %s", text);
    }
}

/* The newest values that fit, the largest as the highest block. */
static void put_history(struct frame *frame)
{
    static const char *const blocks[LEVELS] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const letters[LEVELS] = {"_", ".", "-", ":", "=", "+", "*", "#"};
    const struct watch_history *history = frame->page->history;
    unsigned columns = frame->page->size.columns;
    unsigned room = columns > LABEL ? columns - LABEL : 0;
    unsigned shown = history->count < room ? history->count : room;
    char text[TEXT_MAX];
    size_t size = 0;
    uint64_t most = 0;

    if (shown > TEXT_MAX / 4)
        shown = TEXT_MAX / 4;
    for (unsigned back = 0; back < shown; back++)
        most = history_get(history, back) > most ? history_get(history, back) : most;
    text[0] = '\0';
    for (unsigned back = shown; back-- > 0;) {
        uint64_t value = history_get(history, back);
        double part = most > 0 ? (double)value / (double)most : 0;
        int level = value == 0 ? 0 : 1 + (int)(part * (LEVELS - 2));

        size += (size_t)snprintf(text + size, sizeof(text) - size, "%s",
                                 (frame->page->has_blocks ? blocks : letters)[level]);
    }
    put_line(frame, "", PLAIN, "%s", text);
}

/* null: it does not happen, and the text stays. */
static void set_forecast(const json_t *after_s, char text[static CELL_MAX])
{
    if (json_is_integer(after_s) && json_integer_value(after_s) == 0)
        (void)snprintf(text, CELL_MAX, "now");
    else if (json_is_integer(after_s))
        (void)span_of(json_integer_value(after_s) * 1000, text);
}

static void put_forecast(struct frame *frame)
{
    const json_t *root = frame->page->root;
    const json_t *full = member(root, "forecast", "full_s");
    const json_t *drained = member(root, "forecast", "drained_s");
    char full_in[CELL_MAX] = "not at these rates", drained_in[CELL_MAX] = "not at these rates";

    if (!frame->page->is_own)
        return;
    set_forecast(full, full_in);
    set_forecast(drained, drained_in);
    if (integer(root, "spool", "messages") == 0)
        put_line(frame, "forecast", GREEN, "nothing waits; full: %s", full_in);
    else
        put_line(frame, "forecast", PLAIN, "drained: %s; full: %s", drained_in, full_in);
}

static void put_backlog(struct frame *frame)
{
    const json_t *root = frame->page->root;
    int64_t messages = integer(root, "spool", "messages");
    char bytes[CELL_MAX], oldest[CELL_MAX], used[CELL_MAX], left[CELL_MAX];

    put_line(frame, "backlog", PLAIN,
             "%" PRId64 " message%s, %s, oldest %s, %" PRId64 " in flight", messages,
             cli_plural((uint64_t)messages), size_cell(root, "spool", "bytes", bytes),
             span_of(integer(root, "spool", "oldest_age_ms"), oldest),
             integer(root, "tokens", "in_flight"));
    put_history(frame);
    if (frame->page->is_own)
        put_line(frame, "rates", PLAIN, "%.1f in, %.1f out per second",
                 json_number_value(member(root, "rates", "in")),
                 json_number_value(member(root, "rates", "out")));
    put_forecast(frame);
    put_line(frame, "disk",
             integer(root, "spool", "disk_free_bytes") <
                     integer(root, "spool", "disk_reserve_bytes")
                 ? RED
                 : PLAIN,
             "%s, %s free", size_cell(root, "spool", "disk_bytes", used),
             size_cell(root, "spool", "disk_free_bytes", left));
}

static void put_intake(struct frame *frame)
{
    char why[CELL_MAX];

    if (*text_cell(frame->page->root, "intake", "refusing", why) != '\0')
        put_line(frame, "intake", RED, "NO MESSAGE IS ACCEPTED: %s", why);
}

/* The fuller of its two limits; negative: not known. */
static double fill_of(const json_t *lane)
{
    static const char *const names[][2] = {{"messages", "max_messages"},
                                           {"bytes", "max_bytes"}};
    double most = -1;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int64_t limit = integer(lane, NULL, names[i][1]);
        double part = limit > 0 ? (double)integer(lane, NULL, names[i][0]) / (double)limit : -1;

        most = part > most ? part : most;
    }
    return most;
}

static void put_lane(struct frame *frame, const char *label, const json_t *lane)
{
    double fill = fill_of(lane);
    bool is_full = json_is_true(member(lane, NULL, "full"));
    char name[CELL_MAX], bytes[CELL_MAX], oldest[CELL_MAX], bar[BAR + 1] = "          ";

    for (int i = 0; i < BAR && fill * BAR > i; i++)
        bar[i] = '#';
    (void)text_cell(lane, NULL, "name", name);
    put_line(frame, label,
             is_full || fill >= 1 ? RED
             : fill > 0.8         ? YELLOW
                                  : PLAIN,
             "%-12.64s [%s] %3.0f %% %8" PRId64 " %10s %8s%s%s", name, bar,
             fill > 0 ? fill * 100 : 0, integer(lane, NULL, "messages"),
             size_cell(lane, NULL, "bytes", bytes),
             span_of(integer(lane, NULL, "oldest_age_ms"), oldest), is_full ? " FULL" : "",
             json_is_true(member(lane, NULL, "held")) ? " HELD" : "");
}

/* As many as leave room for the failures. */
static void put_lanes(struct frame *frame)
{
    const json_t *lanes = json_object_get(frame->page->root, "lanes");
    unsigned last =
        frame->page->size.rows > FAILURES + 1 ? frame->page->size.rows - FAILURES - 1 : 0;
    size_t count = json_array_size(lanes);

    for (size_t i = 0; i < count; i++) {
        if (i > 0 && i + 1 < count && frame->row + 1 >= last) {
            put_line(frame, "", PLAIN, "and %zu more", count - i);
            return;
        }
        put_lane(frame, i == 0 ? "lanes" : "", json_array_get(lanes, i));
    }
}

static void put_ledger(struct frame *frame)
{
    const json_t *root = frame->page->root;
    int64_t failed = 0;
    char text[TEXT_MAX] = "none";
    size_t size = 0;

    for (int i = SPOOL_DELIVERED + 1; i < SPOOL_OUTCOMES; i++) {
        const char *name = spool_outcome_name((enum spool_outcome)i);
        int64_t count = integer(root, "ledger", name);

        failed += count;
        if (count > 0)
            size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%" PRId64 " %s",
                                     size > 0 ? ", " : "", count, name);
    }
    put_line(frame, "ended", PLAIN, "%" PRId64 " delivered of %" PRId64 " accepted",
             integer(root, "ledger", "delivered"), integer(root, "ledger", "accepted"));
    put_line(frame, "failed", failed > 0 ? YELLOW : PLAIN, "%s", text);
    if (json_is_false(member(root, "ledger", "balanced")))
        put_line(frame, "", RED, "THE LEDGER DOES NOT BALANCE: mqtt-spool check");
}

void watch_page_print(const struct watch_page *page, FILE *stream)
{
    struct frame frame = {.page = page, .stream = stream};
    const char *line;

    fputs("\x1b[H", stream);
    if (page->root) {
        put_head(&frame);
        put_link(&frame);
        put_backlog(&frame);
        put_intake(&frame);
        put_ledger(&frame);
        put_lanes(&frame);
        for (unsigned i = 0; (line = watch_failures_get(page->failures, i)); i++)
            put_line(&frame, i == 0 ? "last" : "", PLAIN, "%s", line);
    } else {
        put_line(&frame, "daemon", RED, "no status now: q quits, mqtt-spool status has why");
    }
    fputs("\x1b[J", stream);
}
