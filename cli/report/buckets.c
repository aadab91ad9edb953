/* SPDX-License-Identifier: MIT */
/*
 * buckets.c - counts over time, in at most BUCKETS_MAX steps of equal width
 *
 * Each width divides the next one, so that merged steps begin where steps of the wider
 * kind do, and no amount has to be split.
 */
#include "cli/report/buckets.h"

#include <stdbool.h>
#include <string.h>

#define SECONDS(n) (INT64_C(1000) * (n))
#define DAYS(n)    (BUCKETS_DAY * (n))

static const int64_t widths[] = {
    SECONDS(1),    SECONDS(5),     SECONDS(15),    SECONDS(60),    SECONDS(300), SECONDS(900),
    SECONDS(3600), SECONDS(10800), SECONDS(21600), SECONDS(43200), DAYS(1),      DAYS(7),
    DAYS(28),      DAYS(364),      DAYS(3640),     DAYS(36400),
};
enum { WIDTHS = sizeof(widths) / sizeof(widths[0]) };

void buckets_init(struct buckets *buckets, int64_t zone_ms, int64_t width_ms)
{
    memset(buckets, 0, sizeof(*buckets));
    buckets->zone_ms = zone_ms;
    while (widths[buckets->width] < width_ms && buckets->width + 1 < WIDTHS)
        buckets->width++;
}

int64_t buckets_width_ms(const struct buckets *buckets)
{
    return widths[buckets->width];
}

int64_t buckets_start_ms(const struct buckets *buckets, size_t index)
{
    return (buckets->first + (int64_t)index) * widths[buckets->width] - buckets->zone_ms;
}

static int64_t divide_down(int64_t value, int64_t by)
{
    return value / by - (value % by < 0 ? 1 : 0);
}

static void merge(struct bucket *into, const struct bucket *from)
{
    for (size_t i = 0; i < BUCKET_SERIES; i++)
        into->amounts[i] += from->amounts[i];
}

/* To the next width. */
static void widen(struct buckets *buckets)
{
    int64_t factor = widths[buckets->width + 1] / widths[buckets->width];
    int64_t first = divide_down(buckets->first, factor);
    size_t count = 0;

    for (size_t i = 0; i < buckets->count; i++) {
        const struct bucket from = buckets->at[i];
        size_t to = (size_t)(divide_down(buckets->first + (int64_t)i, factor) - first);

        /* Each step is read before one that is written: @to is never beyond it. */
        if (to >= count)
            memset(&buckets->at[to], 0, sizeof(buckets->at[to]));
        merge(&buckets->at[to], &from);
        count = to + 1;
    }
    buckets->first = first;
    buckets->count = count;
    buckets->width++;
}

static bool is_too_long(const struct buckets *buckets, int64_t number)
{
    int64_t last = buckets->first + (int64_t)buckets->count - 1;

    return number - buckets->first >= BUCKETS_MAX || last - number >= BUCKETS_MAX;
}

/* The steps reach to @number, which the array has room for. */
static void reach(struct buckets *buckets, int64_t number)
{
    size_t more;

    if (buckets->count == 0) {
        buckets->first = number;
        buckets->count = 1;
        memset(buckets->at, 0, sizeof(buckets->at[0]));
    } else if (number < buckets->first) {
        more = (size_t)(buckets->first - number);
        memmove(buckets->at + more, buckets->at, buckets->count * sizeof(buckets->at[0]));
        memset(buckets->at, 0, more * sizeof(buckets->at[0]));
        buckets->first = number;
        buckets->count += more;
    } else if (number >= buckets->first + (int64_t)buckets->count) {
        more = (size_t)(number - buckets->first) + 1 - buckets->count;
        memset(buckets->at + buckets->count, 0, more * sizeof(buckets->at[0]));
        buckets->count += more;
    }
}

void buckets_add(struct buckets *buckets,
                 int64_t wall_ms,
                 enum bucket_series series,
                 uint64_t amount)
{
    int64_t local_ms = wall_ms + buckets->zone_ms;
    int64_t number = divide_down(local_ms, widths[buckets->width]);

    while (buckets->count > 0 && is_too_long(buckets, number) && buckets->width + 1 < WIDTHS) {
        widen(buckets);
        number = divide_down(local_ms, widths[buckets->width]);
    }
    if (buckets->count > 0 && is_too_long(buckets, number))
        return; /* no date of four digits is as far */
    reach(buckets, number);
    buckets->at[number - buckets->first].amounts[series] += amount;
}
