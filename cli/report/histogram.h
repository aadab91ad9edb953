/* SPDX-License-Identifier: MIT */
/*
 * histogram.h - how long things took: percentiles in fixed memory
 *
 * Cells on a logarithmic scale, 32 for each doubling. Up to 63 ms a value is exact, above
 * that it is known with an error of at most one part in 64 (1.6 %). The maximum is exact.
 */
#ifndef MQTT_SPOOLD_CLI_REPORT_HISTOGRAM_H
#define MQTT_SPOOLD_CLI_REPORT_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_SPLIT = 32, HISTOGRAM_CELLS = 59 * HISTOGRAM_SPLIT };

/* All zero: empty. */
struct histogram {
    uint64_t count;
    int64_t max_ms;
    uint64_t cells[HISTOGRAM_CELLS];
};

/* A negative value counts as 0. */
void histogram_add(struct histogram *histogram, int64_t value_ms);
/* The value that @per_mille of all do not exceed, 1 to 1000; 0: nothing was added. */
int64_t histogram_percentile(const struct histogram *histogram, unsigned per_mille);
/* How many were at least @from_ms and less than @to_ms, as exact as the cells are. Adjoining
 * ranges have no value twice. */
uint64_t histogram_between(const struct histogram *histogram, int64_t from_ms, int64_t to_ms);

#endif
