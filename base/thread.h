/* SPDX-License-Identifier: MIT */
/*
 * thread.h - starts a thread that nobody waits for
 */
#ifndef MQTT_SPOOLD_BASE_THREAD_H
#define MQTT_SPOOLD_BASE_THREAD_H

#include "base/cleanup.h"

/* A detached one, with the signal mask of the caller's. Return: 0 or negative errno. */
MUST_CHECK int thread_start_detached(void *(*function)(void *), void *parameter);

#endif
