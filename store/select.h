/* SPDX-License-Identifier: MIT */
/*
 * select.h - the walk over selected messages, as those that change them see it
 *
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_SELECT_H
#define MQTT_SPOOLD_STORE_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "store/spool.h"

enum {
    SELECT_ROWS = 256,      /* that one step examines; */
    SELECT_BYTES = 1 << 20, /* or so many charges of what it finds, and one message */
};

struct select_found {
    int64_t position; /* key; of a kept one: seq */
    uint64_t charge;
    unsigned table;
    bool is_neighbour; /* no row lies between it and the one before, which is of its table */
};

struct spool_select {
    struct spool *spool;
    struct spool_selection wanted;
    enum spool_place place;
    uint64_t next; /* id, or seq, at which the walk continues */
    uint64_t last; /* the newest that is part of it */
    /* What the last step found, in the order of positions, and how much of it was taken. */
    struct select_found found[SELECT_ROWS];
    size_t count;
    size_t taken;
    uint8_t *copy; /* of the message that was returned */
    size_t copy_size;
};

/*
 * select_fill() - finds the next ones, after all that were found before
 *
 * Return: 0: there are some, or the step has ended; SPOOL_E_EMPTY: there are none any more;
 * SPOOL_E_BUSY; negative errno.
 */
MUST_CHECK int select_fill(struct spool_select *select, const struct spool_time *now);

/*
 * select_read_kept() - a kept message that was found
 * @ret: borrows from @select
 *
 * Return: 0; SPOOL_E_AGAIN: it is gone, or not what was stored; SPOOL_E_BUSY; negative errno.
 */
MUST_CHECK int select_read_kept(struct spool_select *select,
                                const struct select_found *found,
                                int64_t clock_ms,
                                bool with_payload,
                                struct spool_selected *ret);

#endif
