/* SPDX-License-Identifier: MIT */
/*
 * id_set.h - which ids were seen
 *
 * Ids of one chunk are a list at first, and bits once so many came that these are smaller. Ids
 * of a real spool rise by one, so they soon are bits: a million of them take 128 KiB. Ids that
 * a file made to hurt spreads far take ID_SET_BYTES_PER_ID each, less than the line that had
 * them. An id or a number of chunks that no real spool reaches is refused: all chunks full of
 * bits, after 268 million lines at least, take 512 MiB.
 */
#ifndef MQTT_SPOOLD_CLI_AUDIT_ID_SET_H
#define MQTT_SPOOLD_CLI_AUDIT_ID_SET_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

#define ID_SET_CHUNK_BITS   65536
#define ID_SET_CHUNKS_MAX   65536 /* 4,294,967,296 ids close together */
#define ID_SET_LIST_MAX     4096  /* as large as the bits */
#define ID_SET_BYTES_PER_ID 128   /* at most, with the overhead of allocations */

struct id_chunk {
    uint64_t number; /* id / ID_SET_CHUNK_BITS */
    uint32_t count;  /* of the list */
    uint32_t size;   /* of the list; 0: there are bits instead */
    union {
        void *memory;
        uint16_t *list; /* the ids' remainders, rising */
        uint64_t *bits;
    };
};

/* All zero: empty. */
struct id_set {
    struct id_chunk **chunks; /* by rising number */
    size_t count;
    size_t size;
    size_t last; /* where the newest id was found: the next is mostly near it */
};

void id_set_done(struct id_set *set);
/* Return: 0: it is new and was added; -EEXIST: it was there; -ENOBUFS: too many chunks;
 * -ENOMEM: nothing was added. */
MUST_CHECK int id_set_add(struct id_set *set, uint64_t id);

#endif
