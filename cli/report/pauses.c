/* SPDX-License-Identifier: MIT */
/*
 * pauses.c - when did the broker answer nothing although messages waited?
 *
 * A time without an answer becomes a candidate when the next answer comes. What ends later
 * and was accepted before the end of a candidate shows that it waited then: so the oldest
 * messages may be sent after newer ones, as lanes do.
 */
#include "cli/report/pauses.h"

#include <string.h>

#include "store/spool.h"

int64_t pauses_begin_ms(const struct pause *pause)
{
    return pause->waited_from_ms > pause->start_ms ? pause->waited_from_ms : pause->start_ms;
}

bool pauses_counts(const struct pause *pause)
{
    return pause->end_ms - pauses_begin_ms(pause) >= PAUSES_LEAST_MS;
}

/* Of those in which nothing is known to have waited the oldest: what shows that comes soon. */
static void remove_shortest(struct pauses *pauses)
{
    size_t shortest = 0;

    for (size_t i = 1; i < pauses->count; i++) {
        if (pauses->at[i].end_ms - pauses_begin_ms(&pauses->at[i]) <
            pauses->at[shortest].end_ms - pauses_begin_ms(&pauses->at[shortest]))
            shortest = i;
    }
    if (pauses_counts(&pauses->at[shortest]))
        pauses->left_out++;
    pauses->count--;
    memmove(&pauses->at[shortest], &pauses->at[shortest + 1],
            (pauses->count - shortest) * sizeof(pauses->at[0]));
}

/* What was accepted at @from_ms and ends at @time_ms waited in all candidates between. The
 * older a candidate, the more has ended after it: where one knows of an earlier acceptance,
 * all before it do. A candidate that ends much later was made by a clock that is set back
 * now. */
static void note_waiting(struct pauses *pauses, int64_t from_ms, int64_t time_ms)
{
    for (size_t i = pauses->count; i > 0; i--) {
        struct pause *pause = &pauses->at[i - 1];

        if (pause->end_ms - time_ms >= SPOOL_RECORDS_LATE_MS)
            continue;
        if (pause->waited_from_ms <= from_ms)
            return;
        pause->waited_from_ms = from_ms;
    }
}

static void close_pause(struct pauses *pauses, int64_t end_ms, bool is_open)
{
    if (!pauses->has_answer || end_ms - pauses->answer_ms < PAUSES_LEAST_MS)
        return;
    if (pauses->count == PAUSES_MAX)
        remove_shortest(pauses);
    pauses->at[pauses->count++] = (struct pause){
        .start_ms = pauses->answer_ms,
        .end_ms = end_ms,
        .waited_from_ms = pauses->waited_from_ms,
        .is_open = is_open,
    };
}

void pauses_start(struct pauses *pauses, int64_t time_ms)
{
    pauses->has_answer = true;
    pauses->answer_ms = time_ms;
    pauses->has_waited = false;
}

/* A message waited. What ended before that without an answer, and a minute and more before,
 * was a pause of its own: nothing waited in between. */
static void extend(struct pauses *pauses, int64_t from_ms, int64_t to_ms)
{
    if (!pauses->has_answer) /* before the first answer: since the first acceptance */
        pauses_start(pauses, from_ms);
    if (pauses->has_waited && from_ms - pauses->waited_to_ms >= PAUSES_LEAST_MS) {
        close_pause(pauses, pauses->waited_to_ms, false);
        pauses->has_waited = false;
    }
    if (!pauses->has_waited || from_ms < pauses->waited_from_ms)
        pauses->waited_from_ms = from_ms;
    if (!pauses->has_waited || to_ms > pauses->waited_to_ms)
        pauses->waited_to_ms = to_ms;
    pauses->has_waited = true;
    note_waiting(pauses, from_ms, to_ms);
}

/* The newest answer, of which records may come late. */
static int64_t newest_answer(const struct pauses *pauses, int64_t time_ms)
{
    int64_t late_ms = pauses->has_answer ? pauses->answer_ms - time_ms : 0;

    return late_ms > 0 && late_ms < SPOOL_RECORDS_LATE_MS ? pauses->answer_ms : time_ms;
}

void pauses_add(struct pauses *pauses, int64_t time_ms, int64_t age_ms, bool is_answer)
{
    extend(pauses, time_ms - age_ms, time_ms);
    if (!is_answer)
        return;
    close_pause(pauses, time_ms, false);
    pauses_start(pauses, newest_answer(pauses, time_ms));
}

void pauses_end(struct pauses *pauses, int64_t now_ms, int64_t oldest_ms)
{
    extend(pauses, oldest_ms, now_ms);
    close_pause(pauses, now_ms, true);
}

void pauses_hold(struct pauses *pauses, int64_t time_ms)
{
    if (pauses->hold_count > 0 && pauses->holds[pauses->hold_count - 1].end_ms == INT64_MAX)
        return;
    if (pauses->hold_count == PAUSES_HOLDS_MAX) {
        pauses->hold_count--;
        memmove(pauses->holds, pauses->holds + 1,
                pauses->hold_count * sizeof(pauses->holds[0]));
    }
    pauses->holds[pauses->hold_count++] = (struct hold){time_ms, INT64_MAX};
}

void pauses_release(struct pauses *pauses, int64_t time_ms)
{
    if (pauses->hold_count > 0 && pauses->holds[pauses->hold_count - 1].end_ms == INT64_MAX)
        pauses->holds[pauses->hold_count - 1].end_ms = time_ms;
}

bool pauses_is_held(const struct pauses *pauses, const struct pause *pause)
{
    for (size_t i = 0; i < pauses->hold_count; i++) {
        if (pauses->holds[i].start_ms < pause->end_ms &&
            pauses->holds[i].end_ms > pauses_begin_ms(pause))
            return true;
    }
    return false;
}
