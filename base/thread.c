/* SPDX-License-Identifier: MIT */
/*
 * thread.c - starts detached threads
 */
#include "base/thread.h"

#include <pthread.h>

int thread_start_detached(void *(*function)(void *), void *userdata)
{
    pthread_attr_t detached;
    pthread_t thread;
    int r = pthread_attr_init(&detached);

    if (r != 0)
        return -r;
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    r = pthread_create(&thread, &detached, function, userdata);
    (void)pthread_attr_destroy(&detached);
    return -r;
}
