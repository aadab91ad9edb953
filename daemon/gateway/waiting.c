/* SPDX-License-Identifier: MIT */
/*
 * waiting.c - whose turn it is among the clients whose PUBLISH waits
 *
 * Each that begins to wait is given a turn: a number that is one above the last
 * one of its user, and not below that of the last client that was served. So the
 * second client of a user stands behind the first one of every other user. Queues
 * are in the order of turns, and one lower number is the head that is served.
 *
 * Only the head of a lane's queue is compared with the room of the lane: a large
 * message is not overtaken by small ones for ever.
 *
 * Invariant: who waits was given its turn once and keeps it until it is served.
 */
#include "daemon/gateway/waiting.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/gateway/users.h"
#include "store/spool.h"

void waiting_init(struct waiting *waiting)
{
    for (unsigned i = 0; i <= WAITING_ANY; i++)
        TAILQ_INIT(&waiting->queues[i]);
}

static void insert(struct waiter_list *queue, struct waiter *waiter)
{
    struct waiter *before = TAILQ_LAST(queue, waiter_list);

    while (before && before->turn > waiter->turn)
        before = TAILQ_PREV(before, waiter_list, link);
    if (before)
        TAILQ_INSERT_AFTER(queue, before, waiter, link);
    else
        TAILQ_INSERT_HEAD(queue, waiter, link);
}

void waiting_add(struct waiting *waiting,
                 struct waiter *waiter,
                 unsigned queue,
                 uint64_t charge)
{
    struct user *user = waiter->user;

    if (waiter->is_waiting)
        return;
    user->turn = user->turn + 1 > waiting->turn ? user->turn + 1 : waiting->turn;
    waiter->is_waiting = true;
    waiter->queue = queue;
    waiter->charge = charge;
    waiter->turn = user->turn;
    waiting->count++;
    insert(&waiting->queues[queue], waiter);
}

void waiting_remove(struct waiting *waiting, struct waiter *waiter)
{
    if (!waiter->is_waiting)
        return;
    TAILQ_REMOVE(&waiting->queues[waiter->queue], waiter, link);
    waiting->count--;
    waiter->is_waiting = false;
}

bool waiting_has_lane(const struct waiting *waiting, unsigned lane)
{
    return !TAILQ_EMPTY(&waiting->queues[lane]);
}

void waiting_forget_lanes(struct waiting *waiting)
{
    struct waiter *waiter;

    for (unsigned lane = 0; lane < WAITING_ANY; lane++) {
        while ((waiter = TAILQ_FIRST(&waiting->queues[lane]))) {
            TAILQ_REMOVE(&waiting->queues[lane], waiter, link);
            waiter->queue = WAITING_ANY;
            insert(&waiting->queues[WAITING_ANY], waiter);
        }
    }
}

void waiting_begin_pass(struct waiting *waiting)
{
    waiting->pass++;
}

static bool has_room(const struct batch *batch, const struct waiter *waiter)
{
    return waiter->queue == WAITING_ANY ||
           spool_has_room(batch->spool, waiter->queue, waiter->charge);
}

static bool can_be_served(const struct waiting *waiting,
                          const struct waiter *waiter,
                          const struct batch *batch)
{
    if (waiter->queue == WAITING_ANY && waiter->pass == waiting->pass)
        return false;
    return batch_has_share(batch, waiter->user, waiter->share, true) && has_room(batch, waiter);
}

/* The first that has a share of the batch; NULL: none, or the first of all has no room. */
static struct waiter *
find_head(const struct waiting *waiting, unsigned queue, const struct batch *batch)
{
    struct waiter *waiter = TAILQ_FIRST(&waiting->queues[queue]);

    if (waiter && !has_room(batch, waiter))
        return NULL;
    while (waiter && !can_be_served(waiting, waiter, batch))
        waiter = TAILQ_NEXT(waiter, link);
    return waiter;
}

struct waiter *waiting_next(struct waiting *waiting, const struct batch *batch)
{
    struct waiter *found = NULL;

    if (waiting->count == 0 || batch_is_shared_out(batch))
        return NULL;
    for (unsigned queue = 0; queue <= WAITING_ANY; queue++) {
        struct waiter *head = find_head(waiting, queue, batch);

        if (head && (!found || head->turn < found->turn))
            found = head;
    }
    if (!found)
        return NULL;
    waiting_remove(waiting, found);
    found->pass = waiting->pass;
    if (found->turn > waiting->turn)
        waiting->turn = found->turn;
    return found;
}
