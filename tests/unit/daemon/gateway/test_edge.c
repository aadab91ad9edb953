/* SPDX-License-Identifier: MIT */
/*
 * test_edge.c - the batch edge: the order of its steps, and what a commit that does not succeed
 * means
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "daemon/config/config.h"
#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/limits.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

static void expect_trace(const char *expected)
{
    assert_string_equal(fakes_take_trace(), expected);
}

static void publish(struct connection *connection)
{
    assert_int_equal(fakes_publish(connection, "plant/1", "payload").kind, CONNECTION_ACCEPT);
}

static void acknowledgements_and_forwarding_follow_the_commit(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *one = fakes_connect("one", 1000), *two = fakes_connect("two", 1000);

    (void)state;
    publish(one);
    publish(two);
    publish(one);
    (void)fakes_take_trace();
    fakes_edge();
    expect_trace("retain commit acknowledge-one acknowledge-two send-1 send-2 send-3 export ");
    assert_int_equal(gateway->counters.accepted, 3);
    assert_int_equal(fakes_ledger().accepted, 3);
}

static void what_is_committed_already_is_sent_before_the_commit(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("");
    connection = fakes_connect("one", 1000);
    fakes.room = 1;
    publish(connection);
    publish(connection);
    fakes_edge();
    publish(connection);
    fakes.room = 2;
    (void)fakes_take_trace();
    fakes_edge();
    expect_trace("send-2 retain commit acknowledge-one export ");
}

static void a_batch_without_room_is_refused_and_never_acknowledged(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    publish(connection);
    fakes.commit = (struct fake_result){SPOOL_E_DISK, 1};
    (void)fakes_take_trace();
    fakes_edge();
    expect_trace("retain commit refuse-one ");
    assert_int_equal(connection->code, MQTT_QUOTA_EXCEEDED);
    assert_int_equal(connection->acknowledged, 0);
    assert_int_equal(gateway->counters.accepted, 0);
    assert_int_equal(gateway->counters.refused, 1);
    assert_int_equal(fakes_logged("spool_full reason=disk"), 1);
    assert_int_equal(fakes_exit_code(), -1);
}

static void a_batch_under_a_lock_is_refused_and_the_lock_noted(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    publish(connection);
    fakes.commit = (struct fake_result){SPOOL_E_BUSY, 1};
    fakes_edge();
    assert_int_equal(connection->acknowledged, 0);
    assert_int_equal(connection->code, MQTT_QUOTA_EXCEEDED);
    assert_true(gateway->intake.lock.is_held);
    assert_int_equal(fakes_logged("database_locked "), 1);
    assert_true(gateway->edge_timer.is_awaited); /* it is tried again */
    fakes_edge();
    assert_false(gateway->intake.lock.is_held);
}

static void a_commit_that_fails_ends_the_daemon_without_an_acknowledgement(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    publish(connection);
    fakes.commit.value = -EIO;
    (void)fakes_take_trace();
    fakes_edge();
    expect_trace("retain commit ");
    assert_int_equal(fakes_logged("failed what=commit "), 1);
    assert_int_equal(fakes_exit_code(), 1);
    fakes_edge();
    expect_trace("");
    assert_int_equal(gateway_free(gateway), 0); /* nor another commit at the end */
    fakes.gateway = NULL;
    assert_null(strstr(fakes_take_trace(), "commit"));
}

static void each_step_that_fails_is_named(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.retain.value = -EIO;
    fakes_edge();
    assert_int_equal(fakes_logged("failed what=retain "), 1);
    assert_int_equal(fakes_exit_code(), 1);
}

static void a_failed_forward_is_named(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.next.value = -EIO;
    fakes_edge();
    assert_int_equal(fakes_logged("failed what=forward "), 1);
}

static void a_failed_export_is_named(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.export.value = -EIO;
    fakes_edge();
    assert_int_equal(fakes_logged("failed what=export "), 1);
    assert_false(fakes.gateway->edge_timer.is_armed);
}

static void a_lane_above_its_limit_is_evicted_before_the_commit(void **state)
{
    (void)fakes_open("retention: { max_messages = 2; };");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    fakes_link_state(UPLINK_IDLE);
    for (unsigned i = 0; i < 5; i++)
        publish(connection);
    fakes_edge();
    struct spool_ledger ledger = fakes_ledger();
    assert_int_equal(ledger.accepted, 5);
    assert_int_equal(ledger.ended[SPOOL_EVICTED], 3);
    assert_int_equal(connection->acknowledged, 1);
}

/* 200 messages wait where 10 may from now on. */
static struct gateway *open_with_lowered_limit(void)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    fakes_link_state(UPLINK_IDLE);
    for (unsigned i = 0; i < 200; i++)
        publish(connection);
    fakes_edge();
    fakes_reload("retention: { max_messages = 10; };");
    return gateway;
}

static void a_lowered_limit_evicts_in_steps(void **state)
{
    struct gateway *gateway = open_with_lowered_limit();

    (void)state;
    fakes_pass_time(1000);
    fakes_edge();
    assert_int_equal(fakes_ledger().ended[SPOOL_EVICTED],
                     GATEWAY_RETAIN_PAUSE_MS * GATEWAY_RETAIN_PER_MS);
    assert_true(gateway->edge_timer.is_awaited);
    for (unsigned i = 0; i < 10; i++) {
        fakes_pass_time(GATEWAY_RETAIN_PAUSE_MS);
        fakes_edge();
    }
    assert_int_equal(fakes_ledger().spooled, 10);
    assert_false(gateway->edge_timer.is_awaited);
}

static void a_retention_that_has_no_room_is_no_failure(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("");
    connection = fakes_connect("one", 1000);
    publish(connection);
    fakes.retain.value = SPOOL_E_DISK;
    fakes_edge();
    assert_int_equal(connection->acknowledged, 1);
    assert_int_equal(fakes_exit_code(), -1);
}

static void rows_that_are_left_arm_another_edge(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes.exports_left = 1;
    fakes_edge();
    assert_true(gateway->edge_timer.is_armed);
    fakes_edge();
    assert_false(gateway->edge_timer.is_armed);
}

static void much_that_is_settled_is_committed_at_once(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes.settled_bytes = GATEWAY_BATCH_BYTES;
    fakes_edge();
    assert_true(gateway->edge_timer.is_armed);
}

static void settlements_wait_for_company(void **state)
{
    struct gateway *gateway = fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    publish(connection);
    fakes_edge();
    fakes_edge(); /* for the cursor of the export */
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_refill();
    assert_false(gateway->edge_timer.is_armed);
    assert_true(gateway->edge_timer.is_awaited);
    assert_int_equal(fakes_due_ms(gateway->edge_timer.deadline), GATEWAY_SETTLE_LATEST_MS);
    fakes.commit = (struct fake_result){SPOOL_E_BUSY, 1};
    fakes_edge();
    assert_false(gateway->edge_timer.is_armed);
    assert_true(gateway->edge_timer.is_awaited);
    assert_int_equal(fakes_due_ms(gateway->edge_timer.deadline), GATEWAY_WORK_LATEST_MS);
    assert_int_equal(gateway->forward.settled.messages, 1);
    fakes_edge();
    assert_int_equal(gateway->forward.settled.messages, 0);
    assert_int_equal(fakes_ledger().ended[SPOOL_DELIVERED], 1);
}

/* ---- spool.commit_interval ---- */

static struct gateway *open_with_interval(uint64_t interval_ms)
{
    struct gateway *gateway = fakes_open("");

    gateway->config->spool.commit_interval_ms = interval_ms;
    fakes_edge();
    (void)fakes_take_trace();
    return gateway;
}

static void what_comes_within_the_interval_shares_a_commit(void **state)
{
    struct gateway *gateway = open_with_interval(1000);
    struct connection *one = fakes_connect("one", 1000), *two = fakes_connect("two", 1000);

    (void)state;
    publish(one);
    fakes_edge();
    expect_trace("append ");
    assert_int_equal(one->acknowledged, 0);
    assert_int_equal(fakes_due_ms(gateway->edge_timer.deadline), 1000);
    fakes_pass_time(600);
    publish(two);
    fakes_edge();
    expect_trace("append ");
    assert_int_equal(fakes_due_ms(gateway->edge_timer.deadline), 400);
    fakes_pass_time(400);
    fakes_edge();
    expect_trace("retain commit acknowledge-one acknowledge-two send-1 send-2 export ");
    assert_int_equal(fakes_ledger().accepted, 2);
}

static void after_a_quiet_interval_a_message_is_committed_at_once(void **state)
{
    (void)state;
    (void)open_with_interval(1000);
    fakes_pass_time(1000);
    publish(fakes_connect("one", 1000));
    fakes_edge();
    expect_trace("append retain commit acknowledge-one send-1 export ");
}

static void a_tick_does_not_shorten_the_interval(void **state)
{
    struct connection *connection;

    (void)state;
    (void)open_with_interval(5000);
    connection = fakes_connect("one", 1000);
    publish(connection);
    for (int second = 0; second < 4; second++) {
        fakes_pass_time(GATEWAY_TICK_MS);
        fakes_tick();
        fakes_edge();
    }
    assert_int_equal(connection->acknowledged, 0);
    assert_null(strstr(fakes_take_trace(), "commit"));
    fakes_pass_time(GATEWAY_TICK_MS);
    fakes_tick();
    fakes_edge();
    assert_int_equal(connection->acknowledged, 1);
}

static void a_client_without_a_share_does_not_wait_for_the_interval(void **state)
{
    struct connection *connection;
    unsigned accepted = 0;

    (void)state;
    (void)open_with_interval(5000);
    connection = fakes_connect("one", 1000);
    while (fakes_publish(connection, "plant/1", "payload").kind == CONNECTION_ACCEPT)
        accepted++;
    assert_in_range(accepted, 100, GATEWAY_BATCH_MESSAGES);
    fakes_edge();
    assert_int_equal(connection->acknowledged, 1); /* all of them */
    publish(connection);                           /* the next one waits again */
    fakes_edge();
    assert_int_equal(connection->acknowledged, 1);
}

/* Settlements keep their places in the window until they are committed. */
static void a_window_that_fills_does_not_wait_for_the_interval(void **state)
{
    struct gateway *gateway = open_with_interval(5000);
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    for (unsigned i = 0; i < 30; i++)
        publish(connection);
    fakes_pass_time(5000);
    fakes_edge();
    assert_int_equal(connection->acknowledged, 1);
    for (uint64_t id = 1; id <= 24; id++)
        fakes_answer(id, UPLINK_DELIVERED, -1);
    fakes_refill();
    assert_int_equal(fakes_ledger().ended[SPOOL_DELIVERED], 0);
    fakes_answer(25, UPLINK_DELIVERED, -1); /* a quarter of the window */
    fakes_refill();
    assert_int_equal(fakes_ledger().ended[SPOOL_DELIVERED], 25);
    assert_int_equal(gateway->forward.settled.messages, 0);
}

static void a_stop_does_not_wait_for_the_interval(void **state)
{
    struct gateway *gateway = open_with_interval(5000);
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    publish(connection);
    fakes_edge();
    assert_int_equal(connection->acknowledged, 0);
    gateway_stop(gateway);
    assert_int_equal(connection->acknowledged, 1);
}

static void a_reload_does_not_wait_for_the_interval(void **state)
{
    struct gateway *gateway = open_with_interval(5000);
    struct connection *connection = fakes_connect("one", 1000);

    (void)state;
    publish(connection);
    fakes_edge();
    assert_int_equal(connection->acknowledged, 0);
    fakes_reload("");
    assert_int_equal(gateway->config->spool.commit_interval_ms, 0);
    fakes_edge();
    assert_int_equal(connection->acknowledged, 1);
}

static void evictions_in_steps_do_not_wait_for_the_interval(void **state)
{
    struct gateway *gateway = open_with_lowered_limit();

    (void)state;
    gateway->config->spool.commit_interval_ms = 5000;
    for (unsigned i = 0; i < 11; i++) {
        fakes_pass_time(GATEWAY_RETAIN_PAUSE_MS);
        fakes_edge();
    }
    assert_int_equal(fakes_ledger().spooled, 10);
}

static void a_lock_is_tried_again_within_the_interval(void **state)
{
    struct gateway *gateway = open_with_interval(5000);

    (void)state;
    fakes_pass_time(5000);
    publish(fakes_connect("one", 1000));
    fakes.commit = (struct fake_result){SPOOL_E_BUSY, 1};
    fakes_edge();
    assert_true(gateway->intake.lock.is_held);
    fakes_pass_time(GATEWAY_LOCKED_RETRY_MS);
    fakes_edge();
    assert_false(gateway->intake.lock.is_held);
}

static int64_t priority_of(sd_event_source *source)
{
    int64_t priority = 0;

    assert_true(sd_event_source_get_priority(source, &priority) >= 0);
    return priority;
}

static void the_deadline_runs_the_edge_before_all_else(void **state)
{
    struct edge_timer *timer = &fakes_open("")->edge_timer;

    (void)state;
    edge_timer_arm_later(timer, 50);
    edge_timer_arm_later(timer, 500); /* it is awaited already */
    assert_false(timer->is_armed);
    assert_int_equal(fakes_due_ms(timer->deadline), 50);
    assert_true(sd_event_source_set_time(timer->deadline, 0) >= 0);
    assert_true(sd_event_run(fakes.event, 0) > 0);
    assert_true(timer->is_armed);
    assert_int_equal(priority_of(timer->source), SD_EVENT_PRIORITY_IMPORTANT);
    fakes_run();
    assert_non_null(strstr(fakes_take_trace(), "commit "));
    assert_false(timer->is_armed);
    assert_int_equal(priority_of(timer->source), SD_EVENT_PRIORITY_IDLE);
}

static void an_append_brings_an_awaited_edge_forward(void **state)
{
    struct edge_timer *timer = &fakes_open("")->edge_timer;

    (void)state;
    edge_timer_arm_later(timer, 50);
    publish(fakes_connect("one", 1000));
    assert_true(timer->is_armed);
    assert_int_equal(fakes_due_ms(timer->deadline), GATEWAY_EDGE_LATEST_MS);
    (void)fakes_take_trace();
    fakes_run();
    assert_non_null(strstr(fakes_take_trace(), "commit acknowledge-one "));
}

static void connections_that_closed_are_freed_at_the_edge(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("");
    connection = fakes_connect("one", 1000);
    publish(connection);
    fakes_leave(connection);
    (void)fakes_take_trace();
    fakes_edge();
    expect_trace("retain commit send-1 export free-one ");
}

static void what_is_exported_goes_to_the_journal_as_configured(void **state)
{
    static const char *const which[] = {"none", "failures", "all"};
    static const unsigned expected[] = {0, 1, 2};
    char extra[128];

    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(extra, sizeof(extra), "audit: { journal = \"%s\"; };", which[i]);
        (void)fakes_open(extra);
        struct connection *connection = fakes_connect("one", 1000);
        publish(connection);
        publish(connection);
        fakes_edge();
        unsigned first = fakes.sent_count - 2;
        fakes.journaled = 0;
        fakes_answer(fakes.sent[first], UPLINK_DELIVERED, -1);
        fakes_answer(fakes.sent[first + 1], UPLINK_REFUSED, MQTT_NOT_AUTHORIZED);
        fakes_edge();
        assert_int_equal(fakes.journaled, expected[i]);
        assert_int_equal(gateway_free(fakes.gateway), 0);
        fakes.gateway = NULL;
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(acknowledgements_and_forwarding_follow_the_commit),
        FAKES_TEST(what_is_committed_already_is_sent_before_the_commit),
        FAKES_TEST(a_batch_without_room_is_refused_and_never_acknowledged),
        FAKES_TEST(a_batch_under_a_lock_is_refused_and_the_lock_noted),
        FAKES_TEST(a_commit_that_fails_ends_the_daemon_without_an_acknowledgement),
        FAKES_TEST(each_step_that_fails_is_named),
        FAKES_TEST(a_failed_forward_is_named),
        FAKES_TEST(a_failed_export_is_named),
        FAKES_TEST(a_lane_above_its_limit_is_evicted_before_the_commit),
        FAKES_TEST(a_lowered_limit_evicts_in_steps),
        FAKES_TEST(a_retention_that_has_no_room_is_no_failure),
        FAKES_TEST(rows_that_are_left_arm_another_edge),
        FAKES_TEST(much_that_is_settled_is_committed_at_once),
        FAKES_TEST(settlements_wait_for_company),
        FAKES_TEST(what_comes_within_the_interval_shares_a_commit),
        FAKES_TEST(after_a_quiet_interval_a_message_is_committed_at_once),
        FAKES_TEST(a_tick_does_not_shorten_the_interval),
        FAKES_TEST(a_client_without_a_share_does_not_wait_for_the_interval),
        FAKES_TEST(a_window_that_fills_does_not_wait_for_the_interval),
        FAKES_TEST(a_stop_does_not_wait_for_the_interval),
        FAKES_TEST(a_reload_does_not_wait_for_the_interval),
        FAKES_TEST(evictions_in_steps_do_not_wait_for_the_interval),
        FAKES_TEST(a_lock_is_tried_again_within_the_interval),
        FAKES_TEST(the_deadline_runs_the_edge_before_all_else),
        FAKES_TEST(an_append_brings_an_awaited_edge_forward),
        FAKES_TEST(connections_that_closed_are_freed_at_the_edge),
        FAKES_TEST(what_is_exported_goes_to_the_journal_as_configured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
