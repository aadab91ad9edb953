/* SPDX-License-Identifier: MIT */
/*
 * batch.c - how the open batch is shared among users and their clients
 *
 * A client that has used its share waits for the next batch and is not read from
 * meanwhile. So no socket is ready soon after a commit, and the next one begins:
 * whatever others send, a message is in the first or second commit after it was
 * read. A batch is filled for no longer than its commit takes as long as clients
 * that send little are served beside others that would fill it; if there are no
 * such, for throughput, it is filled.
 *
 * Invariant: GATEWAY_BATCH_MESSAGES, or GATEWAY_BATCH_BYTES and one message, is
 * the most that a batch holds.
 */
#include "daemon/gateway/batch.h"

#include "base/clock.h"
#include "daemon/gateway/limits.h"

#define SHARED_MESSAGES (GATEWAY_BATCH_MESSAGES * 4 / 5)
#define SHARED_BYTES    (GATEWAY_BATCH_BYTES * 4 / 5)
/* So long after the last message of such a client it is expected to send another. */
#define CONTENDED_FOR_US 1000000

static bool is_filled_long_enough(const struct batch *batch)
{
    uint64_t now_us;

    if (batch->contended_us == 0 || spool_batch_messages(batch->spool) == 0)
        return false;
    now_us = clock_monotonic_us();
    return now_us - batch->contended_us < CONTENDED_FOR_US &&
           now_us - batch->began_us >= batch->commit_us;
}

bool batch_is_shared_out(const struct batch *batch)
{
    return spool_batch_messages(batch->spool) >= SHARED_MESSAGES ||
           spool_batch_bytes(batch->spool) >= SHARED_BYTES || is_filled_long_enough(batch);
}

static bool is_below(const struct share *share, unsigned parts)
{
    return (uint64_t)share->messages * parts < SHARED_MESSAGES &&
           share->bytes * parts < SHARED_BYTES;
}

bool batch_has_share(const struct batch *batch,
                     const struct user *user,
                     const struct share *share,
                     bool is_active)
{
    unsigned clients = user->active + (is_active ? 0 : 1);
    unsigned users = batch->users->active + (user->active > 0 ? 0 : 1);

    return !batch_is_shared_out(batch) && is_below(&user->share, users) &&
           is_below(share, users * clients);
}

bool batch_admits(const struct batch *batch,
                  const struct user *user,
                  const struct share *share,
                  bool is_active)
{
    if (spool_batch_messages(batch->spool) >= GATEWAY_BATCH_MESSAGES ||
        spool_batch_bytes(batch->spool) >= GATEWAY_BATCH_BYTES)
        return false;
    return share->messages == 0 || batch_has_share(batch, user, share, is_active);
}

void batch_note_append(struct batch *batch)
{
    if (spool_batch_messages(batch->spool) == 0)
        batch->began_us = clock_monotonic_us();
}

void batch_note_contended(struct batch *batch)
{
    batch->contended_us = clock_monotonic_us();
}

void batch_note_commit(struct batch *batch, uint64_t took_us)
{
    batch->commit_us = took_us;
}
