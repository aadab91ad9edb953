/* SPDX-License-Identifier: MIT */
/*
 * paho_socket.c - connecting: errors that Paho drops, names
 *
 * Invariant: what Paho gets back is what the kernel answered.
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>

int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __wrap___getsockopt64(int fd, int level, int name, void *value, socklen_t *size);
int __wrap_getaddrinfo(const char *host,
                       const char *service,
                       const struct addrinfo *hints,
                       struct addrinfo **ret_list);

int __real_socket(int domain, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *address, socklen_t size);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
int __real_getaddrinfo(const char *host,
                       const char *service,
                       const struct addrinfo *hints,
                       struct addrinfo **ret_list);

/* The errno of the last attempt that the kernel refused; 0: none since it was taken. */
static atomic_int connect_error;

int paho_link_take_connect_error(void)
{
    return atomic_exchange(&connect_error, 0);
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
    if (address->sa_family == AF_INET || address->sa_family == AF_INET6)
        paho_stream_begin(fd);
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

/* So the call is named where times have 64 bits on a processor of 32. An option with a time
 * would not be converted; the library asks for none. */
int __wrap___getsockopt64(int fd, int level, int name, void *value, socklen_t *size)
{
    return __wrap_getsockopt(fd, level, name, value, size);
}

int paho_socket_connecting(void)
{
    return atomic_load(&connecting_fd);
}

void paho_socket_note_early_end(void)
{
    if (atomic_fetch_sub(&early_ends, 1) <= 1)
        atomic_store(&connecting_fd, -1);
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
    struct addrinfo numeric = paho_numeric_only(hints);

    return __real_getaddrinfo(paho_get_address(host, address) ? address : host, service,
                              &numeric, ret_list);
}
