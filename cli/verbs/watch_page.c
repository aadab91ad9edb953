/* SPDX-License-Identifier: MIT */
/*
 * watch_page.c - one screen of the watch
 *
 * A line is a label and a text, cut to the width of the terminal in characters; colours are
 * around the text, so no cut falls into an escape sequence. All texts of others are in the
 * visible form of text.h.
 *
 * What is wrong comes first and continues in further rows, the last of the page are optional:
 * the page is made twice, at first to count the rows that are left for both.
 */
#include "cli/verbs/watch_page.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/attr.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/verbs/status_faults.h"
#include "cli/verbs/status_member.h"
#include "store/spool.h"

enum {
    LABEL = 10, /* columns */
    TEXT_MAX = 1024,
    CELL_MAX = STATUS_CELL_MAX,
    LEVELS = 8,
    BAR = 10, /* columns of the fill of a lane */
    FAILURES = 4,
    QUITS_COLUMNS = 22, /* from here on the title says how to quit in words */
};

#define PLAIN  ""
#define GREEN  "\x1b[32m"
#define YELLOW "\x1b[33m"
#define RED    "\x1b[31m"

/* From this age on the object has it on the page. */
#define AS_OF_MS 3000

enum line_kind {
    LINE_CUT,
    LINE_WRAPPED,  /* as long as rows are left */
    LINE_OPTIONAL, /* if a row is left */
};

struct frame {
    const struct watch_page *page;
    FILE *stream; /* NULL: it is counted */
    unsigned row;
    unsigned left; /* rows beyond one for each line that is not optional */
    size_t lanes;  /* have a row, as counted */
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

/* Where the text continues in the next row: after the last blank, if there is one. */
static size_t wrap_at(const char *text, size_t size)
{
    size_t at = size;

    while (at > 0 && text[at] != ' ')
        at--;
    return at > 0 ? at : size;
}

static void put_row(
    struct frame *frame, const char *label, const char *colour, const char *text, size_t size)
{
    unsigned columns = frame->page->size.columns;
    int label_columns = (int)(columns < LABEL ? columns : LABEL);
    bool is_coloured = frame->page->has_colours && *colour != '\0';

    if (frame->row >= frame->page->size.rows)
        return;
    fprintf(frame->stream, "%s%-*.*s%s%.*s%s\x1b[K", frame->row > 0 ? "\r\n" : "",
            label_columns, label_columns, label, is_coloured ? colour : "", (int)size, text,
            is_coloured ? "\x1b[0m" : "");
    frame->row++;
}

static unsigned text_columns(const struct frame *frame)
{
    unsigned columns = frame->page->size.columns;

    return columns > LABEL ? columns - LABEL : 0;
}

static void put_text(struct frame *frame,
                     enum line_kind kind,
                     const char *label,
                     const char *colour,
                     const char *text)
{
    unsigned columns = text_columns(frame);
    size_t size = cut_at(text, columns);

    if (!frame->stream) {
        frame->row += kind != LINE_OPTIONAL;
        return;
    }
    if (kind == LINE_OPTIONAL) {
        if (frame->left == 0)
            return;
        frame->left--;
    }
    while (kind == LINE_WRAPPED && columns > 0 && text[size] != '\0' && frame->left > 0) {
        size = wrap_at(text, size);
        put_row(frame, label, colour, text, size);
        frame->left--;
        text += size + strspn(text + size, " ");
        size = cut_at(text, columns);
        label = "";
    }
    put_row(frame, label, colour, text, size);
}

PRINTF_LIKE(4, 5)
static void
put_line(struct frame *frame, const char *label, const char *colour, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    put_text(frame, LINE_CUT, label, colour, text);
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
    const char *then = json_string_value(status_member(root, part, name));
    const char *now = json_string_value(status_member(root, NULL, "time"));
    int64_t then_ms, now_ms;

    if (!then || !now || !clock_parse(then, &then_ms) || !clock_parse(now, &now_ms))
        return false;
    (void)span_of(now_ms - then_ms, text);
    return true;
}

/* ---- parts ---- */

/* How to leave is said at each width that has room for it: the rest is cut before. */
static void
put_title(struct frame *frame, const char *colour, const char *text, const char *brief)
{
    unsigned columns = text_columns(frame);
    const char *quits = columns < QUITS_COLUMNS ? " (q)" : " (q quits)";
    unsigned room = columns > strlen(quits) ? columns - (unsigned)strlen(quits) : 0;
    char time[CELL_MAX];
    bool is_whole = text[cut_at(text, room)] == '\0';
    const char *shown = is_whole ? text : brief;

    (void)status_text(frame->page->root, NULL, "time", time);
    put_line(frame, "daemon", colour, "%.*s%s%s%.19s%s", (int)cut_at(shown, room), shown, quits,
             *time != '\0' ? "  " : "", time, *time != '\0' ? "Z" : "");
}

/* The file of a daemon that does not answer may be old. */
static void put_age(struct frame *frame)
{
    const char *text = json_string_value(status_member(frame->page->root, NULL, "time"));
    char span[CELL_MAX];
    int64_t written_ms;

    if (frame->page->is_own && text && clock_parse(text, &written_ms) &&
        frame->page->now_ms - written_ms >= AS_OF_MS)
        put_line(frame, "", YELLOW, "as of %s ago",
                 span_of(frame->page->now_ms - written_ms, span));
}

static void put_head(struct frame *frame)
{
    const json_t *root = frame->page->root;
    char version[CELL_MAX], uptime[CELL_MAX], text[TEXT_MAX], brief[TEXT_MAX];

    if (!frame->page->running) {
        put_title(frame, RED, "NOT RUNNING", "NOT RUNNING");
    } else if (!frame->page->is_own) {
        put_title(frame, YELLOW, "runs, its status cannot be read", "runs, status unread");
    } else {
        (void)status_text(root, NULL, "version", version);
        (void)span_of(status_integer(root, NULL, "uptime_ms"), uptime);
        (void)snprintf(text, sizeof(text), "mqtt-spoold %s, for %s", version, uptime);
        (void)snprintf(brief, sizeof(brief), "%s, for %s", version, uptime);
        put_title(frame, PLAIN, text, brief);
    }
    put_age(frame);
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
    char state[CELL_MAX], broker[CELL_MAX], ago[CELL_MAX];
    bool is_long = ago_cell(root, "link", "since", ago);

    (void)status_text(root, "link", "state", state);
    (void)status_text(root, "link", "broker", broker);
    put_line(frame, "link", colour_of_state(state), "%s%s%s%s%s", state, is_long ? " for " : "",
             is_long ? ago : "", *broker != '\0' ? "  " : "", broker);
}

static void put_fault(void *userdata, const struct status_fault *fault)
{
    put_text(userdata, LINE_WRAPPED, fault->label, fault->is_severe ? RED : YELLOW,
             fault->text);
}

static void put_next_attempt(struct frame *frame)
{
    char text[CELL_MAX];

    if (*status_next_attempt(frame->page->root, text) != '\0')
        put_text(frame, LINE_WRAPPED, "", PLAIN, text);
}

static void put_last_error(struct frame *frame)
{
    const json_t *root = frame->page->root;
    char error[CELL_MAX], ago[CELL_MAX], text[TEXT_MAX];
    bool has_time = ago_cell(root, "link", "last_error_time", ago);
    bool is_over = status_link_error_is_over(root);

    if (*status_text(root, "link", "last_error", error) == '\0')
        return;
    (void)snprintf(text, sizeof(text), "last error%s%s%s%s: %s", has_time ? " " : "",
                   has_time ? ago : "", has_time ? " ago" : "",
                   is_over ? ", which is over" : "", error);
    put_text(frame, LINE_WRAPPED, "link", is_over ? PLAIN : YELLOW,
             text); /* what is above it is not of the link */
    if (*status_text(root, "link", "remedy", error) != '\0') {
        (void)snprintf(text, sizeof(text), "-> %s%s", is_over ? "if it comes again: " : "",
                       error);
        put_text(frame, LINE_WRAPPED, "", PLAIN, text);
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
    put_text(frame, LINE_OPTIONAL, "", PLAIN, text);
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
    const json_t *full = status_member(root, "forecast", "full_s");
    const json_t *drained = status_member(root, "forecast", "drained_s");
    char full_in[CELL_MAX] = "not at these rates", drained_in[CELL_MAX] = "not at these rates";

    if (!frame->page->is_own)
        return;
    set_forecast(full, full_in);
    set_forecast(drained, drained_in);
    if (status_integer(root, "spool", "messages") == 0)
        put_line(frame, "forecast", GREEN, "nothing waits; full: %s", full_in);
    else
        put_line(frame, "forecast", PLAIN, "drained: %s; full: %s", drained_in, full_in);
}

static void put_backlog(struct frame *frame)
{
    const json_t *root = frame->page->root;
    int64_t messages = status_integer(root, "spool", "messages");
    char bytes[CELL_MAX], oldest[CELL_MAX], used[CELL_MAX], left[CELL_MAX];

    put_line(frame, "backlog", PLAIN,
             "%" PRId64 " message%s, %s, oldest %s, %" PRId64 " in flight", messages,
             cli_plural((uint64_t)messages), status_size(root, "spool", "bytes", bytes),
             span_of(status_integer(root, "spool", "oldest_age_ms"), oldest),
             status_integer(root, "tokens", "in_flight"));
    put_history(frame);
    if (frame->page->is_own)
        put_line(frame, "rates", PLAIN, "%.1f in, %.1f out per second",
                 json_number_value(status_member(root, "rates", "in")),
                 json_number_value(status_member(root, "rates", "out")));
    put_forecast(frame);
    put_line(frame, "disk",
             status_integer(root, "spool", "disk_free_bytes") <
                     status_integer(root, "spool", "disk_reserve_bytes")
                 ? RED
                 : PLAIN,
             "%s, %s free", status_size(root, "spool", "disk_bytes", used),
             status_size(root, "spool", "disk_free_bytes", left));
}

/* The fuller of its two limits; negative: not known, or they are not its own. */
static double fill_of(const json_t *lane)
{
    static const char *const names[][2] = {{"messages", "max_messages"},
                                           {"bytes", "max_bytes"}};
    double most = -1;

    for (size_t i = 0; !status_lane_has_left(lane) && i < sizeof(names) / sizeof(names[0]);
         i++) {
        int64_t limit = status_integer(lane, NULL, names[i][1]);
        double part =
            limit > 0 ? (double)status_integer(lane, NULL, names[i][0]) / (double)limit : -1;

        most = part > most ? part : most;
    }
    return most;
}

static void put_lane(struct frame *frame, const char *label, const json_t *lane)
{
    double fill = fill_of(lane);
    bool is_full = json_is_true(status_member(lane, NULL, "full"));
    char name[CELL_MAX], bytes[CELL_MAX], oldest[CELL_MAX], bar[BAR + 1] = "          ";

    for (int i = 0; i < BAR && fill * (double)BAR > i; i++)
        bar[i] = '#';
    (void)status_text(lane, NULL, "name", name);
    put_line(frame, label,
             is_full || fill >= 1 ? RED
             : fill > 0.8         ? YELLOW
                                  : PLAIN,
             "%-12.64s [%s] %3.0f %% %8" PRId64 " %10s %8s%s%s%s", name, bar,
             fill > 0 ? fill * 100 : 0, status_integer(lane, NULL, "messages"),
             status_size(lane, NULL, "bytes", bytes),
             span_of(status_integer(lane, NULL, "oldest_age_ms"), oldest),
             is_full ? " FULL" : "",
             json_is_true(status_member(lane, NULL, "held")) ? " HELD" : "",
             status_lane_has_left(lane) ? " no longer configured" : "");
}

/* As many as leave room for the failures. */
static void put_lanes(struct frame *frame)
{
    const json_t *lanes = json_object_get(frame->page->root, "lanes");
    unsigned rows = frame->page->size.rows;
    unsigned last = rows > FAILURES + 1 ? rows - FAILURES - 1 : 0;
    size_t count = json_array_size(lanes);

    if (!frame->stream)
        frame->lanes = last > frame->row + 1 ? last - frame->row : 1;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && i + 1 < count && i + 1 >= frame->lanes) {
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
        int64_t count = status_integer(root, "ledger", name);

        failed += count;
        if (count > 0)
            size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%" PRId64 " %s",
                                     size > 0 ? ", " : "", count, name);
    }
    put_line(frame, "ended", PLAIN, "%" PRId64 " delivered of %" PRId64 " accepted",
             status_integer(root, "ledger", "delivered"),
             status_integer(root, "ledger", "accepted"));
    put_line(frame, "failed", failed > 0 ? YELLOW : PLAIN, "%s", text);
}

static void put_page(struct frame *frame)
{
    const struct watch_page *page = frame->page;
    const char *line;

    put_head(frame);
    put_link(frame);
    status_faults_each(page->root, put_fault, frame);
    put_last_error(frame);
    put_next_attempt(frame);
    put_backlog(frame);
    put_ledger(frame);
    put_lanes(frame);
    for (unsigned i = 0; (line = watch_failures_get(page->failures, i)); i++)
        put_text(frame, LINE_OPTIONAL, i == 0 ? "last" : "", PLAIN, line);
}

void watch_page_print(const struct watch_page *page, FILE *stream)
{
    struct frame frame = {.page = page};

    fputs("\x1b[H", stream);
    if (page->root) {
        put_page(&frame);
        frame.left = page->size.rows > frame.row ? page->size.rows - frame.row : 0;
        frame.row = 0;
        frame.stream = stream;
        put_page(&frame);
    } else {
        frame.stream = stream;
        put_title(&frame, RED, page->running ? "no status now" : "NOT RUNNING",
                  page->running ? "no status" : "NOT RUNNING");
        put_line(&frame, "", PLAIN, "mqtt-spool status has why");
    }
    fputs("\x1b[J", stream);
}
