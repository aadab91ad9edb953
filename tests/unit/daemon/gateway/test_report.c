/* SPDX-License-Identifier: MIT */
/*
 * test_report.c - reports of failures, over a real spool
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/connection.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

#define REPORTING "report: { topic = \"r\"; };"
#define FEW       "retention: { max_messages = 2; };\n"

static struct connection *open_reporting(void)
{
    fakes.uplink_keys = REPORTING;
    (void)fakes_open(FEW);
    return fakes_connect("one", 1000);
}

static void publish_some(struct connection *connection, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fakes_publish(connection, "plant/1", "payload").kind,
                         CONNECTION_ACCEPT);
}

/* Of the lane of the reports. */
static struct spool_lane_stats reports(void)
{
    struct spool_time now = turn_spool_time(&fakes.gateway->turn);
    struct spool_lane_stats stats = {0};

    assert_int_equal(spool_get_lane_stats(fakes.gateway->spool, 1, &now, &stats), 0);
    assert_string_equal(stats.name, CONFIG_REPORT_LANE);
    return stats;
}

static uint64_t reported(void)
{
    return (uint64_t)spool_reported(fakes.gateway->spool);
}

static void failures_of_a_batch_are_one_report_of_the_next(void **state)
{
    struct connection *connection = open_reporting();

    (void)state;
    publish_some(connection, 5);
    fakes_edge();
    assert_int_equal(reports().messages, 0); /* they are true since this commit */
    fakes_edge();
    assert_int_equal(reports().messages, 1);
    assert_int_equal(reported(), 3);
    fakes_edge();
    fakes_edge();
    assert_int_equal(reports().ledger.accepted, 1);
}

static void deliveries_make_no_report(void **state)
{
    struct connection *connection = open_reporting();

    (void)state;
    publish_some(connection, 2);
    fakes_edge();
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_answer(2, UPLINK_DELIVERED, -1);
    fakes_edge();
    fakes_edge();
    assert_int_equal(reports().ledger.accepted, 0);
    assert_int_equal(fakes.gateway->report.scanned_seq, 2);
}

static void a_report_that_has_no_room_is_made_later(void **state)
{
    struct connection *connection = open_reporting();

    (void)state;
    publish_some(connection, 5);
    fakes.append = (struct fake_result){SPOOL_E_DISK, 1};
    fakes_edge();
    assert_int_equal(reported(), 0);
    assert_true(fakes.gateway->edge_timer.is_awaited); /* it is tried again */
    fakes_edge();
    assert_int_equal(reported(), 0);
    fakes_edge();
    assert_int_equal(reports().messages, 1);
    assert_int_equal(reported(), 3);
}

static void nothing_is_reported_while_the_daemon_stops(void **state)
{
    struct connection *connection = open_reporting();

    (void)state;
    publish_some(connection, 5);
    gateway_stop(fakes.gateway);
    fakes_edge();
    assert_int_equal(reports().ledger.accepted, 0);
}

static void many_failures_are_several_reports(void **state)
{
    struct connection *connection = open_reporting();

    (void)state;
    publish_some(connection, 252);
    fakes_edge();
    fakes_edge();
    assert_int_equal(reports().messages, 3);
    assert_int_equal(reported(), 250);
}

static void switched_off_the_cursor_is_forgotten(void **state)
{
    struct connection *connection = open_reporting();

    (void)state;
    publish_some(connection, 5);
    fakes_edge();
    fakes_edge();
    fakes.uplink_keys = NULL;
    fakes_reload(FEW);
    fakes_edge();
    fakes_edge();
    assert_int_equal(spool_reported(fakes.gateway->spool), SPOOL_NOT_REPORTED);
    publish_some(connection, 3);
    fakes_edge();
    fakes.uplink_keys = REPORTING;
    fakes_reload(FEW);
    fakes_edge();
    fakes_edge();
    assert_int_equal(reported(), spool_last_seq(fakes.gateway->spool));
    assert_int_equal(reports().ledger.accepted, 1); /* the one before */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(failures_of_a_batch_are_one_report_of_the_next),
        FAKES_TEST(deliveries_make_no_report),
        FAKES_TEST(a_report_that_has_no_room_is_made_later),
        FAKES_TEST(nothing_is_reported_while_the_daemon_stops),
        FAKES_TEST(many_failures_are_several_reports),
        FAKES_TEST(switched_off_the_cursor_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
