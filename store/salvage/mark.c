/* SPDX-License-Identifier: MIT */
/*
 * mark.c - see mark.h
 *
 * One write of 32 bytes at the start of one block: torn only by damage, which
 * its own sum shows. The number format is the machine's: the file
 * never leaves it without the database, and a lost mark does no harm.
 */
#include "store/salvage/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/full.h"
#include "base/regular.h"
#include "store/salvage/reads.h"
#include "store/sum.h"

struct mark_image {
    char magic[8];
    uint32_t flags;
    uint32_t sum; /* of all else */
    uint64_t last_id;
    uint64_t last_seq;
};

static const char magic[8] = "mqspmark";
enum { FLAG_SUSPECT = 1, FLAG_UNREAD = 2 };
enum { NAME_TRIES = 1000 };

static uint32_t sum_of_image(struct mark_image image)
{
    image.sum = 0;
    return sum_bytes(0, &image, sizeof(image));
}

int mark_read(int directory_fd, struct mark *ret)
{
    *ret = (struct mark){0};
    int fd = regular_openat(directory_fd, MARK_NAME, O_RDONLY, 0);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    struct mark_image image;
    ssize_t size = reads_at(fd, &image, sizeof(image), 0);
    int r = size < 0 ? (int)size : 0;
    (void)close(fd); /* only read from */
    if (r < 0)
        return r;
    if (size == sizeof(image) && memcmp(image.magic, magic, sizeof(magic)) == 0 &&
        image.sum == sum_of_image(image))
        *ret = (struct mark){.is_known = true,
                             .is_suspect = (image.flags & FLAG_SUSPECT) != 0,
                             .is_unread = (image.flags & FLAG_UNREAD) != 0,
                             .last_id = image.last_id,
                             .last_seq = image.last_seq};
    return 0;
}

int mark_open(int directory_fd)
{
    return regular_openat(directory_fd, MARK_NAME, O_RDWR | O_CREAT, 0644);
}

int mark_set_aside(int directory_fd, const char *why)
{
    char name[64];
    for (int i = 1; i < NAME_TRIES; i++) {
        (void)snprintf(name, sizeof(name), MARK_NAME ".%s-%d", why, i);
        if (faccessat(directory_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        if (renameat(directory_fd, MARK_NAME, directory_fd, name) < 0 && errno != ENOENT)
            return -errno;
        return fsync(directory_fd) < 0 ? -errno : 0;
    }
    return -EEXIST;
}

int mark_write(int fd, const struct mark *mark)
{
    struct mark_image image = {
        .flags = (mark->is_suspect ? FLAG_SUSPECT : 0) | (mark->is_unread ? FLAG_UNREAD : 0),
        .last_id = mark->last_id,
        .last_seq = mark->last_seq,
    };
    memcpy(image.magic, magic, sizeof(magic));
    image.sum = sum_of_image(image);
    ssize_t size = pwrite(fd, &image, sizeof(image), 0);
    if (size == sizeof(image))
        return 0;
    if (size >= 0 || full_is_error(errno))
        return 0;
    return -errno;
}
