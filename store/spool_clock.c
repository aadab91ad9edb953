/* SPDX-License-Identifier: MIT */
/*
 * spool_clock.c - ages that no step of the wall clock can touch
 *
 * Within one boot the clock is the sum of CLOCK_BOOTTIME deltas; the boot id
 * shows whether the stored reading belongs to this boot, so restarts of the
 * daemon lose nothing. After a reboot the time since boot is added at once. The
 * time the machine was switched off can only come from the wall clock, and only
 * from two credible readings: the newest one before, which the database holds,
 * and the first one after. A gateway without a battery-backed clock boots in
 * 1970 and learns the time minutes later; only then the missing time is added.
 *
 * That jump must not age what was accepted between boot and jump. So the id of
 * the newest message at boot is remembered (absent_after), and the commit that
 * makes the jump durable moves the times of all later messages by the same
 * amount, and those of the records of what ended since, because they are kept
 * for a time. When there are none, the clock just jumps. Several reboots without a
 * credible reading keep the first id: time off is then counted late for the
 * messages in between, never early.
 *
 * The clock goes to disk with a commit of messages each ten seconds, and where there are none
 * every ten minutes: what a power cut takes is not counted unless the wall clock
 * shows it. A credible reading that a step has made wrong goes at once: after a
 * power cut it would age all messages by the step.
 */
#include "store/spool_clock.h"

#include <string.h>

enum {
    CLOCK_IDLE_WRITE_MS = 10 * 60 * 1000,
    CLOCK_STEP_MS = 1000, /* more than a leap second or a slew between two readings */
};

static void
update_wall_time(struct spool_clock *clock, const struct spool_time *now, uint64_t last_id)
{
    struct spool_clock_state *state = &clock->state;
    if (!now->wall_credible || clock->jump_ms > 0)
        return;
    if (state->is_absent) {
        int64_t passed_ms = now->wall_ms - state->wall_ms;
        int64_t counted_ms = state->clock_ms - state->wall_clock_ms;
        int64_t missing_ms = passed_ms - counted_ms;
        bool is_news =
            last_id > state->absent_after || clock->last_ended_ms > state->wall_clock_ms;
        if (missing_ms > 0 && is_news) {
            clock->jump_ms = missing_ms;
            return;
        }
        if (missing_ms > 0)
            state->clock_ms += missing_ms;
        state->is_absent = false;
    }
    state->has_wall = true;
    state->wall_ms = now->wall_ms;
    state->wall_clock_ms = state->clock_ms;
}

static bool is_boot_known(const struct spool_clock_state *stored, const char *boot_id)
{
    return boot_id[0] != '\0' && stored->boot_id[0] != '\0';
}

/*
 * A boot clock that went back is of another boot whatever the ids say. An id that
 * cannot be read says nothing: then it is taken for the same boot, for to count
 * the time since boot twice would be early, to count it once is late at worst.
 */
static bool is_other_boot(const struct spool_clock_state *stored,
                          const char *boot_id,
                          const struct spool_time *now)
{
    return now->boot_ms < stored->boot_ms ||
           (is_boot_known(stored, boot_id) && strcmp(stored->boot_id, boot_id) != 0);
}

void spool_clock_start(struct spool_clock *clock,
                       const struct spool_clock_state *stored,
                       const char *boot_id,
                       uint64_t last_id,
                       int64_t last_ended_ms,
                       const struct spool_time *now)
{
    *clock = (struct spool_clock){.state = *stored, .last_ended_ms = last_ended_ms};
    struct spool_clock_state *state = &clock->state;
    if (is_other_boot(stored, boot_id, now)) {
        state->boot_ms = 0; /* it began at 0 */
        if (stored->has_wall && !stored->is_absent) {
            state->is_absent = true;
            state->absent_after = last_id;
        }
    } else if (stored->boot_ms == 0) {
        state->boot_ms = now->boot_ms; /* never used before: no time to carry over */
    } else if (!is_boot_known(stored, boot_id) && !stored->is_absent) {
        /* If it was another one, a later jump would age by this gap what came after it. */
        state->has_wall = false;
    }
    memset(state->boot_id, 0, sizeof(state->boot_id));
    memcpy(state->boot_id, boot_id, strnlen(boot_id, sizeof(state->boot_id) - 1));
    (void)spool_clock_read(clock, now, last_id);
}

int64_t
spool_clock_read(struct spool_clock *clock, const struct spool_time *now, uint64_t last_id)
{
    struct spool_clock_state *state = &clock->state;
    if (now->boot_ms > state->boot_ms) {
        state->clock_ms += now->boot_ms - state->boot_ms;
        state->boot_ms = now->boot_ms;
    }
    update_wall_time(clock, now, last_id);
    return state->clock_ms;
}

void spool_clock_jump(struct spool_clock *clock)
{
    clock->state.clock_ms += clock->jump_ms;
    clock->state.is_absent = false;
    clock->jump_ms = 0;
}

bool spool_clock_is_worth_writing(const struct spool_clock *clock,
                                  const struct spool_clock_state *written)
{
    const struct spool_clock_state *state = &clock->state;
    if (state->clock_ms >= written->clock_ms + CLOCK_IDLE_WRITE_MS)
        return true;
    if (!state->has_wall)
        return false;
    int64_t moved_ms =
        (state->wall_ms - state->wall_clock_ms) - (written->wall_ms - written->wall_clock_ms);
    return !written->has_wall || moved_ms > CLOCK_STEP_MS || moved_ms < -CLOCK_STEP_MS;
}

int64_t spool_clock_guess(const struct spool_clock_state *stored, const struct spool_time *now)
{
    if (now->boot_ms >= stored->boot_ms)
        return stored->clock_ms + (now->boot_ms - stored->boot_ms);
    int64_t clock_ms = stored->clock_ms + now->boot_ms;
    int64_t by_wall_ms = stored->wall_clock_ms + (now->wall_ms - stored->wall_ms);
    if (stored->has_wall && now->wall_credible && by_wall_ms > clock_ms)
        return by_wall_ms;
    return clock_ms;
}
