/* SPDX-License-Identifier: MIT */
/*
 * make_spool.c - a spool with a known history, for tests of the tool
 *
 * make_spool DIRECTORY AUDIT_FILE EXPORTED [hold]
 *
 * Ten messages are accepted: 1 to 4 are delivered, 5 is rejected by the broker
 * with 0x87, 6 and 7 are evicted by max_messages, 8 to 10 stay. So there are
 * seven outcome rows. The first EXPORTED of them are in AUDIT_FILE and
 * covered by the export cursor. With hold it prints "ready" and keeps the spool
 * open, as a daemon would, until its standard input ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/view.h"
#include "daemon/record/outcome.h"
#include "store/spool.h"

#define MESSAGES 10

static const struct spool_time now = {
    .wall_ms = INT64_C(1790000000000),
    .boot_ms = 5000,
    .wall_credible = true,
};

static void check(int result, const char *step)
{
    if (result == 0)
        return;
    fprintf(stderr, "make_spool: %s: %d (%s)\n", step, result, spool_open_error());
    exit(1);
}

static struct view text(const char *from)
{
    return view_of_text(from);
}

static void append(struct spool *spool)
{
    for (int i = 1; i <= MESSAGES; i++) {
        struct spool_message message = {
            .uid = 1000,
            .qos = 1,
            .expiry_ms = SPOOL_NO_EXPIRY,
            .client = text("sensor"),
            .topic = text("plant/1/temperature"),
            .ref = text(i == 5 ? "order-5" : ""),
            .payload = text("21.5"),
        };
        uint64_t id;

        check(spool_append(spool, &message, &now, &id), "append");
    }
    check(spool_commit(spool, &now), "commit");
}

static void settle(struct spool *spool)
{
    const struct spool_verdict delivered = {SPOOL_DELIVERED, SPOOL_REASON_NONE, SPOOL_NO_CODE};
    const struct spool_verdict rejected = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 0x87};
    struct spool_message message;

    for (int i = 1; i <= 5; i++) {
        check(spool_next(spool, &now, &message), "next");
        check(spool_settle(spool, message.id, i < 5 ? &delivered : &rejected, now.boot_ms),
              "settle");
    }
    check(spool_commit(spool, &now), "commit");
}

static void evict(struct spool *spool, struct spool_limits limits)
{
    unsigned evicted;
    bool more;

    limits.max_messages = 3;
    const struct spool_lane lane = {.name = "default", .limits = limits};
    check(spool_set_lanes(spool, &lane, 1), "set_lanes");
    check(spool_retain(spool, &now, 100, &evicted, &more), "retain");
    check(spool_commit(spool, &now), "commit");
}

static int write_row(void *context, const struct spool_record *record)
{
    static char line[RECORD_LINE_MAX + 1];
    struct json json;

    json_init(&json, line, sizeof(line));
    record_write(&json, record);
    json_raw(&json, "\n");
    return fwrite(line, json_used(&json), 1, context) == 1 ? 0 : -1;
}

static void export_rows(struct spool *spool, const char *path, uint64_t rows)
{
    FILE *file = fopen(path, "w");

    check(!file, path);
    if (rows > 0)
        check(spool_each_record(spool, 0, false, rows, write_row, file), "rows");
    check(fclose(file), path);
    spool_set_exported(spool, rows);
    check(spool_commit(spool, &now), "commit");
}

int main(int argc, char **argv)
{
    const struct spool_limits limits = {
        .max_messages = 1000,
        .max_bytes = 1000000,
        .max_age_ms = 86400000,
        .when_full = SPOOL_EVICT_OLDEST,
    };
    const struct spool_lane lane = {.name = "default", .limits = limits};
    struct spool_options options = {
        .directory = argc > 1 ? argv[1] : "",
        .keep_failures_ms = 86400000,
        .keep_failures_count = 1000,
        .lanes = &lane,
        .lane_count = 1,
        .now = now,
    };
    struct spool *spool;

    check(argc < 4, "usage: make_spool DIRECTORY AUDIT_FILE EXPORTED [hold]");
    clock_boot_id(options.boot_id);
    check(spool_open(&options, &spool), "open");
    append(spool);
    settle(spool);
    evict(spool, limits);
    export_rows(spool, argv[2], strtoull(argv[3], NULL, 10));
    if (argc > 4) {
        puts("ready");
        (void)fflush(stdout);
        while (getchar() != EOF)
            ;
    }
    spool_close(spool);
    return 0;
}
