/* SPDX-License-Identifier: MIT */
/*
 * json.h - writing JSON into fixed memory
 *
 * Only a writer: what reads JSON is the tool, and that uses a library. Commas
 * are placed by the writer itself. What text.h does not show as it is becomes
 * \uXXXX, a pair of them above U+FFFF: a parser gets the original, and no page or
 * terminal gets more than text. Each byte that is not UTF-8 becomes U+FFFD, so
 * that the output is always valid.
 * The error is sticky: failed is set when the memory was too small.
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
    bool comma;
    bool failed;
};

void json_init(struct json *json, char *memory, size_t size);
/* Length so far; the text is not terminated. */
size_t json_used(const struct json *json);

/* @name is NULL inside arrays and at the top. It is a literal of ours and not escaped. */
void json_open_object(struct json *json, const char *name);
void json_close_object(struct json *json);
void json_open_array(struct json *json, const char *name);
void json_close_array(struct json *json);
void json_text(struct json *json, const char *name, const char *text);
void json_bytes(struct json *json, const char *name, const void *data, size_t size);
void json_signed(struct json *json, const char *name, int64_t value);
void json_unsigned(struct json *json, const char *name, uint64_t value);
/* One decimal, for rates. */
void json_decimal(struct json *json, const char *name, double value);
void json_bool(struct json *json, const char *name, bool value);
/* Not json_null: libjansson has one, and the tool links both. */
void json_null_value(struct json *json, const char *name);
/* Bytes as they are, a newline between objects for instance; no comma follows them. */
void json_raw(struct json *json, const char *text);
/* JSON of another program that a parser accepted, on one line: the same values, with the escapes
 * of this writer. */
void json_verbatim(struct json *json, const char *text);

#endif
