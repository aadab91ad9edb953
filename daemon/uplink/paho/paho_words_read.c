/* SPDX-License-Identifier: MIT */
/*
 * paho_words_read.c - reads the Reason String and the Server Reference that Paho MQTT C drops
 *
 * Paho reports a refused CONNECT by its code alone (upstream: none known). It reads the
 * properties of each packet in one function, which is replaced here at link time: the texts are
 * copied and everything else is as before. docs/paho.md has when it can be removed.
 *
 * Invariant: what is kept is bounded, and the newest packet with a text replaces both.
 */
#include "daemon/uplink/paho/paho_words.h"

#include <pthread.h>

static struct {
    pthread_mutex_t mutex;
    struct paho_words words;
} newest = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void paho_words_take(struct paho_words *ret)
{
    (void)pthread_mutex_lock(&newest.mutex);
    *ret = newest.words;
    newest.words = (struct paho_words){.reason = ""};
    (void)pthread_mutex_unlock(&newest.mutex);
}

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
