/* SPDX-License-Identifier: MIT */
/*
 * connection.c - the life of one producer's connection
 *
 * One descriptor, one timer, four states (connection-private.h draws them). Each
 * dispatch reads once, parses every whole packet, and ends in connection_update():
 * release and write what may leave, close a closing connection whose output is
 * gone, and set what the loop waits for. Every call from outside ends there too.
 *
 * Invariant: only connection_update() decides about the descriptor.
 *
 * Parsing stops (EPOLLIN off) while the owner cannot take the packet, while a
 * 3.1.1 client has too much unacknowledged, and while too much output waits.
 * What was already read then stays in the queue and is parsed later by a source
 * of its own, because an acknowledgement at the batch edge must not bring a new
 * PUBLISH into the middle of it.
 *
 * A peer that has closed (EPOLLHUP) may have left packets behind: Linux allows to
 * read them, also after a write has failed, so they are parsed before the end is
 * reported. While nothing is read, epoll would report the hang-up again and again;
 * the source is switched off until then. That is soon, except for a client that is
 * blocked: its message may wait for hours, and it would keep its place all that
 * time. There the end counts at once, also the end of its stream alone, which is
 * all that TCP reports of a process that has died. What it sent and is not accepted
 * was never acknowledged.
 *
 * A blocked client may wait longer than its keep-alive. So what lies behind the
 * blocked packet is read, up to the limit of the input, for its PINGREQs only.
 *
 * The keep-alive timer is not moved by packets: when it fires it compares the time
 * of the last one, and reads first, so that no client is closed because a commit
 * took long. If the timer itself comes late there is more to read than it reads,
 * and the client may have been stopped by a full socket: then the deadline is moved
 * once, by EXCUSED_US.
 */
#include "daemon/ingress/connection-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/peer.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

#define READ_CHUNK ((size_t)64 * 1024)
/* How much of what a closed client still sent is discarded at most. */
#define DISCARD_MAX ((size_t)256 * 1024)
/* A timer that comes so late: it was the loop that was blocked. */
#define LATE_US    500000
#define EXCUSED_US 2000000
/* When a CONNECT that waits for a commit is looked at again. */
#define CONNECT_WAIT_US 10000000

/* Unread bytes would make TCP discard the final bytes to the client. */
static void discard_input(int fd)
{
    static uint8_t sink[4096];
    size_t total = 0;

    while (total < DISCARD_MAX) {
        ssize_t got = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);

        if (got <= 0)
            return;
        total += (size_t)got;
    }
}

/* The input stays: this may run below a packet that lies in it. */
static void release_connection(struct connection *connection)
{
    connection->sources.io = sd_event_source_disable_unref(connection->sources.io);
    connection->sources.timer = sd_event_source_disable_unref(connection->sources.timer);
    connection->sources.again = sd_event_source_disable_unref(connection->sources.again);
    if (connection->fd >= 0) {
        (void)shutdown(connection->fd, SHUT_WR); /* fails when the peer was faster */
        discard_input(connection->fd);
        (void)close(connection->fd);
    }
    connection->fd = -1;
    connection_move(connection, CONNECTION_CLOSED);
}

static void close_now(struct connection *connection)
{
    release_connection(connection);
    connection->ops->closed(connection->userdata, connection, connection->end.why);
}

/* Then the client's silence has no meaning. */
static bool is_paused(const struct connection *connection)
{
    return connection->pause.is_waiting || connection->pause.is_stopped ||
           connection->pause.is_throttled || connection->pause.is_confirming;
}

static bool may_parse(const struct connection *connection)
{
    return connection->state < CONNECTION_CLOSING && !is_paused(connection) &&
           !connection_out_is_congested(connection);
}

/* The reason text is left out for a client that takes only very small packets. */
static void send_disconnect(struct connection *connection)
{
    struct writer writer;
    struct writer bare;

    if (connection->end.code == 0 ||
        !connection_out_begin(connection, PACKET_DISCONNECT_MAX, &writer))
        return;
    bare = writer;
    packet_encode_disconnect(&writer, connection->end.code, connection->end.why);
    if (writer.failed || writer_used(&writer) > connection->client.max_packet) {
        writer = bare;
        packet_encode_disconnect(&writer, connection->end.code, NULL);
    }
    connection->end.code = 0;
    (void)connection_out_end(connection, &writer); /* we are closing already */
}

/* Return: true when the connection is closed now. */
static bool finish(struct connection *connection)
{
    if (connection->input
            .is_parsing) /* the owner closes it inside of its call: one may be owed */
        return false;
    if (connection->output.owed.count > 0 && !connection->output.is_lost)
        return false;
    send_disconnect(connection);
    connection_out_flush(connection);
    if (bytes_used(&connection->output.bytes) > 0)
        return false;
    close_now(connection);
    return true;
}

/* For its pings. The end of a peer or of its stream is detected otherwise. */
static bool may_read_ahead(const struct connection *connection)
{
    const struct connection_input *input = &connection->input;

    return connection->state == CONNECTION_OPEN && connection->pause.has_pings &&
           !input->is_ahead_over && !connection->output.is_lost &&
           bytes_used(&input->bytes) < input->bytes.cap &&
           !connection_out_is_congested(connection);
}

static void update_sources(struct connection *connection)
{
    uint32_t events = 0;
    int r = 0;

    if (may_parse(connection) && connection->input.is_unparsed)
        r = sd_event_source_set_enabled(connection->sources.again, SD_EVENT_ONESHOT);
    else if (may_parse(connection) || may_read_ahead(connection))
        events |= EPOLLIN;
    if (bytes_used(&connection->output.bytes) > 0 || connection_wants_room(connection))
        events |= EPOLLOUT;
    if (connection->pause.is_blocked && connection->state == CONNECTION_OPEN)
        events |= EPOLLRDHUP;
    if (r >= 0 && connection->output.is_lost && events == 0)
        r = sd_event_source_set_enabled(connection->sources.io, SD_EVENT_OFF);
    else if (r >= 0) {
        r = sd_event_source_set_io_events(connection->sources.io, events);
        if (r >= 0)
            r = sd_event_source_set_enabled(connection->sources.io, SD_EVENT_ON);
    }
    if (r >= 0)
        return;
    /* The loop will never call us again for this descriptor. */
    connection_end(connection, 0, "event loop", strerror(-r));
    close_now(connection);
}

static void connection_update(struct connection *connection)
{
    bool has_answered;

    if (connection->state == CONNECTION_CLOSED)
        return;
    connection_owed_release_refusals(connection);
    do {
        connection_owed_pump(connection);
        connection_out_flush(connection);
        has_answered = connection->pause.has_pings && connection_answer_pings(connection);
        connection_out_flush(connection);
    } while ((connection->output.owed.released > 0 || has_answered) &&
             bytes_used(&connection->output.bytes) == 0);
    if (connection_offer_room(connection) && connection->state != CONNECTION_CLOSED)
        connection_out_flush(connection);
    if (connection->state == CONNECTION_CLOSED)
        return;
    if (connection->state == CONNECTION_CLOSING && finish(connection))
        return;
    update_sources(connection);
}

/* Return: was any packet taken? */
static bool take_packets(struct connection *connection)
{
    struct packet_frame frame = {.size = 0};
    bool has_taken = false;

    connection->input.is_unparsed = false;
    connection->input.has_offered = false;
    while (connection->state < CONNECTION_CLOSING && bytes_used(&connection->input.bytes) > 0) {
        if (connection_out_is_congested(connection))
            connection_out_flush(connection);
        struct view input = bytes_view(&connection->input.bytes);
        connection->input.is_unparsed = true;
        if (!may_parse(connection))
            break;
        int r =
            packet_next(input.data, input.size, connection_packet_limit(connection), &frame);
        if (r != 0 && r != PACKET_E_MORE)
            connection_refuse_frame(connection, input, r, frame.size);
        if (r == 0 && !connection_take_packet(connection, &frame))
            break;
        connection->input.is_unparsed = false;
        if (r != 0)
            break;
        bytes_consume(&connection->input.bytes, frame.size);
        if (connection->input.answered > 0)
            connection->input.answered -= frame.size;
        has_taken = true;
    }
    return has_taken;
}

static void parse(struct connection *connection)
{
    connection->input.is_parsing = true;
    bool has_taken = take_packets(connection);
    connection->input.is_parsing = false;
    if (!has_taken)
        return;
    connection->keep_alive.last_packet_us = clock_monotonic_us();
    connection->keep_alive.is_excused = false;
}

/* It can still be answered: the client may have ended its own half of the stream only. */
static bool is_cut_connect(const struct connection *connection)
{
    struct view input = bytes_view(&connection->input.bytes);
    enum packet_version version;

    return connection->state == CONNECTION_EXPECT_CONNECT &&
           packet_peek_version(input.data, input.size, &version) && version == MQTT_5;
}

static void end_on_read(struct connection *connection, ssize_t got)
{
    /* Gives the reserved memory back when nothing came into it. */
    bytes_consume(&connection->input.bytes, 0);
    if (got == 0 && is_cut_connect(connection))
        connection_refuse_frame(connection, bytes_view(&connection->input.bytes),
                                PACKET_E_MALFORMED, 0);
    else if (got == 0)
        connection_end(connection, 0,
                       bytes_used(&connection->input.bytes) > 0
                           ? "connection closed inside a packet"
                           : "connection closed without DISCONNECT",
                       NULL);
    else if (got != -EAGAIN && got != -EINTR)
        connection_end(connection, 0, "read", strerror((int)-got));
}

/* Return: recv()'s; -ENOMEM: it was refused. */
static ssize_t receive(struct connection *connection)
{
    size_t room = connection->input.bytes.cap - bytes_used(&connection->input.bytes);
    size_t wanted = room < READ_CHUNK ? room : READ_CHUNK;
    uint8_t *memory;

    if (bytes_reserve(&connection->input.bytes, wanted, &memory) != 0) {
        connection_refuse(connection, MQTT_UNSPECIFIED_ERROR, "no memory to read", NULL);
        return -ENOMEM;
    }
    ssize_t got = recv(connection->fd, memory, wanted, MSG_DONTWAIT);
    if (got > 0)
        bytes_commit(&connection->input.bytes, (size_t)got);
    return got >= 0 ? got : -errno;
}

static void read_once(struct connection *connection)
{
    if (!may_parse(connection) || connection->input.is_unparsed)
        return;
    ssize_t got = receive(connection);
    if (got > 0)
        parse(connection);
    else
        end_on_read(connection, got);
}

static void read_ahead(struct connection *connection)
{
    ssize_t got = receive(connection);

    if (got <= 0 && got != -EAGAIN && got != -EINTR)
        connection->input.is_ahead_over = true;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct connection *connection = userdata;

    (void)source;
    (void)fd;
    if (events & (EPOLLHUP | EPOLLERR))
        connection->output.is_lost = true;
    if (connection->pause.is_blocked && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        connection_end(connection, MQTT_QUOTA_EXCEEDED,
                       "client left while its message waited for room", NULL);
    if (may_read_ahead(connection))
        read_ahead(connection);
    else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_once(connection);
    connection_update(connection);
    return 0;
}

static int on_again(sd_event_source *source, void *userdata)
{
    struct connection *connection = userdata;

    (void)source;
    parse(connection);
    connection_update(connection);
    return 0;
}

static void check_keep_alive(struct connection *connection)
{
    uint64_t now = clock_monotonic_us();

    if (connection->keep_alive.timeout_us == 0)
        return;
    if (is_paused(connection))
        connection->keep_alive.last_packet_us = now;
    if (now >= connection->keep_alive.last_packet_us + connection->keep_alive.timeout_us)
        connection_end(connection, MQTT_KEEP_ALIVE_TIMEOUT, "keep-alive timeout", NULL);
    else
        connection_timer_start(connection, connection->keep_alive.last_packet_us +
                                               connection->keep_alive.timeout_us);
}

static void check_closing(struct connection *connection)
{
    /* It may wait for the commit, not for the client. */
    if (connection->output.owed.count > connection->output.owed.released)
        connection_timer_start(connection, clock_monotonic_us() + CONNECTION_CLOSE_TIMEOUT_US);
    else
        connection->output.is_lost = true;
}

/* The loop was blocked, by a slow disk or a stopped process: once between two packets the
 * client has a moment more, because until now nothing of it could be read. */
static bool extend_deadline(struct connection *connection, uint64_t at_us)
{
    uint64_t now = clock_monotonic_us();

    if (connection->keep_alive.is_excused || now < at_us + LATE_US)
        return false;
    connection_timer_start(connection, now + EXCUSED_US);
    connection->keep_alive.is_excused = true;
    return true;
}

static int on_timer(sd_event_source *source, uint64_t at_us, void *userdata)
{
    struct connection *connection = userdata;

    (void)source;
    enum connection_state before = connection->state;
    if (connection->input.is_unparsed)
        parse(connection);
    else
        read_once(connection);
    if (connection->state == before && extend_deadline(connection, at_us)) {
        connection_update(connection);
        return 0;
    }
    if (connection->state == CONNECTION_EXPECT_CONNECT && connection->pause.is_waiting)
        connection_timer_start(connection, clock_monotonic_us() + CONNECT_WAIT_US);
    else if (connection->state == CONNECTION_EXPECT_CONNECT)
        connection_refuse(connection, 0, "no CONNECT in time", NULL);
    else if (connection->state == CONNECTION_OPEN)
        check_keep_alive(connection);
    else if (before == CONNECTION_CLOSING)
        check_closing(connection);
    connection_update(connection);
    return 0;
}

static int add_sources(struct connection *connection)
{
    int64_t timeout_ms = connection->settings.connect_timeout_ms > 0
                             ? connection->settings.connect_timeout_ms
                             : CONNECTION_CONNECT_TIMEOUT_MS;
    int r = sd_event_add_io(connection->event, &connection->sources.io, connection->fd, EPOLLIN,
                            on_io, connection);

    if (r < 0)
        return r;
    r = sd_event_add_time(connection->event, &connection->sources.timer, CLOCK_MONOTONIC,
                          clock_monotonic_us() + (uint64_t)timeout_ms * 1000, 0, on_timer,
                          connection);
    if (r < 0)
        return r;
    r = sd_event_add_defer(connection->event, &connection->sources.again, on_again, connection);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(connection->sources.again, SD_EVENT_OFF);
}

int connection_new(sd_event *event,
                   int fd,
                   const struct peer *peer,
                   const struct connection_settings *settings,
                   const struct connection_ops *ops,
                   void *userdata,
                   struct connection **ret)
{
    struct connection *connection = calloc(1, sizeof(*connection));

    if (!connection) {
        (void)close(fd);
        return -ENOMEM;
    }
    *connection = (struct connection){
        .event = sd_event_ref(event),
        .fd = fd,
        .peer = *peer,
        .settings = *settings,
        .ops = ops,
        .userdata = userdata,
        .client = {.version = MQTT_3_1_1, .max_packet = UINT32_MAX},
    };
    bytes_init(&connection->input.bytes,
               connection_packet_limit(connection) + CONNECTION_INPUT_RESERVE);
    bytes_init(&connection->output.bytes, CONNECTION_OUTPUT_MAX);
    int r = add_sources(connection);
    if (r < 0) {
        connection_free(connection);
        return r;
    }
    *ret = connection;
    return 0;
}

void connection_free(struct connection *connection)
{
    if (!connection)
        return;
    if (connection->state != CONNECTION_CLOSED)
        release_connection(connection);
    connection_owed_done(connection);
    packet_ids_done(&connection->unreleased);
    connection_window_done(connection);
    connection_answer_done(connection);
    connection_aliases_done(connection);
    connection_will_discard(connection);
    bytes_done(&connection->input.bytes);
    bytes_done(&connection->output.bytes);
    free(connection->client.id);
    (void)sd_event_unref(connection->event); /* NULL, always */
    free(connection);
}

void connection_acknowledge(struct connection *connection)
{
    connection->output.owed.released = connection->output.owed.count;
    connection->output.is_in_batch = false;
    connection_update(connection);
}

bool connection_refuse_owed(struct connection *connection, uint8_t code)
{
    const struct connection_owed *owed = &connection->output.owed;
    bool has_refused = connection_owed_refuse(connection, code);

    if (connection->output.is_in_batch || (has_refused && connection->client.version != MQTT_5))
        connection_refuse(connection, code, "batch was not stored", packet_reason_text(code));
    connection->output.is_in_batch = false;
    connection_update(connection);
    return connection->state != CONNECTION_CLOSED && owed->released < owed->count;
}

void connection_clear_unreleased(struct connection *connection)
{
    packet_ids_clear(&connection->unreleased);
}

int connection_set_unreleased(struct connection *connection, uint16_t packet_id)
{
    int r = packet_ids_reserve(&connection->unreleased);

    if (r == 0)
        packet_ids_add(&connection->unreleased, packet_id);
    return r;
}

void connection_drop_owed(struct connection *connection, uint8_t code, const char *why)
{
    connection->output.owed.count = connection->output.owed.released;
    connection_end(connection, code, why, NULL);
    connection_update(connection);
}

void connection_resume(struct connection *connection)
{
    if (!connection->pause.is_waiting || connection->state >= CONNECTION_CLOSING)
        return;
    connection->pause.is_waiting = false;
    connection->pause.has_pings = false;
    connection->pause.is_blocked = false;
    parse(connection);
    connection_update(connection);
}

void connection_confirm(struct connection *connection)
{
    if (!connection_release_answer(connection))
        return;
    parse(connection);
    connection_update(connection);
}

void connection_flush(struct connection *connection)
{
    connection_update(connection);
}

void connection_close(struct connection *connection, uint8_t code, const char *why)
{
    connection_end(connection, code, why, NULL);
    connection_update(connection);
}
