/* SPDX-License-Identifier: MIT */
/*
 * refusal.c - see refusal.h
 */
#include "daemon/gateway/refusal.h"

#include <stdbool.h>
#include <stdint.h>

bool refusal_was_taken(const struct refusal *refusal, uint64_t tag)
{
    return refusal->taken[tag % REFUSAL_TOPICS] == tag;
}

bool refusal_was_denied(const struct refusal *refusal, uint64_t tag)
{
    return refusal->denied[tag % REFUSAL_TOPICS] == tag;
}

static void note_taken(struct refusal *refusal, uint64_t tag)
{
    uint64_t *place = &refusal->taken[tag % REFUSAL_TOPICS];

    refusal->taken_count += *place == 0;
    *place = tag;
    if (refusal_was_denied(refusal, tag))
        refusal->denied[tag % REFUSAL_TOPICS] = 0;
}

bool refusal_was_denied_finally(const struct refusal *refusal, uint64_t tag)
{
    return refusal_was_denied(refusal, tag) && refusal->is_final[tag % REFUSAL_TOPICS];
}

bool refusal_has_lasted(const struct refusal *refusal)
{
    return refusal->is_refused &&
           refusal->code_boot_ms - refusal->refused_boot_ms >= REFUSAL_LASTING_MS;
}

void refusal_begin_visit(struct refusal *refusal)
{
    refusal->rounds = (struct refusal_rounds){0};
}

static void note_denied(struct refusal *refusal, uint64_t tag, bool is_final)
{
    if (refusal_was_taken(refusal, tag)) {
        refusal->taken[tag % REFUSAL_TOPICS] = 0;
        refusal->taken_count--;
        refusal->row.lost++;
    }
    refusal->denied[tag % REFUSAL_TOPICS] = tag;
    refusal->is_final[tag % REFUSAL_TOPICS] = is_final;
}

static bool has_long_row(const struct refusal *refusal)
{
    return refusal->row.count >= REFUSAL_IN_A_ROW;
}

/* Is it the broker, and not the messages? */
static bool is_broker(const struct refusal *refusal, const struct refusal_event *event)
{
    const struct refusal_row *row = &refusal->row;
    int64_t wait_ms = event->is_permanent ? REFUSAL_PATIENCE_MS : REFUSAL_DOUBT_MS;

    if (!has_long_row(refusal))
        return false;
    if (event->is_announced) /* others may be accepted, and have had the time */
        return !refusal->has_accepted &&
               event->boot_ms - row->began_boot_ms >= REFUSAL_DOUBT_MS;
    if (refusal->taken_count > 0)
        return row->lost >= REFUSAL_IN_A_ROW ||
               (event->boot_ms - refusal->accepted_boot_ms >= wait_ms &&
                (row->lost > 1 || row->topics >= REFUSAL_IN_A_ROW));
    /* It is not known to accept anything: only topics that were not tried yet could show it. */
    return refusal->has_accepted || !event->is_permanent ||
           row->repeats + 1 >= REFUSAL_IN_A_ROW ||
           event->boot_ms - row->began_boot_ms >= REFUSAL_DOUBT_MS;
}

static void count_topic(struct refusal *refusal, const struct refusal_event *event)
{
    if (!refusal_was_denied(refusal, event->tag))
        refusal->row.topics++;
    else if (event->is_first)
        refusal->row.repeats++;
    note_denied(refusal, event->tag, event->is_permanent);
}

bool refusal_count(struct refusal *refusal, const struct refusal_event *event)
{
    struct refusal_row *row = &refusal->row;
    bool was_refused = refusal->is_refused;

    if (row->count == 0)
        row->began_boot_ms = event->boot_ms;
    if (row->count < REFUSAL_IN_A_ROW)
        row->count++;
    if (!event->is_announced)
        count_topic(refusal, event);
    refusal->code = event->code;
    refusal->code_boot_ms = event->boot_ms;
    refusal->is_refused |= is_broker(refusal, event);
    if (was_refused || !refusal->is_refused)
        return false;
    refusal->refused_boot_ms = event->boot_ms;
    return true;
}

bool refusal_is_in_doubt(const struct refusal *refusal)
{
    return has_long_row(refusal) || !refusal->has_accepted;
}

bool refusal_resume(struct refusal *refusal, int64_t boot_ms)
{
    bool was_refused = refusal->is_refused;

    if (was_refused)
        refusal->resumed_boot_ms = boot_ms;
    refusal->row = (struct refusal_row){0};
    refusal->rounds = (struct refusal_rounds){0};
    refusal->is_refused = false;
    return was_refused;
}

bool refusal_clear(struct refusal *refusal, uint64_t tag, int64_t boot_ms)
{
    bool was_refused = refusal_resume(refusal, boot_ms);

    refusal->has_accepted = true;
    refusal->accepted_boot_ms = boot_ms;
    note_taken(refusal, tag);
    return was_refused;
}

bool refusal_may_try(struct refusal *refusal, int64_t boot_ms, uint64_t min_ms, uint64_t max_ms)
{
    struct refusal_rounds *rounds = &refusal->rounds;

    if (rounds->due_boot_ms == 0) /* the first one waits, too */
        rounds->due_boot_ms = boot_ms + (int64_t)refusal_backoff_ms(min_ms, max_ms, 0);
    if (rounds->tries_left == 0 && boot_ms >= rounds->due_boot_ms) {
        rounds->tries_left = REFUSAL_TRIES;
        rounds->begun++;
        rounds->due_boot_ms =
            boot_ms + (int64_t)refusal_backoff_ms(min_ms, max_ms, rounds->begun);
    }
    return rounds->tries_left > 0;
}

void refusal_hasten(struct refusal *refusal, int64_t boot_ms)
{
    refusal->rounds.due_boot_ms = boot_ms;
}

bool refusal_is_first_try(const struct refusal *refusal)
{
    return refusal->rounds.tries_left == REFUSAL_TRIES;
}

uint64_t refusal_choose(const struct refusal *refusal)
{
    return refusal_is_first_try(refusal) ? refusal->rounds.head_id : 0;
}

void refusal_note_try(struct refusal *refusal, uint64_t id)
{
    if (refusal_is_first_try(refusal))
        refusal->rounds.head_id = id;
    refusal->rounds.tries_left--;
}

void refusal_return_try(struct refusal *refusal)
{
    struct refusal_rounds *rounds = &refusal->rounds;

    rounds->head_id = 0;
    if (++rounds->unsent % REFUSAL_UNSENT != 0)
        rounds->tries_left++;
}

void refusal_end_round(struct refusal *refusal)
{
    refusal->rounds.tries_left = 0;
}

uint64_t refusal_backoff_ms(uint64_t min_ms, uint64_t max_ms, unsigned times)
{
    uint64_t ms = min_ms;

    for (unsigned i = 0; i < times && ms < max_ms; i++)
        ms *= 2;
    return ms < max_ms ? ms : max_ms;
}
