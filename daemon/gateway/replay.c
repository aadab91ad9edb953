/* SPDX-License-Identifier: MIT */
/*
 * replay.c - the records of a session's outbox, sent to its client
 *
 * Rows are read from the spool as the client has room for them, in their order, from
 * the oldest on after each CONNECT. A row goes when it and all before it are
 * acknowledged; so a client gets each at least once, and none is passed over. The
 * packet id of a row follows from its seq: a row that is sent again on another
 * connection has the same one [MQTT-4.4.0-1].
 *
 * Records that were removed for room are counted in the session. The line about them is
 * sent in front of the next row, and the count goes when the client has acknowledged it.
 *
 * Invariant: a row that the client did not acknowledge stays in the spool.
 */
#include "daemon/gateway/replay.h"

#include <string.h>

#include "base/json.h"
#include "base/view.h"
#include "daemon/gateway/outcome_topic.h"
#include "daemon/gateway/subscriptions.h"

/* Not a seq. */
#define TAG_MISSED UINT64_MAX

struct view replay_write_missed(uint64_t missed, char text[static REPLAY_MISSED_MAX])
{
    struct json json;

    json_init(&json, text, REPLAY_MISSED_MAX);
    json_open_object(&json, NULL);
    json_unsigned(&json, "missed", missed);
    json_close_object(&json);
    return view_of(text, json_used(&json));
}

enum outcome_kind replay_missed_kind(const int qos[static OUTCOME_KINDS])
{
    return qos[OUTCOME_FAILURE] != SUBSCRIPTIONS_NONE ? OUTCOME_FAILURE : OUTCOME_DELIVERY;
}

void replay_begin(struct replay *replay)
{
    replay->has_more = true;
    replay->read_seq = 0;
    replay->count = 0;
    replay->missed = 0;
    spool_outbox_set_sent(replay->session, 0);
}

void replay_note_row(struct replay *replay)
{
    replay->has_more = true;
}

static uint16_t packet_id_of(uint64_t seq)
{
    return (uint16_t)(seq % CONNECTION_OWNER_ID_MAX + 1);
}

static int send_on_topic(const struct replay *replay,
                         enum outcome_kind kind,
                         struct connection_message *message)
{
    char text[OUTCOME_TOPIC_MAX];

    message->topic = outcome_topic(kind, replay->session->client, text);
    message->qos = (uint8_t)replay->qos[kind];
    return connection_send(replay->connection, message);
}

/* One that is not sent, or without an answer, counts as acknowledged. */
static void note_sent(struct replay *replay, uint64_t seq, bool is_acknowledged)
{
    replay->rows[replay->count++] =
        (struct replay_row){.seq = seq, .is_acknowledged = is_acknowledged};
    replay->read_seq = seq;
}

/* Return: false: no room. */
static bool send_row(void *userdata, uint64_t seq, unsigned kind, struct view record)
{
    struct replay *replay = userdata;
    struct connection_message message = {
        .payload = record,
        .packet_id = packet_id_of(seq),
        .is_repeated = seq <= replay->session->outbox.tried_seq,
        .tag = seq,
    };
    bool is_wanted = kind < OUTCOME_KINDS && replay->qos[kind] != SUBSCRIPTIONS_NONE;
    int r = CONNECTION_E_TOO_LARGE;

    if (replay->count == CONNECTION_WINDOW_MAX)
        return false;
    if (is_wanted)
        r = send_on_topic(replay, (enum outcome_kind)kind, &message);
    if (r != 0 && r != CONNECTION_E_TOO_LARGE)
        return false;
    note_sent(replay, seq, r != 0 || message.qos == 0);
    return true;
}

/* Return: false: it has to be sent first. */
static bool send_missed(struct replay *replay)
{
    enum outcome_kind kind = replay_missed_kind(replay->qos);
    char text[REPLAY_MISSED_MAX];
    uint64_t missed = replay->session->missed;
    struct connection_message message = {.tag = TAG_MISSED};

    if (missed == 0 || replay->missed > 0 || replay->qos[kind] == SUBSCRIPTIONS_NONE)
        return true;
    message.payload = replay_write_missed(missed, text);
    int r = send_on_topic(replay, kind, &message);
    if (r != 0 && r != CONNECTION_E_TOO_LARGE)
        return false;
    if (r == 0 && message.qos > 0)
        replay->missed = missed;
    else
        spool_session_set_missed(replay->spool, replay->session, 0);
    return true;
}

/* Return: did rows go? */
static bool release_rows(struct replay *replay)
{
    unsigned gone = 0;

    while (gone < replay->count && replay->rows[gone].is_acknowledged)
        gone++;
    if (gone == 0)
        return false;
    spool_outbox_acknowledge(replay->spool, replay->session, replay->rows[gone - 1].seq);
    replay->count -= gone;
    memmove(replay->rows, replay->rows + gone, replay->count * sizeof(replay->rows[0]));
    return true;
}

int replay_send(struct replay *replay)
{
    int r = 0;

    if (!replay->session || !send_missed(replay))
        return 0;
    while (r == 0 && replay->has_more) {
        uint64_t before = replay->read_seq;

        r = spool_outbox_read(replay->spool, replay->session, replay->read_seq, send_row,
                              replay, &replay->has_more);
        spool_outbox_set_sent(replay->session, replay->read_seq);
        if (!release_rows(replay) || replay->read_seq == before)
            break; /* what has no room now, follows when there is */
    }
    return r < 0 ? r : 0;
}

bool replay_acknowledge(struct replay *replay, uint64_t tag)
{
    if (!replay->session)
        return false;
    if (tag == TAG_MISSED && replay->missed > 0) {
        spool_session_set_missed(replay->spool, replay->session,
                                 replay->session->missed - replay->missed);
        replay->missed = 0;
        return true;
    }
    for (unsigned i = 0; i < replay->count; i++) {
        if (replay->rows[i].seq == tag)
            replay->rows[i].is_acknowledged = true;
    }
    return release_rows(replay);
}
