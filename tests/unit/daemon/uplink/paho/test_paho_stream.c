/* SPDX-License-Identifier: MIT */
/*
 * test_paho_stream.c - what the connection carries is what Paho wrote and what the peer sent
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <MQTTAsync.h>
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/uplink/paho/out_buffer.h"
#include "daemon/uplink/paho/paho_link-private.h"
#include "tests/support/stream_fixture.h"

#define PACKET 1000u
/* More than the kernel's buffers of both ends and the gathered bytes. */
#define MOST (64u << 20)

int SSLSocket_getPendingRead(void);
void *MQTTPacket_Factory(int version, void *net, int *error);
void *Thread_create_cond(int *ret_code);
void Thread_destroy_cond(void *condition);
int Thread_wait_cond(void *condition, int timeout_ms);

/* On which Paho's sending thread waits: this one. */
static void *condition;

static int setup_sender(void **state)
{
    int code = -1;

    condition = Thread_create_cond(&code);
    int r = setup(state);
    (void)Thread_wait_cond(condition, 0); /* from now on this thread may gather */
    return r;
}

static int teardown_sender(void **state)
{
    Thread_destroy_cond(condition);
    return teardown(state);
}

/* Writes as Paho writes a packet. Return: as writev(). */
static ssize_t put(struct fixture *f, size_t size)
{
    static uint8_t bytes[2 * OUT_BUFFER_BYTES];
    struct iovec parts[2] = {{.iov_base = bytes, .iov_len = 2},
                             {.iov_base = bytes + 2, .iov_len = size - 2}};

    fill_bytes(f, bytes, size);
    ssize_t n = writev(f->fd, parts, 2);
    if (n > 0)
        f->written += (uint64_t)n;
    return n;
}

static void publish(struct fixture *f, size_t size)
{
    paho_stream_gather(true);
    assert_int_equal(put(f, size), size);
    paho_stream_gather(false);
}

/* Return: false: the peer has nothing to read now. */
static bool peer_read(struct fixture *f, size_t most)
{
    static uint8_t bytes[65536];
    ssize_t n = recv(f->peer, bytes, most < sizeof(bytes) ? most : sizeof(bytes), MSG_DONTWAIT);

    if (n <= 0)
        return false;
    take_bytes(f, bytes, (size_t)n);
    return true;
}

static void expect_arrived(struct fixture *f, uint64_t bytes)
{
    while (f->arrived < bytes) {
        wait_readable(f->peer);
        assert_true(peer_read(f, (size_t)(bytes - f->arrived)));
    }
    assert_false(peer_read(f, 1));
}

/* The peer reads nothing: until the kernel takes no more and the buffer is full. */
static void fill(struct fixture *f)
{
    int64_t deadline_ms = now_ms() + PATIENCE_MS;
    bool was_stuck;

    paho_stream_gather(true);
    do {
        was_stuck = is_stuck(f);
        while (put(f, PACKET) >= 0) {
            assert_true(f->written < MOST);
            was_stuck = false;
        }
        assert_int_equal(errno, EAGAIN);
        assert_true(now_ms() < deadline_ms);
    } while (!was_stuck);
    paho_stream_gather(false);
}

/* --- what is written --------------------------------------------------------- */

static void what_is_gathered_is_written_before_the_wait(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 10; i++)
        publish(f, 100);
    assert_int_equal(paho_stream_position(), 1000);
    assert_int_equal(paho_traffic_written(), 0);
    assert_false(peer_read(f, 1));
    assert_int_equal(Thread_wait_cond(condition, 0), ETIMEDOUT);
    assert_int_equal(paho_traffic_written(), 1000);
    expect_arrived(f, 1000);
}

static void all_else_is_written_at_once_behind_what_was_gathered(void **state)
{
    struct fixture *f = *state;

    publish(f, 100);
    assert_int_equal(put(f, 20), 20);
    expect_arrived(f, 120);
}

static void what_is_enough_for_a_write_does_not_wait(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 17; i++)
        publish(f, PACKET);
    assert_true(paho_traffic_written() >= 16384);
    wait_readable(f->peer);
}

static void *other_thread(void *userdata)
{
    struct fixture *f = userdata;

    publish(f, 100);
    return NULL;
}

/* It would not flush before it waits. */
static void a_thread_that_does_not_flush_gathers_nothing(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, other_thread, f), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(paho_traffic_written(), 100);
    expect_arrived(f, 100);
}

static void a_peer_that_reads_nothing_makes_writes_incomplete(void **state)
{
    struct fixture *f = *state;

    fill(f);
    assert_true(paho_stream_has_pending_write());
    assert_true(paho_stream_position() > paho_traffic_written());
    assert_int_equal(paho_stream_position(), f->written);
    /* QoS 0 is not written before all else is. */
    assert_int_equal(put(f, PACKET), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(paho_stream_position(), f->written);
}

/* Return: does thread @id wait for something? */
static bool is_asleep(pid_t id)
{
    char path[64];
    char state = '\0';

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)id);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
    (void)fclose(file);
    return state == 'S';
}

struct reader {
    struct fixture *f;
    pid_t waiter;
};

static void *read_all(void *userdata)
{
    const struct reader *reader = userdata;
    struct fixture *f = reader->f;
    uint64_t all = f->written;

    while (!is_asleep(reader->waiter))
        (void)sched_yield();
    while (f->arrived < all) {
        wait_readable(f->peer);
        assert_true(peer_read(f, SIZE_MAX));
    }
    return NULL;
}

/* The peer reads again: what it was not sent follows without a new write of Paho's. */
static void the_rest_follows_as_soon_as_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct reader reader = {.f = f, .waiter = gettid()};
    pthread_t thread;
    int64_t began_ms;

    fill(f);
    assert_int_equal(paho_stream_flush_before_wait(), f->fd);
    assert_int_equal(pthread_create(&thread, NULL, read_all, &reader), 0);
    began_ms = now_ms();
    while (!paho_stream_flush())
        (void)Thread_wait_cond(condition, PATIENCE_MS);
    assert_true(now_ms() - began_ms < PATIENCE_MS);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(f->arrived, f->written);
    assert_int_equal(paho_stream_flush_before_wait(), -1);
    assert_int_equal(put(f, 100), 100);
    assert_false(paho_stream_has_pending_write());
}

static void a_packet_larger_than_the_buffer_is_written_in_parts(void **state)
{
    struct fixture *f = *state;
    size_t size = OUT_BUFFER_BYTES + 5000;

    publish(f, 100);
    paho_stream_gather(true);
    ssize_t n = put(f, size);
    paho_stream_gather(false);
    assert_true(n > 0);
    assert_int_equal(paho_traffic_written(), f->written);
    expect_arrived(f, f->written);
}

/* Paho does not know of the write that failed. */
static void the_reading_side_finds_a_write_that_failed(void **state)
{
    struct fixture *f = *state;
    char c;

    publish(f, 100);
    reset_by_peer(f);
    wait_reset(f->fd);
    (void)Thread_wait_cond(condition, 0);
    assert_int_equal(paho_stream_position(), UINT64_MAX);
    wait_readable(f->fd);
    assert_true(recv(f->fd, &c, 1, 0) <= 0 && errno != EAGAIN);
    paho_stream_gather(true);
    assert_int_equal(put(f, 100), -1);
    assert_int_equal(errno, EPIPE);
    assert_false(paho_stream_has_pending_write());
}

/* Only the way out is broken: the way in would be read for ever. */
static void a_write_that_failed_ends_both_ways(void **state)
{
    struct fixture *f = *state;
    int other = dup(f->fd);
    char c;

    publish(f, 100);
    assert_int_equal(shutdown(other, SHUT_WR), 0);
    assert_int_equal(recv(f->fd, &c, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    (void)Thread_wait_cond(condition, 0);
    assert_int_equal(recv(f->fd, &c, 1, 0), 0);
    (void)close(other);
}

/* --- what is read ------------------------------------------------------------ */

static void one_read_takes_all_that_is_here(void **state)
{
    struct fixture *f = *state;
    int left = -1;
    char c;

    peer_send(f, "abcdefgh");
    wait_readable(f->fd);
    assert_int_equal(SSLSocket_getPendingRead(), -1);
    expect_received(f, "abc");
    assert_int_equal(ioctl(f->fd, FIONREAD, &left), 0);
    assert_int_equal(left, 0);
    assert_true(paho_stream_has_input());
    assert_int_equal(SSLSocket_getPendingRead(), f->fd);
    wait_readable(f->fd);
    expect_received(f, "defgh");
    assert_false(paho_stream_has_input());
    assert_int_equal(SSLSocket_getPendingRead(), -1);
    assert_int_equal(recv(f->fd, &c, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void an_error_comes_behind_what_was_read(void **state)
{
    struct fixture *f = *state;
    char c;

    peer_send(f, "abcd");
    wait_readable(f->fd);
    expect_received(f, "a");
    reset_by_peer(f);
    wait_reset(f->fd);
    expect_received(f, "bcd");
    assert_int_equal(recv(f->fd, &c, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

/* A second write would end the connection. */
static void nothing_is_read_while_a_write_is_incomplete(void **state)
{
    struct fixture *f = *state;

    peer_send(f, "abcd");
    wait_readable(f->fd);
    expect_received(f, "a");
    fill(f);
    assert_int_equal(SSLSocket_getPendingRead(), -1);
    wait_readable(f->fd); /* as before: the library then finds that the write waits */
    while (!paho_stream_flush()) {
        wait_moved(f);
        (void)peer_read(f, SIZE_MAX);
    }
    assert_int_equal(put(f, 100), 100);
    assert_int_equal(SSLSocket_getPendingRead(), f->fd);
    expect_received(f, "bcd");
}

/* Paho's structure of a connection begins with the descriptor; the rest is not needed here. */
static int read_packet(const struct fixture *f)
{
    union {
        int fd;
        uint64_t memory[64];
    } net = {.memory = {0}};
    int error = 0;

    net.fd = f->fd;
    assert_null(MQTTPacket_Factory(4, &net, &error));
    return error;
}

/* The write became incomplete after Paho had looked. */
static void no_packet_is_read_while_a_write_is_incomplete(void **state)
{
    struct fixture *f = *state;

    peer_send(f, "abcd");
    wait_readable(f->fd);
    expect_received(f, "a");
    fill(f);
    assert_int_equal(read_packet(f), PAHO_PENDING);
    expect_received(f, "bcd");
    reset_by_peer(f);
    wait_reset(f->fd);
    assert_int_equal(read_packet(f), PAHO_SOCKET_ERROR);
}

/* --- begin and end ----------------------------------------------------------- */

static void the_end_of_a_connection_writes_what_was_gathered(void **state)
{
    struct fixture *f = *state;

    publish(f, 100);
    assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
    expect_arrived(f, 100);
    assert_int_equal(paho_traffic_fd(), -1);
}

static void a_new_connection_has_nothing_of_the_last_one(void **state)
{
    struct fixture *f = *state;

    peer_send(f, "abcd");
    wait_readable(f->fd);
    expect_received(f, "a");
    fill(f);
    int old_fd = f->fd;
    int old_peer = f->peer;
    open_connection(f);
    assert_false(paho_stream_has_input());
    assert_false(paho_stream_has_pending_write());
    assert_int_equal(paho_stream_position(), 0);
    publish(f, 100);
    (void)Thread_wait_cond(condition, 0);
    expect_arrived(f, 100);
    peer_send(f, "x");
    wait_readable(f->fd);
    expect_received(f, "x");
    (void)close(old_fd);
    (void)close(old_peer);
}

static void other_descriptors_are_not_touched(void **state)
{
    char text[] = "abcd";
    struct iovec part = {.iov_base = text, .iov_len = 4};
    int pair[2];
    int left = -1;
    char c;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    paho_stream_gather(true);
    assert_int_equal(writev(pair[0], &part, 1), 4);
    assert_int_equal(recv(pair[1], &c, 1, 0), 1);
    assert_int_equal(ioctl(pair[1], FIONREAD, &left), 0);
    assert_int_equal(left, 3);
    assert_int_equal(shutdown(pair[0], SHUT_RDWR), 0);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_sender, teardown_sender)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_gathered_is_written_before_the_wait),
        CASE(all_else_is_written_at_once_behind_what_was_gathered),
        CASE(what_is_enough_for_a_write_does_not_wait),
        CASE(a_thread_that_does_not_flush_gathers_nothing),
        CASE(a_peer_that_reads_nothing_makes_writes_incomplete),
        CASE(the_rest_follows_as_soon_as_there_is_room),
        CASE(a_packet_larger_than_the_buffer_is_written_in_parts),
        CASE(the_reading_side_finds_a_write_that_failed),
        CASE(a_write_that_failed_ends_both_ways),
        CASE(one_read_takes_all_that_is_here),
        CASE(an_error_comes_behind_what_was_read),
        CASE(nothing_is_read_while_a_write_is_incomplete),
        CASE(no_packet_is_read_while_a_write_is_incomplete),
        CASE(the_end_of_a_connection_writes_what_was_gathered),
        CASE(a_new_connection_has_nothing_of_the_last_one),
        CASE(other_descriptors_are_not_touched),
    };

    return cmocka_run_group_tests(tests, setup_library, teardown_library);
}
