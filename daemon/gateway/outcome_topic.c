/* SPDX-License-Identifier: MIT */
/*
 * outcome_topic.c - the topics of outcomes
 *
 * Invariant: what comes of it is a topic name. A client id may hold what a topic name
 * must not: then '_' stands for it, in a topic that only an administrator is sent.
 */
#include "daemon/gateway/outcome_topic.h"

#include <stdio.h>
#include <string.h>

enum outcome_kind outcome_kind_of(const struct spool_record *record)
{
    return record->outcome == SPOOL_DELIVERED ? OUTCOME_DELIVERY : OUTCOME_FAILURE;
}

const char *outcome_prefix(enum outcome_kind kind)
{
    return kind == OUTCOME_DELIVERY ? SUBSCRIPTIONS_DELIVERED : SUBSCRIPTIONS_OUTCOME;
}

struct view outcome_topic(enum outcome_kind kind,
                          struct view client_id,
                          char text[static OUTCOME_TOPIC_MAX])
{
    const char *prefix = outcome_prefix(kind);
    int size = snprintf(text, OUTCOME_TOPIC_MAX, "%s%.*s", prefix, (int)client_id.size,
                        view_chars(client_id));
    size_t used = (size_t)size < OUTCOME_TOPIC_MAX ? (size_t)size : OUTCOME_TOPIC_MAX - 1;

    for (size_t i = strlen(prefix); i < used; i++) {
        if (text[i] == '+' || text[i] == '#')
            text[i] = '_';
    }
    return view_of(text, used);
}
