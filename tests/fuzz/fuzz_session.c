/* SPDX-License-Identifier: MIT */
/*
 * fuzz_session.c - fuzz target of a producer's session, from its socket to its owner
 *
 * The input is a script and the bytes of a client. They are written to a session
 * over a socket pair, in pieces; between them the owner commits, rolls back,
 * resumes or closes, and answers each PUBLISH, as the script says. Promises of
 * session.h: acknowledgements are in the order of the PUBLISH packets and never
 * more than those; a success is sent only for what was accepted, and not before
 * its commit; memory is bounded; after its end the session calls nothing; and a
 * client that left gets what it is owed, and is closed.
 *
 * Layout: byte 0: options; byte 1: the length of the script; the script; the rest
 * is sent by the client. A script that is used up continues with zeros.
 *
 * Built twice: with libFuzzer, and with replay.c over the corpus.
 */
#include "tests/fuzz/promise.h"

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/peer.h"
#include "daemon/ingress/session.h"
#include "daemon/mqtt/packet.h"

#define CLIENT_MAX   ((size_t)256 * 1024) /* bytes that one client sends */
#define MESSAGES_MAX 65536
#define MEMORY_SLACK                                                                           \
    ((size_t)64 * 1024) /* of the loop, the client id and the list of owed ones */
#define ROUNDS_MAX 200

/* What a sanitizer has handed out; NULL in a build without one. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

struct accepted {
    uint64_t spool_id;
    uint16_t packet_id;
};

struct fuzz {
    sd_event *event;
    struct session *session;
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
    size_t published_count; /* PUBLISH packets of QoS 1 */

    /* What the owner decided. */
    struct accepted accepted[MESSAGES_MAX];
    size_t accepted_count; /* of QoS 1 */
    size_t released_count; /* of those, committed */
    uint64_t next_id;
    bool is_connected;
    bool is_rejected; /* by the owner, at CONNECT */
    bool is_waiting;
    bool is_closed;
    bool has_lost; /* what was accepted need not be acknowledged any more */
    bool has_stopped;
    bool is_ending; /* the script is over: all is accepted */

    /* What the client received. */
    uint8_t received[128 * 1024];
    size_t received_size;
    size_t packets;
    size_t acknowledged;
    size_t successes;
    bool has_disconnect;
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

static uint8_t on_connected(void *userdata, struct session *session)
{
    struct fuzz *fuzz = userdata;

    PROMISE(!fuzz->is_closed && !fuzz->is_connected && !fuzz->is_rejected);
    PROMISE(session_client_id(session).size > 0);
    fuzz->is_rejected = next(fuzz) % 16 == 15;
    fuzz->is_connected = !fuzz->is_rejected;
    return fuzz->is_rejected ? MQTT_SERVER_UNAVAILABLE : MQTT_SUCCESS;
}

static void accept_message(struct fuzz *fuzz, const struct packet_publish *packet, uint64_t id)
{
    if (packet->qos == 0)
        return;
    PROMISE(fuzz->accepted_count < MESSAGES_MAX);
    fuzz->accepted[fuzz->accepted_count++] =
        (struct accepted){.spool_id = id, .packet_id = packet->packet_id};
}

static enum session_verdict_kind choose(struct fuzz *fuzz)
{
    static const enum session_verdict_kind kinds[] = {
        SESSION_ACCEPT, SESSION_ACCEPT, SESSION_ACCEPT, SESSION_ACCEPT,
        SESSION_REFUSE, SESSION_REFUSE, SESSION_WAIT,   SESSION_BLOCK};
    uint8_t choice = next(fuzz);

    if (choice == 255)
        return SESSION_STOP;
    return kinds[choice % (sizeof(kinds) / sizeof(kinds[0]))];
}

static struct session_verdict
on_publish(void *userdata, struct session *session, const struct session_publish *publish)
{
    struct fuzz *fuzz = userdata;
    struct session_verdict verdict = {.kind = choose(fuzz), .spool_id = ++fuzz->next_id};

    PROMISE(fuzz->is_connected && !fuzz->is_closed);
    PROMISE(!fuzz->is_waiting && !fuzz->has_stopped);
    PROMISE(publish->packet->qos <= 1 && packet_topic_is_valid(publish->packet->topic));
    PROMISE(publish->kept_properties.size <= publish->packet->properties.size);
    if (next(fuzz) == 254)
        session_close(session, MQTT_SERVER_SHUTTING_DOWN, "closed inside of its call");
    if (verdict.kind == SESSION_REFUSE)
        verdict.code = refusal(fuzz);
    fuzz->is_waiting = verdict.kind == SESSION_WAIT || verdict.kind == SESSION_BLOCK;
    fuzz->has_stopped = verdict.kind == SESSION_STOP;
    if (verdict.kind == SESSION_BLOCK)
        fuzz->has_lost = true; /* its client may be closed at once */
    if (verdict.kind == SESSION_ACCEPT && !fuzz->is_closed)
        accept_message(fuzz, publish->packet, verdict.spool_id);
    return verdict;
}

static void on_closed(void *userdata, struct session *session, const char *why)
{
    struct fuzz *fuzz = userdata;

    (void)session;
    PROMISE(!fuzz->is_closed);
    PROMISE(why && why[0] != '\0');
    fuzz->is_closed = true;
}

/* ---- the client ---- */

/* Collects the ids of the PUBLISH packets of QoS 1 that are whole. */
static void parse_sent(struct fuzz *fuzz)
{
    struct packet_frame frame;

    while (packet_next(fuzz->sent + fuzz->parsed, fuzz->sent_size - fuzz->parsed, CLIENT_MAX,
                       &frame) == 0) {
        fuzz->parsed += frame.size;
        if (frame.type == PACKET_PUBLISH && (frame.flags >> 1 & 3) == 1) {
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

static void on_puback(struct fuzz *fuzz, const struct packet_frame *frame)
{
    struct packet_reason reason;

    PROMISE(packet_decode_ack(frame, session_version(fuzz->session), &reason) == 0);
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
        on_puback(fuzz, frame);
        break;
    case PACKET_DISCONNECT:
        PROMISE(session_version(fuzz->session) == MQTT_5);
        fuzz->has_disconnect = true;
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
                fuzz->memory_before + fuzz->max_packet + SESSION_OUTPUT_MAX + MEMORY_SLACK);
}

static void run_loop(struct fuzz *fuzz)
{
    for (int i = 0; i < ROUNDS_MAX && sd_event_run(fuzz->event, 0) > 0; i++)
        expect_bounded_memory(fuzz);
    expect_bounded_memory(fuzz);
}

/* Return: how much was sent; less than @size when the session does not read. */
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
    session_acknowledge(fuzz->session);
}

static void roll_back(struct fuzz *fuzz)
{
    fuzz->has_lost = true;
    fuzz->accepted_count = fuzz->released_count;
    session_refuse_owed(fuzz->session, refusal(fuzz));
}

static void resume(struct fuzz *fuzz)
{
    fuzz->is_waiting = false;
    session_resume(fuzz->session);
}

static void drop(struct fuzz *fuzz)
{
    fuzz->has_lost = true;
    session_drop_owed(fuzz->session, MQTT_UNSPECIFIED_ERROR, "the batch is in doubt");
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
        if (next(fuzz) % 8 == 0)
            drop(fuzz);
        break;
    case 14:
        if (next(fuzz) % 8 == 0)
            session_close(fuzz->session, MQTT_SERVER_SHUTTING_DOWN, "closed by its owner");
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

static void play(struct fuzz *fuzz, const uint8_t *data, size_t size)
{
    for (int idle = 0; idle < ROUNDS_MAX && !fuzz->is_closed && size > 0;) {
        size_t sent = act(fuzz, data, size);

        idle = sent > 0 ? 0 : idle + 1;
        data += sent;
        size -= sent;
    }
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
    static const struct session_ops ops = {
        .connected = on_connected, .publish = on_publish, .closed = on_closed};
    struct session_settings settings = {.max_packet = limits[options % 4]};
    struct peer peer = {.uid = 1000, .gid = 1000, .pid = 1};
    int fds[2];

    fuzz->max_packet = settings.max_packet;
    PROMISE(sd_event_new(&fuzz->event) >= 0);
    PROMISE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    fuzz->client_fd = fds[1];
    if (__sanitizer_get_current_allocated_bytes)
        fuzz->memory_before = __sanitizer_get_current_allocated_bytes();
    PROMISE(session_new(fuzz->event, fds[0], &peer, &settings, &ops, fuzz, &fuzz->session) ==
            0);
}

/* So that not each input has to invent one. */
static void connect_by_option(struct fuzz *fuzz, uint8_t options)
{
    static const uint8_t connect_5[] = {0x10, 14, 0, 4, 'M', 'Q', 'T', 'T',
                                        5,    2,  0, 0, 0,   0,   1,   'c'};
    static const uint8_t connect_3_1_1[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                            4,    2,  0, 0, 0,   1,   'c'};

    if (options & 4)
        (void)send_some(fuzz, connect_5, sizeof(connect_5));
    else if (options & 8)
        (void)send_some(fuzz, connect_3_1_1, sizeof(connect_3_1_1));
    run_loop(fuzz);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz fuzz;
    size_t script_size = size >= 2 ? data[1] : 0;

    if (size < 2 + script_size)
        return 0;
    /* Not the large arrays, which hold nothing beyond their counts. */
    fuzz.sent_size = fuzz.parsed = fuzz.published_count = 0;
    fuzz.accepted_count = fuzz.released_count = fuzz.received_size = 0;
    fuzz.packets = fuzz.acknowledged = fuzz.successes = 0;
    fuzz.is_connected = fuzz.is_rejected = fuzz.is_waiting = fuzz.is_closed = false;
    fuzz.has_lost = fuzz.has_stopped = fuzz.is_ending = fuzz.has_disconnect = false;
    fuzz.script = data + 2;
    fuzz.script_size = script_size;
    start(&fuzz, data[0]);
    connect_by_option(&fuzz, data[0]);
    play(&fuzz, data + 2 + script_size, size - 2 - script_size);
    finish(&fuzz);
    if (!fuzz.has_lost && !fuzz.has_stopped)
        PROMISE(fuzz.successes == fuzz.accepted_count);
    session_free(fuzz.session);
    fuzz.event = sd_event_unref(fuzz.event);
    (void)close(fuzz.client_fd);
    return 0;
}
