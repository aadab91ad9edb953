/* SPDX-License-Identifier: MIT */
/*
 * id_set.c - which ids were seen
 *
 * Chunks are sorted by number. Outcomes come in nearly the order of ids, so the
 * chunk is nearly always the same as before, or a new one at the end; else it
 * is found by halving. So is the place of an id in the list of its chunk.
 */
#include "cli/audit/id_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_FIRST 4

void id_set_done(struct id_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        free(set->chunks[i]->memory);
        free(set->chunks[i]);
    }
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
    chunk->list = calloc(LIST_FIRST, sizeof(*chunk->list));
    if (!chunk->list) {
        free(chunk);
        return -ENOMEM;
    }
    chunk->number = number;
    chunk->size = LIST_FIRST;
    memmove(&set->chunks[at + 1], &set->chunks[at],
            (set->count - at) * sizeof(struct id_chunk *));
    set->chunks[at] = chunk;
    set->count++;
    return 0;
}

/* ---- the ids of one chunk ---- */

static int id_chunk_set_bit(struct id_chunk *chunk, uint16_t bit)
{
    uint64_t mask = UINT64_C(1) << (bit % 64);

    if (chunk->bits[bit / 64] & mask)
        return -EEXIST;
    chunk->bits[bit / 64] |= mask;
    return 0;
}

static int id_chunk_become_bits(struct id_chunk *chunk)
{
    const struct id_chunk list = *chunk;
    uint64_t *bits = calloc(ID_SET_CHUNK_BITS / 64, sizeof(*bits));

    if (!bits)
        return -ENOMEM;
    chunk->bits = bits;
    chunk->size = 0;
    for (uint32_t i = 0; i < list.count; i++)
        (void)id_chunk_set_bit(chunk, list.list[i]); /* each is there once */
    free(list.memory);
    return 0;
}

/* Room for one more. */
static int id_chunk_grow(struct id_chunk *chunk)
{
    uint16_t *list;

    if (chunk->count < chunk->size)
        return 0;
    if (chunk->size >= ID_SET_LIST_MAX)
        return id_chunk_become_bits(chunk);
    list = realloc(chunk->list, (size_t)2 * chunk->size * sizeof(*list));
    if (!list)
        return -ENOMEM;
    chunk->list = list;
    chunk->size *= 2;
    return 0;
}

/* Where the id is in the list, or belongs. */
static uint32_t id_chunk_find(const struct id_chunk *chunk, uint16_t bit)
{
    uint32_t low = 0, high = chunk->count;

    if (high > 0 && chunk->list[high - 1] < bit)
        return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (chunk->list[middle] < bit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int id_chunk_add(struct id_chunk *chunk, uint16_t bit)
{
    uint32_t at;
    int result;

    if (chunk->size == 0)
        return id_chunk_set_bit(chunk, bit);
    at = id_chunk_find(chunk, bit);
    if (at < chunk->count && chunk->list[at] == bit)
        return -EEXIST;
    result = id_chunk_grow(chunk);
    if (result < 0)
        return result;
    if (chunk->size == 0)
        return id_chunk_set_bit(chunk, bit);
    memmove(&chunk->list[at + 1], &chunk->list[at], (chunk->count - at) * sizeof(*chunk->list));
    chunk->list[at] = bit;
    chunk->count++;
    return 0;
}

int id_set_add(struct id_set *set, uint64_t id)
{
    uint64_t number = id / ID_SET_CHUNK_BITS;
    size_t at = id_set_find(set, number);

    if (at == set->count || set->chunks[at]->number != number) {
        int result = id_set_insert(set, at, number);

        if (result < 0)
            return result;
    }
    set->last = at;
    return id_chunk_add(set->chunks[at], (uint16_t)(id % ID_SET_CHUNK_BITS));
}
