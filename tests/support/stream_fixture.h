/* SPDX-License-Identifier: MIT */
/*
 * stream_fixture.h - a connection as Paho makes it, and its other end
 *
 * The tests call as Paho does, by the names of libc: the linker redirects them. The peer is the
 * other end of a connection over loopback.
 * Each test program includes it once, after cmocka.h.
 */
#ifndef MQTT_SPOOLD_TESTS_STREAM_FIXTURE_H
#define MQTT_SPOOLD_TESTS_STREAM_FIXTURE_H

#include <MQTTAsync.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daemon/uplink/paho/paho_link-private.h"

#define PATIENCE_MS 30000

struct fixture {
    int listener;
    int fd; /* Paho's */
    int peer;
    struct sockaddr_in address;
    uint64_t written; /* byte n of what is written is n */
    uint64_t arrived;
};

static inline int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void wait_readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
}

/* Until @bytes are here: the kernel may deliver what was sent together piece by piece. */
static inline void wait_received(int fd, int bytes)
{
    int64_t deadline_ms = now_ms() + PATIENCE_MS;
    int here = 0;

    while (here < bytes) {
        assert_int_equal(ioctl(fd, FIONREAD, &here), 0);
        assert_true(now_ms() < deadline_ms);
        (void)sched_yield();
    }
}

/* Until the reset is here, whatever there is to be read before it. */
static inline void wait_reset(int fd)
{
    struct pollfd wait = {.fd = fd};

    assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
    assert_true((wait.revents & POLLHUP) != 0);
}

/* After a write that was incomplete: until there is something to be read at the other end,
 * or room for more. */
static inline void wait_moved(const struct fixture *f)
{
    struct pollfd waits[2] = {{.fd = f->peer, .events = POLLIN},
                              {.fd = f->fd, .events = POLLOUT}};

    assert_true(poll(waits, 2, PATIENCE_MS) > 0);
}

static inline unsigned port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin_port);
}

#define TIMER_OF_ZERO_WINDOW 4u

/*
 * Return: does the kernel write no more until the peer reads? Without a timer for that, what
 * the last write left is still on its way, and a later write would find room.
 */
static inline bool is_stuck(const struct fixture *f)
{
    unsigned port = port_of(f->fd);
    unsigned timer = 0;
    char line[256];
    FILE *file = fopen("/proc/self/net/tcp", "re");

    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        unsigned local;
        unsigned remote;
        unsigned here;

        if (sscanf(line, " %*u: %*x:%x %*x:%x %*x %*x:%*x %x:", &local, &remote, &here) == 3 &&
            local == port && remote == ntohs(f->address.sin_port))
            timer = here;
    }
    (void)fclose(file);
    return timer == TIMER_OF_ZERO_WINDOW;
}

static inline void open_connection(struct fixture *f)
{
    struct pollfd wait = {.events = POLLOUT};
    int error = -1;
    socklen_t size = sizeof(error);

    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(f->fd >= 0);
    assert_int_equal(connect(f->fd, (struct sockaddr *)&f->address, sizeof(f->address)), -1);
    assert_int_equal(errno, EINPROGRESS);
    wait.fd = f->fd;
    assert_int_equal(poll(&wait, 1, PATIENCE_MS), 1);
    assert_int_equal(getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
    assert_int_equal(error, 0);
    f->peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(f->peer >= 0);
    f->written = f->arrived = 0;
}

static inline int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    socklen_t size = sizeof(f->address);

    memset(f, 0, sizeof(*f));
    f->address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(f->listener, (struct sockaddr *)&f->address, size) < 0 ||
        listen(f->listener, 4) < 0 ||
        getsockname(f->listener, (struct sockaddr *)&f->address, &size) < 0)
        return -1;
    open_connection(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    paho_stream_gather(false);
    (void)shutdown(f->fd, SHUT_WR);
    (void)close(f->fd);
    if (f->peer >= 0)
        (void)close(f->peer);
    (void)close(f->listener);
    return 0;
}

/* @ret: the next @size bytes to write. */
static inline void fill_bytes(const struct fixture *f, uint8_t *ret, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ret[i] = (uint8_t)(f->written + i);
}

/* The next @size bytes have arrived. */
static inline void take_bytes(struct fixture *f, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], (uint8_t)(f->arrived + i));
    f->arrived += size;
}

static inline void peer_send(struct fixture *f, const char *text)
{
    assert_int_equal(send(f->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static inline void expect_received(struct fixture *f, const char *text)
{
    char c = 0;

    for (; *text != '\0'; text++) {
        assert_int_equal(recv(f->fd, &c, 1, 0), 1);
        assert_int_equal(c, *text);
    }
}

static inline void reset_by_peer(struct fixture *f)
{
    struct linger now = {.l_onoff = 1};

    assert_int_equal(setsockopt(f->peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    (void)close(f->peer);
    f->peer = -1;
}

/* The library has its lists from its first client on. */
static MQTTAsync placeholder;

static inline int setup_library(void **state)
{
    (void)state;
    return MQTTAsync_create(&placeholder, "tcp://127.0.0.1", "", MQTTCLIENT_PERSISTENCE_NONE,
                            NULL);
}

static inline int teardown_library(void **state)
{
    (void)state;
    MQTTAsync_destroy(&placeholder);
    return 0;
}

#endif
