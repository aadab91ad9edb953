/* SPDX-License-Identifier: MIT */
/*
 * numbers.c - see numbers.h
 *
 * Parts of 512 numbers, as bits, in a table with open addressing that is at
 * most two thirds full and doubles.
 */
#include "store/salvage/numbers.h"

#include <stdlib.h>

enum { PART_NUMBERS = 512, WORD_BITS = 64, ROOM_MIN = 64 };

struct numbers_part {
    uint64_t words[PART_NUMBERS / WORD_BITS]; /* all zero: the place is free */
    uint64_t index;                           /* of its first number, by PART_NUMBERS */
};

static bool is_free(const struct numbers_part *part)
{
    for (size_t i = 0; i < PART_NUMBERS / WORD_BITS; i++) {
        if (part->words[i] != 0)
            return false;
    }
    return true;
}

/* The part of that index, or the free place where it belongs. */
static struct numbers_part *find(const struct numbers *numbers, uint64_t index)
{
    size_t at = (size_t)((index * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (numbers->room - 1);
    while (numbers->parts[at].index != index && !is_free(&numbers->parts[at]))
        at = (at + 1) & (numbers->room - 1);
    return &numbers->parts[at];
}

static bool make_room(struct numbers *numbers)
{
    if (numbers->count < numbers->room / 3 * 2)
        return true;
    struct numbers grown = {.count = numbers->count,
                            .room = numbers->room > 0 ? 2 * numbers->room : ROOM_MIN};
    grown.parts = calloc(grown.room, sizeof(*grown.parts));
    if (!grown.parts)
        return false;
    for (size_t i = 0; i < numbers->room; i++) {
        if (!is_free(&numbers->parts[i]))
            *find(&grown, numbers->parts[i].index) = numbers->parts[i];
    }
    free(numbers->parts);
    *numbers = grown;
    return true;
}

static uint64_t bit_of(uint64_t number)
{
    return UINT64_C(1) << number % WORD_BITS;
}

bool numbers_has(const struct numbers *numbers, uint64_t number)
{
    if (number == 0)
        return true;
    if (numbers->count == 0)
        return false;
    const struct numbers_part *part = find(numbers, number / PART_NUMBERS);
    return (part->words[number % PART_NUMBERS / WORD_BITS] & bit_of(number)) != 0;
}

void numbers_add(struct numbers *numbers, uint64_t number)
{
    if (!make_room(numbers)) {
        numbers->is_short = true;
        return;
    }
    struct numbers_part *part = find(numbers, number / PART_NUMBERS);
    numbers->count += is_free(part);
    part->index = number / PART_NUMBERS;
    part->words[number % PART_NUMBERS / WORD_BITS] |= bit_of(number);
}

void numbers_done(struct numbers *numbers)
{
    free(numbers->parts);
    *numbers = (struct numbers){0};
}
