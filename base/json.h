/* SPDX-License-Identifier: MIT */
/*
 * json.h - writing JSON into fixed memory
 *
 * Only a writer: the tool reads JSON, with a library. Commas are placed by the
 * writer itself. A character that text.h never shows as it is becomes \uXXXX, or
 * a pair of them above U+FFFF: a parser gets the original, and a terminal gets
 * nothing that it would obey. Each byte that is not UTF-8 becomes U+FFFD.
 *
 * Invariant: unless failed is set, which says that the memory was too small, the
 * output is valid JSON as far as it goes. The error is sticky. The memory is the
 * caller's. Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_JSON_H
#define MQTT_SPOOLD_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json {
    char *start;
    char *at;
    char *end;
    bool needs_comma;
    bool failed;
};

void json_init(struct json *json, char *memory, size_t size);
/* Length so far; the text is not terminated. */
size_t json_used(const struct json *json);

/* @name: NULL inside arrays and at the top; a literal of the program, not escaped. */
void json_open_object(struct json *json, const char *name);
void json_close_object(struct json *json);
void json_open_array(struct json *json, const char *name);
void json_close_array(struct json *json);
void json_text(struct json *json, const char *name, const char *text);
void json_bytes(struct json *json, const char *name, const void *data, size_t size);
/* A text in base64 with padding: four characters for three bytes. */
void json_base64(struct json *json, const char *name, const void *data, size_t size);
void json_signed(struct json *json, const char *name, int64_t value);
void json_unsigned(struct json *json, const char *name, uint64_t value);
/* One decimal, for rates. */
void json_decimal(struct json *json, const char *name, double value);
void json_bool(struct json *json, const char *name, bool value);
/* null. Not called json_null(): libjansson has one, and the tool links both. */
void json_null_value(struct json *json, const char *name);
/* @text as it is, for instance a newline between objects; no comma follows it. */
void json_raw(struct json *json, const char *text);
/* @text: JSON that a parser has accepted. Written on one line: the same values, with the
 * escapes of this writer. */
void json_verbatim(struct json *json, const char *text);

#endif
