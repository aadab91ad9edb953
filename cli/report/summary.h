/* SPDX-License-Identifier: MIT */
/*
 * summary.h - what a report shows, gathered from one record after the other
 *
 * Pure accumulation in fixed memory, some 1.1 MiB whatever is added: a record is a line of an
 * audit file or a row of the database. When a message was accepted is its end less its age,
 * because the age is by the spool's own clock: so a wall clock that was set makes no message
 * end before it was accepted.
 *
 * Times that no gateway can have (before 2025, or after tomorrow) are those of a clock that
 * was not set: such a record counts in all totals and is in no chart.
 *
 * Thread: any one at a time.
 */
#ifndef MQTT_SPOOLD_CLI_REPORT_SUMMARY_H
#define MQTT_SPOOLD_CLI_REPORT_SUMMARY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/report/buckets.h"
#include "cli/report/histogram.h"
#include "cli/report/pauses.h"
#include "cli/report/top.h"
#include "store/spool.h"

/* From @since_ms on and before @until_ms, UTC; INT64_MIN and INT64_MAX: no limit. */
struct summary_period {
    int64_t since_ms;
    int64_t until_ms;
};

struct summary {
    struct summary_period period;
    int64_t now_ms;  /* when the reading began; once the spool is read, the now of its ages */
    bool is_limited; /* a period was given */
    bool is_partial; /* the first record is not that of seq 1 */
    bool has_record;
    bool has_begun; /* its time is known: then the period begins there */
    /* In the period. */
    uint64_t accepted;
    uint64_t accepted_bytes;
    uint64_t ended[SPOOL_OUTCOMES];
    uint64_t reasons[SPOOL_OUTCOMES][SPOOL_REASONS];
    uint64_t codes[256]; /* of rejected by a reason code */
    uint64_t record_bytes;
    uint64_t untimed; /* records whose time no gateway can have */
    uint64_t pruned;  /* deliveries whose records were pruned: in no other figure */
    uint64_t admin;
    struct histogram delays; /* of deliveries */
    struct top topics;       /* of failures */
    struct top clients;
    struct {
        uint64_t accepted;
        uint64_t ended;
    } before; /* the period: so the backlog at its begin is known */
    struct buckets buckets;
    struct buckets fine; /* the same, for the backlog within a step */
    struct buckets days;
    struct pauses pauses;
    /* Of the database; as of now, whatever the period. */
    uint64_t waiting;
    int64_t waiting_since_ms;
};

/* @zone_ms: local time is UTC and this. */
void summary_init(struct summary *summary,
                  const struct summary_period *period,
                  int64_t now_ms,
                  int64_t zone_ms);
/* A message that ended. @size: of its line, 0: it has none. */
void summary_add(struct summary *summary, const struct spool_record *record, size_t size);
/* A message that waits. */
void summary_add_waiting(struct summary *summary, int64_t age_ms, uint64_t bytes);
/* After all of them. */
void summary_end(struct summary *summary);

/* summary_line.c: a line of an audit file, parsed. What is no record, no operator's change and
 * no range of pruned records is passed over. */
void summary_add_line(struct summary *summary, const json_t *object, size_t size);

/* All that ended otherwise than delivered, in the period. */
uint64_t summary_failed(const struct summary *summary);
/* Can a gateway have had this time? */
bool summary_is_credible(const struct summary *summary, int64_t wall_ms);
bool summary_contains(const struct summary_period *period, int64_t wall_ms);

#endif
