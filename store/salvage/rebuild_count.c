/* SPDX-License-Identifier: MIT */
/*
 * rebuild_count.c - how many messages ended or are missing, and how many pages the rest needs
 *
 * The lanes' counters reach up to counted.id and counted.seq; what was read beyond
 * that is counted by itself. rebuild.c has the relations between the numbers.
 */
#include "store/lane_set.h"
#include "store/salvage/pages.h"
#include "store/salvage/rebuild-private.h"
#include "store/spool.h"
#include "store/stmt.h"

enum { LEAVES_A_BRANCH = 64 }; /* at least so many are below a page of the tree */

/* The lanes' counters have it already, unless they are older. */
void rebuild_count_ended(struct rebuild *rebuild,
                         struct kept_lane *lane,
                         uint64_t seq,
                         enum spool_outcome outcome)
{
    numbers_add(&rebuild->seen.seqs, seq);
    if (seq > rebuild->counted.seq)
        lane->later[outcome]++;
    else
        lane->recorded[outcome]++;
    if (seq > lane->counters.last_seq)
        lane->counters.last_seq = seq;
}

/* How many messages there must be besides those found. */
uint64_t rebuild_count_missing(const struct rebuild *rebuild)
{
    uint64_t gone = rebuild->ends.last_seq + rebuild->messages.found;
    uint64_t accepted =
        rebuild->counted.accepted + (rebuild->ends.last_id - rebuild->counted.id);
    if (!rebuild->lanes.is_complete)
        accepted = rebuild->ends.last_id;
    if (rebuild->counted.id == 0 && rebuild->ends.last_seq == 0 && !rebuild->mark.is_known)
        accepted = rebuild->ends.lowest_id > 0
                       ? rebuild->ends.last_id - rebuild->ends.lowest_id + 1
                       : 0;
    return accepted > gone ? accepted - gone : 0;
}

/*
 * No spool holds more than the limits of its lanes, or what its lanes counted.
 * Ids that were never used make no messages beyond that, if nothing is left but
 * the mark.
 */
uint64_t rebuild_most_missing(const struct rebuild *rebuild)
{
    const struct spool_options *options = rebuild->task->options;
    uint64_t limit = SLACK;
    for (size_t i = 0; i < options->lane_count; i++)
        limit += rebuild_lower(options->lanes[i].limits.max_messages, SPOOL_LAST_MAX);
    for (size_t i = 0; i < rebuild->lanes.count; i++)
        limit += rebuild->lanes.all[i].counted_messages;
    return limit;
}

/* ---- pages ---- */

/* Leaves that no tree reaches. */
struct loose {
    uint64_t count;
    uint32_t last;
};

int rebuild_pass_row(void *userdata, const struct pages_row *row)
{
    (void)userdata, (void)row;
    return 0;
}

static int count_loose(void *userdata, const struct pages_row *row)
{
    struct loose *loose = userdata;
    loose->count += row->page != loose->last;
    loose->last = row->page;
    return 0;
}

/*
 * What a page in use holds goes to another one, in the order of its tree. Rows of a
 * leaf that no tree reaches come in any order, and a leaf that is split may stay half
 * empty: two pages for one.
 */
int rebuild_pages_needed(struct pages *pages, uint64_t *ret)
{
    static const uint32_t roots[] = {ROOT_SPOOL, ROOT_LANE, ROOT_OUTCOME, ROOT_MESSAGE};
    enum { NAMED = 1 + TABLE_SEGMENTS };
    uint32_t named[NAMED];
    struct loose loose = {0};
    int r = rebuild_find_table(pages, "rejected", &named[0]);
    if (r == 0)
        r = rebuild_find_segments(pages, named + 1);
    for (unsigned i = 0; i < NAMED && r == 0; i++) {
        if (named[i] > 0)
            r = pages_walk(pages, named[i], rebuild_pass_row, NULL);
    }
    if (r != 0)
        return r;
    for (size_t i = 0; i < sizeof(roots) / sizeof(*roots); i++) {
        r = pages_walk(pages, roots[i], rebuild_pass_row, NULL);
        if (r != 0)
            return r;
    }
    r = pages_orphans(pages, count_loose, &loose);
    pages_restart(pages);
    if (r == 0)
        *ret = pages_in_use(pages) + loose.count + loose.count / LEAVES_A_BRANCH;
    return r;
}
