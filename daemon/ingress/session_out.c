/* SPDX-License-Identifier: MIT */
/*
 * session_out.c - what goes out to a producer
 *
 * Two stages, both capped. The list of owed acknowledgements holds at most
 * SESSION_RECEIVE_MAXIMUM entries in the order of their PUBLISH packets; an
 * accepted one is released by the commit, a refusal as soon as nothing accepted
 * stands before it. Released ones are encoded into the byte queue while it has
 * room, so a client that reads slowly holds up its own acknowledgements and
 * costs no more memory.
 *
 * When the other side has closed, the queue discards what is written: the packets
 * that it sent before are still to be read, and their answers reach no client.
 */
#include "daemon/ingress/session-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/cursor.h"
#include "base/failpoint.h"
#include "base/view.h"
#include "daemon/mqtt/packet.h"

#define OWED_SIZE_FIRST 16
/* A ring up to this size is kept when it runs empty. */
#define OWED_SIZE_KEPT 64

bool session_out_begin(struct session *session, size_t size, struct writer *ret_writer)
{
    uint8_t *memory;

    if (bytes_reserve(&session->output.bytes, size, &memory) != 0) {
        session_refuse(session, 0, "no memory for an answer", NULL);
        return false;
    }
    writer_init(ret_writer, memory, size);
    return true;
}

bool session_out_end(struct session *session, const struct writer *writer)
{
    assert(!writer->failed);
    size_t used = writer_used(writer);
    /* [MQTT-3.1.2-24] forbids to send it, and without it the client would wait forever. */
    if (used > session->client.max_packet) {
        session_refuse(session, 0, "client's maximum packet size is below our answer", NULL);
        return false;
    }
    bytes_commit(&session->output.bytes, used);
    return true;
}

void session_out_flush(struct session *session)
{
    while (bytes_used(&session->output.bytes) > 0) {
        struct view waiting = bytes_view(&session->output.bytes);

        if (session->output.is_lost) {
            bytes_consume(&session->output.bytes, waiting.size);
            return;
        }
        FAILPOINT_TORN("acknowledge.torn", session->fd, waiting.data, waiting.size);
        ssize_t sent =
            send(session->fd, waiting.data, waiting.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            bytes_consume(&session->output.bytes, (size_t)sent);
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            session->output.is_lost = true;
    }
}

bool session_out_is_congested(const struct session *session)
{
    return bytes_used(&session->output.bytes) > SESSION_OUTPUT_MAX / 2;
}

static struct session_debt *owed_at(const struct session_owed *owed, size_t index)
{
    assert(index < owed->size);
    return &owed->ring[(owed->head + index) & (owed->size - 1)];
}

int session_owed_reserve(struct session *session)
{
    struct session_owed *owed = &session->output.owed;

    if (owed->count < owed->size)
        return 0;
    size_t size = owed->size == 0 ? OWED_SIZE_FIRST : owed->size * 2;
    struct session_debt *ring = calloc(size, sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    for (size_t i = 0; i < owed->count; i++)
        ring[i] = *owed_at(owed, i);
    free(owed->ring);
    owed->ring = ring;
    owed->size = size;
    owed->head = 0;
    return 0;
}

void session_owed_push(struct session *session, const struct session_debt *debt)
{
    struct session_owed *owed = &session->output.owed;

    assert(owed->count < owed->size);
    owed->count++;
    *owed_at(owed, owed->count - 1) = *debt;
}

bool session_owed_is_full(const struct session *session)
{
    return session->output.owed.count >= SESSION_RECEIVE_MAXIMUM;
}

void session_owed_release_refusals(struct session *session)
{
    struct session_owed *owed = &session->output.owed;

    while (owed->released < owed->count && owed_at(owed, owed->released)->code != MQTT_SUCCESS)
        owed->released++;
}

void session_owed_refuse(struct session *session, uint8_t code)
{
    struct session_owed *owed = &session->output.owed;

    if (session->client.version != MQTT_5)
        owed->count = owed->released;
    for (; owed->released < owed->count; owed->released++) {
        struct session_debt *debt = owed_at(owed, owed->released);

        if (debt->code == MQTT_SUCCESS)
            *debt = (struct session_debt){.packet_id = debt->packet_id, .code = code};
    }
}

static void encode_debt(const struct session *session,
                        const struct session_debt *debt,
                        uint64_t spool_id,
                        struct writer *writer)
{
    packet_encode_ack(writer, session->client.version, PACKET_PUBACK, debt->packet_id,
                      debt->code, spool_id);
}

/* A client may not want the spool-id, or take so small packets that only the bare
 * acknowledgement fits. */
static bool send_debt(struct session *session, const struct session_debt *debt)
{
    struct writer writer;

    if (!session_out_begin(session, PACKET_ACK_MAX, &writer))
        return false;
    struct writer bare = writer;
    encode_debt(session, debt, session->client.no_problem_info ? 0 : debt->spool_id, &writer);
    if (writer_used(&writer) <= session->client.max_packet)
        return session_out_end(session, &writer);
    encode_debt(session, debt, 0, &bare);
    return session_out_end(session, &bare);
}

/* A closing session keeps its ring: it may be closed from inside its owner's call, which then
 * still accepts what was offered. */
static void owed_shift(struct session *session)
{
    struct session_owed *owed = &session->output.owed;

    owed->head = (owed->head + 1) & (owed->size - 1);
    owed->count--;
    owed->released--;
    if (owed->count == 0 && owed->size > OWED_SIZE_KEPT && session->state == SESSION_OPEN) {
        free(owed->ring);
        *owed = (struct session_owed){0};
    }
}

void session_owed_pump(struct session *session)
{
    struct session_owed *owed = &session->output.owed;
    size_t limit = SESSION_OUTPUT_MAX - SESSION_OUTPUT_RESERVE - PACKET_ACK_MAX;

    while (owed->released > 0 && bytes_used(&session->output.bytes) <= limit) {
        if (!send_debt(session, owed_at(owed, 0))) {
            session_owed_done(session); /* it would wait forever */
            return;
        }
        owed_shift(session);
    }
    if (!session_owed_is_full(session))
        session->pause.is_throttled = false;
}

void session_owed_done(struct session *session)
{
    free(session->output.owed.ring);
    session->output.owed = (struct session_owed){0};
}
