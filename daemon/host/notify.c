/* SPDX-License-Identifier: MIT */
/*
 * notify.c - messages to the service manager ($NOTIFY_SOCKET), without waiting
 *
 * sd_notify() of libsystemd is not used: it sends without MSG_DONTWAIT, so it
 * waits for as long as the manager does not read, and blocks the loop. The
 * protocol is documented in sd_notify(3) and covered by systemd's interface
 * stability promise: a datagram to a Unix socket, a path or, led by "@", an
 * abstract name. Sockets of other kinds (vsock) are for the manager of a
 * virtual machine and are not used here.
 */
#include "daemon/host/notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"

/* Return: the size of the address; 0: there is no manager, or none of a supported kind. */
static socklen_t notify_address(struct sockaddr_un *ret)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t size = name ? strlen(name) : 0;

    if (size < 2 || size >= sizeof(ret->sun_path) || (name[0] != '/' && name[0] != '@'))
        return 0;
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret->sun_path, name, size);
    if (name[0] == '@')
        ret->sun_path[0] = '\0';
    else
        size++; /* the NUL at the end of a path */
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
}

int notify_send(const char *text)
{
    struct sockaddr_un address;
    socklen_t address_size = notify_address(&address);

    if (address_size == 0)
        return 0;
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    while (sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
                  (struct sockaddr *)&address, address_size) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}
