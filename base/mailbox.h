/* SPDX-License-Identifier: MIT */
/*
 * mailbox.h - the only way from a foreign thread into the loop
 *
 * Paho's threads post nodes that are embedded in the objects they speak of, so
 * posting cannot fail and allocates nothing. The loop watches the eventfd,
 * takes the whole list under the lock and handles it outside. The mutex is a
 * leaf: nothing else is ever locked or called while it is held, for Paho calls
 * back with its own global mutex held, even on the loop's thread.
 *
 * The eventfd is written only when the list turns from empty to non-empty.
 */
#ifndef MQTT_SPOOLD_BASE_MAILBOX_H
#define MQTT_SPOOLD_BASE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "base/cleanup.h"

struct mail {
    struct mail *next;   /* in what mailbox_take() returned; the loop's alone */
    struct mail *queued; /* guarded by the mailbox's mutex, as is posted */
    bool posted;
};

struct mailbox {
    pthread_mutex_t mutex;
    struct mail *first;
    struct mail **last;
    int event_fd;
};

/* Return: 0 or negative errno. */
MUST_CHECK int mailbox_init(struct mailbox *mailbox);
void mailbox_done(struct mailbox *mailbox);
/* Readable when there is mail; watch it level-triggered. */
int mailbox_fd(const struct mailbox *mailbox);

/*
 * mailbox_post_if() - post @mail when @accept agrees, both under the lock
 * @accept: may compare a generation and write the answer into the object; must
 *          not call or lock anything. NULL: always.
 *
 * Posting a mail that is already posted changes nothing. Thread: any.
 * Return: was it posted now?
 */
bool mailbox_post_if(struct mailbox *mailbox,
                     struct mail *mail,
                     bool (*accept)(void *context),
                     void *context);
/* Runs @change under the lock, so that it is ordered with accept above. Loop thread. */
void mailbox_run_locked(struct mailbox *mailbox, void (*change)(void *context), void *context);
/* The posted mails in order, linked by next until the next call; each may be posted again from
 * now on. NULL: none. Loop thread. */
struct mail *mailbox_take(struct mailbox *mailbox);

#endif
