/* SPDX-License-Identifier: MIT */
/*
 * test_connection.c - one connection of a producer
 *
 * A socket pair, a real event loop, and an owner that
 * follows a script. Packets are written and compared as bytes, so that the
 * codec is no judge of itself. A Unix socket hands bytes over at once: when the
 * loop is idle, everything has happened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/ingress/connection-private.h"
#include "daemon/ingress/connection.h"
#include "daemon/mqtt/packet.h"
#include "tests/support/emulated.h"

#define PATIENCE_US 10000000
#define MAX_PACKET  4096
#define V4          MQTT_3_1_1
#define V5          MQTT_5

struct offered {
    char topic[32];
    uint8_t payload[32];
    size_t payload_size;
    uint8_t properties[64];
    size_t properties_size;
    uint8_t qos;
    bool retain;
    uint16_t packet_id;
};

struct fixture {
    sd_event *event;
    struct connection *connection;
    size_t max_packet; /* 0: MAX_PACKET */
    int client;
    int server; /* the connection's; for options only */
    enum packet_version version;

    /* The owner's script: answers in turn, then it accepts. */
    uint8_t connect_answer;
    struct connection_admission admission;
    bool releases_wait; /* for a commit */
    struct connection_verdict script[16];
    size_t script_size;
    size_t script_at;
    uint64_t last_id;
    bool close_in_connected;
    bool close_in_publish;
    bool in_acknowledge;
    bool was_late;

    bool close_in_subscribe;
    bool must_confirm;
    bool close_in_writable;
    unsigned to_send; /* in writable */
    struct connection_message message;

    /* What was reported to it. */
    unsigned subscribed;
    uint8_t retain_handling;
    unsigned acknowledged;
    uint64_t last_tag;
    unsigned writable;
    unsigned connected;
    struct connection_connect connect;
    unsigned repeated;
    unsigned released;
    unsigned expiry_changes;
    uint32_t expiry_s;
    unsigned offers;
    unsigned firsts; /* of them, the first ones of what was read together */
    bool has_answer; /* of the last offer */
    struct offered last;
    unsigned closed;
    char why[128];
    struct connection_will *will; /* taken as it closed */
    bool has_seen_will;           /* in connected */

    /* What the client has read and not yet compared. */
    uint8_t got[256 * 1024];
    size_t got_size;
    bool got_end;
};

/* ---- the owner ---- */

static uint8_t on_connected(void *owner,
                            struct connection *connection,
                            const struct connection_connect *connect,
                            struct connection_admission *ret)
{
    struct fixture *f = owner;

    f->connected++;
    f->has_seen_will = connection_will(connection) != NULL;
    f->connect = *connect;
    *ret = f->admission;
    if (f->close_in_connected)
        connection_close(connection, MQTT_SERVER_BUSY, "closed in connected");
    return f->connect_answer;
}

static void note_offer(struct fixture *f, const struct connection_publish *publish)
{
    const struct packet_publish *packet = publish->packet;
    struct offered *last = &f->last;

    *last = (struct offered){.qos = packet->qos,
                             .retain = packet->retain,
                             .packet_id = packet->packet_id,
                             .payload_size = packet->payload.size,
                             .properties_size = publish->kept_properties.size};
    if (packet->topic.size < sizeof(last->topic))
        memcpy(last->topic, packet->topic.data, packet->topic.size);
    if (packet->payload.size > 0 && packet->payload.size <= sizeof(last->payload))
        memcpy(last->payload, packet->payload.data, packet->payload.size);
    if (last->properties_size > 0 && last->properties_size <= sizeof(last->properties))
        memcpy(last->properties, publish->kept_properties.data, last->properties_size);
}

static struct connection_verdict
on_publish(void *owner, struct connection *connection, const struct connection_publish *publish)
{
    struct fixture *f = owner;

    assert_false(f->in_acknowledge);
    f->offers++;
    f->firsts += publish->is_first;
    f->has_answer = publish->has_answer;
    note_offer(f, publish);
    if (f->close_in_publish)
        connection_close(connection, MQTT_SERVER_BUSY, "closed in publish");
    if (f->script_at < f->script_size)
        return f->script[f->script_at++];
    return (struct connection_verdict){.kind = CONNECTION_ACCEPT, .spool_id = ++f->last_id};
}

static uint64_t on_repeated(void *owner, struct connection *connection, uint16_t packet_id)
{
    struct fixture *f = owner;

    (void)connection;
    f->repeated++;
    return 100U + packet_id;
}

static bool on_released(void *owner, struct connection *connection, uint16_t packet_id)
{
    struct fixture *f = owner;

    (void)connection;
    (void)packet_id;
    f->released++;
    return f->releases_wait;
}

static void on_expiry_changed(void *owner, struct connection *connection, uint32_t expiry_s)
{
    struct fixture *f = owner;

    (void)connection;
    f->expiry_changes++;
    f->expiry_s = expiry_s;
}

static void on_closed(void *owner, struct connection *connection, const char *why)
{
    struct fixture *f = owner;

    assert_ptr_equal(connection, f->connection);
    f->closed++;
    free(f->will);
    f->will = connection_take_will(connection);
    (void)snprintf(f->why, sizeof(f->why), "%s", why);
}

static uint8_t on_subscribe(void *owner,
                            struct connection *connection,
                            const struct connection_subscribe *subscribe)
{
    struct fixture *f = owner;

    f->subscribed++;
    f->retain_handling = subscribe->retain_handling;
    if (f->close_in_subscribe)
        connection_close(connection, MQTT_SERVER_BUSY, "closed in subscribe");
    if (subscribe->filter.data[0] == 's')
        return subscribe->qos < 1 ? subscribe->qos : 1;
    return MQTT_NOT_AUTHORIZED;
}

static bool on_subscribed(void *owner, struct connection *connection)
{
    const struct fixture *f = owner;

    (void)connection;
    return f->must_confirm;
}

static uint8_t on_unsubscribe(void *owner, struct connection *connection, struct view filter)
{
    (void)owner;
    (void)connection;
    return filter.data[0] == 's' ? MQTT_SUCCESS : MQTT_NO_SUBSCRIPTION_EXISTED;
}

static void on_acknowledged(void *owner, struct connection *connection, uint64_t tag)
{
    struct fixture *f = owner;

    (void)connection;
    f->acknowledged++;
    f->last_tag = tag;
}

static void on_writable(void *owner, struct connection *connection)
{
    struct fixture *f = owner;

    f->writable++;
    if (f->close_in_writable)
        connection_close(connection, MQTT_SERVER_BUSY, "closed in writable");
    while (f->to_send > 0 && connection_send(connection, &f->message) == 0) {
        f->message.tag++;
        f->to_send--;
    }
}

static const struct connection_ops ops = {
    .connected = on_connected,
    .publish = on_publish,
    .repeated = on_repeated,
    .released = on_released,
    .expiry_changed = on_expiry_changed,
    .subscribe = on_subscribe,
    .unsubscribe = on_unsubscribe,
    .subscribed = on_subscribed,
    .acknowledged = on_acknowledged,
    .writable = on_writable,
    .closed = on_closed,
};

static void script(struct fixture *f, enum connection_verdict_kind kind, uint8_t code)
{
    struct connection_verdict verdict = {.kind = kind, .code = code};

    if (kind == CONNECTION_ACCEPT)
        verdict.spool_id = ++f->last_id;
    f->script[f->script_size++] = verdict;
}

static void acknowledge(struct fixture *f)
{
    f->in_acknowledge = true;
    connection_acknowledge(f->connection);
    f->in_acknowledge = false;
}

/* ---- the loop ---- */

static int64_t now_us(void)
{
    struct timespec now;

    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Until nothing is ready any more; a connection that spins is caught by the deadline. */
static void run(struct fixture *f)
{
    int64_t deadline = now_us() + PATIENCE_US;

    while (sd_event_run(f->event, 0) > 0)
        assert_true(now_us() < deadline);
}

/* Wait for a timer. */
static void run_until_closed(struct fixture *f)
{
    int64_t deadline = now_us() + PATIENCE_US;

    while (f->closed == 0 && now_us() < deadline)
        assert_true(sd_event_run(f->event, 100000) >= 0);
    assert_int_equal(f->closed, 1);
}

static void run_for(struct fixture *f, int64_t time_us)
{
    int64_t deadline = now_us() + time_us;
    int64_t left;

    while ((left = deadline - now_us()) > 0)
        assert_true(sd_event_run(f->event, (uint64_t)left) >= 0);
}

/* Calls @fn once the time is over, before the connection hears of its own timers if they are
 * due, too: however long the machine stood still. */
static void run_until_called(struct fixture *f, uint64_t time_us, sd_event_time_handler_t fn)
{
    sd_event_source *source = NULL;
    int enabled = SD_EVENT_ONESHOT;

    assert_true(sd_event_add_time_relative(f->event, &source, CLOCK_MONOTONIC, time_us, 1000,
                                           fn, f) >= 0);
    assert_true(sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IMPORTANT) >= 0);
    while (enabled != SD_EVENT_OFF) {
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
        assert_true(sd_event_source_get_enabled(source, &enabled) >= 0);
    }
    (void)sd_event_source_disable_unref(source);
}

static void start(struct fixture *f, unsigned connect_timeout_ms)
{
    int pair[2];
    struct peer peer = {.uid = 7, .gid = 8, .pid = 9};
    struct connection_settings settings = {.max_packet =
                                               f->max_packet ? f->max_packet : MAX_PACKET,
                                           .connect_timeout_ms = connect_timeout_ms};

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                     0);
    f->client = pair[0];
    f->server = pair[1];
    assert_int_equal(
        connection_new(f->event, pair[1], &peer, &settings, &ops, f, &f->connection), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(sd_event_new(&f->event), 0);
    start(f, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    connection_free(f->connection);
    if (f->client >= 0)
        (void)close(f->client);
    (void)sd_event_unref(f->event);
    free(f->will);
    free(f);
    return 0;
}

/* A fresh connection in the same fixture, for cases that go over both versions. */
static void restart_within(struct fixture *f, unsigned connect_timeout_ms)
{
    struct fixture fresh = {.event = f->event};

    connection_free(f->connection);
    free(f->will);
    if (f->client >= 0)
        (void)close(f->client);
    *f = fresh;
    start(f, connect_timeout_ms);
}

static void restart(struct fixture *f)
{
    restart_within(f, 0);
}

/* ---- the client ---- */

static void client_close(struct fixture *f)
{
    (void)close(f->client);
    f->client = -1;
}

static void drain(struct fixture *f)
{
    while (f->got_size < sizeof(f->got)) {
        ssize_t n = recv(f->client, f->got + f->got_size, sizeof(f->got) - f->got_size, 0);

        if (n > 0) {
            f->got_size += (size_t)n;
            continue;
        }
        /* So Linux reports, after all bytes, that the connection closed with unread input. */
        f->got_end = n == 0 || errno == ECONNRESET;
        assert_true(f->got_end || errno == EAGAIN);
        return;
    }
}

static void put(struct fixture *f, const void *bytes, size_t size)
{
    assert_int_equal(send(f->client, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* As much as the connection takes; returns how much that was. */
static size_t put_while_taken(struct fixture *f, const uint8_t *bytes, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = send(f->client, bytes + done, size - done, MSG_NOSIGNAL);

        if (n > 0)
            done += (size_t)n;
        else if (sd_event_run(f->event, 0) == 0)
            break;
    }
    run(f);
    return done;
}

#define BYTES(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})
#define SEND(f, ...)                                                                           \
    do {                                                                                       \
        put(f, BYTES(__VA_ARGS__));                                                            \
        run(f);                                                                                \
    } while (0)
#define EXPECT(f, ...) expect_bytes(f, BYTES(__VA_ARGS__))

static void expect_bytes(struct fixture *f, const uint8_t *bytes, size_t size)
{
    drain(f);
    assert_true(f->got_size >= size);
    assert_memory_equal(f->got, bytes, size);
    f->got_size -= size;
    memmove(f->got, f->got + size, f->got_size);
}

static void expect_silence(struct fixture *f)
{
    run(f);
    drain(f);
    assert_int_equal(f->got_size, 0);
    assert_false(f->got_end);
    assert_int_equal(f->closed, 0);
}

/* The connection closed, reported it once, and sent nothing beyond what was compared. */
static void expect_end(struct fixture *f)
{
    run(f);
    if (f->client >= 0) {
        drain(f);
        assert_int_equal(f->got_size, 0);
        assert_true(f->got_end);
    }
    assert_int_equal(f->closed, 1);
}

/* A v5 DISCONNECT with a reason string, then the end. */
static void expect_disconnect(struct fixture *f, uint8_t code)
{
    run(f);
    drain(f);
    assert_true(f->got_size >= 3);
    assert_int_equal(f->got[0], 0xE0);
    assert_int_equal(f->got[2], code);
    assert_int_equal(f->got_size, 2 + f->got[1]);
    f->got_size = 0;
    expect_end(f);
}

/* v5 gets @code, 3.1.1 only sees the end. */
static void expect_refusal(struct fixture *f, uint8_t code)
{
    if (f->version == V5)
        expect_disconnect(f, code);
    else
        expect_end(f);
}

static size_t make_puback(uint8_t *memory, uint16_t id, uint8_t code, uint64_t spool_id)
{
    char text[24];
    int digits = snprintf(text, sizeof(text), "%llu", (unsigned long long)spool_id);
    uint8_t *at = memory;

    *at++ = 0x40;
    *at++ = spool_id ? (uint8_t)(4 + 13 + digits) : code ? 3 : 2;
    *at++ = (uint8_t)(id >> 8);
    *at++ = (uint8_t)id;
    if (!spool_id && code)
        *at++ = code;
    if (!spool_id)
        return (size_t)(at - memory);
    *at++ = code;
    *at++ = (uint8_t)(13 + digits);
    memcpy(at, "\x26\x00\x08spool-id\x00", 12);
    at += 12;
    *at++ = (uint8_t)digits;
    memcpy(at, text, (size_t)digits);
    return (size_t)(at - memory) + (size_t)digits;
}

/* @code and @spool_id as v5 shows them; 3.1.1 has only the id. */
static void expect_puback(struct fixture *f, uint16_t id, uint8_t code, uint64_t spool_id)
{
    uint8_t memory[64];
    size_t size = f->version == V5 ? make_puback(memory, id, code, spool_id)
                                   : make_puback(memory, id, 0, 0);

    expect_bytes(f, memory, size);
}

/* CONNECT as client "c" and read the CONNACK away. */
static void connect_as(struct fixture *f, enum packet_version version, uint8_t keep_alive_s)
{
    f->version = version;
    if (version == V4)
        SEND(f, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, keep_alive_s, 0, 1, 'c');
    else
        SEND(f, 0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, keep_alive_s, 0, 0, 1, 'c');
    drain(f);
    assert_true(f->got_size >= 4);
    assert_int_equal(f->got[0], 0x20);
    assert_int_equal(f->got[3], 0);
    assert_int_equal(f->got_size, 2 + f->got[1]);
    f->got_size = 0;
    assert_int_equal(f->connected, 1);
}

/* CONNECT of v5 with properties. */
static void connect_with(struct fixture *f, const uint8_t *properties, size_t size)
{
    uint8_t packet[64] = {0x10, (uint8_t)(14 + size), 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0,
                          0,    (uint8_t)size};

    memcpy(packet + 13, properties, size);
    memcpy(packet + 13 + size,
           "\x00\x01"
           "c",
           3);
    f->version = V5;
    put(f, packet, 16 + size);
    run(f);
}

/* PUBLISH to "t" with the payload "p". */
static size_t
make_publish(uint8_t *memory, enum packet_version version, uint8_t qos, uint16_t id)
{
    uint8_t *at = memory;

    *at++ = (uint8_t)(0x30 | (qos << 1));
    *at++ = (uint8_t)(4 + (qos ? 2 : 0) + (version == V5 ? 1 : 0));
    *at++ = 0;
    *at++ = 1;
    *at++ = 't';
    if (qos) {
        *at++ = (uint8_t)(id >> 8);
        *at++ = (uint8_t)id;
    }
    if (version == V5)
        *at++ = 0;
    *at++ = 'p';
    return (size_t)(at - memory);
}

static void put_publish(struct fixture *f, uint8_t qos, uint16_t id)
{
    uint8_t memory[16];

    put(f, memory, make_publish(memory, f->version, qos, id));
}

static void publish(struct fixture *f, uint8_t qos, uint16_t id)
{
    put_publish(f, qos, id);
    run(f);
}

/* With ids from @first on; free() it. */
static uint8_t *make_many(
    enum packet_version version, uint8_t qos, uint16_t first, uint16_t count, size_t *ret_size)
{
    uint8_t *memory = malloc((size_t)count * 16);

    assert_non_null(memory);
    *ret_size = 0;
    for (uint16_t i = 0; i < count; i++)
        *ret_size += make_publish(memory + *ret_size, version, qos, (uint16_t)(first + i));
    return memory;
}

static void put_many(struct fixture *f, uint8_t qos, uint16_t first, uint16_t count)
{
    size_t size;
    uint8_t *memory = make_many(f->version, qos, first, count, &size);

    assert_int_equal(put_while_taken(f, memory, size), size);
    free(memory);
}

static void expect_pubacks(struct fixture *f, uint16_t first, uint16_t last)
{
    for (uint32_t id = first; id <= last; id++)
        expect_puback(f, (uint16_t)id, 0, id);
}

/* ---- CONNECT ---- */

static void a_client_of_3_1_1_is_welcomed(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c');
    EXPECT(f, 0x20, 2, 0, 0);
    expect_silence(f);
    assert_int_equal(f->connected, 1);
    assert_int_equal(connection_version(f->connection), V4);
    assert_int_equal(connection_client_id(f->connection).size, 1);
    assert_int_equal(connection_client_id(f->connection).data[0], 'c');
    assert_int_equal(connection_peer(f->connection)->uid, 7);
    assert_int_equal(connection_peer(f->connection)->pid, 9);
}

static void a_client_of_5_is_told_the_limits(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 1, 'c');
    /* clang-format off */
    EXPECT(f, 0x20, 18, 0, 0, 15,
           0x21, 0x03, 0xE8,             /* receive maximum 1,000; QoS 2 needs no word */
           0x22, 0, 32,                  /* topic alias maximum */
           0x27, 0, 0, 0x10, 0,          /* maximum packet size 4,096 */
           0x29, 0, 0x2A, 0);
    /* clang-format on */
    expect_silence(f);
    assert_int_equal(connection_version(f->connection), V5);
}

static void connack_says_what_became_of_the_session(void **state)
{
    struct fixture *f = *state;

    connect_with(f, BYTES(0x11, 0, 0, 0, 60)); /* it is not kept */
    assert_int_equal(f->connect.session_expiry_s, 60);
    assert_true(f->connect.is_clean);
    EXPECT(f, 0x20, 23, 0, 0, 20, 0x11, 0, 0, 0, 0, 0x21, 0x03, 0xE8);
    restart(f);
    f->admission = (struct connection_admission){.has_session = true, .session_expiry_s = 60};
    connect_with(f, BYTES(0x11, 0, 0, 0, 60)); /* as it was asked for */
    EXPECT(f, 0x20, 18, 1, 0, 15, 0x21, 0x03, 0xE8);
    restart(f);
    f->admission.has_session = true;
    SEND(f, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0, 0, 1, 'c'); /* not clean */
    assert_int_equal(f->connect.session_expiry_s, CONNECTION_NO_EXPIRY);
    assert_false(f->connect.is_clean);
    EXPECT(f, 0x20, 2, 1, 0);
    expect_silence(f);
}

static void a_connect_that_waits_is_answered_when_it_is_resumed(void **state)
{
    struct fixture *f = *state;

    restart_within(f, 50); /* ms for a CONNECT: not for its commit */
    f->admission.is_waiting = true;
    SEND(f, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0, 0x32, 6, 0, 1, 't', 0, 9,
         'x');
    run_for(f, 200000);
    expect_silence(f);
    connection_resume(f->connection); /* without effect */
    expect_silence(f);
    struct view id = connection_client_id(f->connection);
    uint8_t first[32];
    assert_int_equal(id.size, 21);
    memcpy(first, id.data, id.size);
    f->admission.is_waiting = false;
    connection_resume(f->connection);
    EXPECT(f, 0x20, 2, 0, 0);
    assert_memory_equal(connection_client_id(f->connection).data, first, 21);
    run(f);
    assert_int_equal(f->connected, 3);
    assert_int_equal(f->offers, 1);
    acknowledge(f);
    EXPECT(f, 0x40, 2, 0, 9);
}

static void a_connect_that_waited_may_be_refused_or_closed(void **state)
{
    struct fixture *f = *state;

    f->admission.is_waiting = true;
    connect_with(f, BYTES(0x11, 0, 0, 0, 60));
    expect_silence(f);
    f->connect_answer = MQTT_QUOTA_EXCEEDED;
    connection_resume(f->connection);
    EXPECT(f, 0x20, 3, 0, 0x97, 0);
    expect_end(f);
    restart(f);
    f->admission.is_waiting = true;
    connect_with(f, BYTES(0x11, 0, 0, 0, 60));
    connection_close(f->connection, MQTT_SESSION_TAKEN_OVER, "taken over");
    expect_end(f); /* a DISCONNECT must not come before a CONNACK */
    restart(f);
    f->admission.is_waiting = true;
    connect_with(f, BYTES(0x11, 0, 0, 0, 60));
    client_close(f);
    run(f);
    f->admission.is_waiting = false;
    connection_resume(f->connection);
    run(f);
    assert_int_equal(f->closed, 1);
}

static void a_client_of_5_without_an_id_is_told_the_one_it_got(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 0, 0, 0, 0, 0, 0);
    drain(f);
    struct view id = connection_client_id(f->connection);
    assert_int_equal(id.size, 21);
    assert_memory_equal(id.data, "auto-", 5);
    assert_int_equal(f->got_size, 20 + 24);
    assert_memory_equal(f->got + f->got_size - 24, "\x12\x00\x15", 3);
    assert_memory_equal(f->got + f->got_size - 21, id.data, 21);
}

/* A machine that has just booted may lack entropy for minutes; before Linux 5.6 the call can
 * only fail. */
static bool is_without_entropy, is_old_kernel;

ssize_t __wrap_getrandom(void *to, size_t size, unsigned flags);
ssize_t __real_getrandom(void *to, size_t size, unsigned flags);

ssize_t __wrap_getrandom(void *to, size_t size, unsigned flags)
{
    assert_int_not_equal(flags, 0); /* it would wait */
    errno = flags == GRND_INSECURE ? EINVAL : EAGAIN;
    if ((flags == GRND_INSECURE && is_old_kernel) ||
        (flags != GRND_INSECURE && is_without_entropy))
        return -1;
    return __real_getrandom(to, size, flags);
}

static void a_client_id_waits_for_no_entropy(void **state)
{
    struct fixture *f = *state;

    is_without_entropy = true;
    SEND(f, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0);
    EXPECT(f, 0x20, 2, 0, 0);
    assert_int_equal(connection_client_id(f->connection).size, 21);
    restart(f);
    is_old_kernel = true;
    SEND(f, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0);
    EXPECT(f, 0x20, 2, 0, 3); /* server unavailable: it may try again */
    expect_end(f);
    is_without_entropy = false;
    restart(f);
    SEND(f, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0);
    EXPECT(f, 0x20, 2, 0, 0);
    is_old_kernel = false;
}

static void made_up_client_ids_differ(void **state)
{
    struct fixture *f = *state;
    char first[21];

    SEND(f, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0);
    EXPECT(f, 0x20, 2, 0, 0);
    assert_int_equal(connection_client_id(f->connection).size, 21);
    memcpy(first, connection_client_id(f->connection).data, 21);
    restart(f);
    SEND(f, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0);
    assert_memory_not_equal(first, connection_client_id(f->connection).data, 21);
}

static void a_3_1_1_session_to_be_kept_needs_an_id(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0, 0, 0);
    EXPECT(f, 0x20, 2, 0, 2);
    expect_end(f);
    assert_int_equal(f->connected, 0);
}

static void a_client_id_without_end_is_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t packet[1200] = {
        0x10, 0x80 | (1038 & 0x7F), 1038 >> 7, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 4, 1};

    memset(packet + 16, 'c', 1025);
    put(f, packet, 3 + 1038);
    run(f);
    EXPECT(f, 0x20, 3, 0, 0x85, 0);
    expect_end(f);
}

static void an_authentication_method_is_refused(void **state)
{
    struct fixture *f = *state;

    connect_with(f, BYTES(0x15, 0, 1, 'x'));
    EXPECT(f, 0x20, 3, 0, 0x8C, 0);
    expect_end(f);
    assert_int_equal(f->connected, 0);
}

static void a_will_of_any_qos_is_taken(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x16, 0, 0, 0, 0, 1, 'c', 0, 0, 1, 'w', 0, 1,
         'x');
    EXPECT(f, 0x20, 18, 0, 0);
    restart(f);
    SEND(f, 0x10, 19, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x16, 0, 0, 0, 1, 'c', 0, 1, 'w', 0, 1, 'x');
    EXPECT(f, 0x20, 2, 0, 0);
    expect_silence(f);
}

/* Room for the largest packet, and a client that sends it. */
static void start_large(struct fixture *f)
{
    restart(f);
    connection_free(f->connection);
    client_close(f);
    f->max_packet = 256 * 1024;
    start(f, 0);
}

/* A CONNECT of @size bytes in all that is right except for its will, which is all 'w'.
 * free() it. */
static uint8_t *make_connect(enum packet_version version, size_t size)
{
    size_t rest = size - 4;
    const uint8_t header[] = {0x10,
                              (uint8_t)(0x80 | (rest & 0x7F)),
                              (uint8_t)(0x80 | (rest >> 7 & 0x7F)),
                              (uint8_t)(rest >> 14),
                              0,
                              4,
                              'M',
                              'Q',
                              'T',
                              'T',
                              (uint8_t)version,
                              6,
                              0,
                              0};
    uint8_t *packet = malloc(size);

    assert_non_null(packet);
    memset(packet, 'w', size);
    memcpy(packet, header, sizeof(header));
    return packet;
}

static void a_connect_with_the_largest_will_is_taken_in(struct fixture *f,
                                                        enum packet_version version)
{
    const uint8_t v5[] = {0, 0, 1, 'c', 0, 0, 1, 'w', 0xFF, 0xFF};
    const uint8_t v4[] = {0, 1, 'c', 0, 1, 'w', 0xFF, 0xFF};
    size_t rest = version == V5 ? sizeof(v5) : sizeof(v4);
    size_t size = 14 + rest + 65535;
    uint8_t *packet = make_connect(version, size);

    start_large(f);
    memcpy(packet + 14, version == V5 ? v5 : v4, rest);
    assert_int_equal(put_while_taken(f, packet, size), size);
    free(packet);
    drain(f);
    assert_true(f->got_size >= 4);
    assert_int_equal(f->got[3], 0);
    f->got_size = 0;
    /* Now it may send as much as was announced. */
    static uint8_t publish[200000] = {0x30, 0, 0, 0, 0, 1, 't'};
    publish[1] = 0x80 | ((sizeof(publish) - 4) & 0x7F);
    publish[2] = 0x80 | ((sizeof(publish) - 4) >> 7 & 0x7F);
    publish[3] = (sizeof(publish) - 4) >> 14;
    assert_int_equal(put_while_taken(f, publish, sizeof(publish)), sizeof(publish));
    assert_int_equal(f->offers, 1);
    expect_silence(f);
}

static void a_connect_with_the_largest_will_is_taken(void **state)
{
    a_connect_with_the_largest_will_is_taken_in(*state, V4);
    a_connect_with_the_largest_will_is_taken_in(*state, V5);
}

static void a_connect_above_its_limit_is_refused_by_its_header(void **state)
{
    struct fixture *f = *state;
    uint8_t *packet = make_connect(V5, CONNECTION_CONNECT_MAX + 1);

    start_large(f);
    put(f, packet, 11); /* what follows need not come */
    run(f);
    EXPECT(f, 0x20, 3, 0, 0x95, 0);
    expect_end(f);
    assert_string_equal(f->why, "bad CONNECT: packet too large");
    start_large(f); /* its version is not there yet */
    put(f, packet, 10);
    expect_end(f);
    free(packet);
    packet = make_connect(V4, CONNECTION_CONNECT_MAX + 1);
    start_large(f);
    put(f, packet, 11);
    expect_end(f);
    free(packet);
    packet = make_connect(V5, CONNECTION_CONNECT_MAX);
    start_large(f);
    (void)put_while_taken(f, packet, CONNECTION_CONNECT_MAX - 1);
    expect_silence(f); /* not above it */
    free(packet);
    start_large(f);
    SEND(f, 0x30, 0x80, 0x80, 0x08); /* 128 KiB of something else */
    expect_end(f);
}

static void an_unknown_version_is_told_in_its_own_way(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 0, 0, 1, 'c');
    EXPECT(f, 0x20, 2, 0, 1);
    expect_end(f);
    restart(f);
    SEND(f, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 3, 2, 0, 0, 0, 1, 'c');
    EXPECT(f, 0x20, 2, 0, 1);
    expect_end(f);
    restart(f);
    SEND(f, 0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 0, 0, 0, 1, 'c');
    EXPECT(f, 0x20, 3, 0, 0x84, 0);
    expect_end(f);
}

static void the_owner_may_refuse_a_client(void **state)
{
    struct fixture *f = *state;

    f->connect_answer = MQTT_NOT_AUTHORIZED;
    SEND(f, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c');
    EXPECT(f, 0x20, 2, 0, 5);
    expect_end(f);
    restart(f);
    f->connect_answer = MQTT_NOT_AUTHORIZED;
    SEND(f, 0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 1, 'c');
    EXPECT(f, 0x20, 3, 0, 0x87, 0);
    expect_end(f);
    assert_int_equal(connection_client_id(f->connection).size, 0);
    assert_string_equal(f->why, "CONNECT refused: not authorized");
}

/* However much is wrong with it, once the level has been read. */
static void a_bad_connect_of_5_is_answered(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0x10, 10, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0); /* cut short */
    EXPECT(f, 0x20, 3, 0, 0x81, 0);
    expect_end(f);
    assert_string_equal(f->why, "bad CONNECT: malformed packet");
    assert_true(connection_was_refused(f->connection));
    restart(f);
    connect_with(f, BYTES(0x21, 0, 1, 0x21, 0, 1)); /* twice */
    EXPECT(f, 0x20, 3, 0, 0x82, 0);
    expect_end(f);
    assert_string_equal(f->why, "bad CONNECT: protocol error");
    restart(f);
    SEND(f, 0x11, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 1, 'c'); /* flags */
    EXPECT(f, 0x20, 3, 0, 0x81, 0);
    expect_end(f);
    restart(f);
    put(f, BYTES(0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0)); /* and no more comes */
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    run(f);
    EXPECT(f, 0x20, 3, 0, 0x81, 0);
    expect_end(f);
    assert_int_equal(f->connected, 0);
    restart(f);
    SEND(f, 0x10, 9, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0); /* 3.1.1 has no code for it */
    expect_end(f);
}

static void nothing_behind_a_refused_connect_is_heard(void **state)
{
    struct fixture *f = *state;

    f->connect_answer = MQTT_NOT_AUTHORIZED;
    f->version = V4;
    put(f, BYTES(0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c'));
    put_publish(f, 1, 1);
    run(f);
    EXPECT(f, 0x20, 2, 0, 5);
    expect_end(f);
    assert_int_equal(f->offers, 0);
}

static void the_first_packet_must_be_connect(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0xC0, 0);
    expect_end(f);
    restart(f);
    SEND(f, 0x30, 3, 0, 1, 't');
    expect_end(f);
    assert_int_equal(f->offers, 0);
}

static void a_malformed_connect_gets_no_answer(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 3, 0, 0, 0, 1, 'c'); /* reserved flag */
    expect_end(f);
}

static void a_second_connect_breaks_the_protocol(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    SEND(f, 0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 1, 'c');
    expect_disconnect(f, MQTT_PROTOCOL_ERROR);
    restart(f);
    connect_as(f, V4, 0);
    SEND(f, 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c');
    expect_end(f);
    assert_int_equal(f->connected, 1);
}

static void a_client_that_never_connects_is_closed_in_time(void **state)
{
    struct fixture *f = *state;
    int64_t start_us = now_us();

    connection_free(f->connection);
    client_close(f);
    start(f, 50);
    SEND(f, 0x10, 13, 0, 4, 'M');
    run_until_closed(f);
    assert_true(now_us() - start_us >= 40000);
    expect_end(f);
}

static int connect_late(sd_event_source *source, void *userdata)
{
    (void)source;
    put(userdata, BYTES(0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c'));
    return 0;
}

static void a_client_that_waits_for_the_last_moment_is_still_heard(void **state)
{
    struct fixture *f = *state;

    connection_free(f->connection);
    client_close(f);
    start(f, 30);
    /* The loop finds the deadline past and is kept busy meanwhile; the CONNECT comes just then,
     * so the timer is dispatched first. */
    (void)poll(NULL, 0, 400);
    sd_event_source *late = NULL;
    assert_true(sd_event_add_defer(f->event, &late, connect_late, f) >= 0);
    assert_true(sd_event_source_set_priority(late, SD_EVENT_PRIORITY_IMPORTANT) >= 0);
    run(f);
    (void)sd_event_source_disable_unref(late);
    EXPECT(f, 0x20, 2, 0, 0);
    expect_silence(f);
}

static void a_client_that_takes_no_connack_is_closed(void **state)
{
    struct fixture *f = *state;

    connect_with(f, BYTES(0x27, 0, 0, 0, 4));
    expect_end(f);
}

static void packets_right_behind_connect_are_read(void **state)
{
    struct fixture *f = *state;

    f->version = V4;
    put(f, BYTES(0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c'));
    put_publish(f, 1, 1);
    SEND(f, 0xC0, 0);
    EXPECT(f, 0x20, 2, 0, 0, 0xD0, 0);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_silence(f);
}

/* ---- PUBLISH ---- */

static void nothing_is_acknowledged_before_the_commit_in(struct fixture *f,
                                                         enum packet_version version)
{
    connect_as(f, version, 0);
    publish(f, 1, 11);
    publish(f, 1, 12);
    expect_silence(f);
    assert_int_equal(f->offers, 2);
    acknowledge(f);
    expect_puback(f, 11, 0, 1);
    expect_puback(f, 12, 0, 2);
    expect_silence(f);
    acknowledge(f);
    expect_silence(f);
}

static void nothing_is_acknowledged_before_the_commit(void **state)
{
    nothing_is_acknowledged_before_the_commit_in(*state, V4);
    restart(*state);
    nothing_is_acknowledged_before_the_commit_in(*state, V5);
}

static void qos_0_is_never_acknowledged(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    publish(f, 0, 0);
    assert_int_equal(f->offers, 1);
    acknowledge(f);
    expect_silence(f);
}

static void a_message_is_offered_whole(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    /* clang-format off */
    SEND(f, 0x33, 25, 0, 3, 'a', '/', 'b', 0x12, 0x34, 14,
         0x02, 0, 0, 0, 9,               /* message expiry is kept elsewhere */
         0x01, 1,
         0x26, 0, 1, 'k', 0, 1, 'v',
         'y', 'e', 0);
    /* clang-format on */
    assert_string_equal(f->last.topic, "a/b");
    assert_int_equal(f->last.qos, 1);
    assert_true(f->last.retain);
    assert_int_equal(f->last.packet_id, 0x1234);
    /* The payload is said to be UTF-8 and ends in U+0000, which MQTT allows in a payload. */
    assert_int_equal(f->last.payload_size, 3);
    assert_memory_equal(f->last.payload, "ye", 3);
    assert_int_equal(f->last.properties_size, 9);
    assert_memory_equal(f->last.properties, "\x01\x01\x26\x00\x01k\x00\x01v", 9);
}

/* Also after what is not a PUBLISH, and for one that is offered again. */
static void the_first_message_of_what_was_read_together_is_marked(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    put_many(f, 1, 1, 10);
    assert_int_equal(f->offers, 10);
    assert_int_equal(f->firsts, 1);
    put(f, BYTES(0xC0, 0));
    put_publish(f, 1, 11);
    publish(f, 1, 12);
    assert_int_equal(f->offers, 12);
    assert_int_equal(f->firsts, 2);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_WAIT, 0);
    put_publish(f, 1, 13);
    publish(f, 1, 14);
    assert_int_equal(f->offers, 14);
    assert_int_equal(f->firsts, 3);
    connection_resume(f->connection);
    run(f);
    assert_int_equal(f->offers, 15);
    assert_int_equal(f->firsts, 4);
}

static void properties_of_any_size_are_kept(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[1024] = {0x30, 0x80 | (915 & 0x7F), 915 >> 7, 0, 1,
                            't',  0x80 | (910 & 0x7F), 910 >> 7};

    connect_as(f, V5, 0);
    memcpy(packet + 8, "\x26\x00\x01k\x03\x88", 6); /* a value of 904 bytes */
    memset(packet + 14, 'v', 904);
    put(f, packet, 3 + 915);
    run(f);
    assert_int_equal(f->offers, 1);
    assert_int_equal(f->last.properties_size, 910);
    assert_int_equal(f->last.payload_size, 0);
}

static void a_thousand_publishes_are_acknowledged_in_order_in(struct fixture *f,
                                                              enum packet_version version)
{
    connect_as(f, version, 0);
    put_many(f, 1, 1, 1000);
    assert_int_equal(f->offers, 1000);
    expect_silence(f);
    acknowledge(f);
    run(f);
    expect_pubacks(f, 1, 1000);
    expect_silence(f);
}

static void a_thousand_publishes_are_acknowledged_in_order(void **state)
{
    a_thousand_publishes_are_acknowledged_in_order_in(*state, V4);
    restart(*state);
    a_thousand_publishes_are_acknowledged_in_order_in(*state, V5);
}

static void acknowledgements_keep_the_order_over_batches_that_grow(void **state)
{
    struct fixture *f = *state;
    uint16_t sent = 0;

    connect_as(f, V4, 0);
    for (unsigned size = 1; size < 300; size = size * 2 + 3) {
        uint16_t first = (uint16_t)(sent + 1);

        for (unsigned i = 0; i < size; i++)
            publish(f, 1, ++sent);
        acknowledge(f);
        run(f);
        expect_pubacks(f, first, sent);
    }
    expect_silence(f);
}

static void bytes_may_come_one_by_one_in(struct fixture *f, enum packet_version version)
{
    static const uint8_t connect[2][16] = {
        {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c'},
        {0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 1, 'c'}};
    uint8_t packet[16];

    f->version = version;
    for (size_t i = 0; i < (version == V5 ? 16 : 15); i++)
        SEND(f, connect[version == V5][i]);
    drain(f);
    assert_int_equal(f->got_size, 2 + f->got[1]);
    f->got_size = 0;
    size_t size = make_publish(packet, version, 1, 5);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(f->offers, 0);
        SEND(f, packet[i]);
    }
    assert_int_equal(f->offers, 1);
    acknowledge(f);
    expect_puback(f, 5, 0, 1);
    expect_silence(f);
}

static void bytes_may_come_one_by_one(void **state)
{
    bytes_may_come_one_by_one_in(*state, V4);
    restart(*state);
    bytes_may_come_one_by_one_in(*state, V5);
}

static void a_packet_of_the_largest_size_is_taken(void **state)
{
    struct fixture *f = *state;
    static uint8_t packet[MAX_PACKET] = {
        0x30, 0x80 | ((MAX_PACKET - 3) & 0x7F), (MAX_PACKET - 3) >> 7, 0, 1, 't'};

    connect_as(f, V4, 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(put_while_taken(f, packet, sizeof(packet)), sizeof(packet));
    assert_int_equal(f->offers, 20);
    assert_int_equal(f->last.payload_size, MAX_PACKET - 6);
    expect_silence(f);
}

static void a_refusal_is_told_at_once_when_nothing_waits_for_the_commit(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    publish(f, 1, 3);
    expect_puback(f, 3, MQTT_QUOTA_EXCEEDED, 0);
    expect_silence(f);
}

/* 0x97 alone would ask for another try, which could never succeed. */
static void a_refusal_for_ever_has_a_property(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    f->script[f->script_size - 1].is_too_large = true;
    publish(f, 1, 3);
    assert_true(f->has_answer);
    EXPECT(f, 0x40, 31, 0, 3, MQTT_QUOTA_EXCEEDED, 27, 0x26, 0, 13, 's', 'p', 'o', 'o', 'l',
           '-', 'r', 'e', 'f', 'u', 's', 'e', 'd', 0, 9, 't', 'o', 'o', '_', 'l', 'a', 'r', 'g',
           'e');
    expect_silence(f);
}

static void a_client_without_answers_is_closed_with_the_owner_s_reason(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    script(f, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    f->script[f->script_size - 1].why = "limits of lane alarms";
    publish(f, 1, 1);
    assert_false(f->has_answer);
    expect_end(f);
    assert_string_equal(f->why, "PUBLISH refused: limits of lane alarms");
}

static void acknowledgements_keep_the_order_with_refusals_between(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_REFUSE, MQTT_NOT_AUTHORIZED);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    script(f, CONNECTION_ACCEPT, 0);
    for (uint16_t id = 1; id <= 3; id++)
        put_publish(f, 1, id);
    SEND(f, 0x32, 6, 0, 1, '#', 0, 4, 0); /* topic name invalid: never offered */
    put_publish(f, 1, 5);
    run(f);
    expect_puback(f, 1, MQTT_NOT_AUTHORIZED, 0);
    expect_silence(f);
    acknowledge(f);
    expect_puback(f, 2, 0, 1);
    expect_puback(f, 3, MQTT_QUOTA_EXCEEDED, 0);
    expect_puback(f, 4, MQTT_TOPIC_NAME_INVALID, 0);
    expect_puback(f, 5, 0, 2);
    expect_silence(f);
}

static void a_3_1_1_refusal_closes_after_the_accepted_are_acknowledged(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    put_publish(f, 1, 1);
    put_publish(f, 1, 2);
    put_publish(f, 1, 3);
    run(f);
    expect_silence(f);
    publish(f, 1, 4);
    assert_int_equal(f->offers, 2);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_end(f);
    assert_string_equal(f->why, "PUBLISH refused: quota exceeded");
}

static void a_3_1_1_refusal_without_anything_owed_closes_at_once(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    script(f, CONNECTION_REFUSE, MQTT_NOT_AUTHORIZED);
    publish(f, 1, 1);
    expect_end(f);
}

static void a_refused_qos_0_message_ends_the_connection_in(struct fixture *f,
                                                           enum packet_version version)
{
    connect_as(f, version, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_REFUSE, MQTT_NOT_AUTHORIZED);
    put_publish(f, 1, 1);
    publish(f, 0, 0);
    expect_silence(f);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_refusal(f, MQTT_NOT_AUTHORIZED);
}

static void a_refused_qos_0_message_ends_the_connection(void **state)
{
    a_refused_qos_0_message_ends_the_connection_in(*state, V4);
    restart(*state);
    a_refused_qos_0_message_ends_the_connection_in(*state, V5);
}

/* @bytes follow an accepted PUBLISH; they must end the connection with @code, but only after
 * the acknowledgement of what was accepted. */
static void assert_ends(struct fixture *f,
                        enum packet_version version,
                        uint8_t code,
                        const uint8_t *bytes,
                        size_t size)
{
    restart(f);
    connect_as(f, version, 0);
    put_publish(f, 1, 1);
    put(f, bytes, size);
    run(f);
    expect_silence(f);
    publish(f, 1, 2);
    assert_int_equal(f->offers, 1);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_refusal(f, code);
}

/* ---- QoS 2 ---- */

static void expect_pubrec(struct fixture *f, uint16_t id, uint8_t code, uint64_t spool_id)
{
    uint8_t memory[64];
    size_t size = f->version == V5 ? make_puback(memory, id, code, spool_id)
                                   : make_puback(memory, id, 0, 0);

    memory[0] = 0x50;
    expect_bytes(f, memory, size);
}

static void send_release(struct fixture *f, uint8_t id)
{
    SEND(f, 0x62, 2, 0, id);
}

static void qos_2_is_acknowledged_in_two_steps(void **state)
{
    struct fixture *f = *state;

    for (enum packet_version version = V4; version <= V5; version++) {
        restart(f);
        connect_as(f, version, 0);
        publish(f, 2, 9);
        assert_int_equal(f->offers, 1);
        assert_int_equal(f->last.qos, 2);
        expect_silence(f); /* until the commit */
        acknowledge(f);
        expect_pubrec(f, 9, 0, 1);
        send_release(f, 9);
        EXPECT(f, 0x70, 2, 0, 9);
        assert_int_equal(f->released, 1);
        publish(f, 2, 9); /* the id is free: another message */
        assert_int_equal(f->offers, 2);
        acknowledge(f);
        expect_pubrec(f, 9, 0, 2);
        expect_silence(f);
    }
}

static void a_repetition_is_not_offered_again(void **state)
{
    struct fixture *f = *state;

    for (enum packet_version version = V4; version <= V5; version++) {
        restart(f);
        connect_as(f, version, 0);
        publish(f, 2, 9);
        publish(f, 2, 9); /* before the commit of the first */
        expect_silence(f);
        acknowledge(f);
        expect_pubrec(f, 9, 0, 1);
        expect_pubrec(f, 9, 0, 109);
        publish(f, 2, 9);
        acknowledge(f);
        expect_pubrec(f, 9, 0, 109);
        assert_int_equal(f->offers, 1);
        assert_int_equal(f->repeated, 2);
    }
}

static void a_release_waits_for_its_commit_if_its_owner_says_so(void **state)
{
    struct fixture *f = *state;

    f->releases_wait = true;
    connect_as(f, V5, 0);
    assert_int_equal(connection_set_unreleased(f->connection, 9), 0); /* of a session */
    publish(f, 2, 9);
    assert_int_equal(f->offers, 0);
    acknowledge(f);
    expect_pubrec(f, 9, 0, 109);
    send_release(f, 9);
    expect_silence(f);
    acknowledge(f);
    EXPECT(f, 0x70, 2, 0, 9);
    send_release(f, 9);
    EXPECT(f, 0x70, 3, 0, 9, 0x92);
    assert_int_equal(f->released, 1);
}

static void a_refused_message_of_qos_2_leaves_its_packet_id_free(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    publish(f, 2, 9);
    expect_pubrec(f, 9, MQTT_QUOTA_EXCEEDED, 0); /* at once: no commit is needed */
    assert_true(f->has_answer);
    SEND(f, 0x34, 6, 0, 1, '+', 0, 9, 0);
    expect_pubrec(f, 9, MQTT_TOPIC_NAME_INVALID, 0);
    publish(f, 2, 9);
    assert_int_equal(f->offers, 2);
    acknowledge(f);
    expect_pubrec(f, 9, 0, 1);
    restart(f);
    connect_as(f, V4, 0);
    script(f, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    publish(f, 2, 9);
    expect_end(f);
}

static void a_lost_batch_frees_its_packet_ids_and_no_others(void **state)
{
    struct fixture *f = *state;

    f->releases_wait = true;
    connect_as(f, V5, 0);
    publish(f, 2, 7);
    publish(f, 2, 8);
    acknowledge(f);
    expect_pubrec(f, 7, 0, 1);
    expect_pubrec(f, 8, 0, 2);
    publish(f, 2, 7); /* a repetition of what is on disk, */
    send_release(f, 8);
    publish(f, 2, 9); /* what is in the batch, */
    publish(f, 2, 9); /* and a repetition of that */
    assert_true(connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED));
    expect_silence(f); /* the first two need a commit */
    acknowledge(f);
    expect_pubrec(f, 7, 0, 107);
    EXPECT(f, 0x70, 2, 0, 8);
    expect_pubrec(f, 9, MQTT_QUOTA_EXCEEDED, 0);
    expect_pubrec(f, 9, MQTT_QUOTA_EXCEEDED, 0);
    publish(f, 2, 9);
    assert_int_equal(f->offers, 4);
    assert_false(connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED));
    expect_pubrec(f, 9, MQTT_QUOTA_EXCEEDED, 0);
    restart(f);
    f->releases_wait = true;
    connect_as(f, V4, 0);
    publish(f, 2, 7);
    acknowledge(f);
    expect_pubrec(f, 7, 0, 0);
    send_release(f, 7);
    assert_true(connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED));
    expect_silence(f); /* nothing of it was refused */
    publish(f, 2, 8);
    assert_false(connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED));
    expect_end(f);
}

/* Its owner has the rows of a lost batch again, and sets the ids that it finds. A client that
 * has its PUBCOMP may use the id for another message. */
static void an_id_released_in_a_lost_batch_is_free_after_its_pubcomp(void **state)
{
    struct fixture *f = *state;

    f->releases_wait = true;
    connect_as(f, V5, 0);
    publish(f, 2, 7);
    acknowledge(f);
    expect_pubrec(f, 7, 0, 1);
    send_release(f, 7);
    connection_clear_unreleased(f->connection);
    assert_int_equal(connection_set_unreleased(f->connection, 7), 0);
    assert_true(connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED));
    acknowledge(f);
    EXPECT(f, 0x70, 2, 0, 7);
    publish(f, 2, 7);
    assert_int_equal(f->offers, 2);
    acknowledge(f);
    expect_pubrec(f, 7, 0, 2);
}

/* @count messages of QoS 2 from packet id 1 on, with a commit after them. */
static void the_receive_maximum_counts_to_pubcomp(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    put_many(f, 2, 1, CONNECTION_RECEIVE_MAXIMUM);
    acknowledge(f);
    run(f);
    drain(f);
    f->got_size = 0;
    assert_int_equal(f->offers, CONNECTION_RECEIVE_MAXIMUM);
    send_release(f, 1);
    EXPECT(f, 0x70, 2, 0, 1);
    publish(f, 1, 2000); /* one is free now */
    acknowledge(f);
    expect_puback(f, 2000, 0, CONNECTION_RECEIVE_MAXIMUM + 1);
    publish(f, 2, 2001);
    publish(f, 1, 2002);
    acknowledge(f);
    expect_pubrec(f, 2001, 0, CONNECTION_RECEIVE_MAXIMUM + 2);
    expect_disconnect(f, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
}

/* It sends its PUBREL behind all that it has published, so these must be read. */
static void a_client_of_3_1_1_may_leave_more_unreleased(void **state)
{
    struct fixture *f = *state;
    enum { MESSAGES = 3 * CONNECTION_RECEIVE_MAXIMUM };

    connect_as(f, V4, 0);
    for (unsigned round = 0; round < 3; round++) {
        put_many(f, 2, (uint16_t)(round * CONNECTION_RECEIVE_MAXIMUM + 1),
                 CONNECTION_RECEIVE_MAXIMUM);
        acknowledge(f);
        run(f);
        drain(f);
        f->got_size = 0;
    }
    assert_int_equal(f->offers, MESSAGES);
    send_release(f, 1);
    EXPECT(f, 0x70, 2, 0, 1);
    expect_silence(f);
}

static void a_client_that_never_releases_is_refused(void **state)
{
    struct fixture *f = *state;

    for (enum packet_version version = V4; version <= V5; version++) {
        restart(f);
        connect_as(f, version, 0);
        for (unsigned id = 1; id <= CONNECTION_UNRELEASED_MAX; id++)
            assert_int_equal(connection_set_unreleased(f->connection, (uint16_t)(1000 + id)),
                             0);
        publish(f, 1, 9); /* QoS 1 has no such limit */
        acknowledge(f);
        expect_puback(f, 9, 0, 1);
        if (version == V4) {
            publish(f, 2, 8);
            expect_end(f);
            continue;
        }
        publish(f, 2, 8);
        expect_pubrec(f, 8, MQTT_QUOTA_EXCEEDED, 0);
        assert_int_equal(f->offers, 1);
        SEND(f, 0x62, 2, 1001 >> 8, 1001 & 0xFF);
        EXPECT(f, 0x70, 2, 1001 >> 8, 1001 & 0xFF);
        publish(f, 2, 8);
        assert_int_equal(f->offers, 2);
    }
}

static void a_client_that_releases_more_than_is_answered_waits(void **state)
{
    struct fixture *f = *state;
    uint8_t releases[4 * (CONNECTION_RECEIVE_MAXIMUM + 5)];

    f->releases_wait = true;
    connect_as(f, V5, 0);
    for (uint16_t id = 1; id <= CONNECTION_RECEIVE_MAXIMUM + 5; id++) {
        const uint8_t release[] = {0x62, 2, (uint8_t)(id >> 8), (uint8_t)id};

        assert_int_equal(connection_set_unreleased(f->connection, id), 0);
        memcpy(releases + 4 * (id - 1), release, sizeof(release));
    }
    put(f, releases, sizeof(releases));
    run(f);
    assert_int_equal(f->released, CONNECTION_RECEIVE_MAXIMUM);
    acknowledge(f);
    run(f);
    acknowledge(f);
    run(f);
    assert_int_equal(f->released, CONNECTION_RECEIVE_MAXIMUM + 5);
    drain(f);
    assert_int_equal(f->got_size, 4 * (CONNECTION_RECEIVE_MAXIMUM + 5));
    assert_int_equal(f->closed, 0);
}

static void disconnect_may_change_the_expiry_of_a_session(void **state)
{
    struct fixture *f = *state;

    f->admission.session_expiry_s = 60;
    connect_with(f, BYTES(0x11, 0, 0, 0, 60));
    SEND(f, 0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->expiry_changes, 1);
    assert_int_equal(f->expiry_s, 9);
    restart(f);
    connect_with(f, BYTES(0x11, 0, 0, 0, 60));
    SEND(f, 0xE0, 0);
    assert_int_equal(f->expiry_changes, 0);
}

static void a_bad_topic_ends_the_connection_where_no_puback_can_tell(void **state)
{
    assert_ends(*state, V5, MQTT_TOPIC_NAME_INVALID, BYTES(0x30, 4, 0, 1, '+', 0));
    assert_ends(*state, V4, 0, BYTES(0x32, 5, 0, 1, '+', 0, 9));
    assert_ends(*state, V4, 0, BYTES(0x30, 3, 0, 1, '+'));
}

static void a_payload_that_is_not_what_it_says_is_refused(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    SEND(f, 0x32, 9, 0, 1, 't', 0, 9, 2, 0x01, 1, 0xFF);
    expect_puback(f, 9, MQTT_PAYLOAD_FORMAT_INVALID, 0);
    expect_silence(f);
    assert_int_equal(f->offers, 0);
    assert_ends(f, V5, MQTT_PAYLOAD_FORMAT_INVALID,
                BYTES(0x30, 7, 0, 1, 't', 2, 0x01, 1, 0xFF));
}

static void a_topic_alias_that_is_not_offered_ends_the_connection(void **state)
{
    assert_ends(*state, V5, MQTT_TOPIC_ALIAS_INVALID, BYTES(0x30, 7, 0, 1, 't', 3, 0x23, 0, 0));
    assert_ends(*state, V5, MQTT_TOPIC_ALIAS_INVALID,
                BYTES(0x30, 7, 0, 1, 't', 3, 0x23, 0, 33));
    assert_ends(*state, V5, MQTT_TOPIC_ALIAS_INVALID, BYTES(0x30, 6, 0, 0, 3, 0x23, 1, 1));
}

static void a_topic_alias_that_was_not_set_ends_the_connection(void **state)
{
    assert_ends(*state, V5, MQTT_PROTOCOL_ERROR, BYTES(0x30, 6, 0, 0, 3, 0x23, 0, 32));
}

/* PUBLISH of QoS 1 with an alias; @topic: one character, or 0 for none. */
static void put_alias(struct fixture *f, uint8_t id, char topic, uint8_t alias)
{
    if (topic)
        SEND(f, 0x32, 10, 0, 1, (uint8_t)topic, 0, id, 3, 0x23, 0, alias, 'p');
    else
        SEND(f, 0x32, 9, 0, 0, 0, id, 3, 0x23, 0, alias, 'p');
}

static void assert_last(const struct fixture *f, unsigned offers, const char *topic)
{
    assert_int_equal(f->offers, offers);
    assert_string_equal(f->last.topic, topic);
    assert_int_equal(f->last.properties_size, 0);
}

static void a_topic_alias_stands_for_its_topic_until_it_is_set_again(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    put_alias(f, 1, 'a', 1);
    put_alias(f, 2, 'b', 32);
    put_alias(f, 3, 0, 1);
    assert_last(f, 3, "a");
    put_alias(f, 4, 0, 32);
    assert_last(f, 4, "b");
    put_alias(f, 5, 'c', 1);
    assert_last(f, 5, "c");
    put_alias(f, 6, 0, 1);
    assert_last(f, 6, "c");
    put_alias(f, 7, 0, 32);
    assert_last(f, 7, "b");
    publish(f, 1, 8);
    assert_last(f, 8, "t");
    acknowledge(f);
    expect_pubacks(f, 1, 8);
}

static void topic_aliases_end_with_their_connection(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    put_alias(f, 1, 'a', 1);
    restart(f);
    connect_as(f, V5, 0);
    put_alias(f, 1, 0, 1);
    expect_refusal(f, MQTT_PROTOCOL_ERROR);
}

/* It is offered again and again, and those behind it set its alias again. */
static void a_message_that_waits_keeps_the_topic_of_its_alias(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    put_alias(f, 1, 'a', 1);
    script(f, CONNECTION_BLOCK, 0);
    script(f, CONNECTION_WAIT, 0);
    put_alias(f, 2, 0, 1);
    put_alias(f, 3, 'b', 1);
    put_alias(f, 4, 0, 1);
    SEND(f, 0xC0, 0);
    EXPECT(f, 0xD0, 0);
    assert_last(f, 2, "a");
    connection_resume(f->connection);
    assert_last(f, 3, "a");
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_WAIT, 0);
    connection_resume(f->connection);
    run(f);
    assert_last(f, 6, "b");
    connection_resume(f->connection);
    run(f);
    assert_last(f, 7, "b");
    acknowledge(f);
    expect_pubacks(f, 1, 4);
}

static void a_refused_message_sets_its_alias(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    put_alias(f, 1, 'a', 1);
    expect_puback(f, 1, MQTT_QUOTA_EXCEEDED, 0);
    put_alias(f, 2, 0, 1);
    assert_last(f, 2, "a");
    acknowledge(f);
    expect_puback(f, 2, 0, 1);
    put_alias(f, 3, '+', 2);
    expect_puback(f, 3, MQTT_TOPIC_NAME_INVALID, 0);
    put_alias(f, 4, 0, 2);
    expect_puback(f, 4, MQTT_TOPIC_NAME_INVALID, 0);
    assert_int_equal(f->offers, 2);
}

/* PUBLISH of QoS 0 that sets an alias to a topic of 3,000 bytes. */
static void put_long_alias(struct fixture *f, uint8_t alias)
{
    uint8_t packet[5 + 3000] = {0x30, 0xBE, 0x17, 0x0B, 0xB8};

    memset(packet + 5, 'a' + alias, 3000);
    put(f, packet, sizeof(packet));
    put(f, BYTES(3, 0x23, 0, alias));
    run(f);
}

static void topics_of_aliases_are_bounded_in_bytes(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    for (unsigned i = 0; i < 3 * 21; i++)
        put_long_alias(f, (uint8_t)(1 + i % 21)); /* 63,000 bytes */
    assert_int_equal(f->offers, 3 * 21);
    put_long_alias(f, 22);
    assert_int_equal(f->offers, 3 * 21);
    acknowledge(f);
    expect_refusal(f, MQTT_QUOTA_EXCEEDED);
}

static void a_client_of_5_must_keep_to_the_receive_maximum(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    put_many(f, 1, 1, 1001);
    assert_int_equal(f->offers, 1000);
    expect_silence(f);
    acknowledge(f);
    run(f);
    expect_pubacks(f, 1, 1000);
    expect_disconnect(f, MQTT_RECEIVE_MAXIMUM_EXCEEDED);
}

static void a_client_of_3_1_1_waits_at_the_same_limit(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    put_many(f, 1, 1, 2500);
    assert_int_equal(f->offers, 1000);
    expect_silence(f);
    for (unsigned offers = 2000; f->offers < 2500; offers += 1000) {
        acknowledge(f);
        run(f);
        assert_int_equal(f->offers, offers < 2500 ? offers : 2500);
    }
    acknowledge(f);
    expect_pubacks(f, 1, 2500);
    expect_silence(f);
}

/* ---- the will ---- */

/* Will "x" to "w", QoS 1, retained; v5 with a delay, an expiry and a content type. */
static void connect_with_will(struct fixture *f, enum packet_version version)
{
    f->version = version;
    if (version == V5)
        SEND(f, 0x10, 35, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x2E, 0, 0, 0, 0, 1, 'c', 14, 0x18, 0, 0,
             0, 5, 0x03, 0, 1, 't', 0x02, 0, 0, 0, 7, 0, 1, 'w', 0, 1, 'x');
    else
        SEND(f, 0x10, 19, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x2E, 0, 0, 0, 1, 'c', 0, 1, 'w', 0, 1,
             'x');
    drain(f);
    f->got_size = 0;
    assert_int_equal(f->connected, 1);
    assert_true(f->has_seen_will);
}

static void assert_will(const struct fixture *f)
{
    const struct connection_will *will = f->will;

    assert_int_equal(f->closed, 1);
    assert_non_null(will);
    assert_int_equal(will->packet.topic.size, 1);
    assert_int_equal(will->packet.topic.data[0], 'w');
    assert_int_equal(will->packet.payload.size, 1);
    assert_int_equal(will->packet.payload.data[0], 'x');
    assert_int_equal(will->packet.qos, 1);
    assert_true(will->packet.retain);
    assert_int_equal(will->delay_s, f->version == V5 ? 5 : 0);
    assert_int_equal(will->packet.expiry_s, f->version == V5 ? 7 : 0);
    assert_int_equal(will->kept_properties.size, f->version == V5 ? 4 : 0);
    if (f->version == V5)
        assert_memory_equal(will->kept_properties.data, "\x03\0\1t", 4);
}

static void a_client_that_vanishes_leaves_its_will_in(struct fixture *f,
                                                      enum packet_version version)
{
    connect_with_will(f, version);
    client_close(f);
    run_until_closed(f);
    assert_will(f);
    restart(f);
    connect_with_will(f, version);
    SEND(f, 0xF0, 1, 0x80); /* no such packet, or not now */
    run_until_closed(f);
    assert_will(f);
    restart(f);
    connect_with_will(f, version);
    connection_close(f->connection, MQTT_SESSION_TAKEN_OVER, "session taken over");
    assert_will(f);
    restart(f);
}

static void a_client_that_vanishes_leaves_its_will(void **state)
{
    a_client_that_vanishes_leaves_its_will_in(*state, V4);
    a_client_that_vanishes_leaves_its_will_in(*state, V5);
}

static void a_silent_client_leaves_its_will(void **state)
{
    struct fixture *f = *state;

    f->version = V5;
    SEND(f, 0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x0E, 0, 1, 0, 0, 1, 'c', 0, 0, 1, 'w', 0, 1,
         'x');
    run_until_closed(f);
    assert_non_null(f->will);
}

static void disconnect_discards_the_will_unless_it_asks_for_it(void **state)
{
    struct fixture *f = *state;

    connect_with_will(f, V4);
    SEND(f, 0xE0, 0);
    assert_int_equal(f->closed, 1);
    assert_null(f->will);
    restart(f);
    connect_with_will(f, V5);
    SEND(f, 0xE0, 0);
    assert_int_equal(f->closed, 1);
    assert_null(f->will);
    restart(f);
    connect_with_will(f, V5);
    SEND(f, 0xE0, 1, 0x04);
    assert_will(f);
    restart(f);
    connect_with_will(f, V5);
    SEND(f, 0xE0, 1, 0x7F); /* no code */
    assert_will(f);
}

static void a_client_that_was_rejected_leaves_no_will(void **state)
{
    struct fixture *f = *state;

    f->connect_answer = MQTT_NOT_AUTHORIZED;
    connect_with_will(f, V5);
    assert_int_equal(f->closed, 1);
    assert_null(f->will);
    restart(f);
    f->connect_answer = 0;
    f->close_in_connected = true;
    connect_with_will(f, V5);
    assert_int_equal(f->closed, 1);
    assert_null(f->will);
}

/* What it sent before is in the batch before its will. */
static void a_will_comes_after_what_the_batch_holds_of_its_client(void **state)
{
    struct fixture *f = *state;

    connect_with_will(f, V5);
    publish(f, 1, 1);
    (void)shutdown(f->client, SHUT_WR);
    run(f);
    assert_int_equal(f->closed, 0);
    acknowledge(f);
    run_until_closed(f);
    assert_will(f);
}

static void a_will_that_no_broker_would_take_is_refused(void **state)
{
    struct fixture *f = *state;

    SEND(f, 0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x0E, 0, 0, 0, 0, 1, 'c', 0, 0, 1, 1, 0, 1,
         'x');
    EXPECT(f, 0x20, 3, 0, 0x90, 0);
    expect_end(f);
    restart(f);
    SEND(f, 0x10, 23, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x0E, 0, 0, 0, 0, 1, 'c', 2, 1, 1, 0, 1, 'w',
         0, 1, 0xFF);
    EXPECT(f, 0x20, 3, 0, 0x99, 0);
    expect_end(f);
    assert_int_equal(f->connected, 0);
}

/* ---- waiting and stopping ---- */

static void a_waiting_message_is_offered_again_in_its_turn_in(struct fixture *f,
                                                              enum packet_version version)
{
    connect_as(f, version, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_WAIT, 0);
    script(f, CONNECTION_WAIT, 0);
    put_publish(f, 1, 1);
    put_publish(f, 1, 2);
    put_publish(f, 1, 3);
    run(f);
    assert_int_equal(f->offers, 2);
    acknowledge(f);
    run(f);
    expect_puback(f, 1, 0, 1);
    publish(f, 1, 4);
    assert_int_equal(f->offers, 2);
    connection_resume(f->connection);
    assert_int_equal(f->offers, 3);
    assert_int_equal(f->last.packet_id, 2);
    run(f);
    assert_int_equal(f->offers, 3);
    connection_resume(f->connection);
    run(f);
    assert_int_equal(f->offers, 6);
    expect_silence(f);
    acknowledge(f);
    expect_pubacks(f, 2, 4);
    expect_silence(f);
}

static void a_waiting_message_is_offered_again_in_its_turn(void **state)
{
    a_waiting_message_is_offered_again_in_its_turn_in(*state, V4);
    restart(*state);
    a_waiting_message_is_offered_again_in_its_turn_in(*state, V5);
}

static void a_waiting_client_fills_only_its_own_socket(void **state)
{
    struct fixture *f = *state;
    size_t size;

    connect_as(f, V4, 0);
    script(f, CONNECTION_WAIT, 0);
    uint8_t *many = make_many(V4, 1, 1, 60000, &size);
    assert_true(put_while_taken(f, many, size) < size);
    assert_int_equal(f->offers, 1);
    free(many);
}

static void resume_without_waiting_does_nothing(void **state)
{
    struct fixture *f = *state;

    connection_resume(f->connection);
    connect_as(f, V4, 0);
    connection_resume(f->connection);
    expect_silence(f);
    assert_int_equal(f->offers, 0);
}

static void a_client_that_goes_while_it_waits_is_heard_to_the_end(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    script(f, CONNECTION_WAIT, 0);
    put_publish(f, 0, 0);
    run(f);
    put_publish(f, 0, 0);
    SEND(f, 0xE0, 0);
    client_close(f);
    run(f); /* ends only when the hang-up does not keep the loop busy */
    assert_int_equal(f->closed, 0);
    connection_resume(f->connection);
    run(f);
    assert_int_equal(f->offers, 3);
    expect_end(f);
    assert_string_equal(f->why, "client disconnected");
}

static void
a_client_that_goes_while_it_is_blocked_is_closed_at_once_in(struct fixture *f,
                                                            enum packet_version version)
{
    connect_as(f, version, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_BLOCK, 0);
    for (uint16_t id = 1; id <= 3; id++)
        put_publish(f, 1, id);
    run(f);
    expect_silence(f);
    client_close(f);
    expect_end(f);
    assert_int_equal(f->offers, 2);
    assert_string_equal(f->why, "client left while its message waited for room");
    acknowledge(f);
    connection_resume(f->connection);
    assert_int_equal(f->offers, 2);
}

static void a_client_that_goes_while_it_is_blocked_is_closed_at_once(void **state)
{
    a_client_that_goes_while_it_is_blocked_is_closed_at_once_in(*state, V4);
    restart(*state);
    a_client_that_goes_while_it_is_blocked_is_closed_at_once_in(*state, V5);
}

/* It left between two offers: the first time it was to wait for a commit only. */
static void a_client_that_has_gone_is_not_blocked(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    script(f, CONNECTION_WAIT, 0);
    script(f, CONNECTION_BLOCK, 0);
    publish(f, 0, 0);
    client_close(f);
    run(f);
    assert_int_equal(f->closed, 0);
    connection_resume(f->connection);
    expect_end(f);
    assert_int_equal(f->offers, 2);
}

/* Over TCP this is all that is seen of a process that has ended. */
static void a_client_that_ends_its_stream_while_it_is_blocked_gets_what_it_is_owed_in(
    struct fixture *f, enum packet_version version)
{
    connect_as(f, version, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_BLOCK, 0);
    publish(f, 1, 1);
    publish(f, 1, 2);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    expect_silence(f);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_refusal(f, MQTT_QUOTA_EXCEEDED);
    assert_int_equal(f->offers, 2);
}

static void a_client_that_ends_its_stream_while_it_is_blocked_gets_what_it_is_owed(void **state)
{
    a_client_that_ends_its_stream_while_it_is_blocked_gets_what_it_is_owed_in(*state, V4);
    restart(*state);
    a_client_that_ends_its_stream_while_it_is_blocked_gets_what_it_is_owed_in(*state, V5);
}

/* With QoS 0 no client would send it again. */
static void what_a_throttled_client_sent_is_read_after_it_has_gone(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    script(f, CONNECTION_THROTTLE, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_THROTTLE, 0);
    for (int i = 0; i < 3; i++)
        publish(f, 0, 0);
    run(f);
    assert_int_equal(f->offers, 1);
    client_close(f);
    run(f);
    assert_int_equal(f->closed, 0);
    connection_resume(f->connection);
    run(f);
    assert_int_equal(f->closed, 0);
    assert_int_equal(f->offers, 3);
    connection_resume(f->connection);
    run(f);
    assert_int_equal(f->offers, 5);
    assert_int_equal(f->closed, 1);
}

static void a_throttled_client_gets_its_pings_answered(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_THROTTLE, 0);
    publish(f, 1, 1);
    SEND(f, 0xC0, 0);
    EXPECT(f, 0xD0, 0);
    SEND(f, 0xC0, 0);
    EXPECT(f, 0xD0, 0);
    connection_resume(f->connection);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    assert_int_equal(f->closed, 0);
}

static void a_blocked_client_that_stays_is_served_in_its_turn(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_BLOCK, 0);
    script(f, CONNECTION_BLOCK, 0);
    publish(f, 1, 1);
    publish(f, 1, 2);
    connection_resume(f->connection);
    expect_silence(f);
    assert_int_equal(f->offers, 2);
    connection_resume(f->connection);
    run(f);
    assert_int_equal(f->offers, 4);
    SEND(f, 0xE0, 0);
    acknowledge(f);
    expect_pubacks(f, 1, 2);
    expect_end(f);
    assert_string_equal(f->why, "client disconnected");
}

static void a_blocked_client_has_its_pings_answered_in(struct fixture *f,
                                                       enum packet_version version)
{
    connect_as(f, version, 0);
    script(f, CONNECTION_BLOCK, 0);
    publish(f, 1, 1);
    for (unsigned i = 0; i < 3; i++) {
        SEND(f, 0xC0, 0);
        EXPECT(f, 0xD0, 0);
    }
    expect_silence(f);
    connection_resume(f->connection);
    expect_silence(f);
    assert_int_equal(f->offers, 2);
    SEND(f, 0xC0, 0);
    EXPECT(f, 0xD0, 0);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_silence(f);
}

static void a_blocked_client_has_its_pings_answered(void **state)
{
    a_blocked_client_has_its_pings_answered_in(*state, V4);
    restart(*state);
    a_blocked_client_has_its_pings_answered_in(*state, V5);
}

static void pings_between_blocked_messages_are_answered_once_each(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_BLOCK, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_BLOCK, 0);
    for (uint16_t id = 1; id <= 3; id++) {
        put_publish(f, 1, id);
        put(f, BYTES(0xC0, 0));
    }
    run(f);
    EXPECT(f, 0xD0, 0, 0xD0, 0, 0xD0, 0);
    connection_resume(f->connection); /* blocked again at the second */
    expect_silence(f);
    assert_int_equal(f->offers, 3);
    SEND(f, 0xC0, 0);
    EXPECT(f, 0xD0, 0);
    connection_resume(f->connection);
    expect_silence(f);
    assert_int_equal(f->offers, 5);
    acknowledge(f);
    expect_pubacks(f, 1, 3);
    SEND(f, 0xC0, 0);
    EXPECT(f, 0xD0, 0);
    expect_silence(f);
}

static void half_a_packet_behind_a_blocked_message_is_completed(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_BLOCK, 0);
    publish(f, 1, 1);
    SEND(f, 0xC0, 0, 0xC0);
    EXPECT(f, 0xD0, 0);
    expect_silence(f);
    SEND(f, 0);
    EXPECT(f, 0xD0, 0);
    connection_resume(f->connection);
    expect_silence(f);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
}

/* Its answers fill what the connection may hold for it; the rest of its pings stays unread. */
static void a_blocked_client_that_pings_and_reads_no_answer_costs_a_bounded_amount(void **state)
{
    static uint8_t pings[4 * 1024 * 1024];
    struct fixture *f = *state;
    int64_t deadline = now_us() + PATIENCE_US;
    size_t taken;

    for (size_t i = 0; i < sizeof(pings); i += 2)
        pings[i] = 0xC0;
    connect_as(f, V5, 0);
    script(f, CONNECTION_BLOCK, 0);
    publish(f, 1, 1);
    taken = put_while_taken(f, pings, sizeof(pings));
    assert_true(taken < sizeof(pings));
    assert_int_equal(f->closed, 0);
    for (size_t answered = 0; answered < taken / 2 * 2;) {
        drain(f);
        for (size_t i = 0; i < f->got_size; i += 2)
            assert_int_equal(f->got[i], 0xD0);
        answered += f->got_size;
        f->got_size = 0;
        run(f);
        assert_true(now_us() < deadline);
    }
    expect_silence(f);
}

static void what_is_wrong_behind_a_blocked_message_is_found_in_its_turn(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_BLOCK, 0);
    publish(f, 1, 1);
    SEND(f, 0x00, 0);
    expect_silence(f);
    connection_resume(f->connection);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_disconnect(f, MQTT_MALFORMED_PACKET);
}

static void after_stop_nothing_is_offered_and_what_is_owed_still_leaves(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_STOP, 0);
    put_publish(f, 1, 1);
    put_publish(f, 1, 2);
    put_publish(f, 1, 3);
    run(f);
    assert_int_equal(f->offers, 2);
    connection_resume(f->connection);
    acknowledge(f);
    run(f);
    assert_int_equal(f->offers, 2);
    expect_puback(f, 1, 0, 1);
    expect_silence(f);
    connection_close(f->connection, MQTT_SERVER_SHUTTING_DOWN, "daemon stops");
    expect_disconnect(f, MQTT_SERVER_SHUTTING_DOWN);
}

/* ---- a batch that was not stored ---- */

static void a_failed_batch_is_told_by_code(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_ACCEPT, 0);
    script(f, CONNECTION_REFUSE, MQTT_NOT_AUTHORIZED);
    script(f, CONNECTION_ACCEPT, 0);
    for (uint16_t id = 1; id <= 3; id++)
        publish(f, 1, id);
    connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED);
    expect_puback(f, 1, MQTT_QUOTA_EXCEEDED, 0);
    expect_puback(f, 2, MQTT_NOT_AUTHORIZED, 0);
    expect_puback(f, 3, MQTT_QUOTA_EXCEEDED, 0);
    publish(f, 1, 4);
    acknowledge(f);
    expect_puback(f, 4, 0, 3);
    expect_silence(f);
}

static void a_failed_batch_closes_a_3_1_1_client_unacknowledged(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    publish(f, 1, 1);
    connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED);
    expect_end(f);
    assert_string_equal(f->why, "batch was not stored: quota exceeded");
}

static void a_failed_batch_does_not_touch_who_had_no_part_in_it(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    publish(f, 1, 1);
    acknowledge(f);
    connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED);
    expect_puback(f, 1, 0, 1);
    expect_silence(f);
}

static void a_failed_batch_is_reported_by_a_disconnect_to_clients_of_qos_0(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    publish(f, 0, 0);
    publish(f, 1, 1);
    publish(f, 0, 0);
    connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED);
    expect_puback(f, 1, MQTT_QUOTA_EXCEEDED, 0);
    expect_disconnect(f, MQTT_QUOTA_EXCEEDED);
    assert_string_equal(f->why, "batch was not stored: quota exceeded");
    assert_true(connection_was_refused(f->connection));
}

static void a_failed_batch_closes_a_3_1_1_client_of_qos_0(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    publish(f, 0, 0);
    connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED);
    expect_end(f);
    assert_true(connection_was_refused(f->connection));
}

static void a_message_of_qos_0_that_is_stored_has_no_part_in_the_next_batch(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    publish(f, 0, 0);
    acknowledge(f);
    connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED);
    expect_silence(f);
}

/* The message may be stored: neither "yes" nor "no" would be true. */
static void a_batch_whose_fate_is_open_ends_the_connection_without_an_answer(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    publish(f, 1, 1);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    publish(f, 1, 2);
    publish(f, 1, 3);
    connection_drop_owed(f->connection, MQTT_QUOTA_EXCEEDED, "moved");
    expect_disconnect(f, MQTT_QUOTA_EXCEEDED);
    assert_string_equal(f->why, "moved");
}

static void a_batch_whose_fate_is_open_closes_a_3_1_1_client(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    publish(f, 1, 1);
    connection_drop_owed(f->connection, MQTT_QUOTA_EXCEEDED, "moved");
    expect_end(f);
}

/* ---- how it ends ---- */

static void a_client_that_disconnects_gets_what_it_is_owed_in(struct fixture *f,
                                                              enum packet_version version)
{
    connect_as(f, version, 0);
    put_publish(f, 1, 1);
    SEND(f, 0xE0, 0);
    expect_silence(f);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_end(f);
    assert_string_equal(f->why, "client disconnected");
}

static void a_client_that_disconnects_gets_what_it_is_owed(void **state)
{
    a_client_that_disconnects_gets_what_it_is_owed_in(*state, V4);
    restart(*state);
    a_client_that_disconnects_gets_what_it_is_owed_in(*state, V5);
}

static void a_client_that_ends_its_stream_gets_what_it_is_owed(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    publish(f, 1, 1);
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    expect_silence(f);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_end(f);
    assert_string_equal(f->why, "connection closed without DISCONNECT");
}

static void a_stream_that_ends_inside_a_packet_is_told(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    SEND(f, 0x30, 9, 0);
    client_close(f);
    expect_end(f);
    assert_string_equal(f->why, "connection closed inside a packet");
    assert_int_equal(f->offers, 0);
}

static void a_client_that_writes_all_and_vanishes_is_heard(void **state)
{
    struct fixture *f = *state;

    f->version = V4;
    put(f, BYTES(0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c'));
    put_publish(f, 0, 0);
    put_publish(f, 1, 1);
    put_publish(f, 0, 0);
    put(f, BYTES(0xE0, 0));
    client_close(f);
    run(f);
    assert_int_equal(f->offers, 3);
    assert_int_equal(f->closed, 1);
    acknowledge(f);
    assert_int_equal(f->closed, 1);
}

static void a_client_that_vanishes_before_the_commit_costs_nothing(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    publish(f, 1, 1);
    client_close(f);
    run(f);
    acknowledge(f);
    expect_end(f);
}

static void a_client_that_vanishes_during_the_commit_is_heard_to_the_end(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    publish(f, 1, 1);
    put_publish(f, 0, 0);
    client_close(f);
    acknowledge(f); /* the write fails; what was sent before still lies there */
    assert_int_equal(f->closed, 0);
    expect_end(f);
    assert_int_equal(f->offers, 2);
    assert_string_equal(f->why, "connection closed without DISCONNECT");
}

static void a_client_that_leaves_answers_unread_is_heard_to_the_end(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    SEND(f, 0xC0, 0);
    put_publish(f, 0, 0);
    client_close(f); /* with the PINGRESP unread: a reset, not an end of stream */
    expect_end(f);
    assert_int_equal(f->offers, 1);
    assert_memory_equal(f->why, "read: ", 6);
}

static void disconnect_cannot_ask_for_more_than_connect_did(void **state)
{
    struct fixture *f = *state;

    assert_ends(f, V5, MQTT_PROTOCOL_ERROR, BYTES(0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9));
    restart(f);
    connect_with(f, BYTES(0x11, 0, 0, 0, 60));
    drain(f);
    f->got_size = 0;
    SEND(f, 0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9);
    expect_end(f);
}

static void closing_from_our_side_tells_the_reason(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    connection_close(f->connection, MQTT_SESSION_TAKEN_OVER, "taken over");
    EXPECT(f, 0xE0, 15, 0x8E, 13, 0x1F, 0, 10, 't', 'a', 'k', 'e', 'n', ' ', 'o', 'v', 'e',
           'r');
    expect_end(f);
    assert_string_equal(f->why, "taken over");
    restart(f);
    connect_as(f, V4, 0);
    connection_close(f->connection, MQTT_SESSION_TAKEN_OVER, "taken over");
    expect_end(f);
}

static void closing_from_our_side_waits_for_the_commit(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    publish(f, 1, 1);
    connection_close(f->connection, MQTT_SESSION_TAKEN_OVER, "taken over");
    connection_close(f->connection, MQTT_SERVER_SHUTTING_DOWN, "daemon stops");
    expect_silence(f);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_disconnect(f, MQTT_SESSION_TAKEN_OVER);
}

static void closing_waits_for_a_slow_commit_as_long_as_it_takes(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    publish(f, 1, 1);
    connection_close(f->connection, MQTT_SESSION_TAKEN_OVER, "taken over");
    run_for(f, 2500000);
    expect_silence(f);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_end(f);
}

static void closing_before_connect_says_nothing(void **state)
{
    struct fixture *f = *state;

    connection_close(f->connection, MQTT_SERVER_SHUTTING_DOWN, "daemon stops");
    expect_end(f);
}

static void the_owner_may_close_from_inside_its_calls(void **state)
{
    struct fixture *f = *state;

    f->close_in_connected = true;
    SEND(f, 0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 1, 'c');
    expect_end(f);
    restart(f);
    connect_as(f, V5, 0);
    f->close_in_publish = true;
    put_publish(f, 1, 1);
    publish(f, 1, 2);
    expect_silence(f); /* nothing may follow DISCONNECT, and this message was accepted */
    assert_int_equal(f->offers, 1);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_disconnect(f, MQTT_SERVER_BUSY);
}

static void after_the_end_every_call_is_harmless(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    script(f, CONNECTION_WAIT, 0);
    publish(f, 1, 1);
    connection_close(f->connection, MQTT_SERVER_BUSY, "busy");
    connection_acknowledge(f->connection);
    connection_refuse_owed(f->connection, MQTT_QUOTA_EXCEEDED);
    connection_drop_owed(f->connection, MQTT_QUOTA_EXCEEDED, "moved");
    connection_resume(f->connection);
    connection_close(f->connection, MQTT_SERVER_BUSY, "busy");
    run(f);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->offers, 1);
    assert_int_equal(connection_client_id(f->connection).size, 1);
}

static void expect_fault(struct fixture *f, enum connection_state next)
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO); /* no line of the log */
        connection_move(f->connection, next);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == EXIT_FAILURE);
}

static void a_move_that_the_table_does_not_have_ends_the_process(void **state)
{
    struct fixture *f = *state;

    expect_fault(f, CONNECTION_EXPECT_CONNECT);
    expect_fault(f, CONNECTION_OPEN); /* it has no client id */
    connect_as(f, V5, 0);
    expect_fault(f, CONNECTION_EXPECT_CONNECT);
    expect_fault(f, CONNECTION_CLOSED); /* its descriptor is open */
    connection_close(f->connection, 0, "end");
    expect_fault(f, CONNECTION_OPEN);
}

static void free_closes_without_a_call(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    publish(f, 1, 1);
    connection_free(f->connection);
    f->connection = NULL;
    drain(f);
    assert_int_equal(f->got_size, 0);
    assert_true(f->got_end);
    assert_int_equal(f->closed, 0);
}

/* ---- the other packets ---- */

static void a_ping_is_answered(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    SEND(f, 0xC0, 0, 0xC0, 0);
    EXPECT(f, 0xD0, 0, 0xD0, 0);
    expect_silence(f);
}

static struct connection_message message_of(uint8_t qos, uint64_t tag)
{
    return (struct connection_message){
        .topic = view_of_text("s"), .payload = view_of_text("p"), .qos = qos, .tag = tag};
}

static void each_filter_gets_the_answer_of_the_owner(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    SEND(f, 0x82, 19, 0, 7, 0, 0, 1, 'a', 0, 0, 1, 's', 0, 0, 1, 's', 0x21, 0, 1, 's', 2);
    EXPECT(f, 0x90, 7, 0, 7, 0, 0x87, 0, 1, 1);
    expect_silence(f);
    assert_int_equal(f->subscribed, 4);
    assert_int_equal(f->writable, 1);
    restart(f);
    connect_as(f, V4, 0);
    SEND(f, 0x82, 10, 0, 7, 0, 1, 's', 1, 0, 1, '#', 1);
    EXPECT(f, 0x90, 4, 0, 7, 1, 0x80);
    expect_silence(f);
}

static void retain_handling_is_passed_on(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    SEND(f, 0x82, 7, 0, 7, 0, 0, 1, 's', 0x21);
    assert_int_equal(f->retain_handling, 2);
}

static void shared_and_identified_subscriptions_have_codes_of_their_own(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    SEND(f, 0x82, 20, 0, 7, 0, 0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 's', 1, 0, 1,
         's', 0);
    EXPECT(f, 0x90, 5, 0, 7, 0, 0x9E, 0);
    SEND(f, 0x82, 9, 0, 7, 2, 0x0B, 5, 0, 1, 's', 1);
    EXPECT(f, 0x90, 4, 0, 7, 0, 0xA1);
    expect_silence(f);
    assert_int_equal(f->subscribed, 1);
}

static void unsubscribing_is_answered_by_the_owner(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    SEND(f, 0xA2, 9, 0, 7, 0, 0, 1, 's', 0, 1, 'b');
    EXPECT(f, 0xB0, 5, 0, 7, 0, 0, 0x11);
    expect_silence(f);
    assert_int_equal(f->writable, 0);
    restart(f);
    connect_as(f, V4, 0);
    SEND(f, 0xA2, 5, 0, 7, 0, 1, 'a');
    EXPECT(f, 0xB0, 2, 0, 7);
    expect_silence(f);
}

static void an_answer_may_wait_for_the_commit(void **state)
{
    struct fixture *f = *state;

    f->must_confirm = true;
    f->message = message_of(0, 0);
    f->to_send = 1;
    connect_as(f, V5, 0);
    SEND(f, 0x82, 7, 0, 7, 0, 0, 1, 's', 1, 0xA2, 6, 0, 8, 0, 0, 1, 's', 0xC0, 0);
    expect_silence(f);
    assert_int_equal(f->writable, 0);
    connection_confirm(f->connection);
    EXPECT(f, 0x90, 4, 0, 7, 0, 1, 0x30, 5, 0, 1, 's', 0, 'p');
    expect_silence(f);
    connection_confirm(f->connection);
    EXPECT(f, 0xB0, 4, 0, 8, 0, 0, 0xD0, 0);
    connection_confirm(f->connection);
    expect_silence(f);
    SEND(f, 0x82, 7, 0, 9, 0, 0, 1, 's', 1);
    client_close(f);
    run(f);
    connection_confirm(f->connection);
    run(f);
    assert_int_equal(f->closed, 1);
}

static void an_owner_that_takes_no_subscriptions_refuses_all(void **state)
{
    struct fixture *f = *state;
    struct connection_ops old = ops;

    old.subscribe = NULL;
    old.unsubscribe = NULL;
    old.writable = NULL;
    connect_as(f, V5, 0);
    f->connection->ops = &old;
    SEND(f, 0x82, 7, 0, 7, 0, 0, 1, 's', 1);
    EXPECT(f, 0x90, 4, 0, 7, 0, 0x87);
    SEND(f, 0xA2, 6, 0, 7, 0, 0, 1, 's');
    EXPECT(f, 0xB0, 4, 0, 7, 0, 0x11);
    expect_silence(f);
}

static void a_subscription_during_which_the_owner_closes_is_not_answered(void **state)
{
    struct fixture *f = *state;

    f->close_in_subscribe = true;
    connect_as(f, V5, 0);
    SEND(f, 0x82, 11, 0, 7, 0, 0, 1, 's', 0, 0, 1, 's', 1);
    assert_int_equal(f->subscribed, 1);
    expect_disconnect(f, MQTT_SERVER_BUSY);
    restart(f);
    f->close_in_writable = true;
    connect_as(f, V5, 0);
    SEND(f, 0x82, 7, 0, 7, 0, 0, 1, 's', 0);
    EXPECT(f, 0x90, 4, 0, 7, 0, 0);
    expect_disconnect(f, MQTT_SERVER_BUSY);
}

/* ---- messages to the client ---- */

static int send_message(struct fixture *f, const struct connection_message *message)
{
    int r = connection_send(f->connection, message);

    connection_flush(f->connection);
    return r;
}

static int send_of(struct fixture *f, uint8_t qos, uint64_t tag)
{
    struct connection_message message = message_of(qos, tag);

    return send_message(f, &message);
}

static void what_the_owner_sends_follows_the_answer_to_the_subscription(void **state)
{
    struct fixture *f = *state;

    f->message = message_of(0, 0);
    f->to_send = 1;
    connect_as(f, V5, 0);
    SEND(f, 0x82, 7, 0, 7, 0, 0, 1, 's', 0);
    EXPECT(f, 0x90, 4, 0, 7, 0, 0, 0x30, 5, 0, 1, 's', 0, 'p');
    expect_silence(f);
}

static void messages_are_written_when_they_are_flushed(void **state)
{
    struct fixture *f = *state;
    struct connection_message message = message_of(0, 0);

    connect_as(f, V4, 0);
    assert_int_equal(connection_send(f->connection, &message), 0);
    expect_silence(f);
    message = message_of(1, 3);
    message.packet_id = 5;
    message.is_repeated = true;
    assert_int_equal(send_message(f, &message), 0);
    EXPECT(f, 0x30, 4, 0, 1, 's', 'p', 0x3A, 6, 0, 1, 's', 0, 5, 'p');
    expect_silence(f);
}

static void an_answer_to_a_request_has_its_correlation(void **state)
{
    struct fixture *f = *state;
    struct connection_message message = message_of(0, 0);

    message.has_correlation = true;
    message.correlation = view_of_text("x");
    connect_as(f, V5, 0);
    assert_int_equal(send_message(f, &message), 0);
    EXPECT(f, 0x30, 9, 0, 1, 's', 4, 9, 0, 1, 'x', 'p');
}

static void an_acknowledgement_is_reported_with_its_tag(void **state)
{
    struct fixture *f = *state;
    struct connection_message message = message_of(1, 11);

    connect_as(f, V5, 0);
    assert_int_equal(send_of(f, 1, 10), 0);
    message.packet_id = 0x7FFF;
    assert_int_equal(send_message(f, &message), 0);
    assert_int_equal(send_of(f, 1, 12), 0);
    EXPECT(f, 0x32, 7, 0, 1, 's', 0x80, 0, 0, 'p', 0x32, 7, 0, 1, 's', 0x7F, 0xFF, 0, 'p', 0x32,
           7, 0, 1, 's', 0x80, 1, 0, 'p');
    SEND(f, 0x40, 2, 0x7F, 0xFF);
    assert_int_equal(f->last_tag, 11);
    SEND(f, 0x40, 3, 0x80, 1, 0x80); /* whatever its code is */
    assert_int_equal(f->last_tag, 12);
    SEND(f, 0x40, 2, 0x80, 0);
    assert_int_equal(f->last_tag, 10);
    assert_int_equal(f->acknowledged, 3);
    SEND(f, 0x40, 2, 0x80, 0);
    assert_int_equal(f->acknowledged, 3);
    expect_silence(f);
}

static void packet_ids_of_the_connection_are_reused_after_their_acknowledgement(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    f->connection->output.window.last_id = 0xFFFE;
    assert_int_equal(send_of(f, 1, 0), 0);
    assert_int_equal(send_of(f, 1, 0), 0);
    EXPECT(f, 0x32, 6, 0, 1, 's', 0xFF, 0xFF, 'p', 0x32, 6, 0, 1, 's', 0x80, 0, 'p');
    f->connection->output.window.last_id = 0xFFFE;
    assert_int_equal(send_of(f, 1, 0), 0);
    EXPECT(f, 0x32, 6, 0, 1, 's', 0x80, 1, 'p');
}

static void the_receive_maximum_of_the_client_is_kept(void **state)
{
    struct fixture *f = *state;

    connect_with(f, BYTES(0x21, 0, 1));
    drain(f);
    f->got_size = 0;
    assert_int_equal(send_of(f, 1, 1), 0);
    assert_int_equal(send_of(f, 1, 2), CONNECTION_E_FULL);
    assert_int_equal(send_of(f, 0, 0), 0); /* not limited */
    EXPECT(f, 0x32, 7, 0, 1, 's', 0x80, 0, 0, 'p', 0x30, 5, 0, 1, 's', 0, 'p');
    f->message = message_of(1, 2);
    f->to_send = 2;
    assert_int_equal(f->writable, 0);
    SEND(f, 0x40, 2, 0x80, 0);
    EXPECT(f, 0x32, 7, 0, 1, 's', 0x80, 1, 0, 'p');
    expect_silence(f);
    assert_int_equal(f->writable, 1);
    SEND(f, 0x40, 2, 0x80, 1);
    EXPECT(f, 0x32, 7, 0, 1, 's', 0x80, 2, 0, 'p');
    SEND(f, 0x40, 2, 0x80, 2);
    expect_silence(f);
    assert_int_equal(f->acknowledged, 3);
    assert_int_equal(f->writable, 2);
}

static void a_packet_id_is_not_used_twice_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct connection_message message = message_of(1, 1);

    message.packet_id = 5;
    connect_as(f, V4, 0);
    assert_int_equal(send_message(f, &message), 0);
    assert_int_equal(send_message(f, &message), CONNECTION_E_FULL);
    EXPECT(f, 0x32, 6, 0, 1, 's', 0, 5, 'p');
    f->message = message;
    f->to_send = 1;
    SEND(f, 0x40, 2, 0, 5);
    EXPECT(f, 0x32, 6, 0, 1, 's', 0, 5, 'p');
    expect_silence(f);
}

static void an_owner_may_ask_to_be_called_when_there_is_room(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    connection_await_room(f->connection);
    connection_flush(f->connection);
    assert_int_equal(f->writable, 1);
    connection_flush(f->connection);
    run(f);
    assert_int_equal(f->writable, 1);
}

static void a_client_without_a_receive_maximum_has_a_window_too(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 0);
    for (unsigned i = 0; i < CONNECTION_WINDOW_MAX; i++)
        assert_int_equal(send_of(f, 1, i), 0);
    assert_int_equal(send_of(f, 1, 0), CONNECTION_E_FULL);
    assert_int_equal(f->writable, 0);
}

static void what_the_client_cannot_take_is_not_sent(void **state)
{
    struct fixture *f = *state;
    static uint8_t large[CONNECTION_MESSAGE_MAX];
    struct connection_message message = message_of(1, 0);

    connect_with(f, BYTES(0x27, 0, 0, 0, 60));
    drain(f);
    f->got_size = 0;
    message.payload = view_of(large, 53);
    assert_int_equal(send_message(f, &message), CONNECTION_E_TOO_LARGE);
    message.payload = view_of(large, 52);
    assert_int_equal(send_message(f, &message), 0);
    drain(f);
    assert_int_equal(f->got_size, 60);
    restart(f);
    connect_as(f, V4, 0);
    message.payload = view_of(large, sizeof(large));
    assert_int_equal(send_message(f, &message), CONNECTION_E_TOO_LARGE);
    expect_silence(f);
}

static void nothing_is_sent_before_connect_and_after_the_end(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send_of(f, 0, 0), CONNECTION_E_ENDED);
    connect_as(f, V4, 0);
    connection_close(f->connection, 0, "test");
    assert_int_equal(send_of(f, 0, 0), CONNECTION_E_ENDED);
    expect_end(f);
}

/* Until nothing more is taken. Return: how many. */
static unsigned fill(struct fixture *f, const struct connection_message *message)
{
    unsigned sent = 0;
    int r;

    while ((r = send_message(f, message)) == 0)
        sent++;
    assert_int_equal(r, CONNECTION_E_FULL);
    return sent;
}

static void a_client_that_reads_no_messages_is_still_read_from(void **state)
{
    struct fixture *f = *state;
    static uint8_t memory[10000];
    struct connection_message message = message_of(0, 0);

    connect_as(f, V4, 0);
    message.payload = view_of(memory, sizeof(memory));
    unsigned sent = fill(f, &message);
    assert_true(bytes_used(&f->connection->output.bytes) <= CONNECTION_MESSAGES_MAX);
    for (int i = 0; i < 5000; i++)
        publish(f, 0, 0);
    assert_int_equal(f->offers, 5000);
    f->message = message;
    f->to_send = 1;
    for (size_t got = 0; got < sent * 10006; got += f->got_size) {
        f->got_size = 0;
        drain(f);
        run(f);
    }
    assert_true(f->writable > 0);
    assert_int_equal(f->to_send, 0);
}

static void a_large_message_leaves_alone_and_stops_no_reading(void **state)
{
    struct fixture *f = *state;
    static uint8_t memory[900000];
    struct connection_message message = message_of(0, 0);

    connect_as(f, V4, 0);
    message.payload = view_of(memory, sizeof(memory));
    assert_int_equal(send_message(f, &message), 0);
    assert_true(bytes_used(&f->connection->output.bytes) > CONNECTION_OUTPUT_MAX);
    assert_int_equal(send_message(f, &message), CONNECTION_E_FULL);
    assert_int_equal(send_of(f, 0, 0), CONNECTION_E_FULL);
    for (uint16_t id = 1; id <= 2000; id++) {
        publish(f, 1, id);
        acknowledge(f);
    }
    assert_int_equal(f->offers, 2000);
    for (size_t got = 0; got < sizeof(memory) + 7 + 2000 * 4; got += f->got_size) {
        f->got_size = 0;
        drain(f);
        run(f);
    }
    assert_int_equal(bytes_used(&f->connection->output.bytes), 0);
    assert_true(f->writable > 0);
    assert_int_equal(send_message(f, &message), 0);
}

static void an_acknowledgement_of_nothing_has_no_effect(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    SEND(f, 0x40, 2, 0, 7, 0xC0, 0);
    EXPECT(f, 0xD0, 0);
    assert_ends(f, V5, MQTT_PROTOCOL_ERROR, BYTES(0x40, 2, 0, 0));
    assert_ends(f, V5, MQTT_MALFORMED_PACKET, BYTES(0x40, 1, 0));
}

static void a_subscription_to_everything_at_once_is_too_much(void **state)
{
    struct fixture *f = *state;
    static uint8_t packet[3 + 2 + 1 + 1001 * 4] = {0x82, 0x80 | (4007 & 0x7F), 4007 >> 7, 0, 7,
                                                   0};

    for (size_t i = 0; i < 1001; i++)
        memcpy(packet + 6 + i * 4, "\x00\x01t", 4);
    connect_as(f, V5, 0);
    put(f, packet, sizeof(packet));
    run(f);
    expect_disconnect(f, MQTT_QUOTA_EXCEEDED);
}

static void a_release_without_a_message_is_answered(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 0);
    SEND(f, 0x62, 2, 0, 7);
    EXPECT(f, 0x70, 3, 0, 7, 0x92);
    expect_silence(f);
    restart(f);
    connect_as(f, V4, 0);
    send_release(f, 7);
    EXPECT(f, 0x70, 2, 0, 7);
    expect_silence(f);
}

static void packets_that_no_client_may_send_end_the_connection(void **state)
{
    assert_ends(*state, V5, MQTT_PROTOCOL_ERROR, BYTES(0x50, 2, 0, 7)); /* PUBREC */
    assert_ends(*state, V5, MQTT_PROTOCOL_ERROR, BYTES(0xD0, 0));       /* PINGRESP */
    assert_ends(*state, V5, MQTT_PROTOCOL_ERROR, BYTES(0xF0, 0));       /* AUTH */
    assert_ends(*state, V4, 0, BYTES(0xF0, 0));
}

static void a_malformed_packet_ends_the_connection(void **state)
{
    assert_ends(*state, V5, MQTT_MALFORMED_PACKET, BYTES(0x00, 0));
    assert_ends(*state, V5, MQTT_MALFORMED_PACKET,
                BYTES(0x36, 6, 0, 1, 't', 0, 9, 0)); /* QoS 3 */
    assert_ends(*state, V4, 0, BYTES(0x36, 5, 0, 1, 't', 0, 9));
    assert_ends(*state, V5, MQTT_MALFORMED_PACKET, BYTES(0x30, 0xFF, 0xFF, 0xFF, 0xFF));
}

static void a_malformed_body_ends_the_connection_whatever_the_type(void **state)
{
    assert_ends(*state, V5, MQTT_MALFORMED_PACKET, BYTES(0x32, 2, 0, 5));
    assert_ends(*state, V5, MQTT_PROTOCOL_ERROR, BYTES(0x82, 3, 0, 7, 0)); /* no filter */
    assert_ends(*state, V5, MQTT_PROTOCOL_ERROR, BYTES(0xA2, 3, 0, 7, 0));
    assert_ends(*state, V5, MQTT_MALFORMED_PACKET, BYTES(0x62, 1, 0));
    assert_ends(*state, V5, MQTT_MALFORMED_PACKET, BYTES(0xE0, 2, 0, 5));
    assert_ends(*state, V4, 0, BYTES(0x32, 2, 0, 5));
    assert_ends(*state, V4, 0, BYTES(0x82, 2, 0, 7));
    assert_ends(*state, V4, 0, BYTES(0xA2, 2, 0, 7));
    assert_ends(*state, V4, 0, BYTES(0x62, 1, 0));
    assert_ends(*state, V4, 0, BYTES(0xE0, 1, 0));
}

static void a_packet_above_the_limit_is_refused_by_its_header(void **state)
{
    assert_ends(*state, V5, MQTT_PACKET_TOO_LARGE, BYTES(0x30, 0xFE, 0x1F)); /* 4,097 in all */
    assert_string_equal(((struct fixture *)*state)->why,
                        "bad packet: packet too large (4097 bytes, listen.max_packet is 4096)");
    assert_ends(*state, V4, 0, BYTES(0x30, 0xFF, 0xFF, 0xFF, 0x7F));
}

/* ---- what the client can take ---- */

static void a_client_of_small_packets_gets_the_bare_acknowledgement(void **state)
{
    struct fixture *f = *state;

    connect_with(f, BYTES(0x27, 0, 0, 0, 22));
    drain(f);
    f->got_size = 0;
    f->last_id = 999;
    publish(f, 1, 1);
    f->last_id = 9;
    publish(f, 1, 2);
    acknowledge(f);
    EXPECT(f, 0x40, 2, 0, 1); /* 23 bytes with its spool-id */
    expect_puback(f, 2, 0, 10);
    connection_close(f->connection, MQTT_SERVER_BUSY, "a reason that does not fit");
    EXPECT(f, 0xE0, 1, MQTT_SERVER_BUSY);
    expect_end(f);
}

static void an_answer_that_the_client_cannot_take_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    uint8_t packet[6 + 30 * 4] = {0x82, 4 + 30 * 4 - 1, 0, 7, 0};

    connect_with(f, BYTES(0x27, 0, 0, 0, 24));
    drain(f);
    f->got_size = 0;
    publish(f, 1, 1);
    for (size_t i = 0; i < 30; i++)
        memcpy(packet + 5 + i * 4, "\x00\x01t", 4);
    put(f, packet, 5 + 30 * 4);
    expect_silence(f);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    EXPECT(f, 0xE0, 1, MQTT_PACKET_TOO_LARGE); /* its reason does not fit */
    expect_end(f);
}

static void a_client_that_wants_no_reasons_gets_no_spool_id(void **state)
{
    struct fixture *f = *state;

    connect_with(f, BYTES(0x17, 0));
    drain(f);
    f->got_size = 0;
    publish(f, 1, 1);
    acknowledge(f);
    EXPECT(f, 0x40, 2, 0, 1);
    publish(f, 2, 2);
    acknowledge(f);
    EXPECT(f, 0x50, 2, 0, 2);
    script(f, CONNECTION_REFUSE, MQTT_QUOTA_EXCEEDED);
    f->script[f->script_size - 1].is_too_large = true;
    publish(f, 1, 3);
    EXPECT(f, 0x40, 3, 0, 3, MQTT_QUOTA_EXCEEDED);
    expect_silence(f);
    SEND(f, 0xF0, 0);
    expect_disconnect(f, MQTT_PROTOCOL_ERROR); /* which may have its reason */
}

/* The most that may wait for a client: our output, and what the kernel holds. */
#define PINGS 400000

static void a_client_that_never_reads_is_not_read_any_more(void **state)
{
    struct fixture *f = *state;
    static uint8_t pings[2 * PINGS];

    connect_as(f, V4, 0);
    for (size_t i = 0; i < sizeof(pings); i += 2)
        pings[i] = 0xC0;
    size_t taken = put_while_taken(f, pings, sizeof(pings));
    assert_true(taken < sizeof(pings));
    /* Nothing is lost for that: when it reads, it gets an answer to each. */
    size_t answered = 0;
    while (answered < taken / 2) {
        drain(f);
        assert_true(f->got_size > 0);
        answered += f->got_size / 2;
        f->got_size %= 2;
        f->got[0] = 0xD0;
        run(f);
    }
    assert_int_equal(answered, taken / 2);
    assert_int_equal(f->closed, 0);
}

static void acknowledgements_wait_for_a_slow_reader_in_order(void **state)
{
    struct fixture *f = *state;
    uint16_t sent = 0;
    uint8_t many[500 * 16];

    connect_as(f, V5, 0);
    /* Until the connection stops reading, because this client reads nothing at all. */
    for (unsigned before = 0; sent < 60000; before = f->offers) {
        size_t size = 0;

        for (int i = 0; i < 500; i++)
            size += make_publish(many + size, V5, 1, ++sent);
        put(f, many, size);
        run(f);
        acknowledge(f);
        if (f->offers - before < 500)
            break;
    }
    assert_true(f->offers < sent);
    for (uint32_t id = 1; id <= sent; id++) {
        if (f->got_size < 64) {
            run(f);
            acknowledge(f);
            run(f);
        }
        expect_puback(f, (uint16_t)id, 0, id);
    }
    expect_silence(f);
}

static void set_send_buffer(struct fixture *f, int size)
{
    assert_int_equal(setsockopt(f->server, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
}

/* Returns how many there were. */
static unsigned skip_pingresps(struct fixture *f)
{
    size_t size = 0;

    drain(f);
    while (size + 2 <= f->got_size && f->got[size] == 0xD0)
        size += 2;
    f->got_size -= size;
    memmove(f->got, f->got + size, f->got_size);
    return (unsigned)(size / 2);
}

/*
 * A whole receive maximum of the longest acknowledgements is released while the
 * output is half full: together more than its cap. Then the client reads all at
 * once, so the output runs empty with acknowledgements still to be written.
 */
static void acknowledgements_beyond_the_output_cap_wait_their_turn(void **state)
{
    struct fixture *f = *state;
    const uint64_t base = 1000000000000000000;
    uint8_t many[1000 * 16 + 8000];
    uint16_t sent = 0;
    unsigned offers;
    unsigned pongs = 0;

    connect_as(f, V5, 0);
    f->last_id = base;
    set_send_buffer(f, 4096);
    do { /* until it is congested; the last 50 are then not read yet */
        size_t size = 0;
        offers = f->offers;
        acknowledge(f);
        for (int i = 0; i < 50; i++)
            size += make_publish(many + size, V5, 1, ++sent);
        put(f, many, size);
        run(f);
    } while (f->offers > offers);
    for (int i = 0; f->offers == offers; i++) { /* a little room, and they are */
        assert_true(i < 1000);
        drain(f);
        run(f);
    }
    size_t size = 0;
    for (int i = 50; i < 1000; i++)
        size += make_publish(many + size, V5, 1, ++sent);
    for (int i = 0; i < 4000; i++, size += 2)
        memcpy(many + size, "\xC0", 2);
    put(f, many, size);
    run(f);
    assert_int_equal(f->offers, sent);
    set_send_buffer(f, 1 << 20);
    drain(f);
    acknowledge(f);
    run(f);
    for (uint16_t id = 1; id <= sent; id++) {
        pongs += skip_pingresps(f);
        expect_puback(f, id, 0, base + id);
    }
    pongs += skip_pingresps(f);
    assert_int_equal(pongs, 4000);
    expect_silence(f);
}

static void a_client_that_does_not_read_its_last_words_is_closed_in_time(void **state)
{
    struct fixture *f = *state;
    static uint8_t pings[2 * PINGS];

    connect_as(f, V5, 0);
    for (size_t i = 0; i < sizeof(pings); i += 2)
        pings[i] = 0xC0;
    assert_true(put_while_taken(f, pings, sizeof(pings)) < sizeof(pings));
    connection_close(f->connection, MQTT_SERVER_BUSY, "busy");
    run(f);
    assert_int_equal(f->closed, 0);
    run_until_closed(f);
    assert_string_equal(f->why, "busy");
}

#define IDLE_CLIENTS   50
#define IDLE_BYTES_MAX (16 * 1024)

static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* A sanitizer brings an allocator of its own. */
static bool allocations_are_counted(void)
{
    size_t before = allocated();
    void *volatile probe = malloc(1000);
    bool counted = allocated() >= before + 1000;

    free(probe);
    return counted;
}

static struct fixture idle[IDLE_CLIENTS];

static int ping_for_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    (void)userdata;
    for (size_t i = 0; i < IDLE_CLIENTS; i++)
        put(&idle[i], BYTES(0xC0, 0));
    return 0;
}

static void an_idle_client_costs_little_memory(void **state)
{
    struct fixture *f = *state;

    need_kernel("which is too slow for its pings");
    if (!allocations_are_counted()) {
        print_message("skipped: the sanitizer's allocator does not count for mallinfo2()\n");
        skip();
    }
    size_t before = allocated();
    for (size_t i = 0; i < IDLE_CLIENTS; i++) {
        idle[i] = (struct fixture){.event = f->event, .max_packet = 256 * 1024};
        start(&idle[i], 0);
        connect_as(&idle[i], V5, 3); /* a second is too short for a busy machine */
        put_many(&idle[i], 1, 1, 1000);
        acknowledge(&idle[i]);
        run(&idle[i]);
        expect_pubacks(&idle[i], 1, 1000);
    }
    run_until_called(f, 2100000, ping_for_idle);
    /* The keep-alive timer has tried to read. */
    run_until_called(f, 3600000, ping_for_idle);
    run(f);
    size_t grown = allocated() - before;
    for (size_t i = 0; i < IDLE_CLIENTS; i++) {
        assert_int_equal(idle[i].closed, 0);
        connection_free(idle[i].connection);
        client_close(&idle[i]);
    }
    assert_in_range(grown / IDLE_CLIENTS, 1, IDLE_BYTES_MAX);
}

/* ---- keep-alive ---- */

/* Due at the same time as a timer of the connection, for the machine stood still, it
 * comes second. */
static int note_lateness(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct fixture *f = userdata;

    (void)source;
    (void)usec;
    f->was_late = f->closed == 0;
    return 0;
}

static int ping(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    put(userdata, BYTES(0xC0, 0));
    return 0;
}

static void a_silent_client_is_closed_after_one_and_a_half_keep_alives(void **state)
{
    struct fixture *f = *state;
    int64_t start_us = now_us();

    connect_as(f, V5, 1);
    sd_event_source *late = NULL;
    assert_true(sd_event_add_time_relative(f->event, &late, CLOCK_MONOTONIC, 12000000, 1000,
                                           note_lateness, f) >= 0);
    assert_true(sd_event_source_set_priority(late, SD_EVENT_PRIORITY_IDLE) >= 0);
    run_until_closed(f);
    (void)sd_event_source_disable_unref(late);
    assert_true(now_us() - start_us >= 1400000);
    assert_false(f->was_late);
    expect_disconnect(f, MQTT_KEEP_ALIVE_TIMEOUT);
}

static void a_client_that_pings_stays(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V4, 1);
    for (int i = 0; i < 3; i++) {
        run_until_called(f, 700000, ping);
        run(f);
        EXPECT(f, 0xD0, 0);
    }
    expect_silence(f);
}

static void
a_client_that_we_keep_waiting_is_not_called_silent_in(struct fixture *f,
                                                      enum connection_verdict_kind kind)
{
    connect_as(f, V4, 1);
    script(f, kind, 0);
    publish(f, 1, 1);
    run_for(f, 2000000);
    assert_int_equal(f->closed, 0);
    connection_resume(f->connection);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_silence(f);
}

static void a_client_that_we_keep_waiting_is_not_called_silent(void **state)
{
    a_client_that_we_keep_waiting_is_not_called_silent_in(*state, CONNECTION_WAIT);
    restart(*state);
    a_client_that_we_keep_waiting_is_not_called_silent_in(*state, CONNECTION_BLOCK);
}

/* As a stopped process, or one whose disk takes long. */
static void stand_still(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) != 0)
        ;
}

static void a_client_does_not_pay_for_a_loop_that_stood_still(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 1);
    stand_still(2500);
    put(f, BYTES(0x32, 8, 0, 1)); /* what the socket took of a larger packet meanwhile */
    run(f);
    assert_int_equal(f->closed, 0);
    put(f, BYTES('t', 0, 1, 0, 'x', 'y'));
    run(f);
    acknowledge(f);
    expect_puback(f, 1, 0, 1);
    expect_silence(f);
}

static void a_client_that_stays_silent_after_it_is_closed(void **state)
{
    struct fixture *f = *state;

    connect_as(f, V5, 1);
    stand_still(2500);
    run_until_closed(f);
    expect_disconnect(f, MQTT_KEEP_ALIVE_TIMEOUT);
}

static void a_connect_is_waited_for_by_a_loop_that_stood_still(void **state)
{
    struct fixture *f = *state;

    restart_within(f, 200);
    stand_still(1500);
    run(f);
    assert_int_equal(f->closed, 0);
    connect_as(f, V5, 0);
    expect_silence(f);
}

static void half_a_packet_is_no_sign_of_life(void **state)
{
    struct fixture *f = *state;
    int64_t start_us = now_us();

    connect_as(f, V4, 1);
    SEND(f, 0x30, 100);
    while (f->closed == 0 && now_us() < start_us + PATIENCE_US) {
        (void)send(f->client, "x", 1, MSG_NOSIGNAL);
        run_for(f, 50000);
    }
    expect_end(f);
    assert_string_equal(f->why, "keep-alive timeout");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_client_of_3_1_1_is_welcomed),
        CASE(a_client_of_5_is_told_the_limits),
        CASE(connack_says_what_became_of_the_session),
        CASE(a_connect_that_waits_is_answered_when_it_is_resumed),
        CASE(a_connect_that_waited_may_be_refused_or_closed),
        CASE(a_client_of_5_without_an_id_is_told_the_one_it_got),
        CASE(a_client_id_waits_for_no_entropy),
        CASE(made_up_client_ids_differ),
        CASE(a_3_1_1_session_to_be_kept_needs_an_id),
        CASE(a_client_id_without_end_is_refused),
        CASE(an_authentication_method_is_refused),
        CASE(a_will_of_any_qos_is_taken),
        CASE(a_connect_with_the_largest_will_is_taken),
        CASE(a_connect_above_its_limit_is_refused_by_its_header),
        CASE(an_unknown_version_is_told_in_its_own_way),
        CASE(the_owner_may_refuse_a_client),
        CASE(a_bad_connect_of_5_is_answered),
        CASE(nothing_behind_a_refused_connect_is_heard),
        CASE(the_first_packet_must_be_connect),
        CASE(a_malformed_connect_gets_no_answer),
        CASE(a_second_connect_breaks_the_protocol),
        CASE(a_client_that_never_connects_is_closed_in_time),
        CASE(a_client_that_waits_for_the_last_moment_is_still_heard),
        CASE(a_client_that_takes_no_connack_is_closed),
        CASE(packets_right_behind_connect_are_read),
        CASE(nothing_is_acknowledged_before_the_commit),
        CASE(qos_0_is_never_acknowledged),
        CASE(a_message_is_offered_whole),
        CASE(the_first_message_of_what_was_read_together_is_marked),
        CASE(properties_of_any_size_are_kept),
        CASE(a_thousand_publishes_are_acknowledged_in_order),
        CASE(acknowledgements_keep_the_order_over_batches_that_grow),
        CASE(bytes_may_come_one_by_one),
        CASE(a_packet_of_the_largest_size_is_taken),
        CASE(a_refusal_is_told_at_once_when_nothing_waits_for_the_commit),
        CASE(a_refusal_for_ever_has_a_property),
        CASE(a_client_without_answers_is_closed_with_the_owner_s_reason),
        CASE(acknowledgements_keep_the_order_with_refusals_between),
        CASE(a_3_1_1_refusal_closes_after_the_accepted_are_acknowledged),
        CASE(a_3_1_1_refusal_without_anything_owed_closes_at_once),
        CASE(a_refused_qos_0_message_ends_the_connection),
        CASE(qos_2_is_acknowledged_in_two_steps),
        CASE(a_repetition_is_not_offered_again),
        CASE(a_release_waits_for_its_commit_if_its_owner_says_so),
        CASE(a_refused_message_of_qos_2_leaves_its_packet_id_free),
        CASE(a_lost_batch_frees_its_packet_ids_and_no_others),
        CASE(an_id_released_in_a_lost_batch_is_free_after_its_pubcomp),
        CASE(the_receive_maximum_counts_to_pubcomp),
        CASE(a_client_of_3_1_1_may_leave_more_unreleased),
        CASE(a_client_that_never_releases_is_refused),
        CASE(a_client_that_releases_more_than_is_answered_waits),
        CASE(disconnect_may_change_the_expiry_of_a_session),
        CASE(a_bad_topic_ends_the_connection_where_no_puback_can_tell),
        CASE(a_payload_that_is_not_what_it_says_is_refused),
        CASE(a_topic_alias_that_is_not_offered_ends_the_connection),
        CASE(a_topic_alias_that_was_not_set_ends_the_connection),
        CASE(a_topic_alias_stands_for_its_topic_until_it_is_set_again),
        CASE(topic_aliases_end_with_their_connection),
        CASE(a_message_that_waits_keeps_the_topic_of_its_alias),
        CASE(a_refused_message_sets_its_alias),
        CASE(topics_of_aliases_are_bounded_in_bytes),
        CASE(a_client_of_5_must_keep_to_the_receive_maximum),
        CASE(a_client_of_3_1_1_waits_at_the_same_limit),
        CASE(a_client_that_vanishes_leaves_its_will),
        CASE(a_silent_client_leaves_its_will),
        CASE(disconnect_discards_the_will_unless_it_asks_for_it),
        CASE(a_client_that_was_rejected_leaves_no_will),
        CASE(a_will_comes_after_what_the_batch_holds_of_its_client),
        CASE(a_will_that_no_broker_would_take_is_refused),
        CASE(a_waiting_message_is_offered_again_in_its_turn),
        CASE(a_waiting_client_fills_only_its_own_socket),
        CASE(resume_without_waiting_does_nothing),
        CASE(a_client_that_goes_while_it_waits_is_heard_to_the_end),
        CASE(a_client_that_goes_while_it_is_blocked_is_closed_at_once),
        CASE(a_client_that_has_gone_is_not_blocked),
        CASE(a_client_that_ends_its_stream_while_it_is_blocked_gets_what_it_is_owed),
        CASE(what_a_throttled_client_sent_is_read_after_it_has_gone),
        CASE(a_throttled_client_gets_its_pings_answered),
        CASE(a_blocked_client_that_stays_is_served_in_its_turn),
        CASE(a_blocked_client_has_its_pings_answered),
        CASE(pings_between_blocked_messages_are_answered_once_each),
        CASE(half_a_packet_behind_a_blocked_message_is_completed),
        CASE(a_blocked_client_that_pings_and_reads_no_answer_costs_a_bounded_amount),
        CASE(what_is_wrong_behind_a_blocked_message_is_found_in_its_turn),
        CASE(after_stop_nothing_is_offered_and_what_is_owed_still_leaves),
        CASE(a_failed_batch_is_told_by_code),
        CASE(a_failed_batch_closes_a_3_1_1_client_unacknowledged),
        CASE(a_failed_batch_does_not_touch_who_had_no_part_in_it),
        CASE(a_failed_batch_is_reported_by_a_disconnect_to_clients_of_qos_0),
        CASE(a_failed_batch_closes_a_3_1_1_client_of_qos_0),
        CASE(a_message_of_qos_0_that_is_stored_has_no_part_in_the_next_batch),
        CASE(a_batch_whose_fate_is_open_ends_the_connection_without_an_answer),
        CASE(a_batch_whose_fate_is_open_closes_a_3_1_1_client),
        CASE(a_client_that_disconnects_gets_what_it_is_owed),
        CASE(a_client_that_ends_its_stream_gets_what_it_is_owed),
        CASE(a_stream_that_ends_inside_a_packet_is_told),
        CASE(a_client_that_writes_all_and_vanishes_is_heard),
        CASE(a_client_that_vanishes_before_the_commit_costs_nothing),
        CASE(a_client_that_vanishes_during_the_commit_is_heard_to_the_end),
        CASE(a_client_that_leaves_answers_unread_is_heard_to_the_end),
        CASE(disconnect_cannot_ask_for_more_than_connect_did),
        CASE(closing_from_our_side_tells_the_reason),
        CASE(closing_from_our_side_waits_for_the_commit),
        CASE(closing_waits_for_a_slow_commit_as_long_as_it_takes),
        CASE(closing_before_connect_says_nothing),
        CASE(the_owner_may_close_from_inside_its_calls),
        CASE(after_the_end_every_call_is_harmless),
        CASE(a_move_that_the_table_does_not_have_ends_the_process),
        CASE(free_closes_without_a_call),
        CASE(a_ping_is_answered),
        CASE(each_filter_gets_the_answer_of_the_owner),
        CASE(retain_handling_is_passed_on),
        CASE(shared_and_identified_subscriptions_have_codes_of_their_own),
        CASE(unsubscribing_is_answered_by_the_owner),
        CASE(an_answer_may_wait_for_the_commit),
        CASE(an_owner_that_takes_no_subscriptions_refuses_all),
        CASE(a_subscription_during_which_the_owner_closes_is_not_answered),
        CASE(what_the_owner_sends_follows_the_answer_to_the_subscription),
        CASE(messages_are_written_when_they_are_flushed),
        CASE(an_answer_to_a_request_has_its_correlation),
        CASE(an_acknowledgement_is_reported_with_its_tag),
        CASE(packet_ids_of_the_connection_are_reused_after_their_acknowledgement),
        CASE(the_receive_maximum_of_the_client_is_kept),
        CASE(a_packet_id_is_not_used_twice_at_a_time),
        CASE(an_owner_may_ask_to_be_called_when_there_is_room),
        CASE(a_client_without_a_receive_maximum_has_a_window_too),
        CASE(what_the_client_cannot_take_is_not_sent),
        CASE(nothing_is_sent_before_connect_and_after_the_end),
        CASE(a_client_that_reads_no_messages_is_still_read_from),
        CASE(a_large_message_leaves_alone_and_stops_no_reading),
        CASE(an_acknowledgement_of_nothing_has_no_effect),
        CASE(a_subscription_to_everything_at_once_is_too_much),
        CASE(a_release_without_a_message_is_answered),
        CASE(packets_that_no_client_may_send_end_the_connection),
        CASE(a_malformed_packet_ends_the_connection),
        CASE(a_malformed_body_ends_the_connection_whatever_the_type),
        CASE(a_packet_above_the_limit_is_refused_by_its_header),
        CASE(a_client_of_small_packets_gets_the_bare_acknowledgement),
        CASE(an_answer_that_the_client_cannot_take_ends_the_connection),
        CASE(a_client_that_wants_no_reasons_gets_no_spool_id),
        CASE(a_client_that_never_reads_is_not_read_any_more),
        CASE(acknowledgements_wait_for_a_slow_reader_in_order),
        CASE(acknowledgements_beyond_the_output_cap_wait_their_turn),
        CASE(a_client_that_does_not_read_its_last_words_is_closed_in_time),
        CASE(an_idle_client_costs_little_memory),
        CASE(a_silent_client_is_closed_after_one_and_a_half_keep_alives),
        CASE(a_client_that_pings_stays),
        CASE(a_client_that_we_keep_waiting_is_not_called_silent),
        CASE(a_client_does_not_pay_for_a_loop_that_stood_still),
        CASE(a_client_that_stays_silent_after_it_is_closed),
        CASE(a_connect_is_waited_for_by_a_loop_that_stood_still),
        CASE(half_a_packet_is_no_sign_of_life),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
