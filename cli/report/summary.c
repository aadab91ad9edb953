/* SPDX-License-Identifier: MIT */
/*
 * summary.c - what a report shows, gathered from one record after the other
 */
#include "cli/report/summary.h"

#include <string.h>

#define FIRST_CREDIBLE_MS                                                                      \
    INT64_C(1735689600000) /* 2025: base/clock.c believes no earlier one */

void summary_init(struct summary *summary,
                  const struct summary_period *period,
                  int64_t now_ms,
                  int64_t zone_ms)
{
    memset(summary, 0, sizeof(*summary));
    summary->period = *period;
    summary->is_limited = period->since_ms != INT64_MIN || period->until_ms != INT64_MAX;
    summary->now_ms = now_ms;
    buckets_init(&summary->buckets, zone_ms, BUCKETS_SECOND);
    buckets_init(&summary->days, zone_ms, BUCKETS_DAY);
}

bool summary_contains(const struct summary_period *period, int64_t wall_ms)
{
    return wall_ms >= period->since_ms && wall_ms < period->until_ms;
}

bool summary_is_credible(const struct summary *summary, int64_t wall_ms)
{
    if (wall_ms < FIRST_CREDIBLE_MS)
        return false;
    /* A clock of this machine that is not set itself judges no other. */
    return summary->now_ms < FIRST_CREDIBLE_MS || wall_ms <= summary->now_ms + BUCKETS_DAY;
}

uint64_t summary_failed(const struct summary *summary)
{
    uint64_t failed = 0;

    for (unsigned i = 0; i < SPOOL_OUTCOMES; i++)
        failed += i == SPOOL_DELIVERED ? 0 : summary->ended[i];
    return failed;
}

static void count_end(struct summary *summary, const struct spool_record *record, size_t size)
{
    summary->ended[record->outcome]++;
    summary->reasons[record->outcome][record->reason]++;
    summary->record_bytes += size;
    if (record->outcome == SPOOL_DELIVERED) {
        histogram_add(&summary->delays, record->age_ms);
        return;
    }
    if (record->reason == SPOOL_REASON_REASON_CODE && record->code >= 0 && record->code < 256)
        summary->codes[record->code]++;
    top_add(&summary->topics, record->topic);
    top_add(&summary->clients, record->client);
}

static void count_acceptance(struct summary *summary, uint64_t bytes)
{
    summary->accepted++;
    summary->accepted_bytes += bytes;
}

static void chart_end(struct summary *summary, const struct spool_record *record, size_t size)
{
    enum bucket_series series =
        record->outcome == SPOOL_DELIVERED ? BUCKET_DELIVERED : BUCKET_FAILED;

    buckets_add(&summary->buckets, record->time_ms, series, 1);
    buckets_add(&summary->days, record->time_ms, BUCKET_RECORDS, size);
}

/* @from_ms: credible, or so long before that it is before everything. */
static void place_acceptance(struct summary *summary, int64_t from_ms, uint64_t bytes)
{
    if (from_ms < summary->period.since_ms) {
        summary->accepted_before++;
        return;
    }
    if (!summary_contains(&summary->period, from_ms))
        return;
    count_acceptance(summary, bytes);
    if (!summary_is_credible(summary, from_ms)) {
        summary->accepted_before++; /* in the backlog, and in no step */
        return;
    }
    buckets_add(&summary->buckets, from_ms, BUCKET_ACCEPTED, 1);
    buckets_add(&summary->days, from_ms, BUCKET_PAYLOAD, bytes);
}

static void place_end(struct summary *summary, const struct spool_record *record, size_t size)
{
    if (record->time_ms < summary->period.since_ms) {
        summary->ended_before++;
    } else if (summary_contains(&summary->period, record->time_ms)) {
        count_end(summary, record, size);
        chart_end(summary, record, size);
    }
}

/* What was accepted before the first record, and ended before it, is not known: the period
 * begins with that record then. */
static void begin(struct summary *summary, const struct spool_record *record)
{
    if (summary->has_begun || !summary->is_partial)
        return;
    if (record->time_ms > summary->period.since_ms)
        summary->period.since_ms = record->time_ms;
    pauses_start(&summary->pauses, record->time_ms);
    summary->has_begun = true;
}

void summary_add(struct summary *summary, const struct spool_record *record, size_t size)
{
    bool is_answer = record->outcome == SPOOL_DELIVERED ||
                     (record->outcome == SPOOL_REJECTED && record->attempts > 0);

    if (!summary->has_record)
        summary->is_partial = record->seq > 1;
    summary->has_record = true;
    if (!summary_is_credible(summary, record->time_ms)) {
        summary->untimed++;
        if (!summary->is_limited) {
            count_end(summary, record, size);
            count_acceptance(summary, record->bytes);
        }
        return;
    }
    begin(summary, record);
    pauses_add(&summary->pauses, record->time_ms, record->age_ms, is_answer);
    place_end(summary, record, size);
    place_acceptance(summary, record->time_ms - record->age_ms, record->bytes);
}

void summary_add_waiting(struct summary *summary, int64_t age_ms, uint64_t bytes)
{
    int64_t from_ms = summary->now_ms - age_ms;

    if (summary->waiting++ == 0 || from_ms < summary->waiting_since_ms)
        summary->waiting_since_ms = from_ms;
    place_acceptance(summary, from_ms, bytes);
}

void summary_end(struct summary *summary)
{
    if (summary->waiting == 0 || !summary_is_credible(summary, summary->now_ms))
        return;
    pauses_end(&summary->pauses, summary->now_ms, summary->waiting_since_ms);
    if (summary_contains(&summary->period, summary->now_ms))
        buckets_add(&summary->buckets, summary->now_ms, BUCKET_ACCEPTED, 0);
}
