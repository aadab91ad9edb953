/* SPDX-License-Identifier: MIT */
/*
 * paho_wait.c - waits of Paho's receiving thread
 *
 * Invariant: a wait for input ends at once while there is input for Paho that was read already,
 * and after LOW_WATER_MS if the kernel has some. The owner is called before each wait.
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>

/* A PUBACK without properties. */
#define ANSWER_BYTES 4
/* Fewer answers are not waited for together, and none for longer. */
#define LOW_WATER_FROM 16u
#define LOW_WATER_MS   2

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_SSLSocket_getPendingRead(void);

int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __real_SSLSocket_getPendingRead(void);

static struct {
    pthread_mutex_t mutex;
    void (*fn)(void *userdata); /* NULL: none */
    void *userdata;
} before_wait = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void paho_link_set_before_wait(void (*fn)(void *userdata), void *userdata)
{
    (void)pthread_mutex_lock(&before_wait.mutex);
    before_wait.fn = fn;
    before_wait.userdata = userdata;
    (void)pthread_mutex_unlock(&before_wait.mutex);
}

static void call_before_wait(void)
{
    (void)pthread_mutex_lock(&before_wait.mutex);
    if (before_wait.fn)
        before_wait.fn(before_wait.userdata);
    (void)pthread_mutex_unlock(&before_wait.mutex);
}

/* Return: the one of @fds that waits for input of @fd, and for nothing else; NULL: none. */
static struct pollfd *find_input(struct pollfd *fds, nfds_t count, int fd)
{
    for (nfds_t i = 0; fd >= 0 && i < count; i++) {
        if (fds[i].fd == fd && (fds[i].events & POLLOUT) == 0)
            return &fds[i];
    }
    return NULL;
}

/*
 * The late connection: Paho's receiving thread checks without a wait which sockets are
 * writable, and then waits up to 1 s for input, even if that check has just found the
 * connection established: so each connection takes up to 1 s (upstream: none known).
 * Here such a wait ends as soon as the connection is established or refused. The caller
 * gets only the events that it asked for; it checks again, and finds the connection.
 */
static int
wait_for_connection(struct pollfd *fds, nfds_t count, int timeout_ms, struct pollfd *connecting)
{
    connecting->events |= POLLOUT;
    int rc = __real_poll(fds, count, timeout_ms);
    connecting->events = (short)(connecting->events & ~POLLOUT);
    if (rc <= 0 || (connecting->revents & POLLOUT) == 0)
        return rc;
    connecting->revents = (short)(connecting->revents & ~POLLOUT);
    paho_socket_note_early_end();
    return connecting->revents == 0 ? rc - 1 : rc;
}

/* What was read already can be read, too. */
static int poll_with_input(struct pollfd *fds, nfds_t count, struct pollfd *input)
{
    int rc = __real_poll(fds, count, 0);

    if (rc < 0)
        return rc;
    if (input->revents == 0)
        rc++;
    input->revents |= POLLIN;
    return rc;
}

/* What the kernel waits for on the connection of this thread's last wait. */
static _Thread_local struct {
    unsigned connection;
    int bytes;
} low_water;

static void set_low_water(int fd, int bytes)
{
    if (low_water.connection != paho_traffic_connection()) {
        low_water.connection = paho_traffic_connection();
        low_water.bytes = 1;
    }
    if (low_water.bytes == bytes)
        return;
    low_water.bytes = bytes;
    /* Without it the wait ends at the first byte. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

/* An eighth to a quarter of the answers: the broker has more to do meanwhile. */
static int wanted_bytes(void)
{
    unsigned awaited = paho_packet_awaited();
    unsigned answers = LOW_WATER_FROM / 4;

    if (awaited < LOW_WATER_FROM || !paho_stream_reads_ahead())
        return 1;
    while (answers * 8 <= awaited)
        answers *= 2;
    return (int)answers * ANSWER_BYTES;
}

/*
 * A broker that answers each message by itself would wake this thread, and then the loop, for
 * each. If many answers are due, it sleeps until some of them are here, or for 2 ms.
 */
static int wait_for_answers(struct pollfd *fds, nfds_t count, int timeout_ms, int fd)
{
    set_low_water(fd, wanted_bytes());
    if (low_water.bytes > 1 && (timeout_ms < 0 || timeout_ms > LOW_WATER_MS)) {
        int rc = __real_poll(fds, count, LOW_WATER_MS);

        if (rc != 0)
            return rc;
        set_low_water(fd, 1);
    }
    return __real_poll(fds, count, timeout_ms);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (timeout_ms == 0)
        return __real_poll(fds, count, timeout_ms);
    struct pollfd *connecting = find_input(fds, count, paho_socket_connecting());
    if (connecting)
        return wait_for_connection(fds, count, timeout_ms, connecting);
    struct pollfd *input = find_input(fds, count, paho_traffic_fd());
    if (input && paho_stream_has_input())
        return poll_with_input(fds, count, input);
    return input ? wait_for_answers(fds, count, timeout_ms, input->fd)
                 : __real_poll(fds, count, timeout_ms);
}

/*
 * Called before each wait for input: with a descriptor Paho reads a packet without a wait. Not
 * while the rest of a write waits: Paho may have to answer the packet, and takes a second write
 * for an error of the connection.
 */
int __wrap_SSLSocket_getPendingRead(void)
{
    int fd = paho_traffic_fd();

    if (fd >= 0 && paho_stream_has_input() && !paho_stream_has_pending_write())
        return fd;
    call_before_wait();
    return __real_SSLSocket_getPendingRead();
}
