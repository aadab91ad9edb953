/* SPDX-License-Identifier: MIT */
/*
 * paho_link.c - faults of Paho corrected at link time: allocator, wake-ups, threads
 *
 * The default build links Paho's static archive and lets the linker redirect calls
 * of some functions to this folder (`--wrap`, listed in seam.txt). The comment of
 * each has the fault; docs/paho.md has upstream's issues, the proofs, the figures, and
 * the condition on which it can be removed.
 *
 * Invariant: no function of this folder knows Paho's structures. Every object of the archive
 * but Heap.c calls its allocator through mymalloc, myrealloc and myfree, and Heap.c allocates
 * nothing for others; so all three are replaced or none, and no pointer of one allocator is
 * freed by the other.
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"
#include "base/utf8.h"
#include "base/view.h"
#include "daemon/uplink/paho/paho_link-private.h"

void *__wrap_mymalloc(char *file, int line, size_t size);
void *__wrap_myrealloc(char *file, int line, void *memory, size_t size);
void __wrap_myfree(char *file, int line, void *memory);
void __wrap_StackTrace_entry(const char *name, int line, int level);
void __wrap_StackTrace_exit(const char *name, int line, void *result, int level);
int __wrap_Thread_signal_cond(void *condition);
int __wrap_Thread_wait_cond(void *condition, int timeout_ms);
void __wrap_Thread_start(void *(*function)(void *), void *parameter);
void __wrap_Paho_thread_start(void *(*function)(void *), void *parameter);
void __wrap_MQTTAsync_NULLPublishCommands(void *client);
int __wrap_UTF8_validateString(const char *text);

int __real_Thread_signal_cond(void *condition);
int __real_Thread_wait_cond(void *condition, int timeout_ms);

/*
 * Heap tracking: each block is kept in a tree under one mutex. The tracker clears
 * what it allocates, and some of Paho's code relies on that (upstream #1543), so
 * this clears, too. Not by calloc(): before glibc 2.41 that passes by the blocks which the
 * thread keeps, for fifteen small blocks a message.
 */
void *__wrap_mymalloc(char *file, int line, size_t size)
{
    (void)file;
    (void)line;
    void *memory = malloc(size > 0 ? size : 1);
    return memory ? memset(memory, 0, size) : NULL;
}

void *__wrap_myrealloc(char *file, int line, void *memory, size_t size)
{
    (void)file;
    (void)line;
    return realloc(memory, size > 0 ? size : 1);
}

void __wrap_myfree(char *file, int line, void *memory)
{
    (void)file;
    (void)line;
    free(memory);
}

/* The check of a topic: Paho tries each character against each row of a table, with a call. */
int __wrap_UTF8_validateString(const char *text)
{
    return text && utf8_is_well_formed(view_of_text(text));
}

/* Stack tracing: each entry and exit of a function searches a list for its thread. */
void __wrap_StackTrace_entry(const char *name, int line, int level)
{
    (void)name;
    (void)line;
    (void)level;
}

void __wrap_StackTrace_exit(const char *name, int line, void *result, int level)
{
    (void)name;
    (void)line;
    (void)result;
    (void)level;
}

/*
 * The lost wake-up: the send thread finds its queue empty and only then waits; a
 * signal between the two is lost and the command is delayed by up to 1 s. An eventfd
 * keeps the signal, so the wait that follows ends at once. The library has one such
 * condition, the send thread's; if there were more, the others would have spurious
 * wake-ups, which a condition allows. The wait uses the monotonic clock; Paho's own
 * uses the wall clock, and a step backwards prolongs it.
 *
 * wake_is_set saves the system call while a signal is pending. Order in the wait:
 * first empty the descriptor, then clear the flag. A signal in between is not
 * written, but its command is in the queue by then, which the caller checks next.
 */
static atomic_int wake_fd = -1;
static atomic_bool wake_is_set;

/*
 * A run of sends wakes the send thread once, at its end. Woken by the first one,
 * that thread contends with the loop for Paho's locks at each message, and both
 * spend their time going to sleep and being woken (docs/performance.md). Only for
 * the thread that holds: signals of Paho's own threads are not delayed.
 */
static _Thread_local bool wake_is_held;
static _Thread_local void *held_condition; /* signalled meanwhile; NULL: none was */

static int get_wake_fd(void)
{
    int fd = atomic_load(&wake_fd);
    int expected = -1;

    if (fd >= 0)
        return fd;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0 || atomic_compare_exchange_strong(&wake_fd, &expected, fd))
        return fd;
    (void)close(fd); /* the other thread was first */
    return expected;
}

int __wrap_Thread_signal_cond(void *condition)
{
    int fd = get_wake_fd();

    if (wake_is_held) {
        held_condition = condition;
        return 0;
    }
    if (fd < 0)
        return __real_Thread_signal_cond(condition);
    if (!atomic_exchange(&wake_is_set, true))
        (void)eventfd_write(fd,
                            1); /* fails only when the counter is full, and then it is set */
    return 0;
}

void paho_link_hold_wake(void)
{
    wake_is_held = true;
}

void paho_link_release_wake(void)
{
    void *condition = held_condition;

    wake_is_held = false;
    held_condition = NULL;
    if (condition)
        (void)__wrap_Thread_signal_cond(condition);
}

/* Also when more can be written: an early end is harmless, see above. */
int __wrap_Thread_wait_cond(void *condition, int timeout_ms)
{
    struct pollfd waits[2] = {{.fd = get_wake_fd(), .events = POLLIN}, {.events = POLLOUT}};
    eventfd_t count;

    if (waits[0].fd < 0)
        return __real_Thread_wait_cond(condition, timeout_ms);
    waits[1].fd = paho_stream_flush_before_wait();
    if (poll(waits, 2, timeout_ms) <= 0 || (waits[0].revents & POLLIN) == 0)
        return ETIMEDOUT; /* or interrupted: the caller checks its queue and waits again */
    (void)eventfd_read(waits[0].fd, &count); /* one reader, so it cannot be empty */
    atomic_store(&wake_is_set, false);
    return 0;
}

/*
 * The leak at destroy: it sets the topics and payloads of queued commands to NULL,
 * which nothing else frees (upstream #1474, corrected in 1.3.14). It is called there only.
 */
void __wrap_MQTTAsync_NULLPublishCommands(void *client)
{
    (void)client;
}

/* Paho's own threads that could not be created. */
static struct {
    pthread_mutex_t mutex;
    size_t count;
    void *(*functions[2])(void *);
} missing_threads = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/*
 * The link that never comes up: Paho starts its two threads once, does not check
 * for an error, and takes them for started until the process ends (upstream: none
 * known). What could not be created is noted here and created at the next attempt.
 * Neither thread uses its parameter.
 */
void __wrap_Thread_start(void *(*function)(void *), void *parameter)
{
    if (thread_start_detached(function, parameter) == 0)
        return;
    (void)pthread_mutex_lock(&missing_threads.mutex);
    if (missing_threads.count <
        sizeof(missing_threads.functions) / sizeof(missing_threads.functions[0]))
        missing_threads.functions[missing_threads.count++] = function;
    (void)pthread_mutex_unlock(&missing_threads.mutex);
}

/* Its name since 1.3.14. */
void __wrap_Paho_thread_start(void *(*function)(void *), void *parameter)
{
    __wrap_Thread_start(function, parameter);
}

int paho_link_start_threads(void)
{
    int r = 0;

    (void)pthread_mutex_lock(&missing_threads.mutex);
    while (missing_threads.count > 0 && r == 0) {
        r = thread_start_detached(missing_threads.functions[missing_threads.count - 1], NULL);
        if (r == 0)
            missing_threads.count--;
    }
    (void)pthread_mutex_unlock(&missing_threads.mutex);
    return r;
}

const char *paho_link_limitations(void)
{
    return NULL;
}
