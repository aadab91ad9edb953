/* SPDX-License-Identifier: MIT */
/*
 * topics.c - a number in the place of each topic
 */
#include "cli/bundle/topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t find(struct topics *topics, const char *topic, size_t size)
{
    size_t i = 0;

    while (i < topics->count &&
           (strncmp(topics->all[i], topic, size) != 0 || topics->all[i][size] != '\0'))
        i++;
    if (i == topics->count && i < TOPICS_MAX) {
        topics->all[i] = strndup(topic, size);
        topics->count += topics->all[i] != NULL;
    }
    return i;
}

void topics_name(struct topics *topics,
                 const char *topic,
                 size_t size,
                 char ret[static TOPICS_NAME_MAX])
{
    size_t number = size > 0 ? find(topics, topic, size) : 0;

    if (size == 0)
        ret[0] = '\0';
    else if (number < topics->count)
        (void)snprintf(ret, TOPICS_NAME_MAX, "topic-%zu", number + 1);
    else
        (void)snprintf(ret, TOPICS_NAME_MAX, "topic-other");
}

void topics_done(struct topics *topics)
{
    for (size_t i = 0; i < topics->count; i++)
        free(topics->all[i]);
    topics->count = 0;
}
