/* SPDX-License-Identifier: MIT */
/*
 * lines.h - lines from a descriptor, within a cap
 *
 * Reads only when it is called, so that the caller can poll several
 * descriptors, and stop reading while it has no room.
 */
#ifndef MQTT_SPOOLD_CLI_LINES_H
#define MQTT_SPOOLD_CLI_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/bytes.h"

struct lines {
    struct bytes bytes;
    int fd;          /* borrowed */
    size_t scanned;  /* so far no newline in these bytes */
    size_t taken;    /* of the line that was handed out last */
    uint64_t offset; /* of that line, or of the next one, from where the reading began */
    bool ended;      /* the end of the file was read */
};

struct line {
    const char *text; /* not terminated */
    size_t size;
    bool torn; /* the last one, without a newline */
};

/* @cap: longest line with its newline. */
void lines_init(struct lines *lines, int fd, size_t cap);
void lines_done(struct lines *lines);

/* The next line that is in memory; valid until the next call. False: none, read more. */
bool lines_take(struct lines *lines, struct line *ret);
/* One read(2). Return: 0, also at the end (ended is set); -ENOBUFS: the line is longer than the
 * cap; other negative errno. */
MUST_CHECK int lines_fill(struct lines *lines);
/* Reads until there is a line. Return: 1 a line; 0 the end; negative as lines_fill(). */
MUST_CHECK int lines_next(struct lines *lines, struct line *ret);

/*
 * lines_skip_zeros() - passes over zero bytes, however many
 * @ret_at:    offset of the first one that is in memory; what is before it, also of the line
 *             that was handed out last, is passed over, too
 * @ret_count: of those that follow it without another byte
 *
 * Return: 1; 0: none is in memory, nothing was passed over; negative as lines_fill().
 */
MUST_CHECK int lines_skip_zeros(struct lines *lines, uint64_t *ret_at, uint64_t *ret_count);

/* The file may have grown, if its end was read. A torn line that was handed out last is handed
 * out again, with what follows it. */
void lines_resume(struct lines *lines);

#endif
