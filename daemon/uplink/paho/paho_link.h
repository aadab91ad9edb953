/* SPDX-License-Identifier: MIT */
/*
 * paho_link.h - what the uplink asks of the seam to Paho MQTT C
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_LINK_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_LINK_H

#include "base/cleanup.h"

/* A host name as it stands in a broker's URI. */
#define PAHO_LINK_HOST_MAX 256
/* An IPv6 address with the name of an interface behind it. */
#define PAHO_LINK_ADDRESS_MAX 64

struct addrinfo;

/* The send thread is not woken until released; the calling thread's sends only. */
void paho_link_hold_wake(void);
void paho_link_release_wake(void);
/* getaddrinfo() itself, which may take a minute; Paho's calls do not reach it. Any thread. */
int paho_link_getaddrinfo(const char *host,
                          const struct addrinfo *hints,
                          struct addrinfo **ret_list);
/* Makes those threads of Paho's that could not be made when it asked for them. Return: 0: it
 * has all; negative errno. */
MUST_CHECK int paho_link_start_threads(void);
/* What Paho hears from now on when it asks for @host; nothing for any other name. */
void paho_link_set_address(const char *host, const char *address);
/* Why the kernel refused the last connection, an errno; 0: it did not. */
int paho_link_take_connect_error(void);
/* What this build's way of linking Paho lacks, for the log at start; NULL: nothing. */
const char *paho_link_limitations(void);

#endif
