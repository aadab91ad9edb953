/* SPDX-License-Identifier: MIT */
/*
 * mailbox.h - the only way from a foreign thread into the loop
 *
 * Paho's threads post nodes that are embedded in the objects they report on, so
 * posting cannot fail and allocates nothing. The loop watches the eventfd, takes
 * the whole list under the lock and handles it outside. The mutex is a leaf:
 * nothing else is ever locked or called while it is held, because Paho calls
 * back with its own global mutex held, even on the loop's thread.
 *
 * Invariant: while the list is not empty, the eventfd is readable, or a thread that posted
 * quietly is about to wake the loop. It is written once between two calls of mailbox_take().
 */
#ifndef MQTT_SPOOLD_BASE_MAILBOX_H
#define MQTT_SPOOLD_BASE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "base/attr.h"

struct mail {
    struct mail *next;   /* in the list that mailbox_take() returned; loop thread only */
    struct mail *queued; /* guarded by the mailbox's mutex, like posted */
    bool posted;
};

struct mailbox {
    pthread_mutex_t mutex;
    struct mail *first;
    struct mail **last;
    int event_fd;
    bool is_woken; /* the eventfd was written for what is in the list */
};

/* Return: 0 or negative errno. */
MUST_CHECK int mailbox_init(struct mailbox *mailbox);
/* No thread may post any more, but the last one may still be unlocking. */
void mailbox_done(struct mailbox *mailbox);
/* Readable while there is mail; watch it level-triggered. Owned by the mailbox. */
int mailbox_fd(const struct mailbox *mailbox);

/*
 * mailbox_post_if() - post @mail if @accept returns true, both under the lock
 * @accept: may compare a generation and write the answer into the object; must
 *          not call or lock anything. NULL: always.
 *
 * Posting a mail that is already posted changes nothing. The object that embeds
 * @mail must outlive the list that mailbox_take() returns. Thread: any.
 * Return: was it posted now?
 */
bool mailbox_post_if(struct mailbox *mailbox,
                     struct mail *mail,
                     bool (*accept)(void *userdata),
                     void *userdata);
/* Likewise, but the loop is not woken: the calling thread calls mailbox_wake() soon, so that
 * many mails wake it once. */
bool mailbox_post_quietly_if(struct mailbox *mailbox,
                             struct mail *mail,
                             bool (*accept)(void *userdata),
                             void *userdata);
/* Wakes the loop if there is mail for which it was not woken. Thread: any. */
void mailbox_wake(struct mailbox *mailbox);
/* Runs @change under the lock, ordered with accept above. Thread: loop thread only. */
void mailbox_run_locked(struct mailbox *mailbox,
                        void (*change)(void *userdata),
                        void *userdata);
/* The posted mails in order, linked by next until the next call; each may be posted again at
 * once. NULL: none. Thread: loop thread only. */
struct mail *mailbox_take(struct mailbox *mailbox);

#endif
