/* SPDX-License-Identifier: MIT */
/*
 * mend_spool.c - opens a spool as the daemon does, salvages it where it is damaged, closes it
 *
 * mend_spool DIRECTORY
 *
 * For rigs that cut the power while it runs. Prints how many messages a salvage kept and
 * how many it recorded as damaged; nothing when there was no damage.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "store/spool.h"

static void check(int result, const char *step)
{
    if (result == 0)
        return;
    fprintf(stderr, "mend_spool: %s: %d (%s)\n", step, result, spool_open_error());
    exit(1);
}

int main(int argc, char **argv)
{
    const struct spool_lane lane = {
        .name = "default",
        .limits = {.max_messages = 1000000,
                   .max_bytes = 1000000000,
                   .max_age_ms = INT64_C(30) * 86400000,
                   .when_full = SPOOL_EVICT_OLDEST},
    };
    struct spool_options options = {
        .directory = argc == 2 ? argv[1] : "",
        .keep_failures_ms = INT64_C(30) * 86400000,
        .keep_failures_count = 100000,
        .lanes = &lane,
        .lane_count = 1,
    };
    struct spool_salvage done;
    struct clock_reading now;
    struct spool *spool;

    check(argc != 2, "usage: mend_spool DIRECTORY");
    clock_boot_id(options.boot_id);
    clock_read(&now);
    options.now = (struct spool_time){.wall_ms = now.wall_ms, .boot_ms = now.boot_ms};
    int r = spool_open(&options, &spool);
    if (r == SPOOL_E_DAMAGED) {
        check(spool_salvage(&options, NULL, &done), "salvage");
        printf("salvaged %" PRIu64 " damaged %" PRIu64 "\n", done.salvaged, done.damaged);
        r = spool_open(&options, &spool);
    }
    check(r, "open");
    spool_close(spool);
    return 0;
}
