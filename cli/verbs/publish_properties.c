/* SPDX-License-Identifier: MIT */
/*
 * publish_properties.c - the MQTT 5 properties of a message, and what
 * those of its answer say
 */
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/verbs/publish-private.h"
#include "daemon/mqtt/packet.h"

#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static bool has_long_property(const struct publish_options *options)
{
    for (size_t i = 0; i < options->user_property_count; i++) {
        const char *text = options->user_properties[i];
        const char *equals = strchr(text, '=');

        if (equals - text > UINT16_MAX || publish_is_too_long(equals + 1))
            return true;
    }
    return publish_is_too_long(options->content_type) ||
           publish_is_too_long(options->response_topic) ||
           publish_is_too_long(options->correlation) || publish_is_too_long(options->ref);
}

static int add_user_property(mosquitto_property **properties, const char *text)
{
    const char *equals = strchr(text, '=');
    char *name = strndup(text, (size_t)(equals - text));
    int result;

    if (!name)
        return MOSQ_ERR_NOMEM;
    result = mosquitto_property_add_string_pair(properties, MQTT_PROP_USER_PROPERTY, name,
                                                equals + 1);
    free(name);
    return result;
}

/* Adds a text property that was given; @result keeps the first failure. */
static void add_text(struct publisher *publisher, int property, const char *text, int *result)
{
    if (*result == MOSQ_ERR_SUCCESS && text)
        *result = mosquitto_property_add_string(&publisher->properties, property, text);
}

int publish_make_properties(struct publisher *publisher)
{
    const struct publish_options *options = publisher->options;
    mosquitto_property **list = &publisher->properties;
    int result = has_long_property(options) ? MOSQ_ERR_INVAL : MOSQ_ERR_SUCCESS;

    add_text(publisher, MQTT_PROP_CONTENT_TYPE, options->content_type, &result);
    add_text(publisher, MQTT_PROP_RESPONSE_TOPIC, options->response_topic, &result);
    if (result == MOSQ_ERR_SUCCESS && options->expiry_s > 0)
        result = mosquitto_property_add_int32(list, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
                                              options->expiry_s);
    if (result == MOSQ_ERR_SUCCESS && options->is_utf8)
        result = mosquitto_property_add_byte(list, MQTT_PROP_PAYLOAD_FORMAT_INDICATOR, 1);
    if (result == MOSQ_ERR_SUCCESS && options->correlation)
        result = mosquitto_property_add_binary(list, MQTT_PROP_CORRELATION_DATA,
                                               options->correlation,
                                               (uint16_t)strlen(options->correlation));
    for (size_t i = 0; result == MOSQ_ERR_SUCCESS && i < options->user_property_count; i++)
        result = add_user_property(list, options->user_properties[i]);
    if (result == MOSQ_ERR_SUCCESS && options->ref)
        result = mosquitto_property_add_string_pair(list, MQTT_PROP_USER_PROPERTY, "spool-ref",
                                                    options->ref);
    if (result == MOSQ_ERR_SUCCESS)
        result = mosquitto_property_check_all(CMD_PUBLISH, *list);
    if (result == MOSQ_ERR_SUCCESS && options->response_topic) /* not checked by check_all */
        result = mosquitto_pub_topic_check(options->response_topic);
    if (result == MOSQ_ERR_SUCCESS)
        return EX_OK;
    cli_error("the properties of the message are not valid MQTT (%s): each is UTF-8 of at most "
              "65535 bytes without control characters, and a response topic has no wildcards",
              mosquitto_strerror(result));
    return result == MOSQ_ERR_NOMEM ? EX_UNAVAILABLE : EX_DATAERR;
}

/* The value of the first user property @wanted, free with free(); NULL: there is none. */
static char *read_user_property(const mosquitto_property *properties, const char *wanted)
{
    const mosquitto_property *at = properties;
    bool skip_first = false;

    while (at) {
        AUTO_FREE char *name = NULL;
        char *value = NULL;

        at = mosquitto_property_read_string_pair(at, MQTT_PROP_USER_PROPERTY, &name, &value,
                                                 skip_first);
        skip_first = true;
        if (at && name && value && strcmp(name, wanted) == 0)
            return value;
        free(value);
    }
    return NULL;
}

uint64_t publish_read_id(const mosquitto_property *properties)
{
    AUTO_FREE char *value = read_user_property(properties, "spool-id");
    uint64_t id = 0;

    if (value)
        (void)cli_parse_number(value, 1, INT64_MAX, &id); /* not a number: no id */
    return id;
}

bool publish_is_too_large(const mosquitto_property *properties)
{
    AUTO_FREE char *value = read_user_property(properties, PACKET_REFUSED_NAME);

    return value && strcmp(value, PACKET_REFUSED_TOO_LARGE) == 0;
}
