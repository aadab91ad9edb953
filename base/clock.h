/* SPDX-License-Identifier: MIT */
/*
 * clock.h - the only place that reads clocks
 *
 * A reading is passed on as an argument, and read anew after whatever may have
 * taken long: a commit, a sync, a turn of the loop. Ages and timers run on
 * CLOCK_BOOTTIME, which no NTP step moves and which counts time asleep; the wall
 * clock is for records.
 *
 * sd_event_now() is the time when the present dispatch began, and
 * sd_event_source_set_time_relative() counts from it: after a commit of a second
 * in that dispatch a timer would be due at once. So timers are set by these.
 */
#ifndef MQTT_SPOOLD_BASE_CLOCK_H
#define MQTT_SPOOLD_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct clock_reading {
    int64_t wall_ms;
    int64_t boot_ms;
    bool synchronized; /* may wall_ms be believed? adjtimex(2) says so, or, where it may not be
                          asked, /run/systemd/timesync/synchronized; never before 2025 */
};

void clock_read(struct clock_reading *ret);
uint64_t clock_boot_us(void);
/* CLOCK_MONOTONIC, which does not count time asleep: for what waits for a local program. */
uint64_t clock_monotonic_us(void);

/* RFC 3339, UTC, milliseconds: "2026-11-01T12:34:56.789Z". Years 1970 to 9999. */
#define CLOCK_TEXT_MAX 32
void clock_format(int64_t wall_ms, char text[static CLOCK_TEXT_MAX]);
/* The inverse; false when the text is no such time. */
bool clock_parse(const char *text, int64_t *ret_wall_ms);

/* /proc/sys/kernel/random/boot_id without the newline; empty text when it cannot be read. */
#define CLOCK_BOOT_ID_MAX 37
void clock_boot_id(char text[static CLOCK_BOOT_ID_MAX]);

/* "3 d 4 h", "12 s", "250 ms": two units at most, for people. */
#define CLOCK_SPAN_MAX 64
void clock_format_span(int64_t span_ms, char text[static CLOCK_SPAN_MAX]);

/* Of a forecast, rounded up: 0 says that it is so already. @seconds: 0 or more. */
uint64_t clock_round_up_s(double seconds);

#endif
