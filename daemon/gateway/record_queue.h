/* SPDX-License-Identifier: MIT */
/*
 * record_queue.h - records that one client is to be sent, in memory
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_RECORD_QUEUE_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_RECORD_QUEUE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/view.h"

/* Of one queue: more than the largest record. */
#define RECORD_QUEUE_MAX ((size_t)1536 * 1024)
/* Of all queues together. */
#define RECORD_QUEUES_MAX ((size_t)16 * 1024 * 1024)

struct record_queue;
LIST_HEAD(record_queue_list, record_queue);

/* All zero: there is no queue. */
struct record_budget {
    size_t used; /* bytes of all queues */
    struct record_queue_list queues;
};

struct record_entry {
    STAILQ_ENTRY(record_entry) link;
    struct view topic;
    struct view payload;
    uint8_t qos;
    uint8_t data[];
};

STAILQ_HEAD(record_list, record_entry);

struct record_queue {
    LIST_ENTRY(record_queue) link;
    struct record_budget *budget; /* borrowed */
    struct record_list list;
    struct record_list staged; /* of the open batch */
    size_t bytes;              /* of both */
    uint64_t missed;           /* removed in front of the first one, unread */
    uint64_t staged_missed;    /* the same of the open batch */
};

/* It stays where it is in memory until record_queue_done(). */
void record_queue_init(struct record_queue *queue, struct record_budget *budget);
void record_queue_done(struct record_queue *queue);

/* One of the open batch. If there is no room the oldest are removed, and counted as missed: of
 * this queue if it is full, else of the one with the most bytes. */
void record_queue_push(struct record_queue *queue,
                       struct view topic,
                       struct view payload,
                       uint8_t qos);
/* What was pushed since the last call of either is committed, or void. */
void record_queue_commit(struct record_queue *queue);
void record_queue_discard(struct record_queue *queue);

/* The oldest that is committed; NULL: there is none. */
struct record_entry *record_queue_first(const struct record_queue *queue);
/* It was sent. */
void record_queue_pop(struct record_queue *queue);

#endif
