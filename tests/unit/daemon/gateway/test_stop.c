/* SPDX-License-Identifier: MIT */
/*
 * test_stop.c - the steps of stopping: their order, their deadlines, what ends each of them
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/gateway/edge_timer.h"
#include "daemon/gateway/gateway-private.h"
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/stop.h"
#include "daemon/mqtt/packet.h"
#include "daemon/uplink/uplink.h"
#include "store/spool.h"
#include "tests/support/gateway_fakes.h"

#define DISCONNECT_MS 4500

/* One message is in flight, and another one waits for its commit. */
static struct connection *open_busy(void)
{
    struct connection *connection;

    (void)fakes_open("");
    connection = fakes_connect("one", 1000);
    (void)fakes_publish(connection, "plant/1", "payload");
    fakes_edge();
    (void)fakes_publish(connection, "plant/1", "payload");
    (void)fakes_take_trace();
    return connection;
}

static enum stop_state now_in(void)
{
    return fakes.gateway->stop.state;
}

static void owed_acknowledgements_leave_before_connections_close(void **state)
{
    (void)state;
    (void)open_busy();
    gateway_stop(fakes.gateway);
    assert_string_equal(fakes_take_trace(),
                        "stopping pause retain commit acknowledge-one export close-one ");
    assert_int_equal(now_in(), STOP_DRAINING);
    assert_string_equal(fakes.systemd_status, "stopping: waiting for what is in flight");
    assert_int_equal(fakes.connections[0]->code, MQTT_SERVER_SHUTTING_DOWN);
    assert_int_equal(fakes_exit_code(), -1);
}

static void draining_has_a_deadline(void **state)
{
    (void)state;
    (void)open_busy();
    gateway_stop(fakes.gateway);
    assert_int_equal(fakes_due_ms(fakes.gateway->stop.deadline), GATEWAY_DRAIN_MS);
    fakes.uplink_stops_late = true;
    fakes_reach(fakes.gateway->stop.deadline);
    assert_int_equal(now_in(), STOP_DISCONNECTING);
    assert_non_null(strstr(fakes_take_trace(), "stop-uplink"));
}

static void the_last_answer_ends_draining(void **state)
{
    (void)state;
    (void)open_busy();
    gateway_stop(fakes.gateway);
    fakes_run();
    assert_int_equal(now_in(), STOP_DRAINING);
    fakes.uplink_stops_late = true;
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_run();
    assert_int_equal(now_in(), STOP_DISCONNECTING);
    assert_int_equal(fakes_ledger().ended[SPOOL_DELIVERED], 1);
}

static void disconnecting_has_a_deadline(void **state)
{
    (void)state;
    (void)open_busy();
    fakes.uplink_stops_late = true;
    gateway_stop(fakes.gateway);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_run();
    assert_int_equal(now_in(), STOP_DISCONNECTING);
    assert_int_equal(fakes_due_ms(fakes.gateway->stop.deadline), DISCONNECT_MS);
    fakes_reach(fakes.gateway->stop.deadline);
    assert_int_equal(now_in(), STOP_ENDED);
    assert_int_equal(fakes_exit_code(), 0);
    assert_null(fakes.gateway->stop.deadline);
}

static void an_idle_uplink_ends_disconnecting(void **state)
{
    (void)state;
    (void)open_busy();
    fakes.uplink_stops_late = true;
    gateway_stop(fakes.gateway);
    fakes_answer(1, UPLINK_DELIVERED, -1);
    fakes_run();
    assert_int_equal(fakes_exit_code(), -1);
    fakes_link_state(UPLINK_IDLE);
    fakes_run();
    assert_int_equal(now_in(), STOP_ENDED);
    assert_int_equal(fakes_exit_code(), 0);
}

static void with_nothing_in_flight_it_ends_at_once(void **state)
{
    (void)state;
    (void)fakes_open("");
    gateway_stop(fakes.gateway);
    fakes_run();
    assert_int_equal(now_in(), STOP_ENDED);
    assert_int_equal(fakes_exit_code(), 0);
}

static void once_it_has_ended_no_edge_is_armed(void **state)
{
    struct gateway *gateway = fakes_open("");

    (void)state;
    gateway_stop(gateway);
    fakes_run();
    edge_timer_arm(&gateway->edge_timer);
    edge_timer_arm_later(&gateway->edge_timer, 1);
    assert_false(gateway->edge_timer.is_armed);
    assert_false(gateway->edge_timer.is_awaited);
    stop_advance(&gateway->stop);
    assert_int_equal(now_in(), STOP_ENDED);
}

static void a_second_term_changes_nothing(void **state)
{
    (void)state;
    (void)open_busy();
    gateway_stop(fakes.gateway);
    (void)fakes_take_trace();
    gateway_stop(fakes.gateway);
    assert_string_equal(fakes_take_trace(), "");
    assert_int_equal(now_in(), STOP_DRAINING);
}

static void a_failure_at_the_last_acknowledgements_closes_no_connection(void **state)
{
    struct connection *connection = open_busy();

    (void)state;
    fakes.commit.value = -EIO;
    gateway_stop(fakes.gateway);
    assert_false(connection->is_closed);
    assert_int_equal(connection->acknowledged, 1); /* of the commit before */
    assert_int_equal(fakes_exit_code(), 1);
    stop_advance(&fakes.gateway->stop);
    assert_int_equal(now_in(), STOP_DRAINING);
    (void)fakes_take_trace();
    gateway_stop(fakes.gateway);
    assert_string_equal(fakes_take_trace(), "");
}

static void while_it_stops_no_producer_is_admitted(void **state)
{
    struct connection *connection;

    (void)state;
    (void)open_busy();
    gateway_stop(fakes.gateway);
    connection = fakes_accept(1000);
    assert_int_equal(fakes_say_connect(connection, "late"), MQTT_SERVER_UNAVAILABLE);
}

/* Return: what waitpid() says of a process that does it. */
static int status_of(void (*act)(struct stop *stop))
{
    pid_t child = fork();
    int status = 0;

    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        act(&fakes.gateway->stop);
        _exit(77);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void begin_twice(struct stop *stop)
{
    stop_begin(stop);
    stop_begin(stop);
}

static void begin_once(struct stop *stop)
{
    stop_begin(stop);
}

static void it_only_moves_forward(void **state)
{
    (void)state;
    (void)open_busy();
    int status = status_of(begin_once);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 77);
    status = status_of(begin_twice);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAKES_TEST(owed_acknowledgements_leave_before_connections_close),
        FAKES_TEST(draining_has_a_deadline),
        FAKES_TEST(the_last_answer_ends_draining),
        FAKES_TEST(disconnecting_has_a_deadline),
        FAKES_TEST(an_idle_uplink_ends_disconnecting),
        FAKES_TEST(with_nothing_in_flight_it_ends_at_once),
        FAKES_TEST(once_it_has_ended_no_edge_is_armed),
        FAKES_TEST(a_second_term_changes_nothing),
        FAKES_TEST(a_failure_at_the_last_acknowledgements_closes_no_connection),
        FAKES_TEST(while_it_stops_no_producer_is_admitted),
        FAKES_TEST(it_only_moves_forward),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
