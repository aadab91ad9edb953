/* SPDX-License-Identifier: MIT */
/*
 * paho_link-private.h - what the files of the link seam share
 *
 *   open_ids.c      packet ids that await an answer
 *   paho_resolve.c  the address behind the broker's host name
 *   wire_marks.c    how much is on the wire of what was written
 *   paho_traffic.c  bytes that the peer took, and how the connection ended
 *   in_buffer.c     bytes that were read and not taken yet
 *   out_buffer.c    bytes that wait to be written
 *   paho_stream.c   what Paho reads and writes on its connection
 *   paho_socket.c   connecting: errors of the kernel, names
 *   paho_tls.c      certificates for an address; bytes written through OpenSSL
 *   paho_keepalive.c  when PINGREQ is sent
 *   paho_packet.c   which packets of the broker reach Paho, and the writes of messages
 *   paho_wait.c     waits of Paho's receiving thread
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
#include <sys/types.h>
#include <sys/uio.h>

#include "daemon/uplink/paho/in_buffer.h"
#include "daemon/uplink/paho/out_buffer.h"
#include "daemon/uplink/paho/paho_link.h"

/* Paho's TCPSOCKET_INTERRUPTED: not complete yet; and its SOCKET_ERROR. */
enum { PAHO_PENDING = -22, PAHO_SOCKET_ERROR = -1 };

/* paho_resolve.c */
/* Return: is @host the one whose address was set? */
bool paho_get_address(const char *host, char address[static PAHO_LINK_ADDRESS_MAX]);
/* @hints for a numeric address: no name is looked up. */
struct addrinfo paho_numeric_only(const struct addrinfo *hints);

/* paho_traffic.c: any thread */
/* A connection begins on @fd; ends, while it is still open. */
void paho_traffic_begin(int fd);
void paho_traffic_end(int fd);
/* The number of the newest connection; 0: there was none. */
unsigned paho_traffic_connection(void);
/* Its descriptor; -1: none is open. */
int paho_traffic_fd(void);
/* Bytes that the kernel has taken on the newest connection, as in paho_link_traffic.taken;
 * UINT64_MAX: a write has failed. */
uint64_t paho_traffic_written(void);
bool paho_traffic_has_failed(void);
/* Before a write on @fd; @wire: with TLS all that OpenSSL has written, else 0. */
void paho_traffic_before_write(int fd, uint64_t wire);
/* After it, without TLS; @n: how many bytes the kernel took, or negative errno. */
void paho_traffic_after_write(ssize_t n);
/* The connection is one of TLS. */
void paho_traffic_use_tls(void);
/* After a write of TLS; @n: how many bytes OpenSSL took that are written whole now, or negative
 * errno; @wire: all that it has written. */
void paho_traffic_after_tls(ssize_t n, uint64_t wire);
/* How many bytes on the wire hold the first @position bytes of the connection, as in
 * paho_link_traffic.taken; UINT64_MAX: they are not written yet. */
uint64_t paho_traffic_wire_end(uint64_t position);

/* paho_stream.c: any thread */
/* As paho_traffic_begin(). */
void paho_stream_begin(int fd);
/* The bytes of this connection do not go by system calls. Both are copied. */
void paho_stream_use(const struct in_source *source, const struct out_sink *sink);
/* Writes what the kernel takes of what was gathered, and forgets the rest, and all input. */
void paho_stream_close(void);
/* What Paho writes by one call, and how it is written if it is not gathered: @write returns as
 * out_sink.write. */
struct paho_packet {
    const struct iovec *parts;
    int count;
    ssize_t (*write)(const struct paho_packet *packet);
    void *userdata;
};
/* Return: as out_sink.write and in_source.read. */
ssize_t paho_stream_write(const struct paho_packet *packet);
ssize_t paho_stream_read(uint8_t *data, size_t size);
/* What the calling thread writes from now on may be gathered, if it is the one that calls
 * paho_stream_flush_before_wait(). */
void paho_stream_gather(bool is_on);
/* Writes what was gathered. Return: is nothing left? */
bool paho_stream_flush(void);
/* Likewise. Return: the descriptor on which the thread has to wait to write the rest, too; -1:
 * none. */
int paho_stream_flush_before_wait(void);
/* Does Paho have the rest of a write that was not complete? It must not write before that. */
bool paho_stream_has_pending_write(void);
/* Is there input for Paho that the kernel no longer has? */
bool paho_stream_has_input(void);
/* Is input read in large parts? Not before the first one of the connection. */
bool paho_stream_reads_ahead(void);
/* How many bytes of packets were written or gathered; UINT64_MAX: a write has failed. */
uint64_t paho_stream_position(void);

/* paho_socket.c: any thread */
/* The socket whose connection is under way, as far as Paho knows; -1: none. */
int paho_socket_connecting(void);
/* A wait ended early for it: that may happen a few times. */
void paho_socket_note_early_end(void);

/* paho_keepalive.c: the library's mutex is held */
/* CONNACK came. @net: Paho's, valid while the connection is open. */
void paho_keepalive_begin(void *net);
/* PINGRESP came. */
void paho_keepalive_answered(void);

/* paho_packet.c: any thread */
/* How many answers of the broker are awaited on the newest connection. */
unsigned paho_packet_awaited(void);

#endif
