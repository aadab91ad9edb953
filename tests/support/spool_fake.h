/* SPDX-License-Identifier: MIT */
/*
 * spool_fake.h - the few functions of store/spool.h that exports need, over an array
 *
 * Linked in place of the real library: a test sets which rows are committed and
 * sees the cursor that was set.
 */
#ifndef MQTT_SPOOLD_TESTS_SPOOL_FAKE_H
#define MQTT_SPOOLD_TESTS_SPOOL_FAKE_H

#include "store/spool.h"

#define SPOOL_FAKE_ROWS 100000

struct spool {
    struct spool_record rows[SPOOL_FAKE_ROWS];
    size_t row_count;
    uint64_t exported;     /* as committed */
    uint64_t set_exported; /* not yet committed */
    uint64_t pruned;       /* what spool_pruned_seq() returns */
    uint64_t last_seq;     /* of more rows than there are; 0: as many as there are */
    unsigned set_calls;
    bool awaits_export;
    int fail_each; /* what spool_each_record() returns after its first row; 0: it works */
};

void spool_fake_reset(struct spool *spool);
/* One more committed row; its seq is the next one. */
struct spool_record *
spool_fake_add(struct spool *spool, enum spool_outcome outcome, enum spool_reason reason);
/* What the next commit does with the cursor. */
void spool_fake_commit(struct spool *spool);

#endif
