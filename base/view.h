/* SPDX-License-Identifier: MIT */
/*
 * view.h - borrowed bytes
 *
 * A view owns nothing. The function that returns it documents how long its bytes
 * stay valid. data may be NULL if size is 0.
 */
#ifndef MQTT_SPOOLD_BASE_VIEW_H
#define MQTT_SPOOLD_BASE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct view {
    const uint8_t *data;
    size_t size;
};

static inline struct view view_of(const void *data, size_t size)
{
    return (struct view){.data = data, .size = size};
}

/* The bytes as characters, without a terminating NUL. */
static inline const char *view_chars(struct view view)
{
    return (const char *)view.data;
}

/* Without the terminating NUL. */
static inline struct view view_of_text(const char *text)
{
    return view_of(text, strlen(text));
}

/* Without its first @size bytes, which it has. */
static inline struct view view_skip(struct view view, size_t size)
{
    return view_of(view.data + size, view.size - size);
}

/* Byte by byte. */
static inline bool view_equals(struct view a, struct view b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Are the bytes those of @text, without its NUL? */
static inline bool view_is(struct view view, const char *text)
{
    return view_equals(view, view_of_text(text));
}

#endif
