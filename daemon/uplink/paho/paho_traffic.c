/* SPDX-License-Identifier: MIT */
/*
 * paho_traffic.c - how many bytes the broker's TCP has taken, and how the connection ended
 *
 * The kernel knows what the peer has acknowledged. Paho does not ask: to it a connection that
 * carries a large message slowly looks like one that carries nothing.
 *
 * Invariant: taken and written count from the same point, the first packet of the connection,
 * in bytes on the wire: so what is written up to some point is taken when taken reaches that
 * point.
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "daemon/uplink/paho/wire_marks.h"

/* States of TCP, as in the kernel's tcp_states.h. */
enum { STATE_ESTABLISHED = 1, STATE_CLOSE = 7, STATE_CLOSE_WAIT = 8, STATE_LAST_ACK = 9 };
/* While the peer acknowledges, what it has taken and what it has not do not fit together. */
#define BASE_TRIES 8

int __real_shutdown(int fd, int how);

/* The newest connection. */
static struct {
    pthread_mutex_t mutex;
    atomic_int fd; /* -1: none is open */
    atomic_uint number;
    bool has_base;
    uint64_t base;    /* of the kernel's counter, when nothing was written */
    uint64_t written; /* on the wire */
    uint64_t packets; /* with TLS: bytes of packets that are on the wire */
    bool is_tls;
    struct wire_marks marks;
    atomic_bool has_failed;        /* a write did: what is written last is not whole */
    struct paho_link_traffic last; /* when it was closed */
    enum paho_link_end end;
} line = {.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

void paho_traffic_begin(int fd)
{
    (void)pthread_mutex_lock(&line.mutex);
    atomic_store(&line.fd, fd);
    atomic_fetch_add(&line.number, 1);
    line.has_base = false;
    line.written = line.packets = 0;
    line.is_tls = false;
    line.marks = (struct wire_marks){.count = 0};
    line.has_failed = false;
    line.last = (struct paho_link_traffic){.taken = 0};
    line.end = PAHO_LINK_OPEN;
    (void)pthread_mutex_unlock(&line.mutex);
}

unsigned paho_traffic_connection(void)
{
    return atomic_load(&line.number);
}

int paho_traffic_fd(void)
{
    return atomic_load(&line.fd);
}

uint64_t paho_traffic_written(void)
{
    (void)pthread_mutex_lock(&line.mutex);
    uint64_t written = line.has_failed ? UINT64_MAX : line.written;
    (void)pthread_mutex_unlock(&line.mutex);
    return written;
}

bool paho_traffic_has_failed(void)
{
    return atomic_load(&line.has_failed);
}

/* Return: does this kernel know it? Linux does from 4.1 on. */
static bool read_info(int fd, struct tcp_info *info)
{
    socklen_t size = sizeof(*info);

    memset(info, 0, sizeof(*info));
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0 &&
           size >= offsetof(struct tcp_info, tcpi_bytes_received) +
                       sizeof(info->tcpi_bytes_received);
}

/* The mutex is held. @written: before the first packet; the handshake of TLS. */
static void find_base(int fd, uint64_t written)
{
    struct tcp_info before, after = {.tcpi_bytes_acked = 0};
    int queued = 0;

    if (line.has_base)
        return;
    for (unsigned i = 0; i < BASE_TRIES && !line.has_base; i++) {
        if (!read_info(fd, &before) || ioctl(fd, SIOCOUTQ, &queued) < 0 ||
            !read_info(fd, &after))
            return;
        line.has_base = before.tcpi_bytes_acked == after.tcpi_bytes_acked;
    }
    line.base = (uint64_t)after.tcpi_bytes_acked + (uint64_t)queued - written;
}

void paho_traffic_before_write(int fd, uint64_t wire)
{
    (void)pthread_mutex_lock(&line.mutex);
    if (line.written == 0)
        find_base(fd, wire);
    (void)pthread_mutex_unlock(&line.mutex);
}

void paho_traffic_after_write(ssize_t n)
{
    (void)pthread_mutex_lock(&line.mutex);
    if (n > 0)
        line.written += (uint64_t)n;
    else if (n < 0 && n != -EAGAIN && n != -EINTR)
        line.has_failed = true;
    (void)pthread_mutex_unlock(&line.mutex);
}

void paho_traffic_use_tls(void)
{
    (void)pthread_mutex_lock(&line.mutex);
    line.is_tls = true;
    (void)pthread_mutex_unlock(&line.mutex);
}

void paho_traffic_after_tls(ssize_t n, uint64_t wire)
{
    (void)pthread_mutex_lock(&line.mutex);
    line.written = wire;
    if (n > 0) {
        line.packets += (uint64_t)n;
        wire_marks_add(&line.marks, line.packets, wire);
    }
    line.has_failed = line.has_failed || (n < 0 && n != -EAGAIN);
    (void)pthread_mutex_unlock(&line.mutex);
}

uint64_t paho_traffic_wire_end(uint64_t position)
{
    (void)pthread_mutex_lock(&line.mutex);
    uint64_t wire = line.is_tls ? wire_marks_find(&line.marks, position) : position;
    (void)pthread_mutex_unlock(&line.mutex);
    return wire;
}

static struct paho_link_traffic traffic_of(int fd, const struct tcp_info *info)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};

    return (struct paho_link_traffic){
        .taken = info->tcpi_bytes_acked > line.base ? info->tcpi_bytes_acked - line.base : 0,
        .received = info->tcpi_bytes_received,
        .is_blocked = poll(&room, 1, 0) == 0,
    };
}

bool paho_link_get_traffic(struct paho_link_traffic *ret)
{
    struct tcp_info info;
    int fd;

    (void)pthread_mutex_lock(&line.mutex);
    fd = atomic_load(&line.fd);
    bool is_known = line.has_base;
    *ret = line.last;
    if (is_known && fd >= 0) {
        is_known = read_info(fd, &info);
        if (is_known)
            *ret = traffic_of(fd, &info);
    }
    (void)pthread_mutex_unlock(&line.mutex);
    return is_known;
}

bool paho_link_is_established(void)
{
    struct tcp_info info;

    (void)pthread_mutex_lock(&line.mutex);
    int fd = atomic_load(&line.fd);
    bool is_established =
        fd >= 0 && read_info(fd, &info) && info.tcpi_state == STATE_ESTABLISHED;
    (void)pthread_mutex_unlock(&line.mutex);
    return is_established;
}

enum paho_link_end paho_link_get_end(void)
{
    (void)pthread_mutex_lock(&line.mutex);
    enum paho_link_end end = line.end;
    (void)pthread_mutex_unlock(&line.mutex);
    return end;
}

/* A peer that reads and resets at once has acknowledged nothing of what it read. */
static uint64_t sent_of(const struct tcp_info *info)
{
    return line.written > info->tcpi_notsent_bytes ? line.written - info->tcpi_notsent_bytes
                                                   : 0;
}

static enum paho_link_end end_of(const struct tcp_info *info)
{
    switch (info->tcpi_state) {
    case STATE_CLOSE_WAIT:
    case STATE_LAST_ACK:
        return PAHO_LINK_CLOSED_BY_PEER;
    case STATE_CLOSE:
        /* Reset by the peer, or by this kernel because it had sent again and again. */
        return info->tcpi_retransmits > 0 || info->tcpi_probes > 0 ? PAHO_LINK_CUT
                                                                   : PAHO_LINK_CLOSED_BY_PEER;
    default:
        return PAHO_LINK_CLOSED_BY_US;
    }
}

void paho_traffic_end(int fd)
{
    struct tcp_info info;

    (void)pthread_mutex_lock(&line.mutex);
    bool is_known = read_info(fd, &info);
    line.end = is_known ? end_of(&info) : PAHO_LINK_END_UNKNOWN;
    if (is_known && line.has_base)
        line.last = traffic_of(fd, &info);
    if (is_known && line.end == PAHO_LINK_CLOSED_BY_PEER && info.tcpi_state == STATE_CLOSE)
        line.last.taken = sent_of(&info);
    atomic_store(&line.fd, -1);
    (void)pthread_mutex_unlock(&line.mutex);
}

/* It cannot be closed while the mutex is held. */
void paho_link_cut(void)
{
    (void)pthread_mutex_lock(&line.mutex);
    int fd = atomic_load(&line.fd);

    if (fd >= 0)
        (void)__real_shutdown(fd, SHUT_RDWR);
    (void)pthread_mutex_unlock(&line.mutex);
}
