/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - where well-formed UTF-8 ends
 *
 * Used to show text (text.h) and to check it (topic.c, config, the link seam). Thread: any.
 */
#ifndef MQTT_SPOOLD_BASE_UTF8_H
#define MQTT_SPOOLD_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/view.h"

/* Length of the well-formed character at the start of @data (1 to 4); 0: there is none.
 * Overlong forms, surrogates and values above U+10FFFF are not well-formed. */
size_t utf8_character_size(const uint8_t *data, size_t size);

/* Is all of @text well-formed? U+0000 is. */
bool utf8_is_well_formed(struct view text);

/* The code point of the well-formed character at @character, which has @size bytes. */
uint32_t utf8_code_point(const uint8_t *character, size_t size);

#endif
