/* SPDX-License-Identifier: MIT */
/*
 * selected.h - a message that an operator looks at, as an object of JSON
 *
 * The answers to list and show and the verbs of the tool that read the files share
 * this form, with the names of docs/control.md.
 *
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_RECORD_SELECTED_H
#define MQTT_SPOOLD_DAEMON_RECORD_SELECTED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "store/spool.h"

/* Enough for the members of list if no text has more bytes than @text_max: each byte of one may
 * need six characters. */
#define RECORD_SELECTED_MAX(text_max) ((4 * (size_t)(text_max)) * 6 + 1024)

/*
 * record_write_selected() - the members that list has
 * @is_held: its lane is, so that a pending message is "held"
 *
 * Without the braces of the object: the caller opens and closes it, and may add members.
 */
void record_write_selected(struct json *json,
                           const struct spool_selected *selected,
                           bool is_held,
                           size_t text_max);

/*
 * record_write_details() - the members that show has besides, without the payload
 *
 * As above. Binary data is in base64. What is not a sound property is left out, and so is all
 * that follows it.
 */
void record_write_details(struct json *json, const struct spool_selected *selected);

#endif
