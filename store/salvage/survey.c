/* SPDX-License-Identifier: MIT */
/*
 * survey.c - see survey.h
 *
 * The kernel reads by blocks of 4 KiB (pages of its cache), so a bad sector
 * shows as such a block. It is asked to drop what it holds of the file first:
 * what it keeps in memory can be read even if the disk was pulled out.
 */
#include "store/salvage/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/regular.h"
#include "store/names.h"
#include "store/salvage/mark.h"
#include "store/salvage/reads.h"
#include "store/spool-private.h"

enum { ROUNDS = 4, PAUSE_S = 1 };

static const char *const names[SURVEY_FILES] = {DATABASE_NAME, LOG_NAME, MARK_NAME};

static bool is_set(const struct survey_blocks *blocks, uint64_t block)
{
    return blocks->bad && (blocks->bad[block / 8] >> block % 8 & 1);
}

static bool reads(int fd, uint64_t block)
{
    char bytes[SURVEY_BLOCK];
    ssize_t n;
    do {
        n = pread(fd, bytes, sizeof(bytes), (off_t)(block * SURVEY_BLOCK));
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}

static int mark_bad(struct survey_blocks *blocks, uint64_t block)
{
    if (!blocks->bad)
        blocks->bad = calloc((size_t)(blocks->count / 8 + 1), 1);
    if (!blocks->bad)
        return -ENOMEM;
    blocks->bad[block / 8] |= (uint8_t)(1U << block % 8);
    if (blocks->bad_count == 0)
        blocks->first_bad = block;
    blocks->bad_count++;
    return 0;
}

static int first_round(int fd, struct survey_blocks *blocks)
{
    int r = 0;
    for (uint64_t block = 0; block < blocks->count && r == 0; block++) {
        if (reads_is_stopped())
            r = -ECANCELED;
        else if (!reads(fd, block))
            r = mark_bad(blocks, block);
    }
    return r;
}

/* Only what failed before. */
static int another_round(int fd, struct survey_blocks *blocks)
{
    const struct timespec pause = {.tv_sec = PAUSE_S};
    (void)nanosleep(&pause, NULL); /* shorter where a signal comes */
    uint64_t left = 0;
    for (uint64_t block = blocks->first_bad; block < blocks->count; block++) {
        if (!is_set(blocks, block))
            continue;
        if (reads_is_stopped())
            return -ECANCELED;
        if (reads(fd, block)) {
            blocks->bad[block / 8] &= (uint8_t) ~(1U << block % 8);
            continue;
        }
        if (left++ == 0)
            blocks->first_bad = block;
    }
    blocks->bad_count = left;
    return 0;
}

/* Something must still come from the disk when the others have failed for the last time. */
static bool is_alive(int fd, const struct survey_blocks *blocks)
{
    uint64_t block = 0;
    while (block < blocks->count && is_set(blocks, block))
        block++;
    if (block == blocks->count)
        return false;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* a hint */
    return reads(fd, block);
}

static int survey_one_file(int fd, int file, struct survey_blocks *blocks)
{
    bool is_database = file == SURVEY_DATABASE;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    blocks->count = ((uint64_t)status.st_size + SURVEY_BLOCK - 1) / SURVEY_BLOCK;
    if (file == SURVEY_MARK && blocks->count > 1)
        blocks->count = 1;                              /* nothing is stored behind it */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* a hint */
    int r = first_round(fd, blocks);
    for (int i = 1; i < ROUNDS && r == 0 && blocks->bad_count > 0; i++) {
        if (is_database && blocks->bad_count == blocks->count)
            return -EIO;
        r = another_round(fd, blocks);
    }
    return r;
}

/* The database must still read, or the log where that is all there is. */
static bool disk_is_alive(const struct survey *survey, const int fds[static SURVEY_FILES])
{
    bool is_any_bad = false;
    for (int i = 0; i < SURVEY_FILES; i++)
        is_any_bad |= survey->files[i].bad_count > 0;
    if (!is_any_bad)
        return true;
    int reference = survey->files[SURVEY_DATABASE].count > 0 ? SURVEY_DATABASE : SURVEY_LOG;
    return is_alive(fds[reference], &survey->files[reference]);
}

static void describe(const struct survey *survey, char *errmsg)
{
    size_t used = 0;
    for (int i = 0; i < SURVEY_FILES; i++) {
        const struct survey_blocks *blocks = &survey->files[i];
        if (blocks->bad_count == 0)
            continue;
        int length =
            snprintf(errmsg + used, SPOOL_ERRMSG_MAX - used,
                     "%s%llu of %llu blocks of %s cannot be read (4 KiB each, the first "
                     "at byte %llu)",
                     used > 0 ? ", " : "", (unsigned long long)blocks->bad_count,
                     (unsigned long long)blocks->count, names[i],
                     (unsigned long long)blocks->first_bad * SURVEY_BLOCK);
        if (length < 0 || (size_t)length >= SPOOL_ERRMSG_MAX - used)
            return;
        used += (size_t)length;
    }
}

static int open_and_look(int directory_fd, int file, struct survey_blocks *blocks, int *ret_fd)
{
    *ret_fd = regular_openat(directory_fd, names[file], O_RDONLY, 0);
    if (*ret_fd < 0)
        return *ret_fd == -ENOENT ? 0 : *ret_fd;
    return survey_one_file(*ret_fd, file, blocks);
}

/* The database comes first: if nothing of it can be read, the others mean nothing. */
int survey_take(int directory_fd, struct survey *ret, char *errmsg)
{
    int fds[SURVEY_FILES] = {-1, -1, -1};
    int r = 0;
    *ret = (struct survey){0};
    *errmsg = '\0';
    for (int i = 0; i < SURVEY_FILES && r == 0; i++) {
        r = open_and_look(directory_fd, i, &ret->files[i], &fds[i]);
        if (r < 0)
            (void)snprintf(errmsg, SPOOL_ERRMSG_MAX, "%s: %s", names[i], strerror(-r));
    }
    if (r == 0 && !disk_is_alive(ret, fds))
        r = -EIO;
    if (r == -EIO)
        (void)snprintf(errmsg, SPOOL_ERRMSG_MAX,
                       "the disk gives nothing of spool.db: one that is gone is no damage");
    for (int i = 0; i < SURVEY_FILES; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]); /* only read from */
    }
    if (r == 0)
        describe(ret, errmsg);
    return r;
}

void survey_done(struct survey *survey)
{
    for (int i = 0; i < SURVEY_FILES; i++)
        free(survey->files[i].bad);
    *survey = (struct survey){0};
}

bool survey_found_damage(const struct survey *survey)
{
    return survey->files[SURVEY_DATABASE].bad_count > 0 ||
           survey->files[SURVEY_LOG].bad_count > 0;
}

bool survey_is_bad(const struct survey *survey,
                   enum survey_file file,
                   uint64_t from,
                   size_t size)
{
    if (!survey || survey->files[file].bad_count == 0 || size == 0)
        return false;
    const struct survey_blocks *blocks = &survey->files[file];
    for (uint64_t block = from / SURVEY_BLOCK; block <= (from + size - 1) / SURVEY_BLOCK;
         block++) {
        if (block < blocks->count && is_set(blocks, block))
            return true;
    }
    return false;
}
