/* SPDX-License-Identifier: MIT */
/*
 * zero_tail.c - the zero bytes at the end of a file
 */
#include "base/zero_tail.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/read_full.h"

#define BLOCK_BYTES 16384

/* There may be a gigabyte of them, and a small processor: the C library compares faster. */
static bool is_zero(const char *block, size_t count)
{
    return block[0] == '\0' && memcmp(block, block + 1, count - 1) == 0;
}

int zero_tail_begin(int fd, off_t size, off_t *ret)
{
    char block[BLOCK_BYTES];
    off_t least = size > ZERO_TAIL_MAX ? size - ZERO_TAIL_MAX : 0, end = size;

    while (end > least) {
        off_t count = end - least < BLOCK_BYTES ? end - least : BLOCK_BYTES;
        ssize_t got = read_full_at(fd, block, (size_t)count, end - count);

        if (got != (ssize_t)count)
            return got < 0 ? (int)got : -EIO;
        if (is_zero(block, (size_t)count)) {
            end -= count;
            continue;
        }
        while (count > 0 && block[count - 1] == '\0') {
            count--;
            end--;
        }
        if (count > 0)
            break;
    }
    *ret = end;
    return 0;
}
