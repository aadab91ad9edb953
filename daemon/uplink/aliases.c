/* SPDX-License-Identifier: MIT */
/*
 * aliases.c - topic aliases of MQTT 5: a number instead of a topic that was sent before
 *
 * Saves the bytes of the topic on a metered line. Topics that are used again and again keep
 * their places against others.
 *
 * Invariant: the topic is left out only after the broker has acknowledged a message of this
 * connection that had both, the topic and the alias. So nothing depends on whether a broker
 * keeps the alias of a message that it refuses, nor on what the library has in its queue.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "daemon/uplink/uplink-private.h"

/* What the property takes. */
#define ALIAS_BYTES 3u
/* A topic that no place has is looked at for one so seldom, and a place has to be found unused
 * so often, that many topics in turn do not drive one another out. */
#define ALIAS_MISSES    16u
#define ALIAS_USES_MAX  8u
#define ALIAS_FNV_START 0x811C9DC5u
#define ALIAS_FNV_PRIME 0x01000193u

void uplink_aliases_begin(struct uplink_aliases *aliases, unsigned maximum)
{
    *aliases = (struct uplink_aliases){.count = maximum < ALIASES_MAX ? maximum : ALIASES_MAX};
}

static uint32_t topic_sum(const char *topic, size_t size)
{
    uint32_t sum = ALIAS_FNV_START;

    for (size_t i = 0; i < size; i++)
        sum = (sum ^ (uint8_t)topic[i]) * ALIAS_FNV_PRIME;
    return sum;
}

static bool is_same_topic(const struct uplink_alias *a, const struct uplink_alias *b)
{
    return a->sum == b->sum && a->size == b->size && memcmp(a->topic, b->topic, a->size) == 0;
}

/* A place for a new topic; NULL: none. Of those that are taken one loses a use at times. */
static struct uplink_alias *find_place(struct uplink_aliases *aliases)
{
    for (unsigned i = 0; i < aliases->count; i++) {
        if (aliases->list[i].size == 0)
            return &aliases->list[i];
    }
    if (++aliases->misses % ALIAS_MISSES != 0)
        return NULL;
    struct uplink_alias *alias = &aliases->list[aliases->hand++ % aliases->count];
    if (alias->is_confirmed && alias->uses == 0)
        return alias;
    if (alias->uses > 0)
        alias->uses--;
    return NULL;
}

static struct uplink_alias_use establish(struct uplink_aliases *aliases,
                                         const struct uplink_alias *topic)
{
    struct uplink_alias *place = find_place(aliases);

    if (!place)
        return (struct uplink_alias_use){.number = 0};
    *place = *topic;
    return (struct uplink_alias_use){.number = (unsigned)(place - aliases->list) + 1};
}

struct uplink_alias_use uplink_alias_choose(struct uplink_aliases *aliases,
                                            const char *topic,
                                            bool may_establish,
                                            uint64_t id)
{
    const struct uplink_alias_use none = {.number = 0};
    struct uplink_alias wanted = {.id = id};
    size_t size = strlen(topic);

    if (aliases->count == 0 || size <= ALIAS_BYTES || size > ALIAS_TOPIC_MAX)
        return none;
    wanted.sum = topic_sum(topic, size);
    wanted.size = (uint16_t)size;
    memcpy(wanted.topic, topic, size);
    for (unsigned i = 0; i < aliases->count; i++) {
        struct uplink_alias *alias = &aliases->list[i];

        if (!is_same_topic(alias, &wanted))
            continue;
        if (!alias->is_confirmed)
            return none;
        if (alias->uses < ALIAS_USES_MAX)
            alias->uses++;
        return (struct uplink_alias_use){.number = i + 1, .omits_topic = true};
    }
    return may_establish ? establish(aliases, &wanted) : none;
}

void uplink_alias_answer(struct uplink_aliases *aliases,
                         unsigned number,
                         uint64_t id,
                         bool is_delivered)
{
    struct uplink_alias *alias = &aliases->list[number - 1];

    if (alias->size == 0 || alias->is_confirmed || alias->id != id)
        return; /* another topic has taken the place */
    if (is_delivered)
        alias->is_confirmed = true;
    else
        alias->size = 0;
}
