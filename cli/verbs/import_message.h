/* SPDX-License-Identifier: MIT */
/*
 * import_message.h - a line of export as a message that can be published
 *
 * Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_VERBS_IMPORT_MESSAGE_H
#define MQTT_SPOOLD_CLI_VERBS_IMPORT_MESSAGE_H

#include <jansson.h>
#include <mosquitto.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"

/* Owns all that it holds; free with import_message_done(). */
struct import_message {
    json_t *object; /* the texts are in it */
    const char *topic;
    uint8_t *payload;
    size_t payload_size;
    unsigned qos;
    bool is_retained;
    bool has_expired;
    mosquitto_property *properties;
};

#define IMPORT_ERROR_MAX 256

/* Return: 0; -EBADMSG: @error says what is wrong; -ENOMEM. */
MUST_CHECK int import_message_parse(struct view line,
                                    struct import_message *ret,
                                    char error[static IMPORT_ERROR_MAX]);
void import_message_done(struct import_message *message);

#endif
