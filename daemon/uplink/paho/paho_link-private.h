/* SPDX-License-Identifier: MIT */
/*
 * paho_link-private.h - what the files of the link seam share
 *
 *   open_ids.c      packet ids that await an answer
 *   paho_resolve.c  the address behind the broker's host name
 *   paho_traffic.c  bytes that the peer took, and how the connection ended
 *   paho_socket.c   connecting: errors of the kernel, waits
 *   paho_tls.c      certificates for an address; bytes written through OpenSSL
 *   paho_keepalive.c  when PINGREQ is sent
 *   paho_packet.c   which packets of the broker reach Paho, and the writes of messages
 *   paho_link.c     allocator, wake-ups, threads
 *   paho_shared.c   all of it that a build against the shared library can have
 *
 * Each calls only those above it.
 */
#ifndef MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_LINK_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_UPLINK_PAHO_PAHO_LINK_PRIVATE_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/uplink/paho/paho_link.h"

/* Paho's TCPSOCKET_INTERRUPTED: not complete yet; and its SOCKET_ERROR. */
enum { PAHO_PENDING = -22, PAHO_SOCKET_ERROR = -1 };

/* paho_resolve.c */
/* Return: is @host the one whose address was set? */
bool paho_get_address(const char *host, char address[static PAHO_LINK_ADDRESS_MAX]);
/* @hints for a numeric address: no name is looked up. */
struct addrinfo paho_numeric_only(const struct addrinfo *hints);

/* paho_traffic.c: any thread */
/* A connection begins on @fd. */
void paho_traffic_begin(int fd);
/* The number of the newest connection; 0: there was none. */
unsigned paho_traffic_connection(void);
/* Its descriptor; -1: none is open. */
int paho_traffic_fd(void);
/* Bytes that the kernel has taken on the newest connection, as in paho_link_traffic.taken;
 * UINT64_MAX: a write has failed. */
uint64_t paho_traffic_written(void);
/* Before and after a write of TLS on @fd; @written: all that OpenSSL has written. */
void paho_traffic_before_tls(int fd, uint64_t written);
void paho_traffic_after_tls(int fd, uint64_t written, bool has_failed);

/* paho_keepalive.c: the library's mutex is held */
/* CONNACK came. @net: Paho's, valid while the connection is open. */
void paho_keepalive_begin(void *net);
/* PINGRESP came. */
void paho_keepalive_answered(void);

#endif
