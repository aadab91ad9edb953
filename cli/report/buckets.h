/* SPDX-License-Identifier: MIT */
/*
 * buckets.h - counts over time, in at most BUCKETS_MAX steps of equal width
 *
 * The width is chosen from the span of what was added: where it would need more steps,
 * neighbours are merged to the next width of a fixed list. So the memory is that of one
 * array whatever is added, in whatever order, and each amount is in exactly one step.
 *
 * Steps begin where the local clock has a multiple of the width: a day is a day of the
 * zone, with the offset that was given.
 */
#ifndef MQTT_SPOOLD_CLI_REPORT_BUCKETS_H
#define MQTT_SPOOLD_CLI_REPORT_BUCKETS_H

#include <stddef.h>
#include <stdint.h>

enum { BUCKETS_MAX = 400 };

enum bucket_series {
    BUCKET_ACCEPTED,
    BUCKET_DELIVERED,
    BUCKET_FAILED,
    BUCKET_PAYLOAD, /* bytes */
    BUCKET_RECORDS, /* bytes of audit lines */
    BUCKET_SERIES
};

#define BUCKETS_SECOND INT64_C(1000)
#define BUCKETS_DAY    INT64_C(86400000)

struct bucket {
    uint64_t amounts[BUCKET_SERIES];
};

struct buckets {
    int64_t zone_ms; /* local time is UTC and this */
    size_t width;    /* which of the list */
    int64_t first;   /* local time of at[0], in widths */
    size_t count;    /* 0: nothing was added */
    struct bucket at[BUCKETS_MAX];
};

/* @width_ms: the least one: BUCKETS_SECOND or BUCKETS_DAY. */
void buckets_init(struct buckets *buckets, int64_t zone_ms, int64_t width_ms);
/* @amount 0: the steps reach as far as @wall_ms. UTC, years 1970 to 9999. */
void buckets_add(struct buckets *buckets,
                 int64_t wall_ms,
                 enum bucket_series series,
                 uint64_t amount);
int64_t buckets_width_ms(const struct buckets *buckets);
/* When a step begins, UTC. @index: also that after the last one, for the end. */
int64_t buckets_start_ms(const struct buckets *buckets, size_t index);

#endif
