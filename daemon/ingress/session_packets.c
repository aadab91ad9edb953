/* SPDX-License-Identifier: MIT */
/*
 * session_packets.c - the answer to each type of packet
 *
 * Until CONNECT is accepted nothing else is understood. After that the gateway
 * takes PUBLISH with QoS 0 and 1, PINGREQ and DISCONNECT; it refuses SUBSCRIBE
 * and UNSUBSCRIBE without ending the connection; everything else breaks the
 * protocol, since the gateway never sends what it would answer.
 *
 * An error ends the session by session_refuse(), which leaves what the open batch
 * holds to be acknowledged first. Order inside on_publish(): what the standard
 * forbids, then what cannot be counted, then what the owner decides.
 */
#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/view.h"
#include "daemon/ingress/session-private.h"
#include "daemon/mqtt/packet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

/* Of a PUBLISH and of a will. */
#define MAXIMUM_QOS 1

/* The standard asks for 23 bytes; what is kept with each message has to end somewhere. */
#define CLIENT_ID_MAX          1024
#define CLIENT_ID_RANDOM_BYTES 8
#define CLIENT_ID_PREFIX       "auto-"
/* Properties up to this size need no memory of their own. */
#define PROPERTIES_ON_STACK 512

static void send_connack(struct session *session, const struct packet_connack *connack)
{
    struct writer writer;
    size_t size = PACKET_CONNACK_MAX(connack->assigned_client_id.size);

    if (!session_out_begin(session, size, &writer))
        return;
    packet_encode_connack(&writer, session->client.version, connack);
    (void)session_out_end(session, &writer); /* the session has ended then, nothing to undo */
}

/* A refused client must not pass for the holder of its client id. */
static void refuse_connect(struct session *session, uint8_t code, const char *why)
{
    send_connack(session, &(struct packet_connack){.code = code});
    session->client.id_size = 0;
    session_refuse(session, 0, why, packet_reason_text(code));
}

/* Version 5 has codes for what is wrong with it, 3.1.1 has none [3.1.1 MQTT-3.1.4-1]. */
static void
refuse_bad_connect(struct session *session, enum packet_version version, int condition)
{
    uint8_t code = packet_condition_code(condition);

    session->client.version = version;
    if (version == MQTT_5)
        refuse_connect(session, code, "bad CONNECT");
    else
        session_refuse(session, 0, "bad CONNECT", packet_reason_text(code));
}

static void refuse_version(struct session *session, int asked)
{
    /* A client of a level below 4 reads the CONNACK of 3.1.1, one above 5 that of 5
     * [MQTT-3.1.2-2]. */
    session->client.version = asked > MQTT_5 ? MQTT_5 : MQTT_3_1_1;
    refuse_connect(session, MQTT_UNSUPPORTED_VERSION, "CONNECT refused");
}

static bool keep_client_id(struct session *session, struct view id)
{
    uint8_t *copy = malloc(id.size);

    if (!copy)
        return false;
    memcpy(copy, id.data, id.size);
    session->client.id = copy;
    session->client.id_size = id.size;
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

static bool make_client_id(struct session *session)
{
    uint8_t random[CLIENT_ID_RANDOM_BYTES];
    char text[sizeof(CLIENT_ID_PREFIX) + 2 * sizeof(random)] = CLIENT_ID_PREFIX;

    if (!make_random(random, sizeof(random)))
        return false;
    size_t used = strlen(text);
    for (size_t i = 0; i < sizeof(random); i++, used += 2)
        (void)snprintf(text + used, sizeof(text) - used, "%02x", random[i]);
    return keep_client_id(session, view_of(text, used));
}

/* Return: MQTT_SUCCESS, or why the client cannot be had. */
static uint8_t take_client_id(struct session *session, const struct packet_connect *connect)
{
    if (connect->client_id.size > CLIENT_ID_MAX)
        return MQTT_CLIENT_ID_NOT_VALID;
    if (connect->client_id.size > 0)
        return keep_client_id(session, connect->client_id) ? MQTT_SUCCESS
                                                           : MQTT_SERVER_UNAVAILABLE;
    if (connect->version == MQTT_3_1_1 && !connect->clean_start)
        return MQTT_CLIENT_ID_NOT_VALID; /* 3.1.1 [MQTT-3.1.3-8] */
    return make_client_id(session) ? MQTT_SUCCESS : MQTT_SERVER_UNAVAILABLE;
}

/* The gateway keeps no session beyond the connection; a client that asked for one is
 * answered so. */
static void accept_connect(struct session *session, const struct packet_connect *connect)
{
    struct packet_connack connack = {
        .code = MQTT_SUCCESS,
        .maximum_qos = MAXIMUM_QOS,
        .receive_maximum = SESSION_RECEIVE_MAXIMUM,
        .maximum_packet_size = session->settings.max_packet < UINT32_MAX
                                   ? (uint32_t)session->settings.max_packet
                                   : UINT32_MAX,
        .has_session_expiry = connect->session_expiry_s > 0,
    };

    if (connect->client_id.size == 0)
        connack.assigned_client_id = session_client_id(session);
    session->client.asked_expiry = connect->session_expiry_s > 0;
    session->keep_alive.timeout_us = (uint64_t)connect->keep_alive_s * 1500000;
    session_move(session, SESSION_OPEN);
    bytes_set_cap(&session->input.bytes, session_packet_limit(session) + SESSION_INPUT_RESERVE);
    session_start_keep_alive(session);
    send_connack(session, &connack);
}

static uint8_t admit(struct session *session, const struct packet_connect *connect)
{
    if (connect->has_auth)
        return MQTT_BAD_AUTHENTICATION_METHOD;
    if (connect->version == MQTT_5 && connect->will_qos > MAXIMUM_QOS)
        return MQTT_QOS_NOT_SUPPORTED; /* [MQTT-3.2.2-12]; 3.1.1 knows no maximum */
    uint8_t code = take_client_id(session, connect);
    if (code != MQTT_SUCCESS)
        return code;
    return session->ops->connected(session->userdata, session);
}

static void on_first_packet(struct session *session, const struct packet_frame *frame)
{
    struct packet_connect connect = {.version = MQTT_3_1_1};

    if (frame->type != PACKET_CONNECT) {
        session_refuse(session, 0, "first packet is not CONNECT", NULL); /* [MQTT-3.1.0-1] */
        return;
    }
    int r = packet_decode_connect(frame, &connect);
    if (r == PACKET_E_VERSION) {
        refuse_version(session, (int)connect.version);
        return;
    }
    if (r != 0) {
        refuse_bad_connect(session, connect.version, r);
        return;
    }
    session->client.version = connect.version;
    session->client.max_packet = connect.maximum_packet_size;
    session->client.no_problem_info = connect.is_problem_info_off;
    uint8_t code = admit(session, &connect);
    if (session->state != SESSION_EXPECT_CONNECT)
        return; /* its owner closed it from inside the call */
    if (code == MQTT_SUCCESS)
        accept_connect(session, &connect);
    else
        refuse_connect(session, code, "CONNECT refused");
}

size_t session_packet_limit(const struct session *session)
{
    size_t limit = session->settings.max_packet;

    if (session->state == SESSION_EXPECT_CONNECT && limit > SESSION_CONNECT_MAX)
        limit = SESSION_CONNECT_MAX;
    return limit;
}

void session_refuse_frame(struct session *session, struct view start, int condition)
{
    enum packet_version version;

    if (session->state == SESSION_EXPECT_CONNECT &&
        packet_peek_version(start.data, start.size, &version) && version == MQTT_5)
        refuse_bad_connect(session, version, condition);
    else
        session_end_on_condition(session, "bad packet", condition);
}

/* QoS 1 in v5 is answered by its id; every other PUBLISH can only be refused by an end. */
static void
refuse_publish(struct session *session, const struct packet_publish *publish, uint8_t code)
{
    struct session_debt debt = {.packet_id = publish->packet_id, .code = code};

    if (publish->qos == 1 && session->client.version == MQTT_5)
        session_owed_push(session, &debt);
    else
        session_refuse(session, code, "PUBLISH refused", packet_reason_text(code));
}

/* What the owner decided. Return: false: keep the packet. */
static bool follow_verdict(struct session *session,
                           const struct packet_publish *publish,
                           const struct session_verdict *verdict)
{
    struct session_debt debt = {
        .packet_id = publish->packet_id, .code = MQTT_SUCCESS, .spool_id = verdict->spool_id};

    switch (verdict->kind) {
    case SESSION_ACCEPT:
        if (publish->qos == 1)
            session_owed_push(session, &debt);
        else
            session->output.is_in_batch = true;
        return true;
    case SESSION_REFUSE:
        refuse_publish(session, publish, verdict->code);
        return true;
    case SESSION_WAIT:
    case SESSION_BLOCK:
        session->pause.is_waiting = true;
        session->pause.is_blocked = verdict->kind == SESSION_BLOCK;
        session->input.is_ahead_over = false;
        return false;
    case SESSION_STOP:
        session->pause.is_stopped = true;
        return false;
    }
    return true;
}

static bool offer(struct session *session, const struct packet_publish *publish)
{
    uint8_t small[PROPERTIES_ON_STACK];
    AUTO_FREE uint8_t *large = NULL;
    uint8_t *kept = small;

    if (publish->properties.size > sizeof(small)) {
        kept = large = malloc(publish->properties.size);
        if (!large) {
            session_refuse(session, MQTT_UNSPECIFIED_ERROR, "no memory for properties", NULL);
            return true;
        }
    }
    size_t size = 0;
    if (publish->properties.size > 0)
        size = packet_keep_properties(publish, kept);
    struct session_publish offered = {.packet = publish, .kept_properties = {kept, size}};
    struct session_verdict verdict =
        session->ops->publish(session->userdata, session, &offered);
    if (session->state == SESSION_CLOSED)
        return true; /* its owner closed it from inside the call */
    return follow_verdict(session, publish, &verdict);
}

/* A v5 client knows the maximum from CONNACK [MQTT-3.3.4-7]; a 3.1.1 client cannot: it
 * waits. */
static bool has_room_for_debt(struct session *session)
{
    if (session_owed_is_full(session)) {
        if (session->client.version == MQTT_5)
            session_refuse(session, MQTT_RECEIVE_MAXIMUM_EXCEEDED,
                           "more PUBLISH than the receive maximum", NULL);
        else
            session->pause.is_throttled = true;
        return false;
    }
    if (session_owed_reserve(session) == 0)
        return true;
    session_refuse(session, MQTT_UNSPECIFIED_ERROR, "no memory for acknowledgements", NULL);
    return false;
}

static bool on_publish(struct session *session, const struct packet_frame *frame)
{
    struct packet_publish publish;
    int r = packet_decode_publish(frame, session->client.version, &publish);

    if (r != 0 && r != PACKET_E_TOPIC && r != PACKET_E_FORMAT) {
        session_end_on_condition(session, "bad PUBLISH", r);
        return true;
    }
    if (publish.qos > MAXIMUM_QOS) {
        session_refuse(session, MQTT_QOS_NOT_SUPPORTED, "PUBLISH with QoS 2", NULL);
        return true;
    }
    if (publish.has_topic_alias) {
        session_refuse(session, MQTT_TOPIC_ALIAS_INVALID, "PUBLISH with a topic alias", NULL);
        return true;
    }
    if (publish.qos == 1 && !has_room_for_debt(session))
        return !session->pause.is_throttled;
    if (r == 0)
        return offer(session, &publish);
    refuse_publish(session, &publish, packet_condition_code(r));
    return true;
}

static void send_suback(struct session *session,
                        enum packet_type type,
                        struct packet_subscribe *subscribe,
                        uint8_t code)
{
    struct writer writer;
    struct view filter;
    uint8_t options;
    size_t count = 0;

    while (packet_filter_next(&subscribe->filters, &filter,
                              type == PACKET_SUBACK ? &options : NULL))
        count++;
    if (count > SESSION_FILTERS_MAX) {
        session_refuse(session, MQTT_QUOTA_EXCEEDED, "too many filters in one packet", NULL);
        return;
    }
    if (!session_out_begin(session, PACKET_ACK_MAX + count, &writer))
        return;
    packet_encode_suback(&writer, session->client.version, type, subscribe->packet_id, code,
                         count);
    (void)session_out_end(session, &writer); /* the session has ended then, nothing to undo */
}

static bool on_subscribe(struct session *session, const struct packet_frame *frame)
{
    struct packet_subscribe subscribe;
    int r = packet_decode_subscribe(frame, session->client.version, &subscribe);

    if (r != 0)
        session_end_on_condition(session, "bad SUBSCRIBE", r);
    else
        send_suback(session, PACKET_SUBACK, &subscribe, MQTT_NOT_AUTHORIZED);
    return true;
}

static bool on_unsubscribe(struct session *session, const struct packet_frame *frame)
{
    struct packet_subscribe subscribe;
    int r = packet_decode_unsubscribe(frame, session->client.version, &subscribe);

    if (r != 0)
        session_end_on_condition(session, "bad UNSUBSCRIBE", r);
    else
        send_suback(session, PACKET_UNSUBACK, &subscribe, MQTT_NO_SUBSCRIPTION_EXISTED);
    return true;
}

/*
 * Nothing of QoS 2 is ever begun here. v5 has a word for that; to a 3.1.1
 * client a PUBCOMP would say "delivered", so its connection ends instead.
 */
static bool on_pubrel(struct session *session, const struct packet_frame *frame)
{
    struct packet_reason reason;
    struct writer writer;
    int r = packet_decode_ack(frame, session->client.version, &reason);

    if (r != 0) {
        session_end_on_condition(session, "bad PUBREL", r);
        return true;
    }
    if (session->client.version != MQTT_5) {
        session_refuse(session, 0, "PUBREL without PUBLISH", NULL);
        return true;
    }
    if (!session_out_begin(session, PACKET_ACK_MAX, &writer))
        return true;
    packet_encode_ack(&writer, session->client.version, PACKET_PUBCOMP, reason.packet_id,
                      MQTT_PACKET_ID_NOT_FOUND, 0);
    (void)session_out_end(session, &writer); /* the session has ended then, nothing to undo */
    return true;
}

static void send_pingresp(struct session *session)
{
    struct writer writer;

    if (!session_out_begin(session, PACKET_ACK_MAX, &writer))
        return;
    packet_encode_pingresp(&writer);
    (void)session_out_end(session, &writer); /* the session has ended then, nothing to undo */
}

static bool on_pingreq(struct session *session, const struct packet_frame *frame)
{
    (void)frame; /* packet_next() has checked all there is */
    if (session->input.answered == 0)
        send_pingresp(session);
    return true;
}

/*
 * Packets behind the blocked one are skipped by their headers: each is parsed when its turn
 * comes, which also finds its errors. PINGREQs that came last are taken out at once, so that
 * the pings of a client that waits for days need no memory.
 */
bool session_answer_pings(struct session *session)
{
    struct session_input *input = &session->input;
    struct view view = bytes_view(&input->bytes);
    size_t limit = session_packet_limit(session);
    size_t pings = 0; /* bytes of those that came last */
    bool has_answered = false;
    struct packet_frame frame;

    while (session->state == SESSION_OPEN && !session_out_is_congested(session) &&
           packet_next(view.data + input->answered, view.size - input->answered, limit,
                       &frame) == 0) {
        bool is_ping = frame.type == PACKET_PINGREQ;

        if (is_ping)
            send_pingresp(session);
        has_answered = has_answered || is_ping;
        input->answered += frame.size;
        pings = is_ping ? pings + frame.size : 0;
    }
    input->answered -= pings;
    bytes_erase(&input->bytes, input->answered, pings);
    return has_answered;
}

static bool on_disconnect(struct session *session, const struct packet_frame *frame)
{
    struct packet_reason reason;
    int r = packet_decode_disconnect(frame, session->client.version, &reason);

    if (r != 0)
        session_end_on_condition(session, "bad DISCONNECT", r);
    else if (reason.has_session_expiry && reason.session_expiry_s > 0 &&
             !session->client.asked_expiry)
        session_refuse(session, MQTT_PROTOCOL_ERROR,
                       "DISCONNECT asks for a session that CONNECT did not",
                       NULL); /* MQTT 5, 3.14.2.2.2 */
    else
        session_end(session, 0, "client disconnected", NULL);
    return true;
}

typedef bool packet_handler(struct session *session, const struct packet_frame *frame);

static packet_handler *const handlers[] = {
    [PACKET_PUBLISH] = on_publish,
    [PACKET_PUBREL] = on_pubrel,
    [PACKET_SUBSCRIBE] = on_subscribe,
    [PACKET_UNSUBSCRIBE] = on_unsubscribe,
    [PACKET_PINGREQ] = on_pingreq,
    [PACKET_DISCONNECT] = on_disconnect,
    [PACKET_AUTH] = NULL,
};

bool session_take_packet(struct session *session, const struct packet_frame *frame)
{
    if (session->state == SESSION_EXPECT_CONNECT) {
        on_first_packet(session, frame);
        return true;
    }
    if (handlers[frame->type])
        return handlers[frame->type](session, frame);
    session_refuse(session, MQTT_PROTOCOL_ERROR,
                   frame->type == PACKET_CONNECT
                       ? "second CONNECT" /* [MQTT-3.1.0-2] */
                       : "packet of a type that no client may send here",
                   NULL);
    return true;
}
