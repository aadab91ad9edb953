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
#include <stdint.h>
#include <string.h>
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
