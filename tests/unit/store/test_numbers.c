/* SPDX-License-Identifier: MIT */
/*
 * test_numbers.c - the messages of a lane are numbered without a gap, and none twice
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <unistd.h>

#include "base/view.h"
#include "store/spool.h"
#include "store/stmt.h"
#include "store/sum.h"
#include "tests/support/spool_fixture.h"

enum { DEFAULT, ALARMS, LANES };

static int setup_lanes(void **state)
{
    static struct spool_lane lanes[LANES];

    if (setup_closed(state) != 0)
        return -1;
    struct fixture *f = *state;
    lanes[DEFAULT] = f->lane;
    lanes[ALARMS] = f->lane;
    lanes[ALARMS].name = "alarms";
    lanes[ALARMS].limits.max_messages = 3;
    f->options.lanes = lanes;
    f->options.lane_count = LANES;
    use_no_segments(f); /* numbers do not depend on the table */
    open_spool(f);
    return 0;
}

static void append_to(struct fixture *f, unsigned lane, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct spool_message message = make_message("payload");
        uint64_t id;

        message.lane = lane;
        assert_int_equal(spool_append(f->spool, &message, &f->now, &id), 0);
    }
}

/* In this order, and commits them. */
static void accept_messages(struct fixture *f, unsigned of_default, unsigned of_alarms)
{
    append_to(f, DEFAULT, of_default);
    append_to(f, ALARMS, of_alarms);
    commit(f);
}

/* All that is handed out of the lane, as "1 2 3 "; everything is delivered. */
static const char *numbers_of(struct fixture *f, const char *lane)
{
    static char text[512];
    struct spool_message message;
    size_t used = 0;

    text[0] = '\0';
    while (spool_next(f->spool, &f->now, &message) == 0) {
        if (strcmp(message.lane_name, lane) == 0)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%llu ",
                                     (unsigned long long)message.number);
        assert_true(used < sizeof(text));
        deliver(f, message.id);
    }
    commit(f);
    return text;
}

static void each_lane_is_numbered_by_itself_over_restarts(void **state)
{
    struct fixture *f = *state;

    append_to(f, DEFAULT, 2);
    append_to(f, ALARMS, 1);
    append_to(f, DEFAULT, 1);
    commit(f);
    check_sound(f);
    reopen_spool(f);
    accept_messages(f, 0, 1);
    check_sound(f);
    assert_string_equal(numbers_of(f, "alarms"), "1 2 ");
    reopen_spool(f);
    append_to(f, ALARMS, 1);
    append_to(f, DEFAULT, 1);
    commit(f);
    check_sound(f);
    assert_string_equal(numbers_of(f, "alarms"), "3 ");
    accept_messages(f, 1, 0);
    assert_string_equal(numbers_of(f, "default"), "5 ");
}

static void what_was_never_accepted_has_no_number(void **state)
{
    struct fixture *f = *state;

    append_to(f, DEFAULT, 2);
    reopen_spool(f); /* the batch is lost */
    accept_messages(f, 1, 0);
    append_to(f, DEFAULT, 3);
    close_spool(f);
    open_spool(f);
    accept_messages(f, 1, 0);
    assert_string_equal(numbers_of(f, "default"), "1 2 ");
}

static void an_evicted_message_leaves_a_gap(void **state)
{
    struct fixture *f = *state;
    unsigned evicted = 0;
    bool has_more = false;

    accept_messages(f, 0, 2);
    append_to(f, ALARMS, 3);
    assert_int_equal(spool_retain(f->spool, &f->now, 1000, &evicted, &has_more), 0);
    commit(f);
    assert_int_equal(evicted, 2);
    check_sound(f);
    assert_string_equal(numbers_of(f, "alarms"), "3 4 5 ");
    assert_int_equal(records_of(f, 2).record.outcome, SPOOL_EVICTED);
}

static void a_message_that_comes_back_keeps_its_number(void **state)
{
    struct fixture *f = *state;
    struct spool_message message;

    append_to(f, ALARMS, 2);
    append_to(f, DEFAULT, 1);
    commit(f);
    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    uint64_t number = message.number, id = message.id;
    assert_int_equal(spool_return(f->spool, id, 0), 0);
    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    assert_int_equal(message.id, id);
    assert_int_equal(message.number, number);
}

static void a_lane_that_is_not_configured_keeps_its_name_and_its_count(void **state)
{
    struct fixture *f = *state;

    accept_messages(f, 1, 2);
    f->options.lane_count = 1;
    reopen_spool(f);
    accept_messages(f, 1, 0);
    assert_string_equal(numbers_of(f, "alarms"), "1 2 ");
    f->options.lane_count = LANES;
    reopen_spool(f);
    append_to(f, ALARMS, 1);
    append_to(f, DEFAULT, 1);
    commit(f);
    assert_string_equal(numbers_of(f, "alarms"), "3 ");
}

/* The counters of a forgotten lane go to "default", its numbers do not. */
static void a_forgotten_lane_leaves_no_gap_in_default(void **state)
{
    struct fixture *f = *state;

    append_to(f, ALARMS, 3);
    append_to(f, DEFAULT, 1);
    commit(f);
    (void)numbers_of(f, "alarms");
    accept_messages(f, 1, 0);
    (void)numbers_of(f, "default"); /* the newest outcome is one of default */
    tamper(f, "UPDATE lane SET last_seq = 0 WHERE name = 'alarms'");
    f->options.lane_count = 1;
    reopen_spool(f);
    assert_int_equal(spool_lane_count(f->spool), 1);
    accept_messages(f, 1, 0);
    check_sound(f);
    assert_string_equal(numbers_of(f, "default"), "3 ");
    f->options.lane_count = LANES;
    reopen_spool(f);
    accept_messages(f, 0, 1);
    assert_string_equal(numbers_of(f, "alarms"), "1 ");
}

/* ---- the schema before numbers ---- */

/* Sums as that schema had them. */
static void sum_without_number(struct fixture *f)
{
    char path[128], sql[128];
    sqlite3 *db;
    sqlite3_stmt *stmt;
    enum { MOST = 8 };
    struct {
        int64_t key;
        uint32_t sum;
    } rows[MOST];
    size_t count = 0;

    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT " MESSAGE_COLUMNS " FROM message", -1, &stmt, NULL),
        SQLITE_OK);
    for (; sqlite3_step(stmt) == SQLITE_ROW; count++) {
        assert_true(count < MOST);
        const struct sum_facts facts = {
            .key = sqlite3_column_int64(stmt, MESSAGE_KEY),
            .accepted = sqlite3_column_int64(stmt, MESSAGE_ACCEPTED),
            .uid = sqlite3_column_int64(stmt, MESSAGE_UID),
            .flags = sqlite3_column_int64(stmt, MESSAGE_FLAGS),
            .client = view_of_text((const char *)sqlite3_column_text(stmt, MESSAGE_CLIENT)),
            .topic = view_of_text((const char *)sqlite3_column_text(stmt, MESSAGE_TOPIC)),
            .payload = view_of(sqlite3_column_blob(stmt, MESSAGE_PAYLOAD),
                               (size_t)sqlite3_column_bytes(stmt, MESSAGE_PAYLOAD)),
        };
        rows[count].key = facts.key;
        rows[count].sum = sum_of(&facts);
    }
    (void)sqlite3_finalize(stmt);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(sql, sizeof(sql), "UPDATE message SET sum = %lu WHERE key = %lld",
                       (unsigned long)rows[i].sum, (long long)rows[i].key);
        tamper(f, sql);
    }
}

static void what_an_earlier_schema_accepted_has_no_number(void **state)
{
    struct fixture *f = *state;

    accept_messages(f, 3, 2);
    close_spool(f);
    sum_without_number(f);
    tamper(f, TO_EIGHTH_SCHEMA
           "ALTER TABLE message DROP COLUMN behind; ALTER TABLE rejected DROP COLUMN behind;"
           "ALTER TABLE lane DROP COLUMN unnumbered; PRAGMA user_version = 7");
    check_sound(f); /* of a reader, before the daemon migrates it */
    open_spool(f);
    check_sound(f);
    accept_messages(f, 1, 1);
    check_sound(f);
    reopen_spool(f);
    assert_string_equal(numbers_of(f, "default"), "0 0 0 4 ");
    accept_messages(f, 0, 1);
    assert_string_equal(numbers_of(f, "alarms"), "4 ");
    assert_int_equal(ledger_of(f).ended[SPOOL_DELIVERED], 8); /* none is damaged */
}

/* ---- salvage ---- */

static void salvage(struct fixture *f)
{
    struct spool_salvage result;

    close_spool(f);
    assert_int_equal(spool_salvage(&f->options, NULL, &result), 0);
    open_spool(f);
    check_sound(f);
}

static void a_salvage_keeps_the_numbers(void **state)
{
    struct fixture *f = *state;

    accept_messages(f, 2, 2);
    salvage(f);
    accept_messages(f, 1, 1);
    assert_string_equal(numbers_of(f, "alarms"), "1 2 3 ");
    salvage(f); /* where no message is left, the lane's row knows the number */
    accept_messages(f, 0, 1);
    assert_string_equal(numbers_of(f, "alarms"), "4 ");
}

/* The database as it was, with a mark that knows of three messages more. */
static void a_salvage_assigns_no_number_twice_when_commits_are_lost(void **state)
{
    struct fixture *f = *state;

    accept_messages(f, 2, 1);
    close_spool(f);
    tamper(f, "CREATE TABLE old AS SELECT * FROM lane");
    open_spool(f);
    accept_messages(f, 1, 2);
    close_spool(f);
    tamper(f, "DELETE FROM lane; INSERT INTO lane SELECT * FROM old; DROP TABLE old;"
              "DELETE FROM message WHERE (key & 0xffffffffffff) > 3");
    struct spool_salvage result;
    assert_int_equal(spool_open(&f->options, &f->spool), SPOOL_E_DAMAGED);
    assert_int_equal(spool_salvage(&f->options, NULL, &result), 0);
    assert_int_equal(result.damaged, 3);
    open_spool(f);
    check_sound(f);
    accept_messages(f, 1, 1);
    assert_string_equal(numbers_of(f, "alarms"), "1 5 "); /* 2 to 4 may be lost */
    accept_messages(f, 1, 0);
    assert_string_equal(numbers_of(f, "default"), "7 "); /* 3 to 5 may be lost */
}

static void a_lost_row_of_a_lane_costs_no_number_twice(void **state)
{
    struct fixture *f = *state;

    accept_messages(f, 2, 3);
    (void)numbers_of(f, "alarms");
    close_spool(f);
    tamper(f, "DELETE FROM lane WHERE name = 'alarms'");
    struct spool_salvage result;
    assert_int_equal(spool_salvage(&f->options, NULL, &result), 0);
    open_spool(f);
    check_sound(f);
    accept_messages(f, 0, 1);
    struct spool_message message;
    assert_int_equal(spool_next(f->spool, &f->now, &message), 0);
    assert_string_equal(message.lane_name, "alarms");
    assert_true(message.number > 3);
}

static void a_number_that_changed_on_disk_is_not_sent(void **state)
{
    struct fixture *f = *state;

    accept_messages(f, 3, 0);
    close_spool(f);
    tamper(f, "UPDATE message SET behind = 1 WHERE key = 2");
    open_spool(f);
    assert_string_equal(numbers_of(f, "default"), "1 3 ");
    assert_int_equal(records_of(f, 2).record.outcome, SPOOL_DAMAGED);
}

static void numbers_that_no_ledger_explains_are_damage(void **state)
{
    struct fixture *f = *state;

    accept_messages(f, 3, 0);
    close_spool(f);
    for (int unnumbered = -1; unnumbered <= 1; unnumbered += 2) {
        char sql[64];

        (void)snprintf(sql, sizeof(sql), "UPDATE lane SET unnumbered = %d WHERE number = 0",
                       unnumbered);
        tamper(f, sql);
        assert_int_equal(spool_open(&f->options, &f->spool), SPOOL_E_DAMAGED);
        assert_string_equal(spool_open_error(),
                            "the numbers of lane \"default\" do not match its ledger");
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_lanes, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_lane_is_numbered_by_itself_over_restarts),
        CASE(what_was_never_accepted_has_no_number),
        CASE(an_evicted_message_leaves_a_gap),
        CASE(a_message_that_comes_back_keeps_its_number),
        CASE(a_lane_that_is_not_configured_keeps_its_name_and_its_count),
        CASE(a_forgotten_lane_leaves_no_gap_in_default),
        CASE(what_an_earlier_schema_accepted_has_no_number),
        CASE(a_salvage_keeps_the_numbers),
        CASE(a_salvage_assigns_no_number_twice_when_commits_are_lost),
        CASE(a_lost_row_of_a_lane_costs_no_number_twice),
        CASE(a_number_that_changed_on_disk_is_not_sent),
        CASE(numbers_that_no_ledger_explains_are_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
