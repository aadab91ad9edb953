/* SPDX-License-Identifier: MIT */
/*
 * test_reload.c - what a HUP takes over while the daemon runs, and what it does not
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/condition.h"
#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/intake.h"
#include "daemon/ingress/connection.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

#define LANE_A "{ name = \"a\"; topics = ( \"a/#\" ); }"
#define LANE_B                                                                                 \
    "{ name = \"b\"; topics = ( \"b/#\" ); max_messages = 1; when_full = \"refuse\"; }"
#define LANES_AB "lanes = ( " LANE_A ", " LANE_B " );"
#define LANES_BA "lanes = ( " LANE_B ", " LANE_A " );"
#define LANE(name, limit)                                                                      \
    "{ name = \"" name "\"; topics = ( \"" name                                                \
    "/#\" ); when_full = \"block\"; max_messages = " limit "; }"

static void everything_that_may_change_is_taken_over(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes_reload("retention: { max_messages = 5; }; status_interval = \"7s\";"
                 "audit: { max_waiting = 1234; };");
    assert_int_equal(gateway->config->retention.max_messages, 5);
    assert_int_equal(gateway->config->status_interval_ms, 7000);
    assert_int_equal(gateway->config->audit.max_waiting, 1234);
    assert_int_equal(fakes_logged("reloaded applied=all"), 1);
    assert_int_equal(fakes_logged("reload_partial"), 0);
}

static void parts_that_keep_or_borrow_settings_have_the_new_ones(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    struct config *config = fakes_config("");
    config->uplink.backoff_max_ms = 4321;
    config->listen.max_clients = 3;
    gateway_reload(gateway, config);
    assert_int_equal(fakes.uplink_settings->backoff_max_ms, 4321);
    assert_int_equal(gateway->clients.max, 3);
    assert_int_equal(fakes.retries, 1); /* what kept the link down may be corrected */
    assert_string_equal(fakes_take_trace(), "set-lanes reopen ");
    assert_true(gateway->edge_timer.is_armed); /* it commits before the next export */
}

static void what_needs_a_restart_is_named_and_left(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    struct config *config = fakes_config("retention: { max_messages = 6; };");
    config->uplink.window = 7;
    gateway_reload(gateway, config);
    assert_int_equal(gateway->config->uplink.window, 100);
    assert_int_equal(gateway->config->retention.max_messages, 6);
    assert_int_equal(fakes_logged("reload_partial keys=uplink.window remedy="), 1);
    assert_int_equal(fakes_logged("reloaded applied=part"), 1);
}

static void lanes_are_found_by_their_names(void **state)
{
    struct gateway *gateway = fakes_open(LANES_AB);
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes_link_state(UPLINK_IDLE);
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_ACCEPT);
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_REFUSE);
    assert_true(intake_lane_is_full(&gateway->intake, 2));
    fakes_reload(LANES_BA);
    assert_string_equal(gateway->config->lanes[0].name, "b");
    assert_true(intake_lane_is_full(&gateway->intake, 1));
    assert_false(intake_lane_is_full(&gateway->intake, 2));
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_REFUSE);
    assert_int_equal(fakes_publish(connection, "a/1", "x").kind, CONNECTION_ACCEPT);
    assert_int_equal(fakes_logged("spool_full reason=limits lane=b"), 1); /* the same one */
}

static void one_that_waits_for_its_lane_is_offered_under_the_new_limits(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("lanes = ( " LANE("a", "1") ", " LANE("b", "1") " );");
    connection = fakes_connect("one", 1000);
    fakes_link_state(UPLINK_IDLE);
    assert_int_equal(fakes_publish(connection, "a/1", "x").kind, CONNECTION_ACCEPT);
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_ACCEPT);
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_BLOCK);
    fakes_edge();
    assert_int_equal(connection->resumed, 0);
    /* The lane has another number now, and that number is of a lane that is full. */
    fakes_reload("lanes = ( " LANE("b", "10") ", " LANE("a", "1") " );");
    fakes_edge();
    assert_int_equal(connection->resumed, 1);
    assert_int_equal(connection->verdict.kind, CONNECTION_ACCEPT);
}

static void a_lane_that_left_with_messages_is_named(void **state)
{
    struct gateway *gateway = fakes_open(LANES_AB);
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes_link_state(UPLINK_IDLE);
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_ACCEPT);
    fakes_edge();
    fakes_reload("");
    assert_int_equal(fakes_logged("lane_not_configured lane=b spooled=1 limits=default"), 1);
    assert_int_equal(fakes_logged("lane=a spooled"), 0); /* nothing is left in it */
    assert_false(gateway->status.rates.has_lanes);
}

static struct connection *fill_lane_b(const char *lanes)
{
    struct gateway *gateway = fakes_open(lanes);
    struct connection *connection = fakes_connect("one", 1000);

    fakes_link_state(UPLINK_IDLE);
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_ACCEPT);
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_REFUSE);
    assert_true(intake_lane_is_full(&gateway->intake, 1));
    assert_int_equal(fakes_logged("spool_full reason=limits lane=b new_messages=refused"), 1);
    return connection;
}

static void a_full_lane_that_is_removed_has_its_end_logged_once(void **state)
{
    struct connection *connection = fill_lane_b(LANES_BA);

    (void)state;
    fakes_reload("lanes = ( " LANE_A " );");
    assert_int_equal(fakes_logged("spool_room lane=b new_messages=other_lane"), 1);
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_ACCEPT);
    fakes_reload(LANES_BA); /* it is full again when it refuses a message */
    assert_int_equal(fakes_logged("spool_full reason=limits lane=b"), 1);
    assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_REFUSE);
    assert_int_equal(fakes_logged("spool_full reason=limits lane=b"), 2);
    assert_int_equal(fakes_logged("spool_room"), 1);
}

static void a_full_lane_that_evicts_from_now_on_has_its_end_logged_once(void **state)
{
    (void)state;
    (void)fill_lane_b(LANES_BA);
    fakes_reload("lanes = ( { name = \"b\"; topics = ( \"b/#\" ); max_messages = 1; } );");
    for (int i = 0; i < 3; i++) { /* though no message comes */
        fakes_pass_time(CONDITION_OVER_MS);
        fakes_tick();
    }
    assert_int_equal(fakes_logged("spool_room lane=b new_messages=accepted"), 1);
    assert_false(intake_lane_is_full(&fakes.gateway->intake, 1));
}

static void a_full_lane_that_blocks_from_now_on_is_logged_as_such(void **state)
{
    struct connection *connection = fill_lane_b(LANES_BA);

    (void)state;
    fakes_reload("lanes = ( " LANE("b", "1") " );");
    for (int i = 0; i < 2; i++)
        assert_int_equal(fakes_publish(connection, "b/1", "x").kind, CONNECTION_BLOCK);
    assert_int_equal(fakes_logged("spool_full reason=limits lane=b new_messages=blocked"), 1);
    assert_int_equal(fakes_logged("spool_full"), 2);
    assert_int_equal(fakes_logged("spool_room"), 0);
}

static void
a_full_disk_is_logged_again_when_messages_wait_instead_of_being_refused(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    intake_note_full(&gateway->intake, INTAKE_FULL_DISK);
    fakes_reload("retention: { when_full = \"block\"; };");
    for (int i = 0; i < 2; i++)
        intake_note_full(&gateway->intake, INTAKE_FULL_DISK);
    assert_int_equal(fakes_logged("spool_full reason=disk new_messages=refused"), 1);
    assert_int_equal(fakes_logged("spool_full reason=disk new_messages=blocked"), 1);
}

static void lanes_that_are_too_many_leave_lanes_and_limits_as_they_are(void **state)
{
    struct gateway *gateway = fakes_open(LANES_AB);

    (void)state;
    fakes.set_lanes.value = SPOOL_E_LANES;
    fakes_reload("retention: { max_messages = 5; }; status_interval = \"7s\";");
    assert_int_equal(gateway->config->lane_count, 2);
    assert_int_not_equal(gateway->config->retention.max_messages, 5);
    assert_int_equal(gateway->config->status_interval_ms, 7000);
    assert_int_equal(fakes_logged("reload_partial keys=lanes "), 1);
    assert_int_equal(fakes_logged("reloaded applied=part"), 1);
    assert_int_equal(fakes_exit_code(), -1);
}

static void lanes_that_cannot_be_stored_end_the_daemon(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.set_lanes.value = -ENOMEM;
    fakes_reload("");
    assert_int_equal(fakes_logged("failed what=lanes "), 1);
    assert_int_equal(fakes_exit_code(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(everything_that_may_change_is_taken_over),
        FAKES_TEST(parts_that_keep_or_borrow_settings_have_the_new_ones),
        FAKES_TEST(what_needs_a_restart_is_named_and_left),
        FAKES_TEST(lanes_are_found_by_their_names),
        FAKES_TEST(one_that_waits_for_its_lane_is_offered_under_the_new_limits),
        FAKES_TEST(a_lane_that_left_with_messages_is_named),
        FAKES_TEST(a_full_lane_that_is_removed_has_its_end_logged_once),
        FAKES_TEST(a_full_lane_that_evicts_from_now_on_has_its_end_logged_once),
        FAKES_TEST(a_full_lane_that_blocks_from_now_on_is_logged_as_such),
        FAKES_TEST(a_full_disk_is_logged_again_when_messages_wait_instead_of_being_refused),
        FAKES_TEST(lanes_that_are_too_many_leave_lanes_and_limits_as_they_are),
        FAKES_TEST(lanes_that_cannot_be_stored_end_the_daemon),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
