/* SPDX-License-Identifier: MIT */
/*
 * connection.h - one connection of a producer
 *
 * Reads bytes, frames and decodes packets, keeps the handshake, keep-alive and
 * what is owed to the client. Knows nothing of the spool: each PUBLISH is
 * offered upward and the verdict comes back as a return value. An
 * acknowledgement that is owed leaves only when connection_acknowledge() is
 * called, after the commit.
 *
 * Bounds: one input buffer of max_packet at most, and before CONNECT was
 * accepted of CONNECTION_CONNECT_MAX, so that a client that is not known yet costs less,
 * which is also what bounds its will, kept as long as the connection; topics of its aliases
 * of CONNECTION_ALIAS_BYTES_MAX;
 * output of CONNECTION_OUTPUT_MAX; while more than half of that waits to be read by
 * the client, nothing more is read from it. A client has
 * CONNECTION_CONNECT_TIMEOUT_MS to finish its CONNECT.
 *
 * However a connection ends (DISCONNECT, the client's end of stream, an error,
 * connection_close()), what the open batch holds of it is acknowledged first: it
 * reads nothing more, waits for connection_acknowledge() or connection_refuse_owed(),
 * writes that out and then closes. Refusals before which nothing accepted
 * stands need no commit and leave by themselves.
 *
 * Messages go to the client by connection_send(), which only queues: those of QoS 1
 * wait for their acknowledgement in a window, at most CONNECTION_WINDOW_MAX of them
 * and no more than the client's Receive Maximum. Without room in the window or in the
 * output the owner keeps the message: a client that reads or acknowledges nothing
 * costs no more memory, and what else it is owed is not held up.
 *
 * A connection never frees itself inside its own callback: it closes its
 * descriptor, notifies its owner (ops->closed) and is freed by connection_free() at
 * the batch edge. ops->closed may run below every call but connection_new() and
 * connection_free(); afterwards all calls do nothing until connection_free().
 *
 * Thread: loop thread only.
 */
#ifndef MQTT_SPOOLD_DAEMON_INGRESS_CONNECTION_H
#define MQTT_SPOOLD_DAEMON_INGRESS_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/attr.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

#define CONNECTION_OUTPUT_MAX         ((size_t)64 * 1024)
#define CONNECTION_CONNECT_TIMEOUT_MS 10000
#define CONNECTION_RECEIVE_MAXIMUM    1000
#define CONNECTION_WINDOW_MAX         64
/* Packet ids of QoS 2 that a client may leave unreleased. In 3.1.1 it cannot know its limit,
 * and may have as many messages in flight: it is far above the window of any library. */
#define CONNECTION_UNRELEASED_MAX 4096
/* Topic aliases of a client, and all their topics in bytes. */
#define CONNECTION_ALIAS_MAX       32
#define CONNECTION_ALIAS_BYTES_MAX ((size_t)64 * 1024)
/* Messages to the client are queued up to here, a larger one alone. */
#define CONNECTION_MESSAGES_MAX ((size_t)16 * 1024)
#define CONNECTION_MESSAGE_MAX  ((size_t)1280 * 1024)
/* Packet ids up to here are chosen by the owner, those above by the connection. */
#define CONNECTION_OWNER_ID_MAX 0x7FFF
/* 64 KiB for the payload of a will, 8 KiB for all else. */
#define CONNECTION_CONNECT_MAX ((size_t)72 * 1024)

struct connection;

/* What the owner decides about one PUBLISH. */
enum connection_verdict_kind {
    CONNECTION_ACCEPT, /* stored in the open batch: acknowledge after the commit */
    CONNECTION_REFUSE, /* not stored; code says why (3.1.1: the connection closes) */
    /* Not now: keep the packet, parse no other, offer it again at connection_resume(). */
    CONNECTION_WAIT,
    /* The same, as long as it takes, hours maybe: a client that leaves meanwhile is closed at
     * once, whatever it has left unread; pings behind the packet are answered. */
    CONNECTION_BLOCK,
    /* As CONNECTION_WAIT, for seconds maybe: pings behind the packet are answered. What a
     * client that leaves meanwhile has sent is still read. */
    CONNECTION_THROTTLE,
    CONNECTION_STOP /* the daemon is ending: do nothing more */
};
struct connection_verdict {
    enum connection_verdict_kind kind;
    uint8_t code;      /* with REFUSE: an MQTT 5 reason code that a PUBACK may carry */
    bool is_too_large; /* with REFUSE: at every other try, too */
    const char *why;   /* with REFUSE: for ops->closed, copied; NULL: the text of the code */
    uint64_t spool_id; /* with ACCEPT */
};

/* A PUBLISH as offered; all views are valid during the call only. */
struct connection_publish {
    const struct packet_publish *packet;
    struct view kept_properties; /* as packet_keep_properties() gives them */
    bool has_answer;             /* a refusal is answered; else it ends the connection */
    bool is_first; /* of those that were read together: a clock is read once for them */
};

/* One filter of a SUBSCRIBE; the view is valid during the call only. */
struct connection_subscribe {
    struct view filter;      /* valid, and not a shared one */
    uint8_t qos;             /* requested, 0 to 2 */
    uint8_t retain_handling; /* 3.8.3.1, 0 to 2 */
};

/* A message to the client; the views are used during the call only. */
struct connection_message {
    struct view topic; /* a valid topic name */
    struct view payload;
    uint8_t qos;      /* 0 or 1 */
    bool is_repeated; /* with QoS 1: it may have been sent before */
    /* With QoS 1: 1 to CONNECTION_OWNER_ID_MAX; there is no room while a message with the same
     * one is not acknowledged. 0: the connection chooses one above. */
    uint16_t packet_id;
    bool has_correlation; /* Correlation Data, for clients of v5 */
    struct view correlation;
    uint64_t tag; /* of the owner, for ops->acknowledged */
};

/* Conditions of connection_send(). */
enum {
    CONNECTION_E_FULL = 1,  /* not now: ops->writable() is called when there may be room */
    CONNECTION_E_TOO_LARGE, /* never: above CONNECTION_MESSAGE_MAX or the client's maximum */
    CONNECTION_E_ENDED      /* never: the connection is not open any more, or not yet */
};

/* A will. */
struct connection_will {
    struct packet_publish packet; /* its views lie in memory; it has no properties */
    struct view kept_properties;  /* as packet_keep_properties() gives them; in memory, too */
    uint32_t delay_s;
    uint8_t memory[];
};

/* What a CONNECT asks for. */
struct connection_connect {
    bool is_clean;             /* what was kept of an earlier session is not wanted */
    uint32_t session_expiry_s; /* 0: the session ends with the connection; CONNECTION_NO_EXPIRY:
                                  as long as possible, as 3.1.1 without a clean session */
};
#define CONNECTION_NO_EXPIRY UINT32_MAX

/* What its CONNACK says. */
struct connection_admission {
    bool is_waiting; /* none yet: the CONNECT is offered again at connection_resume() */
    bool has_session;
    uint32_t session_expiry_s;
};

struct connection_ops {
    /* A CONNECT was read; connection_will() is known. Return an MQTT 5 reason code:
     * MQTT_SUCCESS, or why not. @ret is all zero before. */
    uint8_t (*connected)(void *userdata,
                         struct connection *connection,
                         const struct connection_connect *connect,
                         struct connection_admission *ret);
    /* A PUBLISH of QoS 2 that was accepted before and not released. Return: its spool id, 0 if
     * that is not known. It is owed an acknowledgement. May be NULL. */
    uint64_t (*repeated)(void *userdata, struct connection *connection, uint16_t packet_id);
    /* Such a packet id is released. Return: must its PUBCOMP wait for connection_acknowledge()?
     * After a batch that was lost the owner repeats it. NULL: it need not. */
    bool (*released)(void *userdata, struct connection *connection, uint16_t packet_id);
    /* A DISCONNECT of v5 changes the expiry of the session. May be NULL. */
    void (*expiry_changed)(void *userdata,
                           struct connection *connection,
                           uint32_t session_expiry_s);
    /* A PUBLISH. The verdict counts when it is returned: do not commit and acknowledge in here.
     */
    struct connection_verdict (*publish)(void *userdata,
                                         struct connection *connection,
                                         const struct connection_publish *publish);
    /* A filter of a SUBSCRIBE. Return: the granted QoS (0 or 1), or an MQTT 5 reason code of a
     * failure. NULL: none is granted. Do not send in here, but in ops->writable(). */
    uint8_t (*subscribe)(void *userdata,
                         struct connection *connection,
                         const struct connection_subscribe *subscribe);
    /* A filter of an UNSUBSCRIBE. Return: MQTT_SUCCESS or MQTT_NO_SUBSCRIPTION_EXISTED. NULL:
     * there was none. */
    uint8_t (*unsubscribe)(void *userdata, struct connection *connection, struct view filter);
    /* All filters of a SUBSCRIBE or UNSUBSCRIBE were offered. Return: must the answer wait for
     * connection_confirm()? Until then nothing is read. NULL: it need not. */
    bool (*subscribed)(void *userdata, struct connection *connection);
    /* The client acknowledged a message of QoS 1. May be NULL. */
    void (*acknowledged)(void *userdata, struct connection *connection, uint64_t tag);
    /* A SUBSCRIBE was answered, or the CONNECT of a client with a session, or there is room
     * after CONNECTION_E_FULL or connection_await_room(): what is sent in here needs no
     * connection_flush(). May be NULL. */
    void (*writable)(void *userdata, struct connection *connection);
    /* Closed for whatever reason (@why is for the log); free it at the batch edge, not here.
     * Called once. */
    void (*closed)(void *userdata, struct connection *connection, const char *why);
};

struct connection_settings {
    size_t max_packet;
    unsigned connect_timeout_ms; /* 0: CONNECTION_CONNECT_TIMEOUT_MS */
};

/*
 * connection_new() - take a connection over
 * @fd:    taken over, also on failure
 * @peer:  copied
 * @userdata: for ops
 */
MUST_CHECK int connection_new(sd_event *event,
                              int fd,
                              const struct peer *peer,
                              const struct connection_settings *settings,
                              const struct connection_ops *ops,
                              void *userdata,
                              struct connection **ret);
/* Closes when still open, without calling ops->closed. NULL is accepted. */
void connection_free(struct connection *connection);

/* Client id after CONNECT (assigned by the connection when the client sent none). */
struct view connection_client_id(const struct connection *connection);
const struct peer *connection_peer(const struct connection *connection);
/* Its socket, to ask the kernel about the peer; -1 when closed. Stays the connection's. */
int connection_fd(const struct connection *connection);
/* For tests. */
enum packet_version connection_version(const struct connection *connection);

/* NULL: it has none, or has none any more. Valid until it is taken or the connection ends. */
const struct connection_will *connection_will(const struct connection *connection);
/* From the end of the connection on, also in ops->closed: the will that is to be published;
 * NULL: none. It is the caller's now, to be freed with free(). */
struct connection_will *connection_take_will(struct connection *connection);

/* In ops->closed: was it rejected, or did it leave? */
bool connection_was_refused(const struct connection *connection);

/* The batch is durable: send every acknowledgement that is owed. Never calls ops->publish. */
void connection_acknowledge(struct connection *connection);
/* The batch was rolled back: v5 answers each owed one with @code, which a PUBACK
 * may carry, and a client with QoS 0 messages in the batch gets a DISCONNECT with
 * it; 3.1.1 closes. */
/* What was released, and repetitions of what was accepted before, stays owed. Return: is there
 * such? */
bool connection_refuse_owed(struct connection *connection, uint8_t code);
/* Whether the batch lasts is open: neither acknowledged nor refused. The connection ends as
 * with connection_close(), but at once. */
void connection_drop_owed(struct connection *connection, uint8_t code, const char *why);
/* The packet ids of QoS 2 that a session has not released: forget all, and set one. Return: 0;
 * -ENOMEM. */
void connection_clear_unreleased(struct connection *connection);
MUST_CHECK int connection_set_unreleased(struct connection *connection, uint16_t packet_id);
/* After CONNECTION_WAIT, _BLOCK, _THROTTLE or a CONNECT that waits: offer the kept packet
 * again, now, and those behind it; then read on. */
void connection_resume(struct connection *connection);
/* What ops->subscribed() let wait is durable: answer it, and read on. */
void connection_confirm(struct connection *connection);
/*
 * connection_send() - queue a message to the client
 *
 * Return: 0, or one of the conditions above; with any of these nothing was queued.
 */
MUST_CHECK int connection_send(struct connection *connection,
                               const struct connection_message *message);
/* Have ops->writable() called when there is room, also without CONNECTION_E_FULL. */
void connection_await_room(struct connection *connection);
/* Write what was queued by connection_send(). */
void connection_flush(struct connection *connection);
/* End from our side: v5 gets a DISCONNECT with @code, then the connection closes. */
void connection_close(struct connection *connection, uint8_t code, const char *why);

#endif
