/* SPDX-License-Identifier: MIT */
/*
 * test_intake.c - why messages are not accepted: when it begins, which reason stands, when it
 * is over
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/condition.h"
#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/intake.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/connection.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

#define BLOCKED                                                                                \
    "{ name = \"b\"; topics = ( \"b/#\" ); max_messages = 1; when_full = \"block\"; }"
#define BLOCKED_LANE    "lanes = ( " BLOCKED " );"
#define BLOCKED_DEFAULT "retention: { when_full = \"block\"; };"

static struct intake *open_intake(const char *extra)
{
    return &fakes_open(extra)->intake;
}

static void pass_time(struct intake *intake, int64_t ms)
{
    fakes_pass_time(ms);
    turn_read_clock(&fakes.gateway->turn);
    assert_int_equal(intake->turn->now.boot_ms, fakes.now.boot_ms);
}

static void expect_refusing(const struct intake *intake, const char *why)
{
    assert_string_equal(intake_refusing(intake), why);
}

static void a_reason_is_logged_once_and_its_end_once(void **state)
{
    struct intake *intake = open_intake("");

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        intake_note_full(intake, INTAKE_FULL_DISK);
        pass_time(intake, 10);
    }
    assert_int_equal(fakes_logged("spool_full reason=disk new_messages=refused"), 1);
    intake_note_room(intake);
    assert_int_equal(fakes_logged("spool_room"), 0); /* not before it has lasted */
    assert_int_equal(intake_full_reason(intake), INTAKE_FULL_DISK);
    pass_time(intake, CONDITION_OVER_MS);
    intake_note_room(intake);
    assert_int_equal(fakes_logged("spool_room new_messages=accepted"), 1);
    assert_int_equal(intake_full_reason(intake), INTAKE_HAS_ROOM);
    intake_note_room(intake);
    assert_int_equal(fakes_logged("spool_room"), 1);
}

/* Opened with the configuration @extra. */
static void expect_logged(const char *extra, enum intake_full why, const char *line)
{
    intake_note_full(open_intake(extra), why);
    assert_int_equal(fakes_logged(line), 1);
}

static void the_line_says_that_messages_wait_where_all_lanes_block(void **state)
{
    (void)state;
    expect_logged(BLOCKED_LANE BLOCKED_DEFAULT, INTAKE_FULL_DISK,
                  "spool_full reason=disk new_messages=blocked ");
}

static void the_line_says_that_some_wait_where_one_lane_blocks(void **state)
{
    (void)state;
    expect_logged(BLOCKED_LANE, INTAKE_FULL_AUDIT,
                  "spool_full reason=audit_waiting new_messages=refused_or_blocked ");
}

static void moved_files_refuse_under_every_policy(void **state)
{
    (void)state;
    expect_logged(BLOCKED_DEFAULT, INTAKE_FULL_MOVED,
                  "spool_full reason=spool_moved new_messages=refused ");
}

static void another_reason_takes_over_when_the_first_was_not_found_for_a_while(void **state)
{
    struct intake *intake = open_intake("");

    (void)state;
    intake_note_full(intake, INTAKE_FULL_DISK);
    intake_note_full(intake, INTAKE_FULL_LOCKED);
    assert_int_equal(intake_full_reason(intake), INTAKE_FULL_DISK);
    pass_time(intake, CONDITION_OVER_MS);
    intake_note_full(intake, INTAKE_FULL_LOCKED);
    assert_int_equal(intake_full_reason(intake), INTAKE_FULL_LOCKED);
    assert_int_equal(fakes_logged("spool_full reason=database_locked"), 1);
}

static void moved_files_outrank_every_other_reason_at_once(void **state)
{
    struct intake *intake = open_intake("");

    (void)state;
    intake_note_full(intake, INTAKE_FULL_DISK);
    fakes.gateway->turn.has_moved = true;
    intake_note_full(intake, INTAKE_FULL_MOVED);
    assert_int_equal(fakes_logged("spool_full reason=spool_moved"), 1);
    pass_time(intake, INT64_C(2) * CONDITION_OVER_MS);
    intake_note_full(intake, INTAKE_FULL_DISK);
    intake_note_room(intake);
    pass_time(intake, CONDITION_OVER_MS);
    intake_note_room(intake);
    intake_check_room(intake);
    assert_int_equal(fakes_logged("spool_room"), 0); /* nothing says that there is room */
    assert_int_equal(fakes_logged("spool_full reason=disk"), 1);
    expect_refusing(intake, "spool_moved");
    fakes.gateway->turn.has_moved = false;
}

static void an_eviction_for_the_disk_is_a_shortage_until_the_disk_has_room(void **state)
{
    struct intake *intake = open_intake("");

    (void)state;
    fakes.disk_evictions = 3;
    intake_watch_disk(intake, true);
    assert_int_equal(fakes_logged("disk_short detail=\"the disk of the test is short\""), 1);
    assert_string_equal(intake_describe_disk(intake), "the disk of the test is short");
    fakes.is_disk_short = true;
    pass_time(intake, 5000);
    intake_watch_disk(intake, true);
    fakes.is_disk_short = false;
    pass_time(intake, GATEWAY_FULL_RETRY_MS - 1);
    intake_watch_disk(intake, true); /* it was looked at just now */
    pass_time(intake, 1);
    intake_watch_disk(intake, true);
    pass_time(intake, CONDITION_OVER_MS);
    assert_int_equal(fakes_logged("disk_room"), 0);
    intake_watch_disk(intake, true);
    assert_int_equal(fakes_logged("disk_room after_ms=5250 room=\"on the disk\""), 1);
    assert_string_equal(intake_describe_disk(intake), "");
    assert_int_equal(fakes_logged("disk_short"), 1);
}

static void a_refusal_says_why_also_when_the_shortage_was_known(void **state)
{
    struct intake *intake = open_intake("");

    (void)state;
    fakes.disk_evictions = 1;
    intake_watch_disk(intake, true);
    intake_note_short_disk(intake);
    intake_note_short_disk(intake);
    assert_int_equal(fakes_logged("disk_short"), 2);
    assert_int_equal(fakes_logged("spool_full reason=disk"), 1);
}

static void two_commits_without_room_stop_sending(void **state)
{
    struct intake *intake = open_intake("");

    (void)state;
    intake_watch_disk(intake, false);
    assert_false(intake_sends_nothing(intake));
    assert_int_equal(fakes_logged("sending_stopped"), 0);
    intake_watch_disk(intake, false);
    assert_true(intake_sends_nothing(intake));
    assert_int_equal(fakes_logged("sending_stopped "), 1);
    intake_watch_disk(intake, false);
    assert_int_equal(fakes_logged("sending_stopped "), 1);
    pass_time(intake, 300);
    intake_watch_disk(intake, true);
    assert_false(intake_sends_nothing(intake));
    pass_time(intake, CONDITION_OVER_MS);
    intake_watch_disk(intake, true);
    assert_int_equal(fakes_logged("sending_resumed after_ms=300"), 1);
}

static void records_that_wait_fill_the_audit_only_while_it_is_not_written(void **state)
{
    struct intake *intake = open_intake("audit: { max_waiting = 1000; };");

    (void)state;
    fakes.waiting = 1000;
    assert_false(intake_audit_is_full(intake));
    fakes.is_audit_broken = true;
    assert_true(intake_audit_is_full(intake));
    fakes.waiting = 999;
    assert_false(intake_audit_is_full(intake));
    fakes.record_bytes = UINT64_C(1) * GATEWAY_FAILURES_KEPT * GATEWAY_RECORD_BYTES;
    assert_true(intake_audit_is_full(intake)); /* few, and large */
}

static void where_records_are_pruned_their_bytes_may_be_exceeded_by_a_batch(void **state)
{
    struct intake *intake =
        open_intake("audit: { max_waiting = 1000; when_full = \"prune\"; };");

    (void)state;
    fakes.is_audit_broken = true;
    fakes.record_bytes = UINT64_C(1) * GATEWAY_FAILURES_KEPT * GATEWAY_RECORD_BYTES;
    assert_true(intake_prunes_audit(intake));
    assert_false(intake_audit_is_full(intake));
    fakes.record_bytes += 2 * GATEWAY_BATCH_BYTES;
    assert_true(intake_audit_is_full(intake));
}

static void
the_status_says_the_audit_before_another_reason_and_no_longer_than_it_holds(void **state)
{
    struct intake *intake = open_intake("audit: { max_waiting = 1000; };");

    (void)state;
    expect_refusing(intake, "");
    intake_note_full(intake, INTAKE_FULL_DISK);
    expect_refusing(intake, "disk");
    fakes.is_audit_broken = true;
    fakes.waiting = 1000;
    expect_refusing(intake, "audit_waiting");
    pass_time(intake, CONDITION_OVER_MS);
    intake_note_full(intake, INTAKE_FULL_AUDIT);
    fakes.is_audit_broken = false;
    expect_refusing(intake, "");
}

static void a_lock_that_is_gone_is_no_reason_in_the_status(void **state)
{
    struct intake *intake = open_intake("");

    (void)state;
    intake_note_locked(intake);
    intake_note_full(intake, INTAKE_FULL_LOCKED);
    expect_refusing(intake, "database_locked");
    intake_note_unlocked(intake);
    expect_refusing(intake, "");
}

static void a_lock_is_logged_once_and_tried_again_after_a_pause(void **state)
{
    struct intake *intake = open_intake("");

    (void)state;
    assert_false(intake_expects_lock(intake));
    intake_note_locked(intake);
    assert_true(intake_expects_lock(intake));
    assert_true(intake_awaits_unlock(intake));
    pass_time(intake, GATEWAY_LOCKED_RETRY_MS);
    assert_false(intake_expects_lock(intake));
    intake_note_locked(intake);
    assert_int_equal(fakes_logged("database_locked "), 1);
    pass_time(intake, GATEWAY_LOCKED_PATIENCE_MS - GATEWAY_LOCKED_RETRY_MS);
    assert_false(intake_awaits_unlock(intake)); /* counted from its beginning */
    intake_note_unlocked(intake);
    pass_time(intake, CONDITION_OVER_MS);
    intake_check_room(intake);
    assert_int_equal(fakes_logged("database_unlocked after_ms=5000"), 1);
}

static void the_tick_ends_what_is_over_without_a_message(void **state)
{
    struct intake *intake = open_intake(BLOCKED_LANE "audit: { max_waiting = 1000; };");

    (void)state;
    intake_note_lane_full(intake, 1);
    assert_int_equal(fakes_logged("spool_full reason=limits lane=b new_messages=blocked"), 1);
    fakes.is_audit_broken = true;
    fakes.waiting = 1000;
    intake_note_full(intake, INTAKE_FULL_AUDIT);
    pass_time(intake, 100);
    intake_check_room(intake);
    pass_time(intake, CONDITION_OVER_MS);
    intake_check_room(intake);
    assert_int_equal(fakes_logged("spool_room lane=b new_messages=accepted"), 1);
    assert_int_equal(fakes_logged("spool_room new_messages=accepted"),
                     0); /* it is full still */
    fakes.is_audit_broken = false;
    intake_check_room(intake);
    pass_time(intake, CONDITION_OVER_MS);
    intake_check_room(intake);
    assert_int_equal(fakes_logged("spool_room new_messages=accepted"), 1);
}

static void expect_lane_full(struct intake *intake, const char *lane, const char *remedy)
{
    intake_note_lane_full(intake, 1);
    assert_int_equal(fakes_logged("spool_full reason=limits lane=b new_messages=blocked "), 1);
    assert_int_equal(fakes_logged(remedy), 1);
    intake_note_lane_room(intake, 1);
    pass_time(intake, CONDITION_OVER_MS);
    intake_note_lane_room(intake, 1);
    fakes_forget_log();
    assert_int_equal(spool_set_hold(fakes.gateway->spool, lane, true), 0);
}

static void a_lane_that_is_full_because_it_is_held_is_to_be_released(void **state)
{
    struct intake *intake = open_intake(BLOCKED_LANE);

    (void)state;
    expect_lane_full(intake, "default", "remedy=\"bring the link back, or raise max_messages");
    expect_lane_full(intake, "b", "remedy=\"bring the link back, or raise max_messages");
    expect_lane_full(
        intake, NULL,
        "remedy=\"an operator holds this lane: mqtt-spool release --lane b, or raise "
        "max_messages");
    expect_lane_full(intake, NULL,
                     "remedy=\"an operator holds all lanes: mqtt-spool release, or raise ");
}

static void whether_a_disk_has_room_is_known_only_from_a_message(void **state)
{
    struct intake *intake = open_intake("");

    (void)state;
    intake_note_full(intake, INTAKE_FULL_DISK);
    pass_time(intake, INT64_C(10) * CONDITION_OVER_MS);
    intake_check_room(intake);
    intake_check_room(intake);
    assert_int_equal(fakes_logged("spool_room"), 0);
    intake_note_room(intake); /* one was accepted, and none after it */
    pass_time(intake, CONDITION_OVER_MS);
    intake_check_room(intake);
    assert_int_equal(fakes_logged("spool_room"), 1);
}

static void the_room_of_a_lane_is_that_of_its_tighter_limit(void **state)
{
    const struct config_limits limits = {.max_messages = 100, .max_bytes = 1000};
    const struct spool_lane_stats empty = {0};
    const struct spool_lane_stats by_count = {.messages = 90, .bytes = 90};
    const struct spool_lane_stats by_bytes = {.messages = 10, .bytes = 900};
    const struct spool_lane_stats above = {.messages = 101, .bytes = 10};

    (void)state;
    assert_int_equal((int)intake_room_of(&limits, &empty), 100);
    assert_int_equal((int)intake_room_of(&limits, &by_count), 10);
    assert_int_equal((int)intake_room_of(&limits, &by_bytes), 1);
    assert_int_equal((int)intake_room_of(&limits, &above), 0);
}

static void a_lane_at_its_limit_accepts_nothing_unless_it_evicts(void **state)
{
    struct intake *intake = open_intake(BLOCKED_LANE "retention: { max_messages = 1; };");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes_link_state(UPLINK_IDLE);
    assert_false(intake_lane_accepts_nothing(intake, 1));
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_ACCEPT);
    assert_int_equal(fakes_publish(connection, "c/1", "x").kind, CONNECTION_ACCEPT);
    fakes_edge();
    assert_true(intake_lane_accepts_nothing(intake, 1)); /* no producer has tried */
    assert_false(intake_lane_accepts_nothing(intake, 0));
    intake_note_lane_full(intake, 0);
    assert_true(intake_lane_accepts_nothing(intake, 0));
}

static void expect_text(const struct intake *intake, const char *expected)
{
    char text[INTAKE_TEXT_MAX];

    intake_describe(intake, text);
    assert_string_equal(text, expected);
}

static void the_gravest_reason_is_described(void **state)
{
    struct intake *intake = open_intake(BLOCKED_LANE);

    (void)state;
    expect_text(intake, "");
    fakes.disk_evictions = 1;
    intake_watch_disk(intake, true);
    expect_text(intake, ", THE DISK IS SHORT: NEW MESSAGES MAY EVICT OLD ONES");
    intake_note_lane_full(intake, 1);
    expect_text(intake, ", LANE b IS FULL");
    intake_note_full(intake, INTAKE_FULL_DISK);
    expect_text(intake, ", NEW MESSAGES ARE NOT TAKEN");
    intake_watch_disk(intake, false);
    intake_watch_disk(intake, false);
    expect_text(intake, ", NO ROOM ON THE DISK: NOTHING IS SENT");
    fakes.gateway->turn.has_moved = true;
    expect_text(intake, ", THE SPOOL'S FILES WERE REMOVED, DO NOT END THE DAEMON");
    assert_string_equal(intake_describe_disk(intake), "");
    fakes.gateway->turn.has_moved = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(a_reason_is_logged_once_and_its_end_once),
        FAKES_TEST(the_line_says_that_messages_wait_where_all_lanes_block),
        FAKES_TEST(the_line_says_that_some_wait_where_one_lane_blocks),
        FAKES_TEST(moved_files_refuse_under_every_policy),
        FAKES_TEST(another_reason_takes_over_when_the_first_was_not_found_for_a_while),
        FAKES_TEST(moved_files_outrank_every_other_reason_at_once),
        FAKES_TEST(an_eviction_for_the_disk_is_a_shortage_until_the_disk_has_room),
        FAKES_TEST(a_refusal_says_why_also_when_the_shortage_was_known),
        FAKES_TEST(two_commits_without_room_stop_sending),
        FAKES_TEST(records_that_wait_fill_the_audit_only_while_it_is_not_written),
        FAKES_TEST(where_records_are_pruned_their_bytes_may_be_exceeded_by_a_batch),
        FAKES_TEST(the_status_says_the_audit_before_another_reason_and_no_longer_than_it_holds),
        FAKES_TEST(a_lock_that_is_gone_is_no_reason_in_the_status),
        FAKES_TEST(a_lock_is_logged_once_and_tried_again_after_a_pause),
        FAKES_TEST(the_tick_ends_what_is_over_without_a_message),
        FAKES_TEST(a_lane_that_is_full_because_it_is_held_is_to_be_released),
        FAKES_TEST(whether_a_disk_has_room_is_known_only_from_a_message),
        FAKES_TEST(the_room_of_a_lane_is_that_of_its_tighter_limit),
        FAKES_TEST(a_lane_at_its_limit_accepts_nothing_unless_it_evicts),
        FAKES_TEST(the_gravest_reason_is_described),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
