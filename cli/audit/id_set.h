/* SPDX-License-Identifier: MIT */
/*
 * id_set.h - which ids were seen
 *
 * Ids rise by one, so they are kept as bits, in chunks that are allocated as
 * ids come: a million of them take 128 KiB. An id or a number of chunks that no
 * real spool reaches is refused, so that a file made to hurt costs no more than
 * ID_SET_CHUNKS_MAX times 8 KiB.
 */
#ifndef MQTT_SPOOLD_CLI_AUDIT_ID_SET_H
#define MQTT_SPOOLD_CLI_AUDIT_ID_SET_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

#define ID_SET_CHUNK_BITS 65536
#define ID_SET_CHUNKS_MAX 65536 /* 4,294,967,296 ids close together, 512 MiB */

struct id_chunk {
    uint64_t number; /* id / ID_SET_CHUNK_BITS */
    uint64_t bits[ID_SET_CHUNK_BITS / 64];
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
 * -ENOMEM. */
MUST_CHECK int id_set_add(struct id_set *set, uint64_t id);

#endif
