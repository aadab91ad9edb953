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

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

/* A host name of a broker's URI. */
#define PAHO_LINK_HOST_MAX 256
/* An IPv6 address with the name of an interface behind it. */
#define PAHO_LINK_ADDRESS_MAX 64
/* A packet of the broker, without its fixed header: one that is larger ends the connection. */
#define PAHO_LINK_PACKET_MAX 65536u
/* Messages of QoS 2 of the broker that Paho may hold until their PUBREL. */
#define PAHO_LINK_INBOUND_MAX 16u

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

/* --- the newest connection; of one that has ended: as it was at its end -------- */

struct paho_link_traffic {
    uint64_t taken;    /* bytes on the wire that the peer's TCP has acknowledged */
    uint64_t received; /* bytes on the wire */
    bool is_blocked;   /* the kernel takes no more: Paho then reads no answers either */
};
/* Return: is it known? In a build against the shared library and on old kernels it never is. */
bool paho_link_get_traffic(struct paho_link_traffic *ret);

/* Does the peer's TCP have it, and did neither side end it? In a build against the shared
 * library this is never known: false. */
bool paho_link_is_established(void);

enum paho_link_end {
    PAHO_LINK_OPEN,
    PAHO_LINK_CLOSED_BY_PEER, /* or reset */
    PAHO_LINK_CUT,            /* the kernel gave up */
    PAHO_LINK_CLOSED_BY_US,
    PAHO_LINK_END_UNKNOWN
};
enum paho_link_end paho_link_get_end(void);
/* Shuts the connection down, if it is open, so that the library writes no DISCONNECT. Without
 * effect in a build against the shared library. Any thread. */
void paho_link_cut(void);

/* Has the peer taken the whole PUBLISH of this packet id, which is not answered yet? True also
 * if that is not known. */
bool paho_link_is_taken(uint16_t packet_id);
/* In a callback of Paho's for a message of QoS 1 or 2: the broker's reason code, which Paho
 * drops if it is none of failure. */
uint8_t paho_link_answer_code(void);
/* In a callback of Paho's: was more received that Paho reads before it waits? The function of
 * paho_link_set_before_wait() is called then. False in a build against the shared library. */
bool paho_link_has_more(void);
/* From now on Paho's receiving thread calls @fn before it waits. NULL: none; it is not under
 * way any more when this returns. @fn may call nothing of Paho's or of this header. */
void paho_link_set_before_wait(void (*fn)(void *userdata), void *userdata);
/* What the broker did that ended the connection, static; NULL: nothing of that kind. */
const char *paho_link_violation(void);
/* Answers to no message that awaits one, since the start. */
uint64_t paho_link_ignored_answers(void);

/* PINGREQ is sent after so long without a write or without an answer; 0: never. */
void paho_link_set_keepalive_ms(uint64_t interval_ms);
struct paho_link_ping {
    int64_t since_boot_ms; /* when it was due */
    uint64_t end; /* of the bytes that include it, as in taken; UINT64_MAX: not known */
    bool is_sent; /* false: it waits for a write */
};
/* Return: does a PINGREQ await its answer? */
bool paho_link_get_ping(struct paho_link_ping *ret);

/* What does not work with this build's way of linking Paho, for the log; NULL: nothing. */
const char *paho_link_limitations(void);

#endif
