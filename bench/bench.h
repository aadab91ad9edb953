/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the programs of bench/ share: the clock, percentiles, the address of loopback,
 * and how they end
 *
 * Each program prints JSON objects; their times are CLOCK_MONOTONIC nanoseconds, so that the
 * times of two programs compare.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

/* Prints @what with the text of errno to standard error and ends the program. */
_Noreturn void bench_die(const char *what);

int64_t bench_now_ns(void);

/* @port of this machine, a number in decimal. */
struct sockaddr_in bench_loopback(const char *port);

/* Prints the members p50_us, p95_us, p99_us, p999_us and max_us of a JSON object, each with a
 * comma before it, and nothing if @count is 0. Sorts @each_ns. */
void bench_print_percentiles(int64_t *each_ns, size_t count);

#endif
