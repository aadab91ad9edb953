/* SPDX-License-Identifier: MIT */
/*
 * bench.c - the clock, percentiles, the address of loopback, and the end of a program
 */
#include "bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

_Noreturn void bench_die(const char *what)
{
    (void)fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    exit(EXIT_FAILURE);
}

int64_t bench_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct sockaddr_in bench_loopback(const char *port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

void bench_print_percentiles(int64_t *each_ns, size_t count)
{
    static const struct {
        const char *name;
        size_t permille;
    } wanted[] = {{"p50_us", 500}, {"p95_us", 950}, {"p99_us", 990}, {"p999_us", 999}};

    if (count == 0)
        return;
    qsort(each_ns, count, sizeof(*each_ns), compare_ns);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        size_t at = count * wanted[i].permille / 1000;

        (void)printf(",\"%s\":%.1f", wanted[i].name, (double)each_ns[at] / 1e3);
    }
    (void)printf(",\"max_us\":%.1f", (double)each_ns[count - 1] / 1e3);
}
