/* SPDX-License-Identifier: MIT */
/*
 * top.c - the most frequent of many texts, in fixed memory
 *
 * Entries stay in their places. A heap over them has the rarest one at its root, a hash
 * table finds a text. Both are smaller than what they lead to, and each step is bounded by
 * the depth of the heap or the run of a slot.
 */
#include "cli/report/top.h"

#include <string.h>

#include "base/text.h"

/* FNV-1a and a final mix. */
static uint64_t hash_text(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    hash ^= hash >> 32;
    return hash * UINT64_C(0x9e3779b97f4a7c15);
}

static size_t home_slot(uint64_t hash)
{
    return (size_t)(hash >> 32) % TOP_SLOTS;
}

/* The slot of the text with @hash, or the free one where it would be. */
static size_t find_slot(const struct top *top, uint64_t hash)
{
    size_t slot = home_slot(hash);

    while (top->slots[slot] != 0 && top->entries[top->slots[slot] - 1].hash != hash)
        slot = (slot + 1) % TOP_SLOTS;
    return slot;
}

/* Frees @slot, and moves what lies behind it to where a search looks. */
static void clear_slot(struct top *top, size_t slot)
{
    for (size_t next = (slot + 1) % TOP_SLOTS; top->slots[next] != 0;
         next = (next + 1) % TOP_SLOTS) {
        size_t home = home_slot(top->entries[top->slots[next] - 1].hash);

        /* May it lie at @slot: is that between its home and where it is? */
        if ((next + TOP_SLOTS - home) % TOP_SLOTS >= (next + TOP_SLOTS - slot) % TOP_SLOTS) {
            top->slots[slot] = top->slots[next];
            slot = next;
        }
    }
    top->slots[slot] = 0;
}

static uint64_t heap_count(const struct top *top, size_t at)
{
    return top->entries[top->heap[at]].count;
}

static void heap_swap(struct top *top, size_t a, size_t b)
{
    uint16_t place = top->heap[a];

    top->heap[a] = top->heap[b];
    top->heap[b] = place;
    top->heap_of[top->heap[a]] = (uint16_t)a;
    top->heap_of[top->heap[b]] = (uint16_t)b;
}

/* A count has risen. */
static void sink(struct top *top, size_t at)
{
    for (;;) {
        size_t least = at;

        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < top->used; child++) {
            if (heap_count(top, child) < heap_count(top, least))
                least = child;
        }
        if (least == at)
            return;
        heap_swap(top, at, least);
        at = least;
    }
}

/* A new entry is at the end. */
static void rise(struct top *top, size_t at)
{
    while (at > 0 && heap_count(top, at) < heap_count(top, (at - 1) / 2)) {
        heap_swap(top, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static void name_entry(struct top_entry *entry, uint64_t hash, const char *text)
{
    size_t size = strlen(text);

    entry->is_cut = size >= TOP_TEXT_MAX;
    if (entry->is_cut)
        size = (size_t)text_prefix_size(text, TOP_TEXT_MAX - 1);
    memcpy(entry->text, text, size);
    entry->text[size] = '\0';
    entry->hash = hash;
}

void top_add(struct top *top, const char *text)
{
    uint64_t hash = hash_text(text);
    size_t slot = find_slot(top, hash);
    size_t place;

    top->total++;
    if (top->slots[slot] != 0) {
        place = top->slots[slot] - 1U;
    } else if (top->used < TOP_MAX) {
        place = top->used++;
        top->heap[place] = (uint16_t)place;
        top->heap_of[place] = (uint16_t)place;
        name_entry(&top->entries[place], hash, text);
        top->slots[slot] = (uint16_t)(place + 1);
        rise(top, place);
    } else {
        place = top->heap[0];
        top->is_inexact = true;
        clear_slot(top, find_slot(top, top->entries[place].hash));
        top->entries[place].error = top->entries[place].count;
        name_entry(&top->entries[place], hash, text);
        top->slots[find_slot(top, hash)] = (uint16_t)(place + 1);
    }
    top->entries[place].count++;
    sink(top, top->heap_of[place]);
}

static bool is_before(const struct top_entry *a, const struct top_entry *b)
{
    return a->count != b->count ? a->count > b->count : strcmp(a->text, b->text) < 0;
}

size_t top_get(const struct top *top, size_t max, const struct top_entry **ret)
{
    size_t count = 0;

    for (size_t i = 0; i < top->used; i++) {
        const struct top_entry *entry = &top->entries[i];
        size_t at = count;

        while (at > 0 && is_before(entry, ret[at - 1]))
            at--;
        if (at == max)
            continue;
        if (count < max)
            count++;
        memmove(&ret[at + 1], &ret[at], (count - at - 1) * sizeof(*ret));
        ret[at] = entry;
    }
    return count;
}
