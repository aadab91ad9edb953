/* SPDX-License-Identifier: MIT */
/*
 * step_disk.c - how long the disk takes to sync, what it has room for, and the clock
 *
 * A PUBACK waits for one sync. It is measured on a file of its own beside the spool, which has
 * no name, or loses it before the first byte is written.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/doctor/findings.h"
#include "cli/doctor/judge.h"
#include "cli/doctor/record.h"
#include "cli/doctor/steps.h"
#include "daemon/config/config.h"
#include "daemon/config/spool_lanes.h"
#include "store/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    SYNCS = 20,
    SYNC_BYTES = 4096,
    SYNC_SLOW_US = 50000,
    SYNC_UNREAL_US = 5,         /* no storage is that fast */
    SYNC_ALL_MS = 10000,        /* then it is enough, whatever was measured */
    FIRST_CREDIBLE_DAY = 20089, /* 2025-01-01 */
    DAY_MS = 24 * 3600 * 1000,
};

#define CIFS_MAGIC 0xFF534D42u
#define SMB2_MAGIC 0xFE534D42u

#define MEMORY_FS  "messages are lost when the power fails: put spool.directory on a disk"
#define NETWORK_FS "SQLite's write-ahead log needs a disk of this machine"

/* File systems that do not keep the promise of a PUBACK, or may not. */
static const struct {
    uint32_t magic;
    const char *name;
    const char *remedy;
} file_systems[] = {
    {TMPFS_MAGIC, "tmpfs", MEMORY_FS},
    {RAMFS_MAGIC, "ramfs", MEMORY_FS},
    {OVERLAYFS_SUPER_MAGIC, "overlay",
     "messages are lost with the container: mount a volume at spool.directory"},
    {NFS_SUPER_MAGIC, "nfs", NETWORK_FS},
    {CIFS_MAGIC, "cifs", NETWORK_FS},
    {SMB2_MAGIC, "smb", NETWORK_FS},
    {SMB_SUPER_MAGIC, "smb", NETWORK_FS},
    {V9FS_MAGIC, "9p", NETWORK_FS},
    {CEPH_SUPER_MAGIC, "ceph", NETWORK_FS},
    {FUSE_SUPER_MAGIC, "fuse", "whether a sync reaches a disk depends on its program"},
};

static void check_file_system(struct doctor_work *work, int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return;
    for (size_t i = 0; i < sizeof(file_systems) / sizeof(file_systems[0]); i++) {
        if ((uint32_t)fs.f_type == file_systems[i].magic)
            doctor_add(work, DOCTOR_WARNING, file_systems[i].remedy,
                       "%s is on a file system of type %s", work->config->spool.directory,
                       file_systems[i].name);
    }
}

/* Return: a descriptor, or negative errno. */
static int open_scratch(const char *directory)
{
    char name[PATH_MAX];
    int fd = open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd < 0 ? -errno : fd;
    (void)snprintf(name, sizeof(name), "%s/.doctor-XXXXXX", directory);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    (void)unlink(name); /* fails only if another process has done it */
    return fd;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

/* Return: how many were measured, into @us, sorted; negative errno. */
static int measure(int fd, uint64_t us[static SYNCS])
{
    static const char block[SYNC_BYTES];
    uint64_t begin_us = clock_monotonic_us();
    int count = 0;

    while (count < SYNCS) {
        uint64_t from_us = clock_monotonic_us();

        if (from_us - begin_us > SYNC_ALL_MS * UINT64_C(1000))
            break;
        if (pwrite(fd, block, sizeof(block), (off_t)count * SYNC_BYTES) < 0 ||
            fdatasync(fd) < 0)
            return -errno;
        us[count++] = clock_monotonic_us() - from_us;
    }
    qsort(us, (size_t)count, sizeof(us[0]), compare_times);
    return count;
}

static void report_times(struct doctor_work *work, const uint64_t *us, int count)
{
    uint64_t median_us = us[count / 2];
    uint64_t worst_us = us[count - 1];
    const char *remedy = "";

    if (median_us > SYNC_SLOW_US)
        remedy = "each PUBACK waits for one: see what else writes to this disk, or use a "
                 "faster one; spool.commit_interval spares syncs";
    else if (median_us < SYNC_UNREAL_US)
        remedy = "no disk is that fast: something (a library, the virtual machine, a file "
                 "system in memory) does not pass the sync on; messages may be lost when the "
                 "power fails";
    doctor_add(work, remedy[0] != '\0' ? DOCTOR_WARNING : DOCTOR_OK, remedy,
               "fdatasync of 4 KiB in %s: median %.2f ms, worst %.2f ms of %d",
               work->config->spool.directory, (double)median_us / 1000, (double)worst_us / 1000,
               count);
}

void doctor_step_sync(struct doctor_work *work)
{
    const char *directory = work->config->spool.directory;
    uint64_t us[SYNCS];
    int count;

    doctor_begin(work, DOCTOR_SYNC, DOCTOR_STEP_MS + SYNC_ALL_MS);
    AUTO_CLOSE int fd = open_scratch(directory);
    if (fd == -EACCES || fd == -EPERM) {
        doctor_add(work, DOCTOR_SKIPPED, "run this as root: sudo mqtt-spool doctor",
                   "this user may not write in %s", directory);
        return;
    }
    if (fd == -ENOENT || fd == -ENOTDIR) {
        doctor_add(work, DOCTOR_SKIPPED, "", "because of the step rights: %s: %s", directory,
                   strerror(-fd));
        return;
    }
    count = fd < 0 ? fd : measure(fd, us);
    if (fd >= 0)
        check_file_system(work, fd);
    if (count > 0)
        report_times(work, us, count);
    else if (count == -ENOSPC || count == -EDQUOT)
        doctor_add(work, DOCTOR_FAILED, "free space on this file system",
                   "nothing can be written in %s: %s", directory, strerror(-count));
    else
        doctor_add(work, DOCTOR_FAILED,
                   "look at the disk (journalctl -k), and whether it is mounted",
                   "cannot write and sync in %s: %s", directory, strerror(-count));
}

/* ---- room ---- */

static uint64_t configured_bytes(const struct config *config)
{
    struct spool_lane lanes[SPOOL_LANES_MAX];
    size_t count = config_spool_lanes(config, lanes);
    uint64_t sum = config->rejected.max_bytes;

    for (size_t i = 0; i < count; i++)
        sum += lanes[i].limits.max_bytes < UINT64_MAX - sum ? lanes[i].limits.max_bytes
                                                            : UINT64_MAX - sum;
    return sum;
}

/* What is there of it already needs no more room.
 *
 * Return: 0, also if there is no spool yet; negative errno; positive SPOOL_E_*. */
static int read_present_bytes(const char *directory, uint64_t *ret)
{
    struct spool_time now = cli_now();
    struct spool_stats stats = {.disk_bytes = 0};
    AUTO_SPOOL struct spool *spool = NULL;
    int result = spool_open_reader(directory, &spool);

    if (result == 0)
        result = spool_get_stats(spool, &now, &stats);
    if (result != 0 && result != SPOOL_E_ABSENT)
        return result;
    *ret = stats.disk_bytes;
    return 0;
}

struct room {
    uint64_t free_bytes;
    uint64_t reserve;
    uint64_t limits;
    uint64_t present;
};

/* Of a disk that is full. The daemon knows whether a message found room anyway. */
static enum doctor_result judge_no_room(const struct doctor_work *work, const char **ret_remedy)
{
    if (work->status && !doctor_is_disk_short(work->status)) {
        *ret_remedy = "free space on this file system: new messages go into free pages inside "
                      "spool.db while it has some";
        return DOCTOR_WARNING;
    }
    *ret_remedy = work->status ? "free space on this file system: new messages are refused, or "
                                 "may evict old ones"
                               : "free space on this file system: new messages are refused, or "
                                 "may evict old ones, once spool.db has no free pages inside";
    return DOCTOR_FAILED;
}

static enum doctor_result
judge_room(const struct doctor_work *work, const struct room *room, const char **ret_remedy)
{
    if (spool_disk_room(room->free_bytes, room->reserve) == 0)
        return judge_no_room(work, ret_remedy);
    if (room->limits > room->present &&
        room->limits - room->present > room->free_bytes - room->reserve) {
        *ret_remedy = "the disk is full before the limits are reached: lower max_bytes, or use "
                      "a larger disk";
        return DOCTOR_WARNING;
    }
    *ret_remedy = "";
    return DOCTOR_OK;
}

static void report_room(struct doctor_work *work, uint64_t free_bytes)
{
    struct room room = {.free_bytes = free_bytes,
                        .reserve = work->config->spool.disk_reserve,
                        .limits = configured_bytes(work->config)};
    char free_text[CLI_SIZE_MAX], reserve_text[CLI_SIZE_MAX], limits_text[CLI_SIZE_MAX];
    char present_text[CLI_SIZE_MAX];
    const char *directory = work->config->spool.directory;
    int result = read_present_bytes(directory, &room.present);
    const char *remedy;

    if (result != 0) {
        bool is_denied = faccessat(AT_FDCWD, directory, R_OK | X_OK, AT_EACCESS) < 0;

        doctor_add(work, is_denied ? DOCTOR_SKIPPED : DOCTOR_WARNING,
                   is_denied ? "run this as root: sudo mqtt-spool doctor"
                             : "mqtt-spool check says what is wrong with them",
                   "the spool's files in %s cannot be read, so their size is not known",
                   directory);
        room.present = room.limits; /* nothing can be said about the limits */
    }
    enum doctor_result verdict = judge_room(work, &room, &remedy);

    cli_size(free_bytes, free_text);
    cli_size(room.reserve, reserve_text);
    cli_size(room.limits, limits_text);
    if (result != 0)
        text_format(present_text, sizeof(present_text), "an unknown size");
    else
        cli_size(room.present, present_text);
    doctor_add(work, verdict, remedy,
               "%s free, of which disk_reserve keeps %s; the spool's files have %s, and all "
               "limits together allow %s of messages",
               free_text, reserve_text, present_text, limits_text);
}

void doctor_step_space(struct doctor_work *work)
{
    const char *directory = work->config->spool.directory;
    struct statvfs disk;

    doctor_begin(work, DOCTOR_SPACE, DOCTOR_STEP_MS);
    if (statvfs(directory, &disk) < 0 || !cli_is_folder(directory)) {
        doctor_add(work, DOCTOR_SKIPPED, "", "because of the step rights: %s: %s", directory,
                   strerror(errno));
        return;
    }
    report_room(work, (uint64_t)disk.f_bavail * disk.f_frsize);
    if (disk.f_files > 0 && disk.f_favail == 0)
        doctor_add(work, DOCTOR_FAILED, "remove files on this file system",
                   "no inode is free: no file can be made in %s", directory);
}

/* ---- the clock ---- */

void doctor_step_clock(struct doctor_work *work)
{
    struct clock_reading now;
    char text[CLOCK_TEXT_MAX];

    doctor_begin(work, DOCTOR_CLOCK, DOCTOR_STEP_MS);
    clock_read(&now);
    clock_format(now.wall_ms, text);
    if (now.wall_ms / DAY_MS < FIRST_CREDIBLE_DAY)
        doctor_add(work, DOCTOR_FAILED,
                   "set the clock (timedatectl; a clock chip with a battery): certificates and "
                   "the times of records depend on it",
                   "the clock says %s", text);
    else if (!now.synchronized)
        doctor_add(work, DOCTOR_WARNING,
                   "enable a time service (timedatectl set-ntp true): until then the time that "
                   "the machine was switched off is not counted",
                   "the clock says %s, and no time service has confirmed it", text);
    else
        doctor_add(work, DOCTOR_OK, "", "the clock says %s, and is synchronized", text);
}
