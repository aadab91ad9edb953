/* SPDX-License-Identifier: MIT */
/*
 * stream.c - a client's connection of raw MQTT 3.1.1
 */
#include "bench/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/bench.h"

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
        bench_die(path);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        bench_die(path);
    return fd;
}

static int connect_tcp(const char *port)
{
    struct sockaddr_in address = bench_loopback(port);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        bench_die(port);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

void stream_put(struct stream *stream, const void *data, size_t size)
{
    if (stream->out_used + size > sizeof(stream->out))
        bench_die("output buffer full");
    memcpy(stream->out + stream->out_used, data, size);
    stream->out_used += size;
}

void stream_flush(struct stream *stream)
{
    while (stream->out_sent < stream->out_used) {
        ssize_t n = send(stream->fd, stream->out + stream->out_sent,
                         stream->out_used - stream->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            bench_die("send");
        stream->out_sent += (size_t)n;
    }
    stream->out_used = stream->out_sent = 0;
}

bool stream_fill(struct stream *stream, int timeout_ms)
{
    struct pollfd wait = {.fd = stream->fd, .events = POLLIN};

    if (stream->out_sent < stream->out_used)
        wait.events |= POLLOUT;
    int r = poll(&wait, 1, timeout_ms);
    if (r < 0)
        bench_die("poll");
    if (wait.revents & POLLOUT)
        stream_flush(stream);
    if (!(wait.revents & (POLLIN | POLLHUP | POLLERR)))
        return r > 0;
    ssize_t n =
        recv(stream->fd, stream->in + stream->in_used, sizeof(stream->in) - stream->in_used, 0);
    if (n == 0)
        errno = ECONNRESET;
    if (n <= 0)
        bench_die("recv");
    stream->in_used += (size_t)n;
    return true;
}

size_t stream_packet_size(const uint8_t *bytes, size_t size, size_t *ret_header)
{
    size_t length = 0, i = 1;

    for (unsigned shift = 0;; shift += 7, i++) {
        if (i >= size)
            return 0;
        length |= (size_t)(bytes[i] & 0x7F) << shift;
        if (!(bytes[i] & 0x80))
            break;
    }
    *ret_header = i + 1;
    return length > size - *ret_header ? 0 : *ret_header + length;
}

const uint8_t *stream_next_packet(const struct stream *stream,
                                  size_t *at,
                                  size_t *ret_header,
                                  size_t *ret_size)
{
    const uint8_t *packet = stream->in + *at;

    *ret_size = stream_packet_size(packet, stream->in_used - *at, ret_header);
    if (*ret_size == 0)
        return NULL;
    *at += *ret_size;
    return packet;
}

void stream_drop(struct stream *stream, size_t size)
{
    memmove(stream->in, stream->in + size, stream->in_used - size);
    stream->in_used -= size;
}

static void handshake(struct stream *stream, const char *id)
{
    uint8_t packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 0};
    size_t id_size = strnlen(id, sizeof(packet) - 14);

    packet[1] = (uint8_t)(12 + id_size);
    packet[13] = (uint8_t)id_size;
    memcpy(packet + 14, id, id_size);
    stream_put(stream, packet, 14 + id_size);
    stream_flush(stream);
    while (stream->in_used < 4)
        (void)stream_fill(stream, 10000);
    if (stream->in[0] != 0x20 || stream->in[3] != 0)
        bench_die("CONNACK refused");
    stream_drop(stream, 4);
}

struct stream *stream_open(const char *address, const char *role)
{
    struct stream *stream = calloc(1, sizeof(*stream));
    char id[32];

    if (!stream)
        bench_die("memory");
    stream->fd = address[0] == '/' ? connect_unix(address) : connect_tcp(address);
    (void)snprintf(id, sizeof(id), "%s-%d", role, (int)getpid());
    handshake(stream, id);
    return stream;
}
