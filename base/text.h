/* SPDX-License-Identifier: MIT */
/*
 * text.h - what a text from outside looks like where it is shown
 *
 * Client ids, topics, references, texts of the broker, file names and arguments
 * are chosen by others. A terminal obeys some of their characters, and hides or
 * reorders others. This is the one place that says which: log, journal, pages of
 * the tool and JSON ask here. Two forms exist:
 *
 *   visible  \x1B for C0, DEL and each byte that is not UTF-8, \u{202E} for all
 *            others; a backslash of the text stays as it is
 *   JSON     \u001b, \u202e, a pair of surrogates above U+FFFF (json.h); a parser
 *            gets the original
 *
 * libc only. Any thread.
 */
#ifndef MQTT_SPOOLD_BASE_TEXT_H
#define MQTT_SPOOLD_BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/cleanup.h"

/* \u{10FFFF} and the end. */
#define TEXT_SHOWN_MAX 11

struct text_character {
    uint32_t code; /* the code point, or the byte that is not UTF-8 */
    size_t size;   /* in the source, at least 1 */
    bool is_valid; /* it is well-formed UTF-8 */
    bool is_shown; /* as it is; else an escape stands for it */
};

/* Is it never shown as it is: a control or format character, a separator of lines or paragraphs, a
 * surrogate, a non-character? */
bool text_is_hidden(uint32_t code);

/* The character at the start of @data. @size: at least 1. */
struct text_character text_next(const uint8_t *data, size_t size);

/* The visible form of the character that text_next() found at @data, terminated. Returns its
 * length. */
size_t text_show_character(const struct text_character *character,
                           const uint8_t *data,
                           char *ret_shown);

/*
 * text_show() - the visible form of @data in @text, terminated
 * @text_size: at least 1; what does not fit is cut, never within a character or
 *             an escape
 *
 * Return: how many bytes of @data it stands for.
 */
size_t text_show(char *text, size_t text_size, const void *data, size_t size);

/* The visible form, on a stream. */
void text_put(FILE *stream, const char *text);

/* snprintf() that cuts at a whole character, also where a part of it was cut to the same size. */
void text_format(char *text, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);
void text_vformat(char *text, size_t size, const char *format, va_list arguments)
    PRINTF_LIKE(3, 0);

/* How much of @text a "%.*s" may print that prints no more than @max bytes. */
int text_prefix_size(const char *text, size_t max);

/* How much of a text that was cut after @size bytes is left without the part of a character that
 * it may end in. */
size_t text_whole_size(const char *text, size_t size);

#endif
