/* SPDX-License-Identifier: MIT */
/*
 * broker_fake.c - a broker on loopback that misbehaves as a test wants
 *
 * Packets are read by the daemon's own decoder, which has tests of its own;
 * what the broker sends is written here by hand, for the decoder's encoder knows
 * only what a gateway announces.
 */
#include "broker_fake.h"
#include "base/bytes.h"
#include "base/cursor.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"
#include "tests/support/broker_fake.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define INPUT_MAX (64u << 20)

/* A fake that cannot continue aborts in each build, with or without assert(). */
static void broker_require(bool condition)
{
    if (!condition)
        abort();
}

static void hang_up(struct broker_connection *connection, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    if (connection->fd < 0)
        return;
    if (reset)
        (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    connection->source = sd_event_source_disable_unref(connection->source);
    (void)close(connection->fd);
    connection->fd = -1;
    bytes_done(&connection->input);
}

static void broker_send(struct broker_connection *connection, const struct writer *writer)
{
    /* What does not fit into the socket buffer is lost with a peer that has closed. */
    ssize_t n = send(connection->fd, writer->start, writer_used(writer), MSG_NOSIGNAL);

    broker_require(!writer->failed);
    (void)n;
}

static size_t encode_limits(const struct broker_fake *broker, uint8_t memory[static 32])
{
    struct writer writer;

    writer_init(&writer, memory, 32);
    if (broker->receive_maximum > 0) {
        writer_u8(&writer, PROPERTY_RECEIVE_MAXIMUM);
        writer_u16(&writer, broker->receive_maximum);
    }
    if (broker->maximum_packet > 0) {
        writer_u8(&writer, PROPERTY_MAXIMUM_PACKET_SIZE);
        writer_u32(&writer, broker->maximum_packet);
    }
    if (broker->keepalive_s > 0) {
        writer_u8(&writer, PROPERTY_SERVER_KEEP_ALIVE);
        writer_u16(&writer, broker->keepalive_s);
    }
    if (broker->announces_qos) {
        writer_u8(&writer, PROPERTY_MAXIMUM_QOS);
        writer_u8(&writer, broker->maximum_qos);
    }
    if (broker->refuses_retain) {
        writer_u8(&writer, PROPERTY_RETAIN_AVAILABLE);
        writer_u8(&writer, 0);
    }
    return writer_used(&writer);
}

static uint8_t connack_code(const struct broker_connection *connection)
{
    const struct broker_fake *broker = connection->broker;

    return connection->version == MQTT_5 && broker->connack_code5 != 0 ? broker->connack_code5
                                                                       : broker->connack_code;
}

static void send_connack(struct broker_connection *connection)
{
    uint8_t limits[32];
    uint8_t memory[64];
    size_t size = encode_limits(connection->broker, limits);
    bool has_properties = connection->version == MQTT_5;
    struct writer writer;

    writer_init(&writer, memory, sizeof(memory));
    writer_u8(&writer, PACKET_CONNACK << 4);
    writer_u8(&writer, (uint8_t)(has_properties ? 3 + size : 2));
    writer_u8(&writer, 0);
    writer_u8(&writer, connack_code(connection));
    if (has_properties) {
        writer_u8(&writer, (uint8_t)size);
        writer_bytes(&writer, limits, size);
    }
    broker_send(connection, &writer);
}

static void on_connect(struct broker_connection *connection, const struct packet_frame *frame)
{
    struct broker_fake *broker = connection->broker;
    struct packet_connect connect;
    int r = packet_decode_connect(frame, &connect);

    broker_require(r == 0);
    connection->version = connect.version;
    broker->client_keepalive_s = connect.keep_alive_s;
    broker->clean_start = connect.clean_start;
    broker->has_secret = frame->body.size > 6 &&
                         memcmp(frame->body.data + frame->body.size - 6, "secret", 6) == 0;
    broker->connect_packets++;
    broker->connect_packets_5 += connect.version == MQTT_5;
    if (broker->is_silent || (broker->is_silent_at_5 && connect.version == MQTT_5))
        return;
    if (connect.version == MQTT_5 ? broker->closes_at_5 : broker->closes_at_3_1_1) {
        hang_up(connection, false);
        return;
    }
    send_connack(connection);
    if (connack_code(connection) != 0 || broker->closes_after_connack)
        hang_up(connection, false);
    else
        broker->connects++;
}

static void copy_text(char text[static BROKER_TEXT_MAX], struct view view)
{
    int size = view.size < BROKER_TEXT_MAX ? (int)view.size : BROKER_TEXT_MAX - 1;

    (void)snprintf(text, BROKER_TEXT_MAX, "%.*s", size, (const char *)view.data);
}

static void record_publish(struct broker_fake *broker, const struct packet_publish *publish)
{
    broker->publishes++;
    broker->qos = publish->qos;
    broker->packet_id = publish->packet_id;
    broker->retain = publish->retain;
    broker->has_expiry = publish->has_expiry;
    broker->expiry_s = publish->expiry_s;
    copy_text(broker->topic, publish->topic);
    copy_text(broker->payload, publish->payload);
    broker_require(publish->properties.size <= sizeof(broker->properties));
    broker->properties_size = packet_keep_properties(publish, broker->properties);
}

/* v5, with a Reason String. */
static void encode_refusal(struct writer *writer,
                           enum packet_type type,
                           uint16_t id,
                           const struct broker_fake *broker)
{
    size_t size = strlen(broker->ack_text);

    writer_u8(writer, (uint8_t)(type << 4));
    writer_u8(writer, (uint8_t)(7 + size));
    writer_u16(writer, id);
    writer_u8(writer, broker->ack_code);
    writer_u8(writer, (uint8_t)(3 + size));
    writer_u8(writer, PROPERTY_REASON_STRING);
    writer_u16(writer, (uint16_t)size);
    writer_bytes(writer, broker->ack_text, size);
}

static void send_ack(struct broker_connection *connection, enum packet_type type, uint16_t id)
{
    uint8_t memory[PACKET_ACK_MAX + 128];
    uint8_t code = type == PACKET_PUBCOMP ? 0 : connection->broker->ack_code;
    struct writer writer;

    writer_init(&writer, memory, sizeof(memory));
    if (connection->broker->ack_text && type != PACKET_PUBCOMP)
        encode_refusal(&writer, type, id, connection->broker);
    else
        packet_encode_ack(&writer, connection->version, type, id, code, 0);
    broker_send(connection, &writer);
}

static void on_publish(struct broker_connection *connection, const struct packet_frame *frame)
{
    struct broker_fake *broker = connection->broker;
    struct packet_publish publish;
    int r = packet_decode_publish(frame, connection->version, &publish);

    broker_require(r == 0);
    record_publish(broker, &publish);
    if (++connection->publishes == broker->reset_after) {
        hang_up(connection, true);
        return;
    }
    if (publish.qos == 0)
        return;
    if (++connection->unanswered > broker->unanswered_max)
        broker->unanswered_max = connection->unanswered;
    if (broker->withholds_acks) {
        if (publish.qos == 1 && connection->withheld_count < BROKER_WITHHELD_MAX)
            connection->withheld[connection->withheld_count++] = publish.packet_id;
        return;
    }
    send_ack(connection, publish.qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, publish.packet_id);
    if (publish.qos == 1 || broker->ack_code >= 0x80)
        connection->unanswered--;
}

static void on_pubrel(struct broker_connection *connection, const struct packet_frame *frame)
{
    struct packet_reason reason;
    int r = packet_decode_ack(frame, connection->version, &reason);

    broker_require(r == 0);
    connection->unanswered--;
    send_ack(connection, PACKET_PUBCOMP, reason.packet_id);
}

static void on_packet(struct broker_connection *connection, const struct packet_frame *frame)
{
    uint8_t memory[8];
    struct writer writer;

    if (frame->type == PACKET_CONNECT) {
        on_connect(connection, frame);
    } else if (frame->type == PACKET_PUBLISH) {
        on_publish(connection, frame);
    } else if (frame->type == PACKET_PUBREL) {
        on_pubrel(connection, frame);
    } else if (frame->type == PACKET_PINGREQ) {
        writer_init(&writer, memory, sizeof(memory));
        packet_encode_pingresp(&writer);
        broker_send(connection, &writer);
    } else if (frame->type == PACKET_DISCONNECT) {
        connection->broker->disconnects++;
        hang_up(connection, false);
    }
}

static void read_packets(struct broker_connection *connection)
{
    struct packet_frame frame;

    while (connection->fd >= 0) {
        struct view input = bytes_view(&connection->input);

        if (packet_next(input.data, input.size, INPUT_MAX, &frame) != 0)
            return;
        size_t size = frame.size;
        on_packet(connection, &frame);
        if (connection->fd >= 0)
            bytes_consume(&connection->input, size);
    }
}

static int on_input(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct broker_connection *connection = userdata;
    uint8_t *memory;
    int r = bytes_reserve(&connection->input, 65536, &memory);

    (void)source;
    (void)events;
    broker_require(r == 0);
    ssize_t n = read(fd, memory, 65536);
    if (n <= 0) {
        hang_up(connection, false);
        return 0;
    }
    bytes_commit(&connection->input, (size_t)n);
    read_packets(connection);
    return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct broker_fake *broker = userdata;
    struct broker_connection *connection = broker->connections;

    (void)source;
    (void)events;
    while (connection->fd >= 0)
        connection++;
    broker_require(connection < broker->connections + BROKER_CONNECTIONS_MAX);
    int r = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (r < 0)
        return 0; /* the peer has closed already */
    *connection = (struct broker_connection){.broker = broker, .fd = r};
    bytes_init(&connection->input, INPUT_MAX);
    broker->accepted++;
    r = sd_event_add_io(broker->event, &connection->source, connection->fd, EPOLLIN, on_input,
                        connection);
    broker_require(r >= 0);
    return 0;
}

void broker_start(struct broker_fake *broker, sd_event *event)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    *broker = (struct broker_fake){.event = event};
    for (unsigned i = 0; i < BROKER_CONNECTIONS_MAX; i++)
        broker->connections[i].fd = -1;
    broker->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(broker->fd, (struct sockaddr *)&address, size) < 0 || listen(broker->fd, 16) < 0 ||
        getsockname(broker->fd, (struct sockaddr *)&address, &size) < 0 ||
        sd_event_add_io(event, &broker->source, broker->fd, EPOLLIN, on_accept, broker) < 0)
        abort();
    broker->port = ntohs(address.sin_port);
    (void)snprintf(broker->uri, sizeof(broker->uri), "tcp://127.0.0.1:%u", broker->port);
}

void broker_stop_reading(struct broker_fake *broker)
{
    for (unsigned i = 0; i < BROKER_CONNECTIONS_MAX; i++) {
        if (broker->connections[i].fd >= 0)
            (void)sd_event_source_set_enabled(broker->connections[i].source, SD_EVENT_OFF);
    }
}

void broker_acknowledge(struct broker_fake *broker)
{
    for (unsigned i = 0; i < BROKER_CONNECTIONS_MAX; i++) {
        struct broker_connection *connection = &broker->connections[i];

        while (connection->fd >= 0 && connection->withheld_count > 0)
            send_ack(connection, PACKET_PUBACK,
                     connection->withheld[--connection->withheld_count]);
    }
}

void broker_answer(struct broker_fake *broker, enum packet_type type, uint16_t id, uint8_t code)
{
    uint8_t memory[PACKET_ACK_MAX];
    struct writer writer;

    for (unsigned i = 0; i < BROKER_CONNECTIONS_MAX; i++) {
        writer_init(&writer, memory, sizeof(memory));
        packet_encode_ack(&writer, MQTT_5, type, id, code, 0);
        if (broker->connections[i].fd >= 0)
            broker_send(&broker->connections[i], &writer);
    }
}

void broker_reset(struct broker_fake *broker)
{
    for (unsigned i = 0; i < BROKER_CONNECTIONS_MAX; i++)
        hang_up(&broker->connections[i], true);
}

void broker_dismiss(struct broker_fake *broker, uint8_t code)
{
    uint8_t memory[PACKET_DISCONNECT_MAX];
    struct writer writer;

    for (unsigned i = 0; i < BROKER_CONNECTIONS_MAX; i++) {
        if (broker->connections[i].fd < 0)
            continue;
        writer_init(&writer, memory, sizeof(memory));
        packet_encode_disconnect(&writer, code, NULL);
        broker_send(&broker->connections[i], &writer);
        hang_up(&broker->connections[i], false);
    }
}

void broker_stop(struct broker_fake *broker)
{
    broker_reset(broker);
    broker->source = sd_event_source_disable_unref(broker->source);
    if (broker->fd >= 0)
        (void)close(broker->fd);
    broker->fd = -1;
}
