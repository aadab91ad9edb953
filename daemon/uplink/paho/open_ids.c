/* SPDX-License-Identifier: MIT */
/*
 * open_ids.c - the packet ids that await an answer on one connection
 *
 * Invariant: at least half of the places are empty, and none between the home of an id
 * and its place is: so a search ends soon, and at an empty place the id is not open.
 */
#include "daemon/uplink/paho/open_ids.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_MIN 64u
#define ID_MAX   UINT16_MAX
/* 2^16 by the golden ratio: multiples of it lie apart, however many they are. */
#define SPREAD 40503u

/* Ids of one after the other get homes with places between them: side by side they would be one
 * run without a gap, which a removal looks through to its end. */
static size_t home_of(const struct open_ids *ids, uint16_t id)
{
    return (uint16_t)(id * SPREAD) * ids->size >> 16;
}

/* The place of @id, or the empty one where it would be. */
static struct open_id *place_of(const struct open_ids *ids, uint16_t id)
{
    size_t at = home_of(ids, id);

    while (ids->places[at].id != 0 && ids->places[at].id != id)
        at = (at + 1) & (ids->size - 1);
    return &ids->places[at];
}

struct open_id *open_ids_find(const struct open_ids *ids, uint16_t id)
{
    if (ids->size == 0 || id == 0)
        return NULL;
    struct open_id *place = place_of(ids, id);
    return place->id == id ? place : NULL;
}

static int grow(struct open_ids *ids)
{
    struct open_ids grown = {.size = ids->size > 0 ? ids->size * 2 : SIZE_MIN,
                             .count = ids->count};

    grown.places = calloc(grown.size, sizeof(*grown.places));
    if (!grown.places)
        return -1;
    for (size_t i = 0; i < ids->size; i++) {
        if (ids->places[i].id != 0)
            *place_of(&grown, ids->places[i].id) = ids->places[i];
    }
    free(ids->places);
    *ids = grown;
    return 0;
}

struct open_id *open_ids_add(struct open_ids *ids, uint16_t id, enum open_id_state state)
{
    if (ids->count * 2 >= ids->size && grow(ids) < 0)
        return NULL;
    struct open_id *place = place_of(ids, id);
    ids->count += place->id == 0;
    *place = (struct open_id){.id = id, .state = state, .end = UINT64_MAX};
    return place;
}

/* What follows without a gap moves up, unless it would leave its home. */
void open_ids_remove(struct open_ids *ids, struct open_id *open)
{
    size_t mask = ids->size - 1;
    size_t hole = (size_t)(open - ids->places);

    for (size_t at = (hole + 1) & mask; ids->places[at].id != 0; at = (at + 1) & mask) {
        size_t from_home = (at - home_of(ids, ids->places[at].id)) & mask;

        if (from_home < ((at - hole) & mask))
            continue;
        ids->places[hole] = ids->places[at];
        hole = at;
    }
    ids->places[hole].id = 0;
    ids->count--;
}

void open_ids_clear(struct open_ids *ids)
{
    if (ids->size > 0)
        memset(ids->places, 0, ids->size * sizeof(*ids->places));
    ids->count = 0;
}

uint16_t open_ids_next(const struct open_ids *ids, uint16_t last)
{
    uint16_t id = last;

    if (ids->count >= ID_MAX)
        return 0;
    do {
        id = id < ID_MAX ? (uint16_t)(id + 1) : 1;
    } while (open_ids_find(ids, id));
    return id;
}

void open_ids_free(struct open_ids *ids)
{
    free(ids->places);
    *ids = (struct open_ids){.size = 0};
}
