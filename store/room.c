/* SPDX-License-Identifier: MIT */
/*
 * room.c - what the disk still holds, and how room is made on it
 *
 * Measured once a batch. Above the reserve, a third of what is free may be
 * appended: each page is written twice, to the WAL and then to the database, and
 * holds a little more than the charges. Where that is less than a batch, the
 * free pages inside the database count as well: one half of them, the other is
 * for outcome rows.
 *
 * What is in the WAL has its place in the database file allocated before it is
 * committed. So however full others make the disk, the WAL can be moved, is used
 * from its start again, and deliveries continue.
 *
 * The database file never shrinks; evicting makes free pages inside it and no
 * free space for other programs. So no message is evicted because the disk is short, but
 * only to take a new one: the oldest of the lowest priority, not above that of
 * the new message, whose lanes evict, in steps of ROOM_STEP_BYTES, from lanes
 * that hold as much besides the open batch. What was evicted for the disk is
 * never more than SPOOL_DISK_CREDIT_BYTES and four times what was accepted
 * meanwhile: another program that fills the disk cannot empty the spool. And of
 * the failure rows that are exported one goes for each (see outcome.c), or they
 * would take the room that was made.
 *
 * The free space does not include a quota or a limit of the file size. So a write
 * or an allocation that had no room counts for more: until one of a large batch
 * succeeds only the free pages inside the database are room, whatever is free on
 * the disk. ROOM_KEPT_PAGES are allocated ahead for each batch that makes the
 * database grow, and one with new messages is refused where they cannot be: so one
 * that holds only what ended finds them still there.
 *
 * A reader that keeps a snapshot keeps the WAL from being used from its start
 * again. At ROOM_WAL_PAGES nothing new is accepted; deliveries continue.
 */
#include "base/full.h"
#include "store/spool-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

enum {
    ROOM_SCARCE_BYTES = 4 << 20, /* above it free pages are not counted */
    ROOM_STEP_BYTES = 64 << 10,
    ROOM_ENOUGH_BYTES = 4 * ROOM_STEP_BYTES, /* a shortage is over: evictions leave less */
    ROOM_CREDIT_FACTOR = 4,
    ROOM_WAL_PAGES = 16384, /* 64 MiB */
    ROOM_TRY_MS = 1000,     /* between two tries whether there is room again */
    KIB = 1 << 10,
    MIB = 1 << 20,
    ROOM_AHEAD_PAGES = 256, /* allocated beyond what is needed now, and what is kept */
    ROOM_KEPT_PAGES = 64,   /* for what ended */
};

void spool_set_disk_reserve(struct spool *spool, uint64_t disk_reserve)
{
    spool->room.reserve = disk_reserve;
    spool->room.is_measured = false;
}

uint64_t spool_disk_room(uint64_t disk_free, uint64_t disk_reserve)
{
    return disk_free > disk_reserve ? (disk_free - disk_reserve) / 3 : 0;
}

/* How much there is for the batch as it is now. */
static int room_measure(struct spool *spool)
{
    struct statvfs disk;
    if (fstatvfs(spool->files.directory_fd, &disk) < 0)
        return spool_fail(spool, -errno, "statvfs: %s", strerror(errno));
    uint64_t disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
    bool is_full = spool->room.full_error != 0;
    uint64_t above =
        disk_free > spool->room.reserve && !is_full ? disk_free - spool->room.reserve : 0;
    uint64_t pages = 0;
    spool->room.disk_free = disk_free;
    spool->room.is_low = disk_free < spool->room.reserve || is_full;
    if (above < ROOM_SCARCE_BYTES) {
        int r = spool_read_number(spool, STMT_FREE_PAGES, &pages);
        if (r != 0)
            return r;
    } else {
        spool->working.evicting.credit = SPOOL_DISK_CREDIT_BYTES;
    }
    spool->room.available = spool_disk_room(above, 0) + pages * SPOOL_PAGE_BYTES / 2;
    spool->room.is_measured = true;
    return 0;
}

/* Without a batch the room may have changed since a message was refused. */
int room_measure_for_batch(struct spool *spool)
{
    return spool->room.is_measured && spool->batch.is_open ? 0 : room_measure(spool);
}

/* One step; *ret_freed is 0 when there is nothing that may go. */
static int
evict_step(struct spool *spool, int priority, const struct spool_time *now, uint64_t *ret_freed)
{
    *ret_freed = 0;
    if (spool->working.evicting.credit < ROOM_STEP_BYTES)
        return 0;
    for (size_t i = spool->lanes.turns.count; i > 0 && *ret_freed == 0; i--) {
        struct lane *lane = spool->lanes.turns.by_priority[i - 1];
        if (lane->priority > priority)
            break;
        if (lane->working.bytes < spool->batch.charge + ROOM_STEP_BYTES)
            continue;
        int r = retention_evict_for_disk(spool, lane, now, ROOM_STEP_BYTES, ret_freed);
        if (r != 0)
            return r;
    }
    spool->working.evicting.credit -= *ret_freed < spool->working.evicting.credit
                                          ? *ret_freed
                                          : spool->working.evicting.credit;
    return 0;
}

static int make_room(struct spool *spool,
                     const struct lane *lane,
                     const struct spool_time *now,
                     uint64_t charge)
{
    uint64_t missing = spool->batch.charge + charge - spool->room.available;
    if (2 * missing > spool->working.evicting.credit)
        return 0; /* it would not be enough */
    uint64_t freed = ROOM_STEP_BYTES;
    while (spool->batch.charge + charge > spool->room.available && freed > 0) {
        int r = evict_step(spool, lane->priority, now, &freed);
        if (r == 0)
            r = room_measure(spool);
        if (r != 0)
            return r;
    }
    return 0;
}

static bool is_held_by_reader(const struct spool *spool)
{
    return spool->conn.wal_pages >= ROOM_WAL_PAGES && spool->room.full_error == 0;
}

static int fail_for_reader(struct spool *spool)
{
    return spool_fail(spool, SPOOL_E_DISK,
                      "another program reads the database for so long that its write-ahead "
                      "log has grown to %d MiB",
                      spool->conn.wal_pages * SPOOL_PAGE_BYTES / MIB);
}

static int fail_for_room(struct spool *spool)
{
    int error = spool->batch.commit_state == SPOOL_COMMIT_REFUSED ? spool->room.refused_error
                                                                  : spool->room.full_error;
    if (error != 0)
        return spool_fail(
            spool, SPOOL_E_DISK,
            "%s (%s): no space to write %s; the file system reports %llu KiB free",
            strerror(error), full_error_name(error), spool->files.path,
            (unsigned long long)(spool->room.disk_free / KIB));
    return spool_fail(
        spool, SPOOL_E_DISK,
        "%llu KiB are free on the disk of %s, of which disk_reserve keeps %llu KiB%s",
        (unsigned long long)(spool->room.disk_free / KIB), spool->files.path,
        (unsigned long long)(spool->room.reserve / KIB),
        spool->room.disk_free > spool->room.reserve
            ? "; a third of the rest is for messages, which is too little"
            : "");
}

static int room_restart_wal(struct spool *spool)
{
    int full_before = spool->room.full_error;
    spool->room.full_error = 0;
    int r = spool_checkpoint(spool);
    bool is_full = spool->room.full_error != 0;
    if (!is_full)
        spool->room.full_error = full_before;
    if (r != 0 || spool->conn.wal_pages < ROOM_WAL_PAGES)
        return r;
    if (is_full) /* it is not a reader that keeps it from being moved */
        return fail_for_room(spool);
    return fail_for_reader(spool);
}

/* At once where more is free than at the last try, else now and then: a quota sends no
 * event. */
static int room_retry_if_due(struct spool *spool, const struct spool_time *now)
{
    bool has_more = spool->room.disk_free > spool->room.tried_free;
    if (spool->room.full_error == 0 || spool->batch.is_open ||
        (!has_more && now->boot_ms - spool->room.tried_ms < ROOM_TRY_MS))
        return 0;
    spool->room.tried_ms = now->boot_ms;
    spool->room.tried_free = spool->room.disk_free;
    int r = room_retry(spool);
    return r == 0 && spool->room.full_error == 0 ? room_measure(spool) : r;
}

int room_for(struct spool *spool,
             const struct lane *lane,
             const struct spool_time *now,
             uint64_t charge)
{
    int r = room_measure_for_batch(spool);
    if (r == 0)
        r = room_retry_if_due(spool, now);
    if (r == 0 && spool->batch.commit_state == SPOOL_COMMIT_REFUSED)
        return fail_for_room(spool);
    if (r == 0 && spool->conn.wal_pages >= ROOM_WAL_PAGES && !spool->batch.is_open)
        r = room_restart_wal(spool);
    if (r != 0)
        return r;
    if (spool->batch.charge + charge <= spool->room.available)
        return 0;
    if (lane->limits.when_full == SPOOL_EVICT_OLDEST) {
        r = make_room(spool, lane, now, charge);
        if (r != 0)
            return r;
    }
    return spool->batch.charge + charge <= spool->room.available ? 0 : fail_for_room(spool);
}

uint64_t spool_disk_evictions(const struct spool *spool)
{
    return spool->room.evicted;
}

/* An error, and a locked database, change nothing. */
bool spool_disk_is_short(struct spool *spool, const struct spool_time *now)
{
    if (spool->conn.failed < 0 || spool->files.is_moved || spool->batch.is_open ||
        room_measure(spool) != 0 || room_retry_if_due(spool, now) != 0)
        return true;
    return spool->batch.commit_state == SPOOL_COMMIT_REFUSED || is_held_by_reader(spool) ||
           spool->room.available < ROOM_ENOUGH_BYTES;
}

bool spool_disk_is_low(const struct spool *spool)
{
    return spool->room.is_low;
}

const char *spool_describe_disk(struct spool *spool)
{
    (void)(is_held_by_reader(spool) ? fail_for_reader(spool) : fail_for_room(spool));
    return spool->conn.errmsg;
}

void room_credit(struct eviction_account *account, uint64_t charge)
{
    account->credit += ROOM_CREDIT_FACTOR * charge;
    if (account->credit > SPOOL_DISK_CREDIT_BYTES)
        account->credit = SPOOL_DISK_CREDIT_BYTES;
}

/* What is allocated beyond the end of a file is not held against the limit of the process; the
 * later writes are. */
static bool exceeds_limit(uint64_t bytes)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
           bytes > limit.rlim_cur;
}

_Static_assert(sizeof(off_t) == 8, "a database may exceed 2 GiB: see cmake/flags.cmake");

/* Return: 0; a positive errno: there is no room; another negative one, which sticks. */
static int allocate(struct spool *spool, uint64_t pages)
{
    uint64_t bytes = pages * SPOOL_PAGE_BYTES;
    if (exceeds_limit(bytes))
        return EFBIG;
    if (fallocate(spool->files.database_fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) == 0 ||
        errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR) { /* then without */
        spool->room.allocated_pages = pages;
        return 0;
    }
    if (full_is_error(errno))
        return errno;
    return spool_fail(spool, -errno, DATABASE_NAME ": %s", strerror(errno));
}

/* What the database has or will have, and what is kept; and a step more, which is a large
 * batch: where that exceeds a quota or a limit only free pages are room from now on. For a full
 * disk statvfs is enough. */
static int allocate_ahead(struct spool *spool, uint64_t pages)
{
    int step = allocate(spool, pages + ROOM_KEPT_PAGES + ROOM_AHEAD_PAGES);
    int kept = step > 0 ? allocate(spool, pages + ROOM_KEPT_PAGES) : step;
    int full = step == ENOSPC ? kept : step;
    if (step >= 0 && kept >= 0 && full != spool->room.full_error) {
        spool->room.full_error = full;
        spool->room.is_measured = false;
    }
    return kept;
}

int room_retry(struct spool *spool)
{
    uint64_t pages = 0;
    int r = spool_read_number(spool, STMT_PAGES, &pages);
    if (r == 0)
        r = allocate_ahead(spool, pages);
    return r < 0 ? r : 0;
}

int room_allocate(struct spool *spool)
{
    int r = spool_read_number(spool, STMT_PAGES, &spool->room.batch_pages);
    uint64_t pages = spool->room.batch_pages;
    bool has_new = spool->batch.messages > 0 && pages > spool->room.committed_pages;
    if (r != 0 || pages + (has_new ? ROOM_KEPT_PAGES : 0) <= spool->room.allocated_pages)
        return r;
    r = allocate_ahead(spool, pages);
    if (r > 0 && !has_new)
        r = allocate(spool, pages);
    return r > 0 ? spool_note_full(spool, r) : r;
}
