/* SPDX-License-Identifier: MIT */
/*
 * import_message.c - a line of export as a message that can be published
 *
 * Members that are not known are passed over: a later version may write more. id, lane, client,
 * uid and times are those of the old spool; the new one has its own.
 */
#include "cli/verbs/import_message.h"

#include <errno.h>
#include <mqtt_protocol.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { MS_PER_S = 1000 };

static int invalid(char *error, const char *name, const char *right)
{
    text_format(error, IMPORT_ERROR_MAX, "\"%s\" is not %s", name, right);
    return -EBADMSG;
}

/* ---- base64 ---- */

static int value_of_digit(char digit)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = digit != '\0' ? strchr(digits, digit) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Return: 0; -EBADMSG; -ENOMEM. */
static int decode_base64(const char *text, uint8_t **ret, size_t *ret_size)
{
    size_t length = strlen(text);
    size_t padding = 0;

    while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
        padding++;
    if (length % 4 != 0)
        return -EBADMSG;
    uint8_t *bytes = malloc(length / 4 * 3 + 1);
    size_t size = 0;
    if (!bytes)
        return -ENOMEM;
    for (size_t i = 0; i < length; i += 4) {
        uint32_t group = 0;

        for (size_t j = i; j < i + 4; j++) {
            int value = j >= length - padding ? 0 : value_of_digit(text[j]);

            if (value < 0) {
                free(bytes);
                return -EBADMSG;
            }
            group = group << 6 | (uint32_t)value;
        }
        bytes[size++] = (uint8_t)(group >> 16);
        bytes[size++] = (uint8_t)(group >> 8);
        bytes[size++] = (uint8_t)group;
    }
    *ret = bytes;
    *ret_size = size - padding;
    return 0;
}

static int
take_base64(const json_t *value, const char *name, uint8_t **ret, size_t *ret_size, char *error)
{
    int r = json_is_string(value) ? decode_base64(json_string_value(value), ret, ret_size)
                                  : -EBADMSG;

    return r == -EBADMSG ? invalid(error, name, "base64") : r;
}

/* ---- properties ---- */

static int of_library(int result, char *error, const char *name)
{
    if (result == MOSQ_ERR_SUCCESS)
        return 0;
    return result == MOSQ_ERR_NOMEM ? -ENOMEM : invalid(error, name, "valid MQTT");
}

static int add_text(struct import_message *message, int property, const char *name, char *error)
{
    const json_t *value = json_object_get(message->object, name);

    if (!value)
        return 0;
    if (!json_is_string(value) || json_string_length(value) > UINT16_MAX)
        return invalid(error, name, "a text of at most 65535 bytes");
    return of_library(
        mosquitto_property_add_string(&message->properties, property, json_string_value(value)),
        error, name);
}

static int add_correlation(struct import_message *message, char *error)
{
    static const char name[] = "correlation_data";
    const json_t *value = json_object_get(message->object, name);
    AUTO_FREE uint8_t *data = NULL;
    size_t size = 0;

    if (!value)
        return 0;
    int r = take_base64(value, name, &data, &size, error);
    if (r != 0)
        return r;
    if (size > UINT16_MAX)
        return invalid(error, name, "at most 65535 bytes");
    return of_library(mosquitto_property_add_binary(&message->properties,
                                                    MQTT_PROP_CORRELATION_DATA, data,
                                                    (uint16_t)size),
                      error, name);
}

static int add_format(struct import_message *message, char *error)
{
    static const char name[] = "payload_format";
    const json_t *value = json_object_get(message->object, name);

    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > 1)
        return invalid(error, name, "0 or 1");
    return of_library(mosquitto_property_add_byte(&message->properties,
                                                  MQTT_PROP_PAYLOAD_FORMAT_INDICATOR,
                                                  (uint8_t)json_integer_value(value)),
                      error, name);
}

/* Up to the next second, because MQTT counts in them. */
static int add_expiry(struct import_message *message, char *error)
{
    static const char name[] = "expiry_ms";
    const json_t *value = json_object_get(message->object, name);

    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) / MS_PER_S >= UINT32_MAX)
        return invalid(error, name, "a number of milliseconds");
    message->has_expired = json_integer_value(value) == 0;
    uint32_t seconds = (uint32_t)((json_integer_value(value) + MS_PER_S - 1) / MS_PER_S);
    return of_library(mosquitto_property_add_int32(&message->properties,
                                                   MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, seconds),
                      error, name);
}

static int add_user_properties(struct import_message *message, char *error)
{
    static const char name[] = "user_properties";
    const json_t *list = json_object_get(message->object, name);
    const json_t *pair;
    size_t i;
    int r = 0;

    if (list && !json_is_array(list))
        return invalid(error, name, "an array");
    json_array_foreach(list, i, pair) {
        const char *key = json_string_value(json_array_get(pair, 0));
        const char *value = json_string_value(json_array_get(pair, 1));

        if (!key || !value || strlen(key) > UINT16_MAX || strlen(value) > UINT16_MAX)
            return invalid(error, name, "an array of pairs of texts");
        r = of_library(mosquitto_property_add_string_pair(&message->properties,
                                                          MQTT_PROP_USER_PROPERTY, key, value),
                       error, name);
        if (r != 0)
            return r;
    }
    return 0;
}

static int add_properties(struct import_message *message, char *error)
{
    int r = add_format(message, error);

    if (r == 0)
        r = add_text(message, MQTT_PROP_CONTENT_TYPE, "content_type", error);
    if (r == 0)
        r = add_text(message, MQTT_PROP_RESPONSE_TOPIC, "response_topic", error);
    if (r == 0)
        r = add_correlation(message, error);
    if (r == 0)
        r = add_expiry(message, error);
    return r == 0 ? add_user_properties(message, error) : r;
}

/* ---- the line ---- */

static int take_members(struct import_message *message, char *error)
{
    const json_t *qos = json_object_get(message->object, "qos");
    int r;

    message->topic = json_string_value(json_object_get(message->object, "topic"));
    if (!message->topic || message->topic[0] == '\0')
        return invalid(error, "topic", "a topic");
    if (qos &&
        (!json_is_integer(qos) || json_integer_value(qos) < 0 || json_integer_value(qos) > 2))
        return invalid(error, "qos", "0, 1 or 2");
    message->qos = qos ? (unsigned)json_integer_value(qos) : 1;
    message->is_retained = json_is_true(json_object_get(message->object, "retain"));
    r = take_base64(json_object_get(message->object, "payload"), "payload", &message->payload,
                    &message->payload_size, error);
    return r == 0 ? add_properties(message, error) : r;
}

int import_message_parse(struct view line,
                         struct import_message *ret,
                         char error[static IMPORT_ERROR_MAX])
{
    struct import_message message = {0};
    json_error_t json_error;
    int r;

    message.object =
        json_loadb(view_chars(line), line.size, JSON_REJECT_DUPLICATES, &json_error);
    if (json_is_object(message.object)) {
        r = take_members(&message, error);
    } else {
        r = -EBADMSG;
        text_format(error, IMPORT_ERROR_MAX, "this is no JSON object: %s",
                    message.object ? "another value" : json_error.text);
    }
    if (r == 0)
        *ret = message;
    else
        import_message_done(&message);
    return r;
}

void import_message_done(struct import_message *message)
{
    mosquitto_property_free_all(&message->properties);
    free(message->payload);
    json_decref(message->object);
    *message = (struct import_message){0};
}
