/* SPDX-License-Identifier: MIT */
/*
 * id_set.c - which ids were seen
 *
 * Chunks are sorted by number. Outcomes come in nearly the order of ids, so the
 * chunk is nearly always the same as before, or a new one at the end; else it
 * is found by halving.
 */
#include "cli/audit/id_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void id_set_done(struct id_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        free(set->chunks[i]);
    free(set->chunks);
    *set = (struct id_set){0};
}

/* Where the chunk is, or belongs. */
static size_t id_set_find(const struct id_set *set, uint64_t number)
{
    size_t low = 0;
    size_t high = set->count;

    if (set->last < set->count && set->chunks[set->last]->number == number)
        return set->last;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (set->chunks[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int id_set_grow(struct id_set *set)
{
    size_t size = set->size ? set->size * 2 : 16;
    struct id_chunk **chunks;

    if (set->count < set->size)
        return 0;
    if (set->count >= ID_SET_CHUNKS_MAX)
        return -ENOBUFS;
    chunks = realloc(set->chunks, size * sizeof(struct id_chunk *));
    if (!chunks)
        return -ENOMEM;
    set->chunks = chunks;
    set->size = size;
    return 0;
}

static int id_set_insert(struct id_set *set, size_t at, uint64_t number)
{
    struct id_chunk *chunk;
    int result = id_set_grow(set);

    if (result < 0)
        return result;
    chunk = calloc(1, sizeof(*chunk));
    if (!chunk)
        return -ENOMEM;
    chunk->number = number;
    memmove(&set->chunks[at + 1], &set->chunks[at],
            (set->count - at) * sizeof(struct id_chunk *));
    set->chunks[at] = chunk;
    set->count++;
    return 0;
}

int id_set_add(struct id_set *set, uint64_t id)
{
    uint64_t number = id / ID_SET_CHUNK_BITS;
    size_t bit = (size_t)(id % ID_SET_CHUNK_BITS);
    uint64_t mask = UINT64_C(1) << (bit % 64);
    size_t at = id_set_find(set, number);

    if (at == set->count || set->chunks[at]->number != number) {
        int result = id_set_insert(set, at, number);

        if (result < 0)
            return result;
    }
    set->last = at;
    if (set->chunks[at]->bits[bit / 64] & mask)
        return -EEXIST;
    set->chunks[at]->bits[bit / 64] |= mask;
    return 0;
}
