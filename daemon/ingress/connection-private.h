/* SPDX-License-Identifier: MIT */
/*
 * connection-private.h - what the files of the connection share
 *
 * connection.c owns the descriptor, the timer and the states; connection_packets.c
 * answers each type of packet; connection_subscribe.c SUBSCRIBE and UNSUBSCRIBE;
 * connection_receive.c bounds what is in flight and remembers QoS 2;
 * connection_alias.c knows topics by their alias; connection_will.c keeps the will;
 * connection_deliver.c sends messages to the client; connection_out.c holds what goes
 * out: the queue of bytes and the list of acknowledgements that are owed;
 * connection_state.c has the table of states, marks an end and sets the timer. Each
 * calls those behind it only. No other file includes this.
 */
#ifndef MQTT_SPOOLD_DAEMON_INGRESS_CONNECTION_PRIVATE_H
#define MQTT_SPOOLD_DAEMON_INGRESS_CONNECTION_PRIVATE_H

#include "base/attr.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/ingress/connection.h"
#include "daemon/ingress/packet_ids.h"
#include "daemon/mqtt/packet.h"

/* Filters in one SUBSCRIBE or UNSUBSCRIBE; its answer holds a byte for each. */
#define CONNECTION_FILTERS_MAX 1000
/* Input beyond the largest packet, for the pings behind it while it waits. */
#define CONNECTION_INPUT_RESERVE 64
/* Output that acknowledgements leave free for every other answer. */
#define CONNECTION_OUTPUT_RESERVE 4096
/* How long a client may leave the final bytes unread. */
#define CONNECTION_CLOSE_TIMEOUT_US 2000000

/*
 *   EXPECT_CONNECT --CONNECT accepted--> OPEN
 *         |                                |
 *         +------ any end of either -------+--> CLOSING --owed and output gone--> CLOSED
 *
 * In CLOSING nothing is read; what the open batch holds is still acknowledged
 * after its commit. connection_free() may close in every state. The table and the
 * invariant of each state are in connection_state.c.
 */
enum connection_state {
    CONNECTION_EXPECT_CONNECT,
    CONNECTION_OPEN,
    CONNECTION_CLOSING,
    CONNECTION_CLOSED
};
enum { CONNECTION_STATE_COUNT = CONNECTION_CLOSED + 1 };

/* An acknowledgement that is owed. Accepted ones have MQTT_SUCCESS, refusals another code. */
struct connection_debt {
    uint64_t spool_id;
    uint16_t packet_id;
    uint8_t type; /* PACKET_PUBACK, PACKET_PUBREC or PACKET_PUBCOMP */
    uint8_t code;
    bool is_too_large; /* why it was refused */
    bool is_repeated;  /* of a message that was accepted before */
};

/*
 * In the order of the PUBLISH and PUBREL packets [MQTT-4.6.0-2], [-3]: a ring whose first
 * @released entries may leave as soon as the output has room.
 */
struct connection_owed {
    struct connection_debt *ring;
    size_t size; /* a power of two, or 0 */
    size_t head;
    size_t count;
    size_t released;
};

/* All NULL when closed. */
struct connection_sources {
    sd_event_source *io;
    sd_event_source *timer; /* CONNECT, keep-alive or closing deadline: one at a time */
    sd_event_source *again; /* parses what was already read, outside the owner's calls */
};

/* What its CONNECT said. */
struct connection_client {
    enum packet_version version;
    uint8_t *id;
    size_t id_size;
    uint32_t max_packet;
    uint16_t receive_maximum;
    bool no_problem_info; /* acknowledgements go without their spool-id */
    bool asked_expiry;    /* for a session that outlives the connection */
};

struct connection_keep_alive {
    uint64_t timeout_us; /* one and a half times the client's; 0: none */
    uint64_t last_packet_us;
    bool is_excused; /* the deadline was moved once, because the loop was blocked */
};

struct connection_input {
    struct bytes bytes;
    size_t
        answered; /* bytes from the head on, in whole packets, whose PINGREQs were answered */
    bool is_parsing;    /* its update follows */
    bool is_unparsed;   /* parsing was cut short: there may be whole packets */
    bool has_offered;   /* a PUBLISH since parsing began */
    bool is_ahead_over; /* nothing more can be read ahead for pings */
};

/* Why nothing is parsed. */
struct connection_pause {
    bool is_waiting;    /* after CONNECTION_WAIT, CONNECTION_BLOCK or CONNECTION_THROTTLE */
    bool has_pings;     /* after the last two: pings behind the packet are answered */
    bool is_blocked;    /* after CONNECTION_BLOCK: it ends when the client leaves */
    bool is_stopped;    /* after CONNECTION_STOP */
    bool is_throttled;  /* CONNECTION_RECEIVE_MAXIMUM are owed */
    bool is_confirming; /* until connection_confirm() */
};

struct connection_sent {
    uint64_t tag;
    uint16_t packet_id;
};

struct connection_alias {
    uint8_t *topic; /* owned; NULL: not set */
    size_t size;
};

/* What the client's topic aliases stand for. */
struct connection_aliases {
    struct connection_alias *entries; /* CONNECTION_ALIAS_MAX of them; NULL: none was set */
    size_t bytes;                     /* of their topics */
};

/* Messages of QoS 1 to the client. */
struct connection_window {
    struct connection_sent *sent; /* in their order, not acknowledged; NULL: there was none */
    unsigned count;
    uint16_t last_id;    /* of those that the connection chose */
    bool is_owner_ready; /* ops->writable() is to be called when there is room */
    bool is_id_awaited;  /* the same, once one more is acknowledged */
};

/* The SUBACK or UNSUBACK that waits for connection_confirm(). */
struct connection_answer {
    uint8_t *memory; /* NULL: none does */
    size_t size;
    enum packet_type type;
};

struct connection_output {
    struct bytes bytes;
    size_t large; /* of these, at the head: of a message above CONNECTION_MESSAGES_MAX */
    struct connection_owed owed;
    struct connection_window window;
    struct connection_answer answer;
    bool is_in_batch; /* messages of QoS 0 in the open batch, for which nothing is owed */
    bool is_lost;     /* nothing written arrives; what the client sent before is still read */
};

struct connection_end {
    uint8_t code; /* of the DISCONNECT that is still to be sent; 0: none */
    bool is_refused;
    char why[192];
};

struct connection {
    sd_event *event;
    int fd; /* -1 when closed */
    enum connection_state state;
    struct connection_sources sources;

    struct peer peer;
    struct connection_settings settings;
    const struct connection_ops *ops;
    void *userdata;

    struct connection_client client;
    struct connection_keep_alive keep_alive;
    unsigned in_flight; /* PUBLISH of QoS 1 and 2 on this connection */
    struct packet_ids unreleased;
    struct connection_input input;
    struct connection_aliases aliases;
    struct connection_will *will; /* owned; NULL: none */
    struct connection_pause pause;
    struct connection_output output;
    struct connection_end end;
};

/* connection_state.c */

/* The only way in which the state changes. */
void connection_move(struct connection *connection, enum connection_state next);
/* Set the one timer, due at @at_us of the monotonic clock. */
void connection_timer_start(struct connection *connection, uint64_t at_us);
/* Go to CLOSING, unless there already; connection_update() does the rest. When the handshake is
 * done, v5 gets a DISCONNECT with @code; 0: none. @detail may be NULL. */
void connection_end(struct connection *connection,
                    uint8_t code,
                    const char *why,
                    const char *detail);
/* The same, if it is rejected: the owner logs why. */
void connection_refuse(struct connection *connection,
                       uint8_t code,
                       const char *why,
                       const char *detail);
/* The same for a positive condition of packet.h. */
void connection_end_on_condition(struct connection *connection, const char *why, int condition);
/* From OPEN on: start the keep-alive. */
void connection_start_keep_alive(struct connection *connection);

/* connection_packets.c */

/* Return: false: leave the packet where it is, it is offered again. */
bool connection_take_packet(struct connection *connection, const struct packet_frame *frame);
/* The largest packet that is taken now. */
size_t connection_packet_limit(const struct connection *connection);
/* Answers each PINGREQ behind the PUBLISH that waits, as far as it was read and the
 * output has room. Return: true: there was one. */
bool connection_answer_pings(struct connection *connection);
/* End it for a packet that is wrong from its header on, of which @start is there. Of a
 * CONNECT that may be enough to answer it: a client cannot know its limit beforehand. @size: of
 * the whole packet, for PACKET_E_TOO_LARGE. */
void connection_refuse_frame(struct connection *connection,
                             struct view start,
                             int condition,
                             size_t size);

/* connection_receive.c */

/* Is there room for one more? Return: false: it was ended, or pause.is_throttled. */
bool connection_receive_begin(struct connection *connection,
                              const struct packet_publish *publish);
/* The answer to a PUBLISH of QoS 1 or 2; type and packet id of @debt are set here. */
void connection_receive_owe(struct connection *connection,
                            const struct packet_publish *publish,
                            const struct connection_debt *debt);
/* Answers a PUBLISH that is a repetition. Return: false: it is none. */
bool connection_receive_again(struct connection *connection,
                              const struct packet_publish *publish);
/* Return: false: leave it where it is. */
bool connection_on_pubrel(struct connection *connection, const struct packet_frame *frame);
/* One was answered finally. A PUBREL of an earlier connection ends what is not counted. */
static inline void connection_receive_end(struct connection *connection)
{
    connection->in_flight -= connection->in_flight > 0;
}

/* connection_alias.c */

/* The topic of a PUBLISH that has an alias: sets the alias, or what it stands for in @publish.
 * The same again if the packet is offered again. Return: false: the connection was ended. */
bool connection_alias_apply(struct connection *connection, struct packet_publish *publish);
void connection_aliases_done(struct connection *connection);

/* connection_will.c */

/* Before the owner is asked; nothing if it was kept before. Return: false: no memory. */
bool connection_will_keep(struct connection *connection, const struct packet_connect *connect);
void connection_will_discard(struct connection *connection);

/* connection_subscribe.c */

void connection_on_subscribe(struct connection *connection, const struct packet_frame *frame);
void connection_on_unsubscribe(struct connection *connection, const struct packet_frame *frame);
/* Sends the answer that waits. Return: was there one? */
bool connection_release_answer(struct connection *connection);
void connection_answer_done(struct connection *connection);

/* connection_deliver.c */

/* A PUBACK for a message that is not known has no effect. */
void connection_on_puback(struct connection *connection, const struct packet_frame *frame);
/* Does the owner wait for room in the output, which an event of the socket will report? */
bool connection_wants_room(const struct connection *connection);
/* Calls ops->writable(), if the owner waits and there is room. Return: was it called? */
bool connection_offer_room(struct connection *connection);
void connection_window_done(struct connection *connection);

/* connection_out.c */

/* Room for @size bytes of one packet, then connection_out_end(). Both return false when the
 * packet cannot go out: then the connection was ended. */
bool connection_out_begin(struct connection *connection,
                          size_t size,
                          struct writer *ret_writer);
bool connection_out_end(struct connection *connection, const struct writer *writer);
/* Removes the first @size bytes of the output. */
void connection_out_consume(struct connection *connection, size_t size);
/* Write what the socket takes. */
void connection_out_flush(struct connection *connection);
/* Does so much wait for the client that nothing more may be read from it? */
bool connection_out_is_congested(const struct connection *connection);

/* Room for one more; call before offering a message. Return: 0 or -ENOMEM. */
MUST_CHECK int connection_owed_reserve(struct connection *connection);
void connection_owed_push(struct connection *connection, const struct connection_debt *debt);
bool connection_owed_is_full(const struct connection *connection);
/* Release the refusals that no accepted message precedes: no commit is needed for them. */
void connection_owed_release_refusals(struct connection *connection);
/* Messages of the open batch become refusals with @code; 3.1.1 has none, there all is
 * forgotten. What was accepted before stays owed. Return: was there one? */
bool connection_owed_refuse(struct connection *connection, uint8_t code);
/* Write released acknowledgements to the output as far as it has room. */
void connection_owed_pump(struct connection *connection);
void connection_owed_done(struct connection *connection);

#endif
