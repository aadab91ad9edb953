/* SPDX-License-Identifier: MIT */
/*
 * runs.c - deliveries of one lane that have no outcome rows: runs of neighbours
 *
 * In the blob each field of a run is its difference to that field of the run before, as a
 * zigzag varint: about a dozen bytes a run. What is decoded is checked as a whole: ids and seqs
 * rise, and nothing is left over.
 */
#include "store/runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/lane_set.h"
#include "store/spool.h"
#include "store/stmt.h"

void runs_done(struct runs *runs)
{
    free(runs->all);
    *runs = (struct runs){0};
}

static int reserve(struct runs *runs)
{
    if (!runs->all)
        runs->all = calloc(RUNS_MAX, sizeof(*runs->all));
    return runs->all ? 0 : -ENOMEM;
}

int runs_add(struct runs *runs, const struct run *run)
{
    if (runs_are_full(runs))
        return -ENOSPC;
    int r = reserve(runs);
    if (r == 0)
        runs->all[runs->count++] = *run;
    return r;
}

void runs_rollback(struct runs *runs)
{
    runs->count = runs->committed_count;
}

/* How many from the oldest on are exported; the newest is never one of them. */
static unsigned count_exported(const struct runs *runs, uint64_t exported_seq)
{
    unsigned count = 0;
    while (count + 1 < runs->count && run_last_seq(&runs->all[count]) <= exported_seq)
        count++;
    return count;
}

void runs_commit(struct runs *runs, uint64_t exported_seq)
{
    unsigned gone = count_exported(runs, exported_seq);
    if (gone > 0)
        memmove(runs->all, runs->all + gone, (runs->count - gone) * sizeof(*runs->all));
    runs->count -= gone;
    runs->committed_count = runs->count;
}

uint64_t runs_count(const struct runs *runs, uint64_t first, uint64_t last)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < runs->count; i++) {
        const struct run *run = &runs->all[i];
        uint64_t from = run->first_seq > first ? run->first_seq : first;
        uint64_t to = run_last_seq(run) < last ? run_last_seq(run) : last;
        if (from <= to)
            count += to - from + 1;
    }
    return count;
}

const struct run *runs_after(const struct runs *runs, uint64_t seq)
{
    for (unsigned i = 0; i < runs->count; i++) {
        if (run_last_seq(&runs->all[i]) > seq)
            return &runs->all[i];
    }
    return NULL;
}

/* ---- the blob ---- */

static void to_fields(const struct run *run, uint64_t fields[static RUN_FIELDS])
{
    const uint64_t all[RUN_FIELDS] = {
        run->first_seq,      run->messages,          run->first_id,
        run->last_id,        run->segment,           run->attempts,
        (uint64_t)run->code, (uint64_t)run->time_ms, (uint64_t)run->ended_at};
    memcpy(fields, all, sizeof(all));
}

/* False: no run has such numbers. */
static bool from_fields(const uint64_t fields[static RUN_FIELDS], struct run *ret)
{
    int64_t code = (int64_t)fields[6];
    if (fields[0] == 0 || fields[0] > SPOOL_LAST_MAX || fields[1] == 0 ||
        fields[1] > SPOOL_LAST_MAX || fields[2] == 0 || fields[2] > fields[3] ||
        fields[3] > SPOOL_LAST_MAX || fields[4] >= TABLE_SEGMENTS || fields[5] > UINT32_MAX ||
        code < SPOOL_NO_CODE || code > UINT8_MAX)
        return false;
    *ret = (struct run){.first_seq = fields[0],
                        .messages = fields[1],
                        .first_id = fields[2],
                        .last_id = fields[3],
                        .segment = (unsigned)fields[4],
                        .attempts = (uint32_t)fields[5],
                        .code = (int)code,
                        .time_ms = (int64_t)fields[7],
                        .ended_at = (int64_t)fields[8]};
    return true;
}

static uint8_t *put_difference(uint8_t *at, uint64_t difference)
{
    uint64_t value = difference << 1 ^ (uint64_t) - (int64_t)(difference >> 63);
    for (; value > 0x7f; value >>= 7)
        *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}

/* False: it would go beyond @end, or has more than 64 bits. */
static bool get_difference(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (*at == end)
            return false;
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        *ret = value >> 1 ^ (uint64_t) - (int64_t)(value & 1);
        return true;
    }
    return false;
}

size_t runs_encode(const struct runs *runs,
                   uint64_t exported_seq,
                   uint8_t bytes[static RUNS_BYTES_MAX])
{
    uint64_t before[RUN_FIELDS] = {0};
    uint8_t *at = bytes;
    for (unsigned i = count_exported(runs, exported_seq); i < runs->count; i++) {
        uint64_t fields[RUN_FIELDS];
        to_fields(&runs->all[i], fields);
        for (int j = 0; j < RUN_FIELDS; j++)
            at = put_difference(at, fields[j] - before[j]);
        memcpy(before, fields, sizeof(before));
    }
    return (size_t)(at - bytes);
}

static bool follows(const struct run *run, const struct run *before)
{
    return run->first_seq > run_last_seq(before) && run->first_id > before->last_id;
}

int runs_decode(struct runs *runs, struct view bytes)
{
    const uint8_t *at = bytes.data;
    const uint8_t *end = at + bytes.size;
    uint64_t fields[RUN_FIELDS] = {0};
    runs->count = runs->committed_count = 0;
    while (at != end) {
        struct run run;
        for (int i = 0; i < RUN_FIELDS; i++) {
            uint64_t difference;
            if (!get_difference(&at, end, &difference))
                return -EBADMSG;
            fields[i] += difference;
        }
        const struct run *before = runs_newest(runs);
        if (!from_fields(fields, &run) || (before && !follows(&run, before)))
            return -EBADMSG;
        int r = runs_add(runs, &run);
        if (r != 0)
            return r == -ENOSPC ? -EBADMSG : r;
    }
    runs->committed_count = runs->count;
    return 0;
}
