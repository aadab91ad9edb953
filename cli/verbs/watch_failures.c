/* SPDX-License-Identifier: MIT */
/*
 * watch_failures.c - the newest failures, for the watch
 *
 * Each call is a short read of what came since the one before; the first looks at the newest
 * LOOK_BACK records only.
 */
#include "cli/verbs/watch_failures.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "store/spool.h"

enum { LOOK_BACK = 10000, NAME_MAX_SHOWN = 48 };

static int take_record(void *userdata, const struct spool_record *record)
{
    struct watch_failures *failures = userdata;
    char time[CLOCK_TEXT_MAX], code[16] = "", topic[WATCH_FAILURE_MAX / 2],
                               client[NAME_MAX_SHOWN];

    clock_format(record->time_ms, time);
    if (record->code != SPOOL_NO_CODE)
        (void)snprintf(code, sizeof(code), " 0x%02X", (unsigned)record->code);
    (void)snprintf(failures->lines[failures->next], WATCH_FAILURE_MAX, "%.8s %s/%s%s %s (%s)",
                   time + strlen("2026-11-01T"), spool_outcome_name(record->outcome),
                   spool_reason_name(record->reason), code,
                   cli_printable(topic, sizeof(topic), record->topic),
                   cli_printable(client, sizeof(client), record->client));
    failures->next = (failures->next + 1) % WATCH_FAILURES_MAX;
    if (failures->count < WATCH_FAILURES_MAX)
        failures->count++;
    failures->seen_seq = record->seq;
    return 0;
}

void watch_failures_read(struct watch_failures *failures, const char *directory)
{
    AUTO_SPOOL struct spool *spool = NULL;
    uint64_t last_seq;

    if (!directory || !cli_may_read(directory) || spool_open_reader(directory, &spool) != 0)
        return;
    last_seq = spool_last_seq(spool);
    if (last_seq > failures->seen_seq + LOOK_BACK)
        failures->seen_seq = last_seq - LOOK_BACK;
    if (spool_each_record(spool, failures->seen_seq, true, 0, take_record, failures) == 0 &&
        last_seq > failures->seen_seq)
        failures->seen_seq = last_seq;
}

const char *watch_failures_get(const struct watch_failures *failures, unsigned index)
{
    if (index >= failures->count)
        return NULL;
    return failures
        ->lines[(failures->next + WATCH_FAILURES_MAX - 1 - index) % WATCH_FAILURES_MAX];
}
