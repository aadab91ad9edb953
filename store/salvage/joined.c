/* SPDX-License-Identifier: MIT */
/*
 * joined.c - see joined.h
 *
 * Invariant: what is joined is one range of the file, in the order of the calls.
 */
#include "store/salvage/joined.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int joined_init(struct joined *joined)
{
    joined->bytes = malloc(JOINED_BYTES);
    joined->used = 0;
    return joined->bytes ? 0 : -ENOMEM;
}

void joined_done(struct joined *joined)
{
    free(joined->bytes);
    *joined = (struct joined){0};
}

bool joined_add(struct joined *joined, const void *from, int size, int64_t at)
{
    if (!joined->bytes || size > JOINED_BYTES - joined->used ||
        (joined->used > 0 && at != joined->at + joined->used))
        return false;
    if (joined->used == 0)
        joined->at = at;
    memcpy(joined->bytes + joined->used, from, (size_t)size);
    joined->used += size;
    return true;
}

int joined_flush(struct joined *joined,
                 int (*write)(void *userdata, const void *from, int size, int64_t at),
                 void *userdata)
{
    int used = joined->used;

    if (used == 0)
        return 0;
    joined->used = 0;
    return write(userdata, joined->bytes, used, joined->at);
}
