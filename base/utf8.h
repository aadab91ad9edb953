/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - where well-formed UTF-8 ends
 *
 * Used to show text (text.h) and to check it (topic.c, config). Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_UTF8_H
#define MQTT_SPOOLD_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length of the well-formed character at the start of @data (1 to 4); 0: there is none.
 * Overlong forms, surrogates and values above U+10FFFF are not well-formed. */
size_t utf8_character_size(const uint8_t *data, size_t size);

/* The code point of the well-formed character at @character, which has @size bytes. */
uint32_t utf8_code_point(const uint8_t *character, size_t size);

#endif
