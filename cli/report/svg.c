/* SPDX-License-Identifier: MIT */
/*
 * svg.c - one value for each step of time, as a chart
 *
 * Coordinates: a step is SVG_STEP wide, the plot is SVG_HEIGHT high, and y is 0 at the top.
 */
#include "cli/report/svg.h"

#include <inttypes.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/report/html.h"

#define SVG_STEP        10
#define SVG_HEIGHT      1000
#define SVG_LEAST       8
#define SVG_TICKS       7
#define SVG_STEPS_LEAST 12

/* Few steps take the left part of a plot that has room for more. */
static size_t shown_steps(const struct buckets *buckets)
{
    return buckets->count < SVG_STEPS_LEAST ? SVG_STEPS_LEAST : buckets->count;
}

static uint64_t greatest(const struct svg_chart *chart)
{
    uint64_t most = 0;

    for (size_t i = 0; i < chart->buckets->count; i++) {
        if (chart->values[i] > most)
            most = chart->values[i];
        if (chart->line && chart->line[i] > most)
            most = chart->line[i];
    }
    return most;
}

/* The top of the axis: 1 or an even digit times a power of ten, of the unit that bytes are
 * shown in. */
static uint64_t round_up(uint64_t most, bool is_bytes)
{
    static const uint64_t steps[] = {2, 4, 6, 8, 10};
    uint64_t unit = 1, top;

    while (is_bytes && most / unit >= 1024)
        unit *= 1024;
    top = unit;
    while (top < most && top <= UINT64_MAX / 20) {
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
            if (top * steps[i] >= most)
                return top * steps[i];
        }
        top *= 10;
    }
    return top < most ? most : top;
}

static uint64_t y_of(uint64_t value, uint64_t top)
{
    uint64_t height = (uint64_t)((double)value * SVG_HEIGHT / (double)top + 0.5);

    if (value > 0 && height < SVG_LEAST)
        height = SVG_LEAST; /* one failure among thousands is to be seen */
    return SVG_HEIGHT - height;
}

static void put_columns(FILE *stream, const struct svg_chart *chart, uint64_t top)
{
    int gap = chart->buckets->count > 100 ? 0 : 1;

    fprintf(stream, "<path class=\"%s\" d=\"", chart->colour);
    for (size_t i = 0; i < chart->buckets->count; i++) {
        if (chart->values[i] > 0)
            fprintf(stream, "M%zu %dV%" PRIu64 "h%dV%dz", i * SVG_STEP + (size_t)gap,
                    SVG_HEIGHT, y_of(chart->values[i], top), SVG_STEP - 2 * gap, SVG_HEIGHT);
    }
    fputs("\"/>", stream);
}

/* @is_closed: down to the axis, for an area. */
static void put_steps(FILE *stream,
                      const struct svg_chart *chart,
                      const uint64_t *values,
                      const char *colour,
                      bool is_closed,
                      uint64_t top)
{
    uint64_t last = UINT64_MAX;

    fprintf(stream, "<path class=\"%s\" d=\"", colour);
    if (is_closed)
        fprintf(stream, "M0 %d", SVG_HEIGHT);
    for (size_t i = 0; i < chart->buckets->count; i++) {
        uint64_t y = y_of(values[i], top);

        if (i == 0 && !is_closed)
            fprintf(stream, "M0 %" PRIu64, y);
        else if (y != last)
            fprintf(stream, "H%zuV%" PRIu64, i * SVG_STEP, y);
        last = y;
    }
    fprintf(stream, "H%zu", chart->buckets->count * SVG_STEP);
    if (is_closed)
        fprintf(stream, "V%dz", SVG_HEIGHT);
    fputs("\"/>", stream);
}

static double x_of(const struct buckets *buckets, int64_t wall_ms)
{
    double x = (double)(wall_ms - buckets_start_ms(buckets, 0)) /
               (double)buckets_width_ms(buckets) * SVG_STEP;
    double end = (double)(shown_steps(buckets) * SVG_STEP);

    return x < 0 ? 0 : x > end ? end : x;
}

static void put_bands(FILE *stream, const struct svg_chart *chart)
{
    fputs("<path class=\"band\" d=\"", stream);
    for (size_t i = 0; chart->pauses && i < chart->pauses->count; i++) {
        const struct pause *pause = &chart->pauses->at[i];
        double from = x_of(chart->buckets, pauses_begin_ms(pause));
        double to = x_of(chart->buckets, pause->end_ms);

        if (pauses_counts(pause) && to > from)
            fprintf(stream, "M%.1f 0H%.1fV%dH%.1fz", from, to, SVG_HEIGHT, from);
    }
    fputs("\"/>", stream);
}

static void put_plot(FILE *stream, const struct svg_chart *chart, uint64_t top)
{
    size_t width = shown_steps(chart->buckets) * SVG_STEP;

    fprintf(stream,
            "<svg class=\"plot\" viewBox=\"0 0 %zu %d\" preserveAspectRatio=\"none\" "
            "role=\"img\" aria-labelledby=\"%s-t %s-d\"><title id=\"%s-t\">",
            width, SVG_HEIGHT, chart->id, chart->id, chart->id);
    html_text(stream, chart->title);
    fprintf(stream, "</title><desc id=\"%s-d\">", chart->id);
    html_text(stream, chart->text);
    fputs("</desc>", stream);
    put_bands(stream, chart);
    fprintf(stream, "<path class=\"grid\" d=\"M0 0H%zuM0 %dH%zu\"/>", width, SVG_HEIGHT / 2,
            width);
    if (chart->form == SVG_COLUMNS)
        put_columns(stream, chart, top);
    else
        put_steps(stream, chart, chart->values, chart->colour, true, top);
    if (chart->line)
        put_steps(stream, chart, chart->line, "line", false, top);
    fprintf(stream, "<path class=\"axis\" d=\"M0 %dH%zu\"/></svg>", SVG_HEIGHT,
            chart->buckets->count * SVG_STEP);
}

static void put_value(FILE *stream, uint64_t value, bool is_bytes)
{
    char text[HTML_TEXT_MAX], size[CLI_SIZE_MAX];

    fputs(is_bytes && value > 0 ? cli_size(value, size) : html_number(value, text), stream);
}

static void put_y_axis(FILE *stream, const struct svg_chart *chart, uint64_t top)
{
    fputs("<div class=\"y\" aria-hidden=\"true\"><span>", stream);
    put_value(stream, top, chart->is_bytes);
    fputs("</span><span>", stream);
    if (top % 2 == 0)
        put_value(stream, top / 2, chart->is_bytes);
    fputs("</span><span>0</span></div>", stream);
}

enum tick { TICK_SECOND, TICK_MINUTE, TICK_DAY, TICK_MONTH };

static void
put_tick(FILE *stream, double share, unsigned number, const struct tm *tm, enum tick tick)
{
    char text[HTML_TEXT_MAX] = "";

    if (tick == TICK_SECOND)
        (void)strftime(text, sizeof(text), "%H:%M:%S", tm);
    else if (tick == TICK_MINUTE)
        (void)strftime(text, sizeof(text), "%H:%M", tm);
    else if (tick == TICK_DAY)
        (void)strftime(text, sizeof(text), "%e %b", tm);
    else
        (void)strftime(text, sizeof(text), "%b %Y", tm);
    fprintf(stream, "<span%s style=\"left:%.1f%%\">%s</span>",
            number % 2 == 1 ? " class=\"wide\"" : "", share, text);
}

/* The time that a chart shows: local, ms. Few steps end before the plot does, and no mark is
 * behind them. */
struct axis {
    int64_t begin;
    int64_t end; /* of the last step */
    int64_t span;
};

static bool has_place(double share)
{
    return share >= 3 && share <= 96; /* else it would leave the plot */
}

static double share_of(const struct axis *axis, int64_t at)
{
    return (double)(at - axis->begin) * 100 / (double)axis->span;
}

/* Marks at whole multiples of a step. Return: how many. */
static unsigned put_even_ticks(FILE *stream, const struct axis *axis)
{
    static const int64_t steps[] = {1,     5,     15,    60,     300,    900,    3600,   10800,
                                    21600, 43200, 86400, 172800, 345600, 604800, 1209600};
    size_t i = 0;
    int64_t step;
    unsigned number = 0;

    while (axis->span / (steps[i] * 1000) > SVG_TICKS && steps[i] != 1209600)
        i++;
    step = steps[i] * 1000;
    for (int64_t at = (axis->begin + step - 1) / step * step; at < axis->end; at += step) {
        time_t seconds = (time_t)(at / 1000);
        enum tick tick = step < 60000 ? TICK_SECOND : TICK_MINUTE;
        struct tm tm;

        if (has_place(share_of(axis, at)) && gmtime_r(&seconds, &tm))
            put_tick(stream, share_of(axis, at), number++, &tm,
                     at % BUCKETS_DAY == 0 ? TICK_DAY : tick);
    }
    return number;
}

/* Marks at the first days of months. Return: how many. */
static unsigned put_month_ticks(FILE *stream, const struct axis *axis)
{
    static const int months[] = {1, 2, 3, 6, 12, 24, 60, 120, 600, 2400};
    time_t seconds = (time_t)(axis->begin / 1000);
    size_t i = 0;
    unsigned number = 0;
    struct tm tm;

    while (axis->span / BUCKETS_DAY / 30 / months[i] > SVG_TICKS && months[i] != 2400)
        i++;
    if (!gmtime_r(&seconds, &tm))
        return 0;
    tm = (struct tm){.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = 1};
    tm.tm_mon = tm.tm_mon / months[i] * months[i];
    for (int64_t at = 0; at < axis->end;) {
        at = (int64_t)timegm(&tm) * 1000; /* which also carries the months over */
        if (at < axis->end && has_place(share_of(axis, at)))
            put_tick(stream, share_of(axis, at), number++, &tm, TICK_MONTH);
        tm.tm_mon += months[i];
    }
    return number;
}

/* Below the first step, where no mark lies within so few. */
static void put_begin(FILE *stream, const struct axis *axis)
{
    time_t seconds = (time_t)(axis->begin / 1000);
    struct tm tm;

    if (gmtime_r(&seconds, &tm))
        put_tick(stream, 100.0 / SVG_STEPS_LEAST / 2, 0, &tm,
                 axis->begin % BUCKETS_DAY == 0 ? TICK_DAY : TICK_SECOND);
}

static void put_x_axis(FILE *stream, const struct svg_chart *chart)
{
    const struct buckets *buckets = chart->buckets;
    int64_t width = buckets_width_ms(buckets);
    int64_t begin = buckets_start_ms(buckets, 0) + buckets->zone_ms;
    const struct axis axis = {.begin = begin,
                              .end = begin + (int64_t)buckets->count * width,
                              .span = (int64_t)shown_steps(buckets) * width};
    bool has_months = axis.span > 14 * BUCKETS_DAY * SVG_TICKS;

    fputs("<div class=\"x\" aria-hidden=\"true\">", stream);
    if ((has_months ? put_month_ticks(stream, &axis) : put_even_ticks(stream, &axis)) == 0)
        put_begin(stream, &axis);
    fputs("</div>", stream);
}

void svg_put_chart(FILE *stream, const struct svg_chart *chart)
{
    uint64_t top = round_up(greatest(chart), chart->is_bytes);

    fputs("<div class=\"chart\">", stream);
    put_y_axis(stream, chart, top);
    put_plot(stream, chart, top);
    put_x_axis(stream, chart);
    fputs("</div>\n", stream);
}
