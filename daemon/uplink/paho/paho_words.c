/* SPDX-License-Identifier: MIT */
/*
 * paho_words.c - reads the Reason String and the Server Reference that Paho MQTT C drops
 *
 * Paho reports a refused CONNECT by its code alone (upstream: none known). It reads the
 * properties of each packet in one function, which is replaced here at link time: the texts are
 * copied and everything else is as before. docs/paho.md has when it can be removed.
 *
 * Invariant: what is kept is bounded, and the newest packet with a text replaces both.
 */
#include "daemon/uplink/paho/paho_words.h"

#include <pthread.h>
#include <stdio.h>

#include "base/text.h"

static struct {
    pthread_mutex_t mutex;
    struct paho_words words;
} newest = {.mutex = PTHREAD_MUTEX_INITIALIZER};

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

void paho_words_take(struct paho_words *ret)
{
    (void)pthread_mutex_lock(&newest.mutex);
    *ret = newest.words;
    newest.words = (struct paho_words){.reason = ""};
    (void)pthread_mutex_unlock(&newest.mutex);
}

#ifndef PAHO_LINK_SHARED

int __real_MQTTProperties_read(MQTTProperties *properties, char **data, char *end);
int __wrap_MQTTProperties_read(MQTTProperties *properties, char **data, char *end);

int __wrap_MQTTProperties_read(MQTTProperties *properties, char **data, char *end)
{
    struct paho_words words;
    int rc = __real_MQTTProperties_read(properties, data, end);

    if (rc != 1 || properties->count == 0)
        return rc;
    paho_words_of(properties, &words);
    if (words.reason[0] != '\0' || words.reference[0] != '\0') {
        (void)pthread_mutex_lock(&newest.mutex);
        newest.words = words;
        (void)pthread_mutex_unlock(&newest.mutex);
    }
    return rc;
}

#endif
