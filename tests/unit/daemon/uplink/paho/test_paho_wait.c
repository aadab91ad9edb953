/* SPDX-License-Identifier: MIT */
/*
 * test_paho_wait.c - the waits of Paho's receiving thread
 *
 * How many answers are awaited is for a case to say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/uplink/paho/paho_link.h"
#include "tests/support/stream_fixture.h"

int SSLSocket_getPendingRead(void);

static unsigned awaited;

unsigned __wrap_paho_packet_awaited(void);

unsigned __wrap_paho_packet_awaited(void)
{
    return awaited;
}

static int setup_awaited(void **state)
{
    awaited = 0;
    return setup(state);
}

static int low_water(const struct fixture *f)
{
    int bytes = -1;
    socklen_t size = sizeof(bytes);

    assert_int_equal(getsockopt(f->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, &size), 0);
    return bytes;
}

static int wait_ms(const struct fixture *f, int timeout_ms)
{
    struct pollfd wait = {.fd = f->fd, .events = POLLIN};

    return poll(&wait, 1, timeout_ms);
}

/* From now on the connection is read ahead. */
static void read_ahead(struct fixture *f)
{
    peer_send(f, "CONN");
    assert_int_equal(wait_ms(f, PATIENCE_MS), 1);
    expect_received(f, "CONN");
}

static void a_lone_answer_ends_the_wait(void **state)
{
    struct fixture *f = *state;

    awaited = 15;
    read_ahead(f);
    peer_send(f, "PUBA");
    assert_int_equal(wait_ms(f, PATIENCE_MS), 1);
    assert_int_equal(low_water(f), 1);
}

static void many_answers_are_waited_for_together(void **state)
{
    struct fixture *f = *state;

    read_ahead(f);
    awaited = 512;
    assert_int_equal(wait_ms(f, 0), 0);
    assert_int_equal(wait_ms(f, 1), 0);
    assert_true(low_water(f) >= 512 / 8 * 4 && low_water(f) <= 512 / 4 * 4);
    awaited = 16;
    peer_send(f, "PUBAPUBAPUBA");
    assert_int_equal(wait_ms(f, 1), 0);
    assert_int_equal(low_water(f), 16);
    peer_send(f, "PUBA");
    wait_received(f->fd, 16);
    assert_int_equal(wait_ms(f, 1), 1);
}

static void too_few_of_many_answers_end_the_wait_soon(void **state)
{
    struct fixture *f = *state;

    read_ahead(f);
    awaited = 512;
    peer_send(f, "PUBA");
    int64_t began_ms = now_ms();
    assert_int_equal(wait_ms(f, PATIENCE_MS), 1);
    assert_true(now_ms() - began_ms < PATIENCE_MS);
    assert_int_equal(low_water(f), 1);
    expect_received(f, "PUBA");
    began_ms = now_ms();
    assert_int_equal(wait_ms(f, 50), 0);
    assert_true(now_ms() - began_ms >= 50);
}

static void an_end_is_not_waited_for(void **state)
{
    struct fixture *f = *state;

    read_ahead(f);
    awaited = 512;
    assert_int_equal(wait_ms(f, 1), 0);
    assert_true(low_water(f) > 1);
    assert_int_equal(shutdown(f->peer, SHUT_WR), 0);
    assert_int_equal(wait_ms(f, PATIENCE_MS), 1);
}

/* As in the handshake of TLS. */
static void a_connection_that_is_not_read_ahead_has_no_low_water(void **state)
{
    struct fixture *f = *state;

    awaited = 512;
    assert_int_equal(wait_ms(f, 1), 0);
    assert_int_equal(low_water(f), 1);
}

static void a_new_connection_begins_without_low_water(void **state)
{
    struct fixture *f = *state;

    read_ahead(f);
    awaited = 512;
    assert_int_equal(wait_ms(f, 1), 0);
    assert_true(low_water(f) > 1);
    (void)shutdown(f->fd, SHUT_WR);
    (void)close(f->fd);
    (void)close(f->peer);
    open_connection(f);
    read_ahead(f);
    assert_int_equal(wait_ms(f, 1), 0);
    assert_true(low_water(f) > 1);
}

static void count_call(void *userdata)
{
    (*(unsigned *)userdata)++;
}

static void the_owner_is_called_before_a_wait(void **state)
{
    struct fixture *f = *state;
    unsigned calls = 0;

    paho_link_set_before_wait(count_call, &calls);
    assert_int_equal(SSLSocket_getPendingRead(), -1);
    assert_int_equal(calls, 1);
    peer_send(f, "ab");
    assert_int_equal(wait_ms(f, PATIENCE_MS), 1);
    expect_received(f, "a");
    assert_int_equal(SSLSocket_getPendingRead(), f->fd);
    assert_int_equal(calls, 1);
    paho_link_set_before_wait(NULL, NULL);
    expect_received(f, "b");
    assert_int_equal(SSLSocket_getPendingRead(), -1);
    assert_int_equal(calls, 1);
}

#define WAIT_CASE(name) cmocka_unit_test_setup_teardown(name, setup_awaited, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WAIT_CASE(a_lone_answer_ends_the_wait),
        WAIT_CASE(many_answers_are_waited_for_together),
        WAIT_CASE(too_few_of_many_answers_end_the_wait_soon),
        WAIT_CASE(an_end_is_not_waited_for),
        WAIT_CASE(a_connection_that_is_not_read_ahead_has_no_low_water),
        WAIT_CASE(a_new_connection_begins_without_low_water),
        WAIT_CASE(the_owner_is_called_before_a_wait),
    };

    return cmocka_run_group_tests(tests, setup_library, teardown_library);
}
