/* SPDX-License-Identifier: MIT */
/*
 * html.h - texts, numbers and times on a page of HTML
 *
 * Invariant: a text from outside that goes through html_text() is text, in an element and in
 * a quoted attribute: it neither ends the one nor begins another, and no character of it is
 * hidden or reorders the page. Numbers have one form everywhere, whatever the locale:
 * 12,345 and 1.5.
 */
#ifndef MQTT_SPOOLD_CLI_REPORT_HTML_H
#define MQTT_SPOOLD_CLI_REPORT_HTML_H

#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"

#define HTML_TEXT_MAX 64

/* The visible form of text.h, with the characters of markup as references. */
void html_text(FILE *stream, const char *text);
/* The text of a format, in the same form; cut at 2 KiB. */
void html_format(FILE *stream, const char *format, ...) PRINTF_LIKE(2, 3);

/* "12,345". Returns @text. */
const char *html_number(uint64_t number, char text[static HTML_TEXT_MAX]);
/* "12.3 %"; less than the last digit shows is "< 0.1 %", and what is not all is never
 * "100.0 %". @whole 0: "0 %". */
const char *html_share(uint64_t part, uint64_t whole, char text[static HTML_TEXT_MAX]);
/* "2026-11-30 10:12:05" of local time; without seconds if they are 0 and @is_short. */
const char *
html_time(int64_t wall_ms, int64_t zone_ms, int is_short, char text[static HTML_TEXT_MAX]);
/* "UTC+01:00". */
const char *html_zone(int64_t zone_ms, char text[static HTML_TEXT_MAX]);
/* An element time: local to read, UTC in its attribute. */
void html_put_time(FILE *stream, int64_t wall_ms, int64_t zone_ms);

#endif
