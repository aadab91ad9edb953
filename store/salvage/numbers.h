/* SPDX-License-Identifier: MIT */
/*
 * numbers.h - a set of numbers above 0, wherever they lie
 *
 * Numbers side by side cost two to four bits each, one that stands alone at most
 * 216 bytes, and half of that again for the moment in which the set grows.
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_SALVAGE_NUMBERS_H
#define MQTT_SPOOLD_STORE_SALVAGE_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct numbers_part;

/* Zeroed it is the empty set. */
struct numbers {
    struct numbers_part *parts;
    size_t count;
    size_t room;   /* a power of two, or 0 */
    bool is_short; /* there was no memory: it lacks numbers that were added */
};

/* 0 is always in it. */
bool numbers_has(const struct numbers *numbers, uint64_t number);
void numbers_add(struct numbers *numbers, uint64_t number);
void numbers_done(struct numbers *numbers);

#endif
