/* SPDX-License-Identifier: MIT */
/*
 * test_ticks.c - what happens by time alone, and when records wait for the audit file
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/view.h"
#include "daemon/config/config.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/limits.h"
#include "daemon/gateway/turn.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/settings.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

/* spool_rollback() of store/batch.c, whose private header has names of the gateway. */
int lose_batch(struct spool *spool) __asm__("spool_rollback");

static void each_tick_looks_at_the_socket_and_arms_the_edge(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes_tick();
    assert_string_equal(fakes_take_trace(), "verify-listener ");
    assert_true(gateway->edge_timer.is_armed);
    assert_int_equal(fakes_due_ms(gateway->ticks.timer), GATEWAY_TICK_MS);
}

static void a_failed_daemon_arms_nothing(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    gateway->turn.has_failed = true;
    fakes_tick();
    assert_false(gateway->edge_timer.is_armed);
}

/* In lane "default"; the link is away. */
static struct connection *open_where_one_may_wait(void)
{
    (void)fakes_open("retention: { max_messages = 1; };");
    fakes_link_state(UPLINK_IDLE);
    return fakes_connect("one", 1000);
}

static void publish_many(struct connection *connection, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(fakes_publish(connection, "plant/1", "payload").kind,
                         CONNECTION_ACCEPT);
}

static void what_ended_undelivered_is_logged_now_and_then(void **state)
{
    (void)state;
    struct connection *connection = open_where_one_may_wait();
    fakes_tick();
    assert_int_equal(fakes_logged("ended_undelivered"), 0);
    fakes_pass_time(2000);
    publish_many(connection, 4);
    fakes_edge();
    fakes_tick();
    assert_int_equal(fakes_logged("ended_undelivered messages=3 since_ms=2000"), 1);
    publish_many(connection, 4);
    fakes_edge();
    fakes_pass_time(9999);
    fakes_tick();
    assert_int_equal(fakes_logged("ended_undelivered"), 1);
    fakes_pass_time(1);
    fakes_tick();
    assert_int_equal(fakes_logged("ended_undelivered messages=4 since_ms=10000"), 1);
    fakes_pass_time(10000);
    fakes_tick();
    assert_int_equal(fakes_logged("ended_undelivered"), 2);
}

static void what_a_lost_batch_evicted_has_not_ended(void **state)
{
    (void)state;
    struct connection *connection = open_where_one_may_wait();
    struct gateway *gateway = fakes.gateway;
    publish_many(connection, 1);
    fakes_edge();
    for (unsigned i = 0; i < 3; i++) {
        publish_many(connection, 2);
        fakes.commit = (struct fake_result){.value = SPOOL_E_DISK, .count = 1};
        fakes_edge();
        assert_int_equal(lose_batch(gateway->spool), 0); /* as that commit would have */
        fakes_pass_time(10000);
        fakes_tick();
    }
    assert_int_equal(fakes_ledger().ended[SPOOL_EVICTED], 0);
    assert_int_equal(fakes_logged("ended_undelivered"), 0);
    publish_many(connection, 1);
    fakes_edge();
    fakes_tick();
    assert_int_equal(fakes_ledger().ended[SPOOL_EVICTED], 1);
    assert_int_equal(fakes_logged("ended_undelivered messages=1 "), 1);
}

static void what_expired_when_it_was_to_be_sent_is_logged_too(void **state)
{
    (void)state;
    (void)fakes_open("");
    struct connection *connection = fakes_connect("one", 1000);
    struct spool_time now = turn_spool_time(&fakes.gateway->turn);
    struct spool_message message = {.qos = 1,
                                    .expiry_ms = 1000,
                                    .client = view_of_text("one"),
                                    .topic = view_of_text("plant/1"),
                                    .payload = view_of_text("late")};
    uint64_t id;
    publish_many(connection, 1);
    fakes_edge();
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    assert_int_equal(spool_append(fakes.gateway->spool, &message, &now, &id), 0);
    assert_int_equal(spool_commit(fakes.gateway->spool, &now), 0);
    fakes_pass_time(1000);
    now = turn_spool_time(&fakes.gateway->turn);
    now.boot_ms += 1000;
    assert_int_equal(spool_next(fakes.gateway->spool, &now, &message), SPOOL_E_EMPTY);
    fakes_edge();
    fakes_tick();
    assert_int_equal(fakes_ledger().ended[SPOOL_EXPIRED], 1);
    assert_int_equal(fakes_logged("ended_undelivered messages=1 "), 1);
}

static void what_had_ended_before_the_start_is_not_logged_again(void **state)
{
    (void)state;
    publish_many(open_where_one_may_wait(), 4);
    fakes_edge();
    gateway_free(fakes.gateway);
    (void)fakes_open("");
    fakes_tick();
    assert_int_equal(fakes_ledger().ended[SPOOL_EVICTED], 3);
    assert_int_equal(fakes_logged("ended_undelivered"), 0);
}

static void publish_next(struct connection *connection, const char *topic)
{
    assert_int_equal(fakes_publish(connection, topic, "payload").kind, CONNECTION_ACCEPT);
    fakes_edge();
}

static void reject_next(struct connection *connection, uint64_t id, const char *topic)
{
    publish_next(connection, topic);
    fakes_answer(id, UPLINK_REFUSED, MQTT_NOT_AUTHORIZED);
}

static void what_ended_rejected_is_logged_once_a_minute_and_after_the_commit(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("");
    connection = fakes_connect("one", 1000);
    fakes_tick();
    assert_int_equal(fakes_logged("ended_rejected"), 0);
    publish_next(connection, "plant/0");
    fakes_answer(1, UPLINK_DELIVERED, -1);
    reject_next(connection, 2, "plant/\"1");
    assert_int_equal(fakes.gateway->counters.rejected, 0);
    fakes_edge();
    fakes_tick();
    assert_int_equal(
        fakes_logged("ended_rejected messages=1 reason=reason_code code=0x87 "
                     "text=\"not authorized\" topic=\"plant/\\\"1\" kept=1 remedy="),
        1);
    assert_int_equal(fakes_logged("; mqtt-spool list --rejected lists those kept, mqtt-spool "
                                  "requeue sends them\""),
                     1);
    reject_next(connection, 3, "plant/2");
    reject_next(connection, 4, "plant/3");
    fakes_edge();
    fakes_pass_time(59999);
    fakes_tick();
    assert_int_equal(fakes_logged("ended_rejected"), 1);
    fakes_pass_time(1);
    fakes_tick();
    assert_int_equal(fakes_logged("ended_rejected messages=2 "), 1);
    fakes_pass_time(60000);
    fakes_tick();
    assert_int_equal(fakes_logged("ended_rejected"), 2);
}

static void a_rejection_is_logged_with_the_reason_that_is_committed(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("");
    connection = fakes_connect("one", 1000);
    publish_next(connection, "plant/0");
    fakes_answer(1, UPLINK_DELIVERED, -1);
    reject_next(connection, 2, "plant/1");
    publish_next(connection, "plant/2");
    fakes_answer(3, UPLINK_REFUSED, MQTT_TOPIC_NAME_INVALID); /* not committed yet */
    fakes_tick();
    assert_int_equal(fakes_logged("ended_rejected messages=1 reason=reason_code code=0x87 "),
                     1);
    fakes_edge();
    fakes_pass_time(60000);
    fakes_tick();
    assert_int_equal(fakes_logged("ended_rejected messages=1 reason=reason_code code=0x90 "),
                     1);
}

/* Nothing is kept, so there is no newest one, and no table to look into; and nothing shows that
 * the broker has accepted others. */
static void what_ended_rejected_is_named_as_it_was(void **state)
{
    struct connection *connection;

    (void)state;
    (void)fakes_open("rejected: { max_messages = 0; };");
    fakes.gateway->config->uplink.on_refusal = UPLINK_ON_REFUSAL_REJECT;
    connection = fakes_connect("one", 1000);
    reject_next(connection, 1, "plant/1");
    fakes_edge();
    fakes_tick();
    assert_int_equal(
        fakes_logged("ended_rejected messages=1 reason=reason_code code=0x87 "
                     "text=\"not authorized\" topic=none kept=0 remedy=\"the broker refuses "
                     "them, and uplink.on_refusal is reject: mqtt-spool failures"),
        1);
    assert_int_equal(fakes_logged("has accepted others"), 0);
    assert_int_equal(fakes_logged("table rejected"), 0);
}

static void repeated_reads_are_logged_at_a_bounded_rate(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.reads_repeated = 2;
    fakes_tick();
    fakes_tick();
    assert_int_equal(fakes_logged("spool_reads_repeated failed=2 lost=no"), 1);
    fakes.reads_repeated = 5;
    fakes_tick();
    assert_int_equal(fakes_logged("spool_reads_repeated"), 1);
    fakes_pass_time(600000);
    fakes_tick();
    assert_int_equal(fakes_logged("spool_reads_repeated failed=3"), 1);
}

static void traffic_hastens_the_status(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes_tick();
    assert_true(fakes_due_ms(gateway->status.timer) > 0);
    gateway->counters.accepted++;
    fakes_tick();
    assert_int_equal(fakes_due_ms(gateway->status.timer), 0);
}

static void a_second_without_traffic_is_used_for_a_checkpoint(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    gateway->counters.accepted++;
    fakes_tick();
    assert_int_equal(fakes.idle_moments, 0);
    publish_next(fakes_connect("one", 1000), "plant/1");
    fakes_tick();
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_edge();
    fakes_tick();
    assert_int_equal(fakes.idle_moments, 0);
    fakes_tick();
    fakes_tick();
    assert_int_equal(fakes.idle_moments, 2);
    gateway->turn.has_moved = true;
    gateway->moved.retry_after_ms = INT64_MAX;
    fakes_tick();
    assert_int_equal(fakes.idle_moments, 2);
    gateway->turn.has_moved = false;
}

static void a_checkpoint_that_fails_ends_the_daemon(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    fakes.checkpoint_idle = (struct fake_result){.value = -EIO};
    fakes_tick();
    assert_true(gateway->turn.has_failed);
    assert_int_equal(fakes_logged("failed what=checkpoint error="), 1);
    assert_false(gateway->edge_timer.is_armed);
}

static void the_audit_file_is_synced_when_it_is_due(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.audit_due_ms = fakes.now.boot_ms + 1;
    fakes_tick();
    assert_null(strstr(fakes_take_trace(), "sync"));
    fakes_pass_time(1);
    fakes_tick();
    assert_non_null(strstr(fakes_take_trace(), "sync"));
    fakes.gateway->turn.has_moved = true;
    fakes.gateway->moved.retry_after_ms = INT64_MAX;
    fakes_tick();
    assert_null(strstr(fakes_take_trace(), "sync"));
    fakes.gateway->turn.has_moved = false;
}

static void settlements_alone_do_not_make_a_tick_commit(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    publish_next(fakes_connect("one", 1000), "plant/a");
    fakes_edge(); /* for the cursor of the export */
    fakes_answer(1, UPLINK_DELIVERED, -1);
    assert_true(spool_has_settled_alone(gateway->spool));
    fakes_tick();
    assert_false(gateway->edge_timer.is_armed);
    assert_true(gateway->edge_timer.is_awaited);
    spool_request_clock_write(gateway->spool);
    assert_false(spool_has_settled_alone(gateway->spool));
    fakes_tick();
    assert_true(gateway->edge_timer.is_armed);
}

static void an_audit_file_that_was_moved_is_synced_at_once(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.audit_due_ms = INT64_MAX;
    fakes_tick();
    assert_null(strstr(fakes_take_trace(), "sync"));
    fakes.is_audit_moved = true;
    fakes_tick();
    assert_non_null(strstr(fakes_take_trace(), "sync"));
}

/* ---- audit_watch.c ---- */

static void half_of_what_may_wait_is_warned_of_once(void **state)
{
    (void)state;
    (void)fakes_open("audit: { max_waiting = 1000; };");
    fakes.is_audit_broken = true;
    fakes.waiting = 499;
    fakes_edge();
    assert_int_equal(fakes_logged("audit_half_full"), 0);
    fakes.waiting = 500;
    fakes_edge();
    fakes_edge();
    assert_int_equal(
        fakes_logged("audit_half_full waiting=500 max_waiting=1000 when_full=refuse"), 1);
    assert_int_equal(fakes.waiting_max, 0); /* nothing is removed */
}

static void only_an_unwritten_file_lets_records_go(void **state)
{
    (void)state;
    (void)fakes_open("audit: { max_waiting = 1000; when_full = \"prune\"; };");
    fakes_edge();
    assert_int_equal(fakes.waiting_max, 0);
    fakes.is_audit_broken = true;
    fakes_edge();
    assert_int_equal(fakes.waiting_max, 1000);
    fakes.pruned = 7;
    fakes_edge();
    fakes_edge();
    assert_int_equal(fakes_logged("audit_pruning max_waiting=1000"), 1);
    fakes.is_audit_broken = false;
    fakes_edge();
    assert_int_equal(fakes_logged("audit_pruned"), 0);
    fakes_pass_time(1000);
    fakes_edge();
    assert_int_equal(fakes_logged("audit_pruned records=7 outcome=delivered"), 1);
    assert_int_equal(fakes.waiting_max, 0);
    /* Another time of that kind counts from here. */
    fakes.is_audit_broken = true;
    fakes.pruned = 9;
    fakes_edge();
    fakes.is_audit_broken = false;
    fakes_edge();
    fakes_pass_time(1000);
    fakes_edge();
    assert_int_equal(fakes_logged("audit_pruned records=2 outcome=delivered"), 1);
}

static void records_that_are_too_large_are_synced_before_their_time(void **state)
{
    (void)state;
    (void)fakes_open("");
    fakes.record_bytes = (uint64_t)1 << 40;
    (void)fakes_take_trace();
    fakes_edge();
    assert_null(strstr(fakes_take_trace(), "sync")); /* none waits */
    fakes.waiting = 1;
    fakes_edge();
    assert_non_null(strstr(fakes_take_trace(), "export sync"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(each_tick_looks_at_the_socket_and_arms_the_edge),
        FAKES_TEST(a_failed_daemon_arms_nothing),
        FAKES_TEST(what_ended_undelivered_is_logged_now_and_then),
        FAKES_TEST(what_a_lost_batch_evicted_has_not_ended),
        FAKES_TEST(what_expired_when_it_was_to_be_sent_is_logged_too),
        FAKES_TEST(what_had_ended_before_the_start_is_not_logged_again),
        FAKES_TEST(a_rejection_is_logged_with_the_reason_that_is_committed),
        FAKES_TEST(what_ended_rejected_is_logged_once_a_minute_and_after_the_commit),
        FAKES_TEST(what_ended_rejected_is_named_as_it_was),
        FAKES_TEST(repeated_reads_are_logged_at_a_bounded_rate),
        FAKES_TEST(traffic_hastens_the_status),
        FAKES_TEST(a_second_without_traffic_is_used_for_a_checkpoint),
        FAKES_TEST(a_checkpoint_that_fails_ends_the_daemon),
        FAKES_TEST(the_audit_file_is_synced_when_it_is_due),
        FAKES_TEST(an_audit_file_that_was_moved_is_synced_at_once),
        FAKES_TEST(settlements_alone_do_not_make_a_tick_commit),
        FAKES_TEST(half_of_what_may_wait_is_warned_of_once),
        FAKES_TEST(only_an_unwritten_file_lets_records_go),
        FAKES_TEST(records_that_are_too_large_are_synced_before_their_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
