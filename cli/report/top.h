/* SPDX-License-Identifier: MIT */
/*
 * top.h - the most frequent of many texts, in fixed memory
 *
 * The space-saving sketch of Metwally, Agrawal and El Abbadi: TOP_MAX texts are counted.
 * While no more than these have come, each count is exact. After that a new text takes the
 * place of the rarest one and inherits its count as its possible error: a true count is
 * between count - error and count, and each text that is more frequent than one in TOP_MAX
 * of all is in the list.
 *
 * A text is kept with its first TOP_TEXT_MAX - 1 bytes. A hash of all of it distinguishes it
 * from others.
 */
#ifndef MQTT_SPOOLD_CLI_REPORT_TOP_H
#define MQTT_SPOOLD_CLI_REPORT_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOP_MAX = 1024, TOP_SLOTS = 4096, TOP_TEXT_MAX = 256 };

struct top_entry {
    uint64_t count;
    uint64_t error; /* the count is at most so much too high */
    uint64_t hash;
    bool is_cut;
    char text[TOP_TEXT_MAX];
};

/* All zero: empty. */
struct top {
    uint64_t total;
    size_t used;
    bool is_inexact;           /* a text was displaced */
    uint16_t slots[TOP_SLOTS]; /* by hash, open addressing: place of an entry and 1, or 0 */
    uint16_t heap[TOP_MAX];    /* places of entries, the rarest first */
    uint16_t heap_of[TOP_MAX]; /* where a place is in the heap */
    struct top_entry entries[TOP_MAX];
};

void top_add(struct top *top, const char *text);
/* The most frequent, by falling count, then by text. Return: how many were written. */
size_t top_get(const struct top *top, size_t max, const struct top_entry **ret);

#endif
