/* SPDX-License-Identifier: MIT */
/*
 * thread.h - starts detached threads
 */
#ifndef MQTT_SPOOLD_BASE_THREAD_H
#define MQTT_SPOOLD_BASE_THREAD_H

#include "base/attr.h"

/* Runs @function(@userdata), with the signal mask of the caller, on a thread that is not
 * joined. Return: 0 or negative errno. */
MUST_CHECK int thread_start_detached(void *(*function)(void *), void *userdata);

#endif
