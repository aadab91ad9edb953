/* SPDX-License-Identifier: MIT */
/*
 * histogram.c - how long things took: percentiles in fixed memory
 *
 * The cell of a value is its highest bit and the five bits below that.
 */
#include "cli/report/histogram.h"

#include <stddef.h>

enum { SPLIT_BITS = 5 };

_Static_assert(1 << SPLIT_BITS == HISTOGRAM_SPLIT, "cells of a doubling");

static size_t cell_of(int64_t value_ms)
{
    uint64_t value = value_ms < 0 ? 0 : (uint64_t)value_ms;
    unsigned shift = 0;

    while (value >> shift >= 2 * HISTOGRAM_SPLIT)
        shift++;
    return shift * HISTOGRAM_SPLIT + (size_t)(value >> shift);
}

static int64_t cell_start(size_t cell)
{
    size_t shift = cell < (size_t)2 * HISTOGRAM_SPLIT ? 0 : cell / HISTOGRAM_SPLIT - 1;

    return (int64_t)((uint64_t)(cell - shift * HISTOGRAM_SPLIT) << shift);
}

static int64_t cell_middle(size_t cell)
{
    size_t shift = cell < (size_t)2 * HISTOGRAM_SPLIT ? 0 : cell / HISTOGRAM_SPLIT - 1;

    return cell_start(cell) + (int64_t)((UINT64_C(1) << shift) / 2);
}

void histogram_add(struct histogram *histogram, int64_t value_ms)
{
    if (histogram->count++ == 0 || value_ms > histogram->max_ms)
        histogram->max_ms = value_ms < 0 ? 0 : value_ms;
    histogram->cells[cell_of(value_ms)]++;
}

int64_t histogram_percentile(const struct histogram *histogram, unsigned per_mille)
{
    uint64_t wanted, seen = 0;
    size_t cell = 0;

    if (histogram->count == 0)
        return 0;
    if (per_mille >= 1000)
        return histogram->max_ms;
    wanted = histogram->count / 1000 * per_mille +
             (histogram->count % 1000 * per_mille + 999) / 1000;
    while (cell + 1 < HISTOGRAM_CELLS && (seen += histogram->cells[cell]) < wanted)
        cell++;
    return cell_middle(cell) < histogram->max_ms ? cell_middle(cell) : histogram->max_ms;
}

uint64_t histogram_between(const struct histogram *histogram, int64_t from_ms, int64_t to_ms)
{
    uint64_t sum = 0;

    for (size_t cell = cell_of(from_ms); cell < HISTOGRAM_CELLS; cell++) {
        if (cell_start(cell) >= to_ms)
            break;
        if (cell_start(cell) >= from_ms)
            sum += histogram->cells[cell];
    }
    return sum;
}
