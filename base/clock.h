/* SPDX-License-Identifier: MIT */
/*
 * clock.h - the only place that reads clocks
 *
 * A reading is passed on as an argument, and a new one is taken after anything
 * that may have taken long: a commit, a sync, a turn of the loop. Ages and timers run on
 * CLOCK_BOOTTIME, which no NTP step moves and which counts time asleep; the wall
 * clock is for records.
 *
 * sd_event_now() is the time at which the current dispatch began, and
 * sd_event_source_set_time_relative() counts from it: after a commit of a second
 * in that dispatch a timer would be due at once. So timers are set from these.
 *
 * Thread: any, except clock_read(), which caches: loop thread only.
 */
#ifndef MQTT_SPOOLD_BASE_CLOCK_H
#define MQTT_SPOOLD_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct clock_reading {
    int64_t wall_ms;   /* CLOCK_REALTIME */
    int64_t boot_ms;   /* CLOCK_BOOTTIME */
    bool synchronized; /* wall_ms is credible: by adjtimex(2) or, where a sandbox forbids that,
                          /run/systemd/timesync/synchronized; never before 2025 */
};

void clock_read(struct clock_reading *ret);
/* CLOCK_BOOTTIME. */
uint64_t clock_boot_us(void);
/* CLOCK_MONOTONIC, which does not count time asleep: for timeouts of local programs. */
uint64_t clock_monotonic_us(void);

/* RFC 3339, UTC, milliseconds: "2026-11-01T12:34:56.789Z". Years 1970 to 9999. */
#define CLOCK_TEXT_MAX 32
void clock_format(int64_t wall_ms, char text[static CLOCK_TEXT_MAX]);
/* The inverse. False: @text is no such time. */
bool clock_parse(const char *text, int64_t *ret_wall_ms);

/* /proc/sys/kernel/random/boot_id without the newline; "" if it cannot be read. */
#define CLOCK_BOOT_ID_MAX 37
void clock_boot_id(char text[static CLOCK_BOOT_ID_MAX]);

/* A duration for people, two units at most: "3 d 4 h", "12 s", "250 ms". */
#define CLOCK_SPAN_MAX 64
void clock_format_span(int64_t span_ms, char text[static CLOCK_SPAN_MAX]);

/* Whole seconds of a forecast, rounded up: only 0 s becomes 0. @seconds: 0 or more. */
uint64_t clock_round_up_s(double seconds);

#endif
