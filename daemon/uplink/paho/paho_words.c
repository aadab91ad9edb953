/* SPDX-License-Identifier: MIT */
/*
 * paho_words.c - the texts in which a broker explains itself, out of the properties of a packet
 */
#include "daemon/uplink/paho/paho_words.h"

#include <stdio.h>

#include "base/text.h"

static void words_copy(char text[static PAHO_WORDS_MAX],
                       MQTTProperties *properties,
                       enum MQTTPropertyCodes code)
{
    char whole[PAHO_WORDS_MAX] = "";
    const MQTTProperty *property = MQTTProperties_getProperty(properties, code);

    if (property)
        (void)snprintf(whole, sizeof(whole), "%.*s", property->value.data.len,
                       property->value.data.data);
    /* Not in the middle of a character. */
    (void)snprintf(text, PAHO_WORDS_MAX, "%.*s", text_prefix_size(whole, PAHO_WORDS_MAX - 2),
                   whole);
}

void paho_words_of(MQTTProperties *properties, struct paho_words *ret)
{
    words_copy(ret->reason, properties, MQTTPROPERTY_CODE_REASON_STRING);
    words_copy(ret->reference, properties, MQTTPROPERTY_CODE_SERVER_REFERENCE);
}
