/* SPDX-License-Identifier: MIT */
/*
 * archive.c - writes a tar archive (ustar), compressed by gzip
 */
#include "cli/bundle/archive.h"

#include "base/view.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { BLOCK = 512, END_BLOCKS = 2, GZIP = 16, MEMORY_LEVEL = 8, CHUNK = 16384, MODE = 0600 };

/* POSIX.1-1988; numbers are octal, and end with NUL. */
struct header {
    char name[100];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link_name[100];
    char magic[6];
    char version[2];
    char user_name[32];
    char group_name[32];
    char device[16];
    char prefix[155];
    char padding[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

struct archive {
    FILE *stream;
    int64_t time_s;
    z_stream zlib;
    unsigned char out[CHUNK];
};

int archive_open(FILE *stream, int64_t time_s, struct archive **ret)
{
    struct archive *archive = calloc(1, sizeof(*archive));

    if (!archive)
        return -ENOMEM;
    archive->stream = stream;
    archive->time_s = time_s > 0 ? time_s : 0;
    if (deflateInit2(&archive->zlib, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS + GZIP,
                     MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
        free(archive);
        return -ENOMEM;
    }
    *ret = archive;
    return 0;
}

/* @flush: Z_NO_FLUSH, or Z_FINISH with the last bytes. */
static int write_bytes(struct archive *archive, const void *data, size_t size, int flush)
{
    z_stream *zlib = &archive->zlib;
    int result;

    zlib->next_in = (unsigned char *)(uintptr_t)data;
    zlib->avail_in = (uInt)size;
    do {
        zlib->next_out = archive->out;
        zlib->avail_out = CHUNK;
        result = deflate(zlib, flush);
        size_t made = CHUNK - zlib->avail_out;
        if (fwrite(archive->out, 1, made, archive->stream) != made)
            return -EIO;
    } while (flush == Z_FINISH ? result == Z_OK : zlib->avail_out == 0);
    return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR ? 0 : -EIO;
}

static void set_checksum(struct header *header)
{
    const unsigned char *bytes = (const unsigned char *)header;
    unsigned sum = 0;

    memset(header->checksum, ' ', sizeof(header->checksum));
    for (size_t i = 0; i < sizeof(*header); i++)
        sum += bytes[i];
    (void)snprintf(header->checksum, sizeof(header->checksum), "%06o", sum);
}

int archive_add(struct archive *archive, const char *name, struct view data)
{
    static const char zeros[BLOCK];
    struct header header = {.type = '0', .magic = "ustar", .version = {'0', '0'}};
    int result;

    if (strlen(name) > ARCHIVE_NAME_MAX)
        return -ENAMETOOLONG;
    if (data.size > UINT32_MAX)
        return -EIO;
    (void)snprintf(header.name, sizeof(header.name), "%s", name);
    (void)snprintf(header.mode, sizeof(header.mode), "%07o", (unsigned)MODE);
    (void)snprintf(header.uid, sizeof(header.uid), "%07o", 0U);
    (void)snprintf(header.gid, sizeof(header.gid), "%07o", 0U);
    (void)snprintf(header.size, sizeof(header.size), "%011llo", (unsigned long long)data.size);
    (void)snprintf(header.mtime, sizeof(header.mtime), "%011llo",
                   (unsigned long long)archive->time_s & 077777777777ULL);
    set_checksum(&header);
    result = write_bytes(archive, &header, sizeof(header), Z_NO_FLUSH);
    if (result == 0)
        result = write_bytes(archive, data.data, data.size, Z_NO_FLUSH);
    if (result == 0)
        result = write_bytes(archive, zeros, (BLOCK - data.size % BLOCK) % BLOCK, Z_NO_FLUSH);
    return result;
}

int archive_close(struct archive *archive)
{
    static const char end[END_BLOCKS * BLOCK];
    int result = write_bytes(archive, end, sizeof(end), Z_FINISH);

    (void)deflateEnd(&archive->zlib);
    free(archive);
    return result;
}

const char *archive_library(void)
{
    return zlibVersion();
}
