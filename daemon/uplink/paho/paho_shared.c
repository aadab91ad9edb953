/* SPDX-License-Identifier: MIT */
/*
 * paho_shared.c - what of the link seam a build against the shared library can have
 *
 * Such a build cannot replace functions inside of the library. For the two faults that must
 * not remain it has functions of libc's names: writev() against the double free after a failed
 * write, getaddrinfo() against the wait for a name server. paho_link_limitations() has the
 * rest.
 */
#include "daemon/uplink/paho/paho_link-private.h"

#include "daemon/uplink/paho/paho_handshake.h"
#include "daemon/uplink/paho/paho_words.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

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
    struct addrinfo numeric = paho_numeric_only(hints);
    getaddrinfo_fn *libc_getaddrinfo = find_libc_getaddrinfo();

    if (!libc_getaddrinfo)
        return EAI_FAIL;
    if (paho_get_address(host, address))
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

int paho_link_take_connect_error(void)
{
    return 0;
}

/* The sockets are inside the library, too. */
bool paho_link_get_traffic(struct paho_link_traffic *ret)
{
    (void)ret;
    return false;
}

bool paho_link_is_taken(uint16_t packet_id)
{
    (void)packet_id;
    return true;
}

bool paho_link_is_established(void)
{
    return false;
}

enum paho_link_end paho_link_get_end(void)
{
    return PAHO_LINK_END_UNKNOWN;
}

void paho_link_cut(void) {}

uint8_t paho_link_answer_code(void)
{
    return 0;
}

void paho_link_set_keepalive_ms(uint64_t interval_ms)
{
    (void)interval_ms;
}

bool paho_link_get_ping(struct paho_link_ping *ret)
{
    (void)ret;
    return false;
}

bool paho_link_has_more(void)
{
    return false;
}

void paho_link_set_before_wait(void (*fn)(void *userdata), void *userdata)
{
    (void)fn;
    (void)userdata;
}

const char *paho_link_violation(void)
{
    return NULL;
}

uint64_t paho_link_ignored_answers(void)
{
    return 0;
}

void paho_handshake_begin(enum paho_handshake_minimum minimum, const char *alpn)
{
    (void)minimum;
    (void)alpn;
}

bool paho_handshake_get_failure(struct paho_handshake_failure *ret)
{
    (void)ret;
    return false;
}

bool paho_handshake_is_complete(void)
{
    return false;
}

bool paho_handshake_is_replaced(void)
{
    return false;
}

void paho_words_take(struct paho_words *ret)
{
    *ret = (struct paho_words){.reason = ""};
}
