/* SPDX-License-Identifier: MIT */
/*
 * promise.h - what a fuzz target checks: a condition that aborts when it does not hold
 *
 * Independent of assert(), so that each build checks it.
 */
#ifndef MQTT_SPOOLD_TESTS_FUZZ_PROMISE_H
#define MQTT_SPOOLD_TESTS_FUZZ_PROMISE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define PROMISE(condition)                                                                     \
    do {                                                                                       \
        if (!(condition))                                                                      \
            promise_broken(#condition, __FILE__, __LINE__);                                    \
    } while (0)

static inline void promise_broken(const char *promise, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: broken: %s\n", file, line, promise);
    abort();
}

/* The one function of a target; called by libFuzzer and by replay.c. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
