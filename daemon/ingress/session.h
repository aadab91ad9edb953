/* SPDX-License-Identifier: MIT */
/*
 * session.h - one connection of a producer
 *
 * Reads bytes, frames and decodes packets, keeps the handshake, keep-alive and
 * what is owed to the client. Knows nothing of the spool: each PUBLISH is
 * offered upward and the verdict comes back as a return value. An
 * acknowledgement that is owed leaves only when session_acknowledge() is
 * called, after the commit.
 *
 * Bounds: one input buffer of max_packet at most, and before CONNECT was
 * accepted of SESSION_CONNECT_MAX, so that a client that is not known yet costs less;
 * output of SESSION_OUTPUT_MAX; while more than half of that waits to be read by
 * the client, nothing more is read from it. A client has
 * SESSION_CONNECT_TIMEOUT_MS to finish its CONNECT.
 *
 * However a session ends (DISCONNECT, the client's end of stream, an error,
 * session_close()), what the open batch holds of it is acknowledged first: it
 * reads nothing more, waits for session_acknowledge() or session_refuse_owed(),
 * writes that out and then closes. Refusals before which nothing accepted
 * stands need no commit and leave by themselves.
 *
 * A session never frees itself inside its own callback: it closes its
 * descriptor, notifies its owner (ops->closed) and is freed by session_free() at
 * the batch edge. ops->closed may run below every call but session_new() and
 * session_free(); afterwards all calls do nothing until session_free().
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_INGRESS_SESSION_H
#define MQTT_SPOOLD_DAEMON_INGRESS_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/attr.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

#define SESSION_OUTPUT_MAX         ((size_t)64 * 1024)
#define SESSION_CONNECT_TIMEOUT_MS 10000
#define SESSION_RECEIVE_MAXIMUM    1000
/* 64 KiB for the payload of a will, 8 KiB for all else. */
#define SESSION_CONNECT_MAX ((size_t)72 * 1024)

struct session;

/* What the owner decides about one PUBLISH. */
enum session_verdict_kind {
    SESSION_ACCEPT, /* stored in the open batch: acknowledge after the commit */
    SESSION_REFUSE, /* not stored; code says why (3.1.1: the connection closes) */
    /* Not now: keep the packet, parse no other, offer it again at session_resume(). */
    SESSION_WAIT,
    /* The same, as long as it takes, hours maybe: a client that leaves meanwhile is closed at
     * once, whatever it has left unread; pings behind the packet are answered. */
    SESSION_BLOCK,
    SESSION_STOP /* the daemon is ending: do nothing more */
};
struct session_verdict {
    enum session_verdict_kind kind;
    uint8_t code;      /* with REFUSE: an MQTT 5 reason code that a PUBACK may carry */
    uint64_t spool_id; /* with ACCEPT */
};

/* A PUBLISH as offered; all views are valid during the call only. */
struct session_publish {
    const struct packet_publish *packet;
    struct view kept_properties; /* as packet_keep_properties() gives them */
};

struct session_ops {
    /* A CONNECT was read. Return an MQTT 5 reason code: MQTT_SUCCESS, or why not. */
    uint8_t (*connected)(void *userdata, struct session *session);
    /* A PUBLISH. The verdict counts when it is returned: do not commit and acknowledge in here.
     */
    struct session_verdict (*publish)(void *userdata,
                                      struct session *session,
                                      const struct session_publish *publish);
    /* Closed for whatever reason (@why is for the log); free it at the batch edge, not here.
     * Called once. */
    void (*closed)(void *userdata, struct session *session, const char *why);
};

struct session_settings {
    size_t max_packet;
    unsigned connect_timeout_ms; /* 0: SESSION_CONNECT_TIMEOUT_MS */
};

/*
 * session_new() - take a connection over
 * @fd:    taken over, also on failure
 * @peer:  copied
 * @userdata: for ops
 */
MUST_CHECK int session_new(sd_event *event,
                           int fd,
                           const struct peer *peer,
                           const struct session_settings *settings,
                           const struct session_ops *ops,
                           void *userdata,
                           struct session **ret);
/* Closes when still open, without calling ops->closed. NULL is accepted. */
void session_free(struct session *session);

/* Client id after CONNECT (assigned by the session when the client sent none). */
struct view session_client_id(const struct session *session);
const struct peer *session_peer(const struct session *session);
/* For tests. */
enum packet_version session_version(const struct session *session);

/* In ops->closed: was it rejected, or did it leave? */
bool session_was_refused(const struct session *session);

/* The batch is durable: send every acknowledgement that is owed. Never calls ops->publish. */
void session_acknowledge(struct session *session);
/* The batch was rolled back: v5 answers each owed one with @code, which a PUBACK
 * may carry, and a client with QoS 0 messages in the batch gets a DISCONNECT with
 * it; 3.1.1 closes. */
void session_refuse_owed(struct session *session, uint8_t code);
/* Whether the batch lasts is open: neither acknowledged nor refused. The session ends as with
 * session_close(), but at once. */
void session_drop_owed(struct session *session, uint8_t code, const char *why);
/* After SESSION_WAIT or SESSION_BLOCK: offer the kept packet again, now, and those behind it;
 * then read on. */
void session_resume(struct session *session);
/* End from our side: v5 gets a DISCONNECT with @code, then the connection closes. */
void session_close(struct session *session, uint8_t code, const char *why);

#endif
