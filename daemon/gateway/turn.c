/* SPDX-License-Identifier: MIT */
/*
 * turn.c - a turn of the loop: its clock, its timers, and the one failure
 *
 * The lowest file of the gateway; it needs none of the others.
 *
 * Invariant: after turn_fail() nothing is acknowledged, committed or forwarded:
 * what the loop still calls checks turn->has_failed first.
 *
 * Diagnostics: failed.
 */
#include "daemon/gateway/turn.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

#define USEC_PER_MS       UINT64_C(1000)
#define TIMER_ACCURACY_US 1000

void turn_init(struct turn *turn, sd_event *event)
{
    *turn = (struct turn){.event = sd_event_ref(event)};
    turn_read_clock(turn);
    turn->started_boot_ms = turn->now.boot_ms;
}

void turn_finish(struct turn *turn)
{
    turn->event = sd_event_unref(turn->event);
}

void turn_read_clock(struct turn *turn)
{
    clock_read(&turn->now);
}

struct spool_time turn_spool_time(const struct turn *turn)
{
    return (struct spool_time){
        .wall_ms = turn->now.wall_ms,
        .boot_ms = turn->now.boot_ms,
        .wall_credible = turn->now.synchronized,
    };
}

int turn_add_timer(const struct turn *turn,
                   uint64_t after_ms,
                   sd_event_time_handler_t handler,
                   void *userdata,
                   int enabled,
                   sd_event_source **ret)
{
    int r = sd_event_add_time(turn->event, ret, CLOCK_BOOTTIME,
                              clock_boot_us() + after_ms * USEC_PER_MS, TIMER_ACCURACY_US,
                              handler, userdata);
    if (r >= 0)
        r = sd_event_source_set_enabled(*ret, enabled);
    return r;
}

int turn_set_timer(sd_event_source *timer, uint64_t after_ms)
{
    return sd_event_source_set_time(timer, clock_boot_us() + after_ms * USEC_PER_MS);
}

int turn_set_deadline(sd_event_source *deadline, uint64_t after_ms)
{
    int r = turn_set_timer(deadline, after_ms);

    return r < 0 ? r : sd_event_source_set_enabled(deadline, SD_EVENT_ONESHOT);
}

const char *gateway_quote_error(const char *error, char text[static GATEWAY_ERROR_QUOTED_MAX])
{
    return log_quote(text, GATEWAY_ERROR_QUOTED_MAX, error, strlen(error));
}

void turn_end(struct turn *turn)
{
    turn->has_failed = true;
    (void)sd_event_exit(turn->event, EXIT_FAILURE);
}

void turn_fail(struct turn *turn, int error, const char *what)
{
    const char *detail = turn->spool ? spool_error(turn->spool) : "";
    char text[GATEWAY_ERROR_QUOTED_MAX];

    if (turn->has_failed)
        return;
    log_error("failed what=%s error=\"%s\" detail=%s acknowledged=no remedy=\"systemd starts "
              "the daemon again; look at the disk (journalctl -k) and at the memory\"",
              what, strerror(-error), gateway_quote_error(detail, text));
    turn_end(turn);
}
