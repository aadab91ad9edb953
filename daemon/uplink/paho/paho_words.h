/* SPDX-License-Identifier: MIT */
/*
 * paho_words.h - the texts in which a broker explains itself: Reason String, Server Reference
 *
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_WORDS_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_WORDS_H

#include <MQTTProperties.h>

/* Longer texts are cut. */
#define PAHO_WORDS_MAX 128

/* "": there is none. As the broker sent them: to be escaped where they are shown. */
struct paho_words {
    char reason[PAHO_WORDS_MAX];    /* Reason String */
    char reference[PAHO_WORDS_MAX]; /* Server Reference */
};

void paho_words_of(MQTTProperties *properties, struct paho_words *ret);
/* Those of the newest packet that had any since the last call; none in a build against the
 * shared library. */
void paho_words_take(struct paho_words *ret);

#endif
