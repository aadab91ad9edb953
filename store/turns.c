/*
 * turns.c - which lane's message goes out next
 *
 * Of nine places in a row eight belong to the highest priority that has
 * messages, one to the lanes below it, which take that place in turn. So what
 * is urgent hardly waits; and however much of it there is, with n lanes, each
 * lane that holds messages gets at least one of every 9 x (n - 1) places. Lanes of one priority take turns of eight; within a lane the order is that
 * of acceptance. Where only one lane has messages it gets every place.
 *
 * A place counts when the next message is asked for: a message that came back
 * meanwhile, for the window was full, gives its place back. Otherwise a large
 * message that seldom fits could lose the ninth place over and over.
 */
#include "store/spool-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TURN_PLACES = 8 }; /* docs/design.md and the manual say eight of nine */

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
    struct lane **memory = calloc(2 * count, sizeof *memory);
    if (!memory)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        memory[i] = &lanes[i];
    qsort(memory, count, sizeof *memory, compare_priority);
    memcpy(memory + count, memory, count * sizeof *memory);
    *ret = (struct turns){.by_priority = memory, .by_wait = memory + count, .count = count};
    return 0;
}

void turns_done(struct turns *turns)
{
    free(turns->by_priority);
    *turns = (struct turns){0};
}

static size_t find(struct lane *const *lanes, const struct lane *lane)
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
    size_t at = find(turns->by_priority, taker);
    size_t end = at + 1;
    while (end < turns->count && turns->by_priority[end]->priority == taker->priority)
        end++;
    move_back(turns->by_priority, at, end);
}

/* Counts the place of the newest message, which was kept. */
static void count_place(struct turns *turns)
{
    struct lane *taker = turns->taker;
    if (!taker)
        return;
    turns->taker = NULL;
    if (turns->is_ninth) {
        turns->places = 0;
        move_back(turns->by_wait, find(turns->by_wait, taker), turns->count);
        return;
    }
    turns->priority = taker->priority;
    if (++turns->places == TURN_PLACES)
        end_front_turn(turns, taker);
}

void turns_give_back(struct turns *turns, uint64_t id)
{
    if (turns->taker && turns->taker_id == id)
        turns->taker = NULL;
}

/* Asks the lanes in this order. @ninth: those below the ones that had eight places, only. */
static int ask(struct spool *spool,
               struct lane *const *lanes,
               bool ninth,
               const struct spool_time *now,
               struct spool_message *ret)
{
    struct turns *turns = &spool->turns;
    for (size_t i = 0; i < turns->count; i++) {
        struct lane *lane = lanes[i];
        if (ninth && lane->priority >= turns->priority)
            continue;
        int r = message_next_of_lane(spool, lane, now, ret);
        if (r == SPOOL_E_EMPTY || r == SPOOL_E_BUSY) /* somebody locks the database: not now */
            continue;
        if (r == 0) {
            turns->taker = lane;
            turns->taker_id = ret->id;
            turns->is_ninth = ninth;
        }
        return r;
    }
    return SPOOL_E_EMPTY;
}

int spool_next(struct spool *spool, const struct spool_time *now, struct spool_message *ret)
{
    struct turns *turns = &spool->turns;
    if (spool->failed < 0)
        return spool->failed;
    if (spool->is_doomed || spool->proof != SPOOL_PROVEN)
        return SPOOL_E_EMPTY;
    count_place(turns);
    int r = SPOOL_E_EMPTY;
    if (turns->places >= TURN_PLACES) {
        r = ask(spool, turns->by_wait, true, now, ret);
        if (r == SPOOL_E_EMPTY) /* nobody is below, or has a message */
            turns->places = 0;
    }
    if (r == SPOOL_E_EMPTY)
        r = ask(spool, turns->by_priority, false, now, ret);
    if (r == SPOOL_E_EMPTY)
        spool_end_scan(spool);
    return r;
}
