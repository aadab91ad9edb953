/* SPDX-License-Identifier: MIT */
/*
 * files_mark.c - have the files of the settings changed since the last attempt?
 *
 * An operator who replaces a password or a certificate should not have to wait for the end of
 * a pause. The mark is a sum of what the kernel reports of each file; nothing is read, and a
 * file that is missing counts as one that is empty.
 */
#include <string.h>
#include <sys/stat.h>

#include "daemon/uplink/uplink-private.h"

#define FNV_OFFSET 0xCBF29CE484222325u
#define FNV_PRIME  0x100000001B3u

static uint64_t mix(uint64_t mark, uint64_t number)
{
    for (unsigned i = 0; i < sizeof(number); i++)
        mark = (mark ^ (number >> (8 * i) & 0xFF)) * FNV_PRIME;
    return mark;
}

static uint64_t mix_file(uint64_t mark, const char *path)
{
    struct stat seen = {0};

    if (path[0] == '\0')
        return mark;
    if (stat(path, &seen) < 0)
        memset(&seen, 0, sizeof(seen));
    mark = mix(mark, seen.st_dev);
    mark = mix(mark, seen.st_ino);
    mark = mix(mark, (uint64_t)seen.st_size);
    mark = mix(mark, (uint64_t)seen.st_mode);
    mark = mix(mark, (uint64_t)seen.st_ctim.tv_sec);
    return mix(mark, (uint64_t)seen.st_ctim.tv_nsec);
}

uint64_t uplink_files_mark(const struct uplink_settings *settings)
{
    uint64_t mark = FNV_OFFSET;

    mark = mix_file(mark, settings->password_file);
    mark = mix_file(mark, settings->tls.ca_file);
    mark = mix_file(mark, settings->tls.cert_file);
    mark = mix_file(mark, settings->tls.key_file);
    return mix_file(mark, settings->tls.key_password_file);
}
