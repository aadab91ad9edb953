/* SPDX-License-Identifier: MIT */
/*
 * json.c - writing JSON into fixed memory
 *
 * Every function checks the room before it writes and sets the sticky error
 * instead of writing beyond the end; after a failure nothing more is written. It
 * uses neither locale nor printf(), because outcome records are written at the
 * rate of the messages.
 *
 * Commas need one bit: a value or a closing bracket sets needs_comma, an opening
 * bracket clears it, and json_begin() reads it.
 */
#include "base/json.h"

#include <string.h>

#include "base/text.h"
#include "base/view.h"

#define JSON_DIGITS_MAX 20
/* A word of eight such bytes. */
#define JSON_EACH(BYTE) (UINT64_C(0x0101010101010101) * (BYTE))

void json_init(struct json *json, char *memory, size_t size)
{
    *json = (struct json){.start = memory, .at = memory, .end = memory + size};
}

size_t json_used(const struct json *json)
{
    return (size_t)(json->at - json->start);
}

/* Where @size bytes are to be written; NULL: there is no room, or was none before. */
static char *json_reserve(struct json *json, size_t size)
{
    char *at = json->at;

    if (json->failed || size > (size_t)(json->end - at)) {
        json->failed = true;
        return NULL;
    }
    json->at = at + size;
    return at;
}

static void json_put(struct json *json, const void *data, size_t size)
{
    char *at = json_reserve(json, size);

    if (at)
        memcpy(at, data, size);
}

static void json_put_char(struct json *json, char c)
{
    json_put(json, &c, 1);
}

/* One UTF-16 unit. */
static void json_put_unit(struct json *json, unsigned unit)
{
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\', 'u'};

    for (unsigned i = 0; i < 4; i++)
        text[2 + i] = digits[unit >> (12 - 4 * i) & 15];
    json_put(json, text, sizeof(text));
}

static void json_put_escape(struct json *json, uint32_t code)
{
    static const char shorts[] = "btnvfr"; /* 08 to 0D */
    char text[2] = {'\\', (char)code};

    if (code >= 0x08 && code <= 0x0D && code != 0x0B) /* JSON knows no \v */
        text[1] = shorts[code - 0x08];
    else if (code != '"' && code != '\\')
        text[1] = '\0';
    if (text[1] != '\0') {
        json_put(json, text, sizeof(text));
    } else if (code <= 0xFFFF) {
        json_put_unit(json, code);
    } else {
        json_put_unit(json, 0xD800 + ((code - 0x10000) >> 10));
        json_put_unit(json, 0xDC00 + ((code - 0x10000) & 0x3FF));
    }
}

/* One character that is not printable ASCII; returns how much of the source it took. */
static size_t json_put_character(struct json *json, const uint8_t *at, size_t size)
{
    struct text_character character = text_next(at, size);

    if (!character.is_valid)
        json_put(json, "\xEF\xBF\xBD", 3);
    else if (character.is_shown)
        json_put(json, at, character.size);
    else
        json_put_escape(json, character.code);
    return character.size;
}

/* The highest bit is set in the lowest of the eight bytes that is @byte, and in none if no byte
 * is, provided that all are ASCII. */
static uint64_t json_find_byte(uint64_t word, uint8_t byte)
{
    return (word ^ JSON_EACH(byte)) - JSON_EACH(0x01);
}

/* Do all of the eight bytes need no escape? */
static bool json_word_is_plain(uint64_t word)
{
    uint64_t found = word | (word - JSON_EACH(0x20)) | json_find_byte(word, '"') |
                     json_find_byte(word, '\\') | json_find_byte(word, 0x7F);

    return (found & JSON_EACH(0x80)) == 0;
}

/* How many bytes from the start need no escape: the common case is a whole topic at once. */
static size_t json_plain(const uint8_t *data, size_t size)
{
    size_t n = 0;
    uint64_t word;

    for (; size - n >= sizeof(word); n += sizeof(word)) {
        memcpy(&word, data + n, sizeof(word));
        if (!json_word_is_plain(word))
            break;
    }
    if (size - n < sizeof(word)) {
        word = JSON_EACH(' ');
        memcpy(&word, data + n, size - n);
        if (json_word_is_plain(word))
            return size;
    }
    while (n < size && data[n] >= 0x20 && data[n] < 0x7F && data[n] != '"' && data[n] != '\\')
        n++;
    return n;
}

static void json_put_string(struct json *json, const void *data, size_t size)
{
    const uint8_t *at = data;

    json_put_char(json, '"');
    while (size > 0) {
        size_t step = json_plain(at, size);

        if (step > 0) {
            json_put(json, at, step);
        } else if (at[0] == '"' || at[0] == '\\') {
            json_put_escape(json, at[0]);
            step = 1;
        } else {
            step = json_put_character(json, at, size);
        }
        at += step;
        size -= step;
    }
    json_put_char(json, '"');
}

static void json_begin(struct json *json, const char *name)
{
    bool needs_comma = json->needs_comma;

    json->needs_comma = true;
    if (!name) {
        if (needs_comma)
            json_put_char(json, ',');
        return;
    }
    struct view text = view_of_text(name);
    char *at = json_reserve(json, text.size + (needs_comma ? 4 : 3));
    if (!at)
        return;
    if (needs_comma)
        *at++ = ',';
    *at++ = '"';
    memcpy(at, text.data, text.size);
    at[text.size] = '"';
    at[text.size + 1] = ':';
}

static void json_open(struct json *json, const char *name, char bracket)
{
    json_begin(json, name);
    json_put_char(json, bracket);
    json->needs_comma = false;
}

static void json_close(struct json *json, char bracket)
{
    json_put_char(json, bracket);
    json->needs_comma = true;
}

void json_open_object(struct json *json, const char *name)
{
    json_open(json, name, '{');
}

void json_close_object(struct json *json)
{
    json_close(json, '}');
}

void json_open_array(struct json *json, const char *name)
{
    json_open(json, name, '[');
}

void json_close_array(struct json *json)
{
    json_close(json, ']');
}

void json_text(struct json *json, const char *name, const char *text)
{
    json_bytes(json, name, text, strlen(text));
}

void json_bytes(struct json *json, const char *name, const void *data, size_t size)
{
    json_begin(json, name);
    json_put_string(json, data, size);
}

void json_base64(struct json *json, const char *name, const void *data, size_t size)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = data;

    json_begin(json, name);
    json_put_char(json, '"');
    for (; size > 0; size -= size < 3 ? size : 3, at += 3) {
        unsigned bits = (unsigned)at[0] << 16 | (size > 1 ? (unsigned)at[1] << 8 : 0) |
                        (size > 2 ? at[2] : 0);
        char text[4] = {digits[bits >> 18], digits[bits >> 12 & 63], '=', '='};

        if (size > 1)
            text[2] = digits[bits >> 6 & 63];
        if (size > 2)
            text[3] = digits[bits & 63];
        json_put(json, text, sizeof(text));
    }
    json_put_char(json, '"');
}

static void json_put_number(struct json *json, uint64_t value)
{
    char digits[JSON_DIGITS_MAX];
    size_t at = sizeof(digits);

    if (value < 10) { /* most are */
        json_put_char(json, (char)('0' + value));
        return;
    }
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    json_put(json, digits + at, sizeof(digits) - at);
}

void json_signed(struct json *json, const char *name, int64_t value)
{
    json_begin(json, name);
    if (value < 0)
        json_put_char(json, '-');
    json_put_number(json, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void json_unsigned(struct json *json, const char *name, uint64_t value)
{
    json_begin(json, name);
    json_put_number(json, value);
}

void json_decimal(struct json *json, const char *name, double value)
{
    double size = value < 0 ? -value : value;
    uint64_t tenths;

    if (!(size < 1e18)) { /* not a number, or too large for tenths: JSON has no form for it */
        json_null_value(json, name);
        return;
    }
    tenths = (uint64_t)(size * 10 + 0.5);
    json_begin(json, name);
    if (value < 0 && tenths > 0)
        json_put_char(json, '-');
    json_put_number(json, tenths / 10);
    json_put_char(json, '.');
    json_put_char(json, (char)('0' + tenths % 10));
}

void json_bool(struct json *json, const char *name, bool value)
{
    json_begin(json, name);
    json_put(json, value ? "true" : "false", value ? 4 : 5);
}

void json_null_value(struct json *json, const char *name)
{
    json_begin(json, name);
    json_put(json, "null", 4);
}

void json_raw(struct json *json, const char *text)
{
    json_put(json, text, strlen(text));
    json->needs_comma = false;
}

void json_verbatim(struct json *json, const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    size_t size = strlen(text);

    while (size > 0) {
        size_t step = 1;

        if (at[0] < 0x20)
            json_put_char(json, ' '); /* space between members: strings hold none */
        else
            step = json_put_character(json, at, size);
        at += step;
        size -= step;
    }
    json->needs_comma = false;
}
