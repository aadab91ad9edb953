/* SPDX-License-Identifier: MIT */
/*
 * stats.c - what the spool holds, in numbers, for a writer and for a reader
 *
 * All of it is as the last commit left it; a reader reads the counters again each
 * time. Nothing here writes.
 */
#include "store/salvage/salvage.h"
#include "store/spool-private.h"

#include <assert.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* A reader looks again; a writer knows. */
static int stats_refresh(struct spool *spool)
{
    int r = ledger_refresh_reader(spool);
    return r == 0 && spool->conn.is_reader ? kept_load(spool) : r;
}

int spool_get_ledger(struct spool *spool, struct spool_ledger *ret)
{
    int r = stats_refresh(spool);
    if (r != 0)
        return r;
    struct spool_ledger ledger = {0};
    for (size_t i = 0; i < spool->lanes.count; i++) {
        const struct spool_counters *counters = &spool->lanes.all[i].committed;
        ledger.accepted += counters->accepted;
        ledger.spooled += counters->messages;
        for (int j = 0; j < SPOOL_OUTCOMES; j++)
            ledger.ended[j] += counters->ended[j];
    }
    *ret = ledger;
    return 0;
}

static int oldest_age(struct spool *spool,
                      const struct lane *lane,
                      const struct spool_time *now,
                      int64_t *ret)
{
    *ret = 0;
    if (lane->committed.messages == 0)
        return 0;
    struct stmt *stmt = segments_oldest(spool, lane, lane_first_key(lane), lane_last_key(lane));
    int rc = stmt_step(stmt);
    if (rc == SQLITE_ROW) {
        int64_t age_ms = spool_clock_guess_ms(spool, now) - stmt_int(stmt, 1);
        *ret = age_ms > 0 ? age_ms : 0;
    }
    int r = spool_result(spool, rc);
    stmt_reset(stmt);
    return r;
}

static uint64_t file_bytes(const struct spool *spool, const char *name)
{
    struct stat status;
    if (fstatat(spool->files.directory_fd, name, &status, 0) < 0)
        return 0; /* the WAL of a spool that was closed may be gone */
    return (uint64_t)status.st_size;
}

uint64_t spool_last_id(const struct spool *spool)
{
    return lane_set_committed_id(&spool->lanes);
}

int spool_get_stats(struct spool *spool, const struct spool_time *now, struct spool_stats *ret)
{
    int r = stats_refresh(spool);
    if (r != 0)
        return r;
    struct spool_stats stats = {
        .disk_bytes = file_bytes(spool, DATABASE_NAME) + file_bytes(spool, LOG_NAME),
        .damaged_files = salvage_count_damaged(spool->files.directory_fd),
        .in_flight = spool->handout.in_flight,
        .in_flight_peak = spool->handout.in_flight_peak,
        .kept_messages = spool->committed.progress.kept_messages,
        .kept_bytes = spool->committed.progress.kept_bytes,
        .last_seq = spool->committed.last_seq,
        .exported_seq = spool->committed.progress.exported_seq,
    };
    for (size_t i = 0; i < spool->lanes.count; i++) {
        const struct lane *lane = &spool->lanes.all[i];
        int64_t age_ms;
        r = oldest_age(spool, lane, now, &age_ms);
        if (r != 0)
            return r;
        stats.messages += lane->committed.messages;
        stats.bytes += lane->committed.bytes;
        if (age_ms > stats.oldest_age_ms)
            stats.oldest_age_ms = age_ms;
        if (lane->committed.last_id > stats.last_id)
            stats.last_id = lane->committed.last_id;
    }
    struct statvfs disk;
    if (fstatvfs(spool->files.directory_fd, &disk) == 0)
        stats.disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
    *ret = stats;
    return 0;
}

size_t spool_lane_count(const struct spool *spool)
{
    return spool->lanes.count;
}

int spool_get_lane_stats(struct spool *spool,
                         unsigned lane,
                         const struct spool_time *now,
                         struct spool_lane_stats *ret)
{
    assert(lane < spool->lanes.count);
    int r = stats_refresh(spool);
    if (r != 0)
        return r;
    const struct lane *found = &spool->lanes.all[lane];
    int64_t age_ms;
    r = oldest_age(spool, found, now, &age_ms);
    if (r != 0)
        return r;
    *ret = (struct spool_lane_stats){
        .name = found->name,
        .messages = found->committed.messages,
        .bytes = found->committed.bytes,
        .oldest_age_ms = age_ms,
        .ledger = ledger_from_counters(&found->committed),
        .delays = found->committed.tallies.delays,
    };
    memcpy(ret->reasons, found->committed.tallies.reasons, sizeof(ret->reasons));
    return 0;
}
