/* SPDX-License-Identifier: MIT */
/*
 * net.c - a broker's address, and a TCP connection within a time
 */
#include "cli/doctor/net.h"

#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool has_scheme(const char *uri, const char *scheme)
{
    return strncmp(uri, scheme, strlen(scheme)) == 0;
}

void net_parse(const char *uri, struct net_place *ret)
{
    const char *scheme_end = strstr(uri, "://");
    const char *start = scheme_end ? scheme_end + 3 : uri;
    const char *colon = strrchr(start, ':');
    const char *end = colon;

    ret->is_tls = has_scheme(uri, "ssl://") || has_scheme(uri, "mqtts://");
    if (*start == '[') {
        end = strchr(++start, ']');
        if (colon && end && colon < end)
            colon = NULL;
    }
    if (!end)
        end = start + strcspn(start, "/");
    (void)snprintf(ret->host, sizeof(ret->host), "%.*s", (int)(end - start), start);
    (void)snprintf(ret->port, sizeof(ret->port), "%s",
                   colon         ? colon + 1
                   : ret->is_tls ? "8883"
                                 : "1883");
    ret->port[strspn(ret->port, "0123456789")] = '\0';
}

int64_t net_now_ms(void)
{
    return (int64_t)(clock_monotonic_us() / 1000);
}

void net_format(const struct addrinfo *address, char text[static NET_ADDRESS_MAX])
{
    char host[NET_ADDRESS_MAX - 16];
    char port[8];

    if (getnameinfo(address->ai_addr, address->ai_addrlen, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        (void)snprintf(text, NET_ADDRESS_MAX, "?");
    else if (address->ai_family == AF_INET6)
        (void)snprintf(text, NET_ADDRESS_MAX, "[%s]:%s", host, port);
    else
        (void)snprintf(text, NET_ADDRESS_MAX, "%s:%s", host, port);
}

int net_wait(int fd, short events, int64_t give_up_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    while (true) {
        int64_t left_ms = give_up_ms - net_now_ms();
        int count;

        if (left_ms <= 0)
            return -ETIMEDOUT;
        count = poll(&poll_fd, 1, left_ms < INT_MAX ? (int)left_ms : INT_MAX);
        if (count > 0)
            return 0;
        if (count < 0 && errno != EINTR)
            return -errno;
    }
}

int net_connect(const struct addrinfo *address, int64_t give_up_ms)
{
    AUTO_CLOSE int fd =
        socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    socklen_t size = sizeof(int);
    int error = 0;
    int result;

    if (fd < 0)
        return -errno;
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
        return -errno;
    result = net_wait(fd, POLLOUT, give_up_ms);
    if (result == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        result = -errno;
    if (result == 0)
        result = -error;
    return result == 0 ? cleanup_take_fd(&fd) : result;
}
