/* SPDX-License-Identifier: MIT */
/*
 * rebuild.h - a new spool out of the pages of a damaged one
 *
 * Thread: that of the spool.
 */
#ifndef MQTT_SPOOLD_STORE_SALVAGE_REBUILD_H
#define MQTT_SPOOLD_STORE_SALVAGE_REBUILD_H

#include <sqlite3.h>

#include "base/attr.h"
#include "store/salvage/mark.h"
#include "store/salvage/pages.h"
#include "store/spool.h"

/* What to rebuild from, where to, and what came of it. */
struct rebuild_task {
    const struct spool_options *options;
    const struct spool_history *history; /* NULL: none */
    const struct mark *mark;
    struct pages *pages;
    sqlite3 *db; /* new: has the tables, and nothing in them but the row of table spool */
    uint64_t salvaged;
    uint64_t damaged;
    uint64_t kept_lost;    /* rejected messages */
    bool is_count_unknown; /* of how many there were */
    uint64_t last_id;      /* as the new spool has them */
    uint64_t last_seq;
};

/* How far the readable lanes of a damaged spool have come: distinguishes an older image from a
 * newer one. */
struct rebuild_reach {
    uint64_t counted; /* all that was ever accepted and ended, added up */
    uint64_t last_id;
    uint64_t last_seq;
};
MUST_CHECK int rebuild_reach(struct pages *pages, struct rebuild_reach *ret);

/* How many pages the new database has at most. Reads all of them. */
MUST_CHECK int rebuild_pages_needed(struct pages *pages, uint64_t *ret);

/* Are these the tables of another program? */
MUST_CHECK int rebuild_is_foreign(struct pages *pages, bool *ret);

/* In the transaction that is open. Return: 0; positive: a result of SQLite; negative errno. */
MUST_CHECK int rebuild(struct rebuild_task *task);

#endif
