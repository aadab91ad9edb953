/* SPDX-License-Identifier: MIT */
/*
 * spans.h - which numbers were seen, of numbers that mostly follow each other
 *
 * A sound history is one span, and each further one is begun by a problem. So the memory is
 * fixed: of numbers in so many parts some are not kept.
 */
#ifndef MQTT_SPOOLD_CLI_AUDIT_SPANS_H
#define MQTT_SPOOLD_CLI_AUDIT_SPANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPANS_MAX 256 /* many more than the problems that are shown */

/* Numbers that follow each other. */
struct span {
    uint64_t first;
    uint64_t last;
};

/* All zero: empty. */
struct spans {
    struct span spans[SPANS_MAX]; /* by rising number; between two of them one is missing */
    size_t count;
    bool is_partial; /* some numbers were not kept */
};

/* @last is less than UINT64_MAX. */
void spans_add(struct spans *spans, uint64_t first, uint64_t last);
/* How many numbers from @first to @last were added, as far as they were kept. */
uint64_t spans_count(const struct spans *spans, uint64_t first, uint64_t last);

#endif
