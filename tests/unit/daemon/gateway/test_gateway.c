/* SPDX-License-Identifier: MIT */
/*
 * test_gateway.c - start and end: what keeps the daemon from starting, and the last commit
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/regular.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/ingress/listener.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

static void a_start_says_what_is_spooled_and_proves_that_it_can_write(void **state)
{
    (void)state;
    assert_int_equal(fakes_new(""), 0);
    assert_int_equal(gateway_start(fakes.gateway), 0);
    assert_int_equal(fakes_logged("spool_open directory="), 1);
    assert_int_equal(fakes_logged("spooled=0 accepted=0 balanced=yes"), 1);
    assert_true(fakes.gateway->edge_timer.is_armed);
    assert_true(spool_has_work(fakes.gateway->spool));
    assert_int_equal(fakes_logged("held "), 0);
}

static void a_start_names_the_lanes_that_are_held(void **state)
{
    (void)state;
    assert_int_equal(fakes_new("lanes = ( { name = \"a\"; topics = ( \"a/#\" ); },"
                               " { name = \"b\"; topics = ( \"b/#\" ); } );"),
                     0);
    assert_int_equal(spool_set_hold(fakes.gateway->spool, "b", true), 0);
    assert_int_equal(spool_set_hold(fakes.gateway->spool, "default", true), 0);
    assert_int_equal(gateway_start(fakes.gateway), 0);
    assert_int_equal(fakes_logged("held lanes=\"default b\" remedy=\"nothing of them is sent "
                                  "until mqtt-spool release"),
                     1);
}

static void a_start_names_the_hold_of_all_lanes(void **state)
{
    (void)state;
    assert_int_equal(fakes_new(""), 0);
    assert_int_equal(spool_set_hold(fakes.gateway->spool, NULL, true), 0);
    assert_int_equal(gateway_start(fakes.gateway), 0);
    assert_int_equal(fakes_logged("held lanes=all remedy=\"nothing is sent until mqtt-spool "
                                  "release\""),
                     1);
}

static void a_start_that_fails_commits_nothing(void **state)
{
    (void)state;
    fakes.new_listener.value = -EIO;
    assert_int_equal(fakes_new(""), -EIO);
    assert_null(strstr(fakes_take_trace(), "commit"));
    assert_null(fakes.gateway);
}

static void what_is_in_the_way_of_a_part_is_passed_on(void **state)
{
    (void)state;
    fakes.new_listener.value = LISTENER_E_LOGGED;
    assert_int_equal(fakes_new(""), GATEWAY_E_LOGGED);
    fakes.new_listener.value = LISTENER_E_OPERATOR;
    assert_int_equal(fakes_new(""), GATEWAY_E_OPERATOR);
    fakes.new_uplink.value = UPLINK_E_SETTINGS;
    assert_int_equal(fakes_new(""), GATEWAY_E_OPERATOR);
    fakes.new_uplink.value = -ENOMEM;
    assert_int_equal(fakes_new(""), -ENOMEM);
}

static void a_ledger_that_cannot_be_read_is_no_start(void **state)
{
    (void)state;
    assert_int_equal(fakes_new(""), 0);
    fakes.get_ledger.value = -EIO;
    assert_int_equal(gateway_start(fakes.gateway), -EIO);
}

static void the_end_exports_all_before_it_commits_the_cursor(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.exports_left = 2;
    assert_int_equal(gateway_free(fakes.gateway), 0);
    fakes.gateway = NULL;
    assert_string_equal(fakes_take_trace(),
                        "commit export export export sync commit checkpoint ");
}

static void a_last_commit_that_fails_is_an_error_and_loses_nothing(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.commit.value = SPOOL_E_BUSY;
    assert_int_equal(gateway_free(fakes.gateway), 0);
    assert_int_equal(fakes_logged("last_commit_failed detail="), 1);
    fakes.commit.value = 0;
    (void)fakes_open("");
    fakes.checkpoint.value = -EIO;
    assert_int_equal(gateway_free(fakes.gateway), -EIO);
    fakes.gateway = NULL;
    assert_int_equal(fakes_logged("last_commit_failed detail="), 1);
}

static void nothing_is_freed_without_harm(void **state)
{
    (void)state;
    assert_int_equal(gateway_free(NULL), 0);
}

/* ---- spool_open.c ---- */

static void expect_not_opened(int condition, int expected, const char *remedy)
{
    fakes_forget_log();
    fakes.open.value = condition;
    assert_int_equal(fakes_new(""), expected);
    assert_int_equal(fakes_logged("spool_not_opened directory="), 1);
    assert_int_equal(fakes_logged(remedy), 1);
    (void)fakes_take_trace();
}

static void each_obstacle_has_a_remedy_and_says_whether_a_restart_helps(void **state)
{
    (void)state;
    expect_not_opened(SPOOL_E_LOCKED, GATEWAY_E_LOGGED, "stop one of the two");
    expect_not_opened(SPOOL_E_BUSY, GATEWAY_E_LOGGED, "holds the database locked");
    expect_not_opened(SPOOL_E_DISK, GATEWAY_E_LOGGED, "the disk is full");
    expect_not_opened(SPOOL_E_NEWER, GATEWAY_E_OPERATOR, "a newer version wrote this spool");
    expect_not_opened(SPOOL_E_FOREIGN, GATEWAY_E_OPERATOR, "name another spool.directory");
    expect_not_opened(SPOOL_E_LANES, GATEWAY_E_OPERATOR, "the names of older lanes");
    expect_not_opened(-ENAMETOOLONG, GATEWAY_E_OPERATOR, "a folder with a shorter path");
    expect_not_opened(-EIO, GATEWAY_E_LOGGED, "reads or writes fail");
    expect_not_opened(-ENOTDIR, GATEWAY_E_OPERATOR, "is a file: move that file away");
    expect_not_opened(-REGULAR_OTHER, GATEWAY_E_OPERATOR, "another kind of file");
    expect_not_opened(-ENOENT, GATEWAY_E_LOGGED, "create the folder");
    expect_not_opened(-EBADF, GATEWAY_E_LOGGED, "see the folder's permissions");
}

/* A folder that cannot be created may be on a disk that is mounted later. */
static void a_folder_without_permission_needs_the_operator_if_it_exists(void **state)
{
    static const struct {
        int condition;
        const char *remedy;
    } rows[] = {
        {-EROFS, "ReadWritePaths="},
        {-EACCES, "correct the permissions"},
        {-EPERM, "correct the permissions"},
    };
    char path[128];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_not_opened(rows[i].condition, GATEWAY_E_LOGGED, rows[i].remedy);
    (void)snprintf(path, sizeof(path), "%s/spool", fakes.directory);
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_not_opened(rows[i].condition, GATEWAY_E_OPERATOR, rows[i].remedy);
}

static void what_was_in_the_way_of_the_spool_is_named(void **state)
{
    (void)state;
    strcpy(fakes.set_aside, "a file was in the way");
    (void)fakes_new("");
    assert_int_equal(fakes_logged("spool_set_aside detail=\"a file was in the way\""), 1);
}

static void a_damaged_spool_is_salvaged_and_served(void **state)
{
    (void)state;
    fakes.open = (struct fake_result){SPOOL_E_DAMAGED, 1};
    fakes.salvaged =
        (struct spool_salvage){.moved_to = "spool.db.damaged-1", .salvaged = 5, .damaged = 2};
    assert_int_equal(fakes_new(""), 0);
    assert_string_equal(fakes_take_trace(), "open salvage open ");
    assert_int_equal(fakes_logged("spool_damaged directory="), 1);
    assert_int_equal(
        fakes_logged("spool_salvaged salvaged=5 damaged=2 rejected_lost=0 moved_to="), 1);
    assert_int_equal(fakes_logged("spool_lost"), 0);
    assert_int_equal(fakes.gateway->status.salvaged.wall_ms, fakes.now.wall_ms);
}

static void a_salvage_without_counters_says_that_more_may_be_lost(void **state)
{
    (void)state;
    fakes.open = (struct fake_result){SPOOL_E_DAMAGED, 1};
    fakes.salvaged = (struct spool_salvage){.is_count_unknown = true};
    assert_int_equal(fakes_new(""), 0);
    assert_int_equal(fakes_logged("spool_lost count=unknown"), 1);
    assert_int_equal(fakes_logged("no file was left to be kept"), 1);
}

static void a_salvage_without_room_changes_nothing_and_asks_for_it(void **state)
{
    (void)state;
    fakes.salvage.value = SPOOL_E_DISK;
    expect_not_opened(SPOOL_E_DAMAGED, GATEWAY_E_OPERATOR, "free so much space there");
}

static void a_salvage_that_is_interrupted_is_an_orderly_end(void **state)
{
    (void)state;
    fakes.salvage.value = -ECANCELED;
    expect_not_opened(SPOOL_E_DAMAGED, GATEWAY_E_STOPPED, "start the daemon again");
}

static void a_new_spool_that_is_damaged_too_needs_the_operator(void **state)
{
    (void)state;
    expect_not_opened(SPOOL_E_DAMAGED, GATEWAY_E_OPERATOR, "the new spool is damaged too");
}

static void a_read_that_failed_leads_to_a_survey_first(void **state)
{
    (void)state;
    fakes.open = (struct fake_result){SPOOL_E_UNREAD, 1};
    assert_int_equal(fakes_new(""), 0);
    assert_string_equal(fakes_take_trace(), "open survey open ");
    assert_int_equal(fakes_logged("spool_unread directory="), 1);
    assert_int_equal(fakes_logged("spool_reads_again directory="), 1);
}

static void bad_places_found_by_a_survey_are_salvaged(void **state)
{
    (void)state;
    fakes.open = (struct fake_result){SPOOL_E_UNREAD, 1};
    fakes.survey.value = SPOOL_E_DAMAGED;
    assert_int_equal(fakes_new(""), 0);
    assert_string_equal(fakes_take_trace(), "open survey salvage open ");
}

static void a_disk_that_is_gone_is_no_damage(void **state)
{
    (void)state;
    fakes.survey.value = -EIO;
    expect_not_opened(SPOOL_E_UNREAD, GATEWAY_E_LOGGED,
                      "an unavailable disk is not treated as a damaged spool");
}

static void a_pending_signal_stops_a_salvage(void **state)
{
    sigset_t blocked, before;

    (void)state;
    assert_int_equal(fakes_new(""), 0);
    assert_non_null(fakes.stop_asks);
    assert_false(fakes.stop_asks());
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &blocked, &before), 0);
    assert_int_equal(raise(SIGTERM), 0);
    assert_true(fakes.stop_asks());
    const struct timespec at_once = {0};
    assert_int_equal(sigtimedwait(&blocked, NULL, &at_once), SIGTERM);
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(a_start_says_what_is_spooled_and_proves_that_it_can_write),
        FAKES_TEST(a_start_names_the_lanes_that_are_held),
        FAKES_TEST(a_start_names_the_hold_of_all_lanes),
        FAKES_TEST(a_start_that_fails_commits_nothing),
        FAKES_TEST(what_is_in_the_way_of_a_part_is_passed_on),
        FAKES_TEST(a_ledger_that_cannot_be_read_is_no_start),
        FAKES_TEST(the_end_exports_all_before_it_commits_the_cursor),
        FAKES_TEST(a_last_commit_that_fails_is_an_error_and_loses_nothing),
        FAKES_TEST(nothing_is_freed_without_harm),
        FAKES_TEST(each_obstacle_has_a_remedy_and_says_whether_a_restart_helps),
        FAKES_TEST(a_folder_without_permission_needs_the_operator_if_it_exists),
        FAKES_TEST(what_was_in_the_way_of_the_spool_is_named),
        FAKES_TEST(a_damaged_spool_is_salvaged_and_served),
        FAKES_TEST(a_salvage_without_counters_says_that_more_may_be_lost),
        FAKES_TEST(a_salvage_without_room_changes_nothing_and_asks_for_it),
        FAKES_TEST(a_salvage_that_is_interrupted_is_an_orderly_end),
        FAKES_TEST(a_new_spool_that_is_damaged_too_needs_the_operator),
        FAKES_TEST(a_read_that_failed_leads_to_a_survey_first),
        FAKES_TEST(bad_places_found_by_a_survey_are_salvaged),
        FAKES_TEST(a_disk_that_is_gone_is_no_damage),
        FAKES_TEST(a_pending_signal_stops_a_salvage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
