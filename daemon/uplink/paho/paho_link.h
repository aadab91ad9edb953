/* SPDX-License-Identifier: MIT */
/*
 * paho_link.h - the functions that the link seam adds to Paho MQTT C
 *
 * The seam replaces some functions of the library when the daemon is linked, see
 * paho_link.c. What the uplink has to set or to read of it is here. It knows nothing
 * of the uplink.
 *
 * Thread: any, unless a function says otherwise.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_LINK_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_LINK_H

#include "base/attr.h"

/* A host name of a broker's URI. */
#define PAHO_LINK_HOST_MAX 256
/* An IPv6 address with the name of an interface behind it. */
#define PAHO_LINK_ADDRESS_MAX 64

struct addrinfo;

/* Until released, sends of the calling thread do not wake the library's send thread. */
void paho_link_hold_wake(void);
void paho_link_release_wake(void);
/* libc's getaddrinfo(), which may take a minute; Paho's own calls do not reach it. */
int paho_link_getaddrinfo(const char *host,
                          const struct addrinfo *hints,
                          struct addrinfo **ret_list);
/* Creates those threads of Paho's that could not be created when it needed them. Return: 0: it
 * has all; negative errno. */
MUST_CHECK int paho_link_start_threads(void);
/* The only name that resolves for Paho from now on, and its address. Both are copied. */
void paho_link_set_address(const char *host, const char *address);
/* The errno of the last connection that the kernel refused since the last call; 0: none. */
int paho_link_take_connect_error(void);
/* What does not work with this build's way of linking Paho, for the log; NULL: nothing. */
const char *paho_link_limitations(void);

#endif
