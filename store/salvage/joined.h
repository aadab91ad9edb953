/* SPDX-License-Identifier: MIT */
/*
 * joined.h - neighbouring writes of a file, joined into one
 *
 * SQLite writes each frame of its log in two calls, one after the other. Joined
 * here, a commit takes one or two calls of the kernel.
 *
 * What is joined is in memory only, until it is written by joined_flush(). The
 * owner does that before each other call on the file.
 *
 * Thread: none of its own; a struct is used by one thread at a time.
 */
#ifndef MQTT_SPOOLD_STORE_SALVAGE_JOINED_H
#define MQTT_SPOOLD_STORE_SALVAGE_JOINED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

/* SQLite's own write takes less than 128 KiB at once: of exactly 128 KiB it writes nothing, and
 * reports a full disk. */
enum { JOINED_BYTES = 96 << 10 };

struct joined {
    unsigned char *bytes; /* owned; NULL: nothing is ever joined */
    int used;
    int64_t at; /* where the first byte goes */
};

/* Return: 0; -ENOMEM. Not initialized twice. */
MUST_CHECK int joined_init(struct joined *joined);
/* What was not written is lost. */
void joined_done(struct joined *joined);

/* Takes @size bytes that go to @at. Return: false: they do not follow what is there, or not so
 * much fits; nothing changed. */
MUST_CHECK bool joined_add(struct joined *joined, const void *from, int size, int64_t at);

/* Writes by one call what was joined, and forgets it even if that fails: what a failed write
 * has left is unknown. Return: 0: nothing was joined; else what @write returned. */
MUST_CHECK int
joined_flush(struct joined *joined,
             int (*write)(void *userdata, const void *from, int size, int64_t at),
             void *userdata);

#endif
