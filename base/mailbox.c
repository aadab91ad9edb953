/* SPDX-License-Identifier: MIT */
/*
 * mailbox.c - the only way from a foreign thread into the loop
 *
 * Posted mails hang on a list of their own link (queued); mailbox_take() copies
 * it into next. So a mail that is posted again while the loop still walks over
 * what it took changes nothing under the loop's feet.
 *
 * The eventfd is written with the mutex held: once the loop has taken a mail,
 * its poster touches nothing but the mutex any more, and the mailbox may go.
 * The loop reads the eventfd before it takes the list, never after: a post in
 * between is then taken at once and leaves a wake-up too many, while the other
 * order would swallow the wake-up of a mail that was not taken, for ever.
 */
#include "base/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *mailbox)
{
    AUTO_CLOSE int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r;

    if (fd < 0)
        return -errno;
    r = pthread_mutex_init(&mailbox->mutex, NULL);
    if (r != 0)
        return -r;
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    mailbox->event_fd = fd;
    fd = -1;
    return 0;
}

void mailbox_done(struct mailbox *mailbox)
{
    /* Whoever posted last may still be about to unlock. */
    (void)pthread_mutex_lock(&mailbox->mutex);
    (void)close(mailbox->event_fd);
    mailbox->event_fd = -1;
    (void)pthread_mutex_unlock(&mailbox->mutex);
    (void)pthread_mutex_destroy(&mailbox->mutex);
}

int mailbox_fd(const struct mailbox *mailbox)
{
    return mailbox->event_fd;
}

/* A counter that is full stays readable, so a failed write loses no wake-up. */
static void mailbox_wake(const struct mailbox *mailbox)
{
    uint64_t one = 1;
    ssize_t n = write(mailbox->event_fd, &one, sizeof(one));

    (void)n;
}

static void mailbox_enqueue(struct mailbox *mailbox, struct mail *mail)
{
    bool was_empty = !mailbox->first;

    mail->posted = true;
    mail->queued = NULL;
    *mailbox->last = mail;
    mailbox->last = &mail->queued;
    if (was_empty)
        mailbox_wake(mailbox);
}

bool mailbox_post_if(struct mailbox *mailbox,
                     struct mail *mail,
                     bool (*accept)(void *context),
                     void *context)
{
    bool post;

    (void)pthread_mutex_lock(&mailbox->mutex);
    post = !mail->posted && (!accept || accept(context));
    if (post)
        mailbox_enqueue(mailbox, mail);
    (void)pthread_mutex_unlock(&mailbox->mutex);
    return post;
}

void mailbox_run_locked(struct mailbox *mailbox, void (*change)(void *context), void *context)
{
    (void)pthread_mutex_lock(&mailbox->mutex);
    change(context);
    (void)pthread_mutex_unlock(&mailbox->mutex);
}

struct mail *mailbox_take(struct mailbox *mailbox)
{
    uint64_t count;
    ssize_t n = read(mailbox->event_fd, &count, sizeof(count));
    struct mail *first;

    (void)n; /* nothing there: the list may hold mail all the same */
    (void)pthread_mutex_lock(&mailbox->mutex);
    first = mailbox->first;
    for (struct mail *mail = first; mail; mail = mail->queued) {
        mail->next = mail->queued;
        mail->posted = false;
    }
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    (void)pthread_mutex_unlock(&mailbox->mutex);
    return first;
}
