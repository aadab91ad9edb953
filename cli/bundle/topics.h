/* SPDX-License-Identifier: MIT */
/*
 * topics.h - a number in the place of each topic
 *
 * The same topic has the same number everywhere in one bundle. A hash could be guessed from a
 * list of likely topics; a number cannot.
 */
#ifndef MQTT_SPOOLD_CLI_BUNDLE_TOPICS_H
#define MQTT_SPOOLD_CLI_BUNDLE_TOPICS_H

#include <stddef.h>

/* More are all shown as one. */
enum { TOPICS_MAX = 4096, TOPICS_NAME_MAX = 32 };

struct topics {
    char *all[TOPICS_MAX]; /* owned */
    size_t count;
};

/* "topic-N" for @topic, of @size bytes; "" stays "". */
void topics_name(struct topics *topics,
                 const char *topic,
                 size_t size,
                 char ret[static TOPICS_NAME_MAX]);
void topics_done(struct topics *topics);

#endif
