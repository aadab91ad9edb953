/*
 * spool_clock.c - ages that no step of the wall clock can touch
 *
 * Within one boot the clock is the sum of CLOCK_BOOTTIME deltas; the boot id
 * tells whether the stored reading belongs to this boot, so restarts of the
 * daemon lose nothing. After a reboot the time since boot is added at once. The
 * time the machine was switched off can only come from the wall clock, and only
 * from two credible readings: the newest one before, which the database holds,
 * and the first one after. A gateway without a battery-backed clock boots in
 * 1970 and learns the time minutes later; only then the missing time is added.
 *
 * That jump must not age what was accepted between boot and jump. So the id of
 * the newest message at boot is remembered (absent_after), and the commit that
 * makes the jump durable moves the times of all later messages by the same
 * amount. When there are none, the clock just jumps. Several reboots without a
 * credible reading keep the first id: time off is then counted late for the
 * messages in between, never early.
 */
#include "spool_clock.h"

#include <string.h>

static void
learn_wall_time(struct spool_clock *clock, const struct spool_time *now, uint64_t last_id)
{
    struct spool_clock_state *state = &clock->state;
    if (!now->wall_credible || clock->jump_ms > 0)
        return;
    if (state->is_absent) {
        int64_t passed_ms = now->wall_ms - state->wall_ms;
        int64_t counted_ms = state->clock_ms - state->wall_clock_ms;
        int64_t missing_ms = passed_ms - counted_ms;
        if (missing_ms > 0 && last_id > state->absent_after) {
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

void spool_clock_start(struct spool_clock *clock,
                       const struct spool_clock_state *stored,
                       const char *boot_id,
                       uint64_t last_id,
                       const struct spool_time *now)
{
    *clock = (struct spool_clock){.state = *stored};
    struct spool_clock_state *state = &clock->state;
    if (strcmp(stored->boot_id, boot_id) != 0) {
        /* The boot began at 0. A spool that was never used has no time to carry over. */
        bool is_new = stored->boot_id[0] == '\0';
        state->boot_ms = is_new ? now->boot_ms : 0;
        if (stored->has_wall && !stored->is_absent) {
            state->is_absent = true;
            state->absent_after = last_id;
        }
        memset(state->boot_id, 0, sizeof state->boot_id);
        memcpy(state->boot_id, boot_id, strnlen(boot_id, sizeof state->boot_id - 1));
    }
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
    learn_wall_time(clock, now, last_id);
    return state->clock_ms;
}

void spool_clock_jump(struct spool_clock *clock)
{
    clock->state.clock_ms += clock->jump_ms;
    clock->state.is_absent = false;
    clock->jump_ms = 0;
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
