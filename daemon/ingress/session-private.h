/* SPDX-License-Identifier: MIT */
/*
 * session-private.h - what the files of the session share
 *
 * session.c owns the descriptor, the timer and the states; session_packets.c
 * answers each type of packet; session_out.c holds what goes out: the queue of
 * bytes and the list of acknowledgements that are owed; session_state.c has the
 * table of states, marks an end and sets the timer. Each calls those behind it
 * only. No other file includes this.
 */
#ifndef MQTT_SPOOLD_DAEMON_INGRESS_SESSION_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_INGRESS_SESSION_PRIVATE_H

#include "base/attr.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/ingress/session.h"
#include "daemon/mqtt/packet.h"

/* Filters in one SUBSCRIBE or UNSUBSCRIBE; its answer holds a byte for each. */
#define SESSION_FILTERS_MAX 1000
/* Input beyond the largest packet, for the pings behind it while it is blocked. */
#define SESSION_INPUT_RESERVE 64
/* Output that acknowledgements leave free for every other answer. */
#define SESSION_OUTPUT_RESERVE 4096
/* How long a client may leave the final bytes unread. */
#define SESSION_CLOSE_TIMEOUT_US 2000000

/*
 *   EXPECT_CONNECT --CONNECT accepted--> OPEN
 *         |                                |
 *         +------ any end of either -------+--> CLOSING --owed and output gone--> CLOSED
 *
 * In CLOSING nothing is read; what the open batch holds is still acknowledged
 * after its commit. session_free() may close in every state. The table and the
 * invariant of each state are in session_state.c.
 */
enum session_state { SESSION_EXPECT_CONNECT, SESSION_OPEN, SESSION_CLOSING, SESSION_CLOSED };
enum { SESSION_STATE_COUNT = SESSION_CLOSED + 1 };

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

/* All NULL when closed. */
struct session_sources {
    sd_event_source *io;
    sd_event_source *timer; /* CONNECT, keep-alive or closing deadline: one at a time */
    sd_event_source *again; /* parses what was already read, outside the owner's calls */
};

/* What its CONNECT said. */
struct session_client {
    enum packet_version version;
    uint8_t *id;
    size_t id_size;
    uint32_t max_packet;
    bool no_problem_info; /* acknowledgements go without their spool-id */
    bool asked_expiry;    /* for a session that outlives the connection */
};

struct session_keep_alive {
    uint64_t timeout_us; /* one and a half times the client's; 0: none */
    uint64_t last_packet_us;
    bool is_excused; /* the deadline was moved once, because the loop was blocked */
};

struct session_input {
    struct bytes bytes;
    size_t
        answered; /* bytes from the head on, in whole packets, whose PINGREQs were answered */
    bool is_unparsed;   /* parsing was cut short: there may be whole packets */
    bool is_ahead_over; /* nothing more can be read while it is blocked */
};

/* Why nothing is parsed. */
struct session_pause {
    bool is_waiting;   /* after SESSION_WAIT or SESSION_BLOCK */
    bool is_blocked;   /* after SESSION_BLOCK */
    bool is_stopped;   /* after SESSION_STOP */
    bool is_throttled; /* 3.1.1 with SESSION_RECEIVE_MAXIMUM owed */
};

struct session_output {
    struct bytes bytes;
    struct session_owed owed;
    bool is_in_batch; /* messages of QoS 0 in the open batch, for which nothing is owed */
    bool is_lost;     /* nothing written arrives; what the client sent before is still read */
};

struct session_end {
    uint8_t code; /* of the DISCONNECT that is still to be sent; 0: none */
    bool is_refused;
    char why[128];
};

struct session {
    sd_event *event;
    int fd; /* -1 when closed */
    enum session_state state;
    struct session_sources sources;

    struct peer peer;
    struct session_settings settings;
    const struct session_ops *ops;
    void *userdata;

    struct session_client client;
    struct session_keep_alive keep_alive;
    struct session_input input;
    struct session_pause pause;
    struct session_output output;
    struct session_end end;
};

/* session_state.c */

/* The only way in which the state changes. */
void session_move(struct session *session, enum session_state next);
/* Set the one timer, due at @at_us of the monotonic clock. */
void session_timer_start(struct session *session, uint64_t at_us);
/* Go to CLOSING, unless there already; session_update() does the rest. When the handshake is
 * done, v5 gets a DISCONNECT with @code; 0: none. @detail may be NULL. */
void session_end(struct session *session, uint8_t code, const char *why, const char *detail);
/* The same, if it is rejected: the owner logs why. */
void session_refuse(struct session *session, uint8_t code, const char *why, const char *detail);
/* The same for a positive condition of packet.h. */
void session_end_on_condition(struct session *session, const char *why, int condition);
/* From OPEN on: start the keep-alive. */
void session_start_keep_alive(struct session *session);

/* session_packets.c */

/* Return: false: leave the packet where it is, it is offered again. */
bool session_take_packet(struct session *session, const struct packet_frame *frame);
/* The largest packet that is taken now. */
size_t session_packet_limit(const struct session *session);
/* Answers each PINGREQ behind the PUBLISH that is blocked, as far as it was read and the
 * output has room. Return: true: there was one. */
bool session_answer_pings(struct session *session);
/* End it for a packet that is wrong from its header on, of which @start is there. Of a
 * CONNECT that may be enough to answer it: a client cannot know its limit beforehand. */
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
void session_owed_refuse(struct session *session, uint8_t code);
/* Write released acknowledgements to the output as far as it has room. */
void session_owed_pump(struct session *session);
void session_owed_done(struct session *session);

#endif
