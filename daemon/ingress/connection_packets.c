/* SPDX-License-Identifier: MIT */
/*
 * connection_packets.c - the answer to each type of packet
 *
 * Until CONNECT is accepted nothing else is understood. After that the gateway
 * takes PUBLISH, PINGREQ and DISCONNECT; SUBSCRIBE, UNSUBSCRIBE, PUBREL and PUBACK have
 * files of their own; everything else breaks the protocol, since the gateway never
 * sends what it would answer.
 *
 * An error ends the connection by connection_refuse(), which leaves what the open batch
 * holds to be acknowledged first. Order inside on_publish(): what the standard
 * forbids, then what cannot be counted, then what the owner decides.
 */
#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/view.h"
#include "daemon/ingress/connection-private.h"
#include "daemon/mqtt/packet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

/* The standard asks for 23 bytes; what is kept with each message has to end somewhere. */
#define CLIENT_ID_MAX          1024
#define CLIENT_ID_RANDOM_BYTES 8
#define CLIENT_ID_PREFIX       "auto-"
/* Properties up to this size need no memory of their own. */
#define PROPERTIES_ON_STACK 512

/* Nothing may be sent in its place. */
static void send_connack(struct connection *connection, const struct packet_connack *connack)
{
    struct writer writer;
    size_t size = PACKET_CONNACK_MAX(connack->assigned_client_id.size);
    bool is_sent = connection_out_begin(connection, size, &writer);

    if (is_sent) {
        packet_encode_connack(&writer, connection->client.version, connack);
        is_sent = connection_out_end(connection, &writer);
    }
    if (!is_sent)
        connection->end.code = 0;
}

/* A refused client must not pass for the holder of its client id. */
static void refuse_connect(struct connection *connection, uint8_t code, const char *why)
{
    send_connack(connection, &(struct packet_connack){.code = code});
    connection->client.id_size = 0;
    connection_refuse(connection, 0, why, packet_reason_text(code));
}

/* Version 5 has codes for what is wrong with it, 3.1.1 has none [3.1.1 MQTT-3.1.4-1]. */
static void
refuse_bad_connect(struct connection *connection, enum packet_version version, int condition)
{
    uint8_t code = packet_condition_code(condition);

    connection->client.version = version;
    if (version == MQTT_5)
        refuse_connect(connection, code, "bad CONNECT");
    else
        connection_refuse(connection, 0, "bad CONNECT", packet_reason_text(code));
}

static void refuse_version(struct connection *connection, int asked)
{
    /* A client of a level below 4 reads the CONNACK of 3.1.1, one above 5 that of 5
     * [MQTT-3.1.2-2]. */
    connection->client.version = asked > MQTT_5 ? MQTT_5 : MQTT_3_1_1;
    refuse_connect(connection, MQTT_UNSUPPORTED_VERSION, "CONNECT refused");
}

static bool keep_client_id(struct connection *connection, struct view id)
{
    uint8_t *copy = malloc(id.size);

    if (!copy)
        return false;
    memcpy(copy, id.data, id.size);
    connection->client.id = copy;
    connection->client.id_size = id.size;
    return true;
}

/* Unlike a key, a client id needs no entropy, and the loop must not wait until there is
 * some. */
static bool make_random(void *to, size_t size)
{
    ssize_t n = getrandom(to, size, GRND_INSECURE);

    if (n < 0 && errno == EINVAL) /* before Linux 5.6 */
        n = getrandom(to, size, GRND_NONBLOCK);
    return n == (ssize_t)size;
}

static bool make_client_id(struct connection *connection)
{
    uint8_t random[CLIENT_ID_RANDOM_BYTES];
    char text[sizeof(CLIENT_ID_PREFIX) + 2 * sizeof(random)] = CLIENT_ID_PREFIX;

    if (!make_random(random, sizeof(random)))
        return false;
    size_t used = strlen(text);
    for (size_t i = 0; i < sizeof(random); i++, used += 2)
        (void)snprintf(text + used, sizeof(text) - used, "%02x", random[i]);
    return keep_client_id(connection, view_of(text, used));
}

/* Return: MQTT_SUCCESS, or why the client cannot be had. */
static uint8_t take_client_id(struct connection *connection,
                              const struct packet_connect *connect)
{
    if (connection->client.id_size > 0)
        return MQTT_SUCCESS; /* it has waited */
    if (connect->client_id.size > CLIENT_ID_MAX)
        return MQTT_CLIENT_ID_NOT_VALID;
    if (connect->client_id.size > 0)
        return keep_client_id(connection, connect->client_id) ? MQTT_SUCCESS
                                                              : MQTT_SERVER_UNAVAILABLE;
    if (connect->version == MQTT_3_1_1 && !connect->clean_start)
        return MQTT_CLIENT_ID_NOT_VALID; /* 3.1.1 [MQTT-3.1.3-8] */
    return make_client_id(connection) ? MQTT_SUCCESS : MQTT_SERVER_UNAVAILABLE;
}

static void accept_connect(struct connection *connection,
                           const struct packet_connect *connect,
                           const struct connection_admission *admission)
{
    struct packet_connack connack = {
        .code = MQTT_SUCCESS,
        .session_present = admission->has_session,
        .maximum_qos = 2,
        .receive_maximum = CONNECTION_RECEIVE_MAXIMUM,
        .topic_alias_maximum = CONNECTION_ALIAS_MAX,
        .maximum_packet_size = connection->settings.max_packet < UINT32_MAX
                                   ? (uint32_t)connection->settings.max_packet
                                   : UINT32_MAX,
        .has_session_expiry = connect->session_expiry_s != admission->session_expiry_s,
        .session_expiry_s = admission->session_expiry_s,
    };

    if (connect->client_id.size == 0)
        connack.assigned_client_id = connection_client_id(connection);
    connection->client.asked_expiry = connect->session_expiry_s > 0;
    connection->keep_alive.timeout_us = (uint64_t)connect->keep_alive_s * 1500000;
    connection_move(connection, CONNECTION_OPEN);
    bytes_set_cap(&connection->input.bytes,
                  connection_packet_limit(connection) + CONNECTION_INPUT_RESERVE);
    connection_start_keep_alive(connection);
    send_connack(connection, &connack);
    connection->output.window.is_owner_ready = admission->has_session;
}

static uint8_t admit(struct connection *connection,
                     const struct packet_connect *connect,
                     struct connection_admission *ret)
{
    uint32_t kept_s = connect->clean_start ? 0 : CONNECTION_NO_EXPIRY;
    struct connection_connect wanted = {
        .is_clean = connect->clean_start,
        .session_expiry_s = connect->version == MQTT_5 ? connect->session_expiry_s : kept_s,
    };

    if (connect->has_auth)
        return MQTT_BAD_AUTHENTICATION_METHOD;
    uint8_t code = take_client_id(connection, connect);
    if (code != MQTT_SUCCESS)
        return code;
    if (!connection_will_keep(connection, connect))
        return MQTT_SERVER_UNAVAILABLE;
    return connection->ops->connected(connection->userdata, connection, &wanted, ret);
}

/* Return: false: it waits. */
static bool decide_connect(struct connection *connection, const struct packet_connect *connect)
{
    struct connection_admission admission = {0};

    connection->client.version = connect->version;
    connection->client.max_packet = connect->maximum_packet_size;
    connection->client.receive_maximum = connect->receive_maximum;
    connection->client.no_problem_info = connect->is_problem_info_off;
    uint8_t code = admit(connection, connect, &admission);
    if (connection->state != CONNECTION_EXPECT_CONNECT)
        return true; /* its owner closed it from inside the call */
    connection->pause.is_waiting = code == MQTT_SUCCESS && admission.is_waiting;
    if (connection->pause.is_waiting)
        return false;
    if (code == MQTT_SUCCESS)
        accept_connect(connection, connect, &admission);
    else
        refuse_connect(connection, code, "CONNECT refused");
    return true;
}

static bool on_first_packet(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_connect connect = {.version = MQTT_3_1_1};

    if (frame->type != PACKET_CONNECT) {
        connection_refuse(connection, 0, "first packet is not CONNECT",
                          NULL); /* [MQTT-3.1.0-1] */
        return true;
    }
    int r = packet_decode_connect(frame, &connect);
    if (r == PACKET_E_VERSION) {
        refuse_version(connection, (int)connect.version);
        return true;
    }
    if (r != 0) {
        refuse_bad_connect(connection, connect.version, r);
        return true;
    }
    return decide_connect(connection, &connect);
}

size_t connection_packet_limit(const struct connection *connection)
{
    size_t limit = connection->settings.max_packet;

    if (connection->state == CONNECTION_EXPECT_CONNECT && limit > CONNECTION_CONNECT_MAX)
        limit = CONNECTION_CONNECT_MAX;
    return limit;
}

void connection_refuse_frame(struct connection *connection,
                             struct view start,
                             int condition,
                             size_t size)
{
    enum packet_version version;
    char detail[96];

    if (connection->state == CONNECTION_EXPECT_CONNECT &&
        packet_peek_version(start.data, start.size, &version) && version == MQTT_5)
        refuse_bad_connect(connection, version, condition);
    else if (condition == PACKET_E_TOO_LARGE && connection->state == CONNECTION_OPEN) {
        (void)snprintf(detail, sizeof(detail),
                       "packet too large (%zu bytes, listen.max_packet is %zu)", size,
                       connection_packet_limit(connection));
        connection_refuse(connection, packet_condition_code(condition), "bad packet", detail);
    } else
        connection_end_on_condition(connection, "bad packet", condition);
}

/* QoS 1 and 2 in v5 are answered by their id; every other PUBLISH can only be refused by an
 * end. */
static bool has_answer(const struct connection *connection,
                       const struct packet_publish *publish)
{
    return publish->qos > 0 && connection->client.version == MQTT_5;
}

static void refuse_publish(struct connection *connection,
                           const struct packet_publish *publish,
                           const struct connection_verdict *verdict)
{
    struct connection_debt debt = {.code = verdict->code,
                                   .is_too_large = verdict->is_too_large};

    if (has_answer(connection, publish))
        connection_receive_owe(connection, publish, &debt);
    else
        connection_refuse(connection, verdict->code, "PUBLISH refused",
                          verdict->why ? verdict->why : packet_reason_text(verdict->code));
}

/* What the owner decided. Return: false: keep the packet. */
static bool follow_verdict(struct connection *connection,
                           const struct packet_publish *publish,
                           const struct connection_verdict *verdict)
{
    struct connection_debt debt = {.code = MQTT_SUCCESS, .spool_id = verdict->spool_id};

    switch (verdict->kind) {
    case CONNECTION_ACCEPT:
        if (publish->qos > 0)
            connection_receive_owe(connection, publish, &debt);
        else
            connection->output.is_in_batch = true;
        return true;
    case CONNECTION_REFUSE:
        refuse_publish(connection, publish, verdict);
        return true;
    case CONNECTION_WAIT:
    case CONNECTION_BLOCK:
    case CONNECTION_THROTTLE:
        connection->pause.is_waiting = true;
        connection->pause.has_pings = verdict->kind != CONNECTION_WAIT;
        connection->pause.is_blocked = verdict->kind == CONNECTION_BLOCK;
        connection->input.is_ahead_over = false;
        return false;
    case CONNECTION_STOP:
        connection->pause.is_stopped = true;
        return false;
    }
    return true;
}

static bool offer(struct connection *connection, const struct packet_publish *publish)
{
    uint8_t small[PROPERTIES_ON_STACK];
    AUTO_FREE uint8_t *large = NULL;
    uint8_t *kept = small;

    if (publish->properties.size > sizeof(small)) {
        kept = large = malloc(publish->properties.size);
        if (!large) {
            connection_refuse(connection, MQTT_UNSPECIFIED_ERROR, "no memory for properties",
                              NULL);
            return true;
        }
    }
    size_t size = 0;
    if (publish->properties.size > 0)
        size = packet_keep_properties(publish, kept);
    struct connection_publish offered = {.packet = publish,
                                         .kept_properties = {kept, size},
                                         .has_answer = has_answer(connection, publish),
                                         .is_first = !connection->input.has_offered};
    connection->input.has_offered = true;
    struct connection_verdict verdict =
        connection->ops->publish(connection->userdata, connection, &offered);
    if (connection->state == CONNECTION_CLOSED)
        return true; /* its owner closed it from inside the call */
    return follow_verdict(connection, publish, &verdict);
}

static bool on_publish(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_publish publish;
    int r = packet_decode_publish(frame, connection->client.version, &publish);

    if (r != 0 && r != PACKET_E_TOPIC && r != PACKET_E_FORMAT) {
        connection_end_on_condition(connection, "bad PUBLISH", r);
        return true;
    }
    if (publish.has_topic_alias) {
        if (!connection_alias_apply(connection, &publish))
            return true;
        if (r == 0 && !packet_topic_is_valid(publish.topic))
            r = PACKET_E_TOPIC;
    }
    if (!connection_receive_begin(connection, &publish))
        return !connection->pause.is_throttled;
    if (connection_receive_again(connection, &publish))
        return true;
    if (r == 0 && publish.qos == 2 &&
        connection->unreleased.count >= CONNECTION_UNRELEASED_MAX) {
        refuse_publish(connection, &publish,
                       &(struct connection_verdict){.code = MQTT_QUOTA_EXCEEDED,
                                                    .why = "too many packet ids of QoS 2 were "
                                                           "not released by PUBREL"});
        return true;
    }
    if (r == 0)
        return offer(connection, &publish);
    refuse_publish(connection, &publish,
                   &(struct connection_verdict){.code = packet_condition_code(r)});
    return true;
}

static bool on_subscribe(struct connection *connection, const struct packet_frame *frame)
{
    connection_on_subscribe(connection, frame);
    return true;
}

static bool on_unsubscribe(struct connection *connection, const struct packet_frame *frame)
{
    connection_on_unsubscribe(connection, frame);
    return true;
}

static bool on_puback(struct connection *connection, const struct packet_frame *frame)
{
    connection_on_puback(connection, frame);
    return true;
}

static void send_pingresp(struct connection *connection)
{
    struct writer writer;

    if (!connection_out_begin(connection, PACKET_ACK_MAX, &writer))
        return;
    packet_encode_pingresp(&writer);
    (void)connection_out_end(connection,
                             &writer); /* the connection has ended then, nothing to undo */
}

static bool on_pingreq(struct connection *connection, const struct packet_frame *frame)
{
    (void)frame; /* packet_next() has checked all there is */
    if (connection->input.answered == 0)
        send_pingresp(connection);
    return true;
}

/*
 * Packets behind the blocked one are skipped by their headers: each is parsed when its turn
 * comes, which also finds its errors. PINGREQs that came last are taken out at once, so that
 * the pings of a client that waits for days need no memory.
 */
bool connection_answer_pings(struct connection *connection)
{
    struct connection_input *input = &connection->input;
    struct view view = bytes_view(&input->bytes);
    size_t limit = connection_packet_limit(connection);
    size_t pings = 0; /* bytes of those that came last */
    bool has_answered = false;
    struct packet_frame frame;

    while (connection->state == CONNECTION_OPEN && !connection_out_is_congested(connection) &&
           packet_next(view.data + input->answered, view.size - input->answered, limit,
                       &frame) == 0) {
        bool is_ping = frame.type == PACKET_PINGREQ;

        if (is_ping)
            send_pingresp(connection);
        has_answered = has_answered || is_ping;
        input->answered += frame.size;
        pings = is_ping ? pings + frame.size : 0;
    }
    input->answered -= pings;
    bytes_erase(&input->bytes, input->answered, pings);
    return has_answered;
}

/* [MQTT-3.14.4-3]; every other code asks for the will. */
static void leave(struct connection *connection, const struct packet_reason *reason)
{
    if (reason->code == MQTT_SUCCESS)
        connection_will_discard(connection);
    if (reason->has_session_expiry && connection->ops->expiry_changed)
        connection->ops->expiry_changed(connection->userdata, connection,
                                        reason->session_expiry_s);
    connection_end(connection, 0,
                   reason->code == MQTT_SUCCESS ? "client disconnected"
                                                : "client disconnected with an error",
                   NULL);
}

static bool on_disconnect(struct connection *connection, const struct packet_frame *frame)
{
    struct packet_reason reason;
    int r = packet_decode_disconnect(frame, connection->client.version, &reason);

    if (r != 0)
        connection_end_on_condition(connection, "bad DISCONNECT", r);
    else if (reason.has_session_expiry && reason.session_expiry_s > 0 &&
             !connection->client.asked_expiry)
        connection_refuse(connection, MQTT_PROTOCOL_ERROR,
                          "DISCONNECT asks for a session that CONNECT did not",
                          NULL); /* MQTT 5, 3.14.2.2.2 */
    else
        leave(connection, &reason);
    return true;
}

typedef bool packet_handler(struct connection *connection, const struct packet_frame *frame);

static packet_handler *const handlers[] = {
    [PACKET_PUBLISH] = on_publish,          [PACKET_PUBACK] = on_puback,
    [PACKET_PUBREL] = connection_on_pubrel, [PACKET_SUBSCRIBE] = on_subscribe,
    [PACKET_UNSUBSCRIBE] = on_unsubscribe,  [PACKET_PINGREQ] = on_pingreq,
    [PACKET_DISCONNECT] = on_disconnect,    [PACKET_AUTH] = NULL,
};

bool connection_take_packet(struct connection *connection, const struct packet_frame *frame)
{
    if (connection->state == CONNECTION_EXPECT_CONNECT) {
        return on_first_packet(connection, frame);
    }
    if (handlers[frame->type])
        return handlers[frame->type](connection, frame);
    connection_refuse(connection, MQTT_PROTOCOL_ERROR,
                      frame->type == PACKET_CONNECT
                          ? "second CONNECT" /* [MQTT-3.1.0-2] */
                          : "packet of a type that no client may send here",
                      NULL);
    return true;
}
