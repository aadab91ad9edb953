/* SPDX-License-Identifier: MIT */
/*
 * turn.h - a turn of the loop: its clock, its timers, and whether it may still commit
 *
 * The lowest part of the gateway. Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_TURN_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_TURN_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "store/spool.h"

struct turn {
    sd_event *event;           /* owned: a reference */
    const struct spool *spool; /* borrowed, for its error text; NULL before it is open */
    struct clock_reading now;  /* as last read */
    int64_t started_boot_ms;
    bool has_failed; /* a fatal error: nothing may be committed or acknowledged any more */
    bool has_moved;  /* the spool's files were: the same, but what only this process holds must
                        be put back before it ends */
};

/* References @event and reads the clock. */
void turn_init(struct turn *turn, sd_event *event);
void turn_finish(struct turn *turn);

/* Before anything is stamped or measured: a reading from before a commit is too old. */
void turn_read_clock(struct turn *turn);
struct spool_time turn_spool_time(const struct turn *turn);

/* Timers run from now on and not from the time when the dispatch began. Return: 0 or more;
 * negative errno. */
int turn_add_timer(const struct turn *turn,
                   uint64_t after_ms,
                   sd_event_time_handler_t handler,
                   void *userdata,
                   int enabled,
                   sd_event_source **ret);
int turn_set_timer(sd_event_source *timer, uint64_t after_ms);
int turn_set_deadline(sd_event_source *deadline, uint64_t after_ms);

/* Logs @what and negative errno @error, then ends the loop with exit code 1. Later calls do
 * nothing. */
void turn_fail(struct turn *turn, int error, const char *what);
/* The same without a line: the reason is logged already. */
void turn_end(struct turn *turn);

/* An error text of the store as a value of the log; a longer one is cut. Returns @text. */
#define GATEWAY_ERROR_QUOTED_MAX 640
const char *gateway_quote_error(const char *error, char text[static GATEWAY_ERROR_QUOTED_MAX]);

#endif
