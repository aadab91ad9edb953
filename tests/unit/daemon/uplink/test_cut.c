/* SPDX-License-Identifier: MIT */
/*
 * test_cut.c - a network that breaks the connection: the real Paho in a network of its own
 *
 * The program has a network namespace, so that its loopback can go down. It gives up a
 * connection there after few retransmissions, where the default is 15 minutes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/uplink/paho/paho_link.h"
#include "daemon/uplink/uplink.h"
#include "tests/support/broker_fake.h"
#include "tests/support/emulated.h"
#include "tests/support/uplink_fixture.h"

#define RETRANSMISSIONS "2"

/* Why there is none; "": there is. */
static char no_network[128];

static int set_loopback(bool up)
{
    AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo"};

    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return -errno;
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static int limit_retransmissions(void)
{
    AUTO_CLOSE int fd = open("/proc/sys/net/ipv4/tcp_retries2", O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, RETRANSMISSIONS, 1) != 1 ? -errno : 0;
}

/* Of this thread, and so of all that it creates. */
static void enter_network(void)
{
    int r =
        unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 ? 0 : -errno;

    if (r == 0)
        r = limit_retransmissions();
    if (r == 0)
        r = set_loopback(true);
    if (r < 0)
        (void)snprintf(no_network, sizeof(no_network), "no network of its own: %s",
                       strerror(-r));
}

static void need_network(void)
{
    need_tcp_info();
    if (no_network[0] == '\0' && paho_link_limitations())
        (void)snprintf(no_network, sizeof(no_network), "%s", paho_link_limitations());
    if (no_network[0] == '\0')
        return;
    print_message("skipped: %s\n", no_network);
    skip();
}

/* The broker's TCP acknowledges somewhat later than it reads. */
static bool is_first_taken(struct fixture *f)
{
    return f->broker.publishes > 0 && paho_link_is_taken(f->broker.packet_id);
}

static void go_online_unanswered(struct fixture *f, unsigned protocol)
{
    need_network();
    f->settings.protocol = protocol;
    f->broker.withholds_acks = true;
    go_online(f);
    assert_int_equal(send_text(f, "t", "taken", 1), 0);
    wait_for(f, is_first_taken);
}

static void what_a_cut_leaves_unanswered_has_that_cause(unsigned protocol, struct fixture *f)
{
    go_online_unanswered(f, protocol);
    assert_int_equal(set_loopback(false), 0);
    assert_int_equal(send_text(f, "t", "not taken", 1), 0);
    wait_answers(f, 2);
    assert_int_equal(f->kinds[UPLINK_UNKNOWN], 2);
    assert_int_equal(f->last.cause, UPLINK_CAUSE_CUT);
    assert_int_equal(f->written, 1);
    assert_int_equal(f->oldest, 1);
    assert_int_equal(f->oldest_id, 0);
    assert_non_null(strstr(f->last_text, "the network broke the connection"));
    f->broker.withholds_acks = false;
    assert_int_equal(set_loopback(true), 0);
    wait_for(f, is_online);
    assert_int_equal(send_text(f, "t", "again", 1), 0);
    wait_answers(f, 3);
    assert_int_equal(f->last.kind, UPLINK_DELIVERED);
    assert_each_once(f);
}

static void a_cut_is_the_cause_on_3_1_1(void **state)
{
    what_a_cut_leaves_unanswered_has_that_cause(4, *state);
}

static void a_cut_is_the_cause_on_5(void **state)
{
    what_a_cut_leaves_unanswered_has_that_cause(5, *state);
}

/* The same network, and the same two messages. */
static void a_reset_by_the_broker_is_no_cut(void **state)
{
    struct fixture *f = *state;

    go_online_unanswered(f, 5);
    broker_reset(&f->broker);
    wait_answers(f, 1);
    assert_int_equal(f->last.cause, UPLINK_CAUSE_BROKER_CLOSED);
}

/* With nothing sent since there is nothing to break, and it is still up when the line is. */
static void an_interruption_that_is_short_ends_no_connection(void **state)
{
    struct fixture *f = *state;

    go_online_unanswered(f, 5);
    assert_int_equal(set_loopback(false), 0);
    assert_int_equal(send_text(f, "t", "later", 1), 0);
    assert_int_equal(set_loopback(true), 0);
    f->goal = 2;
    wait_for(f, has_published);
    broker_acknowledge(&f->broker);
    wait_answers(f, 2);
    assert_int_equal(f->kinds[UPLINK_DELIVERED], 2);
    assert_int_equal(link_of(f).connects, 1);
}

static int restore(void **state)
{
    (void)set_loopback(true);
    return teardown(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_cut_is_the_cause_on_3_1_1),
        CASE(a_cut_is_the_cause_on_5),
        CASE(a_reset_by_the_broker_is_no_cut),
        CASE(an_interruption_that_is_short_ends_no_connection),
    };

    enter_network();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
