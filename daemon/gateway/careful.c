/* SPDX-License-Identifier: MIT */
/*
 * careful.c - see careful.h
 *
 * Diagnostics: sending_carefully, sending_normally.
 */
#include "daemon/gateway/careful.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "daemon/gateway/poison.h"
#include "store/spool.h"

int careful_begin(struct careful *careful, struct spool *spool, unsigned window)
{
    uint64_t lives = spool_cut_lives(spool);
    int r = 0;

    if (careful->has_begun)
        return 0;
    *careful =
        (struct careful){.has_begun = true, .is_on = lives >= CAREFUL_LIVES, .left = window};
    if (careful->is_on)
        log_warning(
            "sending_carefully lives=%" PRIu64 " remedy=\"the daemon ended so often while "
            "it sent and before any message was answered: it sends one at a time, to find "
            "out whether a message is the cause; look for the reason in the log\"",
            lives);
    /* It ends at whatever is sent: no message is the cause. */
    if (spool_count_suspects(spool, POISON_ALONE) > 1)
        r = spool_forget_all_closings(spool);
    spool_note_sending(spool);
    return r;
}

int careful_admit(struct careful *careful,
                  struct spool *spool,
                  const struct spool_message *message,
                  bool *ret_is_admitted)
{
    *ret_is_admitted = message->id == careful->marked_id && spool_closings_are_durable(spool);
    if (*ret_is_admitted || message->id == careful->marked_id)
        return 0;
    careful->marked_id = message->id;
    return spool_set_closings(spool, message->id,
                              message->closings < POISON_ALONE ? POISON_ALONE : POISON_CERTAIN);
}

void careful_leave_mark(struct careful *careful, uint64_t id)
{
    if (id == careful->marked_id)
        careful->marked_id = 0;
}

int careful_end(struct careful *careful, struct spool *spool, uint64_t id, bool is_answered)
{
    if (!careful->is_on || id != careful->marked_id)
        return 0;
    careful->marked_id = 0;
    if (is_answered && --careful->left == 0) {
        careful->is_on = false;
        log_notice("sending_normally");
    }
    return spool_forget_closings(spool, id);
}
