/* SPDX-License-Identifier: MIT */
/*
 * spool_clock.h - the clock that ages messages
 *
 * Milliseconds that only grow, on CLOCK_BOOTTIME, carried over restarts of the
 * daemon and of the machine. Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_SPOOL_CLOCK_H
#define MQTT_SPOOLD_STORE_SPOOL_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "store/spool.h"

/* What the database holds of the clock. */
struct spool_clock_state {
    char boot_id[SPOOL_BOOT_ID_MAX];
    int64_t boot_ms;       /* CLOCK_BOOTTIME when it was written */
    int64_t clock_ms;      /* and this clock */
    bool has_wall;         /* was there ever a credible reading of the wall clock? */
    int64_t wall_ms;       /* the newest credible one */
    int64_t wall_clock_ms; /* and this clock when it was taken */
    bool is_absent;        /* time switched off is not counted yet ... */
    uint64_t absent_after; /* ... for the messages up to this id */
};

struct spool_clock {
    struct spool_clock_state state; /* the newest reading */
    int64_t jump_ms;                /* to be added by the next commit, 0: nothing */
    int64_t last_ended_ms;          /* this clock when the newest record was made, or the
                                       newest session was left */
};

/* Carries the stored state over to this boot. @last_id: the newest message there is;
 * @last_ended_ms: this clock when the newest record was made or session was left. */
void spool_clock_start(struct spool_clock *clock,
                       const struct spool_clock_state *stored,
                       const char *boot_id,
                       uint64_t last_id,
                       int64_t last_ended_ms,
                       const struct spool_time *now);

/* Reads the clock. @last_id: as above; a later message does not age by time it has not seen. */
int64_t
spool_clock_read(struct spool_clock *clock, const struct spool_time *now, uint64_t last_id);

/* Is a commit due for the clock's sake, with nothing else to write? @written: as on disk. */
bool spool_clock_is_worth_writing(const struct spool_clock *clock,
                                  const struct spool_clock_state *written);

/* Messages after state.absent_after, and records made after state.wall_clock_ms, have been
 * moved by jump_ms: move the clock. */
void spool_clock_jump(struct spool_clock *clock);

/* The clock as a reader estimates it, which does not know the boot. */
int64_t spool_clock_guess(const struct spool_clock_state *stored, const struct spool_time *now);

#endif
