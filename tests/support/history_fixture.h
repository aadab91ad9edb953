/* SPDX-License-Identifier: MIT */
/*
 * history_fixture.h - a spool with a known history, and its audit file
 *
 * For the tests of cli/, over spool_fixture.h. As make_spool.c: ten messages are
 * accepted; 1 to 4 are delivered, 5 is rejected with 0x87, 6 and 7 are evicted by
 * max_messages, 8 to 10 stay. So there are seven outcome rows.
 */
#ifndef MQTT_SPOOLD_TESTS_HISTORY_FIXTURE_H
#define MQTT_SPOOLD_TESTS_HISTORY_FIXTURE_H

#include "base/json.h"
#include "daemon/record/outcome.h"
#include "store/spool.h"
#include "tests/support/spool_fixture.h"

static inline void make_history(struct fixture *f)
{
    const struct spool_verdict rejected = {SPOOL_REJECTED, SPOOL_REASON_REASON_CODE, 0x87};
    struct spool_limits limits = f->lane.limits;
    unsigned evicted;
    bool more;

    append_many(f, 10);
    for (int i = 1; i <= 4; i++)
        deliver(f, next_id(f));
    assert_int_equal(spool_settle(f->spool, next_id(f), &rejected, f->now.boot_ms), 0);
    commit(f);
    limits.max_messages = 3;
    set_limits(f, limits);
    assert_int_equal(spool_retain(f->spool, &f->now, 100, &evicted, &more), 0);
    commit(f);
    assert_int_equal(evicted, 2);
}

static inline int write_history_row(void *userdata, const struct spool_record *record)
{
    static char line[RECORD_LINE_MAX + 1];
    struct json json;

    json_init(&json, line, sizeof(line));
    record_write(&json, record);
    json_raw(&json, "\n");
    return fwrite(line, json_used(&json), 1, userdata) == 1 ? 0 : -1;
}

/* The first @rows records in @path, and the cursor after them. */
static inline void export_history(struct fixture *f, const char *path, uint64_t rows)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    if (rows > 0)
        assert_int_equal(spool_each_record(f->spool, 0, false, rows, write_history_row, file),
                         0);
    assert_int_equal(fclose(file), 0);
    spool_set_exported(f->spool, rows);
    commit(f);
}

#endif
