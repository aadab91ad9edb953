/* SPDX-License-Identifier: MIT */
/*
 * packet_ids.c - the set of packet ids of QoS 2 that a client has not released
 *
 * A bit for each of the 65,536: neither a client nor a session can make it grow.
 */
#include "daemon/ingress/packet_ids.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IDS_BYTES ((size_t)65536 / 8)

int packet_ids_reserve(struct packet_ids *ids)
{
    if (!ids->bits)
        ids->bits = calloc(1, IDS_BYTES);
    return ids->bits ? 0 : -ENOMEM;
}

void packet_ids_add(struct packet_ids *ids, uint16_t id)
{
    assert(ids->bits);
    ids->count += !packet_ids_has(ids, id);
    ids->bits[id / 8] |= (uint8_t)(1U << id % 8);
}

void packet_ids_remove(struct packet_ids *ids, uint16_t id)
{
    if (!packet_ids_has(ids, id))
        return;
    ids->count--;
    ids->bits[id / 8] &= (uint8_t) ~(1U << id % 8);
}

bool packet_ids_has(const struct packet_ids *ids, uint16_t id)
{
    return ids->bits && (ids->bits[id / 8] & 1U << id % 8) != 0;
}

void packet_ids_clear(struct packet_ids *ids)
{
    if (ids->bits)
        memset(ids->bits, 0, IDS_BYTES);
    ids->count = 0;
}

void packet_ids_done(struct packet_ids *ids)
{
    free(ids->bits);
    *ids = (struct packet_ids){0};
}
