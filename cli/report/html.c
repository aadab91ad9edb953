/* SPDX-License-Identifier: MIT */
/*
 * html.c - texts, numbers and times on a page of HTML
 */
#include "cli/report/html.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"

static const char *reference_of(uint8_t byte)
{
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

void html_text(FILE *stream, const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    size_t left = strlen(text);

    while (left > 0) {
        struct text_character character = text_next(at, left);
        const char *reference = reference_of(*at);
        char shown[TEXT_SHOWN_MAX + 1];

        if (reference) {
            fputs(reference, stream);
        } else {
            (void)text_show_character(&character, at, shown);
            fputs(shown, stream);
        }
        at += character.size;
        left -= character.size;
    }
}

void html_format(FILE *stream, const char *format, ...)
{
    char text[2048];
    va_list arguments;

    va_start(arguments, format);
    text_vformat(text, sizeof(text), format, arguments);
    va_end(arguments);
    html_text(stream, text);
}

const char *html_number(uint64_t number, char text[static HTML_TEXT_MAX])
{
    char digits[HTML_TEXT_MAX];
    size_t length = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, number);
    char *to = text;

    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

const char *html_share(uint64_t part, uint64_t whole, char text[static HTML_TEXT_MAX])
{
    double percent = whole == 0 ? 0 : (double)part * 100 / (double)whole;

    if (part == 0 || part == whole)
        (void)snprintf(text, HTML_TEXT_MAX, "%s", part == 0 ? "0 %" : "100 %");
    else if (percent < 0.1)
        (void)snprintf(text, HTML_TEXT_MAX, "< 0.1 %%");
    else
        (void)snprintf(text, HTML_TEXT_MAX, "%.1f %%", percent > 99.9 ? 99.9 : percent);
    return text;
}

const char *
html_time(int64_t wall_ms, int64_t zone_ms, int is_short, char text[static HTML_TEXT_MAX])
{
    int64_t local_ms = wall_ms + zone_ms < 0 ? 0 : wall_ms + zone_ms;
    time_t seconds = (time_t)(local_ms / 1000);
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) || tm.tm_year > 8099)
        (void)snprintf(text, HTML_TEXT_MAX, "after the year 9999");
    else if (is_short && tm.tm_sec == 0)
        (void)strftime(text, HTML_TEXT_MAX, "%Y-%m-%d %H:%M", &tm);
    else
        (void)strftime(text, HTML_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm);
    return text;
}

const char *html_zone(int64_t zone_ms, char text[static HTML_TEXT_MAX])
{
    int minutes = (int)(zone_ms / 60000);

    if (minutes == 0)
        (void)snprintf(text, HTML_TEXT_MAX, "UTC");
    else
        (void)snprintf(text, HTML_TEXT_MAX, "UTC%c%02d:%02d", minutes < 0 ? '-' : '+',
                       abs(minutes) / 60, abs(minutes) % 60);
    return text;
}

void html_put_time(FILE *stream, int64_t wall_ms, int64_t zone_ms)
{
    char local[HTML_TEXT_MAX], utc[CLOCK_TEXT_MAX];

    clock_format(wall_ms, utc);
    fprintf(stream, "<time datetime=\"%s\">%s</time>", utc,
            html_time(wall_ms, zone_ms, 0, local));
}
