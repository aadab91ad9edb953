/* SPDX-License-Identifier: MIT */
/*
 * batch.h - how the open batch is shared among users and their clients
 *
 * Each user that is active (with a client that has a message in the batch, or
 * waits) has the same share of it, and each active client of a user the same
 * share of that. What is left beyond the shares is for the first message of
 * clients that were not active yet.
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_GATEWAY_BATCH_H
#define MQTT_SPOOLD_DAEMON_GATEWAY_BATCH_H

#include "daemon/gateway/users.h"
#include "store/spool.h"

struct batch {
    const struct spool *spool; /* borrowed, both */
    const struct users *users;
    uint64_t began_us;     /* CLOCK_MONOTONIC of its first message */
    uint64_t commit_us;    /* how long the last commit took */
    uint64_t contended_us; /* when a client that sends little was last served beside one that
                              would have sent more; 0: never */
};

/* Is there something left of its share? @share: of the client; @is_active: is it counted in
 * @user->active? */
bool batch_has_share(const struct batch *batch,
                     const struct user *user,
                     const struct share *share,
                     bool is_active);
/* May a message of this client be appended? Its first one may beyond all shares. */
bool batch_admits(const struct batch *batch,
                  const struct user *user,
                  const struct share *share,
                  bool is_active);
/* Is there no share left for any client that waits? */
bool batch_is_shared_out(const struct batch *batch);
/* Before a message is appended: it may be the first. */
void batch_note_append(struct batch *batch);
void batch_note_contended(struct batch *batch);
/* The commit of a batch that held messages took so long. */
void batch_note_commit(struct batch *batch, uint64_t took_us);

#endif
