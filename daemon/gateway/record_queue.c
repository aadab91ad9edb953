/* SPDX-License-Identifier: MIT */
/*
 * record_queue.c - records that one client is to be sent, in memory
 *
 * Records are pushed before their batch is committed, and may be sent after it only.
 * A client that does not read fills its queue; then the oldest go, and the number of
 * those that it missed stands in their place. When all queues together are full, those of
 * the fullest go: a client that reads loses nothing to others that do not.
 *
 * Invariant: no queue holds more than RECORD_QUEUE_MAX, and all together no more than
 * RECORD_QUEUES_MAX.
 */
#include "daemon/gateway/record_queue.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* So much is freed at a time: the fullest queue is not looked for with each record. */
#define RECORD_QUEUES_SLACK ((size_t)64 * 1024)

void record_queue_init(struct record_queue *queue, struct record_budget *budget)
{
    *queue = (struct record_queue){.budget = budget};
    STAILQ_INIT(&queue->list);
    STAILQ_INIT(&queue->staged);
    LIST_INSERT_HEAD(&budget->queues, queue, link);
}

static size_t entry_size(const struct record_entry *entry)
{
    return sizeof(*entry) + entry->topic.size + entry->payload.size;
}

static void remove_first(struct record_queue *queue, struct record_list *list)
{
    struct record_entry *entry = STAILQ_FIRST(list);
    size_t size = entry_size(entry);

    STAILQ_REMOVE_HEAD(list, link);
    queue->bytes -= size;
    queue->budget->used -= size;
    free(entry);
}

void record_queue_done(struct record_queue *queue)
{
    record_queue_discard(queue);
    while (!STAILQ_EMPTY(&queue->list))
        remove_first(queue, &queue->list);
    queue->missed = 0;
    LIST_REMOVE(queue, link);
}

static void drop_oldest(struct record_queue *queue)
{
    if (!STAILQ_EMPTY(&queue->list)) {
        remove_first(queue, &queue->list);
        queue->missed++;
    } else {
        remove_first(queue, &queue->staged);
        queue->staged_missed++;
    }
}

static struct record_queue *find_fullest(const struct record_budget *budget)
{
    struct record_queue *fullest = LIST_FIRST(&budget->queues), *queue;

    LIST_FOREACH(queue, &budget->queues, link)
    {
        if (queue->bytes > fullest->bytes)
            fullest = queue;
    }
    return fullest;
}

/* Return: is there room for @size bytes more? */
static bool free_common_room(struct record_budget *budget, size_t size)
{
    size_t limit = RECORD_QUEUES_MAX - RECORD_QUEUES_SLACK - size;

    if (budget->used + size <= RECORD_QUEUES_MAX)
        return true;
    while (budget->used > limit) {
        struct record_queue *fullest = find_fullest(budget);

        if (fullest->bytes == 0)
            return false;
        while (budget->used > limit && fullest->bytes > 0)
            drop_oldest(fullest);
    }
    return true;
}

void record_queue_push(struct record_queue *queue,
                       struct view topic,
                       struct view payload,
                       uint8_t qos)
{
    size_t size = sizeof(struct record_entry) + topic.size + payload.size;
    struct record_entry *entry = NULL;

    while (queue->bytes > 0 && queue->bytes + size > RECORD_QUEUE_MAX)
        drop_oldest(queue);
    if (size <= RECORD_QUEUE_MAX && free_common_room(queue->budget, size))
        entry = malloc(size);
    if (!entry) {
        queue->staged_missed++;
        return;
    }
    *entry = (struct record_entry){
        .topic = {entry->data, topic.size},
        .payload = {entry->data + topic.size, payload.size},
        .qos = qos,
    };
    memcpy(entry->data, topic.data, topic.size);
    memcpy(entry->data + topic.size, payload.data, payload.size);
    STAILQ_INSERT_TAIL(&queue->staged, entry, link);
    queue->bytes += size;
    queue->budget->used += size;
}

void record_queue_commit(struct record_queue *queue)
{
    queue->missed += queue->staged_missed;
    queue->staged_missed = 0;
    STAILQ_CONCAT(&queue->list, &queue->staged);
}

void record_queue_discard(struct record_queue *queue)
{
    while (!STAILQ_EMPTY(&queue->staged))
        remove_first(queue, &queue->staged);
    queue->staged_missed = 0;
}

struct record_entry *record_queue_first(const struct record_queue *queue)
{
    return STAILQ_FIRST(&queue->list);
}

void record_queue_pop(struct record_queue *queue)
{
    remove_first(queue, &queue->list);
}
