/* SPDX-License-Identifier: MIT */
/*
 * text.h - how text from outside is escaped where it is shown
 *
 * Client ids, topics, references, texts of the broker, file names and arguments
 * are chosen by others. A terminal obeys some of their characters, and hides or
 * reorders others. This is the only place that decides which: log, journal, pages
 * of the tool and JSON use it. Two forms exist:
 *
 *   visible  \x1B for C0, DEL and each byte that is not UTF-8, \u{202E} for the
 *            other hidden characters; a backslash of the text stays as it is
 *   JSON     \u001b, \u202e, a pair of surrogates above U+FFFF (json.h); a parser
 *            gets the original
 *
 * Invariant: the visible form is UTF-8 without any hidden character, and a cut
 * never splits a character or an escape. Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_TEXT_H
#define MQTT_SPOOLD_BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"

/* \u{10FFFF} and the end. */
#define TEXT_SHOWN_MAX 11

struct text_character {
    uint32_t code; /* the code point, or the byte that is not UTF-8 */
    size_t size;   /* in the source, at least 1 */
    bool is_valid; /* it is well-formed UTF-8 */
    bool is_shown; /* as it is; else an escape stands for it */
};

/* Is @code always escaped? These are control and format characters, separators of lines and
 * paragraphs, surrogates and non-characters. */
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

/* snprintf() that cuts at a whole character, also where a part of it was cut to the same
 * size. */
void text_format(char *text, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);

/* text_format() behind what @text holds already; nothing is added to a full one. */
void text_append(char *text, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);
void text_vformat(char *text, size_t size, const char *format, va_list arguments)
    PRINTF_LIKE(3, 0);

/* The precision for "%.*s" that prints at most @max bytes of @text, whole characters only. */
int text_prefix_size(const char *text, size_t max);

/* The size of @text, which was cut after @size bytes, without the partial character at its
 * end. */
size_t text_whole_size(const char *text, size_t size);

#endif
