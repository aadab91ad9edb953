/* SPDX-License-Identifier: MIT */
/*
 * paho_link.c - faults of Paho MQTT C that are corrected at link time
 *
 * The default build links Paho's static archive and lets the linker redirect calls
 * of the functions below to this file (`--wrap`, see CMakeLists.txt). The comment of
 * each has the fault; docs/paho.md has upstream's issues, the proofs, the figures, and
 * the condition on which it can be removed.
 *
 * Invariant: no function here knows Paho's structures. Every object of the archive but
 * Heap.c calls its allocator through mymalloc, myrealloc and myfree, and Heap.c
 * allocates nothing for others; so all three are replaced or none, and no pointer
 * of one allocator is freed by the other.
 *
 * A build against the shared library cannot replace functions inside of it. For the
 * two faults that must not remain it has functions of libc's names: writev() against
 * the double free after a failed write, getaddrinfo() against the wait for a name
 * server. paho_link_limitations() has the rest.
 */
#include "daemon/uplink/paho/paho_link.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/thread.h"

/* The errno of the last attempt that the kernel refused; 0: none since it was taken. */
static atomic_int connect_error;

int paho_link_take_connect_error(void)
{
    return atomic_exchange(&connect_error, 0);
}

/* The host of the attempt, and its address. */
static struct {
    pthread_mutex_t mutex;
    char host[PAHO_LINK_HOST_MAX];
    char address[PAHO_LINK_ADDRESS_MAX];
} resolved = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void paho_link_set_address(const char *host, const char *address)
{
    (void)pthread_mutex_lock(&resolved.mutex);
    (void)snprintf(resolved.host, sizeof(resolved.host), "%s", host);
    (void)snprintf(resolved.address, sizeof(resolved.address), "%s", address);
    (void)pthread_mutex_unlock(&resolved.mutex);
}

static bool get_address(const char *host, char address[static PAHO_LINK_ADDRESS_MAX])
{
    (void)pthread_mutex_lock(&resolved.mutex);
    bool is_resolved = host && resolved.address[0] != '\0' && strcmp(host, resolved.host) == 0;
    if (is_resolved)
        memcpy(address, resolved.address, PAHO_LINK_ADDRESS_MAX);
    (void)pthread_mutex_unlock(&resolved.mutex);
    return is_resolved;
}

/* @hints for a numeric address: no name is looked up. */
static struct addrinfo numeric_only(const struct addrinfo *hints)
{
    struct addrinfo numeric = {.ai_flags = 0};

    if (hints)
        numeric = *hints;
    numeric.ai_flags |= AI_NUMERICHOST;
    return numeric;
}

#ifdef PAHO_LINK_SHARED

#include <dlfcn.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static bool is_internet_socket(int fd)
{
    int domain = 0;
    socklen_t size = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
           (domain == AF_INET || domain == AF_INET6);
}

/*
 * Replaces libc's writev() for the whole program. A hard error on a
 * broker's socket becomes EAGAIN: Paho then keeps the rest of the packet instead
 * of freeing it twice, and its reading side finds the same broken connection.
 */
ssize_t writev(int fd, const struct iovec *parts, int count)
{
    ssize_t written = syscall(SYS_writev, fd, parts, count);
    int error = errno;

    if (written < 0 && error != EAGAIN && error != EINTR && is_internet_socket(fd))
        error = EAGAIN;
    errno = error;
    return written;
}

typedef int getaddrinfo_fn(const char *host,
                           const char *service,
                           const struct addrinfo *hints,
                           struct addrinfo **ret_list);

static getaddrinfo_fn *find_libc_getaddrinfo(void)
{
    getaddrinfo_fn *found = NULL;

    *(void **)&found = dlsym(RTLD_NEXT, "getaddrinfo");
    return found;
}

int paho_link_getaddrinfo(const char *host,
                          const struct addrinfo *hints,
                          struct addrinfo **ret_list)
{
    getaddrinfo_fn *libc_getaddrinfo = find_libc_getaddrinfo();

    return libc_getaddrinfo ? libc_getaddrinfo(host, NULL, hints, ret_list) : EAI_FAIL;
}

/*
 * Replaces libc's getaddrinfo() for the whole program, hence also for a name service
 * module that looks up a server of its own: any name but the broker's is passed to libc.
 */
int getaddrinfo(const char *host,
                const char *service,
                const struct addrinfo *hints,
                struct addrinfo **ret_list)
{
    char address[PAHO_LINK_ADDRESS_MAX];
    struct addrinfo numeric = numeric_only(hints);
    getaddrinfo_fn *libc_getaddrinfo = find_libc_getaddrinfo();

    if (!libc_getaddrinfo)
        return EAI_FAIL;
    if (get_address(host, address))
        return libc_getaddrinfo(address, service, &numeric, ret_list);
    return libc_getaddrinfo(host, service, hints, ret_list);
}

const char *paho_link_limitations(void)
{
    return "linked to Paho's shared library: wake-ups may come up to 1 s late, heap tracking "
           "halves the speed, a failed write on a TLS connection may damage what is sent next";
}

int paho_link_start_threads(void)
{
    return 0;
}

/* The condition is inside the library. */
void paho_link_hold_wake(void) {}

void paho_link_release_wake(void) {}

#else

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Paho's TCPSOCKET_INTERRUPTED: the write is not complete yet. */
enum { PAHO_WRITE_PENDING = -22, PAHO_SOCKET_ERROR = -1 };
/* Types of packets. */
enum { PAHO_PUBACK = 4, PAHO_PUBREC, PAHO_PUBCOMP = 7, PAHO_SUBACK = 9, PAHO_UNSUBACK = 11 };

void *__wrap_mymalloc(char *file, int line, size_t size);
void *__wrap_myrealloc(char *file, int line, void *memory, size_t size);
void __wrap_myfree(char *file, int line, void *memory);
void __wrap_StackTrace_entry(const char *name, int line, int level);
void __wrap_StackTrace_exit(const char *name, int line, void *result, int level);
int __wrap_Thread_signal_cond(void *condition);
int __wrap_Thread_wait_cond(void *condition, int timeout_ms);
int __wrap_MQTTProtocol_startPublish(
    void *client, void *publish, int qos, int retained, void **message);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);

void __wrap_Thread_start(void *(*function)(void *), void *parameter);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_getaddrinfo(const char *host,
                       const char *service,
                       const struct addrinfo *hints,
                       struct addrinfo **ret_list);
void __wrap_MQTTAsync_NULLPublishCommands(void *client);
void *__wrap_MQTTPacket_Factory(int version, void *net, int *error);
int __wrap_MQTTPacket_send_publish(
    void *packet, int dup, int qos, int retained, void *net, const char *client);
int __wrap_MQTTPacket_send_pubrel(int version, int id, int dup, void *net, const char *client);

int __real_MQTTPacket_send_publish(
    void *packet, int dup, int qos, int retained, void *net, const char *client);
int __real_MQTTPacket_send_pubrel(int version, int id, int dup, void *net, const char *client);
void *__real_MQTTPacket_Factory(int version, void *net, int *error);
void MQTTPacket_freeSuback(void *packet);
void MQTTPacket_freeUnsuback(void *packet);
void MQTTPacket_free_packet(void *packet);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __real_getaddrinfo(const char *host,
                       const char *service,
                       const struct addrinfo *hints,
                       struct addrinfo **ret_list);
int __real_Thread_signal_cond(void *condition);
int __real_Thread_wait_cond(void *condition, int timeout_ms);
int __real_MQTTProtocol_startPublish(
    void *client, void *publish, int qos, int retained, void **message);
int __real_socket(int domain, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *address, socklen_t size);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);

/*
 * Heap tracking: each block is kept in a tree under one mutex. The tracker clears
 * what it allocates, and some of Paho's code relies on that (upstream #1543), so
 * this clears, too.
 */
void *__wrap_mymalloc(char *file, int line, size_t size)
{
    (void)file;
    (void)line;
    return calloc(1, size > 0 ? size : 1);
}

void *__wrap_myrealloc(char *file, int line, void *memory, size_t size)
{
    (void)file;
    (void)line;
    return realloc(memory, size > 0 ? size : 1);
}

void __wrap_myfree(char *file, int line, void *memory)
{
    (void)file;
    (void)line;
    free(memory);
}

/* Stack tracing: each entry and exit of a function searches a list for its thread. */
void __wrap_StackTrace_entry(const char *name, int line, int level)
{
    (void)name;
    (void)line;
    (void)level;
}

void __wrap_StackTrace_exit(const char *name, int line, void *result, int level)
{
    (void)name;
    (void)line;
    (void)result;
    (void)level;
}

/*
 * The lost wake-up: the send thread finds its queue empty and only then waits; a
 * signal between the two is lost and the command is delayed by up to 1 s. An eventfd
 * keeps the signal, so the wait that follows ends at once. The library has one such
 * condition, the send thread's; if there were more, the others would have spurious
 * wake-ups, which a condition allows. The wait uses the monotonic clock; Paho's own
 * uses the wall clock, and a step backwards prolongs it.
 *
 * wake_is_set saves the system call while a signal is pending. Order in the wait:
 * first empty the descriptor, then clear the flag. A signal in between is not
 * written, but its command is in the queue by then, which the caller checks next.
 */
static atomic_int wake_fd = -1;
static atomic_bool wake_is_set;

/*
 * A run of sends wakes the send thread once, at its end. Woken by the first one,
 * that thread contends with the loop for Paho's locks at each message, and both
 * spend their time going to sleep and being woken (docs/performance.md). Only for
 * the thread that holds: signals of Paho's own threads are not delayed.
 */
static _Thread_local bool wake_is_held;
static _Thread_local void *held_condition; /* signalled meanwhile; NULL: none was */

static int get_wake_fd(void)
{
    int fd = atomic_load(&wake_fd);
    int expected = -1;

    if (fd >= 0)
        return fd;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0 || atomic_compare_exchange_strong(&wake_fd, &expected, fd))
        return fd;
    (void)close(fd); /* the other thread was first */
    return expected;
}

int __wrap_Thread_signal_cond(void *condition)
{
    int fd = get_wake_fd();

    if (wake_is_held) {
        held_condition = condition;
        return 0;
    }
    if (fd < 0)
        return __real_Thread_signal_cond(condition);
    if (!atomic_exchange(&wake_is_set, true))
        (void)eventfd_write(fd,
                            1); /* fails only when the counter is full, and then it is set */
    return 0;
}

void paho_link_hold_wake(void)
{
    wake_is_held = true;
}

void paho_link_release_wake(void)
{
    void *condition = held_condition;

    wake_is_held = false;
    held_condition = NULL;
    if (condition)
        (void)__wrap_Thread_signal_cond(condition);
}

int __wrap_Thread_wait_cond(void *condition, int timeout_ms)
{
    struct pollfd wait = {.fd = get_wake_fd(), .events = POLLIN};
    eventfd_t count;

    if (wait.fd < 0)
        return __real_Thread_wait_cond(condition, timeout_ms);
    if (poll(&wait, 1, timeout_ms) <= 0)
        return ETIMEDOUT; /* or interrupted: the caller checks its queue and waits again */
    (void)eventfd_read(wait.fd, &count); /* one reader, so it cannot be empty */
    atomic_store(&wake_is_set, false);
    return 0;
}

/*
 * The double free: after a hard error while writing a PUBLISH of QoS 1 or 2 Paho
 * frees topic and payload although the stored publication still points at them
 * (upstream #1621, #1622, #1532). With "pending" it frees nothing; the reading side
 * finds the broken connection, closes it and frees everything once.
 */
int __wrap_MQTTProtocol_startPublish(
    void *client, void *publish, int qos, int retained, void **message)
{
    int rc = __real_MQTTProtocol_startPublish(client, publish, qos, retained, message);

    return rc == PAHO_SOCKET_ERROR && qos > 0 ? PAHO_WRITE_PENDING : rc;
}

/* Whether something of this QoS was sent on the connection that is open, for the first time or
 * again. */
static atomic_bool was_sent[3];

int __wrap_MQTTPacket_send_publish(
    void *packet, int dup, int qos, int retained, void *net, const char *client)
{
    if (qos >= 0 && qos < 3)
        atomic_store(&was_sent[qos], true);
    return __real_MQTTPacket_send_publish(packet, dup, qos, retained, net, client);
}

int __wrap_MQTTPacket_send_pubrel(int version, int id, int dup, void *net, const char *client)
{
    atomic_store(&was_sent[2], true);
    return __real_MQTTPacket_send_pubrel(version, id, dup, net, client);
}

static bool is_expected_answer(unsigned type)
{
    switch (type) {
    case PAHO_PUBACK:
        return atomic_load(&was_sent[1]);
    case PAHO_PUBREC:
    case PAHO_PUBCOMP:
        return atomic_load(&was_sent[2]);
    case PAHO_SUBACK:
    case PAHO_UNSUBACK:
        return false; /* nothing is ever subscribed to */
    default:
        return true;
    }
}

/*
 * The answer of the wrong type: Paho finds the command of an answer by its packet
 * id alone. A SUBACK, UNSUBACK or PUBCOMP with the id of a QoS 1 publish reports
 * that as delivered, and frees topic and payload, which the stored publication
 * frees again (upstream: none known). If no such answer can be due, the broker
 * violates the protocol: the connection ends, as after an error of its socket. The
 * structures of all packets begin with their first byte as it was received.
 */
void *__wrap_MQTTPacket_Factory(int version, void *net, int *error)
{
    void *packet = __real_MQTTPacket_Factory(version, net, error);
    unsigned type = packet ? *(const uint8_t *)packet >> 4 : 0;

    if (!packet || is_expected_answer(type))
        return packet;
    if (type == PAHO_SUBACK)
        MQTTPacket_freeSuback(packet);
    else if (type == PAHO_UNSUBACK)
        MQTTPacket_freeUnsuback(packet);
    else
        MQTTPacket_free_packet(packet);
    *error = PAHO_SOCKET_ERROR;
    return NULL;
}

/*
 * The leak at destroy: it sets the topics and payloads of queued commands to NULL,
 * which nothing else frees (upstream #1474, corrected in 1.3.14). It is called there only.
 */
void __wrap_MQTTAsync_NULLPublishCommands(void *client)
{
    (void)client;
}

/* The socket whose connection is under way, -1: none, and how many of its waits may still end
 * early. */
static atomic_int connecting_fd = -1;
static atomic_int early_ends;
/* Paho needs two: it finds the connection in the check before its next wait. */
#define EARLY_ENDS 4

/* The errno of a failure: Paho reports only "connect failure". Here it is mostly that no
 * descriptor is left. */
int __wrap_socket(int domain, int type, int protocol)
{
    int fd = __real_socket(domain, type, protocol);

    if (fd < 0 && (domain == AF_INET || domain == AF_INET6))
        atomic_store(&connect_error, errno);
    return fd;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    for (size_t i = 0; i < sizeof(was_sent) / sizeof(was_sent[0]); i++)
        atomic_store(&was_sent[i], false);
    int rc = __real_connect(fd, address, size);

    if (rc < 0 && errno == EINPROGRESS) {
        atomic_store(&early_ends, EARLY_ENDS);
        atomic_store(&connecting_fd, fd);
    } else if (rc < 0 && errno != EINTR) {
        atomic_store(&connect_error, errno);
    }
    return rc;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    int rc = __real_getsockopt(fd, level, name, value, size);

    if (rc == 0 && level == SOL_SOCKET && name == SO_ERROR && *(const int *)value != 0)
        atomic_store(&connect_error, *(const int *)value);
    if (level == SOL_SOCKET && name == SO_ERROR && atomic_load(&connecting_fd) == fd)
        atomic_store(&connecting_fd, -1);
    return rc;
}

/*
 * The late connection: Paho's receiving thread checks without a wait which sockets are
 * writable, and then waits up to 1 s for input, even if that check has just found the
 * connection established: so each connection takes up to 1 s (upstream: none known).
 * Here such a wait ends as soon as the connection is established or refused. The caller
 * gets only the events that it asked for; it checks again, and finds the connection.
 */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    int fd = timeout_ms != 0 ? atomic_load(&connecting_fd) : -1;
    struct pollfd *connecting = NULL;

    for (nfds_t i = 0; fd >= 0 && i < count && !connecting; i++) {
        if (fds[i].fd == fd && (fds[i].events & POLLOUT) == 0)
            connecting = &fds[i];
    }
    if (!connecting)
        return __real_poll(fds, count, timeout_ms);
    connecting->events |= POLLOUT;
    int rc = __real_poll(fds, count, timeout_ms);
    connecting->events = (short)(connecting->events & ~POLLOUT);
    if (rc <= 0 || (connecting->revents & POLLOUT) == 0)
        return rc;
    connecting->revents = (short)(connecting->revents & ~POLLOUT);
    if (atomic_fetch_sub(&early_ends, 1) <= 1)
        atomic_store(&connecting_fd, -1);
    return connecting->revents == 0 ? rc - 1 : rc;
}

/* Paho's own threads that could not be created. */
static struct {
    pthread_mutex_t mutex;
    size_t count;
    void *(*functions[2])(void *);
} missing_threads = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/*
 * The link that never comes up: Paho starts its two threads once, does not check
 * for an error, and takes them for started until the process ends (upstream: none
 * known). What could not be created is noted here and created at the next attempt.
 * Neither thread uses its parameter.
 */
void __wrap_Thread_start(void *(*function)(void *), void *parameter)
{
    if (thread_start_detached(function, parameter) == 0)
        return;
    (void)pthread_mutex_lock(&missing_threads.mutex);
    if (missing_threads.count <
        sizeof(missing_threads.functions) / sizeof(missing_threads.functions[0]))
        missing_threads.functions[missing_threads.count++] = function;
    (void)pthread_mutex_unlock(&missing_threads.mutex);
}

int paho_link_start_threads(void)
{
    int r = 0;

    (void)pthread_mutex_lock(&missing_threads.mutex);
    while (missing_threads.count > 0 && r == 0) {
        r = thread_start_detached(missing_threads.functions[missing_threads.count - 1], NULL);
        if (r == 0)
            missing_threads.count--;
    }
    (void)pthread_mutex_unlock(&missing_threads.mutex);
    return r;
}

int paho_link_getaddrinfo(const char *host,
                          const struct addrinfo *hints,
                          struct addrinfo **ret_list)
{
    return __real_getaddrinfo(host, NULL, hints, ret_list);
}

/*
 * The blocked loop: Paho calls the resolver on its sending thread with its mutex held,
 * for most of a minute if no name server answers, and the loop waits for that mutex
 * (upstream: none known). The uplink has looked the name up before and set its address
 * here. Any other name is not found.
 */
int __wrap_getaddrinfo(const char *host,
                       const char *service,
                       const struct addrinfo *hints,
                       struct addrinfo **ret_list)
{
    char address[PAHO_LINK_ADDRESS_MAX];
    struct addrinfo numeric = numeric_only(hints);

    return __real_getaddrinfo(get_address(host, address) ? address : host, service, &numeric,
                              ret_list);
}

const char *paho_link_limitations(void)
{
    return NULL;
}

#endif
