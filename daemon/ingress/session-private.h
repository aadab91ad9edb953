/* SPDX-License-Identifier: MIT */
/*
 * session-private.h - what the files of the session share
 *
 * session.c owns the descriptor, the timer and the states; session_packets.c
 * answers each type of packet; session_out.c holds what goes out: the queue of
 * bytes and the list of acknowledgements that are owed; session_state.c marks an
 * end and sets the timer. Each calls those behind it only. Nobody else includes
 * this.
 */
#ifndef MQTT_SPOOLD_DAEMON_INGRESS_SESSION_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_INGRESS_SESSION_PRIVATE_H

#include "base/bytes.h"
#include "daemon/ingress/session.h"

/* Filters in one SUBSCRIBE or UNSUBSCRIBE; its answer holds a byte for each. */
#define SESSION_FILTERS_MAX 1000
/* Output that acknowledgements leave free for every other answer. */
#define SESSION_OUTPUT_RESERVE 4096
/* How long a client may leave our last words unread. */
#define SESSION_CLOSE_TIMEOUT_US 2000000

/*
 *   EXPECT_CONNECT --CONNECT accepted--> OPEN
 *         |                                |
 *         +------ any end of either -------+--> CLOSING --owed and output gone--> CLOSED
 *
 * In CLOSING nothing is read; what the open batch holds is still acknowledged
 * after its commit.
 */
enum session_state { SESSION_EXPECT_CONNECT, SESSION_OPEN, SESSION_CLOSING, SESSION_CLOSED };

/* An acknowledgement that is owed. Accepted ones have MQTT_SUCCESS, refusals another code. */
struct session_debt {
    uint64_t spool_id;
    uint16_t packet_id;
    uint8_t code;
};

/*
 * In the order of the PUBLISH packets [MQTT-4.6.0-2]: a ring whose first
 * @released entries may leave as soon as the output has room.
 */
struct session_owed {
    struct session_debt *ring;
    size_t size; /* a power of two, or 0 */
    size_t head;
    size_t count;
    size_t released;
};

struct session {
    sd_event *event;
    sd_event_source *io;
    sd_event_source *timer; /* CONNECT, keep-alive or closing deadline: one at a time */
    sd_event_source *again; /* parse what was already read, outside the owner's calls */
    int fd;                 /* -1 when closed */
    enum session_state state;

    struct peer peer;
    struct session_settings settings;
    const struct session_ops *ops;
    void *owner;

    enum packet_version version;
    uint8_t *client_id;
    size_t client_id_size;
    uint32_t client_max_packet;
    bool no_problem_info;   /* acknowledgements go without their spool-id */
    uint64_t keep_alive_us; /* one and a half times the client's; 0: none */
    uint64_t last_packet_us;
    bool excused;      /* the deadline was moved once, because the loop stood still */
    bool asked_expiry; /* CONNECT asked for a session that outlives the connection */

    struct bytes input;
    struct bytes output;
    struct session_owed owed;
    bool in_batch; /* messages of QoS 0 in the open batch, for which nothing is owed */

    bool waiting;     /* after SESSION_WAIT or SESSION_BLOCK */
    bool blocked;     /* after SESSION_BLOCK */
    bool stopped;     /* after SESSION_STOP */
    bool throttled;   /* 3.1.1 with SESSION_RECEIVE_MAXIMUM owed */
    bool refused;     /* it was turned away */
    bool unparsed;    /* parsing was cut short: the input may hold whole packets */
    bool output_lost; /* nothing we write arrives; what was sent to us before is still read */
    uint8_t farewell; /* code of the DISCONNECT that is still to be sent; 0: none */
    char why[128];
};

/* session_state.c */

/* Set the one timer, due at @at_us of the monotonic clock. */
void session_arm(struct session *session, uint64_t at_us);
/* Go to CLOSING, unless there already; session_update() does the rest. When the handshake is
 * done, v5 gets a DISCONNECT with @code; 0: none. @detail may be NULL. */
void session_end(struct session *session, uint8_t code, const char *why, const char *detail);
/* The same, where it is turned away: the owner's log tells why. */
void session_refuse(struct session *session, uint8_t code, const char *why, const char *detail);
/* The same for a positive condition of packet.h. */
void session_end_on_condition(struct session *session, const char *why, int condition);
/* From OPEN on: start the keep-alive. */
void session_start_keep_alive(struct session *session);

/* session_packets.c */

/* Return: false: leave the packet where it is, it is to be offered again. */
bool session_take_packet(struct session *session, const struct packet_frame *frame);
/* The largest packet that is taken now. */
size_t session_packet_limit(const struct session *session);
/* End it for a packet that is wrong from its header on, of which @start is there. Of a CONNECT that
 * may be enough to answer it: a client cannot know its limit beforehand. */
void session_refuse_frame(struct session *session, struct view start, int condition);

/* session_out.c */

/* Room for @size bytes of one packet, then session_out_end(). Both return false when the packet
 * cannot go out: then the session was ended. */
bool session_out_begin(struct session *session, size_t size, struct writer *ret_writer);
bool session_out_end(struct session *session, const struct writer *writer);
/* Write what the socket takes. */
void session_out_flush(struct session *session);
/* Does so much wait for the client that nothing more may be read from it? */
bool session_out_is_congested(const struct session *session);

/* Room for one more; call before offering a message. Return: 0 or -ENOMEM. */
MUST_CHECK int session_owed_reserve(struct session *session);
void session_owed_push(struct session *session, const struct session_debt *debt);
bool session_owed_is_full(const struct session *session);
/* Release the refusals that no accepted message precedes: no commit is needed for them. */
void session_owed_release_refusals(struct session *session);
/* What is not released becomes a refusal with @code; 3.1.1 has none, there it is forgotten. */
void session_owed_turn(struct session *session, uint8_t code);
/* Write released acknowledgements to the output as far as it has room. */
void session_owed_pump(struct session *session);
void session_owed_done(struct session *session);

#endif
