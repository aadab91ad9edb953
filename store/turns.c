/* SPDX-License-Identifier: MIT */
/*
 * turns.c - which lane's message goes out next
 *
 * Of nine places in a row eight belong to the highest priority that has
 * messages, one to the lanes below it, which take that place in turn. So what
 * is urgent hardly waits; and however much of it there is, with n lanes, each
 * lane that holds messages gets at least one of every 9 x (n - 1) places. Lanes of
 * one priority take turns of eight; within a lane the order is that of acceptance.
 * Where only one lane has messages it gets every place.
 *
 * Only the order is kept here; handout.c asks the lanes in it.
 *
 * A place counts when the next message is asked for: a message that came back
 * meanwhile, because the window was full, gives its place back. Otherwise a large
 * message that seldom fits could lose the ninth place over and over.
 */
#include "store/turns.h"

#include "store/lane_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare_priority(const void *a, const void *b)
{
    const struct lane *left = *(const struct lane *const *)a;
    const struct lane *right = *(const struct lane *const *)b;
    if (left->priority != right->priority)
        return left->priority > right->priority ? -1 : 1;
    return left < right ? -1 : 1;
}

int turns_new(struct lane *lanes, size_t count, struct turns *ret)
{
    struct lane **memory = calloc(2 * count, sizeof(struct lane *));
    if (!memory)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        memory[i] = &lanes[i];
    qsort(memory, count, sizeof(struct lane *), compare_priority);
    memcpy(memory + count, memory, count * sizeof(struct lane *));
    *ret = (struct turns){.by_priority = memory, .by_wait = memory + count, .count = count};
    return 0;
}

void turns_done(struct turns *turns)
{
    free(turns->by_priority);
    *turns = (struct turns){0};
}

static size_t index_of(struct lane *const *lanes, const struct lane *lane)
{
    size_t at = 0;
    while (lanes[at] != lane)
        at++;
    return at;
}

/* Behind all up to @end; those keep their order. */
static void move_back(struct lane **lanes, size_t at, size_t end)
{
    struct lane *lane = lanes[at];
    memmove(lanes + at, lanes + at + 1, (end - at - 1) * sizeof(struct lane *));
    lanes[end - 1] = lane;
}

static void end_front_turn(struct turns *turns, const struct lane *taker)
{
    size_t at = index_of(turns->by_priority, taker);
    size_t end = at + 1;
    while (end < turns->count && turns->by_priority[end]->priority == taker->priority)
        end++;
    move_back(turns->by_priority, at, end);
}

void turns_count_place(struct turns *turns)
{
    struct lane *taker = turns->taker;
    if (!taker)
        return;
    turns->taker = NULL;
    if (turns->is_ninth) {
        turns->places = 0;
        move_back(turns->by_wait, index_of(turns->by_wait, taker), turns->count);
        return;
    }
    turns->priority = taker->priority;
    if (++turns->places == TURNS_PLACES)
        end_front_turn(turns, taker);
}

void turns_give_back(struct turns *turns, uint64_t id)
{
    if (!turns->taker || turns->taker_id != id)
        return;
    turns->taker->live_places = turns->taker_live_places;
    turns->taker = NULL;
}
