/* SPDX-License-Identifier: MIT */
/*
 * session.c - the life of one producer's connection
 *
 * One descriptor, one timer, four states (session-private.h draws them). Each
 * dispatch reads once, parses every whole packet, and ends in session_update():
 * release and write what may leave, close a closing session whose output is
 * gone, and set what the loop waits for. Every call from outside ends there too.
 *
 * Invariant: only session_update() decides about the descriptor.
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
#include "daemon/ingress/session-private.h"

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
static void release_connection(struct session *session)
{
    session->sources.io = sd_event_source_disable_unref(session->sources.io);
    session->sources.timer = sd_event_source_disable_unref(session->sources.timer);
    session->sources.again = sd_event_source_disable_unref(session->sources.again);
    if (session->fd >= 0) {
        (void)shutdown(session->fd, SHUT_WR); /* fails when the peer was faster */
        discard_input(session->fd);
        (void)close(session->fd);
    }
    session->fd = -1;
    session_move(session, SESSION_CLOSED);
}

static void close_now(struct session *session)
{
    release_connection(session);
    session->ops->closed(session->userdata, session, session->end.why);
}

/* Then the client's silence has no meaning. */
static bool is_paused(const struct session *session)
{
    return session->pause.is_waiting || session->pause.is_stopped ||
           session->pause.is_throttled;
}

static bool may_parse(const struct session *session)
{
    return session->state < SESSION_CLOSING && !is_paused(session) &&
           !session_out_is_congested(session);
}

/* The reason text is left out for a client that takes only very small packets. */
static void send_disconnect(struct session *session)
{
    struct writer writer;
    struct writer bare;

    if (session->end.code == 0 || !session_out_begin(session, PACKET_DISCONNECT_MAX, &writer))
        return;
    bare = writer;
    packet_encode_disconnect(&writer, session->end.code, session->end.why);
    if (writer.failed || writer_used(&writer) > session->client.max_packet) {
        writer = bare;
        packet_encode_disconnect(&writer, session->end.code, NULL);
    }
    session->end.code = 0;
    (void)session_out_end(session, &writer); /* we are closing already */
}

/* Return: true when the session is closed now. */
static bool finish(struct session *session)
{
    if (session->output.owed.count > 0 && !session->output.is_lost)
        return false;
    send_disconnect(session);
    session_out_flush(session);
    if (bytes_used(&session->output.bytes) > 0)
        return false;
    close_now(session);
    return true;
}

/* For its pings. The end of a peer or of its stream is detected otherwise. */
static bool may_read_ahead(const struct session *session)
{
    const struct session_input *input = &session->input;

    return session->state == SESSION_OPEN && session->pause.is_blocked &&
           !input->is_ahead_over && !session->output.is_lost &&
           bytes_used(&input->bytes) < input->bytes.cap && !session_out_is_congested(session);
}

static void update_sources(struct session *session)
{
    uint32_t events = 0;
    int r = 0;

    if (may_parse(session) && session->input.is_unparsed)
        r = sd_event_source_set_enabled(session->sources.again, SD_EVENT_ONESHOT);
    else if (may_parse(session) || may_read_ahead(session))
        events |= EPOLLIN;
    if (bytes_used(&session->output.bytes) > 0)
        events |= EPOLLOUT;
    if (session->pause.is_blocked && session->state == SESSION_OPEN)
        events |= EPOLLRDHUP;
    if (r >= 0 && session->output.is_lost && events == 0)
        r = sd_event_source_set_enabled(session->sources.io, SD_EVENT_OFF);
    else if (r >= 0) {
        r = sd_event_source_set_io_events(session->sources.io, events);
        if (r >= 0)
            r = sd_event_source_set_enabled(session->sources.io, SD_EVENT_ON);
    }
    if (r >= 0)
        return;
    /* The loop will never call us again for this descriptor. */
    session_end(session, 0, "event loop", strerror(-r));
    close_now(session);
}

static void session_update(struct session *session)
{
    bool has_answered;

    if (session->state == SESSION_CLOSED)
        return;
    session_owed_release_refusals(session);
    do {
        session_owed_pump(session);
        session_out_flush(session);
        has_answered = session->pause.is_blocked && session_answer_pings(session);
        session_out_flush(session);
    } while ((session->output.owed.released > 0 || has_answered) &&
             bytes_used(&session->output.bytes) == 0);
    if (session->state == SESSION_CLOSING && finish(session))
        return;
    update_sources(session);
}

static void parse(struct session *session)
{
    struct packet_frame frame;

    session->input.is_unparsed = false;
    while (session->state < SESSION_CLOSING && bytes_used(&session->input.bytes) > 0) {
        if (session_out_is_congested(session))
            session_out_flush(session);
        struct view input = bytes_view(&session->input.bytes);
        session->input.is_unparsed = true;
        if (!may_parse(session))
            return;
        int r = packet_next(input.data, input.size, session_packet_limit(session), &frame);
        if (r != 0 && r != PACKET_E_MORE)
            session_refuse_frame(session, input, r);
        if (r == 0 && !session_take_packet(session, &frame))
            return;
        session->input.is_unparsed = false;
        if (r != 0)
            return;
        bytes_consume(&session->input.bytes, frame.size);
        if (session->input.answered > 0)
            session->input.answered -= frame.size;
        session->keep_alive.last_packet_us = clock_monotonic_us();
        session->keep_alive.is_excused = false;
    }
}

/* It can still be answered: the client may have ended its own half of the stream only. */
static bool is_cut_connect(const struct session *session)
{
    struct view input = bytes_view(&session->input.bytes);
    enum packet_version version;

    return session->state == SESSION_EXPECT_CONNECT &&
           packet_peek_version(input.data, input.size, &version) && version == MQTT_5;
}

static void end_on_read(struct session *session, ssize_t got)
{
    /* Gives the reserved memory back when nothing came into it. */
    bytes_consume(&session->input.bytes, 0);
    if (got == 0 && is_cut_connect(session))
        session_refuse_frame(session, bytes_view(&session->input.bytes), PACKET_E_MALFORMED);
    else if (got == 0)
        session_end(session, 0,
                    bytes_used(&session->input.bytes) > 0
                        ? "connection closed inside a packet"
                        : "connection closed without DISCONNECT",
                    NULL);
    else if (got != -EAGAIN && got != -EINTR)
        session_end(session, 0, "read", strerror((int)-got));
}

/* Return: recv()'s; -ENOMEM: it was refused. */
static ssize_t receive(struct session *session)
{
    size_t room = session->input.bytes.cap - bytes_used(&session->input.bytes);
    size_t wanted = room < READ_CHUNK ? room : READ_CHUNK;
    uint8_t *memory;

    if (bytes_reserve(&session->input.bytes, wanted, &memory) != 0) {
        session_refuse(session, MQTT_UNSPECIFIED_ERROR, "no memory to read", NULL);
        return -ENOMEM;
    }
    ssize_t got = recv(session->fd, memory, wanted, MSG_DONTWAIT);
    if (got > 0)
        bytes_commit(&session->input.bytes, (size_t)got);
    return got >= 0 ? got : -errno;
}

static void read_once(struct session *session)
{
    if (!may_parse(session) || session->input.is_unparsed)
        return;
    ssize_t got = receive(session);
    if (got > 0)
        parse(session);
    else
        end_on_read(session, got);
}

static void read_ahead(struct session *session)
{
    ssize_t got = receive(session);

    if (got <= 0 && got != -EAGAIN && got != -EINTR)
        session->input.is_ahead_over = true;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct session *session = userdata;

    (void)source;
    (void)fd;
    if (events & (EPOLLHUP | EPOLLERR))
        session->output.is_lost = true;
    if (session->pause.is_blocked && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        session_end(session, MQTT_QUOTA_EXCEEDED,
                    "client left while its message waited for room", NULL);
    if (may_read_ahead(session))
        read_ahead(session);
    else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_once(session);
    session_update(session);
    return 0;
}

static int on_again(sd_event_source *source, void *userdata)
{
    struct session *session = userdata;

    (void)source;
    parse(session);
    session_update(session);
    return 0;
}

static void check_keep_alive(struct session *session)
{
    uint64_t now = clock_monotonic_us();

    if (session->keep_alive.timeout_us == 0)
        return;
    if (is_paused(session))
        session->keep_alive.last_packet_us = now;
    if (now >= session->keep_alive.last_packet_us + session->keep_alive.timeout_us)
        session_end(session, MQTT_KEEP_ALIVE_TIMEOUT, "keep-alive timeout", NULL);
    else
        session_timer_start(session, session->keep_alive.last_packet_us +
                                         session->keep_alive.timeout_us);
}

static void check_closing(struct session *session)
{
    /* It may wait for the commit, not for the client. */
    if (session->output.owed.count > session->output.owed.released)
        session_timer_start(session, clock_monotonic_us() + SESSION_CLOSE_TIMEOUT_US);
    else
        session->output.is_lost = true;
}

/* The loop was blocked, by a slow disk or a stopped process: once between two packets the
 * client has a moment more, because until now nothing of it could be read. */
static bool extend_deadline(struct session *session, uint64_t at_us)
{
    uint64_t now = clock_monotonic_us();

    if (session->keep_alive.is_excused || now < at_us + LATE_US)
        return false;
    session_timer_start(session, now + EXCUSED_US);
    session->keep_alive.is_excused = true;
    return true;
}

static int on_timer(sd_event_source *source, uint64_t at_us, void *userdata)
{
    struct session *session = userdata;

    (void)source;
    enum session_state before = session->state;
    if (session->input.is_unparsed)
        parse(session);
    else
        read_once(session);
    if (session->state == before && extend_deadline(session, at_us)) {
        session_update(session);
        return 0;
    }
    if (session->state == SESSION_EXPECT_CONNECT)
        session_refuse(session, 0, "no CONNECT in time", NULL);
    else if (session->state == SESSION_OPEN)
        check_keep_alive(session);
    else if (before == SESSION_CLOSING)
        check_closing(session);
    session_update(session);
    return 0;
}

static int add_sources(struct session *session)
{
    int64_t timeout_ms = session->settings.connect_timeout_ms > 0
                             ? session->settings.connect_timeout_ms
                             : SESSION_CONNECT_TIMEOUT_MS;
    int r = sd_event_add_io(session->event, &session->sources.io, session->fd, EPOLLIN, on_io,
                            session);

    if (r < 0)
        return r;
    r = sd_event_add_time(session->event, &session->sources.timer, CLOCK_MONOTONIC,
                          clock_monotonic_us() + (uint64_t)timeout_ms * 1000, 0, on_timer,
                          session);
    if (r < 0)
        return r;
    r = sd_event_add_defer(session->event, &session->sources.again, on_again, session);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(session->sources.again, SD_EVENT_OFF);
}

int session_new(sd_event *event,
                int fd,
                const struct peer *peer,
                const struct session_settings *settings,
                const struct session_ops *ops,
                void *userdata,
                struct session **ret)
{
    struct session *session = calloc(1, sizeof(*session));

    if (!session) {
        (void)close(fd);
        return -ENOMEM;
    }
    *session = (struct session){
        .event = sd_event_ref(event),
        .fd = fd,
        .peer = *peer,
        .settings = *settings,
        .ops = ops,
        .userdata = userdata,
        .client = {.version = MQTT_3_1_1, .max_packet = UINT32_MAX},
    };
    bytes_init(&session->input.bytes, session_packet_limit(session) + SESSION_INPUT_RESERVE);
    bytes_init(&session->output.bytes, SESSION_OUTPUT_MAX);
    int r = add_sources(session);
    if (r < 0) {
        session_free(session);
        return r;
    }
    *ret = session;
    return 0;
}

void session_free(struct session *session)
{
    if (!session)
        return;
    if (session->state != SESSION_CLOSED)
        release_connection(session);
    session_owed_done(session);
    bytes_done(&session->input.bytes);
    bytes_done(&session->output.bytes);
    free(session->client.id);
    (void)sd_event_unref(session->event); /* NULL, always */
    free(session);
}

void session_acknowledge(struct session *session)
{
    session->output.owed.released = session->output.owed.count;
    session->output.is_in_batch = false;
    session_update(session);
}

void session_refuse_owed(struct session *session, uint8_t code)
{
    bool owed = session->output.owed.released < session->output.owed.count;

    if (owed)
        session_owed_refuse(session, code);
    if (session->output.is_in_batch || (owed && session->client.version != MQTT_5))
        session_refuse(session, code, "batch was not stored", packet_reason_text(code));
    session->output.is_in_batch = false;
    session_update(session);
}

void session_drop_owed(struct session *session, uint8_t code, const char *why)
{
    session->output.owed.count = session->output.owed.released;
    session_end(session, code, why, NULL);
    session_update(session);
}

void session_resume(struct session *session)
{
    if (!session->pause.is_waiting || session->state != SESSION_OPEN)
        return;
    session->pause.is_waiting = false;
    session->pause.is_blocked = false;
    parse(session);
    session_update(session);
}

void session_close(struct session *session, uint8_t code, const char *why)
{
    session_end(session, code, why, NULL);
    session_update(session);
}
