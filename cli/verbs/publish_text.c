/* SPDX-License-Identifier: MIT */
/*
 * publish_text.c - which texts MQTT and libmosquitto take
 */
#include "cli/cli.h"
#include "cli/verbs/publish-private.h"

#include <mosquitto.h>
#include <stdint.h>
#include <string.h>
#include <sysexits.h>

/* The library keeps lengths in 16 bits and cuts off the rest without an error. */
bool publish_is_too_long(const char *text)
{
    return text && strlen(text) > UINT16_MAX;
}

/* U+0001 to U+001F and U+007F to U+009F, which MQTT lets the library refuse in any text. */
bool publish_has_control(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7F || (at[0] == 0xC2 && at[1] >= 0x80 && at[1] <= 0x9F))
            return true;
    }
    return false;
}

int publish_check_topic(const char *topic)
{
    if (publish_has_control(topic)) {
        cli_error("the topic is not valid: it has a control character");
        return EX_DATAERR;
    }
    if (*topic != '\0' && strlen(topic) <= UINT16_MAX &&
        mosquitto_pub_topic_check(topic) == MOSQ_ERR_SUCCESS &&
        mosquitto_validate_utf8(topic, (int)strlen(topic)) == MOSQ_ERR_SUCCESS)
        return EX_OK;
    cli_error(
        "the topic is not valid: 1 to 65535 bytes of UTF-8, without the wildcards + and #");
    return EX_DATAERR;
}
