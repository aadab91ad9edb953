/* SPDX-License-Identifier: MIT */
/*
 * fuzz_connection.c - fuzz target of a producer's connection, from its socket to its owner
 *
 * The input is a script and the bytes of a client. They are written to a connection
 * over a socket pair, in pieces; between them the owner commits, rolls back,
 * resumes or closes, and answers each PUBLISH, as the script says. Promises of
 * connection.h: acknowledgements are in the order of the PUBLISH packets and never
 * more than those; a success is sent only for what was accepted, and not before
 * its commit; messages to the client are those that were sent, at most a window of
 * them without an acknowledgement; memory is bounded; after its end the connection
 * calls nothing; a client that was rejected leaves no will; and a client that left gets what
 * it is owed, and is closed. Of QoS 2, over all connections of a session that is kept: what is
 * offered was not accepted before, and a repetition is of what was.
 *
 * Layout: byte 0: options; byte 1: the length of the script; the script; the rest
 * is sent by the client, which connects again when its connection has ended. A script
 * that is used up continues with zeros.
 *
 * Built twice: with libFuzzer, and with replay.c over the corpus.
 */
#include "tests/fuzz/promise.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "tests/fuzz/fake_session.h"

#define CLIENT_MAX   ((size_t)256 * 1024) /* bytes that one client sends */
#define MESSAGES_MAX 65536
#define MEMORY_SLACK                                                                           \
    ((size_t)64 * 1024) /* of the loop, the client id and the list of owed ones */
#define ROUNDS_MAX      200
#define CONNECTIONS_MAX 4

/* What a sanitizer has handed out; NULL in a build without one. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

struct accepted {
    uint64_t spool_id;
    uint16_t packet_id;
    bool is_of_qos_2;
    bool is_repeated;
};

struct fuzz {
    struct fake_session session; /* over all connections */
    sd_event *event;
    struct connection *connection;
    int client_fd;
    const uint8_t *script;
    size_t script_size;
    size_t max_packet;
    size_t memory_before;

    /* What the client sent. */
    uint8_t sent[CLIENT_MAX];
    size_t sent_size;
    size_t parsed; /* of these bytes */
    uint16_t published[MESSAGES_MAX];
    size_t published_count; /* PUBLISH packets of QoS 1 and 2 */

    /* What the owner decided. */
    struct accepted accepted[MESSAGES_MAX];
    size_t accepted_count; /* of QoS 1 and 2, with repetitions */
    size_t released_count; /* of those, committed */
    uint64_t next_id;
    bool is_connected;
    bool is_rejected; /* by the owner, at CONNECT */
    bool is_waiting;
    bool is_closed;
    bool has_lost; /* what was accepted need not be acknowledged any more */
    bool has_stopped;
    bool is_ending; /* of this connection: all is accepted */
    bool is_cut;    /* by the client */

    /* What the client received. */
    uint8_t received[128 * 1024];
    size_t received_size;
    size_t packets;
    size_t acknowledged;
    size_t successes;
    bool has_disconnect;

    /* Messages to the client. */
    size_t messages_queued;
    size_t messages_received;
};

static uint8_t next(struct fuzz *fuzz)
{
    if (fuzz->script_size == 0 || fuzz->is_ending)
        return 0;
    fuzz->script_size--;
    return *fuzz->script++;
}

/* ---- the owner ---- */

static uint8_t refusal(struct fuzz *fuzz)
{
    static const uint8_t codes[] = {MQTT_QUOTA_EXCEEDED, MQTT_UNSPECIFIED_ERROR,
                                    MQTT_NOT_AUTHORIZED, MQTT_TOPIC_NAME_INVALID};

    return codes[next(fuzz) % sizeof(codes)];
}

/* One that the client resumes may come from before the input. */
static void
begin_session(struct fuzz *fuzz, const struct connection_connect *connect, uint8_t choice)
{
    struct fake_session *session = &fuzz->session;

    if (connect->is_clean) {
        fake_session_clear(session);
        return;
    }
    if (!session->is_kept && choice % 2 == 0) {
        fake_session_clear(session);
        session->is_kept = true;
        fake_session_use(session, choice);
        session->now[choice] = session->durable[choice] = true;
    }
    if (session->is_kept)
        fake_session_resume(session, fuzz->connection);
}

static uint8_t on_connected(void *userdata,
                            struct connection *connection,
                            const struct connection_connect *connect,
                            struct connection_admission *ret)
{
    struct fuzz *fuzz = userdata;
    uint8_t choice = next(fuzz);

    PROMISE(!fuzz->is_closed && !fuzz->is_connected && !fuzz->is_rejected);
    PROMISE(connection_client_id(connection).size > 0);
    ret->is_waiting = choice % 16 == 14;
    if (ret->is_waiting)
        return MQTT_SUCCESS;
    fuzz->is_rejected = choice % 16 == 15;
    fuzz->is_connected = !fuzz->is_rejected;
    if (fuzz->is_rejected)
        return MQTT_SERVER_UNAVAILABLE;
    begin_session(fuzz, connect, choice);
    ret->has_session = fuzz->session.is_kept && !connect->is_clean;
    fuzz->session.expiry_s = choice % 8 == 6 ? 0 : connect->session_expiry_s;
    fuzz->session.is_kept = ret->has_session || fuzz->session.expiry_s > 0;
    ret->session_expiry_s = fuzz->session.expiry_s;
    return MQTT_SUCCESS;
}

static void
on_expiry_changed(void *userdata, struct connection *connection, uint32_t session_expiry_s)
{
    struct fuzz *fuzz = userdata;

    PROMISE(fuzz->is_connected && !fuzz->is_closed);
    PROMISE(connection_version(connection) == MQTT_5);
    fuzz->session.expiry_s = session_expiry_s;
}

static void accept_message(struct fuzz *fuzz, const struct packet_publish *packet, uint64_t id)
{
    if (packet->qos == 0)
        return;
    if (packet->qos == 2)
        fake_session_add(&fuzz->session, packet->packet_id);
    PROMISE(fuzz->accepted_count < MESSAGES_MAX);
    fuzz->accepted[fuzz->accepted_count++] = (struct accepted){
        .spool_id = id, .packet_id = packet->packet_id, .is_of_qos_2 = packet->qos == 2};
}

static uint64_t on_repeated(void *userdata, struct connection *connection, uint16_t packet_id)
{
    struct fuzz *fuzz = userdata;

    (void)connection;
    PROMISE(fuzz->is_connected && !fuzz->is_closed && !fuzz->is_waiting);
    fake_session_repeated(&fuzz->session, packet_id);
    PROMISE(fuzz->accepted_count < MESSAGES_MAX);
    fuzz->accepted[fuzz->accepted_count++] =
        (struct accepted){.packet_id = packet_id, .is_repeated = true};
    return 0;
}

static bool on_released(void *userdata, struct connection *connection, uint16_t packet_id)
{
    struct fuzz *fuzz = userdata;

    (void)connection;
    PROMISE(fuzz->is_connected && !fuzz->is_closed && !fuzz->is_waiting);
    return fake_session_release(&fuzz->session, packet_id);
}

static enum connection_verdict_kind choose(struct fuzz *fuzz)
{
    static const enum connection_verdict_kind kinds[] = {
        CONNECTION_ACCEPT, CONNECTION_ACCEPT, CONNECTION_ACCEPT,
        CONNECTION_ACCEPT, CONNECTION_REFUSE, CONNECTION_REFUSE,
        CONNECTION_WAIT,   CONNECTION_BLOCK,  CONNECTION_THROTTLE};
    uint8_t choice = next(fuzz);

    if (choice == 255)
        return CONNECTION_STOP;
    return kinds[choice % (sizeof(kinds) / sizeof(kinds[0]))];
}

static struct connection_verdict on_publish(void *userdata,
                                            struct connection *connection,
                                            const struct connection_publish *publish)
{
    struct fuzz *fuzz = userdata;
    struct connection_verdict verdict = {.kind = choose(fuzz), .spool_id = ++fuzz->next_id};

    PROMISE(fuzz->is_connected && !fuzz->is_closed);
    PROMISE(!fuzz->is_waiting && !fuzz->has_stopped);
    PROMISE(publish->packet->qos <= 2 && packet_topic_is_valid(publish->packet->topic));
    if (publish->packet->qos == 2)
        fake_session_offered(&fuzz->session, publish->packet->packet_id);
    PROMISE(publish->kept_properties.size <= publish->packet->properties.size);
    if (next(fuzz) == 254)
        connection_close(connection, MQTT_SERVER_SHUTTING_DOWN, "closed inside of its call");
    if (verdict.kind == CONNECTION_REFUSE)
        verdict.code = refusal(fuzz);
    fuzz->is_waiting = verdict.kind == CONNECTION_WAIT || verdict.kind == CONNECTION_BLOCK ||
                       verdict.kind == CONNECTION_THROTTLE;
    fuzz->has_stopped = verdict.kind == CONNECTION_STOP;
    if (verdict.kind == CONNECTION_BLOCK)
        fuzz->has_lost = true; /* its client may be closed at once */
    if (verdict.kind == CONNECTION_ACCEPT && !fuzz->is_closed)
        accept_message(fuzz, publish->packet, verdict.spool_id);
    return verdict;
}

static uint8_t on_subscribe(void *userdata,
                            struct connection *connection,
                            const struct connection_subscribe *subscribe)
{
    struct fuzz *fuzz = userdata;

    (void)connection;
    PROMISE(fuzz->is_connected && !fuzz->is_closed);
    PROMISE(packet_filter_is_valid(subscribe->filter) && subscribe->qos <= 2);
    return next(fuzz) % 2 == 0 ? (uint8_t)(subscribe->qos > 0) : MQTT_NOT_AUTHORIZED;
}

static uint8_t on_unsubscribe(void *userdata, struct connection *connection, struct view filter)
{
    (void)userdata;
    (void)connection;
    PROMISE(packet_filter_is_valid(filter));
    return MQTT_SUCCESS;
}

static bool on_subscribed(void *userdata, struct connection *connection)
{
    (void)connection;
    return next(userdata) % 4 == 3;
}

static void on_acknowledged(void *userdata, struct connection *connection, uint64_t tag)
{
    struct fuzz *fuzz = userdata;

    (void)connection;
    PROMISE(fuzz->is_connected && !fuzz->is_closed);
    fake_session_acknowledged(&fuzz->session, tag);
}

/* Packet ids of a session that is kept are its owner's. */
static struct fake_delivery *choose_delivery(struct fuzz *fuzz, uint8_t qos)
{
    struct fake_session *session = &fuzz->session;
    struct fake_delivery *delivery = qos > 0 ? fake_session_next(session) : NULL;

    if (!delivery || delivery->is_unsent)
        return delivery;
    *delivery = (struct fake_delivery){.tag = ++session->last_tag};
    if (session->is_kept)
        delivery->packet_id = (uint16_t)(1 + session->last_tag % CONNECTION_OWNER_ID_MAX);
    return delivery;
}

static void note_sent(struct fuzz *fuzz, struct fake_delivery *delivery)
{
    fuzz->messages_queued++;
    if (!delivery)
        return;
    fuzz->session.delivery_count += !delivery->is_unsent; /* else it is in the list */
    delivery->is_unsent = false;
}

static void send_message(struct fuzz *fuzz)
{
    static const uint8_t payload[20000];
    uint8_t choice = next(fuzz);
    struct fake_delivery *delivery = choose_delivery(fuzz, choice & 1);
    struct connection_message message = {
        .topic = view_of_text("$SYS/x"),
        .payload = view_of(payload, choice % 8 == 7 ? sizeof(payload) : choice),
        .qos = choice & 1,
        .has_correlation = (choice & 4) != 0,
        .correlation = view_of_text("c"),
    };
    int r;

    if (message.qos > 0 && !delivery) { /* as many as are not acknowledged: one more is void */
        message.tag = UINT64_MAX;
        r = connection_send(fuzz->connection, &message);
        PROMISE(r == CONNECTION_E_FULL || r == CONNECTION_E_ENDED ||
                r == CONNECTION_E_TOO_LARGE);
        return;
    }
    if (delivery) {
        message.tag = delivery->tag;
        message.packet_id = delivery->packet_id;
        message.is_repeated = delivery->is_unsent;
    }
    r = connection_send(fuzz->connection, &message);
    if (r != 0)
        return;
    PROMISE(fuzz->is_connected && !fuzz->is_closed);
    note_sent(fuzz, delivery);
}

static void on_writable(void *userdata, struct connection *connection)
{
    (void)connection;
    send_message(userdata);
}

static void on_closed(void *userdata, struct connection *connection, const char *why)
{
    struct fuzz *fuzz = userdata;
    struct connection_will *will = connection_take_will(connection);

    PROMISE(!fuzz->is_closed);
    PROMISE(why && why[0] != '\0');
    PROMISE(!will || (fuzz->is_connected && packet_topic_is_valid(will->packet.topic)));
    PROMISE(!will || will->packet.qos <= 2);
    free(will);
    fuzz->is_closed = true;
}

/* ---- the client ---- */

/* Collects the ids of the PUBLISH packets of QoS 1 and 2 that are whole. */
static void parse_sent(struct fuzz *fuzz)
{
    struct packet_frame frame;

    while (packet_next(fuzz->sent + fuzz->parsed, fuzz->sent_size - fuzz->parsed, CLIENT_MAX,
                       &frame) == 0) {
        fuzz->parsed += frame.size;
        if (frame.type == PACKET_PUBLISH && (frame.flags >> 1 & 3) > 0) {
            struct reader reader;

            reader_init(&reader, frame.body.data, frame.body.size);
            (void)reader_block(&reader);
            PROMISE(fuzz->published_count < MESSAGES_MAX);
            fuzz->published[fuzz->published_count++] = reader_u16(&reader);
        }
    }
}

static uint64_t spool_id_of(const struct packet_frame *frame)
{
    struct packet_property property;
    struct reader reader;

    reader_init(&reader, frame->body.data, frame->body.size);
    (void)reader_u16(&reader);
    (void)reader_u8(&reader);
    (void)reader_varint(&reader);
    while (packet_property_next(&reader, &property)) {
        char digits[24] = "";

        if (property.id != PROPERTY_USER)
            continue;
        PROMISE(property.value.size < sizeof(digits));
        memcpy(digits, property.value.data, property.value.size);
        return strtoull(digits, NULL, 10);
    }
    return 0;
}

/* Or PUBREC. */
static void on_puback(struct fuzz *fuzz, const struct packet_frame *frame)
{
    struct packet_reason reason;

    PROMISE(packet_decode_ack(frame, connection_version(fuzz->connection), &reason) == 0);
    PROMISE(fuzz->acknowledged < fuzz->published_count);
    PROMISE(reason.packet_id == fuzz->published[fuzz->acknowledged]);
    fuzz->acknowledged++;
    if (reason.code != MQTT_SUCCESS)
        return;
    const struct accepted *accepted = &fuzz->accepted[fuzz->successes];
    uint64_t spool_id = spool_id_of(frame);
    PROMISE(fuzz->successes < fuzz->released_count);
    PROMISE(reason.packet_id == accepted->packet_id);
    PROMISE(spool_id == 0 || spool_id == accepted->spool_id);
    fuzz->successes++;
}

static void on_packet(struct fuzz *fuzz, const struct packet_frame *frame)
{
    PROMISE(!fuzz->has_disconnect);
    PROMISE((fuzz->packets == 0) == (frame->type == PACKET_CONNACK));
    fuzz->packets++;
    switch ((unsigned)frame->type) {
    case PACKET_PUBACK:
    case PACKET_PUBREC:
        on_puback(fuzz, frame);
        break;
    case PACKET_DISCONNECT:
        PROMISE(connection_version(fuzz->connection) == MQTT_5);
        fuzz->has_disconnect = true;
        break;
    case PACKET_PUBLISH:
        PROMISE(++fuzz->messages_received <= fuzz->messages_queued);
        break;
    case PACKET_CONNACK:
    case PACKET_PUBCOMP:
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
    case PACKET_PINGRESP:
        break;
    default:
        PROMISE(false); /* a packet that a server does not send here */
    }
}

/* Reads what there is and checks each packet. */
static void receive(struct fuzz *fuzz)
{
    struct packet_frame frame;
    ssize_t got;

    parse_sent(fuzz);
    while ((got = recv(fuzz->client_fd, fuzz->received + fuzz->received_size,
                       sizeof(fuzz->received) - fuzz->received_size, MSG_DONTWAIT)) > 0) {
        size_t used = 0;
        int r;

        fuzz->received_size += (size_t)got;
        while ((r = packet_next(fuzz->received + used, fuzz->received_size - used,
                                sizeof(fuzz->received), &frame)) == 0) {
            on_packet(fuzz, &frame);
            used += frame.size;
        }
        PROMISE(r == PACKET_E_MORE);
        fuzz->received_size -= used;
        memmove(fuzz->received, fuzz->received + used, fuzz->received_size);
    }
}

/* ---- the loop ---- */

static void expect_bounded_memory(const struct fuzz *fuzz)
{
    if (__sanitizer_get_current_allocated_bytes)
        PROMISE(__sanitizer_get_current_allocated_bytes() <=
                fuzz->memory_before + fuzz->max_packet + CONNECTION_OUTPUT_MAX +
                    CONNECTION_ALIAS_BYTES_MAX + CONNECTION_CONNECT_MAX + MEMORY_SLACK);
}

static void run_loop(struct fuzz *fuzz)
{
    for (int i = 0; i < ROUNDS_MAX && sd_event_run(fuzz->event, 0) > 0; i++)
        expect_bounded_memory(fuzz);
    expect_bounded_memory(fuzz);
}

/* Return: how much was sent; less than @size when the connection does not read. */
static size_t send_some(struct fuzz *fuzz, const uint8_t *data, size_t size)
{
    ssize_t sent;

    if (size > CLIENT_MAX - fuzz->sent_size)
        size = CLIENT_MAX - fuzz->sent_size;
    sent = send(fuzz->client_fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent <= 0)
        return 0;
    memcpy(fuzz->sent + fuzz->sent_size, data, (size_t)sent);
    fuzz->sent_size += (size_t)sent;
    return (size_t)sent;
}

static void commit(struct fuzz *fuzz)
{
    fuzz->released_count = fuzz->accepted_count;
    fake_session_commit(&fuzz->session);
    connection_acknowledge(fuzz->connection);
    connection_confirm(fuzz->connection);
}

/* A repetition of what was accepted before stays, unless its first one is in the batch. */
static bool stays_accepted(const struct fuzz *fuzz, size_t index)
{
    const struct accepted *accepted = &fuzz->accepted[index];

    for (size_t i = fuzz->released_count; i < index; i++) {
        if (!fuzz->accepted[i].is_repeated && fuzz->accepted[i].is_of_qos_2 &&
            fuzz->accepted[i].packet_id == accepted->packet_id)
            return false;
    }
    return accepted->is_repeated;
}

static void roll_back(struct fuzz *fuzz)
{
    bool stays[MESSAGES_MAX];
    size_t count = fuzz->released_count;

    fuzz->has_lost = true;
    for (size_t i = count; i < fuzz->accepted_count; i++)
        stays[i] = stays_accepted(fuzz, i);
    for (size_t i = count; i < fuzz->accepted_count; i++) {
        if (stays[i])
            fuzz->accepted[count++] = fuzz->accepted[i];
    }
    fuzz->accepted_count = count;
    fake_session_roll_back(&fuzz->session, fuzz->connection);
    (void)connection_refuse_owed(fuzz->connection, refusal(fuzz));
}

static void resume(struct fuzz *fuzz)
{
    fuzz->is_waiting = false;
    connection_resume(fuzz->connection);
}

static void drop(struct fuzz *fuzz)
{
    fuzz->has_lost = true;
    connection_drop_owed(fuzz->connection, MQTT_UNSPECIFIED_ERROR, "the batch is in doubt");
}

/* Return: how much of @data was sent. */
static size_t act(struct fuzz *fuzz, const uint8_t *data, size_t size)
{
    size_t sent = 0;
    size_t piece;

    switch (next(fuzz) % 16) {
    case 8:
    case 9:
        commit(fuzz);
        break;
    case 10:
        receive(fuzz);
        break;
    case 11:
        resume(fuzz);
        break;
    case 12:
        roll_back(fuzz);
        break;
    case 13:
        piece = next(fuzz) % 8;
        if (piece == 0)
            drop(fuzz);
        fuzz->is_cut = piece == 1;
        break;
    case 15:
        send_message(fuzz);
        connection_flush(fuzz->connection);
        break;
    case 14:
        if (next(fuzz) % 8 == 0)
            connection_close(fuzz->connection, MQTT_SERVER_SHUTTING_DOWN,
                             "closed by its owner");
        break;
    default:
        piece = (size_t)1 << next(fuzz) % 13;
        if (fuzz->script_size == 0)
            piece = 4096;
        sent = send_some(fuzz, data, size < piece ? size : piece);
        break;
    }
    run_loop(fuzz);
    return sent;
}

/* Return: how much of @data was sent. */
static size_t play(struct fuzz *fuzz, const uint8_t *data, size_t size)
{
    size_t used = 0;

    for (int idle = 0; idle < ROUNDS_MAX && !fuzz->is_closed && !fuzz->is_cut && used < size;) {
        size_t sent = act(fuzz, data + used, size - used);

        idle = sent > 0 ? 0 : idle + 1;
        used += sent;
    }
    return used;
}

/* The client ends its stream; the owner accepts and commits all. */
static void finish(struct fuzz *fuzz)
{
    fuzz->is_ending = true;
    (void)shutdown(fuzz->client_fd, SHUT_WR);
    for (int i = 0; i < ROUNDS_MAX && !fuzz->is_closed; i++) {
        resume(fuzz);
        run_loop(fuzz);
        commit(fuzz);
        run_loop(fuzz);
        receive(fuzz);
    }
    receive(fuzz);
    PROMISE(fuzz->is_closed || fuzz->has_stopped);
}

static void start(struct fuzz *fuzz, uint8_t options)
{
    static const size_t limits[] = {128, 1024, 70000, 262144};
    static const struct connection_ops ops = {.connected = on_connected,
                                              .publish = on_publish,
                                              .repeated = on_repeated,
                                              .released = on_released,
                                              .expiry_changed = on_expiry_changed,
                                              .subscribe = on_subscribe,
                                              .unsubscribe = on_unsubscribe,
                                              .subscribed = on_subscribed,
                                              .acknowledged = on_acknowledged,
                                              .writable = on_writable,
                                              .closed = on_closed};
    struct connection_settings settings = {.max_packet = limits[options % 4]};
    struct peer peer = {.uid = 1000, .gid = 1000, .pid = 1};
    int fds[2];

    fuzz->max_packet = settings.max_packet;
    PROMISE(sd_event_new(&fuzz->event) >= 0);
    PROMISE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    fuzz->client_fd = fds[1];
    if (__sanitizer_get_current_allocated_bytes)
        fuzz->memory_before = __sanitizer_get_current_allocated_bytes();
    PROMISE(connection_new(fuzz->event, fds[0], &peer, &settings, &ops, fuzz,
                           &fuzz->connection) == 0);
}

/* So that not each input has to invent one. */
static void connect_by_option(struct fuzz *fuzz, uint8_t options)
{
    static const uint8_t connect_5[] = {0x10, 14, 0, 4, 'M', 'Q', 'T', 'T',
                                        5,    2,  0, 0, 0,   0,   1,   'c'};
    static const uint8_t kept_5[] = {0x10, 19, 0,    4, 'M', 'Q', 'T', 'T', 5, 0,  0,
                                     0,    5,  0x11, 0, 0,   1,   0,   0,   1, 'c'};
    static const uint8_t connect_3_1_1[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                            4,    2,  0, 0, 0,   1,   'c'};
    static const uint8_t kept_3_1_1[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                         4,    0,  0, 0, 0,   1,   'c'};

    if ((options & 20) == 20)
        (void)send_some(fuzz, kept_5, sizeof(kept_5));
    else if (options & 4)
        (void)send_some(fuzz, connect_5, sizeof(connect_5));
    else if ((options & 24) == 24)
        (void)send_some(fuzz, kept_3_1_1, sizeof(kept_3_1_1));
    else if (options & 8)
        (void)send_some(fuzz, connect_3_1_1, sizeof(connect_3_1_1));
    run_loop(fuzz);
}

/* Not the large arrays, which hold nothing beyond their counts. */
static void clear_connection(struct fuzz *fuzz)
{
    fuzz->sent_size = fuzz->parsed = fuzz->published_count = 0;
    fuzz->accepted_count = fuzz->released_count = fuzz->received_size = 0;
    fuzz->packets = fuzz->acknowledged = fuzz->successes = 0;
    fuzz->messages_queued = fuzz->messages_received = 0;
    fuzz->is_connected = fuzz->is_rejected = fuzz->is_waiting = fuzz->is_closed = false;
    fuzz->has_lost = fuzz->has_stopped = fuzz->is_ending = fuzz->has_disconnect = false;
    fuzz->is_cut = false;
}

/* One connection, to its end. Return: how much of @data was sent. */
static size_t
run_connection(struct fuzz *fuzz, uint8_t options, const uint8_t *data, size_t size)
{
    size_t used;

    clear_connection(fuzz);
    start(fuzz, options);
    connect_by_option(fuzz, options);
    used = play(fuzz, data, size);
    finish(fuzz);
    if (!fuzz->has_lost && !fuzz->has_stopped)
        PROMISE(fuzz->successes == fuzz->accepted_count);
    fake_session_commit(&fuzz->session); /* also of a batch that was in doubt */
    if (fuzz->has_stopped)               /* its batch is not committed */
        fake_session_clear(&fuzz->session);
    if (fuzz->is_connected)
        fake_session_leave(&fuzz->session);
    connection_free(fuzz->connection);
    fuzz->event = sd_event_unref(fuzz->event);
    (void)close(fuzz->client_fd);
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz fuzz;
    size_t script_size = size >= 2 ? data[1] : 0;

    if (size < 2 + script_size)
        return 0;
    fake_session_clear(&fuzz.session);
    fuzz.script = data + 2;
    fuzz.script_size = script_size;
    size_t at = 2 + script_size;
    for (int i = 0; i < CONNECTIONS_MAX && (i == 0 || at < size); i++)
        at += run_connection(&fuzz, data[0], data + at, size - at);
    return 0;
}
