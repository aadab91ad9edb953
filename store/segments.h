/* SPDX-License-Identifier: MIT */
/*
 * segments.h - which rows the segment tables hold, in numbers
 *
 * Messages that will soon be delivered go to the current segment, one after the other, so
 * the ids of segments do not overlap. A row of a segment is pending while its id is above
 * ended_id of its lane; all others were delivered, by runs. A segment whose rows were all
 * delivered and exported is emptied as a whole, and can be the current one again.
 *
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_SEGMENTS_H
#define MQTT_SPOOLD_STORE_SEGMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/stmt.h"

enum {
    SEGMENT_ROWS = 1024,
    SEGMENT_BYTES = 1 << 20,         /* of charges */
    SEGMENT_MESSAGE_BYTES = 1 << 16, /* a larger message goes to table message */
    SEGMENT_BACKLOG = 4096,          /* and so do those of a lane that holds so many */
    SEGMENT_MOVED_MAX = 256,         /* see segments_unpin() */
};

struct segment {
    uint64_t first_id; /* of its rows, also of those that are deleted; 0: it has none */
    uint64_t last_id;
    uint64_t rows;
    uint64_t delivered; /* of them */
    uint64_t bytes;     /* that were appended */
    uint64_t last_seq;  /* the newest of its deliveries */
    bool has_expiry;    /* a row has one, or had */
};

/* What a batch changes of it is committed or rolled back with all other totals. */
struct segments {
    struct segment all[TABLE_SEGMENTS];
    unsigned current;
};

/* Those above, which a test makes smaller. */
struct segment_limits {
    uint64_t rows;
    uint64_t backlog;
};

/* The next one, from @id on, that has rows, in the order of ids; TABLE_SEGMENTS: none. */
unsigned segments_next(const struct segments *segments, uint64_t id);

/* The table for a message of this charge: the current segment, a new one, or TABLE_MESSAGE. */
unsigned segments_choose(struct segments *segments,
                         const struct segment_limits *limits,
                         uint64_t charge);

/* A row was appended. */
void segments_note_append(struct segment *segment, uint64_t id, uint64_t charge, bool expires);

bool segments_have_expiry(const struct segments *segments);

#endif
