/* SPDX-License-Identifier: MIT */
/*
 * mailbox.c - the only way from a foreign thread into the loop
 *
 * Posted mails are linked by queued; mailbox_take() copies that link into next.
 * So a mail that is posted again while the loop still walks over the list it took
 * does not change that list.
 *
 * The eventfd is written with the mutex held: once the loop has taken a mail,
 * its poster touches only the mutex, and the mailbox may be destroyed. The loop
 * reads the eventfd before it takes the list, never after: a post in between is
 * then taken at once, while the other order would lose the wake-up of a mail that
 * was not taken.
 */
#include "base/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

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
    mailbox->is_woken = false;
    mailbox->event_fd = cleanup_take_fd(&fd);
    return 0;
}

void mailbox_done(struct mailbox *mailbox)
{
    /* The thread that posted last may still be about to unlock. */
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

/* The mutex is held. A full counter stays readable, so a failed write loses no wake-up. */
static void wake_if_due(struct mailbox *mailbox)
{
    uint64_t one = 1;

    if (!mailbox->first || mailbox->is_woken)
        return;
    mailbox->is_woken = true;
    ssize_t n = write(mailbox->event_fd, &one, sizeof(one));
    (void)n;
}

static bool mailbox_enqueue_if(struct mailbox *mailbox,
                               struct mail *mail,
                               bool (*accept)(void *userdata),
                               void *userdata)
{
    if (mail->posted || (accept && !accept(userdata)))
        return false;
    mail->posted = true;
    mail->queued = NULL;
    *mailbox->last = mail;
    mailbox->last = &mail->queued;
    return true;
}

bool mailbox_post_if(struct mailbox *mailbox,
                     struct mail *mail,
                     bool (*accept)(void *userdata),
                     void *userdata)
{
    (void)pthread_mutex_lock(&mailbox->mutex);
    bool is_posted = mailbox_enqueue_if(mailbox, mail, accept, userdata);
    if (is_posted)
        wake_if_due(mailbox);
    (void)pthread_mutex_unlock(&mailbox->mutex);
    return is_posted;
}

bool mailbox_post_quietly_if(struct mailbox *mailbox,
                             struct mail *mail,
                             bool (*accept)(void *userdata),
                             void *userdata)
{
    (void)pthread_mutex_lock(&mailbox->mutex);
    bool is_posted = mailbox_enqueue_if(mailbox, mail, accept, userdata);
    (void)pthread_mutex_unlock(&mailbox->mutex);
    return is_posted;
}

void mailbox_wake(struct mailbox *mailbox)
{
    (void)pthread_mutex_lock(&mailbox->mutex);
    wake_if_due(mailbox);
    (void)pthread_mutex_unlock(&mailbox->mutex);
}

void mailbox_run_locked(struct mailbox *mailbox, void (*change)(void *userdata), void *userdata)
{
    (void)pthread_mutex_lock(&mailbox->mutex);
    change(userdata);
    (void)pthread_mutex_unlock(&mailbox->mutex);
}

struct mail *mailbox_take(struct mailbox *mailbox)
{
    uint64_t count;
    ssize_t n = read(mailbox->event_fd, &count, sizeof(count));
    struct mail *first;

    (void)n; /* nothing to read: the list may hold mail anyway */
    (void)pthread_mutex_lock(&mailbox->mutex);
    first = mailbox->first;
    for (struct mail *mail = first; mail; mail = mail->queued) {
        mail->next = mail->queued;
        mail->posted = false;
    }
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    mailbox->is_woken = false;
    (void)pthread_mutex_unlock(&mailbox->mutex);
    return first;
}
