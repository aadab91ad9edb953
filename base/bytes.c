/* SPDX-License-Identifier: MIT */
/*
 * bytes.c - a byte queue with a cap
 *
 * One block of memory, head <= tail <= size <= cap. Consuming only moves the
 * head; the bytes are moved to the front when the room behind the tail is too
 * small, which is rare because a queue is nearly always emptied whole. When it
 * runs empty a small block is kept, so that a busy client does not allocate for
 * each packet, and a large one is freed.
 */
#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/view.h"

#define BYTES_SIZE_MIN 512
#define BYTES_KEEP_MAX 4096

void bytes_init(struct bytes *bytes, size_t cap)
{
    *bytes = (struct bytes){.cap = cap};
}

void bytes_done(struct bytes *bytes)
{
    free(bytes->memory);
    *bytes = (struct bytes){.cap = bytes->cap};
}

void bytes_set_cap(struct bytes *bytes, size_t cap)
{
    assert(cap >= bytes_used(bytes));
    bytes->cap = cap;
}

size_t bytes_used(const struct bytes *bytes)
{
    return bytes->tail - bytes->head;
}

struct view bytes_view(const struct bytes *bytes)
{
    if (bytes_used(bytes) == 0)
        return (struct view){0};
    return view_of(bytes->memory + bytes->head, bytes_used(bytes));
}

/* Allocates a block for @wanted bytes in all: at least twice the old one, so that growing byte
 * by byte stays linear, never above the cap. */
static int bytes_grow(struct bytes *bytes, size_t wanted)
{
    size_t used = bytes_used(bytes);
    size_t size = bytes->size < BYTES_SIZE_MIN ? BYTES_SIZE_MIN : bytes->size;
    uint8_t *memory;

    if (size < wanted)
        size = size > SIZE_MAX / 2 || size * 2 < wanted ? wanted : size * 2;
    if (size > bytes->cap)
        size = bytes->cap;
    memory = malloc(size);
    if (!memory)
        return -ENOMEM;
    if (bytes->memory)
        memcpy(memory, bytes->memory + bytes->head, used);
    free(bytes->memory);
    *bytes = (struct bytes){.memory = memory, .tail = used, .size = size, .cap = bytes->cap};
    return 0;
}

int bytes_reserve(struct bytes *bytes, size_t size, uint8_t **ret)
{
    size_t used = bytes_used(bytes);

    if (size > bytes->cap - used)
        return -ENOBUFS;
    if (!bytes->memory || used + size > bytes->size) {
        int r = bytes_grow(bytes, used + size);

        if (r < 0)
            return r;
    } else if (size > bytes->size - bytes->tail) {
        memmove(bytes->memory, bytes->memory + bytes->head, used);
        bytes->head = 0;
        bytes->tail = used;
    }
    *ret = bytes->memory + bytes->tail;
    return 0;
}

void bytes_commit(struct bytes *bytes, size_t size)
{
    assert(size <= bytes->size - bytes->tail);
    bytes->tail += size;
}

int bytes_append(struct bytes *bytes, const void *data, size_t size)
{
    uint8_t *room;
    int r;

    if (size == 0)
        return 0;
    r = bytes_reserve(bytes, size, &room);
    if (r < 0)
        return r;
    memcpy(room, data, size);
    bytes_commit(bytes, size);
    return 0;
}

void bytes_erase(struct bytes *bytes, size_t offset, size_t size)
{
    size_t used = bytes_used(bytes);

    assert(offset <= used && size <= used - offset);
    if (size == 0)
        return;
    uint8_t *at = bytes->memory + bytes->head + offset;
    memmove(at, at + size, used - offset - size);
    bytes->tail -= size;
}

void bytes_consume(struct bytes *bytes, size_t size)
{
    assert(size <= bytes_used(bytes));
    bytes->head += size;
    if (bytes->head < bytes->tail)
        return;
    bytes->head = 0;
    bytes->tail = 0;
    if (bytes->size > BYTES_KEEP_MAX) {
        free(bytes->memory);
        bytes->memory = NULL;
        bytes->size = 0;
    }
}
