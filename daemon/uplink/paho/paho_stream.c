/* SPDX-License-Identifier: MIT */
/*
 * paho_stream.c - the connection's bytes in few system calls
 *
 * Paho reads each packet by three calls and writes it by one, and each call costs more than all
 * else that is done for a message. Here input is read in large parts. PUBLISH of QoS 1 and 2
 * are gathered as long as Paho's sending thread has more of them, and written together: their
 * success is the answer, not the write. All else is written when Paho writes it, behind what
 * was gathered: so QoS 0 counts as written when the kernel has it.
 *
 * Only the connection that Paho made last is changed; with TLS its bytes go through OpenSSL
 * (paho_tls.c). What the kernel does not take waits here, and is written as soon as it takes
 * more. If there is no room, Paho's write is not complete, as if the kernel were full.
 *
 * Invariant: the broker gets what Paho wrote, in that order; Paho gets what the broker sent,
 * and an error or the end of the connection behind it. What is gathered is written before
 * Paho's sending thread waits.
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "daemon/uplink/paho/in_buffer.h"
#include "daemon/uplink/paho/out_buffer.h"

/* So much is written before more is gathered: the kernel sends while Paho gathers. */
#define GATHER_BYTES ((size_t)16 << 10)

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
int __wrap_shutdown(int fd, int how);

ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __real_writev(int fd, const struct iovec *parts, int count);
int __real_shutdown(int fd, int how);

/* The mutexes are taken in this order; the connection changes with both held. */
static struct {
    pthread_mutex_t in_mutex;
    pthread_mutex_t out_mutex;
    atomic_bool is_pending; /* Paho keeps the rest of its last write */
    atomic_bool reads_ahead;
    int fd;            /* for a connection without TLS */
    uint64_t position; /* how much Paho has written */
    struct in_source source;
    struct out_sink sink;
    struct in_buffer in;
    struct out_buffer out;
} stream = {.in_mutex = PTHREAD_MUTEX_INITIALIZER, .out_mutex = PTHREAD_MUTEX_INITIALIZER};

/* This thread flushes before it waits; and what it writes now may wait until then. */
static _Thread_local bool is_flusher;
static _Thread_local bool is_gathering;

static void stream_lock(void)
{
    (void)pthread_mutex_lock(&stream.in_mutex);
    (void)pthread_mutex_lock(&stream.out_mutex);
}

static void stream_unlock(void)
{
    (void)pthread_mutex_unlock(&stream.out_mutex);
    (void)pthread_mutex_unlock(&stream.in_mutex);
}

static bool is_stream(int fd)
{
    return fd >= 0 && fd == paho_traffic_fd();
}

/* --- what is written --------------------------------------------------------- */

/* out_mutex is held. Paho's reading side finds the connection broken, as if it had written. */
static int flush(void)
{
    int r = out_buffer_flush(&stream.out, &stream.sink);

    if (r < 0 && r != -EAGAIN)
        (void)__real_shutdown(paho_traffic_fd(), SHUT_RDWR);
    return r;
}

static ssize_t write_through(const struct paho_packet *packet)
{
    int r = flush();

    return r < 0 ? r : packet->write(packet);
}

static ssize_t gather(const struct paho_packet *packet)
{
    if (paho_traffic_has_failed())
        return -EPIPE;
    if (!out_buffer_add(&stream.out, packet->parts, packet->count))
        return write_through(packet);
    int r = stream.out.added >= GATHER_BYTES ? flush() : 0;
    return r < 0 && r != -EAGAIN ? r : (ssize_t)out_buffer_sum(packet->parts, packet->count);
}

/* A write that failed is not continued. */
static bool is_partial(ssize_t n, const struct paho_packet *packet)
{
    return n == -EAGAIN || (n >= 0 && (size_t)n < out_buffer_sum(packet->parts, packet->count));
}

ssize_t paho_stream_write(const struct paho_packet *packet)
{
    (void)pthread_mutex_lock(&stream.out_mutex);
    ssize_t n = is_flusher && is_gathering ? gather(packet) : write_through(packet);
    stream.position += n > 0 ? (uint64_t)n : 0;
    atomic_store(&stream.is_pending, is_partial(n, packet));
    (void)pthread_mutex_unlock(&stream.out_mutex);
    return n;
}

void paho_stream_gather(bool is_on)
{
    is_gathering = is_on;
}

bool paho_stream_flush(void)
{
    (void)pthread_mutex_lock(&stream.out_mutex);
    int r = out_buffer_size(&stream.out) > 0 ? flush() : 0;
    (void)pthread_mutex_unlock(&stream.out_mutex);
    return r == 0;
}

int paho_stream_flush_before_wait(void)
{
    is_flusher = true;
    return paho_stream_flush() ? -1 : paho_traffic_fd();
}

bool paho_stream_has_pending_write(void)
{
    return atomic_load(&stream.is_pending);
}

uint64_t paho_stream_position(void)
{
    (void)pthread_mutex_lock(&stream.out_mutex);
    uint64_t position = paho_traffic_has_failed() ? UINT64_MAX : stream.position;
    (void)pthread_mutex_unlock(&stream.out_mutex);
    return position;
}

/* --- what is read ------------------------------------------------------------ */

ssize_t paho_stream_read(uint8_t *data, size_t size)
{
    (void)pthread_mutex_lock(&stream.in_mutex);
    atomic_store(&stream.reads_ahead, true);
    ssize_t n = in_buffer_read(&stream.in, &stream.source, data, size);
    (void)pthread_mutex_unlock(&stream.in_mutex);
    return n;
}

bool paho_stream_has_input(void)
{
    (void)pthread_mutex_lock(&stream.in_mutex);
    bool has_input = in_buffer_has_input(&stream.in);
    (void)pthread_mutex_unlock(&stream.in_mutex);
    return has_input;
}

bool paho_stream_reads_ahead(void)
{
    return atomic_load(&stream.reads_ahead);
}

/* --- without TLS: system calls ----------------------------------------------- */

static ssize_t write_socket(void *userdata, const uint8_t *data, size_t size)
{
    int fd = *(const int *)userdata;
    ssize_t n;

    paho_traffic_before_write(fd, 0);
    do {
        n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        n = -errno;
    paho_traffic_after_write(n);
    return n;
}

static ssize_t write_parts(const struct paho_packet *packet)
{
    paho_traffic_before_write(stream.fd, 0);
    ssize_t n = __real_writev(stream.fd, packet->parts, packet->count);
    if (n < 0)
        n = -errno;
    paho_traffic_after_write(n);
    return n;
}

static ssize_t read_socket(void *userdata, uint8_t *data, size_t size)
{
    ssize_t n = __real_recv(*(const int *)userdata, data, size, 0);

    return n < 0 ? -errno : n;
}

/* Return: as a function of libc. */
static ssize_t as_libc(ssize_t n)
{
    if (n >= 0)
        return n;
    errno = (int)-n;
    return -1;
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
    const struct paho_packet packet = {.parts = parts, .count = count, .write = write_parts};

    return is_stream(fd) ? as_libc(paho_stream_write(&packet))
                         : __real_writev(fd, parts, count);
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    return is_stream(fd) && size > 0 && flags == 0 ? as_libc(paho_stream_read(data, size))
                                                   : __real_recv(fd, data, size, flags);
}

/* --- begin and end ----------------------------------------------------------- */

static void stream_clear(void)
{
    in_buffer_clear(&stream.in);
    out_buffer_clear(&stream.out);
    atomic_store(&stream.is_pending, false);
    atomic_store(&stream.reads_ahead, false);
}

void paho_stream_begin(int fd)
{
    stream_lock();
    stream_clear();
    stream.fd = fd;
    stream.position = 0;
    stream.source = (struct in_source){.read = read_socket, .userdata = &stream.fd};
    stream.sink = (struct out_sink){
        .write = write_socket, .piece_max = OUT_BUFFER_BYTES, .userdata = &stream.fd};
    paho_traffic_begin(fd);
    stream_unlock();
}

void paho_stream_use(const struct in_source *source, const struct out_sink *sink)
{
    stream_lock();
    stream.source = *source;
    stream.sink = *sink;
    stream_unlock();
}

void paho_stream_close(void)
{
    stream_lock();
    (void)flush();
    stream_clear();
    stream_unlock();
}

/* Paho's way to close; of its calls only this one has the connection still open. */
int __wrap_shutdown(int fd, int how)
{
    if (is_stream(fd)) {
        paho_stream_close();
        paho_traffic_end(fd);
    }
    return __real_shutdown(fd, how);
}
