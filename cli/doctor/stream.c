/* SPDX-License-Identifier: MIT */
/*
 * stream.c - a connection to a broker, plain or by TLS, with a time for each call
 */
#include "cli/doctor/stream.h"

#include "cli/doctor/net.h"
#include "cli/doctor/tls_probe.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t
read_plain(const struct stream *stream, void *to, size_t size, int64_t give_up_ms)
{
    int result = net_wait(stream->fd, POLLIN, give_up_ms);
    ssize_t got = result == 0 ? recv(stream->fd, to, size, MSG_DONTWAIT) : result;

    return result == 0 && got < 0 ? -errno : got;
}

static ssize_t
write_plain(const struct stream *stream, const void *from, size_t size, int64_t give_up_ms)
{
    int result = net_wait(stream->fd, POLLOUT, give_up_ms);
    ssize_t put =
        result == 0 ? send(stream->fd, from, size, MSG_DONTWAIT | MSG_NOSIGNAL) : result;

    return result == 0 && put < 0 ? -errno : put;
}

int stream_read(struct stream *stream, void *to, size_t size, int64_t give_up_ms)
{
    uint8_t *at = to;

    while (size > 0) {
        ssize_t got = stream->tls ? tls_probe_read(stream->tls, at, size, give_up_ms)
                                  : read_plain(stream, at, size, give_up_ms);

        if (got == 0)
            return -ECONNRESET;
        if (got < 0 && got != -EAGAIN)
            return (int)got;
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
    return 0;
}

int stream_write(struct stream *stream, const void *from, size_t size, int64_t give_up_ms)
{
    const uint8_t *at = from;

    while (size > 0) {
        ssize_t put = stream->tls ? tls_probe_write(stream->tls, at, size, give_up_ms)
                                  : write_plain(stream, at, size, give_up_ms);

        if (put < 0 && put != -EAGAIN)
            return (int)put;
        if (put > 0) {
            at += put;
            size -= (size_t)put;
        }
    }
    return 0;
}

void stream_close(struct stream *stream)
{
    tls_probe_close(stream->tls);
    if (stream->fd >= 0)
        (void)close(stream->fd); /* nothing is lost with it */
    *stream = (struct stream){.fd = -1};
}
