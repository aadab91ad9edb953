/* SPDX-License-Identifier: MIT */
/*
 * spool_fake.c - the few functions of store/spool.h that exports need, over an array
 */
#include "spool_fake.h"
#include "store/spool.h"
#include "tests/support/spool_fake.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const char *const outcome_names[SPOOL_OUTCOMES] = {
    "delivered", "evicted", "expired", "rejected", "dropped", "damaged",
};
static const char *const reason_names[SPOOL_REASONS] = {
    "",       "max_messages",   "max_bytes",   "max_age",
    "disk",   "message_expiry", "reason_code", "too_large",
    "poison", "attempts",       "operator",    "corrupt",
};

const char *spool_outcome_name(enum spool_outcome outcome)
{
    return outcome_names[outcome];
}

const char *spool_reason_name(enum spool_reason reason)
{
    return reason_names[reason];
}

bool spool_outcome_parse(const char *name, enum spool_outcome *ret_outcome)
{
    for (int i = 0; i < SPOOL_OUTCOMES; i++) {
        if (strcmp(name, outcome_names[i]) != 0)
            continue;
        *ret_outcome = (enum spool_outcome)i;
        return true;
    }
    return false;
}

void spool_fake_reset(struct spool *spool)
{
    memset(spool, 0, sizeof(*spool));
}

struct spool_record *
spool_fake_add(struct spool *spool, enum spool_outcome outcome, enum spool_reason reason)
{
    struct spool_record *row = &spool->rows[spool->row_count++];

    *row = (struct spool_record){
        .seq = spool->row_count,
        .id = spool->row_count + 1000,
        .time_ms = INT64_C(1793536496789),
        .outcome = outcome,
        .reason = reason,
        .lane = "default",
        .client = "press-7",
        .topic = "plant/7/temperature",
        .uid = 1001,
        .qos = 1,
        .bytes = 128,
        .accepted_ms = INT64_C(1793536490000),
        .age_ms = 6789,
        .attempts = 1,
        .code = SPOOL_NO_CODE,
    };
    return row;
}

void spool_fake_commit(struct spool *spool)
{
    if (spool->set_exported > spool->exported)
        spool->exported = spool->set_exported;
}

int spool_each_record(struct spool *spool,
                      uint64_t after,
                      bool failures_only,
                      uint64_t limit,
                      spool_record_fn *fn,
                      void *context)
{
    uint64_t given = 0;

    for (size_t i = 0; i < spool->row_count; i++) {
        const struct spool_record *row = &spool->rows[i];
        int r;

        if (row->seq <= after || (failures_only && row->outcome == SPOOL_DELIVERED))
            continue;
        r = fn(context, row);
        if (r != 0)
            return r;
        if (spool->fail_each != 0)
            return spool->fail_each;
        if (++given == limit)
            break;
    }
    return 0;
}

void spool_set_exported(struct spool *spool, uint64_t seq)
{
    spool->set_exported = seq;
    spool->set_calls++;
}

bool spool_awaits_export(const struct spool *spool)
{
    return spool->awaits_export;
}

uint64_t spool_exported(const struct spool *spool)
{
    return spool->exported;
}

uint64_t spool_last_seq(const struct spool *spool)
{
    return spool->last_seq > 0 ? spool->last_seq : spool->row_count;
}

/* As in the real one: what is there and not exported. */
uint64_t spool_waiting(const struct spool *spool)
{
    uint64_t waiting = 0;

    for (size_t i = 0; i < spool->row_count; i++)
        waiting += spool->rows[i].seq > spool->set_exported;
    return waiting;
}

uint64_t spool_pruned_seq(const struct spool *spool)
{
    return spool->pruned;
}
