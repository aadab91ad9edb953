/* SPDX-License-Identifier: MIT */
/*
 * paho_keepalive.c - when PINGREQ is sent
 *
 * Paho's own keep-alive has two faults (upstream: none known). A PINGREQ that has to wait for a
 * write is noted and never sent, nor is any other on that connection, if something was received
 * meanwhile: so a broker that goes silent later is never noticed. And a PINGREQ behind a large
 * message on a slow line ends the connection, although the broker takes what it is sent.
 *
 * Here PINGREQ is sent as Paho sends it, and as soon as nothing waits to be written. Whether
 * the answer is late is for the uplink to judge, which knows what the broker takes meanwhile.
 *
 * Invariant: the library's mutex is held in all functions but paho_link_*().
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include <pthread.h>

#include "base/clock.h"

/* It is called with the time, which is not taken: on 32 bits the library has its own size. */
void __wrap_MQTTProtocol_keepalive(void);
int MQTTPacket_send_pingreq(void *net, const char *client);
int Socket_noPendingWrites(int fd);

static struct {
    pthread_mutex_t mutex;
    uint64_t interval_ms; /* 0: none is sent */
    void *net;            /* Paho's, of the newest connection; NULL: it has no CONNACK yet */
    unsigned connection;
    uint64_t written;
    uint64_t received;
    int64_t written_ms;
    int64_t received_ms;
    bool is_outstanding;
    struct paho_link_ping ping;
} keepalive = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int64_t now_ms(void)
{
    return (int64_t)(clock_boot_us() / 1000);
}

void paho_link_set_keepalive_ms(uint64_t interval_ms)
{
    (void)pthread_mutex_lock(&keepalive.mutex);
    keepalive.interval_ms = interval_ms;
    (void)pthread_mutex_unlock(&keepalive.mutex);
}

bool paho_link_get_ping(struct paho_link_ping *ret)
{
    (void)pthread_mutex_lock(&keepalive.mutex);
    bool is_outstanding = keepalive.is_outstanding;
    *ret = keepalive.ping;
    (void)pthread_mutex_unlock(&keepalive.mutex);
    return is_outstanding;
}

void paho_keepalive_begin(void *net)
{
    (void)pthread_mutex_lock(&keepalive.mutex);
    keepalive.net = net;
    keepalive.connection = paho_traffic_connection();
    keepalive.written = keepalive.received = 0;
    keepalive.written_ms = keepalive.received_ms = now_ms();
    keepalive.is_outstanding = false;
    (void)pthread_mutex_unlock(&keepalive.mutex);
}

void paho_keepalive_answered(void)
{
    (void)pthread_mutex_lock(&keepalive.mutex);
    keepalive.is_outstanding = false;
    (void)pthread_mutex_unlock(&keepalive.mutex);
}

static void note_traffic(void)
{
    struct paho_link_traffic traffic;
    uint64_t written = paho_traffic_written();

    if (written != keepalive.written)
        keepalive.written_ms = now_ms();
    keepalive.written = written;
    if (!paho_link_get_traffic(&traffic))
        return;
    if (traffic.received != keepalive.received)
        keepalive.received_ms = now_ms();
    keepalive.received = traffic.received;
}

static bool is_due(void)
{
    int64_t latest_ms = now_ms() - (int64_t)keepalive.interval_ms;

    return keepalive.interval_ms > 0 &&
           (keepalive.written_ms <= latest_ms || keepalive.received_ms <= latest_ms);
}

/* An error of the write is found by the reading side, too. */
static void send_ping(int fd)
{
    if (keepalive.ping.is_sent || !Socket_noPendingWrites(fd) || !paho_stream_flush())
        return;
    keepalive.ping.is_sent = true;
    if (MQTTPacket_send_pingreq(keepalive.net, "") == 0)
        keepalive.ping.end = paho_traffic_written();
}

/* Called by the receiving thread some ten times in an interval. */
void __wrap_MQTTProtocol_keepalive(void)
{
    int fd = paho_traffic_fd();

    (void)pthread_mutex_lock(&keepalive.mutex);
    if (fd >= 0 && keepalive.net && keepalive.connection == paho_traffic_connection()) {
        note_traffic();
        if (!keepalive.is_outstanding && is_due()) {
            keepalive.is_outstanding = true;
            keepalive.ping =
                (struct paho_link_ping){.since_boot_ms = now_ms(), .end = UINT64_MAX};
        }
        if (keepalive.is_outstanding)
            send_ping(fd);
    }
    (void)pthread_mutex_unlock(&keepalive.mutex);
}
